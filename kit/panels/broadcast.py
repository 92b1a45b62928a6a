"""BroadcastVisualizer: shapes aligned, stretched and joined in the browser; on a mismatch, the axis and its mends."""

import math

import traitlets

from kit.arrays import broadcast
from kit.panels._cells import ALARM, AXIS_COLOURS, CELL, MOST_CELLS, MUTED, Picture, number_text, texts
from kit.panels._panel import Panel, source
from kit.panels.strides import as_tensor, numbers

OPERATIONS = ("+", "-", "*", "/", "**", "==", "<", ">")
CHAINED = OPERATIONS[:5]  # what may stand between three operands
MOST_OPERANDS, MOST_AXES = 6, 6
FLOAT32 = 4  # bytes: torch's default number, for a shape that comes without one


class BroadcastVisualizer(Panel):
    """See how shapes broadcast: which axes are equal, stretched, new or do not fit, and what each result cell reads.

    operands: one to six, each a shape, as (3, 1), or a torch tensor, numpy array or nested list of up to six axes. A
        tensor's own numbers are shown (up to 10,000 of them), for a shape counted ones, taken as float32.
    op: one of + - * / ** and, between two operands, == < >.

    Stretched copies are drawn as ghost cells; they are not stored. On a mismatch the panel names the first axis from
    the right that does not fit and offers mends. `shapes` and `op` follow the reader's choices. Raises TypeError or
    ValueError for what is no shape and no tensor, ragged lists, sparse or quantised tensors, more than six axes.
    """

    _esm = source("_draw.js", "_cells.js", "broadcast.js")
    _css = source("_panel.css", "_cells.css")

    shapes = traitlets.List(traitlets.List(traitlets.Int(min=0)), help="of the operands, as edited").tag(sync=True)
    op = traitlets.Enum(OPERATIONS, "*").tag(sync=True)
    _operands = traitlets.List(help="as given: name, shape, dtype, itemsize, values").tag(sync=True)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(self, *shapes_or_tensors, op="*", title="", **kwargs):
        if not 1 <= len(shapes_or_tensors) <= MOST_OPERANDS:
            raise ValueError(f"shapes_or_tensors: got {len(shapes_or_tensors)}, wanted 1 to {MOST_OPERANDS}")
        allowed = OPERATIONS if len(shapes_or_tensors) < 3 else CHAINED
        if op not in allowed:
            raise ValueError(f"op: got {op!r}, wanted one of {' '.join(allowed)} for {len(shapes_or_tensors)} operands")
        names = broadcast.names(len(shapes_or_tensors))
        operands = [_operand(name, given) for name, given in zip(names, shapes_or_tensors, strict=True)]
        shapes = [operand["shape"] for operand in operands]
        super().__init__(shapes=shapes, op=op, title=title, _operands=operands, **kwargs)

    @traitlets.validate("shapes")
    def _as_many(self, proposal):
        shapes, known = proposal.value, len(self._operands) or len(proposal.value)
        if len(shapes) != known or max(map(len, shapes)) > MOST_AXES:
            raise traitlets.TraitError(f"shapes: got {shapes}, wanted {known} of at most {MOST_AXES} axes")
        return shapes

    @property
    def joint(self):
        """The joint shape as a tuple, or None if the shapes do not fit."""
        return broadcast.joint(*self.shapes) if broadcast.joins(*self.shapes) else None

    @property
    def why_not(self):
        """The first axis from the right that does not fit, in words; "" if all do."""
        return broadcast.why_not(*self.shapes)

    def stats(self):
        """What the browser measured: moves, and p50_ms and p95_ms from an input to its picture; {} before any."""
        return dict(self._timing)

    def _static(self):
        page, axes = Picture(), broadcast.axes(*self.shapes)
        names = [operand["name"] for operand in self._operands]
        page.line(self.title or "Broadcasting", size=14)
        for i, name in enumerate(names):
            self._row(page, name, [axis.sizes[i] for axis in axes], [axis.tags[i] for axis in axes])
        joint = [axis.joint for axis in axes]
        tags = ["joint" if size is not None else "mismatch" for size in joint]
        self._row(page, f" {self.op} ".join(names), joint, tags)
        page.y += 16
        if self.joint is None:
            page.line(self.why_not, fill=ALARM)
            page.line("mends: " + "   ".join(mend.code for mend in broadcast.mends(*self.shapes)), fill=MUTED)
            return page.png()
        for i, name in enumerate(names):
            stored, copy = broadcast.bytes_of(self.shapes[i], self.joint, self._operands[i]["itemsize"])
            page.line(f"{name} {tuple(self.shapes[i])}: {stored} B stored" + f"; as a copy {copy} B" * (copy != stored))
            page.tiles(self.joint, lambda index, i=i: self._cell(i, index))
        return page.png()

    def _row(self, page, name, sizes, tags):
        page.y += 20
        page.text(14, name, anchor="ls")
        for place, (size, tag) in enumerate(zip(sizes, tags, strict=True)):
            colour = ALARM if tag == "mismatch" else AXIS_COLOURS[(len(sizes) - 1 - place) % 6]
            page.text(150 + 84 * place, "-" if size is None else str(size), colour, 14, anchor="rs")
            page.text(156 + 84 * place, tag, MUTED, 10, anchor="ls")

    def _cell(self, operand, index):
        shape = self.shapes[operand]
        own = broadcast.source(index, shape)
        ghost = any(index[: len(index) - len(shape)]) or own != tuple(index[len(index) - len(shape) :])
        return self._number(operand, own), CELL, ghost

    def _number(self, operand, index):
        shape, given = self.shapes[operand], self._operands[operand]
        flat = sum(at * math.prod(shape[axis + 1 :]) for axis, at in enumerate(index))
        if given["values"] is None or shape != given["shape"]:
            return str((flat + 1) * 10**operand)
        return number_text(given["values"][flat]) if given["values"] else ""

    def __repr__(self):
        shapes = ", ".join(str(tuple(shape)) for shape in self.shapes)
        return f"BroadcastVisualizer({shapes}, op={self.op!r}): {self.joint or self.why_not}"


def _operand(name, given):
    """What the browser needs of an operand; values None: a shape alone, []: too many numbers to send."""
    if _is_shape(given):
        shape, values, dtype, itemsize = broadcast.as_shape(given, name), None, "float32", FLOAT32
    else:
        tensor = as_tensor(given, name)
        shape, dtype, itemsize = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.itemsize
        values = texts(numbers(tensor.reshape(-1))) if math.prod(shape) <= MOST_CELLS else []
    if len(shape) > MOST_AXES:
        raise ValueError(f"{name}: got {len(shape)} axes, wanted at most {MOST_AXES}")
    return {"name": name, "shape": list(shape), "values": values, "dtype": dtype, "itemsize": itemsize}


def _is_shape(given):
    """A tuple, or a torch.Size; a list is a shape, too, unless it is nested or holds fractions."""
    return isinstance(given, tuple) or (isinstance(given, list) and all(isinstance(size, int) for size in given))
