"""APL's text as words, and its words as a tree: what is an argument, what a function, and what an operator binds.

Words are read from left to right and nested by their brackets. A tree needs to know which names are functions, so a
statement is parsed just before it is done. Operators bind first, from left to right; then functions, from right to
left, each with all that stands right of it and the one argument left of it.
"""

import re
from itertools import groupby
from typing import NamedTuple

SCALAR = "+-×÷*⍟⌈⌊|!=≠<≤>≥∧∨⍲⍱~?"  # cell by cell, if need be with scalar extension
FUNCTIONS = SCALAR + "⍳⍴⍉⌽⊖,⍪↑↓⌷∊⍋⍒≡≢⊂⊃⊢⊣⊥⊤"
BOTH = "/⌿\\⍀"  # operators after a function, functions otherwise
MONADIC, DYADIC = BOTH + "¨⍨", ".⍤⍣"
SAME = {"^": "∧", "∣": "|", "∼": "~", "⋆": "*", "−": "-", "◊": "⋄", "∈": "∊", "ϵ": "∊", "ρ": "⍴", "ι": "⍳"}  # in print
NOT_HERE = "○⌹⍎⍕∪∩⍷⍸⊆⌸⌺⍠⌶@⍥∘&#"

_WORD = re.compile(
    r"(?P<blank>[ \t\r\xa0]+|⍝[^\n]*)"
    r"|(?P<number>¯?(?:\d+(?:\.\d*)?|\.\d+)(?:[Ee]¯?\d+)?)"
    r"|(?P<string>'(?:[^'\n]|'')*')"
    r"|(?P<name>[A-Za-z_∆⍙][A-Za-z_∆⍙0-9]*|⎕[A-Za-z]*|⍺⍺|⍵⍵|∇∇|[⍺⍵∇⍬])"
    r"|(?P<other>.|\n)"
)
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}


class AplError(Exception):
    """What APL says to what it cannot do.

    name: APL's own, such as "LENGTH ERROR". message: why, in words. text, position: the text and the place in it of
    what failed (0 for its first character; None while unknown). caret: that line, and a line with a caret below it.
    """

    def __init__(self, name, message, at=None):
        super().__init__(name, message)
        self.name, self.message = name, message
        self.text, self.position = at or ("", None)

    def __str__(self):
        return f"{self.name}: {self.message}"

    @property
    def caret(self):
        if self.position is None:
            return ""
        start = self.text.rfind("\n", 0, self.position) + 1
        line = self.text[start:].split("\n", 1)[0]
        return f"{line}\n{' ' * (self.position - start)}^"


class Word(NamedTuple):
    """kind: number, string, name, function, operator, ( [ { ← : or ⋄; value: a number, a text, or the words within.

    at: (text, position). Of ( the value is a list of words; of [ and { a list of such lists, at ; and at ⋄.
    """

    kind: str
    value: object
    at: tuple


def read(text):
    """The statements of a text: lists of Words, at least one word each. Raises AplError."""
    words = list(_words(text))[::-1]
    statements = _split(_nested(words, None), "⋄")
    return [statement for statement in statements if statement]


def _words(text):
    before = None
    for match in _WORD.finditer(text):
        kind, found, at = match.lastgroup, match.group(), (text, match.start())
        if kind == "number":
            yield Word(kind, _number(found, before, at), at)
        elif kind == "string":
            yield Word(kind, found[1:-1].replace("''", "'"), at)
        elif kind == "name":
            yield Word(kind, _name(found, before, at), at)
        elif kind == "other":
            yield _glyph(SAME.get(found, found), at)
        before = kind


def _number(found, before, at):
    if before == "number":
        raise AplError("SYNTAX ERROR", f"{found} follows a number without a blank", at)
    value = float(found.replace("¯", "-"))
    if value in (float("inf"), float("-inf")):
        raise AplError("DOMAIN ERROR", f"{found} is beyond the largest number, 1.797693135E308", at)
    return value


def _name(found, before, at):
    if before == "number" and found[0] in "Jj":
        raise AplError("NONCE ERROR", "complex numbers are not supported here", at)
    if found in ("⍺⍺", "⍵⍵", "∇∇"):
        raise AplError("NONCE ERROR", f"operators of one's own ({found}) are not supported here", at)
    if found[0] == "⎕" and found.upper() != "⎕IO":
        raise AplError(
            "NONCE ERROR", f"{found} is not supported here; of the system names only ⎕IO is, and it is 1", at
        )
    return found


def _glyph(glyph, at):
    if glyph in FUNCTIONS:
        return Word("function", glyph, at)
    if glyph in MONADIC + DYADIC or glyph == "∘":
        return Word("operator", glyph, at)
    if glyph in "⋄\n":
        return Word("⋄", glyph, at)
    if glyph in "()[]{};←:":
        return Word(glyph, glyph, at)
    if glyph in NOT_HERE:
        raise AplError("NONCE ERROR", f"{glyph} is not supported here", at)
    if glyph == "'":
        raise AplError("SYNTAX ERROR", "a quote without its end", at)
    if glyph == "¯":
        raise AplError("SYNTAX ERROR", "¯ belongs to a number, as in ¯1; the function is -", at)
    raise AplError("SYNTAX ERROR", f"{glyph!r} is no character of APL", at)


def _nested(words, opening):
    """The words up to the bracket that closes `opening`, those within brackets nested; eats `words` from its end."""
    found, closing = [], opening and _CLOSED_BY[opening.kind]
    while words:
        word = words.pop()
        if word.kind == closing:
            return found
        if word.kind in ")]}":
            raise AplError("SYNTAX ERROR", f"{word.kind} closes nothing", word.at)
        if word.kind in _CLOSED_BY:
            inner = _nested(words, word)
            if word.kind == "[":
                inner = _split(inner, ";")
            if word.kind == "{":
                inner = [statement for statement in _split(inner, "⋄") if statement]
            word = Word(word.kind, inner, word.at)
        found.append(word)
    if opening:
        raise AplError("SYNTAX ERROR", f"{opening.kind} is never closed", opening.at)
    return found


def _split(words, kind):
    lists = [[]]
    for word in words:
        if word.kind == kind:
            lists.append([])
        else:
            lists[-1].append(word)
    return lists


# --- trees: nouns


class Literal(NamedTuple):
    """Numbers, as a float or a list of at least two, or a text."""

    value: object
    at: tuple


class Name(NamedTuple):
    name: str
    at: tuple


class Strand(NamedTuple):
    parts: list
    at: tuple


class Index(NamedTuple):
    """array[place; place; ...], None for a place left empty."""

    array: object
    places: list
    at: tuple


class Monad(NamedTuple):
    verb: object
    right: object
    at: tuple


class Dyad(NamedTuple):
    left: object
    verb: object
    right: object
    at: tuple


class Assign(NamedTuple):
    name: str
    value: object
    at: tuple


# --- trees: verbs, which are functions with what operators made of them


class Glyph(NamedTuple):
    glyph: str
    at: tuple


class Named(NamedTuple):
    name: str
    at: tuple


class Derived(NamedTuple):
    """operator: one glyph, or "∘." for the outer product; right: None, a verb or a noun."""

    operator: str
    left: object
    right: object
    at: tuple


class Dfn(NamedTuple):
    statements: list
    at: tuple


class Train(NamedTuple):
    """Two verbs, (f g), or three, (f g h), of which the first may be a noun."""

    parts: list
    at: tuple


VERBS = (Glyph, Named, Derived, Dfn, Train)


def parse(words, is_verb):
    """The tree of one statement; is_verb(name) says which names are functions. Raises AplError."""
    words = list(_vectors(words))
    parts = [_part(word, words[i + 1 : i + 2], is_verb) for i, word in enumerate(words)]
    return _sentence(_bound(_stranded(parts)))


def _vectors(words):
    """The words, numbers side by side made one: brackets and operators take them as one, too."""
    for kind, run in groupby(words, lambda word: word.kind):
        run = list(run)
        if kind == "number" and len(run) > 1:
            run = [Word(kind, [word.value for word in run], run[0].at)]
        yield from run


def guarded(words):
    """(condition, words) of a statement `condition: words`; (None, words) without a colon."""
    colons = [i for i, word in enumerate(words) if word.kind == ":"]
    if not colons:
        return None, words
    at = words[colons[0]].at
    if len(colons) > 1 or colons[0] in (0, len(words) - 1):
        raise AplError("SYNTAX ERROR", "a guard is a condition, a colon and one expression", at)
    return words[: colons[0]], words[colons[0] + 1 :]


def _part(word, following, is_verb):
    """A tree for what stands by itself; the Word for what does not."""
    kind, value, at = word
    if kind in ("number", "string"):
        return Literal(value, at)
    if kind == "function":
        return Glyph(value, at)
    if kind == "name":
        target = following and following[0].kind == "←"
        return word if target else Named(value, at) if is_verb(value) else Name(value, at)
    if kind == "{":
        return Dfn(value, at)
    if kind == "[":
        return Word(kind, [_place(place, is_verb) for place in value], at)
    if kind == "(":
        if not value:
            raise AplError("SYNTAX ERROR", "nothing between the brackets", at)
        return parse(value, is_verb)
    return word


def _place(words, is_verb):
    if not words:
        return None
    place = parse(words, is_verb)
    if isinstance(place, VERBS):
        raise AplError("SYNTAX ERROR", "a function in place of an index", place.at)
    return place


def _is_noun(part):
    return not isinstance(part, (Word, *VERBS))


def _stranded(parts):
    """Parts with indices bound to their arrays, and arrays side by side made one."""
    found, run = [], []
    for part in [*parts, None]:
        if isinstance(part, Word) and part.kind == "[":
            if not run:
                raise AplError("NONCE ERROR", "brackets index an array; an axis in brackets is not supported", part.at)
            run[-1] = Index(run[-1], part.value, part.at)
        elif part is None or not _is_noun(part):
            found += [run[0] if len(run) == 1 else Strand(run, run[0].at)] if run else []
            found += [] if part is None else [part]
            run = []
        else:
            run.append(part)
    return found


def _bound(parts):
    """Parts with every operator bound to its operands."""
    found, rest = [], parts[::-1]
    while rest:
        part = rest.pop()
        if not (isinstance(part, Word) and part.kind == "operator"):
            found.append(part)
            continue
        glyph, at = part.value, part.at
        verb_before = bool(found) and isinstance(found[-1], VERBS)
        if glyph == "∘":
            found.append(_outer(rest, at))
        elif glyph in BOTH and not verb_before:
            found.append(Glyph(glyph, at))
        elif not verb_before:
            raise AplError("SYNTAX ERROR", f"the operator {glyph} wants a function on its left", at)
        else:
            right = _operand(glyph, rest, at) if glyph in DYADIC else None
            found.append(Derived(glyph, found.pop(), right, at))
    return found


def _outer(rest, at):
    if not (rest and isinstance(rest[-1], Word) and rest[-1].value == "."):
        raise AplError("NONCE ERROR", "∘ is supported only in the outer product, as in ∘.×", at)
    rest.pop()
    return Derived("∘.", _operand(".", rest, at), None, at)


def _operand(glyph, rest, at):
    right = rest.pop() if rest else None
    if isinstance(right, VERBS) and glyph in ".⍣":
        return right
    if glyph in "⍤⍣" and right is not None and _is_noun(right):
        return right
    wanted = {".": "a function", "⍤": "a rank, as in ⍤1,", "⍣": "a count or a function"}[glyph]
    raise AplError("SYNTAX ERROR", f"the operator {glyph} wants {wanted} on its right", at)


def _sentence(parts):
    if isinstance(parts[-1], VERBS):
        return _function(parts)
    right, rest = parts[-1], parts[:-1]
    if isinstance(right, Word):
        raise AplError("SYNTAX ERROR", f"{right.value} has nothing on its right", right.at)
    while rest:
        part = rest.pop()
        if isinstance(part, VERBS):
            left = rest.pop() if rest and _is_noun(rest[-1]) else None
            right = Monad(part, right, part.at) if left is None else Dyad(left, part, right, part.at)
        else:
            right = _assigned(part, rest, right)
    return right


def _assigned(part, rest, value):
    if not isinstance(part, Word):
        raise AplError("SYNTAX ERROR", "a function is missing between two arrays", part.at)
    if part.kind != "←":
        raise AplError("SYNTAX ERROR", f"{part.value} stands where it means nothing", part.at)
    if not (rest and isinstance(rest[-1], Word) and rest[-1].kind == "name"):
        raise AplError("NONCE ERROR", "left of ← only a name is supported", part.at)
    target = rest.pop()
    if target.value[0] in "⎕⍵∇⍬":
        raise AplError("SYNTAX ERROR", f"{target.value} cannot be assigned", target.at)
    return Assign(target.value, value, target.at)


def _function(parts):
    """A verb, a train of several, or a name given to one."""
    arrows = [i for i, part in enumerate(parts) if isinstance(part, Word) and part.kind == "←"]
    if arrows:
        start = arrows[-1] + 1
        rest = parts[: start - 1]
        made = _assigned(parts[start - 1], rest, _function(parts[start:]))
        if rest:
            raise AplError("SYNTAX ERROR", "a function is named in a statement of its own", made.at)
        return made
    stray = [part for part in parts if isinstance(part, Word)]
    if stray:
        raise AplError("SYNTAX ERROR", f"{stray[0].value} stands where it means nothing", stray[0].at)
    train, rest = parts[-1], parts[:-1]
    while rest:
        middle = rest.pop()
        if not isinstance(middle, VERBS):
            raise AplError("SYNTAX ERROR", "a function lacks its argument on the right", train.at)
        train = Train([rest.pop(), middle, train] if rest else [middle, train], middle.at)
    return train
