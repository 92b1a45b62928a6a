"""APL's operators: functions made of functions. A function here is f(left, right), left None if it has one argument.

Its `scalar` says that it works cell by cell, its `glyph` which primitive it is ("" if none): then whole arrays are
handed on at once instead of item by item.
"""

import math

import numpy as np

from kit.arrays import _apl_functions as apl
from kit.arrays._apl_words import AplError

# Where the order of evaluation does not matter numpy folds faster, and to the same numbers but for rounding.
FOLDS = {"+": np.add, "-": np.add, "×": np.multiply, "⌈": np.maximum, "⌊": np.minimum}


def reduce(function, array, axis):
    """function between the cells along an axis, evaluated from right to left."""
    if array.ndim == 0:
        return array
    cells = np.moveaxis(array, axis, 0)
    if len(cells) == 0:
        return _of_nothing(function, cells.shape[1:])
    if len(cells) == 1:
        return cells.reshape(cells.shape[1:])
    if function.glyph in FOLDS and not apl.is_nested(array):
        return apl.finite(FOLDS[function.glyph].reduce(_terms(function, cells), 0))
    if function.scalar:
        return _folded(function, apl.cells(cells))
    lines = cells.reshape(len(cells), math.prod(cells.shape[1:])).T
    return apl.collect([apl.enclosed(_folded(function, apl.items(line))) for line in lines], cells.shape[1:])


def _terms(function, cells):
    """The numbers to fold; for -, which from the right is an alternating sum, every second one negative."""
    cells = apl.numbers(cells)
    if function.glyph != "-":
        return cells
    signs = np.where(np.arange(len(cells)) % 2, -1.0, 1.0)
    return cells * signs.reshape(-1, *[1] * (cells.ndim - 1))


def _of_nothing(function, shape):
    if function.glyph not in apl.IDENTITY:
        raise AplError(
            "DOMAIN ERROR", f"nothing to reduce, and {function.glyph or 'the function'} has no identity element"
        )
    return np.full(shape, apl.IDENTITY[function.glyph])


def _folded(function, cells):
    made = cells.pop()
    while cells:
        made = function(cells.pop(), made)
    return made


def windows(function, left, right, axis):
    """The reduction of every run of as many cells as `left` says, turned round if that is below 0."""
    if left.size != 1:
        raise AplError("LENGTH ERROR", f"{left.size} widths for a windowed reduction, wanted one")
    width = int(apl.whole(left, "a width").reshape(()))
    right = right if right.ndim else right.reshape(1)
    size = right.shape[axis]
    if abs(width) > size + 1:
        raise AplError("LENGTH ERROR", f"windows of {abs(width)} over {size} cells")
    if width == 0 or abs(width) == size + 1:
        shape = list(right.shape)
        shape[axis] = size + 1 - abs(width)
        return _of_nothing(function, shape) if width == 0 else apl.filled(shape, right)
    views = np.lib.stride_tricks.sliding_window_view(right, abs(width), axis)
    apl.limit(views.shape)
    return reduce(function, views if width > 0 else views[..., ::-1], -1)


def scan(function, array, axis):
    """The reductions of the first cell, the first two, the first three, ..."""
    if array.ndim == 0 or array.size == 0:
        return array
    cells = np.moveaxis(array, axis, 0)
    if function.glyph in FOLDS and not apl.is_nested(array):
        return np.moveaxis(apl.finite(FOLDS[function.glyph].accumulate(_terms(function, cells), 0)), 0, axis)
    made = [reduce(function, cells[: end + 1], 0) for end in range(len(cells))]
    return np.moveaxis(np.stack(apl.alike(*made)), 0, axis)


def each(function, left, right):
    """function of each item, or of each pair of items; its results are the items of the result."""
    if left is None:
        return apl.collect([function(None, item) for item in apl.items(right)], right.shape)
    left, right = apl.agreed(left, right)
    shape = left.shape or right.shape
    ones, others = (np.broadcast_to(array, shape) for array in (left, right))
    pairs = zip(apl.items(ones), apl.items(others), strict=True)
    return apl.collect([function(*pair) for pair in pairs], shape)


def outer(function, left, right):
    """function of every item on the left with every item on the right."""
    shape = apl.limit(left.shape + right.shape)
    if function.scalar:
        ones = np.broadcast_to(left.reshape(left.shape + (1,) * right.ndim), shape)
        return function(ones, np.broadcast_to(right, shape))
    others = apl.items(right)
    return apl.collect([function(one, other) for one in apl.items(left) for other in others], shape)


def inner(fold, function, left, right):
    """The last axis of the left argument with the first of the right one: paired by `function`, reduced by `fold`."""
    left, right = _conforming(left, right)
    shape = apl.limit(left.shape[:-1] + right.shape[1:])
    nested = apl.is_nested(left) or apl.is_nested(right)
    if (fold.glyph, function.glyph) == ("+", "×") and not nested:
        return apl.finite(np.tensordot(apl.numbers(left), apl.numbers(right), 1))
    if fold.scalar and function.scalar and len(right):
        pairs = list(zip(apl.cells(np.moveaxis(left, -1, 0)), apl.cells(right), strict=True))
        made = outer(function, *pairs.pop())
        while pairs:
            made = fold(outer(function, *pairs.pop()), made)
        return made
    rows = left.reshape(math.prod(left.shape[:-1]), left.shape[-1])
    columns = right.reshape(len(right), math.prod(right.shape[1:])).T
    found = [apl.enclosed(reduce(fold, function(row, column), -1)) for row in rows for column in columns]
    return apl.collect(found, shape)


def _conforming(left, right):
    """Both with an axis to pair, a single element repeated along it."""
    size = right.shape[0] if right.ndim and right.size != 1 else left.shape[-1] if left.ndim else 1
    if left.size == 1 and left.ndim < 2:
        left = np.repeat(left.reshape(1), size)
    if right.size == 1 and right.ndim < 2:
        right = np.repeat(right.reshape(1), size)
    if left.shape[-1] != right.shape[0]:
        raise AplError("LENGTH ERROR", f"the last axis has {left.shape[-1]}, the first axis {right.shape[0]}")
    return left, right


def commute(function, left, right):
    return function(right, right if left is None else left)


def rank(function, given, left, right):
    """function of the cells of the given ranks; the results are the cells of the result."""
    one, monadic, other = ranks(given)
    if left is None:
        frame, cells = _cells(right, monadic)
        return _joined([function(None, cell) for cell in cells], frame)
    (left_frame, ones), (right_frame, others) = _cells(left, one), _cells(right, other)
    if left_frame and right_frame and left_frame != right_frame:
        name = "RANK ERROR" if len(left_frame) != len(right_frame) else "LENGTH ERROR"
        raise AplError(name, f"cells arranged as {left_frame} against {right_frame}")
    frame = left_frame or right_frame
    ones, others = (
        cells if arranged else cells * math.prod(frame)
        for arranged, cells in ((left_frame, ones), (right_frame, others))
    )
    return _joined([function(*pair) for pair in zip(ones, others, strict=True)], frame)


def ranks(operand):
    """(of the left argument, of a single one, of the right argument); one number says all, two say left and right."""
    given = apl.whole(apl.line(operand, "the right operand of ⍤"), "a rank").tolist()
    if len(given) not in (1, 2, 3):
        raise AplError("LENGTH ERROR", f"{len(given)} ranks, wanted 1, 2 or 3")
    return {1: given * 3, 2: [given[0], given[-1], given[-1]], 3: [given[1 % len(given)], given[0], given[-1]]}[
        len(given)
    ]


def _cells(array, cell_rank):
    kept = min(cell_rank, array.ndim) if cell_rank >= 0 else max(0, array.ndim + cell_rank)
    frame = array.shape[: array.ndim - kept]
    return frame, apl.cells(array.reshape(math.prod(frame), *array.shape[len(frame) :]))


def _joined(cells, frame):
    if not cells:
        return np.zeros(frame)
    if len({cell.shape for cell in cells}) == 1 and not frame:
        return cells[0]
    boxed = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        boxed[i] = cell
    return apl.mixed(boxed).reshape(frame + apl.mixed(boxed).shape[1:])


def power(function, times, left, right):
    """function applied again and again: as often as a number says, or until a function of (new, old) gives 1."""
    if not callable(times):
        if times.size != 1:
            raise AplError("LENGTH ERROR", "⍣ wants one count on its right")
        count = int(apl.whole(times, "the count of ⍣").reshape(()))
        if count < 0:
            raise AplError("NONCE ERROR", "⍣ with a negative count, the inverse, is not supported here")
        for _ in range(count):
            right = function(left, right)
        return right
    while True:
        new = function(left, right)
        verdict = times(new, right)
        if verdict.size != 1 or float(apl.truths(apl.numbers(verdict)).reshape(())) not in (0.0, 1.0):
            raise AplError("DOMAIN ERROR", "the test of ⍣ gave neither 0 nor 1")
        right = new
        if verdict.reshape(()) == 1:
            return right
