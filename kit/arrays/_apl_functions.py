"""APL's primitive functions on arrays, as Dyalog APL documents them, index origin 1, comparison tolerance 1e-14.

An array is a numpy array: float64 for numbers (whole ones are exact up to 2^53), <U1 for characters, and object for
nested or mixed ones, each item of which is an array again. An error says APL's name for it, and why.
"""

import math

import numpy as np

from kit.arrays._apl_words import AplError

TOLERANCE = 1e-14
MOST_CELLS, MOST_ITEMS, MOST_AXES, MOST_DEPTH = 2**22, 2**16, 15, 32
BIGGEST = np.finfo(float).max


# --- arrays


def limit(shape):
    """The shape, if an array of it may be made. Raises WS FULL or LIMIT ERROR."""
    shape = tuple(int(size) for size in shape)
    if len(shape) > MOST_AXES:
        raise AplError("LIMIT ERROR", f"{len(shape)} axes, wanted at most {MOST_AXES}")
    if math.prod(max(size, 1) for size in shape) > MOST_CELLS:
        raise AplError("WS FULL", f"an array of {' '.join(map(str, shape))}, wanted at most {MOST_CELLS} cells")
    return shape


def is_text(array):
    return array.dtype.kind == "U"


def is_nested(array):
    return array.dtype == object


def items(array):
    """The items of an array in row-major order, each an array."""
    return [np.asarray(item) for item in array.reshape(-1)]


def cells(array):
    """The cells along the first axis; those of a nested vector are scalars that hold an item."""
    return [array[k : k + 1].reshape(array.shape[1:]) for k in range(len(array))]


def collect(parts, shape=None):
    """The array of this shape (by default a vector) whose items are the given arrays."""
    shape = (len(parts),) if shape is None else shape
    kinds = {part.dtype.kind for part in parts if part.ndim == 0}
    if len(kinds) == 1 and kinds != {"O"} and all(part.ndim == 0 for part in parts):
        return np.array([part[()] for part in parts]).reshape(shape)
    if not parts:
        return np.zeros(shape)
    if len(parts) > MOST_ITEMS:
        raise AplError("WS FULL", f"{len(parts)} nested items, wanted at most {MOST_ITEMS}")
    made = np.empty(len(parts), dtype=object)
    for i, part in enumerate(parts):
        made[i] = part[()] if is_nested(part) and part.ndim == 0 else part
    return _shallow(made.reshape(shape))


def _shallow(array):
    if depth_of(array, MOST_DEPTH + 1) > MOST_DEPTH:
        raise AplError("LIMIT ERROR", f"nested deeper than {MOST_DEPTH}")
    return array


def depth_of(array, most=MOST_DEPTH):
    """How deep an array is nested, 0 for a simple scalar."""
    if not is_nested(array):
        return min(array.ndim, 1)
    return 1 + max((depth_of(item, most - 1) for item in items(array)), default=0) if most else 0


def enclosed(array):
    """A scalar that holds the array; a simple scalar holds itself."""
    return collect([array], ()) if array.ndim or is_nested(array) else array


def disclosed(array):
    """The item of a scalar that holds one."""
    return items(array)[0] if is_nested(array) and array.ndim == 0 else array


def numbers(array):
    """The array, if it holds numbers only. Raises DOMAIN ERROR."""
    if is_nested(array):
        raise AplError("DOMAIN ERROR", "a nested array, wanted numbers")
    if is_text(array):
        if array.size:
            raise AplError("DOMAIN ERROR", "characters, wanted numbers")
        return np.zeros(array.shape)
    return array


def whole(array, what="an argument"):
    """The numbers as int64. Raises DOMAIN ERROR if one is not whole."""
    array = numbers(array)
    near = np.rint(array)
    if (abs(array - near) > TOLERANCE * abs(array)).any() or (abs(array) > 2**53).any():
        raise AplError("DOMAIN ERROR", f"{what} is not a whole number, or too large")
    return near.astype(np.int64)


def line(array, what):
    """The array, a scalar made a vector. Raises RANK ERROR for more axes."""
    if array.ndim > 1:
        raise AplError("RANK ERROR", f"{what} has {array.ndim} axes, wanted a vector")
    return array.reshape(-1)


def fill_of(array):
    return " " if is_text(array) else 0.0


def filled(shape, array):
    """An array of the fill of another: blanks or zeros."""
    return np.full(limit(shape), fill_of(array), dtype=array.dtype)


def alike(*arrays):
    """The arrays as one dtype: text and numbers together become mixed arrays."""
    kinds = {array.dtype for array in arrays if array.size} or {arrays[0].dtype}
    if len(kinds) == 1:
        return [array.astype(*kinds) if not array.size else array for array in arrays]
    return [as_mixed(array) for array in arrays]


def as_mixed(array):
    made = np.empty(array.size, dtype=object)
    made[:] = items(array) if not is_nested(array) else array.reshape(-1)
    return made.reshape(array.shape)


# --- scalar functions


def agreed(left, right):
    """Both arrays in one shape. Only a single element is extended: this is not broadcasting.

    Raises RANK ERROR or LENGTH ERROR.
    """
    if left.shape == right.shape:
        return left, right
    if left.size == 1 and (right.size != 1 or left.ndim <= right.ndim):
        return left.reshape(()), right
    if right.size == 1:
        return left, right.reshape(())
    if left.ndim != right.ndim:
        raise AplError("RANK ERROR", f"{_sizes(left)} against {_sizes(right)}; wanted as many axes, or one element")
    raise AplError("LENGTH ERROR", f"{_sizes(left)} against {_sizes(right)}; wanted equal shapes, or one element")


def _sizes(array):
    return f"shape {' '.join(map(str, array.shape))}" if array.ndim else "a scalar"


def scalar_monad(function, right):
    if is_nested(right):
        return collect([scalar_monad(function, item) for item in items(right)], right.shape)
    return finite(function(numbers(right)))


def scalar_dyad(function, left, right):
    left, right = agreed(left, right)
    if is_nested(left) or is_nested(right):
        return _item_by_item(function, left, right)
    if function in (equal, unequal) and (is_text(left) or is_text(right)):
        if is_text(left) != is_text(right):
            same = np.zeros(np.broadcast_shapes(left.shape, right.shape), dtype=bool)
        else:
            same = np.asarray(left == right)
        return (same if function is equal else ~same).astype(float)
    return finite(function(numbers(left), numbers(right)))


def _item_by_item(function, left, right):
    shape = left.shape or right.shape
    ones, others = ([*items(array)] for array in (left, right))
    count = math.prod(shape)
    ones, others = (ones * count if len(ones) != count else ones), (others * count if len(others) != count else others)
    return collect([scalar_dyad(function, *pair) for pair in zip(ones, others, strict=True)], shape)


def finite(array):
    array = np.asarray(np.asarray(array, dtype=float) + 0.0)  # no -0
    if not np.isfinite(array).all():
        raise AplError("DOMAIN ERROR", "a result that is no finite number")
    return array


def _refuse(bad, name, why):
    if np.any(bad):
        raise AplError(name, why)


def equal(left, right):
    return abs(left - right) <= TOLERANCE * np.maximum(abs(left), abs(right))


def unequal(left, right):
    return ~np.asarray(equal(left, right))


def floor(array):
    near = np.rint(array)
    return np.where(abs(array - near) <= TOLERANCE * np.maximum(1, abs(array)), near, np.floor(array))


def ceiling(array):
    return -floor(-array)


def residue(left, right):
    """right modulo left, of the sign of left; 0|x is x. A fraction that is a multiple within the tolerance leaves 0."""
    safe = np.where(left == 0, 1, left)
    quotient = right / safe
    whole_ones = (left == np.rint(left)) & (right == np.rint(right))
    multiple = ~whole_ones & (abs(quotient - np.rint(quotient)) <= TOLERANCE * np.maximum(1, abs(quotient)))
    return np.where(left == 0, right, np.where(multiple, 0, np.mod(right, safe)))


def divide(left, right):
    _refuse((right == 0) & (left != 0), "DOMAIN ERROR", "division by zero")
    return np.where(right == 0, 1, left / np.where(right == 0, 1, right))


def reciprocal(array):
    return divide(np.ones(()), array)


def power(left, right):
    _refuse((left == 0) & (right < 0), "DOMAIN ERROR", "zero to a negative power")
    _refuse((left < 0) & (right != np.rint(right)), "NONCE ERROR", "a root of a negative number is complex")
    return np.power(left, right)


def logarithm(array):
    _refuse(array == 0, "DOMAIN ERROR", "the logarithm of zero")
    _refuse(array < 0, "NONCE ERROR", "the logarithm of a negative number is complex")
    return np.log(array)


def logarithm_to(left, right):
    return divide(logarithm(right), logarithm(left))


def factorial(array):
    """x!, the gamma function of x + 1."""
    small = (array >= 0) & (array == np.rint(array)) & (array <= 170)
    known = _FACTORIALS[np.where(small, array, 0).astype(int)]
    return known if small.all() else np.where(small, known, _gamma(np.where(small, 1, array + 1)))


_FACTORIALS = np.array([float(math.factorial(n)) for n in range(171)])


@np.vectorize(otypes=[float])
def _gamma(number):
    _refuse(number <= 0 and number == round(number), "DOMAIN ERROR", "the factorial of a negative whole number")
    try:
        return math.gamma(number)
    except OverflowError:
        return math.inf


@np.vectorize(otypes=[float])
def binomial(k, n):
    """How many ways to choose k of n; for other than whole numbers by the gamma function."""
    if k == round(k) and n == round(n):
        return _whole_binomial(int(k), int(n))
    if n < 0 and n == round(n):
        raise AplError("DOMAIN ERROR", "a binomial of a negative whole number and a fraction")
    below = [k + 1, n - k + 1]
    if any(x <= 0 and x == round(x) for x in below):
        return 0.0
    try:
        return math.gamma(n + 1) / math.gamma(below[0]) / math.gamma(below[1])
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _whole_binomial(k, n):
    if k < 0 and n < 0:
        k = n - k  # the symmetry k!n = (n-k)!n, the one of the two that is not 0
    k = min(k, n - k) if n >= 0 else k
    if k < 0:
        return 0.0
    sign, top = (1, n) if n >= 0 else ((-1) ** (k % 2), k - n - 1)
    few = min(k, top - k)
    if few and few * math.log(top / few) > 710:  # a lower bound of the logarithm, and e^710 is beyond all floats
        return math.inf
    try:
        return float(sign * math.comb(top, k))
    except OverflowError:
        return math.inf


def divisor(left, right):
    """The greatest common divisor, of Booleans: or."""
    _refuse(
        (left != np.rint(left)) | (right != np.rint(right)), "NONCE ERROR", "∨ and ∧ of fractions are not supported"
    )
    left, right = (whole(array, "an argument of ∨ or ∧") for array in (left, right))
    return np.gcd(left, right).astype(float)


def multiple(left, right):
    """The least common multiple, of Booleans: and."""
    common = divisor(left, right)
    return left / np.where(common == 0, 1, common) * right


def truths(array):
    """The array, if it holds only 0 and 1. Raises DOMAIN ERROR."""
    _refuse((array != 0) & (array != 1), "DOMAIN ERROR", "a number other than 0 and 1")
    return array


SCALAR_MONADS = {
    "+": lambda x: x,
    "-": np.negative,
    "×": np.sign,
    "÷": reciprocal,
    "*": np.exp,
    "⍟": logarithm,
    "⌈": ceiling,
    "⌊": floor,
    "|": abs,
    "!": factorial,
    "~": lambda x: 1 - truths(x),
}
SCALAR_DYADS = {
    "+": np.add,
    "-": np.subtract,
    "×": np.multiply,
    "÷": divide,
    "*": power,
    "⍟": logarithm_to,
    "⌈": np.maximum,
    "⌊": np.minimum,
    "|": residue,
    "!": binomial,
    "=": equal,
    "≠": unequal,
    "<": lambda x, y: (x < y) & unequal(x, y),
    "≤": lambda x, y: (x <= y) | equal(x, y),
    "≥": lambda x, y: (x >= y) | equal(x, y),
    ">": lambda x, y: (x > y) & unequal(x, y),
    "∧": multiple,
    "∨": divisor,
    "⍲": lambda x, y: 1 - truths(x) * truths(y),
    "⍱": lambda x, y: 1 - np.maximum(truths(x), truths(y)),
}
# What a reduction of nothing gives: the number that changes no other.
IDENTITY = {
    **dict.fromkeys("+-|≠<>∨", 0.0),
    **dict.fromkeys("×÷*!=≤≥∧", 1.0),
    "⌈": -BIGGEST,
    "⌊": BIGGEST,
}


# --- shape


def shape_of(array):
    return np.array(array.shape, dtype=float)


def reshape(left, right):
    shape = whole(line(left, "the left argument of ⍴"), "a size")
    _refuse(shape < 0, "DOMAIN ERROR", "a size below 0")
    shape = limit(shape)
    if not right.size:
        return filled(shape, right)
    return right.reshape(-1)[np.arange(math.prod(shape)) % right.size].reshape(shape)


def ravel(array):
    return array.reshape(-1)


def table(array):
    return array.reshape(len(array), -1) if array.ndim and array.size else array.reshape(_table_shape(array.shape))


def _table_shape(shape):
    return (shape[0] if shape else 1, math.prod(shape[1:]))


def catenate(left, right, axis):
    """The arrays side by side along the axis (-1 or 0); one may have an axis less, or be a scalar."""
    left, right = alike(left, right)
    rank = max(left.ndim, right.ndim, 1)
    shapes = {array.ndim: array.shape for array in (left, right)}
    along = axis % rank
    pair = [_slab(array, rank, along, shapes.get(rank, (1,))) for array in (left, right)]
    one, other = ([size for k, size in enumerate(part.shape) if k != along] for part in pair)
    if one != other:
        raise AplError("LENGTH ERROR", f"{_sizes(left)} beside {_sizes(right)}")
    shape = list(pair[0].shape)
    shape[along] += pair[1].shape[along]
    limit(shape)
    return np.concatenate(pair, along)


def _slab(array, rank, along, shape):
    if array.ndim == rank:
        return array
    if array.ndim == 0:
        return np.full([1 if k == along else size for k, size in enumerate(shape)], array, dtype=array.dtype)
    if array.ndim < rank - 1:
        raise AplError("RANK ERROR", f"{array.ndim} axes beside {rank}")
    return np.expand_dims(array, along)


def transpose(left, right):
    """Axis k of the right argument becomes axis left[k]; axes that become one give a diagonal."""
    places = whole(line(left, "the left argument of ⍉"), "an axis") - 1
    if len(places) != right.ndim:
        raise AplError("LENGTH ERROR", f"{len(places)} axes named of {right.ndim}")
    if sorted(set(places)) != list(range(len(set(places)))):
        raise AplError("DOMAIN ERROR", "the axes named are not 1, 2, ... without a gap")
    sources = [np.flatnonzero(places == axis) for axis in range(len(set(places)))]
    shape = [min(right.shape[k] for k in source) for source in sources]
    strides = [sum(right.strides[k] for k in source) for source in sources]
    return np.lib.stride_tricks.as_strided(right, shape, strides).copy()


def reverse(array, axis):
    return np.flip(array, axis) if array.ndim else array


def rotate(left, right, axis):
    """Each line along the axis moved left by as many places as the left argument says."""
    turns = whole(left, "a turn")
    if right.ndim == 0 or right.size == 0:
        return right
    axis %= right.ndim
    rest = right.shape[:axis] + right.shape[axis + 1 :]
    if turns.size != 1 and turns.shape != rest:
        name = "RANK ERROR" if turns.ndim != len(rest) else "LENGTH ERROR"
        raise AplError(name, f"turns of {_sizes(turns)}, wanted one, or as the array without that axis")
    turns = np.broadcast_to(turns.reshape(rest if turns.size != 1 else ()), rest)
    size = right.shape[axis]
    steps = np.arange(size).reshape([-1 if k == axis else 1 for k in range(right.ndim)])
    return np.take_along_axis(right, (steps + np.expand_dims(turns % size, axis)) % size, axis)


def take(left, right):
    """The first cells of each axis, the last ones for a negative count, with fill where there are too few."""
    counts = whole(line(left, "the left argument of ↑"), "a count")
    if right.ndim == 0:
        right = right.reshape((1,) * len(counts))
    counts = _counts(counts, right, "↑")
    made = filled([abs(count) for count in counts] + list(right.shape[len(counts) :]), right)
    into, out = [], []
    for count, size in zip(counts, right.shape, strict=False):
        kept = min(abs(count), size)
        into.append(slice(0, kept) if count >= 0 else slice(abs(count) - kept, None))
        out.append(slice(0, kept) if count >= 0 else slice(size - kept, None))
    made[tuple(into)] = right[tuple(out)]
    return made


def drop(left, right):
    """The array without the first cells of each axis, without the last for a negative count."""
    counts = whole(line(left, "the left argument of ↓"), "a count")
    if right.ndim == 0:
        right = right.reshape((1,) * len(counts))
    counts = _counts(counts, right, "↓")
    return right[tuple(slice(count, None) if count >= 0 else slice(0, count) for count in counts)]


def _counts(counts, right, glyph):
    if len(counts) > right.ndim:
        raise AplError("LENGTH ERROR", f"{len(counts)} counts for {glyph}, wanted at most {right.ndim}")
    return [int(count) for count in counts]


def split(array):
    """A nested array of the vectors along the last axis."""
    if array.ndim == 0:
        return array
    return collect(list(array.reshape(-1, array.shape[-1])) if array.size else [], array.shape[:-1])


def mixed(array):
    """The items as the last axes of one array, filled up to the largest of them."""
    if not is_nested(array):
        return array
    parts = items(array)
    rank = max((part.ndim for part in parts), default=0)
    parts = [part.reshape((1,) * (rank - part.ndim) + part.shape) for part in parts]
    if not parts:
        return np.zeros(array.shape)
    shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    limit([*array.shape, *shape])
    parts = alike(*(_filled_up(part, shape) for part in parts))
    return np.stack(parts).reshape([*array.shape, *shape])


def _filled_up(part, shape):
    return take(np.array(shape, dtype=float), part) if list(part.shape) != list(shape) else part


def replicate(left, right, axis):
    """Each cell along the axis as often as the left argument says; for a negative count as much fill."""
    counts = whole(line(left, "the left argument of /"), "a count")
    right = right if right.ndim else right.reshape(1)
    size = right.shape[axis]
    if counts.size == 1:
        counts = np.repeat(counts, size)
    elif size == 1:
        right = np.repeat(right, counts.size, axis)
    elif counts.size != size:
        raise AplError("LENGTH ERROR", f"{counts.size} counts for {size} cells")
    return _repeated(counts, right, axis)


def _repeated(counts, right, axis):
    shape = list(right.shape)
    shape[axis] = sum(abs(int(count)) for count in counts)
    limit(shape)
    made = np.repeat(right, abs(counts), axis)
    np.moveaxis(made, axis, 0)[np.repeat(counts < 0, abs(counts))] = fill_of(right)
    return made


def expand(left, right, axis):
    """A cell of the right argument for each 1 (n of them for n), fill for each 0."""
    counts = whole(line(left, "the left argument of \\"), "a count")
    right = right if right.ndim else right.reshape(1)
    shown = counts > 0
    if right.shape[axis] == 1:
        right = np.repeat(right, shown.sum(), axis)
    if shown.sum() != right.shape[axis]:
        raise AplError("LENGTH ERROR", f"{shown.sum()} places for {right.shape[axis]} cells")
    shape = list(right.shape)
    shape[axis] = len(counts)
    spread = filled(shape, right)
    np.moveaxis(spread, axis, 0)[shown] = np.moveaxis(right, axis, 0)
    return _repeated(np.where(shown, counts, np.minimum(counts, -1)), spread, axis)


# --- search and order


def index_generator(array):
    sizes = whole(line(array, "the argument of ⍳"), "a size")
    _refuse(sizes < 0, "DOMAIN ERROR", "a size below 0")
    shape = limit(sizes)
    if len(shape) == 1:
        return np.arange(1, shape[0] + 1, dtype=float)
    if math.prod(shape) > MOST_ITEMS:
        raise AplError("WS FULL", f"{math.prod(shape)} nested items, wanted at most {MOST_ITEMS}")
    return collect([np.array(index, dtype=float) + 1 for index in np.ndindex(shape)], shape)


def places(needles, hay):
    """For each needle the place (from 0) of the first equal item of the vector `hay`, or its length."""
    flat = needles.reshape(-1)
    if is_nested(flat) or is_nested(hay):
        if flat.size * hay.size > MOST_ITEMS:
            raise AplError("WS FULL", "a search of nested items that takes too long")
        known = items(hay)
        found = [next((i for i, item in enumerate(known) if matches(item, one)), len(known)) for one in items(flat)]
        return np.array(found, dtype=np.int64).reshape(needles.shape)
    if is_text(flat) != is_text(hay) or not hay.size:
        return np.full(needles.shape, hay.size)
    flat, hay = (
        array.view(np.uint32).astype(float) if is_text(array) else array for array in map(_packed, (flat, hay))
    )
    order = np.argsort(hay, kind="stable")
    near = np.searchsorted(hay[order], flat - TOLERANCE * abs(flat)).clip(max=hay.size - 1)
    return np.where(equal(hay[order[near]], flat), order[near], hay.size).reshape(needles.shape)


def _packed(array):
    return np.ascontiguousarray(array)


def index_of(left, right):
    if left.ndim != 1:
        raise AplError("RANK ERROR", f"the left argument of ⍳ has {left.ndim} axes, wanted a vector")
    return places(right, left) + 1.0


def member(left, right):
    return (places(left, right.reshape(-1)) < right.size).astype(float)


def without(left, right):
    return line(left, "the left argument of ~")[places(left.reshape(-1), right.reshape(-1)) == right.size]


def enlist(array):
    """All simple scalars of an array as one vector."""
    if not is_nested(array):
        return array.reshape(-1)
    parts = [enlist(item) for item in items(array)]
    return np.concatenate(alike(*parts)) if parts else np.zeros(0)


def grade(array, sign):
    """The order that sorts the cells of the first axis, first the smallest (sign 1) or the largest (-1)."""
    if array.ndim == 0:
        raise AplError("RANK ERROR", "a scalar has no order, wanted a vector")
    if is_nested(array):
        raise AplError("DOMAIN ERROR", "the order of nested arrays is not supported")
    keys = _packed(array).view(np.uint32).astype(float) if is_text(array) else array
    rows = sign * keys.reshape(len(keys), math.prod(keys.shape[1:]))
    order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    return order + 1.0


def index(left, right):
    """One item of the left argument for each axis in turn, each a scalar or an enclosed array of places."""
    chosen = [disclosed(item) for item in items(line(left, "the left argument of ⌷"))]
    if len(chosen) > right.ndim:
        raise AplError("RANK ERROR", f"{len(chosen)} places for {right.ndim} axes")
    return at_places(right, chosen + [None] * (right.ndim - len(chosen)))


def at_places(array, chosen):
    """array[i; j; ...]: for each axis an array of places from 1, or None for all. Raises RANK or INDEX ERROR."""
    if len(chosen) != array.ndim:
        raise AplError("RANK ERROR", f"{len(chosen)} places for {array.ndim} axes")
    limit(
        [size for axis, at in enumerate(chosen) for size in (array.shape[axis : axis + 1] if at is None else at.shape)]
    )
    for axis in reversed(range(len(chosen))):
        if chosen[axis] is not None:
            at = whole(chosen[axis], "an index")
            _refuse((at < 1) | (at > array.shape[axis]), "INDEX ERROR", f"an index outside 1 to {array.shape[axis]}")
            shape = array.shape[:axis] + at.shape + array.shape[axis + 1 :]
            array = np.take(array, at.reshape(-1) - 1, axis).reshape(shape)
    return array


def first(array):
    return items(array.reshape(-1)[:1])[0] if array.size else np.asarray(fill_of(array))


def pick(left, right):
    """Follow a path into nested arrays: one place at each depth."""
    for step in items(line(left, "the left argument of ⊃")):
        right = disclosed(at_places(right, [place.reshape(()) for place in items(line(disclosed(step), "a place"))]))
    return right


def matches(left, right):
    """Whether two arrays are the same in shape, items and nesting."""
    if left.shape != right.shape or is_nested(left) != is_nested(right):
        return False
    if is_nested(left):
        return all(map(matches, items(left), items(right)))
    if is_text(left) != is_text(right):
        return False  # also if both are empty: '' is no ⍬
    return bool((left == right).all() if is_text(left) else np.all(equal(left, right)))


def depth(array):
    """How deep an array is nested; negative where its items differ in that."""

    def uneven(array):
        inner = [depth_of(item) for item in items(array)] if is_nested(array) else []
        return len(set(inner)) > 1 or any(uneven(item) for item in items(array) if is_nested(item))

    return np.asarray(float(depth_of(array) * (-1 if is_nested(array) and uneven(array) else 1)))


def tally(array):
    return np.asarray(float(len(array) if array.ndim else 1))


# --- numbers in bases, and chance


def decode(left, right):
    """The value of the digits along the first axis of `right` in the radices along the last axis of `left`."""
    left, right = numbers(left), numbers(right)
    size = (left.shape[-1:] if left.ndim and left.shape[-1] != 1 else right.shape[:1]) or (1,)
    left = np.broadcast_to(left if left.ndim else left.reshape(1), left.shape[:-1] + size)
    right = right if right.ndim and right.shape[0] == size[0] else _extended(right, size[0])
    weights = np.cumprod(np.concatenate([np.ones_like(left[..., :1]), left[..., :0:-1]], -1), -1)[..., : size[0]]
    limit(left.shape[:-1] + right.shape[1:])
    return finite(np.tensordot(weights[..., ::-1], right, 1))


def _extended(right, size):
    if right.ndim and right.shape[0] != 1:
        raise AplError("LENGTH ERROR", f"{size} radices for {right.shape[0]} digits")
    right = right if right.ndim else right.reshape(1)
    limit((size, *right.shape[1:]))
    return np.repeat(right, size, 0)


def encode(left, right):
    """The digits of each number of `right` in the radices along the first axis of `left`."""
    left, right = numbers(left), numbers(right)
    shape = limit(left.shape + right.shape)
    radices = np.broadcast_to(left.reshape(left.shape + (1,) * right.ndim), shape)
    rest, digits = np.broadcast_to(right, shape[1:] if left.ndim else shape), []
    for radix in radices[::-1] if left.ndim else [radices]:
        digits.append(residue(radix, rest))
        rest = np.where(radix == 0, 0, (rest - digits[-1]) / np.where(radix == 0, 1, radix))
    made = np.stack(digits[::-1]) if digits else np.zeros(shape)
    return finite(made if left.ndim else digits[0])


def roll(random, array):
    """A whole number from 1 to each number by chance, between 0 and 1 for 0."""
    sizes = whole(array, "a size")
    _refuse(sizes < 0, "DOMAIN ERROR", "a size below 0")
    drawn = random.random(sizes.shape)
    return np.asarray(np.where(sizes == 0, drawn, np.floor(drawn * sizes) + 1))


def deal(random, left, right):
    """Different numbers from 1 to the right argument, in an order of chance."""
    if left.size != 1 or right.size != 1:
        raise AplError("LENGTH ERROR", "? deals one count from one size")
    count, size = int(whole(left).reshape(())), int(whole(right).reshape(()))
    if not 0 <= count <= size:
        raise AplError("DOMAIN ERROR", f"{count} different numbers from {size}")
    limit((size,))
    return random.permutation(size)[:count] + 1.0


MONADS = {
    **{glyph: lambda right, f=f: scalar_monad(f, right) for glyph, f in SCALAR_MONADS.items()},
    "⍳": index_generator,
    "⍴": shape_of,
    "⍉": lambda right: right.T,
    "⌽": lambda right: reverse(right, -1),
    "⊖": lambda right: reverse(right, 0),
    ",": ravel,
    "⍪": table,
    "↑": mixed,
    "↓": split,
    "∊": enlist,
    "⍋": lambda right: grade(right, 1),
    "⍒": lambda right: grade(right, -1),
    "≡": depth,
    "≢": tally,
    "⊂": enclosed,
    "⊃": first,
    "⊢": lambda right: right,
    "⊣": lambda right: right,
    "⌷": lambda right: right,
}
DYADS = {
    **{glyph: lambda left, right, f=f: scalar_dyad(f, left, right) for glyph, f in SCALAR_DYADS.items()},
    "~": without,
    "⍳": index_of,
    "⍴": reshape,
    "⍉": transpose,
    "⌽": lambda left, right: rotate(left, right, -1),
    "⊖": lambda left, right: rotate(left, right, 0),
    ",": lambda left, right: catenate(left, right, -1),
    "⍪": lambda left, right: catenate(left, right, 0),
    "↑": take,
    "↓": drop,
    "⌷": index,
    "∊": member,
    "≡": lambda left, right: np.asarray(float(matches(left, right))),
    "≢": lambda left, right: np.asarray(float(not matches(left, right))),
    "⊃": pick,
    "⊢": lambda left, right: right,
    "⊣": lambda left, right: left,
    "⊥": decode,
    "⊤": encode,
    "/": lambda left, right: replicate(left, right, -1),
    "⌿": lambda left, right: replicate(left, right, 0),
    "\\": lambda left, right: expand(left, right, -1),
    "⍀": lambda left, right: expand(left, right, 0),
}
