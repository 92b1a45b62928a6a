"""The exercises of the matmul walkthrough: right answers written apart, and wrong ones that must be told why."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from kit.exercises import EXERCISES, check

# Right answers as a reader may write them: by the library, or in another form than the checker's own.


def chunks(numbers, size):
    numbers = iter(numbers)
    return list(iter(lambda: list(islice(numbers, size)), []))


def getitem(self, index):
    return np.array(self.rows)[index].tolist()


def frobenius(a):
    return torch.linalg.norm(a)


def matmul_no_loop(a, b):
    return a @ b


def bilinear(x, w, y):
    return ((x @ w) * y).sum(1)


def min_plus(a, b):
    return torch.stack([(row[:, None] + b).amin(0) for row in a])


def alternating(v):
    return v[::2].sum() - v[1::2].sum()


def inner_product(a, b):
    return torch.tensordot(a, b, 1)


def blocks(m, n, size):
    return math.ceil(n / size), math.ceil(m / size)


def grid_kernel(i, j, a, b, c):
    if i >= len(a) or j >= b.shape[1]:
        return
    c[i, j] = a[i] @ b[:, j]


def softmax_slope(x, scores, y):
    w = torch.zeros(x.shape[1], scores.shape[1], dtype=x.dtype, requires_grad=True)
    with torch.enable_grad():
        loss = torch.nn.functional.cross_entropy(x @ w + scores, y)
    return torch.autograd.grad(loss, w)[0]


RIGHT = [
    *(chunks, getitem, frobenius, matmul_no_loop, bilinear, min_plus, alternating, inner_product, blocks, grid_kernel),
    softmax_slope,
]

# Mistakes as a reader makes them, and what the message must name.


def with_tuples(numbers, size):
    return list(iter(lambda: tuple(islice(numbers, size)), ()))


def pairs_only(numbers, size):
    return [list(piece) for piece in zip(*[numbers] * size, strict=False)]


def padded(numbers, size):
    found = chunks(numbers, size)
    return [piece + [None] * (size - len(piece)) for piece in found]


def sliced(numbers, size):
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def pair(self, index):
    i, j = index
    return getitem(self, (i, j))


def shares(scores):
    return scores.exp() / scores.exp().sum(1, keepdim=True)


def one_hot(scores, y):
    return torch.eye(scores.shape[1], dtype=scores.dtype)[y]


def kernel(guard, write):
    """grid_kernel with another idea of where to work and what to write."""

    def answer(i, j, a, b, c):
        if guard(i, j, c):
            write(i, j, a, b, c)

    return answer


def within(i, j, c):
    return i < c.shape[0] and j < c.shape[1]


def adds(i, j, a, b, c):
    c[i, j] += (a[i] * b[:, j]).sum()


def right(i, j, a, b, c):
    c[i, j] = (a[i] * b[:, j]).sum()


def a_row(i, j, a, b, c):
    c[i] = a[i] @ b


def last_term(i, j, a, b, c):
    c[i, j] = a[i, -1] * b[-1, j]


def folded(v):
    result = v[0]
    for number in v[1:]:
        result = result - number
    return result


WRONG = [
    ("chunks", with_tuples, "islice only hands out"),
    ("chunks", pairs_only, "shorter piece is lost"),
    ("chunks", padded, "filled up"),
    ("chunks", sliced, "TypeError"),
    ("chunks", lambda numbers, size: [list(numbers)], "got     [[10, 11, 12]]"),
    ("chunks", lambda numbers, size: iter(lambda: list(islice(numbers, size)), []), "wanted  [[10, 11], [12]]"),
    ("getitem", pair, "TypeError"),
    ("getitem", lambda self, index: getitem(self, index[::-1] if isinstance(index, tuple) else index), "are exchanged"),
    (
        "getitem",
        lambda self, index: self.rows[index[0]][index[1]] if isinstance(index, tuple) else self.rows[index],
        "rows[i][j] is a row again",
    ),
    ("getitem", lambda self, index: tuple(self.rows[0]) if index == 0 else getitem(self, index), "got     (1, 2, 3)"),
    ("frobenius", lambda a: (a * a).sum(), "square root is missing"),
    ("frobenius", lambda a: a.norm(1), "absolute values"),
    ("frobenius", lambda a: a.norm(dim=1), "one norm for each row"),
    ("frobenius", lambda a: a.norm(dim=0), "one norm for each column"),
    ("frobenius", lambda a: torch.linalg.svdvals(a)[0], "spectral norm"),
    ("frobenius", lambda a: a.square().mean().sqrt(), "the mean of the squares"),
    ("frobenius", lambda a: a.norm()[None], "wanted  tensor ()"),
    ("frobenius", lambda a: a.norm().item(), "got     float"),
    ("frobenius", lambda a: a.contiguous().as_strided((a.numel(),), (1,)).norm().double(), "float64"),
    ("matmul_no_loop", lambda a, b: torch.einsum("ik,kj->kj", a, b), "the wrong axis"),
    ("matmul_no_loop", lambda a, b: torch.einsum("ik,kj->ik", a, b), "the sum runs over n"),
    ("matmul_no_loop", lambda a, b: torch.einsum("ik,kj->ikj", a, b), "nothing is summed"),
    ("matmul_no_loop", lambda a, b: (a @ b)[:, None], "still there"),
    ("matmul_no_loop", torch.mul, "number by number"),
    ("matmul_no_loop", lambda a, b: (a[:, None, :] * b).sum(-1), "b turned"),
    ("matmul_no_loop", lambda a, b: b.T @ a.T, "got     "),
    (
        "matmul_no_loop",
        lambda a, b: a.as_strided(a.shape, (a.shape[1], 1)) @ b,  # takes it for packed
        "on views with holes",
    ),
    ("bilinear", lambda x, w, y: ((x @ w) * y).sum(), "all is summed"),
    ("bilinear", lambda x, w, y: x @ w @ y.T, "each x meets each y"),
    ("bilinear", lambda x, w, y: torch.einsum("ij,nj,ni->n", w, x, y), "w is turned"),
    ("bilinear", lambda x, w, y: (x @ w) * y, "j is still there"),
    ("bilinear", lambda x, w, y: ((x @ w) * y).mean(1), "got     "),
    ("min_plus", lambda a, b: torch.einsum("ik,kj->ij", a, b), "the ordinary product"),
    ("min_plus", lambda a, b: torch.minimum(a.T[:, :, None], b[:, None]).sum(0), "are exchanged"),
    ("min_plus", lambda a, b: torch.stack([(row[:, None] + b).amax(0) for row in a]), "takes the largest"),
    ("min_plus", lambda a, b: torch.stack([(row[:, None] * b).amin(0) for row in a]), "times where a plus"),
    ("min_plus", lambda a, b: (a[:, :, None] + b).min(0)[0], "taken over i"),
    ("min_plus", lambda a, b: (a[:, :, None] + b).min(1), "got     min"),
    ("alternating", folded, "goes from the left"),
    ("alternating", lambda v: v[1::2].sum() - v[::2].sum(), "every sign is turned"),
    ("alternating", lambda v: v.flip(0)[::2].sum() - v.flip(0)[1::2].sum(), "the wrong end"),
    (
        "alternating",
        lambda v: (v * torch.tensor([1, -1]).repeat(len(v))[: len(v)]).cumsum(0),
        "all the partial results",
    ),
    ("alternating", lambda v: v.sum(), "got     "),
    ("inner_product", lambda a, b: a @ b, "a batch of products"),
    ("inner_product", lambda a, b: torch.tensordot(a.movedim(0, -1), b.movedim(-1, 0), 1), "the first axis of a goes"),
    ("inner_product", lambda a, b: torch.tensordot(a, b.movedim(max(-2, -b.ndim), 0), 1), "numpy.dot takes"),
    ("inner_product", lambda a, b: torch.tensordot(a, b, 0), "wanted  "),
    ("blocks", lambda m, n, size: (n // size, m // size), "rounded down"),
    ("blocks", lambda m, n, size: (math.ceil(m / size), math.ceil(n / size)), "x and y are exchanged"),
    ("blocks", lambda m, n, size: (n // size + 1, m // size + 1), "one more than is needed"),
    ("blocks", lambda m, n, size: (math.ceil(n / size) * size, math.ceil(m / size) * size), "these are threads"),
    ("blocks", lambda m, n, size: (-(-max(m, n) // size),) * 2, "got     (2, 2)"),
    ("blocks", lambda m, n, size: [-(-n // size), -(-m // size)], "got     ["),
    ("grid_kernel", kernel(lambda *_: True, right), "must do nothing"),
    ("grid_kernel", kernel(within, adds), "not zero to begin with"),
    ("grid_kernel", kernel(lambda i, j, c: i < len(c) - 1 and j < c.shape[1] - 1, right), "one too strict"),
    ("grid_kernel", kernel(within, last_term), "only the last term"),
    ("grid_kernel", lambda i, j, a, b, c: c.copy_(a @ b), "every thread computes everything"),
    ("grid_kernel", kernel(within, a_row), "threads that wrote another's cell: 6"),
    ("grid_kernel", kernel(lambda i, j, c: i < len(c), right), "threads that reached beyond c"),
    ("softmax_slope", lambda x, s, y: x.T @ (shares(s) - one_hot(s, y)), "the summed loss"),
    ("softmax_slope", lambda x, s, y: x.T @ (one_hot(s, y) - shares(s)) / len(x), "the sign is turned"),
    ("softmax_slope", lambda x, s, y: x.T @ shares(s) / len(x), "labels are left out"),
    ("softmax_slope", lambda x, s, y: x.T @ (s - one_hot(s, y)) / len(x), "the scores are used as they are"),
    ("softmax_slope", lambda x, s, y: (shares(s) - one_hot(s, y)).T @ x / len(x), "the result is turned"),
    ("softmax_slope", lambda x, s, y: x.T @ (s.softmax(0) - one_hot(s, y)) / len(x), "runs down the pictures"),
    ("softmax_slope", lambda x, s, y: x.T @ (shares(s) - one_hot(s, y)) / x.shape[1], "got     "),
]


@pytest.mark.parametrize(
    "name", ["matmul_no_loop", "min_plus", "bilinear", "inner_product", "softmax_slope", "frobenius"]
)
def test_a_view_with_holes_and_an_offset_is_among_what_is_tried(name):
    """An answer that takes every tensor for packed, and reads its storage from its first cell on, fails."""
    exercise = EXERCISES[name]

    def as_if_packed(*arguments):
        return exercise.answer(*(_packed(x) for x in arguments))

    given = check(name, as_if_packed)
    assert not given and "on views with holes" in given.message


def _packed(x):
    strides = torch.empty(x.shape).stride()
    return x.as_strided(x.shape, strides, 0) if x.is_floating_point() else x
