"""APL as torch code, written as one would write torch by hand. The text is evaluated on the way.

What an expression becomes depends on its arrays: 2 3⍴⍳6 is a reshape, 2 3⍴⍳4 recycles. So each part is translated
together with its value. Whole numbers are int64, others float32, results of comparisons bool.
"""

import ast
from typing import NamedTuple

import numpy as np

from kit.arrays import _apl_functions as apl
from kit.arrays import _apl_words as words
from kit.arrays._apl_operators import ranks
from kit.arrays._apl_words import AplError

EXACT, FLOAT32 = 2**53, 3e38


class Term(NamedTuple):
    """code: of a tensor, or, if `bare`, of a Python number. kind: int, float, bool. fixed: whether it is a literal."""

    code: str
    value: np.ndarray
    kind: str
    bare: bool = False
    fixed: bool = False

    @property
    def atom(self):
        """The code with brackets, if it needs them beside an operator or a dot."""
        simple = (ast.Name, ast.Call, ast.Subscript, ast.Attribute, ast.Constant)
        body = ast.parse(self.code, mode="eval").body
        return self.code if isinstance(body, simple) else f"({self.code})"

    @property
    def tensor(self):
        return f"torch.tensor({self.code})" if self.bare else self.atom

    @property
    def number(self):
        """The term as numbers: torch adds two bools as `or`."""
        return self._replace(code=f"{self.tensor}.long()", kind="int", bare=False) if self.kind == "bool" else self

    @property
    def ndim(self):
        return self.value.ndim

    def also(self, code, value=None):
        """The same numbers by other code, in another arrangement."""
        return Term(code, self.value if value is None else value, self.kind)

    def floating(self):
        return self if self.kind == "float" else self._replace(code=f"{self.tensor}.float()", kind="float", bare=False)


def translated(frame, statements):
    """The code of all statements, one on a line. Raises AplError where there is none."""
    lines = [_Translator(frame, {}).line(statement) for statement in statements]
    return "\n".join(line for line in lines if line)


def computed(code, arrays):
    """What the last line of the code gives, run by torch with tensors of these arrays as names: a numpy array."""
    import torch

    names = {"torch": torch} | {name: _as_tensor(torch, array) for name, array in arrays.items()}
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "torch", "exec"), names)
    return np.asarray(eval(compile(ast.Expression(last.value), "torch", "eval"), names))


def _as_tensor(torch, array):
    whole = (array == np.rint(array)).all() and (abs(array) < EXACT).all() and array.size
    return torch.as_tensor(array.astype(np.int64 if whole else np.float32))


def same(found, value):
    """Whether torch's result is APL's: equal in shape, and in numbers up to the rounding of float32."""
    return found.shape == value.shape and bool(np.allclose(found.astype(float), value, rtol=1e-5, atol=1e-6))


class _Translator:
    """Translates within a frame, which holds values; `terms` holds the code of ⍺ and ⍵."""

    def __init__(self, frame, terms):
        self.frame, self.terms = frame, terms

    def line(self, statement):
        tree = words.parse(statement, self.frame.is_verb)
        if isinstance(tree, words.VERBS):
            self.frame.done(tree)
        if not isinstance(tree, words.Assign):
            return self.term(tree).code
        if isinstance(tree.value, words.VERBS):
            self.frame.done(tree)
            return ""
        term = self.term(tree.value)
        self.frame.names[tree.name] = term.value
        return f"{_identifier(tree)} = {term.code}"

    def term(self, tree):
        maker = getattr(self, f"_{type(tree).__name__.lower()}", None)
        made = maker(tree) if maker else None
        return _checked(made, tree)

    def _literal(self, tree):
        value = self.frame.value(tree)
        if apl.is_text(value):
            raise AplError("NONCE ERROR", "torch has no characters", tree.at)
        kind = "int" if (value == np.rint(value)).all() and (abs(value) < EXACT).all() else "float"
        numbers = value.astype(np.int64) if kind == "int" else value
        if value.ndim == 0:
            return Term(repr(numbers.item()), value, kind, bare=True, fixed=True)
        return Term(f"torch.tensor({numbers.tolist()})", value, kind, fixed=True)

    def _name(self, tree):
        if tree.name in self.terms:
            return self.terms[tree.name]
        value = self.frame.value(tree)
        if tree.name == "⍬":
            return Term("torch.tensor([])", value, "float")
        if apl.is_text(value) or apl.is_nested(value):
            return None
        whole = (value == np.rint(value)).all() and (abs(value) < EXACT).all() and value.size
        return Term(_identifier(tree), value, "int" if whole else "float")

    def _monad(self, tree):
        return self.applied(tree.verb, None, self.term(tree.right))

    def _dyad(self, tree):
        right = self.term(tree.right)
        return self.applied(tree.verb, self.term(tree.left), right)

    def _index(self, tree):
        chosen = [place and self.term(place) for place in reversed(tree.places)][::-1]
        array, value = self.term(tree.array), self.frame.value(tree)
        if sum(place is not None and place.ndim > 0 for place in chosen) > 1:
            return None
        return array.also(f"{array.tensor}[{', '.join(map(_place, chosen))}]", value)

    # --- functions applied to terms

    def applied(self, tree, left, right):
        """The term of a function's result; `tree` says which function."""
        maker = getattr(self, f"_apply_{type(tree).__name__.lower()}")
        return _checked(maker(tree, left, right), tree)

    def _result(self, tree, left, right):
        return self.frame.verb(tree)(left and left.value, right.value)

    def _apply_glyph(self, tree, left, right):
        value = self._result(tree, left, right)
        known = _MONADS if left is None else _DYADS
        if tree.glyph not in known or apl.is_nested(value):
            return None
        return known[tree.glyph](right, value) if left is None else known[tree.glyph](left, right, value)

    def _apply_named(self, tree, left, right):
        if tree.name == "∇":
            return None
        return self.applied(self.frame.find(tree.name).tree, left, right)

    def _apply_dfn(self, tree, left, right):
        if len(tree.statements) != 1 or words.guarded(tree.statements[0])[0]:
            return None
        terms = {"⍵": right} if left is None else {"⍺": left, "⍵": right}
        values = {name: term.value for name, term in terms.items()}
        frame = type(self.frame)(values, self.frame, self.frame.watch, self.frame.random)
        body = words.parse(tree.statements[0], frame.is_verb)
        return _Translator(frame, {**self.terms, **terms}).term(body)

    def _apply_train(self, tree, left, right):
        *before, last = tree.parts
        other = self.applied(last, left, right)
        if len(before) == 1:
            return self.applied(before[0], None, other)
        one = before[0]
        one = self.applied(one, left, right) if isinstance(one, words.VERBS) else self.term(one)
        return self.applied(before[1], one, other)

    def _apply_derived(self, tree, left, right):
        value = self._result(tree, left, right)
        if apl.is_nested(value):
            return None
        maker = _OPERATORS.get(tree.operator)
        return maker and getattr(self, maker)(tree, left, right, value)

    def _reduced(self, tree, left, right, value):
        axis = -1 if tree.operator == "/" else 0
        if left is None:
            return right if right.ndim == 0 else _fold(_glyph_of(tree.left), right, axis, value)
        width = int(left.value.reshape(())) if left.fixed and right.ndim else 0
        if width < 1 or width > right.value.shape[axis]:
            return None
        return _fold(_glyph_of(tree.left), _windows(right, axis, width), -1, value)

    def _scanned(self, tree, left, right, value):
        axis, right = -1 if tree.operator == "\\" else 0, right.number
        ends = {"+": "cumsum({})", "×": "cumprod({})", "⌈": "cummax({}).values", "⌊": "cummin({}).values"}
        end = ends.get(_glyph_of(tree.left))
        return end and right.ndim and right.also(f"{right.tensor}.{end.format(axis)}", value)

    def _each(self, tree, left, right, value):
        glyph = _glyph_of(tree.left)
        return self.applied(tree.left, left, right) if glyph and glyph in words.SCALAR else None

    def _commuted(self, tree, left, right, value):
        return self.applied(tree.left, right, right if left is None else left)

    def _outer(self, tree, left, right, value):
        glyph = _glyph_of(tree.left)
        if glyph not in apl.SCALAR_DYADS or glyph not in _DYADS:
            return None
        return _DYADS[glyph](_with_axes(left, right.ndim), right, value)

    def _inner(self, tree, left, right, value):
        fold, glyph = _glyph_of(tree.left), _glyph_of(tree.right)
        if left.ndim == 0 or right.ndim == 0 or left.value.shape[-1] != right.value.shape[0]:
            return None
        if fold == "+" and glyph == "×":
            return _product(left.number, right.number, value)
        if glyph not in apl.SCALAR_DYADS or glyph not in _DYADS:
            return None
        wide = _with_axes(left, right.ndim - 1)
        pairs = _DYADS[glyph](wide, right, np.empty(left.value.shape + right.value.shape[1:]))
        return pairs and _fold(fold, pairs, -right.ndim, value)

    def _ranked(self, tree, left, right, value):
        """A loop over the cells, which torch calls vmap, of what the function makes of the first of them."""
        one, monadic, other = ranks(self.frame.value(tree.right))
        given = [("y", right, monadic if left is None else other)] + ([] if left is None else [("x", left, one)])
        cells, dims = {}, {}
        for name, term, rank in given:
            depth = term.ndim - min(rank, term.ndim) if rank >= 0 else min(-rank, term.ndim)
            cell = term.value[(0,) * depth] if 0 not in term.value.shape else None
            cells[name], dims[name] = cell if cell is None else Term(name, np.asarray(cell), term.kind), depth
        if any(cell is None for cell in cells.values()) or len({*dims.values()} - {0}) != 1:
            return None
        made = self.applied(tree.left, cells.get("x"), cells["y"])
        if _sized_by_numbers(made.code):
            return None
        names = [name for name in "xy" if name in dims]
        code = f"lambda {', '.join(names)}: {made.code}"
        axes = ", ".join("0" if dims[name] else "None" for name in names)
        for _ in range(max(dims.values())):
            code = f"torch.vmap({code}{'' if 'None' not in axes else f', in_dims=({axes})'})"
        terms = [left, right] if "x" in dims else [right]
        return Term(f"{code}({', '.join(term.tensor for term in terms)})", value, made.kind)


_OPERATORS = {
    **dict.fromkeys("/⌿", "_reduced"),
    **dict.fromkeys("\\⍀", "_scanned"),
    **{"¨": "_each", "⍨": "_commuted", "∘.": "_outer", ".": "_inner", "⍤": "_ranked"},
}


def _sized_by_numbers(code):
    """Whether the shape of what the code gives depends on numbers, not only on shapes: vmap does not allow that."""

    def reads(node):
        return any(isinstance(inner, ast.Name) and inner.id in ("x", "y") for inner in ast.walk(node))

    sizing = ("tolist", "repeat_interleave", "arange")
    return any(
        (isinstance(node, ast.Subscript) and reads(node.slice))
        or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in sizing and reads(node))
        for node in ast.walk(ast.parse(code))
    )


def _identifier(tree):
    if not tree.name.isidentifier() or tree.name == "torch":
        raise AplError("NONCE ERROR", f"{tree.name} is no name in Python", tree.at)
    return tree.name


def _checked(term, tree):
    if not term:
        raise AplError("NONCE ERROR", "no torch equivalent is known", tree.at)
    if (abs(term.value) >= (FLOAT32 if term.kind == "float" else EXACT)).any():
        raise AplError("NONCE ERROR", "torch's int64 or float32 would not hold these numbers", tree.at)
    return term


def _glyph_of(tree):
    return tree.glyph if isinstance(tree, words.Glyph) else ""


def _place(term):
    if term is None:
        return ":"
    return str(int(term.value) - 1) if term.fixed and term.bare else f"{term.atom} - 1"


def _with_axes(term, count):
    """The term with axes of size 1 behind its own."""
    if count == 0 or term.ndim == 0:
        return term
    own = ":" if term.ndim == 1 else "..."
    shaped = term.value.reshape(term.value.shape + (1,) * count)
    return term.also(f"{term.tensor}[{', '.join([own] + ['None'] * count)}]", shaped)


def _product(left, right, value):
    if left.kind != right.kind:
        left, right = left.floating(), right.floating()
    if max(left.ndim, right.ndim) <= 2:
        return Term(f"{left.tensor} @ {right.tensor}", value, left.kind)
    return Term(f"torch.tensordot({left.code}, {right.code}, 1)", value, left.kind)


def _windows(term, axis, width):
    return term.also(f"{term.tensor}.unfold({axis}, {width}, 1)", term.value[..., None])


def _fold(glyph, term, axis, value):
    """A reduction along the axis, or None."""
    along = "" if term.ndim == 1 else axis
    if glyph in ("∧", "∨") and term.kind == "bool":
        return term.also(f"{term.tensor}.{'all' if glyph == '∧' else 'any'}({along})", value)
    if glyph in ("⌈", "⌊"):
        name = "amax" if glyph == "⌈" else "amin"
        return term.number.also(f"{term.number.tensor}.{name}({along})", value) if term.value.size else None
    if glyph in ("+", "×"):
        kind = "float" if term.kind == "float" else "int"
        return Term(f"{term.tensor}.{'sum' if glyph == '+' else 'prod'}({along})", value, kind)
    return _alternating(term.number, axis, along, value) if glyph == "-" and axis in (0, -1) else None


def _alternating(term, axis, along, value):
    """-/, folded from the right: the first less the second, plus the third, ..."""
    dots = "..., " if axis == -1 and term.ndim > 1 else ""
    one, other = (f"{term.tensor}[{dots}{start}::2].sum({along})" for start in ("", "1"))
    return term.also(f"{one} - {other}", value)


# --- what a primitive is in torch; each takes terms and the value, and gives a term or None


def _joint(left, right):
    return "float" if "float" in (left.kind, right.kind) else "int"


def _broadcasts(left, right, value):
    """Whether torch brings both to the shape that APL gives; a single element in brackets may differ."""
    try:
        return np.broadcast_shapes(left.value.shape, right.value.shape) == value.shape
    except ValueError:
        return False


def _infix(sign, kind=None):
    def made(left, right, value):
        if not _broadcasts(left, right, value):
            return None
        if not kind:
            left, right = left.number, right.number
        one = left.tensor if left.bare and right.bare else left.atom
        return Term(f"{one} {sign} {right.atom}", value, kind or _joint(left, right))

    return made


def _divided(left, right, value):
    left, right = left.number, right.number
    return _infix("/", "float")(left, right, value) if (right.value != 0).all() else None


def _raised(left, right, value):
    left, right = left.number, right.number
    if _joint(left, right) == "int" and (right.value < 0).any():
        left = left.floating()
    return _infix("**")(left, right, value)


def _bounded(name, bound):
    def made(left, right, value):
        left, right = left.number, right.number
        if left.bare:
            left, right = right, left
        if not _broadcasts(left, right, value):
            return None
        if right.bare:
            return Term(f"{left.tensor}.clamp({bound}={right.code})", value, _joint(left, right))
        return Term(f"torch.{name}({left.code}, {right.code})", value, _joint(left, right))

    return made


def _remainder(left, right, value):
    """torch's % has no tolerance, which matters for fractions: 0.1|1 is 0."""
    if "float" in (left.kind, right.kind) or (left.value == 0).any():
        return None
    return _infix("%")(right, left, value)


def _logical(sign, name):
    def made(left, right, value):
        if left.kind == right.kind == "bool":
            return _infix(sign, "bool")(left, right, value)
        left, right = left.number, right.number
        if _joint(left, right) == "float" or not _broadcasts(left, right, value) or (value < 0).any():
            return None
        return Term(f"torch.{name}({left.tensor}, {right.tensor})", value, "int")

    return made


def _not_both(sign):
    def made(left, right, value):
        if not left.kind == right.kind == "bool" or not _broadcasts(left, right, value):
            return None
        return Term(f"~({left.atom} {sign} {right.atom})", value, "bool")

    return made


def _logarithm(left, right, value):
    if not _broadcasts(left, right, value) or (left.value == 1).any():
        return None
    return Term(f"{right.number.tensor}.log() / {left.number.tensor}.log()", value, "float")


def _shaped(left, right, value):
    sizes = ", ".join(str(size) for size in value.shape) if left.fixed else f"{left.tensor}.tolist()"
    if right.bare and left.fixed:
        return Term(f"torch.full(({sizes}{',' * (value.ndim == 1)}), {right.code})", value, right.kind)
    count, size = value.size, right.value.size
    if not size or (count != size and not left.fixed) or (value.ndim == 0):
        return None
    if count == size:
        return right.also(f"{right.tensor}.reshape({sizes})", value)
    flat = right.tensor if right.ndim == 1 else f"{right.tensor}.flatten()"
    cells = f"{flat}[:{count}]" if count < size else f"{flat}[torch.arange({count}) % {size}]"
    return right.also(cells if value.ndim == 1 else f"{cells}.reshape({sizes})", value)


def _counted(right, value):
    if right.value.size != 1:
        return None
    if right.fixed and right.bare:
        return Term(f"torch.arange(1, {value.size + 1})", value, "int")
    return Term(f"torch.arange(1, {right.number.atom} + 1)", value, "int") if right.ndim == 0 else None


def _transposed(right, value):
    if right.ndim < 2:
        return right
    return right.also(
        f"{right.tensor}.T" if right.ndim == 2 else f"{right.tensor}.permute({_backwards(right.ndim)})", value
    )


def _backwards(rank):
    return ", ".join(map(str, reversed(range(rank))))


def _reordered(left, right, value):
    places = (left.value.reshape(-1) - 1).astype(int).tolist() if left.fixed else None
    if places == [0, 0]:
        return right.also(f"{right.tensor}.diagonal()", value)
    if places is None or len(set(places)) != len(places):
        return None
    order = [places.index(axis) for axis in range(len(places))]
    return right.also(f"{right.tensor}.permute({', '.join(map(str, order))})", value)


def _flipped(axis):
    return lambda right, value: right.also(f"{right.tensor}.flip({axis})", value) if right.ndim else right


def _rolled(axis):
    def made(left, right, value):
        if not (left.fixed and left.bare and right.ndim):
            return None
        return right.also(f"{right.tensor}.roll({-int(left.value)}, {axis})", value)

    return made


def _joined(axis):
    def made(left, right, value):
        left, right = left.number, right.number
        if max(left.ndim, right.ndim) > 1 and left.ndim != right.ndim:
            return None
        one, other = (term.code if term.ndim else f"{term.tensor}.reshape(1)" for term in (left, right))
        return Term(f"torch.cat(({one}, {other}), {axis})", value, _joint(left, right))

    return made


def _part(begin, end):
    """Slices for ↑ and ↓: what stands for a count from the front and for one from the end."""

    def made(left, right, value):
        if not left.fixed or right.ndim == 0:
            return None
        counts = left.value.reshape(-1).astype(int).tolist()
        if end == "{}:" and any(abs(count) > size for count, size in zip(counts, right.value.shape, strict=False)):
            return None
        marks = ", ".join((begin if count >= 0 else end).format(count) for count in counts)
        return right.also(f"{right.tensor}[{marks}]", value)

    return made


def _item(left, right, value):
    if not left.fixed:
        return None
    return right.also(f"{right.tensor}[{', '.join(str(int(at) - 1) for at in left.value.reshape(-1))}]", value)


def _among(left, right, value):
    return Term(f"torch.isin({left.number.tensor}, {right.number.tensor})", value, "bool")


def _graded(options):
    def made(right, value):
        return Term(f"{right.tensor}.argsort({options}) + 1", value, "int") if right.ndim == 1 else None

    return made


def _replicated(axis):
    def made(left, right, value):
        if (left.value < 0).any() or right.ndim == 0 or left.value.size not in (1, right.value.shape[axis]):
            return None
        if left.kind == "bool" and left.ndim == 1 and left.value.size == right.value.shape[axis]:
            dots = "..., " if axis and right.ndim > 1 else ""
            return right.also(f"{right.tensor}[{dots}{left.code}]", value)
        left = left.number
        return right.also(f"{right.tensor}.repeat_interleave({left.code}, {axis})", value)

    return made


def _method(name, kind=None):
    def made(right, value):
        right = right.number
        return Term(f"{right.tensor}.{name}()", value, kind or right.kind)

    return made


def _rounded(name):
    return lambda right, value: _method(name)(right, value) if right.kind == "float" else right.number


def _negated(right, value):
    return right.number.also(f"-{right.number.tensor}", value)


def _not(right, value):
    if right.kind == "bool":
        return right.also(f"~{right.atom}", value)
    return right.also(f"1 - {right.tensor}", value)


def _inverted(right, value):
    return Term(f"1 / {right.number.tensor}", value, "float") if (right.value != 0).all() else None


def _itself(right, value):
    return right


_COMPARISONS = {"=": "==", "≠": "!=", "<": "<", "≤": "<=", "≥": ">=", ">": ">"}
_MONADS = {
    **dict.fromkeys("+⊢⊣", _itself),
    "-": _negated,
    "×": _method("sign"),
    "÷": _inverted,
    "*": _method("exp", "float"),
    "⍟": _method("log", "float"),
    "⌈": _rounded("ceil"),
    "⌊": _rounded("floor"),
    "|": _method("abs"),
    "~": _not,
    "⍳": _counted,
    "⍴": lambda right, value: Term(f"torch.tensor({right.tensor}.shape)", value, "int") if right.ndim else None,
    "≢": lambda right, value: Term(f"len({right.code})", value, "int", bare=True) if right.ndim else None,
    "⍉": _transposed,
    "⌽": _flipped(-1),
    "⊖": _flipped(0),
    **dict.fromkeys(",∊", lambda right, value: right.also(f"{right.tensor}.flatten()", value)),
    "⍪": lambda right, value: (
        right.also(f"{right.tensor}.reshape({value.shape[0]}, -1)", value) if value.size else None
    ),
    "⍋": _graded("stable=True"),
    "⍒": _graded("descending=True, stable=True"),
}
_DYADS = {
    "+": _infix("+"),
    "-": _infix("-"),
    "×": _infix("*"),
    "÷": _divided,
    "*": _raised,
    "⍟": _logarithm,
    "⌈": _bounded("maximum", "min"),
    "⌊": _bounded("minimum", "max"),
    "|": _remainder,
    **{glyph: _infix(sign, "bool") for glyph, sign in _COMPARISONS.items()},
    "∧": _logical("&", "lcm"),
    "∨": _logical("|", "gcd"),
    "⍲": _not_both("&"),
    "⍱": _not_both("|"),
    "⍴": _shaped,
    "⍉": _reordered,
    "⌽": _rolled(-1),
    "⊖": _rolled(0),
    ",": _joined(-1),
    "⍪": _joined(0),
    "↑": _part(":{}", "{}:"),
    "↓": _part("{}:", ":{}"),
    "⌷": _item,
    "∊": _among,
    "/": _replicated(-1),
    "⌿": _replicated(0),
    "⊢": lambda left, right, value: right,
    "⊣": lambda left, right, value: left,
}
