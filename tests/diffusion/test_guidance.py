"""Guidance: its limits, what it costs, and what it means in a world whose classifier is known.

Each check is a function of the formula it judges, and is shown to refuse those of WRONG_FORMULAS and of
WRONG_RESCALINGS too.
"""

import math

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from kit.diffusion import ddim
from kit.diffusion.guidance import RESCALINGS, combine, guided
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


# Rescalings, of each picture by itself


def size(x):
    """The norm of each picture."""
    return x.flatten(1).norm(dim=1)


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(1), b.flatten(1))


def uneven():
    """u and c of three pictures of very different sizes, so that a norm of the whole batch is none of theirs."""
    scale = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64).view(-1, 1, 1, 1)
    return scale * normal(3), scale.flip(0) * normal(3, seed=2) + 0.3


def check_pred_norm(combine):
    """The size of u and the direction of plain guidance, at every w."""
    u, c = uneven()
    for w in (-2, 0, 1, 3, 20):
        found = combine(u, c, w, "pred_norm")
        torch.testing.assert_close(size(found), size(u))
        torch.testing.assert_close(cosine(found, u + w * (c - u)), torch.ones(3, dtype=torch.float64))


def check_t_norm(combine):
    """An update of g times u's size along c - u, however far c is from u and whatever w is."""
    u, c = uneven()
    for g in (0.0, 0.15, 0.3, 1.0):
        found = combine(u, c, 7.5, "t_norm", g=g)
        torch.testing.assert_close(size(found - u), g * size(u))
        if g:
            torch.testing.assert_close(cosine(found - u, c - u), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(combine(u, u + 9 * (c - u), -1, "t_norm", g=g), found)


def check_full_norm(combine):
    u, c = uneven()
    for g in (0.0, 0.15, 1.0):
        found = combine(u, c, 7.5, "full_norm", g=g)
        torch.testing.assert_close(size(found), size(u))
        longer = u + g * (c - u) * (size(u) / size(c - u)).view(-1, 1, 1, 1)
        torch.testing.assert_close(cosine(found, longer), torch.ones(3, dtype=torch.float64))


def check_std(combine):
    """phi = 0 is plain guidance, phi = 1 has the spread of c, and between lies what is between."""
    u, c = uneven()
    for w in (-1, 1, 7.5):
        plain, whole = u + w * (c - u), combine(u, c, w, "std", phi=1.0)
        torch.testing.assert_close(combine(u, c, w, "std", phi=0.0), plain)
        torch.testing.assert_close(whole.flatten(1).std(1), c.flatten(1).std(1))
        torch.testing.assert_close(cosine(whole, plain), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(combine(u, c, w, "std", phi=0.7), 0.7 * whole + 0.3 * plain)


def check_picture_by_picture(combine):
    """A picture's prediction is the same alone as between others, to the last digit but one."""
    u, c = uneven()
    for variant in RESCALINGS:
        together = combine(u, c, 7.5, variant)
        alone = [combine(u[i : i + 1], c[i : i + 1], 7.5, variant) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)


@pytest.mark.parametrize("variant", RESCALINGS)
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 4, 8), (3, 2, 4, 4, 5)])
def test_a_picture_may_have_any_shape_or_be_one_number(variant, shape):
    u, c = normal(3, shape[1:]), normal(3, shape[1:], seed=2)
    together = combine(u, c, 2.0, variant)
    alone = [combine(u[i : i + 1], c[i : i + 1], 2.0, variant) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-15)


RESCALING_CHECKS = {
    "pred_norm": check_pred_norm,
    "t_norm": check_t_norm,
    "full_norm": check_full_norm,
    "std": check_std,
    "picture by picture": check_picture_by_picture,
}


@pytest.mark.parametrize("check", RESCALING_CHECKS)
def test_rescaling(check):
    RESCALING_CHECKS[check](combine)


def rescaled(norm, std, last=lambda g, w: g):
    """All variants written once more, over a norm, a spread and the weight of the normed update."""

    def combine(u, c, w, variant, g=0.2, phi=0.7):
        plain = u + w * (c - u)
        if variant == "none":
            return plain
        if variant == "std":
            return phi * plain * std(c) / std(plain) + (1 - phi) * plain
        if variant == "pred_norm":
            return plain * norm(u) / norm(plain)
        stepped = u + last(g, w) * (c - u) * norm(u) / norm(c - u)
        return stepped if variant == "t_norm" else stepped * norm(u) / norm(stepped)

    return combine


def each(f):
    """A function of one picture, of each picture of a batch."""
    return lambda x: torch.stack([f(one) for one in x]).view(-1, 1, 1, 1)


WRONG_RESCALINGS = {
    # As in the notebook that the course's forum shared: one picture at a time, it cannot be told from the right one
    "norms of the whole batch": (rescaled(torch.norm, each(torch.std)), {*RESCALING_CHECKS} - {"std"}),
    "spreads of the whole batch": (rescaled(each(torch.norm), torch.std), {"std", "picture by picture"}),
    "norms of each channel": (
        rescaled(lambda x: x.norm(dim=(2, 3), keepdim=True), each(torch.std)),
        {"pred_norm", "t_norm", "full_norm"},
    ),
    "mean squares for norms": (
        rescaled(each(lambda x: x.pow(2).mean()), each(torch.std)),
        {"pred_norm", "t_norm", "full_norm"},
    ),
    "root mean squares for spreads": (
        rescaled(each(torch.norm), each(lambda x: x.pow(2).mean().sqrt())),
        {"std"},
    ),
    "w times the normed update": (
        rescaled(each(torch.norm), each(torch.std), lambda g, w: g * w),
        {"t_norm", "full_norm"},
    ),
}


@pytest.mark.parametrize("check", RESCALING_CHECKS)
def test_the_right_rescalings_written_again_pass_every_check(check):
    RESCALING_CHECKS[check](rescaled(each(torch.norm), each(torch.std)))


@pytest.mark.parametrize(("wrong", "check"), [(w, c) for w in WRONG_RESCALINGS for c in sorted(WRONG_RESCALINGS[w][1])])
def test_the_checks_refuse_a_wrong_rescaling(wrong, check):
    with pytest.raises(AssertionError):
        RESCALING_CHECKS[check](WRONG_RESCALINGS[wrong][0])


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, 1.0])
def test_the_spread_is_rescaled_as_diffusers_does(phi):
    u, c = uneven()
    theirs = rescale_noise_cfg(u + 7.5 * (c - u), c, guidance_rescale=phi)
    torch.testing.assert_close(combine(u, c, 7.5, "std", phi=phi), theirs)


def test_a_step_of_us_own_size_is_not_c_unless_the_sizes_agree():
    """At g = 1 the update is as long as u, and not as c - u."""
    u, c = uneven()
    assert float(size(combine(u, c, 1, "t_norm", g=1.0) - c).min()) > 0.1
    assert float(size(combine(u, c, 1, "pred_norm") - c).min()) > 0.1
    same = c * (size(u) / size(c)).view(-1, 1, 1, 1)
    torch.testing.assert_close(combine(u, same, 1, "pred_norm"), same)
    c = u + normal(3, seed=3) * (size(u) / size(normal(3, seed=3))).view(-1, 1, 1, 1)
    torch.testing.assert_close(combine(u, c, 1, "t_norm", g=1.0), c)


@pytest.mark.parametrize("variant", RESCALINGS)
def test_a_picture_without_size_is_not_divided_by_it(variant):
    """c = u leaves no update, u = 0 no size to give, u + w (c - u) = 0 nothing to rescale; the others are as ever."""
    x, zero = normal(1), torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    for u, c in [(x, x), (zero, x), (x, x / 2), (zero, zero), (x, torch.ones_like(x))]:
        u, c = torch.cat([u, x]), torch.cat([c, 3 * x.flip(1)])
        found = combine(u, c, 2, variant, g=0.5, phi=0.5)
        assert found.isfinite().all()
        torch.testing.assert_close(found[1:], combine(u[1:], c[1:], 2, variant, g=0.5, phi=0.5))
        if torch.equal(c[:1], u[:1]) and variant != "std":
            torch.testing.assert_close(found[:1], u[:1])


@pytest.mark.parametrize("variant", RESCALINGS)
def test_half_precision_is_rounded_once(variant):
    u, c = normal(2).half(), (2 * normal(2, seed=2)).half()
    found = combine(u, c, 7.5, variant)
    assert found.dtype == torch.float16
    exact = combine(u.double(), c.double(), 7.5, variant)
    torch.testing.assert_close(found.double(), exact, rtol=torch.finfo(torch.float16).eps, atol=1e-4)


@pytest.mark.parametrize("variant", RESCALINGS)
def test_a_guided_predictor_combines_what_is_predicted(variant):
    x, t = normal(2), 500
    u, c = WORLD.predict(x, t, U.expand(2, -1)), WORLD.predict(x, t, C)
    for w in (0, 1, 7.5):
        found = guided(WORLD.predict, U, w, variant=variant, g=0.3, phi=0.6)(x, t, C)
        torch.testing.assert_close(found, combine(u, c, w, variant, g=0.3, phi=0.6))


# Intervals of timesteps


def test_outside_its_interval_guidance_does_nothing_and_costs_nothing():
    x, guide = normal(2), guided(WORLD.predict, U, 7.5, interval=(200, 600))
    for t in (0, 199, 200, 400, 600, 601, 999):
        WORLD.calls.clear()
        found = guide(x, t, C)
        calls = list(WORLD.calls)
        acts = 200 <= t <= 600
        expected = guided(WORLD.predict, U, 7.5)(x, t, C) if acts else WORLD.predict(x, t, C)
        assert torch.equal(found, expected) and calls == [4 if acts else 2], t


@pytest.mark.parametrize("w", [0, 7.5])
def test_each_picture_has_its_own_timestep_within_the_interval_or_not(w):
    predict, _ = recorded()
    x, cond = torch.randn(3, 4, 8, 8), torch.randn(3, 5, 8)
    guide = guided(predict, torch.zeros(1, 5, 8), w, interval=(200, 600))
    together = guide(x, torch.tensor([100, 300, 700]), cond)
    for i, t in enumerate([100, 300, 700]):
        torch.testing.assert_close(together[i : i + 1], guide(x[i : i + 1], t, cond[i : i + 1]))


@pytest.mark.parametrize("interval", [None, (0, 999), [0, 999], torch.tensor([0, 999])])
def test_an_interval_of_everything_is_none(interval):
    x, t = normal(2), torch.tensor([0, 999])
    predict, _ = recorded()
    found = guided(predict, U, 7.5, interval=interval)(x, t, C)
    assert torch.equal(found, guided(predict, U, 7.5)(x, t, C))


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
    for variant in RESCALINGS:
        guide = guided(recorded()[0], cond[:1], 5.0, variant=variant, interval=(100, 900))
        for t in (500, torch.tensor([50, 500])):
            assert guide(x, t, cond).shape == x.shape


# Bad input

X = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize("w", [math.nan, math.inf, "5", None, [1.0, 2.0]])
def test_guidance_refuses_a_w_that_is_no_number(w):
    with pytest.raises((TypeError, ValueError), match=r"w: got .*, wanted a finite number"):
        guided(WORLD.predict, U, w)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(variant="norm"), "variant: got 'norm', wanted one of 'none', 'pred_norm', 't_norm', 'full_norm', 'std'"),
        (dict(variant=None), "variant: got None, wanted one of"),
        (dict(g=-0.1), "g: got -0.1, wanted a number from 0 to 1"),
        (dict(g=math.nan), "g: got nan, wanted a number from 0 to 1"),
        (dict(phi=1.1), "phi: got 1.1, wanted a number from 0 to 1"),
        (dict(phi="all"), "phi: got 'all', wanted a number from 0 to 1"),
    ],
)
def test_guidance_refuses_settings_that_make_no_sense(settings, message):
    for use in (lambda: guided(WORLD.predict, U, 5.0, **settings), lambda: combine(U, U, 5.0, **settings)):
        with pytest.raises((TypeError, ValueError), match=message):
            use()


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        (500, r"interval: got 500, wanted \(low, high\), two timesteps, or None"),
        ((1, 2, 3), r"interval: got \(1, 2, 3\), wanted \(low, high\)"),
        ((600, 200), "interval: got 200, wanted a whole number from 600 to"),
        ((-5, 200), "interval: got -5, wanted a whole number from 0 to"),
        ((0.2, 0.6), "interval: got 0.2, wanted a whole number"),
    ],
)
def test_guidance_refuses_an_interval_that_is_none(interval, message):
    with pytest.raises((TypeError, ValueError), match=message):
        guided(WORLD.predict, U, 5.0, interval=interval)


@pytest.mark.parametrize(
    ("u", "c", "w", "message"),
    [
        (X, X[:1], 5.0, r"c: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\), the shape of u"),
        (X, X.to("meta"), 5.0, "c: got device meta, wanted cpu, the device of u"),
        (X.long(), X, 5.0, "u: got dtype torch.int64, wanted a floating-point tensor"),
        (X, None, 5.0, "c: got NoneType, wanted a floating-point tensor"),
        (X, X, math.inf, "w: got inf, wanted a finite number"),
    ],
)
def test_predictions_that_do_not_match_are_refused(u, c, w, message):
    for variant in RESCALINGS:
        with pytest.raises((TypeError, ValueError), match=message):
            combine(u, c, w, variant)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x, t, cond: x[:1], r"predict\(x, t, cond\): got shape \(1, 4, 8, 8\), wanted \(4, 4, 8, 8\)"),
        (lambda x, t, cond: (x,), r"predict\(x, t, cond\): got tuple, wanted a floating-point tensor"),
    ],
)
def test_a_predictor_that_gives_no_noise_is_named(predict, message):
    with pytest.raises((TypeError, ValueError), match=message):
        guided(predict, torch.zeros(1, 5), 5.0)(X, 1, torch.zeros(2, 5))


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
