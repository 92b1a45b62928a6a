"""Einstein summation: a letter for each axis; which letters are summed; where a text is no einsum, and why.

    text       "ik,kj->ij": the letters of each operand's axes, then those of the result
    summed     the letters of the operands that the result does not have
    sizes      how far each letter runs

The rule (NumPy manual, "numpy.einsum", which torch follows): a letter that stands in several places runs through them
together; without "->" the result has the letters that stand once, in alphabetical order, capitals first. An axis of
size 1 is stretched to what another operand has there. Here: one or two operands, and no ellipsis. Pure Python.
"""

from typing import NamedTuple

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
MOST_OPERANDS = 2
WANTED = "wanted for example 'ik,kj->ij'"


class EinsumError(ValueError):
    """What is wrong with an einsum text; `position`: the place in it, counted from 0."""

    def __init__(self, words, position):
        super().__init__(words)
        self.position = position


class Rule(NamedTuple):
    """A parsed text. operands: letters of each. places: of each letter in the text. result, summed: letters."""

    operands: tuple
    places: tuple
    result: str
    summed: str


def parse(text):
    """The Rule of a text. Raises EinsumError with the place."""
    inputs, arrow, output = text.partition("->")
    _check(inputs, 0, LETTERS | {",", " "})
    _check(output, len(inputs) + 2, LETTERS | {" "})
    operands, places = [""], [[]]
    for at, sign in enumerate(inputs):
        if sign == ",":
            if len(operands) == MOST_OPERANDS:
                raise EinsumError(f"begins operand {MOST_OPERANDS + 1}; wanted at most {MOST_OPERANDS}", at)
            operands.append("")
            places.append([])
        elif sign != " ":
            operands[-1] += sign
            places[-1].append(at)
    letters = "".join(dict.fromkeys("".join(operands)))
    if arrow:
        result = _result(output, len(inputs) + 2, letters)
    else:
        result = "".join(sorted(letter for letter in letters if inputs.count(letter) == 1))
    summed = "".join(letter for letter in letters if letter not in result)
    return Rule(tuple(operands), tuple(map(tuple, places)), result, summed)


def _check(part, start, signs):
    for at, sign in enumerate(part, start):
        if sign == ".":
            raise EinsumError("an ellipsis is not taken here; name each axis by a letter", at)
        if sign not in signs:
            raise EinsumError(f"got '{sign}', {WANTED}: letters, commas and one '->'", at)


def _result(output, start, letters):
    result = ""
    for at, letter in enumerate(output, start):
        if letter == " ":
            continue
        if letter in result:
            raise EinsumError(f"{letter} stands twice in the result; wanted each letter once", at)
        if letter not in letters:
            raise EinsumError(f"{letter} is in the result but in no operand; wanted a letter of an operand", at)
        result += letter
    return result


def sizes(rule, *shapes):
    """{letter: size} for operands of these shapes, in the order in which the letters appear.

    Raises EinsumError where there are too few or too many operands or axes, or two sizes for one letter.
    """
    count = len(rule.operands)
    if count != len(shapes):
        raise EinsumError(f"names {count} operand{'s' * (count != 1)}, got {len(shapes)}", 0)
    found = {}
    for name, letters, places, shape in zip("ab", rule.operands, rule.places, shapes, strict=False):
        if len(letters) != len(shape):
            start = places[0] if places else 0
            raise EinsumError(f"'{letters}' names {_axes(len(letters))}, {name} has {_axes(len(shape))}", start)
        own = {}
        for letter, size, place in zip(letters, shape, places, strict=True):
            known = own.get(letter, size)
            if known != size:
                raise EinsumError(f"{letter} is {known} and {size} in {name}; wanted one size", place)
            own[letter] = size
        for letter, size in own.items():
            known = found.get(letter, (1, ""))
            if 1 not in (size, known[0]) and size != known[0]:
                place = places[letters.index(letter)]
                raise EinsumError(f"{letter} is {known[0]} in {known[1]}, but {size} in {name}; wanted one size", place)
            if letter not in found or size != 1:
                found[letter] = (size, name)
    return {letter: size for letter, (size, _) in found.items()}


def _axes(count):
    return "1 axis" if count == 1 else f"{count} axes"
