"""The exercises on broadcasting and strides: right answers written apart, and wrong ones that must be told why."""

from itertools import product
from math import prod

import numpy as np
import torch

from kit.exercises import EXERCISES
from kit.exercises.layouts import scattered

# Right answers as a reader may write them: by the library, or in another form than the checker's own.


def joint_shape(a, b):
    try:
        return torch.broadcast_shapes(a, b)
    except RuntimeError as error:
        raise ValueError(*error.args) from None


def normalise_pictures(x, mean, std):
    return ((x.movedim(1, -1) - mean) / std).movedim(-1, 1)


def padding_mask(lengths, width):
    return torch.ones(len(lengths), width).cumsum(1) <= lengths.unsqueeze(1)


def squared_distances(x, y):
    return (x * x).sum(1, keepdim=True) - 2 * x @ y.T + (y * y).sum(1)


def cell_of(index, strides, offset):
    return int(np.dot(index, strides)) + offset


def row_major(shape):
    return torch.empty(shape).stride()


def can_flatten(shape, strides):
    try:
        torch.empty_strided(shape, strides).view(-1)
    except RuntimeError:
        return False
    return True


def diagonal_view(x):
    return x.diagonal()


def windows(x, size):
    return x.unfold(0, size, 1)


def patches(x, p):
    return x.unflatten(0, (-1, p)).unflatten(-1, (-1, p)).transpose(1, 2)


def lines_touched(count, stride, itemsize):
    return len(np.unique(np.arange(count) * stride * itemsize // 64))


RIGHT = [
    *(joint_shape, normalise_pictures, padding_mask, squared_distances, cell_of, row_major, can_flatten),
    *(diagonal_view, windows, patches, lines_touched),
]

# Mistakes as a reader makes them, and what the message must name.


def padded(a, b):
    rank = max(len(a), len(b))
    return list(zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True))


def left_aligned(a, b):
    return tuple(reversed(joint_shape(a[::-1], b[::-1])))


def larger(a, b):
    joint_shape(a, b)
    return tuple(max(pair) for pair in padded(a, b))


def never_refuses(a, b):
    return tuple(m if m != 1 else n for m, n in padded(a, b))


def loop_distances(x, y):
    return [[((a - b) ** 2).sum() for b in y] for a in x]


def last_two_join(shape, strides):
    axes = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size > 1][-2:]
    return can_flatten([size for size, _ in axes], [stride for _, stride in axes])


WRONG = [
    ("joint_shape", left_aligned, "left ends"),
    ("joint_shape", larger, "not 1 that wins"),
    ("joint_shape", never_refuses, "never refuses"),
    ("joint_shape", lambda a, b: (torch.zeros(a) + torch.zeros(b)).shape, "raised  RuntimeError"),
    ("joint_shape", lambda a, b: a if len(a) > len(b) else b, "got     "),
    ("joint_shape", lambda a, b: list(joint_shape(a, b)), "got     [2, 3]"),
    ("normalise_pictures", lambda x, mean, std: (x - mean) / std, "one number for each channel"),
    ("normalise_pictures", lambda x, mean, std: (x - mean[:, None]) / std[:, None], "lines up with the rows"),
    (
        "normalise_pictures",
        lambda x, mean, std: (x - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1),
        "lines up with the pictures",
    ),
    (
        "normalise_pictures",
        lambda x, mean, std: (x - mean.view(-1, 1, 1)) / std.view(-1, 1, 1) ** 0.5,
        "not by its square root",
    ),
    (
        "normalise_pictures",
        lambda x, mean, std: x / std.view(-1, 1, 1) - mean.view(-1, 1, 1),
        "the order is turned",
    ),
    ("normalise_pictures", lambda x, mean, std: normalise_pictures(x, mean, std)[:1], "got     "),
    # right values of the wrong shape, which a comparison by broadcasting would let through
    (
        "normalise_pictures",
        lambda x, mean, std: normalise_pictures(x, mean, std)[None],
        "got     tensor (1, 1, 2, 1, 1)",
    ),
    ("padding_mask", lambda lengths, width: torch.arange(width) <= lengths[:, None], "places count from 0"),
    ("padding_mask", lambda lengths, width: ~padding_mask(lengths, width), "True where there is padding"),
    ("padding_mask", lambda lengths, width: padding_mask(lengths, width).T, "axes are exchanged"),
    ("padding_mask", lambda lengths, width: torch.arange(width) < lengths, "make the lengths (n, 1)"),
    ("padding_mask", lambda lengths, width: padding_mask(lengths, width).float(), "a comparison is bool"),
    ("padding_mask", lambda lengths, width: torch.ones(len(lengths), width) > 0, "got     [["),
    ("squared_distances", lambda x, y: squared_distances(y, x), "rows of x going down"),
    ("squared_distances", lambda x, y: ((x - y) ** 2).sum(1), "x wants a new axis"),
    ("squared_distances", lambda x, y: torch.cdist(x, y), "no root"),
    ("squared_distances", lambda x, y: ((x[:, None] - y) ** 2).sum(1), "the last axis"),
    ("squared_distances", lambda x, y: (x[:, None] - y).sum(2) ** 2, "before they are squared"),
    ("squared_distances", lambda x, y: (x[:, None] - y).abs().sum(2), "got     [["),
    ("squared_distances", loop_distances, "got     list"),
    ("cell_of", lambda index, strides, offset: sum(np.multiply(index, strides).tolist()), "offset is forgotten"),
    (
        "cell_of",
        lambda index, strides, offset: offset + sum(i * abs(s) for i, s in zip(index, strides, strict=True)),
        "backwards",
    ),
    (
        "cell_of",
        lambda index, strides, offset: offset + sum(i * s for i, s in zip(index, strides[::-1], strict=True)),
        "reverse order",
    ),
    (
        "cell_of",
        lambda index, strides, offset: (
            sum(offset + i * s for i, s in zip(index, strides, strict=True)) if index else offset
        ),
        "add it once",
    ),
    ("cell_of", lambda index, strides, offset: 4 * cell_of(index, strides, offset), "got     20"),
    ("row_major", lambda shape: tuple(prod(shape[:axis]) for axis in range(len(shape))), "column-major"),
    ("row_major", lambda shape: tuple(prod(shape[axis:]) for axis in range(len(shape))), "own size is counted in"),
    ("row_major", lambda shape: tuple(4 * step for step in row_major(shape)), "bytes of float32"),
    ("row_major", lambda shape: (*shape[1:], 1) if shape else (), "only the next axis's size"),
    ("row_major", lambda shape: list(row_major(shape)), "wanted a tuple"),
    ("row_major", lambda shape: row_major(shape)[:-1], "got     (4,)"),
    ("can_flatten", lambda shape, strides: torch.empty_strided(shape, strides).is_contiguous(), "more than is needed"),
    (
        "can_flatten",
        lambda shape, strides: all(strides[k] == shape[k + 1] * strides[k + 1] for k in range(len(shape) - 1)),
        "size 1",
    ),
    (
        "can_flatten",
        last_two_join,
        "every axis must join the next",
    ),
    ("can_flatten", lambda shape, strides: list(strides) == sorted(strides)[::-1], "gap at the end of a row"),
    ("can_flatten", lambda shape, strides: True, "got     True\n    wanted  False"),
    ("can_flatten", lambda shape, strides: False, "got     False\n    wanted  True"),
    ("diagonal_view", lambda x: x.as_strided((min(x.shape),), (len(x[0]) + 1,)), "packed matrix only"),
    ("diagonal_view", lambda x: x.as_strided((min(x.shape),), (sum(x.stride()),), 0), "begins at cell 0"),
    ("diagonal_view", lambda x: torch.tensor([x[i, i] for i in range(min(x.shape))], dtype=x.dtype), "a new storage"),
    ("diagonal_view", lambda x: x[: min(x.shape), : min(x.shape)].fliplr().diagonal(), "got     ["),
    ("diagonal_view", lambda x: x.as_strided((len(x),), (sum(x.stride()),)), "raised  RuntimeError: setStorage"),
    ("windows", lambda x, size: x.unfold(0, size, size), "the windows do not overlap"),
    ("windows", lambda x, size: x.as_strided((len(x) - size + 1, size), (1, 1)), "only where x is packed"),
    ("windows", lambda x, size: windows(x, size)[: len(x) - size], "the last window is missing"),
    ("windows", lambda x, size: windows(x, size).mT, "a row is a window"),
    ("windows", lambda x, size: torch.stack([x[i : i + size] for i in range(len(x) - size + 1)]), "a new storage"),
    ("windows", lambda x, size: windows(x, size).flip(1), "got     [["),
    ("patches", lambda x, p: x.reshape(x.shape[0] // p, x.shape[1] // p, p, p), "reading order"),
    ("patches", lambda x, p: x.unflatten(0, (-1, p)).unflatten(2, (-1, p)), "exchange the two in the middle"),
    ("patches", lambda x, p: x.unfold(0, p, 1).unfold(1, p, 1), "the squares overlap"),
    ("patches", lambda x, p: patches(x, p).mT, "on their sides"),
    ("patches", lambda x, p: patches(x, p).contiguous().clone(), "a new storage"),
    ("patches", lambda x, p: patches(x, p).flatten(0, 1), "got     tensor (2, 2, 2)"),
    ("lines_touched", lambda count, stride, itemsize: (count * itemsize + 63) // 64, "the stride is forgotten"),
    (
        "lines_touched",
        lambda count, stride, itemsize: (count - 1) * stride * itemsize // 64 + 1,
        "some are passed over",
    ),
    ("lines_touched", lambda count, stride, itemsize: lines_touched(count, stride, 1), "times the itemsize"),
    ("lines_touched", lambda count, stride, itemsize: count, "neighbours share a line"),
    ("lines_touched", lambda count, stride, itemsize: 1, "got     1"),
]


# The kit's answers, against the libraries and against loops.


def all_shapes():
    return [shape for axes in range(4) for shape in product((0, 1, 2, 3), repeat=axes)]


def test_the_joint_shape_is_that_of_numpy():
    """For all pairs of up to three axes."""

    def numpy_shape(a, b):
        try:
            return np.broadcast_shapes(a, b)
        except ValueError:
            return None

    def ours(a, b):
        try:
            return EXERCISES["joint_shape"].answer(a, b)
        except ValueError:
            return None

    pairs = list(product(all_shapes(), repeat=2))
    assert [ours(*pair) for pair in pairs] == [numpy_shape(*pair) for pair in pairs]


def test_a_shape_can_be_flattened_where_torch_has_a_view():
    """For all strides of up to three axes, each up to 6."""
    answer = EXERCISES["can_flatten"].answer
    cases = [
        (shape, strides)
        for shape in [(3,), (2, 3), (1, 3), (2, 1, 3), (2, 2, 2), (3, 2, 1)]
        for strides in product(range(7), repeat=len(shape))
    ]
    assert [answer(*case) for case in cases] == [can_flatten(*case) for case in cases]


def test_every_view_is_that_of_a_loop():
    x = scattered(torch.arange(35.0).reshape(5, 7))
    line = scattered(torch.arange(7.0))
    tiled = scattered(torch.arange(24.0).reshape(4, 6))
    assert EXERCISES["diagonal_view"].answer(x).tolist() == [x[i, i] for i in range(5)]
    runs = [[line[i + k] for k in range(3)] for i in range(5)]
    assert EXERCISES["windows"].answer(line, 3).tolist() == runs
    squares = [
        [[[tiled[2 * i + k, 2 * j + m] for m in range(2)] for k in range(2)] for j in range(3)] for i in range(2)
    ]
    assert EXERCISES["patches"].answer(tiled, 2).tolist() == squares


def test_can_flatten_is_asked_for_both_answers():
    inputs = EXERCISES["can_flatten"].inputs()
    assert {can_flatten(**given) for given in inputs} == {True, False}
