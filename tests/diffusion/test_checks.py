import numpy as np
import pytest
import torch

from kit.diffusion import checks

X = torch.zeros(2, 4, 3, 3)
M = torch.ones(1, 1, 3, 3)


@pytest.mark.parametrize("value", [0, 5, np.int64(3), torch.tensor(2)])
def test_whole_numbers_of_every_kind_become_ints(value):
    assert type(checks.whole("n", value, 0, 5)) is int and checks.whole("n", value, 0, 5) == int(value)


@pytest.mark.parametrize("value", [0.25, 1, np.float32(0.5), torch.tensor(0.75)])
def test_numbers_of_every_kind_become_floats(value):
    assert type(checks.real("w", value, 0, 1)) is float and checks.real("w", value, 0, 1) == float(value)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: checks.whole("steps", 6, 1, 5), ValueError, "steps: got 6, wanted a whole number from 1 to 5"),
        (lambda: checks.whole("steps", 0, 1, 5), ValueError, "steps: got 0"),
        (lambda: checks.whole("steps", 2.0, 1, 5), TypeError, "steps: got 2.0, wanted a whole number"),
        (lambda: checks.whole("steps", True, 0, 5), TypeError, "steps: got True"),
        (lambda: checks.real("w", 1.5, 0, 1), ValueError, "w: got 1.5, wanted a number from 0 to 1"),
        (lambda: checks.real("w", float("nan")), ValueError, "w: got nan, wanted a finite number"),
        (lambda: checks.real("w", float("inf")), ValueError, "w: got inf"),
        (lambda: checks.real("w", "3"), TypeError, "w: got '3'"),
        (lambda: checks.floating("x", [1.0]), TypeError, "x: got list, wanted a floating-point tensor"),
        (lambda: checks.floating("x", torch.zeros(2, dtype=torch.int64)), TypeError, "x: got dtype torch.int64"),
        (lambda: checks.latents("x", X[0]), ValueError, r"x: got shape \(4, 3, 3\), wanted \(n, c, h, w\)"),
        (lambda: checks.latents("x", X[:0]), ValueError, "no axis empty"),
        (lambda: checks.finite("x", X / 0), ValueError, "x: got 72 of 72 values NaN or infinite"),
        (
            lambda: checks.like("eps", X[:1], "x", X),
            ValueError,
            r"eps: got shape \(1, 4, 3, 3\), wanted \(2, 4, 3, 3\)",
        ),
        (lambda: checks.like("eps", X.to("meta"), "x", X), ValueError, "eps: got device meta, wanted cpu"),
        (lambda: checks.batch("cond", X, 3), ValueError, "cond: got shape .* wanted 3 rows"),
        (lambda: checks.batch("cond", torch.tensor(1.0), 1), ValueError, "cond: got shape"),
        (lambda: checks.mask("mask", M > 0, X), TypeError, "mask: got dtype torch.bool"),
        (
            lambda: checks.mask("mask", M[0], X),
            ValueError,
            r"mask: got shape \(1, 3, 3\), wanted \(2, 1, 3, 3\) or \(1, 1, 3, 3\)",
        ),
        (lambda: checks.mask("mask", X, X), ValueError, r"mask: got shape \(2, 4, 3, 3\), wanted"),
        (lambda: checks.mask("mask", 2 * M, X), ValueError, "mask: got values from 2 to 2, wanted them in"),
        (lambda: checks.mask("mask", M / 0, X), ValueError, "mask: got 9 of 9 values NaN or infinite"),
    ],
)
def test_what_is_wrong_is_named_with_what_came_and_what_was_wanted(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_what_is_right_comes_back_itself():
    assert checks.latents("x", X) is X and checks.finite("x", X) is X
    assert checks.like("eps", X, "x", X) is X and checks.floating("x", X) is X
    assert checks.batch("cond", X, 2) is X and checks.mask("mask", M, X) is M
    assert checks.batch("cond", None, 7) is None  # a predictor may take a condition of another kind
