"""The exercises of walkthroughs/broadcasting-strides.ipynb.

The right answers are loops, one number at a time; where a view is asked for they are as_strided, which the tests hold
against loops. Answers are tried on packed tensors and on views with holes (`layouts`); sizes are at least 1.
A cell is one number of a storage, counted from 0; strides count cells.
"""

from __future__ import annotations

import random
from itertools import pairwise, product
from math import prod

import torch

from kit.arrays.strides import LINE
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal, shapes
from kit.exercises.layouts import as_view, twice


def _sizes(count: int, axes: int, seed: int) -> list[list[int]]:
    """A small list of sizes, the one whose axes are all equal, then random ones of 1 to 5."""
    luck = random.Random(seed)
    return [[1] * (axes - 1) + [2], [3] * axes, *([luck.randint(1, 5) for _ in range(axes)] for _ in range(count - 2))]


# joint_shape


def _joint_shape(a, b):
    joint = []
    for place in range(1, max(len(a), len(b)) + 1):
        m = a[-place] if place <= len(a) else 1
        n = b[-place] if place <= len(b) else 1
        if m != n and 1 not in (m, n):
            raise ValueError(f"axis {-place}: {m} and {n}")
        joint.insert(0, n if m == 1 else m)
    return tuple(joint)


def _pairs_of_shapes() -> list[dict]:
    pairs = [((3,), (2, 3)), ((3, 1), (3,)), ((2, 3), (2,)), ((), (2, 2)), ((1,), (0,)), ((4, 1, 3), (2, 1))]
    pairs += [((2, 1), (8, 4, 3)), ((0, 3), (3, 3)), ((5, 4), (1,)), ((1, 1, 2), (3, 2)), ((0,), (2,))]
    return [{"a": a, "b": b} for a, b in pairs]


def _observe_shape(function, arguments: dict) -> dict:
    """A shape, whether tuple or torch.Size, or that there is none."""
    try:
        shape = function(*arguments.values())
    except ValueError:
        shape = "ValueError"
    return {"result": tuple(shape) if isinstance(shape, tuple) else shape}


def _aligned_left(a, b):
    reverse = _joint_shape(a[::-1], b[::-1])
    return reverse[::-1]


def _largest(a, b):
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise ValueError
    return tuple(map(max, a, b))


def _unchecked(a, b):
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


joint_shape = Exercise(
    name="joint_shape",
    asks="joint_shape(a, b), which returns the shape to which two shapes broadcast, or raises ValueError.",
    answer=_joint_shape,
    inputs=_pairs_of_shapes,
    observe=_observe_shape,
    mistakes={
        "shapes are lined up at their left ends here; they line up at their right ends.": _aligned_left,
        "the larger size wins here; but (1,) and (0,) give (0,): it is the size that is not 1 that wins.": _largest,
        "this never refuses: sizes that differ must raise ValueError if neither is 1.": _unchecked,
    },
)


# normalise_pictures


def _normalise(x, mean, std):
    result = torch.empty_like(x)
    for n, c, h, w in product(*map(range, x.shape)):
        result[n, c, h, w] = (x[n, c, h, w] - mean[c]) / std[c]
    return result


def _pictures() -> list[dict]:
    def given(i, shape):
        mean, std = normal(shape[1:2], 300 + i, dtype(i)), normal(shape[1:2], 330 + i, dtype(i))
        return {"x": normal(shape, i, dtype(i)), "mean": mean, "std": std.abs() + 0.5}

    return [given(i, shape) for i, shape in enumerate([(1, 2, 1, 1), (3, 3, 3, 3), (4, 2, 5, 2), *shapes(6)[2:]])]


def _channels(level):
    return level[:, None, None]


normalise_pictures = Exercise(
    name="normalise_pictures",
    asks="normalise_pictures(x, mean, std), which returns (x - mean) / std, channel by channel; mean and std are (c,).",
    answer=_normalise,
    inputs=_pictures,
    observe=twice,
    mistakes={
        "(c,) lines up with the last axis, the columns: make it (c, 1, 1) to have one number for each channel.": (
            lambda x, mean, std: (x - mean) / std
        ),
        "(c, 1) lines up with the rows: one more axis, (c, 1, 1), and it lines up with the channels.": (
            lambda x, mean, std: (x - mean[:, None]) / std[:, None]
        ),
        "(c, 1, 1, 1) lines up with the pictures: the channels want only two axes after them.": (
            lambda x, mean, std: (x - mean[:, None, None, None]) / std[:, None, None, None]
        ),
        "std is a standard deviation already: divide by it, not by its square root.": (
            lambda x, mean, std: (x - _channels(mean)) / _channels(std).sqrt()
        ),
        "the order is turned: subtract the mean first, then divide.": (
            lambda x, mean, std: x / _channels(std) - _channels(mean)
        ),
    },
)


# padding_mask


def _padding_mask(lengths, width):
    return torch.tensor([[place < length for place in range(width)] for length in lengths.tolist()])


def _lengths() -> list[dict]:
    luck = random.Random(4)
    given = [([1], 2), ([2, 0, 3], 3), ([3, 3, 1, 0], 3)]
    given += [([luck.randint(0, width) for _ in range(n)], width) for n, width in ((5, 4), (2, 6), (6, 6), (4, 1))]
    return [{"lengths": torch.tensor(lengths), "width": width} for lengths, width in given]


padding_mask = Exercise(
    name="padding_mask",
    asks=(
        "padding_mask(lengths, width), which returns a bool tensor (n, width): True at the first lengths[i] places "
        "of row i."
    ),
    answer=_padding_mask,
    inputs=_lengths,
    observe=twice,
    mistakes={
        "places count from 0: a text of 3 tokens has the places 0, 1, 2, so a place must be less than the length.": (
            lambda lengths, width: torch.arange(width) <= lengths[:, None]
        ),
        "this is True where there is padding; wanted True where there is text.": (
            lambda lengths, width: torch.arange(width) >= lengths[:, None]
        ),
        "the axes are exchanged: texts go down, (n, 1); places go across, (width,).": (
            lambda lengths, width: torch.arange(width)[:, None] < lengths
        ),
        "(n,) and (width,) line up with each other: make the lengths (n, 1).": (
            lambda lengths, width: torch.arange(width) < lengths
        ),
        "right, but in numbers: a comparison is bool already.": (
            lambda lengths, width: (torch.arange(width) < lengths[:, None]).float()
        ),
    },
)


# squared_distances


def _squared_distances(x, y):
    result = x.new_zeros(len(x), len(y))
    for i, j, k in product(range(len(x)), range(len(y)), range(x.shape[1])):
        result[i, j] += (x[i, k] - y[j, k]) ** 2
    return result


def _points() -> list[dict]:
    return [
        {"x": normal((n, d), 2 * i, dtype(i)), "y": normal((m, d), 2 * i + 1, dtype(i))}
        for i, (n, m, d) in enumerate(_sizes(8, 3, 5))
    ]


squared_distances = Exercise(
    name="squared_distances",
    asks=(
        "squared_distances(x, y), which returns the squared distance of each row of x (n, d) to each row of y (m, d): "
        "(n, m)."
    ),
    answer=_squared_distances,
    inputs=_points,
    observe=twice,
    mistakes={
        "x and y are exchanged: wanted (n, m), the rows of x going down.": (
            lambda x, y: (y[:, None] - x).square().sum(-1)
        ),
        "row i of x meets only row i of y: x wants a new axis, (n, 1, d).": lambda x, y: (x - y).square().sum(-1),
        "wanted the square of the distance: no root.": lambda x, y: (x[:, None] - y).square().sum(-1).sqrt(),
        "the sum goes over the points here; it goes over the last axis, the coordinates.": (
            lambda x, y: (x[:, None] - y).square().sum(1)
        ),
        "the coordinates are added before they are squared.": lambda x, y: (x[:, None] - y).sum(-1).square(),
    },
)


# cell_of


def _cell_of(index, strides, offset):
    cell = offset
    for i, stride in zip(index, strides, strict=True):
        cell += i * stride
    return cell


def _indices() -> list[dict]:
    luck = random.Random(6)
    given = [((1, 2), (3, 1), 0), ((1, 2), (3, 1), 4), ((2, 1), (1, 3), 0), ((4,), (-1,), 5), ((3, 2), (0, 1), 1)]
    given += [((), (), 7)]
    given += [
        (tuple(luck.randint(0, 4) for _ in range(axes)), tuple(luck.randint(0, 30) for _ in range(axes)), axes)
        for axes in (2, 3, 4)
    ]
    return [{"index": index, "strides": strides, "offset": offset} for index, strides, offset in given]


cell_of = Exercise(
    name="cell_of",
    asks="cell_of(index, strides, offset), which returns the number of the storage cell that an index reads.",
    answer=_cell_of,
    inputs=_indices,
    mistakes={
        "the offset is forgotten: a view need not begin at cell 0.": lambda index, strides, offset: _cell_of(
            index, strides, 0
        ),
        "strides are taken as positive here; numpy walks backwards with a negative one.": (
            lambda index, strides, offset: _cell_of(index, map(abs, strides), offset)
        ),
        "the strides are taken in reverse order: the first one belongs to the first axis.": (
            lambda index, strides, offset: _cell_of(index, strides[::-1], offset)
        ),
        "the offset is a place in the storage, not a step: add it once.": (
            lambda index, strides, offset: _cell_of(index, strides, offset * max(1, len(index)))
        ),
    },
)


# row_major


def _row_major(shape):
    strides = []
    for axis in range(len(shape)):
        stride = 1
        for size in shape[axis + 1 :]:
            stride *= size
        strides.append(stride)
    return tuple(strides)


row_major = Exercise(
    name="row_major",
    asks="row_major(shape), which returns the strides, a tuple, of a packed tensor of that shape.",
    answer=_row_major,
    inputs=lambda: [{"shape": s} for s in [(3, 4), (5,), (2, 3, 4), (), *map(tuple, _sizes(6, 4, 7))]],
    mistakes={
        "this is column-major: here the first axis is the innermost; in torch it is the last.": (
            lambda shape: tuple(prod(shape[:axis]) for axis in range(len(shape)))
        ),
        "an axis's own size is counted in: its stride is the product of the sizes after it.": (
            lambda shape: tuple(prod(shape[axis:]) for axis in range(len(shape)))
        ),
        "these are bytes of float32; torch counts cells.": (
            lambda shape: tuple(4 * stride for stride in _row_major(shape))
        ),
        "only the next axis's size is taken: it is the product of all the sizes after it.": (
            lambda shape: (*shape[1:], 1) if shape else ()
        ),
        "right, as a list: wanted a tuple.": lambda shape: list(_row_major(shape)),
    },
)


# can_flatten


def _can_flatten(shape, strides):
    cells = [sum(i * stride for i, stride in zip(index, strides, strict=True)) for index in product(*map(range, shape))]
    steps = {after - before for before, after in pairwise(cells)}
    return len(steps) <= 1


def _layouts() -> list[dict]:
    given = [((2, 3), (3, 1)), ((2, 3), (1, 2)), ((4,), (2,)), ((2, 3), (6, 2)), ((2, 3), (4, 1)), ((3, 1), (2, 9))]
    given += [((2, 3), (0, 1)), ((2, 3), (0, 0)), ((2, 2, 3), (6, 3, 1)), ((2, 2, 3), (6, 1, 2)), ((1, 4), (1, 3))]
    given += [((2, 2, 3), (12, 6, 2)), ((2, 1, 3), (3, 99, 1)), ((2, 2, 3), (8, 3, 1)), ((5,), (0,)), ((), ())]
    return [{"shape": shape, "strides": strides} for shape, strides in given]


def _is_contiguous(shape, strides):
    return all(n == 1 or stride == packed for n, stride, packed in zip(shape, strides, _row_major(shape), strict=True))


def _joins_all(shape, strides):
    """can_flatten, but axes of size 1 count, too."""
    return all(s == n * t for s, n, t in zip(strides, shape[1:], strides[1:], strict=False))


def _joins_last(shape, strides):
    kept = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != 1][-2:]
    return len(kept) < 2 or kept[0][1] == kept[1][0] * kept[1][1]


can_flatten = Exercise(
    name="can_flatten",
    asks="can_flatten(shape, strides), which returns whether one stride walks all numbers in row-major order.",
    answer=_can_flatten,
    inputs=_layouts,
    mistakes={
        "contiguous is more than is needed: every other cell of a row can be walked by one stride, too, by 2.": (
            _is_contiguous
        ),
        "an axis of size 1 is never stepped along, so that its stride does not matter.": _joins_all,
        "only the last two axes are compared: every axis must join the next.": _joins_last,
        "strides that fall from axis to axis are not enough: there may be a gap at the end of a row.": (
            lambda shape, strides: all(s >= t for s, t in pairwise(strides))
        ),
    },
)


# diagonal_view


def _diagonal_view(x):
    return x.as_strided((min(x.shape),), (sum(x.stride()),))


def _matrices(seed: int) -> list[dict]:
    return [{"x": normal(size, seed + i, dtype(i))} for i, size in enumerate([(2, 2), (2, 3), *_sizes(6, 2, seed)])]


diagonal_view = Exercise(
    name="diagonal_view",
    asks="diagonal_view(x), which returns x[0, 0], x[1, 1], ... of a matrix (h, w) as a view by as_strided.",
    answer=_diagonal_view,
    inputs=lambda: _matrices(8),
    observe=as_view,
    mistakes={
        "w + 1 is the step in a packed matrix only: in any matrix it is x.stride(0) + x.stride(1).": (
            lambda x: x.as_strided((min(x.shape),), (x.shape[1] + 1,))
        ),
        "this begins at cell 0 of the storage; x may begin later: leave the offset out, or take x.storage_offset().": (
            lambda x: x.as_strided((min(x.shape),), (sum(x.stride()),), 0)
        ),
        "right numbers, in a new storage: wanted a view.": lambda x: _diagonal_view(x).clone(),
    },
)


# windows


def _windows(x, size):
    (step,) = x.stride()
    return x.as_strided((len(x) - size + 1, size), (step, step))


def _lines() -> list[dict]:
    return [
        {"x": normal((n,), 9 + i, dtype(i)), "size": size}
        for i, (n, size) in enumerate([(4, 2), (4, 3), (5, 1), (6, 6), (6, 2), (9, 3), (7, 5)])
    ]


windows = Exercise(
    name="windows",
    asks="windows(x, size), which returns every run of `size` neighbours of x (n,) as a view (n - size + 1, size).",
    answer=_windows,
    inputs=_lines,
    observe=as_view,
    mistakes={
        "the windows do not overlap: the next one begins one number on, not `size`.": (
            lambda x, size: x[: len(x) // size * size].unflatten(0, (-1, size))
        ),
        "a step of 1 is right only where x is packed: take x.stride(0), for both axes.": (
            lambda x, size: x.as_strided((len(x) - size + 1, size), (1, 1))
        ),
        "the last window is missing: there are n - size + 1.": lambda x, size: x.unfold(0, size, 1)[:-1],
        "the axes are exchanged: a row is a window.": lambda x, size: x.unfold(0, size, 1).T,
        "right numbers, in a new storage: wanted a view.": lambda x, size: x.unfold(0, size, 1).clone(),
    },
)


# patches


def _patches(x, p):
    (h, w), (down, across) = x.shape, x.stride()
    return x.as_strided((h // p, w // p, p, p), (p * down, p * across, down, across))


def _tiled() -> list[dict]:
    sizes = [(1, 2, 2), (2, 2, 2), (3, 2, 1), (2, 3, 2), (1, 1, 3), (3, 3, 3), (4, 2, 3)]
    return [
        {"x": normal((rows * p, columns * p), 20 + i, dtype(i)), "p": p} for i, (rows, columns, p) in enumerate(sizes)
    ]


patches = Exercise(
    name="patches",
    asks=(
        "patches(x, p), which cuts x (h, w) into squares of p by p: a view (h // p, w // p, p, p); p divides h and w."
    ),
    answer=_patches,
    inputs=_tiled,
    observe=as_view,
    mistakes={
        "the numbers are dealt out in reading order, so that a square holds pieces of one row: split each axis in two "
        "first, then bring the two halves together.": lambda x, p: x.reshape(x.shape[0] // p, x.shape[1] // p, p, p),
        "each axis is split in two, but the squares' axes are still apart: exchange the two in the middle.": (
            lambda x, p: x.unflatten(1, (-1, p)).unflatten(0, (-1, p))
        ),
        "the squares overlap: the next one begins p numbers on.": lambda x, p: x.unfold(0, p, 1).unfold(1, p, 1),
        "the squares lie on their sides: rows and columns within each are exchanged.": (
            lambda x, p: x.unfold(0, p, p).unfold(1, p, p).transpose(2, 3)
        ),
        "right numbers, in a new storage: wanted a view.": lambda x, p: x.unfold(0, p, p).unfold(1, p, p).clone(),
    },
)


# lines_touched


def _lines_touched(count, stride, itemsize):
    touched = set()
    for i in range(count):
        touched.add(i * stride * itemsize // LINE)
    return len(touched)


lines_touched = Exercise(
    name="lines_touched",
    asks=(
        "lines_touched(count, stride, itemsize), which returns how many cache lines of 64 bytes `count` numbers lie "
        "on, `stride` cells apart; the first begins a line."
    ),
    answer=_lines_touched,
    inputs=lambda: [
        {"count": count, "stride": stride, "itemsize": itemsize}
        for count, stride, itemsize in [
            *((16, 1, 4), (17, 1, 4), (16, 2, 4), (16, 16, 4), (16, 100, 4), (8, 0, 4), (9, 1, 8), (10, 3, 8)),
            *((7, 5, 2), (100, 7, 4), (33, 12, 4), (3, 64, 1)),
        ]
    ],
    mistakes={
        "the stride is forgotten: numbers that lie apart fill fewer places of a line.": (
            lambda count, stride, itemsize: -(-count * itemsize // LINE)
        ),
        "these are the lines between the first number and the last; with strides of more than a line some are passed "
        "over, and never touched.": (lambda count, stride, itemsize: (count - 1) * stride * itemsize // LINE + 1),
        "strides count cells: times the itemsize they count bytes.": (
            lambda count, stride, itemsize: _lines_touched(count, stride, 1)
        ),
        "neighbours share a line: only strides of a line or more cost a line for each number.": (
            lambda count, stride, itemsize: count
        ),
    },
)


EXERCISES = (
    *(joint_shape, normalise_pictures, padding_mask, squared_distances, cell_of, row_major, can_flatten),
    *(diagonal_view, windows, patches, lines_touched),
)
