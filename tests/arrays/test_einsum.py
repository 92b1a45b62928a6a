"""Einsum texts: taken and refused as numpy and torch do, sizes and letters right, words with the place."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from kit.arrays.einsum import EinsumError, parse, sizes

TAKEN = [
    ("ik,kj->ij", [(2, 3), (3, 4)]),
    ("ik,kj", [(2, 3), (3, 4)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("ij->ji", [(2, 3)]),
    ("ba", [(2, 3)]),
    ("ii->", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("bik,bkj->bij", [(2, 2, 3), (2, 3, 2)]),
    ("i,j->ij", [(2,), (3,)]),
    ("ij,j", [(2, 3), (1,)]),
    ("Ab->bA", [(2, 3)]),
    ("aB", [(2, 3)]),
    (" i k , k j -> i j ", [(2, 3), (3, 4)]),
    ("", [()]),
    (",->", [(), ()]),
    ("i,->i", [(3,), ()]),
    ("ij->", [(0, 3)]),
    ("i,i->", [(0,), (1,)]),
    ("ii,i->i", [(1, 1), (3,)]),
]
REFUSED = [
    ("ik,kj->iz", [(2, 3), (3, 4)], 8, "z is in the result but in no operand"),
    ("ik,kj->ii", [(2, 3), (3, 4)], 8, "i stands twice in the result"),
    ("ik;kj->ij", [(2, 3), (3, 4)], 2, "got ';', wanted for example 'ik,kj->ij'"),
    ("i1->i", [(2, 3)], 1, "got '1'"),
    ("i->j->i", [(2,)], 4, "got '-'"),
    ("ij - > i", [(2, 3)], 3, "got '-'"),
    ("...ij->ij", [(2, 3)], 0, "an ellipsis is not taken here"),
    ("i,j,k->ijk", [(2,), (2,)], 3, "begins operand 3; wanted at most 2"),
    ("ik,kj->ij", [(2, 3)], 0, "names 2 operands, got 1"),
    ("ij", [(2, 3), (3, 4)], 0, "names 1 operand, got 2"),
    ("bik,kj->bij", [(2, 3), (3, 4)], 0, "'bik' names 3 axes, a has 2 axes"),
    ("ik, k->i", [(2, 3), (3, 4)], 4, "'k' names 1 axis, b has 2 axes"),
    ("ik, jk->ij", [(2, 3), (4, 5)], 5, "k is 3 in a, but 5 in b; wanted one size"),
    ("ii->", [(2, 3)], 1, "i is 2 and 3 in a; wanted one size"),
    ("ii->", [(1, 3)], 1, "i is 1 and 3 in a"),
]


def libraries(text, shapes):
    """What numpy and torch give for ones, or None where they refuse; the two must agree."""
    results = []
    for library in (np, torch):
        try:
            results.append(library.einsum(text, *[library.ones(shape) for shape in shapes]))
        except (ValueError, RuntimeError, UnicodeEncodeError):
            results.append(None)
    ours, theirs = results
    assert (ours is None) == (theirs is None), text
    assert ours is None or ours.shape == tuple(theirs.shape)
    return ours


@pytest.mark.parametrize(("text", "shapes"), TAKEN)
def test_letters_and_sizes_are_those_of_the_libraries(text, shapes):
    rule = parse(text)
    found = sizes(rule, *shapes)
    result = libraries(text, shapes)
    assert tuple(found[letter] for letter in rule.result) == result.shape
    assert np.prod([found[letter] for letter in rule.summed]) == pytest.approx(result.flat[0] if result.size else 0)


@pytest.mark.parametrize(("text", "shapes", "position", "words"), REFUSED)
def test_what_is_no_einsum_is_refused_in_words_with_the_place(text, shapes, position, words):
    with pytest.raises(EinsumError, match="^" + words.replace(".", r"\.")) as caught:
        sizes(parse(text), *shapes)
    assert caught.value.position == position
    if "ellipsis" not in words and "operand 3" not in words:
        assert libraries(text, shapes) is None


def drawn(rng):
    """A random text, often near an einsum, and shapes, often fitting ones.

    No size is 0: numpy takes 'ii->i' of shape (0, 1) for one of (1,), and torch refuses it.
    """
    letters = "ijkAb"[: rng.randint(1, 5)]
    size = {letter: rng.choice([1, 2, 3]) for letter in letters}
    operands = ["".join(rng.choices(letters, k=rng.randint(0, 3))) for _ in range(rng.randint(1, 2))]
    shapes = [tuple(rng.choice([size[x]] * 8 + [1, 2]) for x in operand) for operand in operands]
    result = "".join(rng.sample(letters, rng.randint(0, len(letters))))
    text = ",".join(operands) + (f"->{result}" if rng.random() < 0.8 else "")
    for _ in range(rng.choice([0, 0, 0, 1])):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(["", " ", "i", "-", ">", ",", "1", "z"]) + text[at + rng.randint(0, 1) :]
    return text, shapes


def test_random_texts_are_taken_where_numpy_and_torch_take_them():
    rng = random.Random(0)
    taken = 0
    for _ in range(4000):
        text, shapes = drawn(rng)
        if text.count(",") > 1:
            continue
        result = libraries(text, shapes)
        try:
            rule = parse(text)
            found = sizes(rule, *shapes)
        except EinsumError as error:
            assert result is None and 0 <= error.position <= len(text), f"{text} {shapes}: {error}"
            continue
        assert result is not None, f"{text} {shapes}"
        assert result.shape == tuple(found[letter] for letter in rule.result), f"{text} {shapes}"
        assert len({*rule.result, *rule.summed}) == len(rule.result) + len(rule.summed)
        taken += 1
    assert 1000 < taken < 3000


def test_the_places_of_the_letters_are_those_in_the_text():
    rule = parse(" i k,k j -> i j")
    assert rule.places == ((1, 3), (5, 7)) and all(one < two for one, two in pairwise(sum(rule.places, ())))
