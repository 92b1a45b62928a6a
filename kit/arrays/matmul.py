"""Matrix multiplication: the fast rungs of the ladder, kernels over a grid, and the machine's roof above them.

    a   (m, k)    b   (k, n)    c = a @ b   (m, n)    all float32 numpy arrays, of any strides
    c[i, j] = sum over k of a[i, k] * b[k, j]: m * n * k multiply-adds, two floating-point operations each

numba is imported when a rung is first called, and compiles it then (seconds); no torch is needed.
"""

import time
from dataclasses import dataclass, field
from inspect import isgenerator
from itertools import product

import numpy as np

LARGEST_BLOCK = 32  # 32 x 32 threads are the 1,024 that a block may have
DONE = object()


def _checked(a, b):
    """a and b, row-major. Raises TypeError for what is no float32 array, ValueError for shapes that do not meet."""
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name}: got {type(x).__name__}, wanted a numpy array of float32")
        if x.dtype != np.float32:
            raise TypeError(f"{name}: got {x.dtype}, wanted float32: {name}.astype(np.float32)")
        if x.ndim != 2:
            raise ValueError(f"{name}: got shape {x.shape}, wanted two axes")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"a @ b: got {a.shape} and {b.shape}, wanted as many columns of a as rows of b")
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


# Rungs on the CPU


def _filled(name, a, b):
    """The product by a compiled loop that adds to a c of zeros."""
    a, b = _checked(a, b)
    from kit.arrays import _compiled

    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    getattr(_compiled, name)(a, b, c)
    return c


def inner(a, b):
    """Python's loops over rows and columns, numba's over k: each of the m n dot products is a call."""
    a, b = _checked(a, b)
    from kit.arrays._compiled import dot

    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = dot(a[i], b[:, j])
    return c


def whole(a, b):
    """All three loops compiled, in the order of the definition: i, j, k. b is read down its columns."""
    return _filled("whole", a, b)


def ordered(a, b):
    """The same loops as i, k, j: b and c are read along their rows, and the inner loop runs in vector registers."""
    return _filled("ordered", a, b)


def parallel(a, b):
    """`ordered`, with the rows of c shared out among the cores."""
    return _filled("parallel", a, b)


def tiled(a, b):
    """Blocks of c shared out among the cores, in tiles of 4 x 4 sums that stay in registers; b is packed by columns."""
    return _filled("tiled", a, b)


RUNGS = {"inner": inner, "whole": whole, "ordered": ordered, "parallel": parallel, "tiled": tiled}


# Rungs on a GPU


def cuda_naive(a, b, block=16):
    """A thread for each number of c, which reads its row and its column; `block` x `block` threads (1 to 32) together.

    As in numba's manual, x counts rows. Copies there and back. Raises RuntimeError without a GPU, unless numba's
    simulator is on: NUMBA_ENABLE_CUDASIM=1 in the environment before numba is imported.
    """
    return _on_gpu("naive", a, b, block)


def cuda_tiled(a, b, block=16):
    """The same through shared memory: a block reads tiles of a and b once for all its threads. x counts columns."""
    return _on_gpu("tiled", a, b, block)


def _on_gpu(name, a, b, block):
    a, b = _checked(a, b)
    if not isinstance(block, int) or not 1 <= block <= LARGEST_BLOCK:
        raise ValueError(f"block: got {block!r}, wanted a whole number from 1 to {LARGEST_BLOCK}")
    from kit.arrays import _cuda

    return _cuda.run(name, a, b, block)


# A grid in plain Python


@dataclass(frozen=True)
class Thread:
    """Where one thread of a grid stands; CUDA's names are in brackets. Each pair is (x, y)."""

    thread: tuple  # within its block (threadIdx)
    block: tuple  # of its block within the grid (blockIdx)
    block_size: tuple  # (blockDim)
    grid_size: tuple  # (gridDim)
    shared: dict = field(repr=False)

    @property
    def place(self):
        """Within the whole grid (cuda.grid(2))."""
        return tuple(b * size + t for b, size, t in zip(self.block, self.block_size, self.thread, strict=True))

    def array(self, name, shape):
        """The block's shared array of this name: one for all its threads, NaN until it is written."""
        return self.shared.setdefault(name, np.full(shape, np.nan, np.float32))


def covering(shape, block):
    """The grid (x, y) of blocks that covers `shape` = (along x, along y): rounded up."""
    return tuple(-(-size // b) for size, b in zip(shape, block, strict=True))


def over_grid(kernel, grid, block, *arrays):
    """Call kernel(thread, *arrays) for every Thread of a grid (x, y) of blocks (x, y), one after the other.

    A kernel with barriers is a generator that yields at each: a block's threads go on together from one to the next.
    Raises RuntimeError where some wait at a barrier that others never reach, which on a GPU is a deadlock.
    """
    for y, x in product(range(grid[1]), range(grid[0])):
        shared = {}
        places = product(range(block[1]), range(block[0]))
        threads = [Thread((tx, ty), (x, y), tuple(block), tuple(grid), shared) for ty, tx in places]
        running = [kernel(thread, *arrays) for thread in threads]
        _in_step(kernel.__name__, [thread for thread in running if isgenerator(thread)])


def _in_step(name, running):
    waiting = bool(running)
    while waiting:
        reached = [next(thread, DONE) is not DONE for thread in running]
        waiting = any(reached)
        if waiting and not all(reached):
            raise RuntimeError(
                f"{name}: {sum(reached)} of {len(reached)} threads wait at a barrier that the others never reach; "
                "wanted every thread of the block at every barrier"
            )


# The roof


@dataclass(frozen=True)
class Roof:
    """The most that this machine was seen to do: float32 operations a second, bytes a second read from memory."""

    flops: float
    bandwidth: float

    def at(self, intensity):
        """Operations a second within reach of a computation that does `intensity` operations for each byte."""
        return min(self.flops, self.bandwidth * intensity)


def intensity(m, k, n):
    """Floating-point operations for each byte of a float32 product that reads a and b and writes c once."""
    return 2 * m * k * n / (4 * (m * k + k * n + m * n))


def roof(seconds=1.0):
    """Measure the Roof on numba's threads and the BLAS's: the best of short runs, half of the time of reading.

    Arithmetic is a polynomial or numpy's product, whichever is faster: where wide registers cost clock a compiler may
    leave them alone, and a BLAS not.
    """
    from kit.arrays import _compiled

    rounds, few = 250, np.linspace(0.1, 0.7, 4096, dtype=np.float32)
    square = np.ones((1024, 1024), np.float32)
    many = np.ones(1 << 25, np.float32)  # 134 MB, more than a cache holds
    operations = 2 * _compiled.STEPS * _compiled.CHAINS * few.size * rounds
    return Roof(
        max(
            operations / _shortest(lambda: _compiled.polynomial(few, rounds), seconds / 4),
            2 * 1024**3 / _shortest(lambda: square @ square, seconds / 4),
        ),
        many.nbytes / _shortest(lambda: _compiled.total(many), seconds / 2),
    )


def _shortest(run, seconds):
    """The shortest of the runs that fit into so many seconds, at least one; the first, which compiles, is left out."""
    run()
    end, shortest = time.perf_counter() + seconds, float("inf")
    while shortest == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest
