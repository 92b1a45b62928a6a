"""Matrix products of 1024 x 1024 float32: numba's tiled rung beside BLAS, two threads each, in turns in one run."""

import os
import time

import numba
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from kit.arrays import matmul

N, ROUNDS = 1024, 40
THREADS = min(2, os.cpu_count())
SHARE = 0.4  # of BLAS's speed, the least that is asked


def row(what, median, best, ratio="", bar=""):
    return {"what": what, "GFLOP/s, median": median, "best": round(best), "of BLAS": ratio, "bar": bar}


def rates(runs):
    """{name: (median, best) GFLOP/s} of functions that each do one product, called in turns to share a busy moment."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: [2 * N**3 / seconds / 1e9 for seconds in (np.median(t), min(t))] for name, t in times.items()}


def run():
    """A row for the machine's measured peak, for both libraries' sgemm, and for the rungs that use all threads."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((N, N), dtype=np.float32) for _ in range(2))
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    runs = {
        "numpy @": lambda: a @ b,
        "torch @": lambda: x @ y,
        "parallel": lambda: matmul.parallel(a, b),
        "tiled": lambda: matmul.tiled(a, b),
    }
    before = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    try:
        with threadpool_limits(THREADS):
            peak, rate = matmul.roof(4).flops / 1e9, rates(runs)
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    blas, _ = max(rate["numpy @"], rate["torch @"])
    bars = {"tiled": f">= {SHARE:.0%} of the faster BLAS"}
    rows = [
        row(name, round(rate[name][0]), rate[name][1], f"{rate[name][0] / blas:.0%}", bars.get(name, ""))
        for name in runs
    ]
    return [row(f"peak of {THREADS} threads, measured", "", peak), *rows]
