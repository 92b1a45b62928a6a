"""Matrix products of every rung against float64, to the bound that rounding allows, and GPU kernels that must fail."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from kit.arrays import matmul
from kit.arrays.matmul import RUNGS, Thread, covering, over_grid

ROOT = Path(__file__).parent.parent.parent
KERNELS = ROOT / "kit" / "arrays" / "_cuda.py"
# One, primes, a tile and a thread's block, and one less and more than these; none at all.
SIDES = (0, 1, 2, 3, 4, 5, 7, 63, 64, 65, 67)
DEPTHS = (0, 1, 5, 31, 1023, 1024, 1025, 2053)
EVERY_RUNG = pytest.mark.parametrize("rung", RUNGS.values(), ids=RUNGS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_product(c, a, b):
    """c is a @ b as float32 can have it: |error| <= k eps |a| |b|, Higham's bound, whatever the order of the sum."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert c.dtype == np.float32 and c.shape == (a.shape[0], b.shape[1]) and c.flags.c_contiguous
    bound = (a.shape[1] + 1) * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b))
    assert (np.abs(c - a @ b) <= bound).all()  # false for NaN


# The rungs on the CPU


@EVERY_RUNG
def test_the_product_is_right_for_every_size(rung):
    sizes = [*product(SIDES[:7], DEPTHS[:4], SIDES[:7]), *product(SIDES[7:], DEPTHS[4:], SIDES[7:])]
    for m, k, n in sizes if rung is matmul.tiled else sizes[::11]:
        a, b = normal(m, k, seed=1), normal(k, n, seed=2)
        assert_product(rung(a, b), a, b)


@EVERY_RUNG
def test_strided_offset_flipped_and_stretched_arrays_are_read_right(rung):
    big = normal(40, 60)
    views = [big[1:38:3, 2:50:4], big[::-1, ::-2], big.T, big[5:, 7:], np.broadcast_to(big[:1], (9, 60))]
    for a in views:
        for b in (normal(a.shape[1], 5), normal(5, a.shape[1]).T, normal(3 * a.shape[1], 20)[::3, ::4]):
            kept = a.copy(), b.copy()
            assert_product(rung(a, b), a, b)
            assert (a == kept[0]).all() and (b == kept[1]).all()


@pytest.mark.parametrize("name", ["whole", "ordered", "parallel", "tiled"])
def test_a_view_is_not_compiled_for_anew(name):
    from kit.arrays import _compiled

    for a in (normal(6, 6), normal(6, 6).T, normal(12, 12)[::2, 1::2]):
        RUNGS[name](a, a)
    assert len(getattr(_compiled, name).signatures) == 1


@EVERY_RUNG
def test_nothing_is_read_beyond_the_edges(rung):
    """The arrays lie in a sea of NaN; one that came in would stay."""
    for m, k, n in [(5, 7, 3), (65, 1025, 66)]:
        sea_a, sea_b = np.full((m + 8, k + 8), np.nan, np.float32), np.full((k + 8, n + 8), np.nan, np.float32)
        sea_a[:m, :k], sea_b[:k, :n] = normal(m, k, seed=1), normal(k, n, seed=2)
        assert_product(rung(sea_a[:m, :k], sea_b[:k, :n]), sea_a[:m, :k], sea_b[:k, :n])


@EVERY_RUNG
def test_nan_and_infinity_go_where_they_belong(rung):
    a, b = normal(6, 70, seed=1), normal(70, 7, seed=2)
    a[2, 69], b[3, 4] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        wanted = a.astype(np.float64) @ b.astype(np.float64)
    c = rung(a, b)
    assert (np.isnan(c) == np.isnan(wanted)).all() and np.isnan(c[2]).all()
    assert (c[:, 4][np.isinf(wanted[:, 4])] == wanted[:, 4][np.isinf(wanted[:, 4])]).all() and np.isinf(c).sum() == 5


def test_numba_s_own_check_of_bounds_finds_no_index_beyond_an_array():
    """Also of the packed copy, which no NaN surrounds. On one thread, for an error within several is not handed on."""
    code = (
        "import numpy as np; from kit.arrays.matmul import RUNGS\n"
        "for m, k, n in [(1, 1, 1), (5, 7, 3), (65, 3, 67), (3, 1025, 2)]:\n"
        "    for rung in RUNGS.values():\n"
        "        rung(np.ones((m, k), np.float32), np.ones((k, n), np.float32))"
    )
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=checked)
    assert done.returncode == 0, done.stderr


def test_the_number_of_threads_changes_no_bit():
    """A number of c belongs to one thread; two that added to it would now and then lose a part."""
    import numba

    a, b = normal(259, 1030, seed=1), normal(1030, 131, seed=2)
    before = numba.get_num_threads()
    results = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        results += [rung(a, b).tobytes() for rung in (matmul.parallel, matmul.tiled)]
    assert results[:2] == results[2:]


# What cannot be multiplied

FINE = normal(2, 3)


@pytest.mark.parametrize(
    ("a", "b", "kind", "words"),
    [
        (FINE, FINE, ValueError, "a @ b: got (2, 3) and (2, 3), wanted as many columns of a as rows of b"),
        (FINE[0], FINE, ValueError, "a: got shape (3,), wanted two axes"),
        (FINE, normal(3, 2, 2), ValueError, "b: got shape (3, 2, 2), wanted two axes"),
        (FINE.astype(float), FINE.T, TypeError, "a: got float64, wanted float32: a.astype(np.float32)"),
        (FINE, FINE.T.astype(int), TypeError, "b: got int64, wanted float32"),
        ([[1.0, 2.0], [3.0]], FINE, TypeError, "a: got list, wanted a numpy array of float32"),
        (FINE, np.array([[1, "x"]] * 3, dtype=object), TypeError, "b: got object, wanted float32"),
        (FINE, None, TypeError, "b: got NoneType, wanted a numpy array of float32"),
    ],
)
def test_what_cannot_be_multiplied_is_said_in_words(a, b, kind, words):
    for rung in (*RUNGS.values(), matmul.cuda_naive, matmul.cuda_tiled):
        with pytest.raises(kind) as error:
            rung(a, b)
        assert str(error.value).startswith(words)


@pytest.mark.parametrize("block", [0, 33, -1, 2.0, "16"])
def test_a_block_that_no_gpu_has_is_refused(block):
    with pytest.raises(ValueError, match=r"^block: got .*, wanted a whole number from 1 to 32$"):
        matmul.cuda_tiled(FINE, FINE.T, block)


def test_numba_is_imported_by_the_first_call_and_torch_never():
    code = (
        "import sys, numpy as np; from kit.arrays import matmul; before = 'numba' in sys.modules; "
        "x = np.ones((2, 2), np.float32); matmul.whole(x, x); print(before, *({'numba', 'torch'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "numba"]


# Kernels for a GPU: on it where there is one, and always in numba's simulator, which needs a process of its own

TRIAL = """
import importlib.util, json, sys
import numpy as np
import kit.arrays
from kit.arrays import matmul

def wrong(function, m, k, n, block):
    rng = np.random.default_rng(m + k + n)
    a, b = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (k, n)))
    a, b = (np.pad(x, 3, constant_values=np.nan)[3:-3, 3:-3] for x in (a, b))
    try:
        c = function(a, b, block)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = (k + 1) * 1.2e-7 * (np.abs(a) @ np.abs(b))
    return not bool(c.dtype == np.float32 and c.shape == bound.shape and (np.abs(c - a @ b) <= bound).all())

def faults(path, sizes):
    spec = importlib.util.spec_from_file_location("kit.arrays._cuda", path)
    kit.arrays._cuda = sys.modules["kit.arrays._cuda"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kernels = {"naive": matmul.cuda_naive, "tiled": matmul.cuda_tiled}
    return [[name, *size, fault] for size in sizes for name in kernels if (fault := wrong(kernels[name], *size))]

print(json.dumps([faults(path, json.loads(sys.argv[1])) for path in sys.argv[2:]]))
"""
# (m, k, n, block): one; a whole tile; primes on every axis; k long and c small; c long one way, then the other; none.
CUDA_SIZES = [
    *[(1, 1, 1, 4), (4, 4, 4, 4), (8, 4, 8, 4), (5, 7, 3, 4), (2, 13, 3, 2), (3, 17, 2, 4), (11, 5, 1, 3)],
    *[(1, 5, 11, 3), (7, 2, 5, 1), (2, 0, 3, 4), (0, 3, 2, 4), (6, 20, 6, 5)],
]


def in_simulator(code, *arguments):
    """What a program prints in a process of its own that has numba's CUDA simulator, as JSON."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_kernels_are_right_for_every_size():
    assert in_simulator(TRIAL, json.dumps(CUDA_SIZES), KERNELS) == [[]]


def test_the_kernels_run_on_a_gpu_or_say_that_there_is_none():
    from numba import cuda

    a, b = normal(67, 130, seed=1), normal(130, 33, seed=2)
    for kernel in (matmul.cuda_naive, matmul.cuda_tiled):
        if cuda.is_available():
            for block in (8, 16, 32):
                assert_product(kernel(a, b, block), a, b)
        else:
            with pytest.raises(RuntimeError, match=r"^cuda: got no GPU, wanted one, or NUMBA_ENABLE_CUDASIM=1"):
                kernel(a, b)


GRID_OF_C = {"for k in range(0, a.shape[1], block):": "for k in range(0, cuda.gridDim.x * block, block):"}
INSIDE_A = "if i < a.shape[0] and k + x < a.shape[1]"
INSIDE_B = "if k + y < b.shape[0] and j < b.shape[1]"
INSIDE_C = "if i < c.shape[0] and j < c.shape[1]:\n"
MUTANTS = {  # a trap -> what has to be changed in the source to fall into it
    "numba's manual, on a grid of c's shape: as many tiles along k as the grid has blocks": GRID_OF_C,
    "the grid is rounded down": {"-(-x // block), -(-y // block)": "max(1, x // block), max(1, y // block)"},
    "the tiled grid's axes are exchanged": {"(tiled(block), (n, m))": "(tiled(block), (m, n))"},
    "the naive grid's axes are exchanged": {"(naive, (m, n))": "(naive, (n, m))"},
    "a is read beyond its last column": {f"{INSIDE_A} else zero": "if i < a.shape[0] else zero"},
    "b is read beyond its last row": {f"{INSIDE_B} else zero": "if j < b.shape[1] else zero"},
    "tiles are left as they were beyond the edge": {
        f"a[i, k + x] {INSIDE_A} else zero": f"a[i, k + x] {INSIDE_A} else rows[y, x]",
        f"b[k + y, j] {INSIDE_B} else zero": f"b[k + y, j] {INSIDE_B} else columns[y, x]",
    },
    "threads beyond c leave before the barriers": {
        "        total = zero\n": f"        total = zero\n        if not ({INSIDE_C[3:-2]}):\n            return\n"
    },
    "c is written beyond its edge": {f"        {INSIDE_C}            c[i": "        if True:\n            c[i"},
    "the naive c is written beyond its edge": {f"    {INSIDE_C}        total": "    if True:\n        total"},
    "the tile of b is stored turned": {"columns[y, x] =": "columns[x, y] ="},
    "the first tile is read again and again": {"a[i, k + x] if": "a[i, x] if", "b[k + y, j] if": "b[y, j] if"},
    "the sum begins anew with each tile": {"cuda.syncthreads()  # nobody reads": "total = zero; cuda.syncthreads()  #"},
}


def planted(changes, path):
    """A file with the kernels' source, changed."""
    source = KERNELS.read_text(encoding="utf-8")
    for right, wrong in changes.items():
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    path.write_text(source, encoding="utf-8")
    return path


def test_the_known_traps_are_all_seen(tmp_path):
    """Each mutant comes out wrong for some size, a prime on every axis, or k long."""
    files = [planted(changes, tmp_path / f"{i}.py") for i, changes in enumerate(MUTANTS.values())]
    faults = dict(zip(MUTANTS, in_simulator(TRIAL, json.dumps(CUDA_SIZES[3:6]), *files), strict=True))
    assert [trap for trap, found in faults.items() if not found] == []


def test_the_manual_s_loop_is_wrong_only_where_the_grid_does_not_cover_the_shared_axis(tmp_path):
    """Which is why it is so easily missed: on squares it is right."""
    sizes = [(4, 4, 4, 4), (6, 6, 6, 2), (3, 9, 3, 2), (2, 9, 12, 3)]
    found = in_simulator(TRIAL, json.dumps(sizes), planted(GRID_OF_C, tmp_path / "_cuda.py"))
    assert found == [[["tiled", 3, 9, 3, 2, True]]]


LOADS = """
import itertools, json
import numpy as np
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from kit.arrays import _cuda

class Counted(np.ndarray):
    def __getitem__(self, index):
        next(loads)
        return super().__getitem__(index)

loads, counts = itertools.count(), {}
m, k, n, block = 8, 12, 4, 4
for name in ("naive", "tiled"):
    a, b, c = (FakeCUDAArray(np.ones(shape, np.float32).view(Counted)) for shape in ((m, k), (k, n), (m, n)))
    before = next(loads)
    _cuda.launch(name, a, b, c, block)
    counts[name] = next(loads) - before - 1
print(json.dumps(counts))
"""


def test_tiles_divide_the_reads_of_memory_by_their_side():
    m, k, n, block = 8, 12, 4, 4
    assert in_simulator(LOADS) == {"naive": 2 * m * k * n, "tiled": 2 * m * k * n // block}


def test_a_grid_higher_than_a_gpu_s_is_refused():
    code = (
        "import json, numpy as np; from kit.arrays import matmul\n"
        "tall, one = np.zeros((65536, 1), np.float32), np.ones((1, 1), np.float32)\n"
        "try:\n    matmul.cuda_tiled(tall, one, 1)\nexcept ValueError as error:\n    print(json.dumps(str(error)))"
    )
    assert in_simulator(code) == "tiled: got 65536 blocks of 1 along its second axis, wanted at most 65535"


# The grid in plain Python


def test_every_thread_of_the_grid_is_called_once():
    seen = []
    over_grid(lambda thread, found: found.append((thread.place, thread.block, thread.thread)), (3, 2), (2, 4), seen)
    assert sorted(place for place, _, _ in seen) == sorted(product(range(6), range(8)))
    assert all(place == (2 * b[0] + t[0], 4 * b[1] + t[1]) for place, b, t in seen)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 33), (7, 5)])
def test_a_covering_grid_has_a_thread_for_every_cell_and_no_block_too_many(shape):
    x, y = covering(shape, (4, 2))
    assert 4 * (x - 1) < shape[0] <= 4 * x and 2 * (y - 1) < shape[1] <= 2 * y


def tiled_kernel(thread, a, b, c, first=True, second=True, leave=False):
    """The tiled kernel as a generator that yields at its barriers; its parts can be left out."""
    (j, i), (x, y), size = thread.place, thread.thread, thread.block_size[0]
    if leave and (i >= c.shape[0] or j >= c.shape[1]):
        return
    rows, columns = thread.array("rows", (size, size)), thread.array("columns", (size, size))
    total = np.float32(0)
    for k in range(0, a.shape[1], size):
        rows[y, x] = a[i, k + x] if i < a.shape[0] and k + x < a.shape[1] else 0
        columns[y, x] = b[k + y, j] if k + y < b.shape[0] and j < b.shape[1] else 0
        if first:
            yield
        for t in range(size):
            total += rows[y, t] * columns[t, x]
        if second:
            yield
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total


def simulated(m=5, k=7, n=6, **parts):
    def kernel(*arguments):
        return tiled_kernel(*arguments, **parts)

    a, b, c = normal(m, k, seed=1), normal(k, n, seed=2), np.zeros((m, n), np.float32)
    over_grid(kernel, covering((n, m), (3, 3)), (3, 3), a, b, c)
    return c, a, b


def test_a_kernel_with_barriers_runs_in_step():
    assert_product(*simulated())


@pytest.mark.parametrize("parts", [dict(first=False), dict(second=False)], ids=str)
def test_a_missing_barrier_shows(parts):
    with pytest.raises(AssertionError):
        assert_product(*simulated(**parts))


def test_a_thread_that_leaves_before_the_barrier_is_a_deadlock():
    with pytest.raises(RuntimeError, match=r"^kernel: 6 of 9 threads wait at a barrier that the others never reach"):
        simulated(leave=True)


def test_shared_arrays_belong_to_a_block_and_begin_unwritten():
    first = Thread((0, 0), (0, 0), (1, 1), (1, 1), {})
    second = Thread((0, 0), (0, 1), (1, 1), (1, 1), {})
    shared = first.array("x", (2, 2))
    assert np.isnan(shared).all() and first.array("x", (2, 2)) is shared and second.array("x", (2, 2)) is not shared


# The roof


def test_intensity_counts_each_number_once():
    assert matmul.intensity(96, 96, 96) == pytest.approx(96 / 6)
    assert matmul.intensity(50_000, 784, 10) == pytest.approx(0.784e9 / 158.83e6, rel=1e-3)


def test_the_roof_is_the_lower_of_its_two_halves():
    roof = matmul.Roof(flops=100.0, bandwidth=10.0)
    assert [roof.at(i) for i in (1, 10, 1000)] == [10, 100, 100]


def test_what_measures_the_machine_computes_what_is_counted():
    """The polynomial against its closed form in float64, and the sum: none of it may be left out."""
    from kit.arrays import _compiled

    x, steps = np.linspace(0.1, 0.7, 300, dtype=np.float32), _compiled.STEPS
    y = x[:, None, None] + np.arange(50)[:, None] / 10_000
    wanted = ((y + np.arange(_compiled.CHAINS)) * y**steps + (1 - y**steps) / (1 - y)).sum()
    assert _compiled.polynomial(x, 50) == pytest.approx(wanted, rel=1e-4)
    assert _compiled.total(np.arange(1000, dtype=np.float32)) == 499_500


def test_the_measured_roof_stands_above_the_rungs():
    """Of one thread's naive product by much, whatever else the machine is doing."""
    a = normal(128, 128)
    seconds = matmul._shortest(lambda: matmul.whole(a, a), 0.2)
    roof = matmul.roof(0.4)
    assert 2 * 128**3 / seconds < roof.flops < 1e14
    assert 1e8 < roof.bandwidth < 1e13


def test_the_measured_roof_is_no_lower_than_what_a_blas_reaches():
    """One thread of each, in turns; a tenth is left to chance, and the best of three to whatever else is running."""
    import numba
    from threadpoolctl import threadpool_limits

    a, threads, shares = normal(1024, 1024), numba.get_num_threads(), []
    try:
        numba.set_num_threads(1)
        with threadpool_limits(1):
            for _ in range(3):
                rate = 2 * 1024**3 / matmul._shortest(lambda: a @ a, 0.3)
                shares.append(matmul.roof(0.6).flops / rate)
    finally:
        numba.set_num_threads(threads)
    assert max(shares) > 0.9
