"""Strides: where an index lies in memory; operations that only change how it is found; view or copy.

    storage    cells in a row, numbered from 0
    shape      sizes of the axes
    strides    cells to go for one step along each axis (torch's unit; numpy counts bytes: times the itemsize)
    offset     the cell of index (0, ..., 0)

    cell(index) = offset + sum of index_k * strides_k

Pure Python. `on_tensor` and `memory` ask a real torch tensor or numpy array, neither of which is imported for it.
"""

import operator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

LINE = 64  # bytes of a cache line on x86-64 and most ARM cores


@dataclass(frozen=True)
class View:
    """A way to read a storage."""

    shape: tuple
    strides: tuple
    offset: int = 0

    @classmethod
    def packed(cls, shape):
        """Row-major, no cell left out: the last axis steps by 1, each other by the product of the sizes after it."""
        return cls(tuple(shape), tuple(prod(max(1, size) for size in shape[k + 1 :]) for k in range(len(shape))))

    def cell(self, index):
        """The cell of an index. Raises IndexError outside the shape; negative indices count from the end."""
        place = self.offset
        if len(index) != len(self.shape):
            raise IndexError(f"index: got {index}, wanted {len(self.shape)} numbers for shape {self.shape}")
        for i, size, stride in zip(index, self.shape, self.strides, strict=True):
            if not -size <= i < size:
                raise IndexError(f"index: got {index}, outside shape {self.shape}")
            place += (i + size if i < 0 else i) * stride
        return place

    def cells(self):
        """The cells of all indices in row-major order."""
        steps = [range(0, size * stride, stride) if stride else [0] * size for size, stride in self._axes()]
        return [self.offset + sum(step) for step in product(*steps)]

    @property
    def count(self):
        return prod(self.shape)

    @property
    def bounds(self):
        """(lowest cell, highest cell); None where there is no index."""
        if not self.count:
            return None
        ends = [(size - 1) * stride for size, stride in self._axes()]
        return self.offset + sum(min(0, end) for end in ends), self.offset + sum(max(0, end) for end in ends)

    def is_inside(self, size):
        """Whether every index lies within a storage of `size` cells."""
        return self.bounds is None or (self.bounds[0] >= 0 and self.bounds[1] < size)

    @property
    def is_contiguous(self):
        """Whether the cells in row-major order are consecutive; axes of size 1 do not matter."""
        packed = View.packed(self.shape).strides
        return not self.count or all(
            size == 1 or stride == wanted for (size, stride), wanted in zip(self._axes(), packed, strict=True)
        )

    def _axes(self):
        return list(zip(self.shape, self.strides, strict=True))


class Outcome(NamedTuple):
    """What an operation gives: the View, whether it is a copy (a View of a new storage), and why."""

    view: View
    copied: bool
    why: str


def apply(view, name, *arguments, library="torch"):
    """The Outcome of one of OPERATIONS as `library` ("torch" or "numpy") would do it.

    transpose(axis, axis) · permute(axes) · slice(axis, start, stop, step) · expand(shape) · flip(axis) ·
    unfold(axis, size, step) · reshape(shape) · view(shape) · contiguous() · as_strided(shape, strides, offset)

    numpy's `expand` is broadcast_to, its `unfold` sliding_window_view, its `view(shape)` reshape(copy=False).
    Raises ValueError or IndexError where the library raises; as_strided is not held against a storage here.
    """
    _known(name)
    return OPERATIONS[name](view, *arguments, library=library)


def _known(name):
    if name not in OPERATIONS:
        raise ValueError(f"operation: got {name!r}, wanted one of {', '.join(OPERATIONS)}")


def _transpose(view, one, other, *, library):
    order = list(range(len(view.shape)))
    one, other = _axis(view, one), _axis(view, other)
    order[one], order[other] = order[other], order[one]
    return _permute(view, order, library=library)


def _permute(view, axes, *, library):
    order = [_axis(view, axis) for axis in axes]
    if sorted(order) != list(range(len(view.shape))):
        raise ValueError(f"axes: got {list(axes)}, wanted each of the {len(view.shape)} axes once")
    shape, strides = (tuple(of[axis] for axis in order) for of in (view.shape, view.strides))
    return Outcome(View(shape, strides, view.offset), False, "the strides change places; no number moves")


def _slice(view, axis, start, stop, step, *, library):
    axis, step = _axis(view, axis), 1 if step is None else step
    if step == 0 or (step < 0 and library == "torch"):
        raise ValueError(f"step: got {step}, wanted {'one that is not 0' if library == 'numpy' else 'at least 1'}")
    taken = range(view.shape[axis])[start:stop:step]
    offset = view.offset + taken.start * view.strides[axis] if taken else view.offset
    changed = View(_with(view.shape, axis, len(taken)), _with(view.strides, axis, view.strides[axis] * step), offset)
    return Outcome(changed, False, f"the offset is where the slice begins; axis {axis} steps by {step} × its stride")


def _expand(view, shape, *, library):
    new = len(shape) - len(view.shape)
    if new < 0:
        raise ValueError(f"shape: got {tuple(shape)}, wanted at least {len(view.shape)} axes")
    sizes, strides = [], []
    for axis, wanted in enumerate(shape):
        size, stride = (1, 0) if axis < new else (view.shape[axis - new], view.strides[axis - new])
        wanted = size if wanted == -1 and axis >= new and library == "torch" else wanted
        if wanted < 0 or size not in (1, wanted):
            raise ValueError(f"shape: got {wanted} at axis {axis}, wanted {size}" + " or any" * (size == 1))
        sizes.append(wanted)
        strides.append(stride if size == wanted else 0)
    view = View(tuple(sizes), tuple(strides), view.offset)
    return Outcome(view, False, "a stretched axis has stride 0: all its indices read the same cell")


def _flip(view, axis, *, library):
    axis = _axis(view, axis)
    if library == "torch":
        return Outcome(_repacked(view), True, "torch has no negative strides, so it writes the numbers anew")
    flipped = _slice(view, axis, None, None, -1, library="numpy").view
    return Outcome(flipped, False, f"the stride of axis {axis} changes its sign; the offset moves to its last index")


def _repacked(view):
    """The cells without holes or repeats, the axes nested as they were: how torch lays out a copy that is not asked for
    in row-major order. Axes of stride 0 tell nothing about their place and keep it, as in torch's own sorting.
    """
    order = []  # of the axes, the innermost first
    for axis in reversed(range(len(view.shape))):
        order.append(axis)
        at = len(order) - 1
        for inner in reversed(range(at)):
            outward = _is_outside(view, order[inner], axis)
            if outward is False:
                break
            if outward:
                order[inner], order[at], at = axis, order[inner], inner
    packed = View.packed([view.shape[axis] for axis in reversed(order)]).strides[::-1]
    return View(view.shape, tuple(packed[order.index(axis)] for axis in range(len(order))))


def _is_outside(view, one, other):
    """Whether an axis walks memory in longer steps than another; None where that cannot be told."""
    ours, theirs = (view.strides[axis] for axis in (one, other))
    if 0 in (ours, theirs):
        return None
    return ours > theirs if ours != theirs else (view.shape[one] > view.shape[other] or None)


def _unfold(view, axis, size, step, *, library):
    axis = _axis(view, axis)
    if not 0 <= size <= view.shape[axis] or step < 1:
        raise ValueError(f"unfold: got size {size}, step {step}, wanted size 0 to {view.shape[axis]}, step 1 or more")
    windows = (view.shape[axis] - size) // step + 1
    shape = (*_with(view.shape, axis, windows), size)
    strides = (*_with(view.strides, axis, view.strides[axis] * step), view.strides[axis])
    return Outcome(View(shape, strides, view.offset), False, "windows share their cells: two axes walk the same memory")


def _view(view, shape, *, library):
    shape = _sizes(view, shape)
    strides, why = _restrided(view, shape)
    if strides is None:
        raise ValueError(f"view: {why}; wanted reshape, which copies")
    return Outcome(View(shape, strides, view.offset), False, why)


def _reshape(view, shape, *, library):
    shape = _sizes(view, shape)
    strides, why = _restrided(view, shape)
    if strides is None:
        return Outcome(View.packed(shape), True, why)
    return Outcome(View(shape, strides, view.offset), False, why)


def _contiguous(view, *, library):
    if view.is_contiguous:
        return Outcome(view, False, "it is row-major already, so it is returned as it is")
    wanted = View.packed(view.shape)
    return Outcome(wanted, True, f"strides {view.strides} are not row-major {wanted.strides}: the numbers move")


def _as_strided(view, shape, strides, offset, *, library):
    if len(shape) != len(strides) or min(shape, default=0) < 0:
        raise ValueError(f"as_strided: got shape {tuple(shape)}, strides {tuple(strides)}, wanted as many, sizes >= 0")
    if library == "torch" and min(strides, default=0) < 0:
        raise ValueError(f"strides: got {tuple(strides)}, wanted none below 0: torch has no negative strides")
    return Outcome(View(tuple(shape), tuple(strides), offset), False, "the same storage, read by the numbers given")


OPERATIONS = {
    "transpose": _transpose,
    "permute": _permute,
    "slice": _slice,
    "expand": _expand,
    "flip": _flip,
    "unfold": _unfold,
    "reshape": _reshape,
    "view": _view,
    "contiguous": _contiguous,
    "as_strided": _as_strided,
}


def _axis(view, axis):
    rank = len(view.shape)
    if not -rank <= axis < rank:
        raise IndexError(f"axis: got {axis}, wanted {-rank} to {rank - 1}" if rank else f"axis: got {axis}, has none")
    return axis % rank


def _with(values, place, value):
    return (*values[:place], value, *values[place + 1 :])


def _sizes(view, shape):
    """The shape with its one -1 filled in."""
    shape, known = tuple(shape), prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0 and view.count % known == 0:
        shape = tuple(view.count // known if size == -1 else size for size in shape)
    if min(shape, default=0) < 0 or prod(shape) != view.count:
        raise ValueError(f"shape: got {shape}, wanted one of {view.count} numbers like {view.shape}")
    return shape


def _runs(view):
    """The axes joined where one stride walks them: [cells, stride, first axis, last axis], the first axes first."""
    runs = []
    for axis, (size, stride) in enumerate(view._axes()):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = [runs[-1][0] * size, stride, runs[-1][2], axis]
        else:
            runs.append([size, stride, axis, axis])
    return runs


def _restrided(view, shape):
    """(strides, why) of a new shape on the same cells in the same order; strides None where there are none.

    Every new axis must lie within one run, or its stride would have to change on the way.
    """
    if not view.count:
        return View.packed(shape).strides, "there are no numbers to move"
    runs, strides = _runs(view), []
    length, stride, first, _ = runs.pop() if runs else (1, 1, 0, 0)
    walked = 1
    for size in reversed(shape):
        if walked == length and size != 1:
            length, stride, first, _ = runs.pop()
            walked = 1
        strides.append(stride * walked)
        walked *= size
        if length % walked:
            before = runs[-1][3]
            return (
                None,
                f"axis {before} steps by {view.strides[before]}, not by the {length * stride} that would join {first}",
            )
    return tuple(reversed(strides)), "each new axis lies where one stride walks the old ones"


# Sliders that stay inside


def limits(view, size, library="torch"):
    """What each number of an as_strided may be while the others stay, within a storage of `size` cells.

    {"shape": [highest per axis], "strides": [(lowest, highest) per axis], "offset": (lowest, highest)}. Where nothing
    binds, a stride or a size reaches as far as the storage. Strides below 0 are for numpy only. The view must be inside
    and not empty.
    """
    low, high = view.bounds
    result = {"shape": [], "strides": [], "offset": (view.offset - low, view.offset + size - 1 - high)}
    for length, stride in view._axes():
        reach = (length - 1) * stride
        below, above = low - min(0, reach), size - 1 - (high - max(0, reach))
        result["shape"].append(size if not stride else (above // stride if stride > 0 else below // -stride) + 1)
        most = max(1, length - 1)
        result["strides"].append((-(below // most) if library == "numpy" else 0, above // most))
    return result


# The library's own word


class Memory(NamedTuple):
    """What a library says of a tensor: its View of the storage, and the storage in cells, bytes and addresses."""

    library: str
    dtype: str
    itemsize: int
    view: View
    size: int
    address: int


def library_of(tensor):
    """ "torch" or "numpy", by what the tensor can do. Raises TypeError for anything else."""
    if hasattr(tensor, "untyped_storage"):
        return "torch"
    if hasattr(tensor, "__array_interface__") and hasattr(tensor, "strides"):
        return "numpy"
    raise TypeError(f"tensor: got {type(tensor).__name__}, wanted a torch tensor or a numpy array")


def memory(tensor):
    """The Memory of a torch tensor (data_ptr, stride, storage_offset) or numpy array (its base array).

    Raises TypeError for a sparse, quantised or meta tensor, or an array of objects; ValueError for a numpy array whose
    strides are no whole cells.
    """
    return _torch_memory(tensor) if library_of(tensor) == "torch" else _numpy_memory(tensor)


def _torch_memory(tensor):
    _refuse(tensor.is_sparse or str(tensor.layout) != "torch.strided", "a sparse tensor", "a dense one: .to_dense()")
    _refuse(tensor.is_quantized, "a quantised tensor", "its numbers: .dequantize() or .int_repr()")
    _refuse(tensor.is_meta, "a tensor on the meta device, which has no storage", "one with numbers")
    storage, itemsize = tensor.untyped_storage(), tensor.element_size()
    view = View(tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Memory("torch", dtype, itemsize, view, storage.nbytes() // itemsize, storage.data_ptr())


def _numpy_memory(array):
    _refuse(array.dtype.kind not in "biufc", f"an array of {array.dtype}", "numbers")
    itemsize, low, high = array.itemsize, *_extent(_root(array))
    apart = array.__array_interface__["data"][0] - low if array.size else 0
    if apart % itemsize or any(stride % itemsize for stride in array.strides):
        raise ValueError(f"tensor: got strides of {array.strides} bytes, wanted multiples of its {itemsize}-byte cells")
    view = View(array.shape, tuple(stride // itemsize for stride in array.strides), apart // itemsize)
    return Memory("numpy", str(array.dtype), itemsize, view, (high - low) // itemsize, low)


def _refuse(it, got, wanted):
    if it:
        raise TypeError(f"tensor: got {got}, wanted {wanted}")


def _root(array):
    """The array that owns the memory, as far as numpy knows; as_strided hides it behind a base that is no array."""
    below = array
    while (below := getattr(below, "base", None)) is not None:
        if hasattr(below, "__array_interface__") and hasattr(below, "strides"):
            array = below
    return array


def _extent(array):
    """(first byte, one past the last byte) of an array's memory."""
    start = array.__array_interface__["data"][0]
    if not array.size:
        return start, start
    ends = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    return start + sum(min(0, end) for end in ends), start + sum(max(0, end) for end in ends) + array.itemsize


def shares(one, other):
    """Whether two tensors read the same storage: the same address, as the library gives it."""
    return memory(one).address == memory(other).address


def on_tensor(tensor, name, *arguments):
    """What the tensor's own library makes of one of OPERATIONS. Raises what the library raises.

    as_strided is refused (ValueError) outside the storage: numpy would read on.
    """
    _known(name)
    if name == "as_strided":
        shape, strides, offset = arguments
        if not View(tuple(shape), tuple(strides), offset).is_inside(memory(tensor).size):
            raise ValueError("as_strided: got cells outside the storage; it was not run")
    return (_on_torch if library_of(tensor) == "torch" else _on_numpy)(tensor, name, *arguments)


def _on_torch(tensor, name, *arguments):
    if name == "slice":
        axis, *ends = arguments
        return tensor[(slice(None),) * (axis % tensor.ndim) + (slice(*ends),)]
    if name == "flip":
        return tensor.flip(*arguments)
    return getattr(tensor, name)(*arguments)


def _on_numpy(array, name, *arguments):
    import numpy as np

    tricks = np.lib.stride_tricks
    if name == "slice":
        axis, *ends = arguments
        return array[(slice(None),) * (axis % array.ndim) + (slice(*ends),)]
    if name == "unfold":
        axis, size, step = arguments
        windows = tricks.sliding_window_view(array, size, axis)
        return windows[(slice(None),) * (axis % array.ndim) + (slice(None, None, step),)]
    if name == "as_strided":
        shape, strides, offset = arguments
        low = _flat(array)[offset:]
        return tricks.as_strided(low, shape, [stride * array.itemsize for stride in strides])
    made = {
        "transpose": array.swapaxes,
        "permute": array.transpose,
        "expand": lambda shape: np.broadcast_to(array, shape),
        "flip": lambda axis: np.flip(array, axis),
        "reshape": array.reshape,
        "view": lambda shape: array.reshape(shape, copy=False),
        "contiguous": lambda: np.ascontiguousarray(array) if array.ndim else array,
    }
    return made[name](*arguments)


def _flat(array):
    """All cells of the memory behind an array, in order of address."""
    import numpy as np

    root = _root(array)
    lowest = root[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in root.strides)]
    low, high = _extent(root)
    first = lowest[(slice(0, 1),) * root.ndim].reshape(-1).view(np.uint8)
    bytes_ = np.lib.stride_tricks.as_strided(first, (high - low,), (1,))
    return bytes_[: (high - low) // array.itemsize * array.itemsize].view(array.dtype)


def storage_of(tensor):
    """The whole storage of a tensor as one axis, in order of address, sharing its memory; detached from any graph."""
    if library_of(tensor) == "numpy":
        return _flat(tensor) if _root(tensor).size else tensor.reshape(-1)
    return tensor.detach().as_strided((memory(tensor).size,), (1,), 0)


# Cache lines


def matmul_reads(order, size, block=4):
    """What the loops of C[i, j] += A[i, k] * B[k, j] touch, for square matrices: ("A", i, k), ("B", k, j), ("C", i, j).

    order: "ijk" (a row times a column), "ikj" (rows of B and C in turn) or "blocked" (ijk over square blocks, and ikj
    inside each, `block` a side; the last block may be smaller). Each innermost step touches A, B, C in this order.
    """
    if order not in ORDERS:
        raise ValueError(f"order: got {order!r}, wanted one of {', '.join(ORDERS)}")
    for i, k, j in ORDERS[order](size, block):
        yield from (("A", i, k), ("B", k, j), ("C", i, j))


def _ijk(size, block):
    return ((i, k, j) for i, j, k in product(range(size), repeat=3))


def _ikj(size, block):
    return product(range(size), repeat=3)


def _blocked(size, block):
    starts = range(0, size, block)
    for i, j, k in product(starts, repeat=3):
        yield from product(*(range(start, min(start + block, size)) for start in (i, k, j)))


ORDERS = {"ijk": _ijk, "ikj": _ikj, "blocked": _blocked}


def lines_read(reads, size, itemsize, line=LINE):
    """The cache line of each read, for A, B, C packed row-major, each beginning a line of its own."""
    apart = -(-size * size * itemsize // line)  # lines of one matrix
    start = {"A": 0, "B": apart, "C": 2 * apart}
    return [start[name] + (row * size + column) * itemsize // line for name, row, column in reads]


def misses(lines, capacity):
    """For each read of a cache line, whether it missed a cache of `capacity` lines.

    The cache is fully associative, drops the line least recently used (LRU), and begins empty.
    """
    capacity = operator.index(capacity)
    if capacity < 1:
        raise ValueError(f"capacity: got {capacity}, wanted at least 1 line")
    kept, missed = {}, []
    for line in lines:
        missed.append(line not in kept)
        kept.pop(line, None)
        kept[line] = True
        if len(kept) > capacity:
            del kept[next(iter(kept))]
    return missed
