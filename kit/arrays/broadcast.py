"""Broadcasting: shapes aligned at their right ends; the joint shape or, axis by axis, why there is none.

    shape      a tuple of sizes, each an int >= 0
    axis       counted from the right, -1 the last: that is where shapes are aligned
    joint      the shape to which every operand is stretched

The rule (NumPy manual, "Broadcasting", which torch follows): a missing axis counts as one of size 1. Of the sizes at
one axis those that are not 1 must be equal, and are the joint size. A size of 0 is a size like any other, and
stretching 1 to 0 leaves nothing. Pure Python.
"""

import operator
from itertools import combinations
from math import prod
from typing import NamedTuple

MENDS = 4  # more would not be read


class Axis(NamedTuple):
    """One axis of aligned shapes.

    axis: -1 for the last. sizes: one per operand, None where it has no such axis. joint: the size of the result, None
    where there is none. tags: per operand "equal", "stretched" (1 becomes joint), "new" (was missing) or "mismatch".
    """

    axis: int
    sizes: tuple
    joint: int | None
    tags: tuple


class Mend(NamedTuple):
    """One change of one operand that lets shapes join.

    operand: its number. shape: what it becomes. code: in numpy and torch alike; torch: by torch's own methods; expand:
    with the stretching written out. joint: the result's shape. order: of its axes, where they are exchanged, else None.
    """

    operand: int
    shape: tuple
    code: str
    torch: str
    expand: str
    joint: tuple
    order: tuple | None


def as_shape(value, name="shape"):
    """The shape as a tuple of ints: of a sequence of sizes, or of anything with a `shape`.

    Raises TypeError for what is no sequence of whole numbers, ValueError for a negative one.
    """
    sizes = getattr(value, "shape", value)
    try:
        if isinstance(sizes, str | bytes):
            raise TypeError
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"{name}: got {value!r:.60}, wanted sizes, for example (3, 1), or a tensor") from None
    if any(size < 0 for size in shape):
        raise ValueError(f"{name}: got {shape}, wanted sizes of 0 or more")
    return shape


def names(count):
    """a, b, c, ...: what operands are called."""
    return tuple("abcdefghijklmnopqrstuvwxyz"[:count])


def axes(*shapes):
    """The aligned shapes as a list of Axis, from the first axis to the last."""
    rank = max(map(len, shapes), default=0)
    padded = [(None,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return [_axis(place - rank, sizes) for place, sizes in enumerate(zip(*padded, strict=True))]


def _axis(axis, sizes):
    wanted = {size for size in sizes if size not in (None, 1)}
    joint_size = None if len(wanted) > 1 else wanted.pop() if wanted else 1
    return Axis(axis, sizes, joint_size, tuple(_tag(size, joint_size) for size in sizes))


def _tag(size, joint_size):
    if size is None:
        return "new"
    if size == joint_size:
        return "equal"
    return "stretched" if size == 1 else "mismatch"


def joint(*shapes):
    """The joint shape. Raises ValueError with the words of `why_not` if there is none."""
    if reason := why_not(*shapes):
        raise ValueError(reason)
    return tuple(axis.joint for axis in axes(*shapes))


def joins(*shapes):
    """Whether there is a joint shape."""
    return all(axis.joint is not None for axis in axes(*shapes))


def why_not(*shapes):
    """The first axis from the right that does not fit, in words; "" if all do."""
    bad = [axis for axis in axes(*shapes) if axis.joint is None]
    if not bad:
        return ""
    axis, sizes, _, tags = bad[-1]
    found = zip(names(len(shapes)), sizes, tags, strict=True)
    got = ", ".join(f"{name} has {size}" for name, size, tag in found if tag == "mismatch")
    return f"axis {axis}: {got}; wanted equal sizes, or 1, or no such axis"


def mends(*shapes):
    """At most four Mends, the smallest result first; [] if the shapes join already.

    Each inserts axes of size 1 in one operand, as few as will do, or exchanges two of its axes. Where no single change
    makes all shapes join, the first operand that breaks the row is mended against those before it.
    """
    if joins(*shapes):
        return []
    whole = [i for i in range(len(shapes)) if joins(*shapes[:i], *shapes[i + 1 :])]
    found = [mend for i in whole for mend in _mends_of(i, shapes[i], joint(*shapes[:i], *shapes[i + 1 :]))]
    if not found:
        broken = next(i for i in range(len(shapes)) if not joins(*shapes[: i + 1]))
        found = _mends_of(broken, shapes[broken], joint(*shapes[:broken]))
    return sorted(found, key=lambda mend: (len(mend.joint), prod(mend.joint)))[:MENDS]


def _mends_of(operand, shape, rest):
    """The Mends of one operand that let it join the shape of the rest."""
    return [*_exchanges(operand, shape, rest), *_insertions(operand, shape, rest)]


def _insertions(operand, shape, rest):
    name = names(operand + 1)[-1]
    for rank in range(len(shape) + 1, len(shape) + len(rest) + 1):
        found = []
        for kept in combinations(range(rank), len(shape)):
            spread = [1] * rank
            for size, place in zip(shape, kept, strict=True):
                spread[place] = size
            if joins(spread, rest):
                found.append(_insertion(operand, name, tuple(spread), kept, joint(spread, rest)))
        if found:
            return found
    return []


def _insertion(operand, name, spread, kept, result):
    marks = [":" if place in kept else "None" for place in range(kept[-1])] + [":"]
    marks += ["None"] * (len(spread) - len(marks))
    while marks[-1] == ":":
        marks.pop()
    code = f"{name}[{', '.join(marks)}]"
    torch = name + "".join(f".unsqueeze({place})" for place in range(len(spread)) if place not in kept)
    return Mend(operand, spread, code, torch, _expand(code, len(spread), result), result, None)


def _exchanges(operand, shape, rest):
    name = names(operand + 1)[-1]
    for one, other in combinations(range(len(shape)), 2):
        order = list(range(len(shape)))
        order[one], order[other] = other, one
        exchanged = tuple(shape[axis] for axis in order)
        if joins(exchanged, rest):
            code, result = f"{name}.swapaxes({one}, {other})", joint(exchanged, rest)
            torch = f"{name}.transpose({one}, {other})"
            yield Mend(operand, exchanged, code, torch, _expand(code, len(shape), result), result, tuple(order))


def _expand(code, rank, result):
    return f"{code}.expand({', '.join(map(str, result))})"


def source(index, shape):
    """The index in an operand of this shape that a result's index reads: 0 on stretched axes, none on new ones."""
    own = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else i for i, size in zip(own, shape, strict=True))


def feeds(index, shape, result):
    """The result's cells that read one cell of an operand, as one range per axis of the result."""
    new = len(result) - len(shape)
    stretched = [new + axis for axis, size in enumerate(shape) if size == 1]
    return tuple(
        range(size) if axis < new or axis in stretched else range(index[axis - new], index[axis - new] + 1)
        for axis, size in enumerate(result)
    )


def bytes_of(shape, result, itemsize):
    """(bytes stored, bytes of a real copy) of an operand stretched to the result's shape."""
    return prod(shape) * itemsize, prod(result) * itemsize
