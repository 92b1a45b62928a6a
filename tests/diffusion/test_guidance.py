"""Guidance: its limits, what it costs, and what it means in a world whose classifier is known.

Each check is a function of the formula it judges, and is shown to refuse those of WRONG_FORMULAS too.
"""

import math

import pytest
import torch

from kit.diffusion import ddim
from kit.diffusion.guidance import guided
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import Mixture, normal, three_classes, two_neighbours

SD = Schedule.stable_diffusion()
WORLD = three_classes(SD)
U, C = WORLD.prior[None], WORLD.only(2, 2)


def recorded():
    """A predictor with a linear answer, and the list of what it was called with."""
    calls = []

    def predict(x, t, cond):
        calls.append((x, t, cond))
        return x + cond.view(len(x), -1).sum(1).view(-1, 1, 1, 1)

    return predict, calls


# What it gives


def check_limits(guided):
    """w = 0 is the unconditional prediction, w = 1 the conditional, and all others are on their line."""
    x = normal(2)
    u, c = WORLD.predict(x, 500, U.expand(2, -1)), WORLD.predict(x, 500, C)
    found = {w: guided(WORLD.predict, U, w)(x, 500, C) for w in (-1, 0, 1, 2, 7.5)}
    torch.testing.assert_close(found[0], u)
    torch.testing.assert_close(found[1], c)
    torch.testing.assert_close(found[2] - found[1], c - u)
    torch.testing.assert_close(found[-1], 2 * u - c)
    torch.testing.assert_close(found[7.5], 7.5 * c - 6.5 * u)


def check_negative_is_positive(guided):
    """Moving away from the prompt itself goes nowhere, however far."""
    x = normal(2)
    for w in (-3, 0, 0.5, 1, 2, 7.5, 100):
        torch.testing.assert_close(guided(WORLD.predict, C, w)(x, 500, C), WORLD.predict(x, 500, C))


def check_weights_sum_to_one(guided):
    """A predictor shifted by a constant is guided to a prediction shifted by the same constant."""
    x = normal(2)
    for w in (-1, 0, 0.5, 1, 3, 7.5):
        plain = guided(WORLD.predict, U, w)(x, 500, C)
        shifted = guided(lambda x, t, cond: WORLD.predict(x, t, cond) + 3, U, w)(x, 500, C)
        torch.testing.assert_close(shifted, plain + 3)


def check_implicit_classifier(guided):
    """eps - u = -w noise grad log p(c | x): the classifier within, by autograd on the world's Bayes rule."""
    for t, w in [(100, 0.5), (500, 3.0), (900, 7.5)]:
        x = normal(2).requires_grad_()
        joint = WORLD.log_joint(x, t, WORLD.prior)
        log_class = joint[:, 2] - joint.logsumexp(1)
        slope = torch.autograd.grad(log_class.sum(), x)[0]
        noise = (1 - float(SD.alpha_bar[t])) ** 0.5
        u = WORLD.predict(x, t, U.expand(2, -1))
        torch.testing.assert_close(guided(WORLD.predict, U, w)(x, t, C) - u, -w * noise * slope)


def check_swap(guided):
    """Prompt and negative prompt change places about w = 1/2."""
    x = normal(2)
    for w in (-1, 0, 0.5, 2, 7.5):
        forth = guided(WORLD.predict, WORLD.only(0, 2), w)(x, 500, C)
        back = guided(WORLD.predict, C, 1 - w)(x, 500, WORLD.only(0, 2))
        torch.testing.assert_close(forth, back)


CHECKS = {
    "limits": check_limits,
    "negative is positive": check_negative_is_positive,
    "weights sum to one": check_weights_sum_to_one,
    "implicit classifier": check_implicit_classifier,
    "swap": check_swap,
}


@pytest.mark.parametrize("check", CHECKS)
def test_guidance(check):
    CHECKS[check](guided)


def formula(mix):
    return lambda predict, uncond, w: (
        lambda x, t, cond: mix(predict(x, t, uncond.expand(len(x), -1)), predict(x, t, cond), w)
    )


WRONG_FORMULAS = {
    "the paper's w, one more": (
        lambda u, c, w: (1 + w) * c - w * u,
        {"limits", "implicit classifier", "swap"},
    ),
    "the sign of labml's prose": (lambda u, c, w: w * c + (w - 1) * u, {*CHECKS} - {"swap"}),
    "halves exchanged": (lambda u, c, w: c + w * (u - c), {"limits", "implicit classifier"}),
    "from c and not from u": (lambda u, c, w: c + w * (c - u), {"limits", "implicit classifier", "swap"}),
    "weights w and 1": (lambda u, c, w: u + w * c, {*CHECKS}),
    "no guidance at all": (lambda u, c, w: c, {"limits", "implicit classifier", "swap"}),
    "a step of fixed size": (
        lambda u, c, w: u + w * (c - u) / (c - u).norm().clamp(min=1e-12),
        {"limits", "implicit classifier"},
    ),
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_right_formula_written_again_passes_every_check(check):
    CHECKS[check](formula(lambda u, c, w: w * c + (1 - w) * u))


@pytest.mark.parametrize(("wrong", "check"), [(w, c) for w in WRONG_FORMULAS for c in sorted(WRONG_FORMULAS[w][1])])
def test_the_checks_refuse_a_wrong_formula(wrong, check):
    with pytest.raises(AssertionError):
        CHECKS[check](formula(WRONG_FORMULAS[wrong][0]))


@pytest.mark.parametrize("w", [2.0, 5.0])
def test_in_a_gaussian_world_the_guided_mean_moves_by_a_known_amount(w):
    """Classes of one variance against one of them as the negative: u + w (c - u) is the exact prediction for
    a class whose mean lies at m_u + w (m_c - m_u)."""
    v = torch.full((2,), 0.7, dtype=torch.float64)
    means = normal(2, seed=4)
    world = Mixture(SD, means, v, torch.tensor([0.5, 0.5], dtype=torch.float64))
    moved = Mixture(SD, means[:1] + w * (means[1:] - means[:1]), v[:1], torch.ones(1, dtype=torch.float64))
    x, t = normal(3), 600
    found = guided(world.predict, world.only(0, 1), w)(x, t, world.only(1, 3))
    torch.testing.assert_close(found, moved.predict(x, t))


def test_more_guidance_makes_the_class_surer_and_the_pictures_more_alike():
    """Along whole paths: the class's probability rises with w, the spread across the classes falls."""
    world = two_neighbours(SD)
    sure, spread = [], []
    for w in (0, 1, 2, 4, 7):
        predict = guided(world.predict, world.prior[None], w)
        x0 = ddim.sample(predict, SD, normal(256, (2, 1, 1)), SD.timesteps(50), world.only(0, 256))
        sure.append(float(world.log_joint(x0, -1, world.prior).softmax(1)[:, 0].mean()))
        spread.append(float((x0 * world.means[0]).sum((1, 2, 3)).std()))
    assert sure == sorted(sure) and sure[-1] > sure[1] + 0.2
    assert spread == sorted(spread, reverse=True) and spread[-1] < 0.7 * spread[1]


def test_a_negative_prompt_drives_its_class_away():
    """Asked for anything but class 1: its share of the samples falls from its half as w rises."""
    world, share = two_neighbours(SD), []
    for w in (1, 1.5, 2, 4):
        predict = guided(world.predict, world.only(1), w)
        x0 = ddim.sample(predict, SD, normal(256, (2, 1, 1)), SD.timesteps(50), world.prior.expand(256, -1))
        share.append(float(world.log_joint(x0, -1, world.prior).softmax(1)[:, 1].mean()))
    assert share == sorted(share, reverse=True)
    assert 0.4 < share[0] < 0.6 and share[-1] < 0.15


# What it costs


@pytest.mark.parametrize(("w", "batch"), [(1, 3), (1.0, 3), (0, 3), (2.5, 6), (0.5, 6), (-1, 6)])
def test_one_call_a_prediction_with_both_halves_in_it(w, batch):
    predict, calls = recorded()
    guided(predict, torch.zeros(1, 5, 8), w)(torch.zeros(3, 4, 8, 8), 500, torch.ones(3, 5, 8))
    assert [len(x) for x, _, _ in calls] == [batch]


def test_the_halves_hold_the_same_pictures_each_with_its_own_condition():
    predict, calls = recorded()
    x, uncond, cond = torch.randn(3, 4, 8, 8), torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    guided(predict, uncond, 5.0)(x, 500, cond)
    ((both, t, conds),) = calls
    assert t == 500
    assert torch.equal(both, torch.cat([x, x])) and torch.equal(conds, torch.cat([uncond, cond]))


def test_each_picture_keeps_its_own_timestep():
    predict, calls = recorded()
    t = torch.tensor([1, 500, 999])
    guided(predict, torch.zeros(1, 5, 8), 5.0)(torch.zeros(3, 4, 8, 8), t, torch.ones(3, 5, 8))
    assert calls[0][1].tolist() == [1, 500, 999, 1, 500, 999]


def test_one_row_of_uncond_serves_every_picture():
    x, row = torch.randn(3, 4, 8, 8), torch.randn(1, 5, 8)
    cond = torch.randn(3, 5, 8)
    predict, _ = recorded()
    for w in (0, 2.0):
        once = guided(predict, row, w)(x, 1, cond)
        assert torch.equal(once, guided(predict, row.repeat(3, 1, 1), w)(x, 1, cond))


def test_guidance_reads_no_value_of_x():
    """A tensor on the meta device has no values: whatever would make a GPU wait raises there."""
    x, cond = torch.empty(2, 4, 8, 8, device="meta"), torch.empty(2, 5, 8, device="meta")
    assert guided(recorded()[0], cond[:1], 5.0)(x, 500, cond).shape == x.shape


# Bad input


@pytest.mark.parametrize("w", [math.nan, math.inf, "5", None, [1.0, 2.0]])
def test_guidance_refuses_a_w_that_is_no_number(w):
    with pytest.raises((TypeError, ValueError), match=r"w: got .*, wanted a finite number"):
        guided(WORLD.predict, U, w)


def test_guidance_refuses_an_uncond_that_is_no_tensor():
    with pytest.raises(TypeError, match=r"uncond: got '', wanted a tensor \(n, \.\.\.\) or \(1, \.\.\.\)"):
        guided(WORLD.predict, "", 5.0)


@pytest.mark.parametrize(
    ("uncond", "cond", "message"),
    [
        ((1, 5, 8), None, "cond: got NoneType, wanted a tensor, to be batched with uncond"),
        ((1, 5, 8), (2, 5, 8), r"cond: got shape \(2, 5, 8\), wanted 3 rows, one for each picture in x"),
        (
            (2, 5, 8),
            (3, 5, 8),
            r"uncond: got shape \(2, 5, 8\), wanted \(3, 5, 8\) like cond",
        ),
        ((1, 6, 8), (3, 5, 8), r"uncond: got shape \(3, 6, 8\), wanted \(3, 5, 8\) like cond"),
    ],
)
@pytest.mark.parametrize("w", [0, 1, 5.0])
def test_guidance_refuses_conditions_that_do_not_match(uncond, cond, message, w):
    cond = cond and torch.zeros(cond)
    with pytest.raises((TypeError, ValueError), match=message):
        guided(recorded()[0], torch.zeros(uncond), w)(torch.zeros(3, 4, 8, 8), 1, cond)


def test_guidance_refuses_conditions_of_two_kinds():
    guide = guided(recorded()[0], torch.zeros(1, 5, 8).half(), 5.0)
    with pytest.raises(ValueError, match=r"uncond: got torch.float16 on cpu, wanted torch.float32 on cpu, as"):
        guide(torch.zeros(3, 4, 8, 8), 1, torch.zeros(3, 5, 8))
