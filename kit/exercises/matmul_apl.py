"""The exercises of walkthroughs/matmul-apl.ipynb.

The right answers are loops, one number at a time. Answers are tried on packed tensors and on views with an offset and
holes (`layouts`). Matrices are a (m, k), b (k, n), c (m, n); every size is at least 1.
"""

from __future__ import annotations

import random
from itertools import product

import torch
from torch import Tensor

from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal
from kit.exercises.layouts import POISON, twice


def _sizes(*smallest: int) -> list[tuple[int, ...]]:
    """The smallest sizes, those that are all equal, then random ones of 1 to 5."""
    luck = random.Random(5)
    return [smallest, (3,) * len(smallest), *(tuple(luck.randint(1, 5) for _ in smallest) for _ in range(5))]


def _matrices(seed: int, *smallest: int) -> list[dict]:
    """Pairs a (m, k), b (k, n)."""
    return [
        {"a": normal((m, k), seed + i, dtype(i)), "b": normal((k, n), seed + 50 + i, dtype(i))}
        for i, (m, k, n) in enumerate(_sizes(*smallest))
    ]


# chunks


def _chunks(numbers, size):
    pieces, piece = [], []
    for number in numbers:
        piece.append(number)
        if len(piece) == size:
            pieces.append(piece)
            piece = []
    return [*pieces, piece] if piece else pieces


def _rows_of_numbers() -> list[dict]:
    sizes = [(3, 2), (4, 2), (1, 3), (0, 2), (9, 3), (10, 4), (5, 1), (7, 7)]
    return [{"numbers": list(range(10, 10 + count)), "size": size} for count, size in sizes]


def _once(function, arguments: dict) -> dict:
    """The numbers can be walked along only once, as a file's can."""
    numbers, size = arguments.values()
    return {"result": function(iter(numbers), size)}


def _of_tuples(numbers, size):
    return [tuple(piece) for piece in _chunks(numbers, size)]


def _whole_ones(numbers, size):
    return [piece for piece in _chunks(numbers, size) if len(piece) == size]


def _filled_up(numbers, size):
    return [piece + [None] * (size - len(piece)) for piece in _chunks(numbers, size)]


chunks = Exercise(
    name="chunks",
    asks="chunks(numbers, size), which returns a list of lists of `size` numbers, the last perhaps shorter.",
    answer=_chunks,
    inputs=_rows_of_numbers,
    observe=_once,
    mistakes={
        "the pieces are to be lists: islice only hands out numbers, and list() collects them.": _of_tuples,
        "the last, shorter piece is lost.": _whole_ones,
        "the last piece is filled up; it may be shorter.": _filled_up,
    },
)


# getitem


class _Rows:
    """What an answer is given as `self`."""

    __name__ = "a Matrix whose .rows are [[1, 2, 3], [4, 5, 6], [7, 8, 9]]"

    def __init__(self):
        self.rows = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def _getitem(self, index):
    if not isinstance(index, tuple):
        return list(self.rows[index])
    i, j = index
    if isinstance(i, slice):
        return [row[j] for row in self.rows[i]]
    return self.rows[i][j]


def _indices() -> list[dict]:
    everything = slice(None)
    asked = [(1, 2), 0, (everything, 1), (-1, -2), -1, (0, everything), (slice(1, None), 0), (0, slice(0, 2))]
    return [{"self": _Rows(), "index": index} for index in asked]


def _turned(self, index):
    return _getitem(self, index[::-1] if isinstance(index, tuple) else index)


def _row_of_slice(self, index):
    return self.rows[index[0]][index[1]] if isinstance(index, tuple) else self.rows[index]


getitem = Exercise(
    name="getitem",
    asks="getitem(self, index), which returns from self.rows the number m[i, j], the row m[i] or the column m[:, j].",
    answer=_getitem,
    inputs=_indices,
    mistakes={
        "i and j are exchanged: the first counts rows.": _turned,
        "rows[i][j] is a row again where i is a slice: a column takes the j-th of each of these rows.": _row_of_slice,
    },
)


# frobenius


def _frobenius(a: Tensor) -> Tensor:
    total = a.new_zeros(())
    for i, j in product(*map(range, a.shape)):
        total += a[i, j] * a[i, j]
    return total**0.5


def _single_matrices() -> list[dict]:
    return [{"a": normal(shape, 400 + i, dtype(i))} for i, shape in enumerate(_sizes(1, 2))]


frobenius = Exercise(
    name="frobenius",
    asks="frobenius(a), which returns the square root of the sum of all squares: a tensor without axes.",
    answer=_frobenius,
    inputs=_single_matrices,
    observe=twice,
    mistakes={
        "the square root is missing.": lambda a: a.pow(2).sum(),
        "this is the sum of the absolute values; squares are wanted, and a root at the end.": lambda a: a.abs().sum(),
        "this is one norm for each row: sum over both axes.": lambda a: a.pow(2).sum(1).sqrt(),
        "this is one norm for each column: sum over both axes.": lambda a: a.pow(2).sum(0).sqrt(),
        "this is the spectral norm, the largest singular value, another thing.": lambda a: torch.linalg.norm(a, 2),
        "this is the mean of the squares; their sum is wanted.": lambda a: a.pow(2).mean().sqrt(),
    },
)


# matmul_no_loop


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    c = a.new_zeros(a.shape[0], b.shape[1])
    for i, j, k in product(range(a.shape[0]), range(b.shape[1]), range(a.shape[1])):
        c[i, j] += a[i, k] * b[k, j]
    return c


matmul_no_loop = Exercise(
    name="matmul_no_loop",
    asks="matmul_no_loop(a, b), which returns the product of a (m, k) and b (k, n) by broadcasting and one sum.",
    answer=_matmul,
    inputs=lambda: _matrices(500, 1, 2, 1),
    observe=twice,
    mistakes={
        "the sum runs over the wrong axis: (m, k, 1) times (k, n) is (m, k, n), and k has to go.": (
            lambda a, b: (a[:, :, None] * b).sum(0)
        ),
        "the sum runs over n: (m, k, 1) times (k, n) is (m, k, n), and k has to go.": (
            lambda a, b: (a[:, :, None] * b).sum(2)
        ),
        "nothing is summed yet.": lambda a, b: a[:, :, None] * b,
        "the summed axis is still there, with one number: drop it.": lambda a, b: (a[:, :, None] * b).sum(1, True),
        "this is a * b, number by number.": lambda a, b: a * b,
        "this is the product of a with b turned: b (k, n) lines up by its rows.": lambda a, b: (a[:, None] * b).sum(2),
    },
)


# bilinear


def _bilinear(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    out = x.new_zeros(len(x))
    for n, i, j in product(range(len(x)), *map(range, w.shape)):
        out[n] += x[n, i] * w[i, j] * y[n, j]
    return out


def _pairs_of_batches() -> list[dict]:
    return [
        {
            "x": normal((n, i), 600 + case, dtype(case)),
            "w": normal((i, j), 630 + case, dtype(case)),
            "y": normal((n, j), 660 + case, dtype(case)),
        }
        for case, (n, i, j) in enumerate(_sizes(1, 2, 2))
    ]


bilinear = Exercise(
    name="bilinear",
    asks="bilinear(x, w, y), which returns for each n the sum over i and j of x[n, i] w[i, j] y[n, j].",
    answer=_bilinear,
    inputs=_pairs_of_batches,
    observe=twice,
    mistakes={
        "all is summed, n as well: a letter that is to stay stands right of the arrow.": (
            lambda x, w, y: torch.einsum("ni,ij,nj->", x, w, y)
        ),
        "each x meets each y: the two n are the same letter.": lambda x, w, y: torch.einsum("ni,ij,mj->nm", x, w, y),
        "w is turned: its first axis goes with x.": lambda x, w, y: torch.einsum("ni,ji,nj->n", x, w, y),
        "j is still there: a letter that is to be summed stands left of the arrow only.": (
            lambda x, w, y: torch.einsum("ni,ij,nj->nj", x, w, y)
        ),
    },
)


# min_plus


def _min_plus(a: Tensor, b: Tensor) -> Tensor:
    c = a.new_full((a.shape[0], b.shape[1]), float("inf"))
    for i, j, k in product(range(a.shape[0]), range(b.shape[1]), range(a.shape[1])):
        c[i, j] = min(c[i, j], a[i, k] + b[k, j])
    return c


min_plus = Exercise(
    name="min_plus",
    asks="min_plus(a, b), APL's a ⌊.+ b, which returns at [i, j] the least a[i, k] + b[k, j] of all k.",
    answer=_min_plus,
    inputs=lambda: _matrices(700, 1, 2, 1),
    observe=twice,
    mistakes={
        "this is the ordinary product, +.×: × becomes +, and + becomes the least.": lambda a, b: a @ b,
        "the least and the sum are exchanged.": lambda a, b: torch.minimum(a[:, :, None], b).sum(1),
        "this takes the largest.": lambda a, b: (a[:, :, None] + b).amax(1),
        "this is times where a plus is wanted.": lambda a, b: (a[:, :, None] * b).amin(1),
        "the least is taken over i: (m, k, 1) and (k, n) give (m, k, n), and k has to go.": (
            lambda a, b: (a[:, :, None] + b).amin(0)
        ),
    },
)


# alternating


def _alternating(v: Tensor) -> Tensor:
    result = v[-1].clone()
    for i in reversed(range(len(v) - 1)):
        result = v[i] - result
    return result


def _vectors() -> list[dict]:
    return [{"v": normal((n,), 800 + i, dtype(i))} for i, n in enumerate((2, 3, 1, 4, 5, 8))]


def _from_the_left(v: Tensor) -> Tensor:
    return v[0] - v[1:].sum()


alternating = Exercise(
    name="alternating",
    asks="alternating(v), APL's -/v, which returns v[0] - (v[1] - (v[2] - ...)): a tensor without axes.",
    answer=_alternating,
    inputs=_vectors,
    observe=twice,
    mistakes={
        "this goes from the left, ((v[0] - v[1]) - v[2]) - ...; APL folds from the right.": _from_the_left,
        "every sign is turned: v[0] counts positive.": lambda v: -_alternating(v),
        "the signs begin at the wrong end: v[0] counts positive, whether v is odd or even.": (
            lambda v: _alternating(v.flip(0))
        ),
        "this is all the partial results; the last alone is wanted.": (
            lambda v: torch.stack([_alternating(v[:i]) for i in range(1, len(v) + 1)])
        ),
    },
)


# inner_product


def _inner_product(a: Tensor, b: Tensor) -> Tensor:
    left, right = a.shape[:-1], b.shape[1:]
    out = a.new_zeros((*left, *right))
    for i in product(*map(range, left)):
        for j in product(*map(range, right)):
            for k in range(a.shape[-1]):
                out[i + j] += a[(*i, k)] * b[(k, *j)]
    return out


def _any_ranks() -> list[dict]:
    shapes = [((2,), (2,)), ((2, 3), (3, 2)), ((3, 3, 3), (3, 3, 3)), ((2, 3, 4), (4, 2, 3)), ((3,), (3, 2))]
    shapes += [((2, 3), (3,)), ((2, 1, 3), (3, 4)), ((2, 4), (4, 3, 2)), ((1, 1), (1, 1, 1))]
    return [
        {"a": normal(one, 900 + i, dtype(i)), "b": normal(other, 950 + i, dtype(i))}
        for i, (one, other) in enumerate(shapes)
    ]


inner_product = Exercise(
    name="inner_product",
    asks="inner_product(a, b), APL's a +.× b for any rank: the last axis of a goes with the first of b.",
    answer=_inner_product,
    inputs=_any_ranks,
    observe=twice,
    mistakes={
        "torch's @ of three axes is a batch of products, one by one; APL has no batches.": torch.matmul,
        "the first axis of a goes with the last of b here: wanted the last of a and the first of b.": (
            lambda a, b: torch.tensordot(a, b, ([0], [b.ndim - 1]))
        ),
        "numpy.dot takes b's last axis but one; APL takes its first.": (
            lambda a, b: torch.tensordot(a, b, ([a.ndim - 1], [max(0, b.ndim - 2)]))
        ),
    },
)


# blocks


def _blocks(m: int, n: int, size: int) -> tuple[int, int]:
    x = y = 0
    while x * size < n:
        x += 1
    while y * size < m:
        y += 1
    return x, y


def _shapes_of_c() -> list[dict]:
    some = [(5, 3, 4), (16, 16, 16), (1, 1, 32), (17, 40, 16), (1437, 10, 16), (31, 64, 32), (8, 9, 1)]
    return [{"m": m, "n": n, "size": size} for m, n, size in some]


blocks = Exercise(
    name="blocks",
    asks="blocks(m, n, size), which returns the grid (x, y), the blocks along n and along m that cover c (m, n).",
    answer=_blocks,
    inputs=_shapes_of_c,
    mistakes={
        "the grid is rounded down: the cells at the edge would have no thread.": (
            lambda m, n, size: (n // size, m // size)
        ),
        "x and y are exchanged: x counts columns, of which there are n.": lambda m, n, size: (
            -(-m // size),
            -(-n // size),
        ),
        "one more than is needed where the size fits exactly.": lambda m, n, size: (n // size + 1, m // size + 1),
        "these are threads; a grid counts blocks.": lambda m, n, size: (-(-n // size) * size, -(-m // size) * size),
    },
)


# grid_kernel

BLOCK = 2  # threads a side


def _grid_kernel(i, j, a, b, c):
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = 0
        for k in range(a.shape[1]):
            c[i, j] += a[i, k] * b[k, j]


def _over_the_grid(function, arguments: dict) -> dict:
    """One thread after the other over whole blocks, each with a c of its own that holds old numbers.

    Torch refuses an index beyond c, where a GPU would write somewhere. None while no thread has written anything.
    """
    a, b = arguments.values()
    m, n = a.shape[0], b.shape[1]
    result = a.new_full((m, n), POISON)
    beyond = meddling = 0
    for i, j in product(range(-(-m // BLOCK) * BLOCK), range(-(-n // BLOCK) * BLOCK)):
        c = a.new_full((m, n), POISON)
        try:
            function(i, j, a, b, c)
        except IndexError:
            beyond += 1
        if i < m and j < n:
            result[i, j], c[i, j] = c[i, j].clone(), POISON
        meddling += bool((c != POISON).any())
    if (result == POISON).all() and not beyond + meddling:
        return {"result": None}
    return {"result": result, "threads that reached beyond c": beyond, "threads that wrote another's cell": meddling}


def _unguarded(i, j, a, b, c):
    c[i, j] = a[i] @ b[:, j]


def _added(i, j, a, b, c):
    if i < c.shape[0] and j < c.shape[1]:
        for k in range(a.shape[1]):
            c[i, j] += a[i, k] * b[k, j]


def _guarded_short(i, j, a, b, c):
    if i < c.shape[0] - 1 and j < c.shape[1] - 1:
        c[i, j] = a[i] @ b[:, j]


def _one_term(i, j, a, b, c):
    if i < c.shape[0] and j < c.shape[1]:
        for k in range(a.shape[1]):
            c[i, j] = a[i, k] * b[k, j]


def _everything(i, j, a, b, c):
    c[:] = a @ b


grid_kernel = Exercise(
    name="grid_kernel",
    asks="grid_kernel(i, j, a, b, c), which writes c[i, j] of the product, and nothing where i or j is beyond c.",
    answer=_grid_kernel,
    inputs=lambda: _matrices(1000, 2, 1, 3),
    observe=_over_the_grid,
    mistakes={
        "whole blocks of threads run: some have an i or a j beyond c, and must do nothing.": _unguarded,
        "c is not zero to begin with: sum into a number of your own, and write it once.": _added,
        "the guard is one too strict: the last row and column belong to c.": _guarded_short,
        "only the last term is left: sum over k.": _one_term,
        "every thread computes everything; it is to write its own c[i, j] alone.": _everything,
    },
)


# softmax_slope


def _softmax_slope(x: Tensor, scores: Tensor, y: Tensor) -> Tensor:
    slope = x.new_zeros(x.shape[1], scores.shape[1])
    for row, score, label in zip(x, scores, y.tolist(), strict=True):
        share = (score - score.max()).exp()
        share = share / share.sum()
        for p, d in product(range(len(row)), range(len(score))):
            slope[p, d] += row[p] * (share[d] - float(d == label)) / len(x)
    return slope


def _classified() -> list[dict]:
    luck = random.Random(11)
    return [
        {
            "x": normal((n, p), 1100 + case, dtype(case)),
            "scores": normal((n, d), 1130 + case, dtype(case)),
            "y": torch.tensor([luck.randrange(d) for _ in range(n)]),
        }
        for case, (n, p, d) in enumerate(_sizes(1, 1, 2))
    ]


def _shares(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def _off(scores: Tensor, y: Tensor) -> Tensor:
    return _shares(scores) - torch.nn.functional.one_hot(y, scores.shape[1]).to(scores)


softmax_slope = Exercise(
    name="softmax_slope",
    asks="softmax_slope(x, scores, y), which returns the mean cross-entropy's slope by the weights (pixels, digits).",
    answer=_softmax_slope,
    inputs=_classified,
    observe=twice,
    mistakes={
        "this is the slope of the summed loss: divide by the number of pictures.": (
            lambda x, scores, y: x.T @ _off(scores, y)
        ),
        "the sign is turned: shares less the one-hot labels.": lambda x, scores, y: -(x.T @ _off(scores, y)) / len(x),
        "the labels are left out: shares less 1 at the right digit.": lambda x, scores, y: (
            x.T @ _shares(scores) / len(x)
        ),
        "the scores are used as they are: softmax makes shares of them.": (
            lambda x, scores, y: x.T @ (_off(scores, y) - _shares(scores) + scores) / len(x)
        ),
        "the result is turned: (pixels, digits) is xᵀ times what is off.": lambda x, scores, y: (
            _off(scores, y).T @ x / len(x)
        ),
        "softmax runs down the pictures; it runs over the digits, axis 1.": (
            lambda x, scores, y: x.T @ (_off(scores, y) - _shares(scores) + scores.softmax(0)) / len(x)
        ),
    },
)


EXERCISES = (
    chunks,
    getitem,
    frobenius,
    matmul_no_loop,
    bilinear,
    min_plus,
    alternating,
    inner_product,
    blocks,
    grid_kernel,
    softmax_slope,
)
