"""Every exercise, as its walkthrough poses it and as answers written apart from the kit's own meet its checker.

The module test_<stem>.py beside this one defines RIGHT, a list of functions, for each exercise of
kit/exercises/<stem>.py one of its name that is right and written in another way than the checker's own answer. It also
defines WRONG, a list of (exercise's name, wrong answer, words that the message must hold), in which every known mistake
of every exercise is made.
"""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
import torch

from kit.exercises import EXERCISES, check
from tests.notebooks import WALKTHROUGHS

STEMS = [path.stem for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.name != Path(__file__).name]
BESIDE = [importlib.import_module(f"tests.exercises.{stem}") for stem in STEMS]
RIGHT = [answer for module in BESIDE for answer in getattr(module, "RIGHT", [])]
WRONG = [wrong for module in BESIDE for wrong in getattr(module, "WRONG", [])]

ANSWER = re.compile(r"<details><summary>One answer</summary>\n\n```python\n(.*?)```", re.DOTALL)


def posed(notebook):
    """Each exercise of a notebook as (name, the cell that poses it, the Markdown that follows it)."""
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code" and (called := re.search(r'^check\("(\w+)", \1\)$', cell.source, re.MULTILINE)):
            yield called[1], cell.source, following.source


POSED = [
    pytest.param(*exercise, id=f"{path.stem}-{exercise[0]}")
    for path in sorted(WALKTHROUGHS.glob("*.ipynb"))
    for exercise in posed(nbformat.read(path, as_version=4))
]


def defined(source, name):
    """The function `name` that a piece of source defines."""
    names = {"torch": torch}
    exec(source, names)
    return names[name]


def test_every_exercise_is_posed_once():
    assert sorted(exercise.values[0] for exercise in POSED) == sorted(EXERCISES)


@pytest.mark.parametrize(("name", "cell", "following"), POSED)
def test_an_exercise_is_left_open(name, cell, following):
    question = ast.get_source_segment(cell, ast.parse(cell).body[0])
    assert check(name, defined(question, name)).message.startswith(f"{name}: not answered yet.")
    signature = question.partition("def ")[2].partition(":")[0]
    assert f"Write {signature}" in check(name, None).message


@pytest.mark.parametrize(("name", "cell", "following"), POSED)
def test_the_worked_answer_is_right(name, cell, following):
    answers = ANSWER.findall(following)
    assert len(answers) == 1
    assert check(name, defined(answers[0], name)), check(name, defined(answers[0], name))


def test_every_exercise_has_a_right_answer_and_a_wrong_one():
    assert sorted(answer.__name__ for answer in RIGHT) == sorted(EXERCISES)
    assert {name for name, _, _ in WRONG} == set(EXERCISES)


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.__name__)
def test_an_independent_right_answer_passes(answer):
    given = check(answer.__name__, answer)
    assert given, given


@pytest.mark.parametrize(("name", "answer", "words"), WRONG)
def test_a_wrong_answer_fails_and_is_told_why(name, answer, words):
    given = check(name, answer)
    assert not given
    assert words in given.message


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_that_the_kit_knows_is_met_by_a_wrong_answer(name):
    met = {check(name, answer).message.partition("perhaps ")[2] for wrong, answer, _ in WRONG if wrong == name}
    assert set(EXERCISES[name].mistakes) - met == set()


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_left_open_is_told_what_to_write(name):
    given = check(name, lambda *arguments: None)
    assert not given
    assert given.message.startswith(f"{name}: not answered yet. Write {name}(")
