"""How any answer is judged: strictly, with the smallest failing input, and never by raising."""

import pytest
import torch

from kit.exercises import EXERCISES, check
from kit.exercises.checking import Exercise, verdict


def inputs():
    return [{"x": torch.tensor([[1.0, -2.0]]), "k": 3}, {"x": torch.ones(3, 3), "k": 2}]


TIMES = Exercise(
    name="times",
    asks="times(x, k), which returns k x.",
    answer=lambda x, k: k * x,
    inputs=inputs,
    mistakes={"k was added.": lambda x, k: x + k, "this raises.": lambda x, k: 1 / 0},
)


def told(function):
    """What is said of an answer that is not right."""
    given = verdict(TIMES, function)
    assert not given and given.right is False
    assert repr(given) == given.message
    return given.message


def test_a_right_answer_is_right():
    given = verdict(TIMES, lambda a, b: a * b)
    assert given and given.message == "times: right, on 2 random inputs."


def test_a_wrong_answer_is_shown_where_it_fails_first_and_which_mistake_it_is():
    assert told(lambda x, k: x + k) == (
        "times: not yet.\n"
        "    on      x = [[1.0, -2.0]]; k = 3\n"
        "    got     [[4.0, 1.0]]\n"
        "    wanted  [[3.0, -6.0]]\n"
        "    perhaps k was added."
    )


def test_a_mistake_is_named_only_if_all_of_the_answer_is_that_mistake():
    assert "perhaps" not in told(lambda x, k: x + k if k == 3 else x)


def test_a_large_input_is_shown_as_its_shape_and_one_place():
    message = told(lambda x, k: torch.where(torch.eye(len(x)) > 0, x, k * x) if len(x) == 3 else k * x)
    assert "on      x = tensor (3, 3) float32; k = 2" in message
    assert "got     1 at [0, 0], and 3 of 9 differ\n    wanted  2" in message


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda x, k: (k * x).double(), "got     tensor (1, 2) float64\n    wanted  tensor (1, 2) float32"),
        (lambda x, k: (k * x)[0], "got     tensor (2,) float32\n    wanted  tensor (1, 2) float32"),
        # what a comparison by broadcasting would let through
        (lambda x, k: (k * x)[:, :1].expand_as(x), "got     [[3.0, 3.0]]\n    wanted  [[3.0, -6.0]]"),
        (lambda x, k: (k * x)[:, :1], "got     [[3.0]]\n    wanted  [[3.0, -6.0]]"),
        (lambda x, k: torch.full_like(x, torch.nan), "got     [[nan, nan]]\n    wanted  [[3.0, -6.0]]"),
        (lambda x, k: k * x + 1e-3, "got     [[3.001, -5.999]]"),
        (lambda x, k: (k * x).tolist(), "got     list [[3.0, -6.0]]\n    wanted  tensor (1, 2) float32"),
        (lambda x, k: x.mul_(k), "changed x in place; wanted it left as it was"),
        (lambda x, k: x @ x, "raised  RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (lambda x: x, "raised  TypeError: "),
    ],
)
def test_a_fault_is_told(function, fault):
    assert fault in told(function)


def refuses(x, k):
    raise NotImplementedError


@pytest.mark.parametrize("function", [None, ..., lambda x, k: None, lambda x, k: ..., refuses])
def test_an_answer_left_open_is_told_what_is_asked(function):
    if callable(function) and function is not refuses and function(0, 0) is ...:
        assert "got     ellipsis Ellipsis" in told(function)
    else:
        assert told(function) == "times: not answered yet. Write times(x, k), which returns k x."


def test_what_is_no_function_is_told_so():
    assert told(torch.ones(2)).startswith("times: got [1.0, 1.0], wanted a function: times(x, k)")


def test_an_unknown_exercise_names_the_known_ones():
    with pytest.raises(ValueError, match=r"check: got 'gide', wanted one of 'add_noise', .*'guide'"):
        check("gide", lambda: None)


def test_checking_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    for name, exercise in EXERCISES.items():
        check(name, exercise.answer)
    assert torch.equal(torch.rand(3), wanted)
