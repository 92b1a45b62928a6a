"""The exercises as the walkthroughs pose them: left open, and each with a worked answer that its checker accepts."""

import ast
import re

import nbformat
import pytest
import torch

from kit.exercises import EXERCISES, check
from tests.notebooks import WALKTHROUGHS

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
