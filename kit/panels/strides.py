"""StorageView, StrideVisualizer: a tensor beside the storage it reads; operations, and whether they copy."""

import colorsys
import contextlib
import textwrap

import traitlets

from kit.arrays import strides
from kit.panels._cells import CELL, MOST_CELLS, MOST_PICTURED, MUTED, Picture, number_text, shown_shape, texts
from kit.panels._panel import Panel, source

MOST_COPIED = 64 * 2**20  # bytes that the library is asked to copy only to see whether it does
MOST_AXES = 6
LETTERS = 96  # of a line in the picture


def as_tensor(given, name="tensor"):
    """The tensor or array itself; a nested list becomes a numpy array. Raises TypeError for anything else.

    Refuses what has no strided memory (sparse, quantised, meta) and lists that are ragged or hold no numbers.
    """
    if isinstance(given, list | float | int):
        import numpy as np

        try:
            given = np.asarray(given)
        except ValueError:
            raise ValueError(f"{name}: got lists of different lengths, wanted rows of equal length") from None
    try:
        strides.memory(given)
    except TypeError as error:
        raise TypeError(f"{name}: {str(error).removeprefix('tensor: ')}") from None
    if given.ndim > MOST_AXES:
        raise ValueError(f"{name}: got {given.ndim} axes, wanted at most {MOST_AXES}")
    return given


def numbers(tensor):
    """The numbers of a tensor of one axis as Python's, wherever it lies."""
    return (tensor.detach() if hasattr(tensor, "detach") else tensor).tolist()


class StorageView(Panel):
    """See where each number of a tensor lies: its view beside its storage, cache line by cache line.

    tensor: a torch tensor on any device or a numpy array, of up to six axes, shown as it is, with nothing copied but up
        to 10,000 numbers of its storage; or a nested list. Larger ones are drawn in part, and the panel says so.

    Pointing at a cell of the view lights its storage cell, and the other way round every place of the view that reads
    it. Raises TypeError for sparse, quantised and meta tensors and for what holds no numbers, ValueError for more axes.
    """

    _esm = source("_draw.js", "_cells.js", "_play.js", "strides.js")
    _css = source("_panel.css", "_cells.css")

    _given = traitlets.Dict(help="library, dtype, itemsize, device; shape, strides, offset; size, address").tag(
        sync=True
    )
    _storage = traitlets.Dict(help="the numbers of the cells from `first` on, as texts").tag(sync=True)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(self, tensor, *, title="", **kwargs):
        self._tensor = as_tensor(tensor)
        found = strides.memory(self._tensor)
        given = {
            **{name: getattr(found, name) for name in ("library", "dtype", "itemsize", "size")},
            **{name: list(getattr(found.view, name)) for name in ("shape", "strides")},
            "offset": found.view.offset,
            "address": str(found.address),
            "device": str(getattr(tensor, "device", "cpu")).removeprefix("cpu"),
        }
        super().__init__(_given=given, _storage=_window(self._tensor, found), title=title, **kwargs)

    def stats(self):
        """What the browser measured: moves, and p50_ms and p95_ms from an input to its picture; {} before any."""
        return dict(self._timing)

    def _read(self):
        """The tensor that is read now, and how it came about, in words."""
        return self._tensor, ""

    def _said(self):
        """What is to be said of how it came about, one paragraph each."""
        return []

    def _static(self):
        tensor, made = self._read()
        if tensor is None:
            return Picture().png()
        found, page = strides.memory(tensor), Picture()
        window, view = _window(tensor, found), found.view
        page.line(self.title or "Storage and view", size=14)
        page.line(f"{found.library} {found.dtype} {made}")
        for words in self._said():
            for line in textwrap.wrap(words, LETTERS):
                page.line(line)
        page.line(f"shape {view.shape}   strides {view.strides}   offset {view.offset}", MUTED)
        page.line(f"what is read, {'contiguous' if view.is_contiguous else 'not contiguous'}", MUTED)
        page.tiles(view.shape, lambda index: _cell(window, view.cell(index)))
        per = max(1, strides.LINE // found.itemsize)
        lead = found.address % strides.LINE // found.itemsize % per
        rows = -(-(lead + len(window["values"])) // per)
        cut = shown_shape((rows, per), MOST_PICTURED)[0]
        drawn = f"; {cut} rows are drawn" * (cut < rows)
        page.line(f"storage of {found.size:,} cells, a row is a cache line of {strides.LINE} B{drawn}", MUTED)
        read = set(strides.View(shown_shape(view.shape), view.strides, view.offset).cells())
        first = window["first"] - lead
        page.tiles((rows, per), lambda at: _cell(window, first + at[0] * per + at[1], read), measured=False)
        return page.png()

    def __repr__(self):
        given = self._given
        view = f"{tuple(given['shape'])}, strides {tuple(given['strides'])}, offset {given['offset']}"
        return f"{type(self).__name__}({given['library']} {given['dtype']} {view}, storage of {given['size']} cells)"

    def close(self):
        """End the panel and let the tensor go."""
        super().close()
        self._tensor = None


class StrideVisualizer(StorageView):
    """StorageView with operations: transpose, slice, expand, reshape ...; after each, view or copy, and why.

    tensor: as for StorageView. Nothing is written to it. ops: operations to open with, as ("transpose", 0, 1), in the
    form of `kit.arrays.strides.apply`; the trait `ops` follows the reader.

    In the browser the operations follow the rules of kit.arrays. While a kernel is there, each is also done by the
    tensor's own library, and whether it copied is what data_ptr says. A copy of more than 64 MiB is not made for that.
    """

    ops = traitlets.List(help="the operations so far: [name, argument, ...]").tag(sync=True)
    _verdict = traitlets.Dict(help="what the library said to these ops").tag(sync=True)

    def __init__(self, tensor, *, ops=(), title="", **kwargs):
        if unknown := [name for name, *_ in ops if name not in strides.OPERATIONS]:
            raise ValueError(f"ops: got {unknown[0]!r}, wanted {', '.join(strides.OPERATIONS)}")
        super().__init__(tensor, title=title or "Strides", **kwargs)
        self.observe(self._judge, "ops")
        self.ops = [list(op) for op in ops]

    def _read(self):
        tensor, made = self._tensor, []
        for op in self.ops if tensor is not None else ():
            try:
                tensor = _done(tensor, op)
            except Exception:  # the verdict has said it; what was read before stays
                break
            made.append(f"{op[0]}({', '.join(map(str, op[1:]))})")
        return tensor, "  ".join(made)

    def _said(self):
        if not self.ops:
            return []
        library, steps = self._verdict["library"], self._verdict["steps"]
        if "error" in steps[-1]:
            return [f"error: {library}: {steps[-1]['error']}"]
        before, (name, *arguments) = [self._given, *steps][-2], self.ops[-1]
        view = strides.View(tuple(before["shape"]), tuple(before["strides"]), before["offset"])
        kind, storage = ("copy", "a new storage") if steps[-1]["copied"] else ("view", "the same storage")
        pointer = "data_ptr" if library == "torch" else "base address"
        return [
            f"{kind}: {strides.apply(view, name, *arguments, library=library).why}",
            f"{library} says: {storage}, {pointer} {int(steps[-1]['address']):#x}",
        ]

    def _judge(self, _):
        if self._tensor is None:
            return
        self._verdict = verdict(self._tensor, self.ops)
        self._follow(strides.memory(self._tensor))

    def _follow(self, found):
        """Send the part of a large storage that is read now, where it is another than was sent."""
        for step in self._verdict["steps"]:
            if step.get("copied", True):
                break
            found = found._replace(view=strides.View(step["shape"], step["strides"], step["offset"]))
        if _first(found) != self._storage["first"]:
            self._storage = _window(self._tensor, found)


def verdict(tensor, ops):
    """What a tensor's own library makes of operations.

    {"library", "ops", "steps": [{"shape", "strides", "offset", "copied", "address"}, ..., or last {"error"}]}, and
    "write": {"changed": places} or {"error"} where several places of the result read one cell.
    """
    given, made = tensor, {"library": strides.library_of(tensor), "ops": ops, "steps": []}
    for op in ops:
        try:
            result = _done(tensor, op)
        except Exception as error:
            made["steps"].append({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"})
            return made
        made["steps"].append(_described(tensor, result))
        tensor = result
    if write := _written(given, ops):
        made["write"] = write
    return made


def _done(tensor, op):
    found = strides.memory(tensor)
    with contextlib.suppress(ValueError, IndexError):  # where the rules find fault, the library shall say so itself
        outcome = strides.apply(found.view, *op, library=found.library)
        if outcome.copied and outcome.view.count * found.itemsize > MOST_COPIED:
            raise MemoryError(f"a copy of {outcome.view.count * found.itemsize / 2**20:.0f} MiB was not made")
    return strides.on_tensor(tensor, *op)


def _described(before, after):
    found = strides.memory(after)
    return {
        "shape": list(found.view.shape),
        "strides": list(found.view.strides),
        "offset": found.view.offset,
        "copied": not strides.shares(before, after),
        "address": str(found.address),
    }


def _written(tensor, ops):
    """What writing one number does where places share its cell, tried on a copy of the storage; None where none do."""
    found = strides.memory(tensor)
    if found.size > MOST_CELLS or not found.view.count:
        return None
    spare = _copy(strides.storage_of(tensor))
    result = strides.on_tensor(spare, "as_strided", found.view.shape, found.view.strides, found.view.offset)
    for op in ops:
        result = strides.on_tensor(result, *op)
    view = strides.memory(result).view
    if not 0 < view.count <= MOST_CELLS or len(set(view.cells())) == view.count:
        return None
    before, first = _copy(result), (0,) * len(view.shape)
    try:
        result[first] = 1 if before[first] == 0 else 0
    except (RuntimeError, ValueError) as error:
        return {"error": str(error).strip().splitlines()[0]}
    return {"changed": int((result != before).sum())}


def _copy(tensor):
    return tensor.clone() if hasattr(tensor, "clone") else tensor.copy()


def _window(tensor, found):
    """{"first", "values"}: up to 10,000 cells of the storage as texts, from the line of the lowest cell read."""
    first = _first(found)
    return {"first": first, "values": texts(numbers(strides.storage_of(tensor)[first : first + MOST_CELLS]))}


def _first(found):
    if found.size <= MOST_CELLS or not found.view.bounds:
        return 0
    per = max(1, strides.LINE // found.itemsize)
    return found.view.bounds[0] // per * per


def _cell(window, cell, read=None):
    """(text, fill, ghost) of a storage cell; tinted if it is among those read, or all are."""
    at, values = cell - window["first"], window["values"]
    if not 0 <= at < len(values):
        return "", None, False
    return number_text(values[at]), CELL if read is not None and cell not in read else _tint(at / len(values)), False


def _tint(share):
    return tuple(round(255 * part) for part in colorsys.hls_to_rgb((0.6 + 0.72 * share) % 1, 0.88, 0.55))
