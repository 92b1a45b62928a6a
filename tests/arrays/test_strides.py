"""Strides against torch and numpy: every index of random chains of views, and who owns the memory after each."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.arrays import strides
from kit.arrays.strides import View, apply, limits, memory, on_tensor, shares, storage_of

CHAINS, LENGTH = 1500, 6


def drawn(rng, view, size):
    """An operation and its arguments, mostly such as the view allows."""
    rank = len(view.shape)
    # torch takes axis 0 of a single number for an axis of size 1, in some operations; nothing is to be learnt there.
    name = rng.choice([*strides.OPERATIONS, "slice", "reshape", "transpose"] if rank else ["expand", "reshape", "view"])
    axis = rng.randrange(-rank, rank) if rank else 0
    number = rng.randint
    arguments = {
        "transpose": lambda: (axis, rng.randrange(-rank, rank)),
        "permute": lambda: (rng.sample(range(rank), rank),),
        "slice": lambda: (axis, *rng.choices([None, *range(-5, 6)], k=2), rng.choice([None, 1, 2, 3, -1, -2])),
        "expand": lambda: (_stretched(rng, view.shape),),
        "flip": lambda: (axis,),
        "unfold": lambda: (axis, number(1, 4), number(1, 3)),
        "reshape": lambda: (_factored(rng, view.count),),
        "view": lambda: (_factored(rng, view.count),),
        "contiguous": lambda: (),
        "as_strided": lambda: _read_anew(rng, size),
    }
    return name, arguments[name]()


def _stretched(rng, shape):
    return (*[rng.randint(1, 3)] * rng.choice([0, 0, 1]), *(rng.randint(0, 3) if size == 1 else size for size in shape))


def _factored(rng, count):
    """A random shape of so many cells."""
    shape = [1] * rng.randint(0, 2)
    while count > 1:
        factor = rng.choice([f for f in range(2, count + 1) if count % f == 0])
        shape.append(factor)
        count //= factor
    if count == 0:
        shape.append(0)
    rng.shuffle(shape)
    return tuple(shape)


def _read_anew(rng, size):
    rank = rng.randint(0, 3)
    return (
        [rng.randint(0, 3) for _ in range(rank)],
        [rng.randint(-2, 4) for _ in range(rank)],
        rng.randint(0, max(0, size)),
    )


def contiguous(tensor):
    return tensor.is_contiguous() if isinstance(tensor, torch.Tensor) else tensor.flags.c_contiguous


def start(rng, library):
    shape = tuple(
        rng.choice([0, 1, 1, 2, 3, 4]) if rng.random() < 0.1 else rng.randint(1, 4) for _ in range(rng.randint(0, 4))
    )
    count = int(np.prod(shape))
    return View.packed(shape), torch.arange(count).reshape(shape) if library == "torch" else np.arange(count).reshape(
        shape
    )


def attempted(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, IndexError, RuntimeError, TypeError) as error:
        return error


def copied(cells, view, name, arguments, fresh):
    """The storage of a copy: what each of its cells holds."""
    source = apply(view, "flip", *arguments, library="numpy").view if name == "flip" else view
    return [cells[cell] for _, cell in sorted(zip(fresh.cells(), source.cells(), strict=True))]


def stepped(view):
    """Strides that matter: of axes with more than one index, where there is anything to index."""
    return [stride for size, stride in zip(view.shape, view.strides, strict=True) if size > 1 and view.count]


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_random_chains_of_operations_read_what_the_library_reads(library):
    seen = {name: [0, 0, 0] for name in strides.OPERATIONS}  # views, copies, errors

    @settings(max_examples=CHAINS, deadline=None, derandomize=True, database=None)
    @given(st.randoms(use_true_random=True))
    def walk(rng):
        view, tensor = start(rng, library)
        cells = list(range(view.count))  # the storage of the rules: what each cell holds
        for _ in range(LENGTH):
            name, arguments = drawn(rng, view, len(cells))
            want = attempted(on_tensor, tensor, name, *arguments)
            got = attempted(lambda *a: apply(*a, library=library), view, name, *arguments)
            if name == "as_strided" and not isinstance(got, Exception) and not got.view.is_inside(len(cells)):
                got = ValueError("outside")
            told = f"{view} .{name}{arguments}: got {got}, {library} {want}"
            assert isinstance(want, Exception) == isinstance(got, Exception), told
            if isinstance(want, Exception):
                seen[name][2] += 1
                continue
            theirs = memory(want).view
            assert theirs.shape == got.view.shape and stepped(theirs) == stepped(got.view), told
            assert got.view.is_contiguous == contiguous(want), told
            if got.view.count:
                assert theirs.offset == got.view.offset and got.copied != shares(tensor, want), told
            if got.copied:
                cells = copied(cells, view, name, arguments, got.view)
            view, tensor = got.view, want
            assert [cells[cell] for cell in view.cells()] == tensor.reshape(-1).tolist(), told
            seen[name][got.copied] += 1

    walk()
    assert all(views + copies > 50 for views, copies, _ in seen.values()), seen
    copying = {"reshape", "contiguous"} | ({"flip"} if library == "torch" else set())
    assert {name for name, (_, copies, _) in seen.items() if copies} == copying, seen


def test_a_cell_is_where_the_library_finds_it_and_outside_there_is_none():
    tensor = torch.arange(24).reshape(2, 3, 4).transpose(0, 2)[1:, ::2]
    view = memory(tensor).view
    for index in np.ndindex(view.shape):
        assert view.cell(index) == tensor[index].item()
        assert view.cell([i - n for i, n in zip(index, view.shape, strict=True)]) == tensor[index].item()
    for index in [(3, 0, 0), (0, 0), (0, -3, 0)]:
        with pytest.raises(IndexError, match="index"):
            view.cell(index)


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_each_limit_is_the_last_value_that_stays_inside(library):
    """One further is outside, unless it moves nothing."""
    rng = random.Random(1)
    for _ in range(400):
        size = rng.randint(4, 30)
        rank = rng.randint(1, 3)
        lowest = -3 if library == "numpy" else 0
        view = View(*([rng.randint(*ends) for _ in range(rank)] for ends in [(1, 4), (lowest, 5)]), rng.randrange(size))
        if not view.is_inside(size):
            continue
        found = limits(view, size, library)
        for axis in range(rank):
            length, stride = view.shape[axis], view.strides[axis]
            most = View(strides._with(view.shape, axis, found["shape"][axis]), view.strides, view.offset)
            more = View(strides._with(view.shape, axis, found["shape"][axis] + 1), view.strides, view.offset)
            assert most.is_inside(size) and (stride == 0 or not more.is_inside(size))
            least, greatest = found["strides"][axis]
            for end, beyond in [(least, least - 1), (greatest, greatest + 1)]:
                at, past = (View(view.shape, strides._with(view.strides, axis, s), view.offset) for s in (end, beyond))
                assert at.is_inside(size)
                assert length == 1 or (beyond == -1 and library == "torch") or not past.is_inside(size)
        first, last = found["offset"]
        assert [View(view.shape, view.strides, at).is_inside(size) for at in (first - 1, first, last, last + 1)] == [
            False,
            True,
            True,
            False,
        ]


BASE = np.arange(24, dtype=np.int16)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0)[3:].unfold(0, 4, 2),
        torch.arange(24).reshape(4, 6).T.requires_grad_(False)[::2],
        torch.ones(3, 1, dtype=torch.bfloat16).expand(3, 4),
        torch.zeros(3, 4, dtype=torch.complex64).conj(),
        BASE[::-2],
        BASE.reshape(4, 6).T[::-1, 1:],
        np.asfortranarray(BASE.reshape(4, 6))[1:],
        BASE.view(np.int32)[1:],
        torch.arange(24).reshape(4, 6).T.numpy()[1:],
        np.broadcast_to(BASE[:3], (2, 3)),
        BASE[5],
        np.ndarray((3,), np.int16, buffer=bytearray(range(12)), offset=8, strides=(-4,)),
    ],
    ids=str.split("unfold transpose expand conj reversed two-axes fortran dtype torch-made broadcast scalar backwards"),
)
def test_memory_leads_from_every_index_to_the_number_through_the_whole_storage(tensor):
    found, storage = memory(tensor), storage_of(tensor)
    assert len(storage) == found.size and found.view.is_inside(found.size)
    values = np.array(tensor.tolist()).reshape(-1)
    assert [storage[cell].item() for cell in found.view.cells()] == values.tolist()
    assert found.itemsize == tensor.itemsize and found.dtype in str(tensor.dtype)


def test_the_storage_shares_the_tensors_memory():
    for tensor in (torch.zeros(3, 4).T, np.zeros((3, 4)).T):
        storage_of(tensor)[7] = 5
        assert tensor[3, 1] == 5


def test_a_view_of_nothing_still_has_its_storage():
    for tensor in (torch.arange(4)[2:2], np.arange(4)[2:2]):
        assert memory(tensor).size == 4 and storage_of(tensor).tolist() == [0, 1, 2, 3]
    for tensor in (torch.zeros(0, 3), np.zeros((0, 3))):
        assert memory(tensor).size == 0 and storage_of(tensor).tolist() == []


def test_addresses_are_those_of_the_library():
    tensor, array = torch.arange(12.0)[3:], np.arange(12.0)[3:]
    assert memory(tensor).address + 4 * memory(tensor).view.offset == tensor.data_ptr()
    assert memory(array).address + 8 * memory(array).view.offset == array.ctypes.data


def test_a_tensor_that_wants_gradients_is_read_and_left_alone():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert storage_of(tensor).tolist() == [1.0] * 6 and not storage_of(tensor).requires_grad and tensor.requires_grad


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.eye(3).to_sparse(), "a sparse tensor, wanted a dense one"),
        (lambda: torch.eye(3).to_sparse_csr(), "a sparse tensor"),
        (lambda: torch.zeros(2, device="meta"), "meta device"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
    ],
)
def test_a_tensor_without_plain_memory_is_refused_with_a_way_out(make, words):
    with pytest.raises(TypeError, match=words):
        memory(make())


@pytest.mark.parametrize(
    ("tensor", "error", "words"),
    [
        (np.array(["a"]), TypeError, "an array of <U1, wanted numbers"),
        (np.zeros(2, dtype="i4,i2")["f0"], ValueError, r"strides of \(6,\) bytes, wanted multiples of its 4-byte"),
        ([1, 2], TypeError, "got list, wanted a torch tensor or a numpy array"),
    ],
)
def test_what_has_no_numbers_in_cells_is_refused(tensor, error, words):
    with pytest.raises(error, match=words):
        memory(tensor)


def test_reading_outside_the_storage_is_never_run():
    for tensor in (torch.arange(4), np.arange(4)):
        assert on_tensor(tensor, "as_strided", (2, 2), (2, 1), 0).tolist() == [[0, 1], [2, 3]]
        with pytest.raises(ValueError, match="outside the storage; it was not run"):
            on_tensor(tensor, "as_strided", (5,), (1,), 0)


# Cache lines


def test_loops_touch_what_a_matrix_product_needs():
    size = 5
    a, b = np.random.default_rng(0).random((2, size, size))
    for order in strides.ORDERS:
        c = np.zeros((size, size))
        reads = list(strides.matmul_reads(order, size, block=2))
        for (_, i, k), (_, k2, j), (_, i2, j2) in zip(*[iter(reads)] * 3, strict=True):
            assert (i, k, j) == (i2, k2, j2)
            c[i, j] += a[i, k] * b[k, j]
        np.testing.assert_allclose(c, a @ b)


def test_a_cache_that_holds_all_misses_each_line_once():
    lines = strides.lines_read(strides.matmul_reads("ijk", 8), 8, 4)
    assert sum(strides.misses(lines, 100)) == len(set(lines)) == 3 * 8 * 8 * 4 // 64


def test_misses_are_the_reuse_distances_that_exceed_the_cache():
    """LRU by Mattson's stack distance: a read misses if as many other lines were read since as the cache holds."""
    rng = random.Random(0)
    for capacity in (1, 2, 5, 9):
        lines = [rng.randrange(12) for _ in range(300)]
        for at, missed in enumerate(strides.misses(lines, capacity)):
            before = [i for i in range(at) if lines[i] == lines[at]]
            assert missed == (not before or len(set(lines[before[-1] + 1 : at])) >= capacity)


def test_columns_of_b_cost_a_line_each_once_the_cache_is_smaller_than_a_column():
    """Of 16 x 16 float64 a row is two lines. A and C cost their 32 lines once, B by the order; counted by hand."""

    def count(order, capacity=16):
        return sum(strides.misses(strides.lines_read(strides.matmul_reads(order, 16, 8), 16, 8), capacity))

    assert count("ijk") == 64 + 16**3  # down a column of B: 16 other lines pass before one is read again
    assert count("ikj") == 64 + 16 * 32  # along the rows of B: all 32 lines of B, for each i
    assert count("blocked") == 8 * (8 + 8 + 8)  # 8 pairs of blocks, each of 8 lines of A, of B and of C


def test_a_cache_and_an_order_that_are_none_are_refused():
    with pytest.raises(ValueError, match="capacity: got 0"):
        strides.misses([1], 0)
    with pytest.raises(ValueError, match="order: got 'kij', wanted one of ijk, ikj, blocked"):
        list(strides.matmul_reads("kij", 2))
