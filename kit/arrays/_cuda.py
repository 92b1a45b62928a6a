"""Matrix products for `numba.cuda`. Importing this imports numba.cuda; without a GPU only its simulator runs them.

`cuda` is a name of this module, because the simulator puts its own in the place of it while a kernel runs.
"""

from functools import cache

import numpy as np
from numba import cuda, float32

HIGHEST = 65535  # blocks along the second axis of a grid, on every GPU to date


def launch(name, a, b, c, block):
    """Start the kernel "naive" or "tiled" over c, by blocks of block x block threads. Does not wait for a GPU's end."""
    m, n = c.shape
    kernel, (x, y) = (naive, (m, n)) if name == "naive" else (tiled(block), (n, m))
    grid = -(-x // block), -(-y // block)  # rounded up: the last blocks may stand over the edge
    if grid[1] > HIGHEST:
        raise ValueError(f"{name}: got {grid[1]} blocks of {block} along its second axis, wanted at most {HIGHEST}")
    kernel[grid, (block, block)](a, b, c)


def run(name, a, b, block):
    """The product of host arrays by a kernel; copies there and back. Raises RuntimeError without a GPU or simulator."""
    if not cuda.is_available():
        raise RuntimeError("cuda: got no GPU, wanted one, or NUMBA_ENABLE_CUDASIM=1 before numba is imported")
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    if c.size:
        on_device = cuda.to_device(c)
        launch(name, cuda.to_device(a), cuda.to_device(b), on_device, block)
        on_device.copy_to_host(c)
    return c


@cuda.jit
def naive(a, b, c):
    i, j = cuda.grid(2)  # neighbouring threads, those along x, differ in i: they read a and write c in different rows
    if i < c.shape[0] and j < c.shape[1]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cache
def tiled(block):
    """The kernel for one size of tile, which CUDA wants to know when it compiles."""

    @cuda.jit
    def tiled(a, b, c):
        rows = cuda.shared.array((block, block), float32)
        columns = cuda.shared.array((block, block), float32)
        j, i = cuda.grid(2)  # neighbouring threads differ in j: they read and write neighbouring cells
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        zero = np.float32(0)
        total = zero
        for k in range(0, a.shape[1], block):  # along the shared axis, whatever the grid's size
            # Zeros beyond the edge add nothing. No thread may leave before the barriers: the others would wait for it.
            rows[y, x] = a[i, k + x] if i < a.shape[0] and k + x < a.shape[1] else zero
            columns[y, x] = b[k + y, j] if k + y < b.shape[0] and j < b.shape[1] else zero
            cuda.syncthreads()  # nobody reads before all have written
            for t in range(block):
                total += rows[y, t] * columns[t, x]
            cuda.syncthreads()  # nobody writes anew before all have read
        if i < c.shape[0] and j < c.shape[1]:
            c[i, j] = total

    return tiled
