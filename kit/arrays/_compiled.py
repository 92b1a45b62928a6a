"""Loops that numba compiles: the rungs of `matmul`, and two that measure the machine. Importing this imports numba.

LOOSE lets a sum run in vector registers: floats may be summed in another order (reassoc), multiplied and added at once
(contract). Nothing else is loosened, so NaN and infinity go through as they do everywhere.
"""

import numpy as np
from numba import njit, prange

LOOSE = {"reassoc", "contract"}
TILE = 4  # rows and columns of c whose 16 sums stay in registers: 16 multiply-adds for 8 loads
ROWS, COLUMNS = 64, 64  # of one thread's block: its rows of a stay in the L2 cache, its columns of b too
DEPTH = 1024  # numbers of a row taken at once: eight such rows fill 32 kB, the L1 cache
STEPS, CHAINS = 16, 8  # multiply-adds for each number that `polynomial` loads, and how many of them side by side


@njit
def dot(x, y):
    total = np.float32(0)
    for k in range(len(x)):
        total += x[k] * y[k]
    return total


@njit
def whole(a, b, c):
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for k in range(a.shape[1]):
                c[i, j] += a[i, k] * b[k, j]


@njit
def ordered(a, b, c):
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]


@njit(parallel=True)
def parallel(a, b, c):
    for i in prange(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]


@njit(parallel=True)
def tiled(a, b, c):
    (m, depth), n = a.shape, b.shape[1]
    columns = np.empty((n, depth), np.float32)
    for j in prange(n):  # packed once, so that a column is read as fast as a row
        for k in range(depth):
            columns[j, k] = b[k, j]
    for block in prange((m + ROWS - 1) // ROWS):
        for k in range(0, depth, DEPTH):
            for left in range(0, n, COLUMNS):
                _block(a, columns, c, block * ROWS, left, k)


@njit
def _block(a, columns, c, top, left, k):
    """Add to a block of c what DEPTH numbers give. At the edge a tile takes the last row again, and drops its sums."""
    (m, depth), n = a.shape, len(columns)
    end = min(k + DEPTH, depth)
    for i in range(top, min(top + ROWS, m), TILE):
        for j in range(left, min(left + COLUMNS, n), TILE):
            sums = _tile(
                a[i, k:end],
                a[min(i + 1, m - 1), k:end],
                a[min(i + 2, m - 1), k:end],
                a[min(i + 3, m - 1), k:end],
                columns[j, k:end],
                columns[min(j + 1, n - 1), k:end],
                columns[min(j + 2, n - 1), k:end],
                columns[min(j + 3, n - 1), k:end],
            )
            for p in range(min(TILE, m - i)):
                for q in range(min(TILE, n - j)):
                    c[i + p, j + q] += sums[p * TILE + q]


@njit(fastmath=LOOSE)
def _tile(a0, a1, a2, a3, b0, b1, b2, b3):
    """The 16 dot products of four rows of a with four columns of b; the loop over k is the vectorised one."""
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0)
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
    for k in range(len(a0)):
        w, x, y, z = b0[k], b1[k], b2[k], b3[k]
        s00, s01, s02, s03 = s00 + a0[k] * w, s01 + a0[k] * x, s02 + a0[k] * y, s03 + a0[k] * z
        s10, s11, s12, s13 = s10 + a1[k] * w, s11 + a1[k] * x, s12 + a1[k] * y, s13 + a1[k] * z
        s20, s21, s22, s23 = s20 + a2[k] * w, s21 + a2[k] * x, s22 + a2[k] * y, s23 + a2[k] * z
        s30, s31, s32, s33 = s30 + a3[k] * w, s31 + a3[k] * x, s32 + a3[k] * y, s33 + a3[k] * z
    return s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33


@njit(parallel=True, fastmath=LOOSE)
def polynomial(x, rounds):
    """The sum over r < rounds, x and k < CHAINS of (y + k) y^STEPS + y^(STEPS - 1) + ... + y + 1, y = x + r / 10^4.

    Arithmetic with hardly a load, by Horner, in chains that need not wait for each other: of one alone a core would
    wait for each result before it begins the next. y is another in each round, or the compiler would compute it once.
    """
    one, result = np.float32(1), np.float32(0)
    for r in prange(rounds):
        shift = np.float32(r) / np.float32(10_000)
        for i in range(len(x)):
            y = x[i] + shift
            a, b, c, d = y, y + one, y + np.float32(2), y + np.float32(3)
            e, f, g, h = y + np.float32(4), y + np.float32(5), y + np.float32(6), y + np.float32(7)
            for _ in range(STEPS):
                a, b, c, d = a * y + one, b * y + one, c * y + one, d * y + one
                e, f, g, h = e * y + one, f * y + one, g * y + one, h * y + one
            result += a + b + c + d + e + f + g + h
    return result


@njit(parallel=True, fastmath=LOOSE)
def total(x):
    """The sum of all numbers: a load each, with hardly any arithmetic."""
    result = np.float32(0)
    for i in prange(len(x)):
        result += x[i]
    return result
