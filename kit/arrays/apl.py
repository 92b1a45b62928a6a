"""A small APL: expressions on arrays, right to left, with APL's own semantics and errors. No torch.

    Workspace    names and what they hold; run(text) evaluates
    evaluate     one text, with names given as Python values
    torch_code   the torch equivalent of an expression
    boxed        an array as APL prints it
    described    what it is, in words

The semantics are those of Dyalog APL with ⎕IO = 1, ⎕CT = 1e-14, ⎕DIV = 0 and ⎕PP = 10; the notation is Iverson's
("Notation as a Tool of Thought", CACM 23(8), 1980). Not supported, and said so: complex numbers, ∨ and ∧ of fractions,
operators of one's own, an axis in brackets, assignment to parts, all of ⎕ but ⎕IO. All numbers are float64, whole ones
exact up to 2^53; an array holds at most 2^22 cells.
"""

import threading
import time

import numpy as np

from kit.arrays import _apl_functions as functions
from kit.arrays import _apl_operators as operators
from kit.arrays import _apl_words as words
from kit.arrays._apl_text import boxed
from kit.arrays._apl_words import AplError

__all__ = ["AplError", "Workspace", "boxed", "described", "evaluate", "torch_code"]


def evaluate(text, **names):
    """The value of a text's last statement, as `Workspace.run`, with names bound to Python values."""
    return Workspace(**names).run(text)


def torch_code(text, **names):
    """Python source that computes with torch what the text does; names are Python values.

    Raises AplError where none is known.
    """
    return Workspace(**names).torch_code(text)


class Workspace:
    """Names and their arrays or functions, which stay from run to run.

    names: numbers, texts, nested lists, numpy arrays, or tensors on any device, as `from_python` takes them.
    seconds: what a run may take, for not every ⍣ ends by itself; then it raises AplError LIMIT ERROR.
    """

    seconds = 10.0

    def __init__(self, **names):
        self._names = {name: from_python(value, name) for name, value in names.items()}
        self._watch = Watch()
        self._random = np.random.default_rng(0)

    def run(self, text):
        """The value of the last statement; None if that is an assignment, or if there is none.

        Numbers come as a numpy array, int64 if all are whole, characters as one of <U1, nested arrays as a list of
        these. Raises AplError, whatever the text, and TypeError if it is none.
        """
        value = self.value(text)
        return None if value is None else as_python(value)

    def value(self, text):
        """As `run`, but an APL array: float64, <U1 or object."""
        return self._guarded(text, self._run)

    def torch_code(self, text):
        """Python source for all statements, one on a line; the names stay. Raises AplError where none is known."""
        from kit.arrays._apl_torch import translated

        copy = self.copy()
        return copy._guarded(text, lambda text: translated(copy._frame(), words.read(text)))

    def agrees(self, code, value):
        """Whether torch gives this APL array when it runs the code with the workspace's arrays as tensors.

        Numbers may differ by the rounding of float32: 1e-5 of them. Raises ImportError without torch.
        """
        from kit.arrays._apl_torch import computed, same

        arrays = {
            name: held for name, held in self._names.items() if isinstance(held, np.ndarray) and held.dtype == float
        }
        return same(computed(code, arrays), value)

    def copy(self):
        """A workspace with the same names, whose changes stay its own; `interrupt` ends what either runs."""
        copy = Workspace()
        copy._names, copy._watch, copy.seconds = dict(self._names), self._watch, self.seconds
        return copy

    def array(self, name):
        """The array a name holds, or None."""
        value = self._names.get(name)
        return value if isinstance(value, np.ndarray) else None

    @property
    def names(self):
        """What holds something: {name: in words, such as "shape 2 3", "scalar" or "function"}."""
        return {name: described(value) for name, value in self._names.items()}

    def interrupt(self):
        """End what runs, from another thread: it raises AplError INTERRUPT."""
        self._watch.stopped.set()

    def _guarded(self, text, work):
        if not isinstance(text, str):
            raise TypeError(f"text: got {type(text).__name__}, wanted APL as a str")
        self._watch.start(self.seconds)
        try:
            with np.errstate(all="ignore"):
                return work(text)
        except AplError as error:
            if error.position is None:
                error.text, error.position = text, 0
            raise
        except RecursionError:
            raise AplError("LIMIT ERROR", "functions or brackets nested too deep", (text, 0)) from None
        except MemoryError:
            raise AplError("WS FULL", "no memory left", (text, 0)) from None

    def _frame(self):
        return Frame(self._names, None, self._watch, self._random)

    def _run(self, text):
        frame, value = self._frame(), None
        for statement in words.read(text):
            tree = words.parse(statement, frame.is_verb)
            value = frame.done(tree)
            if isinstance(tree, words.Assign):
                value = None
        return value


class Watch:
    """Ends, between two calls of a function, what runs too long or was interrupted."""

    def __init__(self):
        self.stopped = threading.Event()

    def start(self, seconds):
        self.seconds, self.end = seconds, time.monotonic() + seconds
        self.stopped.clear()

    def look(self):
        if time.monotonic() > self.end:
            raise AplError("LIMIT ERROR", f"more than {self.seconds:g} s of work; it was ended")
        if self.stopped.is_set():
            raise AplError("INTERRUPT", "stopped")


class Verb:
    """A function: verb(left, right) with left None for a single argument; errors learn where it stands."""

    def __init__(self, call, watch, tree, glyph="", scalar=False):
        self.call, self.watch, self.tree, self.glyph, self.scalar = call, watch, tree, glyph, scalar

    def __call__(self, left, right):
        try:
            self.watch.look()
            return np.asarray(self.call(left, right))
        except AplError as error:
            if error.position is None:
                error.text, error.position = self.tree.at
            raise


class Frame:
    """Where names are looked up: the workspace's, or those of one call of a dfn before those around its definition."""

    def __init__(self, names, around, watch, random, itself=None):
        self.names, self.around, self.watch, self.random, self.itself = names, around, watch, random, itself

    def find(self, name):
        if name in self.names:
            return self.names[name]
        return self.around.find(name) if self.around else None

    def is_verb(self, name):
        return name == "∇" or isinstance(self.find(name), Verb)

    def done(self, tree):
        """The value of a statement: an array, or the function to which it gives a name."""
        if isinstance(tree, words.VERBS):
            raise AplError("SYNTAX ERROR", "a function without an argument", tree.at)
        if isinstance(tree, words.Assign) and isinstance(tree.value, words.VERBS):
            self.names[tree.name] = self.verb(tree.value)
            return self.names[tree.name]
        return self.value(tree)

    # --- nouns

    def value(self, tree):
        return getattr(self, f"_{type(tree).__name__.lower()}")(tree)

    def _literal(self, tree):
        if isinstance(tree.value, str):
            text = np.array(list(tree.value), dtype="<U1")
            return text.reshape(()) if len(text) == 1 else text
        return np.asarray(tree.value)

    def _name(self, tree):
        if tree.name.upper() == "⎕IO":
            return np.asarray(1.0)
        if tree.name == "⍬":
            return np.zeros(0)
        value = self.find(tree.name)
        if value is None:
            raise AplError("VALUE ERROR", f"{tree.name} has no value", tree.at)
        if isinstance(value, Verb):
            raise AplError("SYNTAX ERROR", f"{tree.name} is a function, wanted an array", tree.at)
        return value

    def _strand(self, tree):
        return functions.collect([functions.enclosed(self.value(part)) for part in reversed(tree.parts)][::-1])

    def _index(self, tree):
        chosen = [None if place is None else self.value(place) for place in reversed(tree.places)][::-1]
        array = self.value(tree.array)
        return self._made(tree, lambda _, right: functions.at_places(right, chosen))(None, array)

    def _monad(self, tree):
        right = self.value(tree.right)
        return self.verb(tree.verb)(None, right)

    def _dyad(self, tree):
        right = self.value(tree.right)
        left = self.value(tree.left)
        return self.verb(tree.verb)(left, right)

    def _assign(self, tree):
        if tree.name == "⍺" and self.find("⍺") is not None:
            return self.find("⍺")
        if isinstance(tree.value, words.VERBS):
            raise AplError("SYNTAX ERROR", "a function is named in a statement of its own", tree.at)
        self.names[tree.name] = self.value(tree.value)
        return self.names[tree.name]

    # --- verbs

    def verb(self, tree):
        return getattr(self, f"_verb_{type(tree).__name__.lower()}")(tree)

    def _made(self, tree, call, **about):
        return Verb(call, self.watch, tree, **about)

    def _verb_glyph(self, tree):
        glyph = tree.glyph

        def call(left, right):
            if glyph == "?":
                return functions.roll(self.random, right) if left is None else functions.deal(self.random, left, right)
            known = functions.MONADS if left is None else functions.DYADS
            if glyph not in known:
                raise AplError(
                    "SYNTAX ERROR",
                    f"{glyph} wants {'an argument on its left too' if left is None else 'no left argument'}",
                )
            return known[glyph](right) if left is None else known[glyph](left, right)

        return self._made(tree, call, glyph=glyph, scalar=glyph in functions.SCALAR_DYADS)

    def _verb_named(self, tree):
        if tree.name != "∇":
            return self.find(tree.name)
        if self.itself is None:
            raise AplError("SYNTAX ERROR", "∇ is the function around it, and there is none", tree.at)
        return self.itself

    def _verb_derived(self, tree):
        left = self.verb(tree.left)
        right = tree.right and (self.verb if isinstance(tree.right, words.VERBS) else self.value)(tree.right)
        return self._made(tree, _DERIVED[tree.operator](left, right))

    def _verb_dfn(self, tree):
        def call(left, right):
            names = {"⍵": right} if left is None else {"⍺": left, "⍵": right}
            return Frame(names, self, self.watch, self.random, verb).body(tree)

        verb = self._made(tree, call)
        return verb

    def body(self, tree):
        """The value of the first statement that is no assignment and whose guard holds."""
        for statement in tree.statements:
            condition, expression = words.guarded(statement)
            if condition is not None and not self._holds(condition):
                continue
            done = words.parse(expression, self.is_verb)
            value = self.done(done)
            if not isinstance(done, words.Assign):
                return value
        raise AplError("VALUE ERROR", "the function gives no result", tree.at)

    def _holds(self, condition):
        value = self.done(words.parse(condition, self.is_verb))
        if value.size != 1 or value.dtype.kind != "f" or value.reshape(())[()] not in (0, 1):
            raise AplError("DOMAIN ERROR", "a guard that is neither 0 nor 1", condition[0].at)
        return bool(value.reshape(()))

    def _verb_train(self, tree):
        if len(tree.parts) == 2:
            after, first = map(self.verb, tree.parts)
            return self._made(tree, lambda left, right: after(None, first(left, right)))
        one, middle, other = tree.parts
        middle, other = self.verb(middle), self.verb(other)
        if isinstance(one, words.VERBS):
            one = self.verb(one)
            return self._made(tree, lambda left, right: _fork(one, middle, other, left, right))
        value = self.value(one)
        return self._made(tree, lambda left, right: middle(value, other(left, right)))


def _fork(one, middle, other, left, right):
    second = other(left, right)
    return middle(one(left, right), second)


def _reduction(axis):
    def made(f, _):
        return lambda left, right: (
            operators.reduce(f, right, axis) if left is None else operators.windows(f, left, right, axis)
        )

    return made


def _scan(axis):
    return lambda f, _: _single("a scan", lambda right: operators.scan(f, right, axis))


def _single(what, call):
    def made(left, right):
        if left is not None:
            raise AplError("SYNTAX ERROR", f"{what} has no left argument")
        return call(right)

    return made


def _double(what, call):
    def made(left, right):
        if left is None:
            raise AplError("SYNTAX ERROR", f"{what} wants an argument on its left too")
        return call(left, right)

    return made


_DERIVED = {
    "/": _reduction(-1),
    "⌿": _reduction(0),
    "\\": _scan(-1),
    "⍀": _scan(0),
    "¨": lambda f, _: lambda left, right: operators.each(f, left, right),
    "⍨": lambda f, _: lambda left, right: operators.commute(f, left, right),
    "∘.": lambda f, _: _double("an outer product", lambda left, right: operators.outer(f, left, right)),
    ".": lambda f, g: _double("an inner product", lambda left, right: operators.inner(f, g, left, right)),
    "⍤": lambda f, ranks: lambda left, right: operators.rank(f, ranks, left, right),
    "⍣": lambda f, times: lambda left, right: operators.power(f, times, left, right),
}


def described(value):
    """What an APL value is, in words."""
    if isinstance(value, Verb):
        return "function"
    kind = {"U": "text, ", "O": "nested, "}.get(value.dtype.kind, "")
    return kind + (f"shape {' '.join(map(str, value.shape))}" if value.ndim else "scalar")


# --- Python's values


def from_python(value, name="value"):
    """An APL array of a number, a text, a nested list, a numpy array or a tensor.

    Raises TypeError for what holds no finite real numbers, ValueError for more than 2^22 of them or 15 axes.
    """
    if isinstance(value, str):
        return np.array(list(value), dtype="<U1")
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name}: got lists of different lengths, wanted rows of equal length") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name}: got {type(value).__name__} of {array.dtype}, wanted numbers, a text or a tensor of numbers"
        )
    if not np.isfinite(array).all():
        raise TypeError(f"{name}: got NaN or infinity, wanted finite numbers: APL has no others")
    if array.size > functions.MOST_CELLS or array.ndim > functions.MOST_AXES:
        wanted = f"at most {functions.MOST_CELLS} cells and {functions.MOST_AXES} axes"
        raise ValueError(f"{name}: got shape {array.shape}, wanted {wanted}")
    return array.astype(float)


def as_python(array):
    """The array as `Workspace.run` gives it."""
    if array.dtype == object:
        parts = [as_python(item) for item in functions.items(array)]
        for size in array.shape[:0:-1]:
            parts = [parts[i : i + size] for i in range(0, len(parts), max(size, 1))]
        return parts if array.ndim else parts[0]
    if array.dtype.kind == "f" and (array == np.rint(array)).all() and (abs(array) < 2**63).all():
        return array.astype(np.int64)
    return array
