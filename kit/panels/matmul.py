"""MatmulStepper: a product of arrays, multiply-add by multiply-add, in the browser; any einsum of one or two arrays."""

import numpy as np
import traitlets

from kit.arrays import einsum as rules
from kit.panels._cells import ALARM, CELL, MUTED, Picture, number_text, shown_shape
from kit.panels._panel import Panel, source
from kit.panels.strides import as_tensor, numbers

ORDERS = ("rows", "outer", "blocks")
MOST_ROWS = 24  # in the picture, so that three arrays fit one page


class MatmulStepper(Panel):
    """Step through a matrix product, or another einsum: which cells each multiply-add reads, and the sums as they grow.

    a, b: torch tensors on any device, numpy arrays or nested lists of real numbers, up to six axes; b may be left out
        for an einsum of one operand. Of a large array at most 10,000 numbers are drawn and summed, and the panel says
        which. Sums are carried in float64, whatever the dtype.
    order: "rows", a row times a column, cell by cell; "outer", a column times a row, added to all of the result; or
        "blocks", a block of the result from blocks of both.
    einsum: letters for the axes, as for numpy.einsum, without an ellipsis. The reader types others; where the arrays do
        not fit those, counted numbers stand in for them, and the panel says so.
    block: the side of a block.

    `order`, `einsum`, `block` and `step`, the multiply-adds done, follow the reader. Raises TypeError for what holds no
    real numbers and sparse, quantised or meta tensors, ValueError for what the einsum does not fit.
    """

    _esm = source("_draw.js", "_cells.js", "_play.js", "matmul.js")
    _css = source("_panel.css", "_cells.css")

    order = traitlets.Enum(ORDERS, "rows").tag(sync=True)
    einsum = traitlets.Unicode("ik,kj->ij").tag(sync=True)
    block = traitlets.Int(2, min=1, help="side of a block").tag(sync=True)
    step = traitlets.Int(0, min=0, help="multiply-adds done").tag(sync=True, echo_update=False)
    _operands = traitlets.List(help="as given: name, shape, the shape that is shown, dtype").tag(sync=True)
    _values = traitlets.Bytes(help="the numbers shown, float64, one operand after another").tag(sync=True)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(self, a, b=None, *, order="rows", einsum="ik,kj->ij", title="", **kwargs):
        if order not in ORDERS:
            raise ValueError(f"order: got {order!r}, wanted one of {', '.join(ORDERS)}")
        given = [_Operand(name, array) for name, array in (("a", a), ("b", b)) if array is not None]
        try:
            _rule(einsum, given)
        except rules.EinsumError as error:
            raise ValueError(_words(einsum, error)) from None
        state = {"_operands": [operand.state for operand in given], "_values": b"".join(map(_Operand.bytes, given))}
        super().__init__(order=order, einsum=einsum, title=title, **state, **kwargs)
        self._given = given

    @traitlets.validate("einsum")
    def _is_einsum(self, proposal):
        try:
            rules.parse(proposal.value)
        except rules.EinsumError as error:
            raise traitlets.TraitError(_words(proposal.value, error)) from None
        return proposal.value

    def stats(self):
        """What the browser measured: moves, and p50_ms and p95_ms from an input to its picture; {} before any."""
        return dict(self._timing)

    def _static(self):
        page, operands = Picture(), self._given
        page.line(self.title or "Matrix product", size=14)
        given = ", ".join(f"{operand.name} {operand.shape}" for operand in operands)
        page.line(f"c = einsum({self.einsum!r}, ...)   of {given}")
        try:
            rule, whole, sizes = _rule(self.einsum, operands)
        except rules.EinsumError as error:
            page.line(_words(self.einsum, error), ALARM)
            return page.png()
        if cut := [
            f"{sizes[letter]} of {whole[letter]:,} of {letter}" for letter in whole if sizes[letter] < whole[letter]
        ]:
            page.line(f"Shown and summed: the first {', '.join(cut)}.", MUTED)
        operands = operands[: len(rule.operands)]
        arrays = [operand.cut(letters, sizes) for operand, letters in zip(operands, rule.operands, strict=True)]
        for operand, array in zip(operands, arrays, strict=True):
            _draw(page, operand.name, array)
        _draw(page, "c", np.einsum(self.einsum, *arrays))
        return page.png()

    def __repr__(self):
        given = ", ".join(f"{operand.name} {operand.shape}" for operand in self._given)
        return f"MatmulStepper({given}, order={self.order!r}, einsum={self.einsum!r}, step={self.step})"


class _Operand:
    """An array and the first of its numbers, as float64: at most 10,000 of them."""

    def __init__(self, name, given):
        tensor = as_tensor(given, name)
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype.startswith(("complex", "bool")):
            raise TypeError(f"{name}: got an array of {dtype}, wanted real numbers")
        self.name, self.shape, self.dtype = name, tuple(tensor.shape), dtype
        part = tensor[tuple(slice(size) for size in shown_shape(self.shape))]
        self.values = np.array(numbers(part.reshape(-1)), np.float64).reshape(tuple(part.shape))

    @property
    def state(self):
        """What the browser needs besides the numbers."""
        return {"name": self.name, "shape": list(self.shape), "shown": list(self.values.shape), "dtype": self.dtype}

    def bytes(self):
        """The numbers, row by row, little-endian."""
        return self.values.astype("<f8").tobytes()

    def cut(self, letters, sizes):
        """The numbers as far as every operand has them."""
        return self.values[tuple(slice(sizes[letter]) for letter in letters)]


def _draw(page, name, array):
    part = array[(slice(MOST_ROWS),) * array.ndim]
    page.line(f"{name} {array.shape}" + f", drawn up to {part.shape}" * (part.size < array.size), MUTED)
    page.tiles(part.shape, lambda index: (number_text(repr(float(part[index]))), CELL, False))


def _rule(text, operands):
    """(Rule, {letter: size}, the same as far as the numbers are at hand). Raises EinsumError."""
    rule = rules.parse(text)
    operands = operands[: len(rule.operands)]
    whole = rules.sizes(rule, *(operand.shape for operand in operands))
    sizes = dict(whole)
    for operand, letters in zip(operands, rule.operands, strict=True):
        for letter, size, shown in zip(letters, operand.shape, operand.values.shape, strict=True):
            if size != 1:
                sizes[letter] = min(sizes[letter], shown)
    return rule, whole, sizes


def _words(text, error):
    return f"einsum: {text!r}, place {error.position}: {error}"
