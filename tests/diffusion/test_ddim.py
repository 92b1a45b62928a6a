"""DDIM against diffusers' schedulers, the exact flow of a Gaussian, DDPM's posterior and its own inverse.

Each check is a function of the step it judges, and is shown to refuse the wrong steps of WRONG_STEPS too.
"""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler

from kit.diffusion import ddim, seeds
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import Gaussian, correlated, normal, three_classes

CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
SD = Schedule.stable_diffusion()


def wobbly(x, t, cond=None):
    """A predictor of no meaning, smooth, not linear and different at every t."""
    return torch.sin(x * (1 + t / 1000)) + 0.1 * x


# Against diffusers


def their_path(scheduler, x, predict, eta=0.0, noises=None):
    for t in scheduler.timesteps:
        noise = next(noises) if eta else None
        x = scheduler.step(predict(x, int(t)), int(t), x, eta=eta, variance_noise=noise, return_dict=False)[0]
        yield x


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 30, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_each_step_is_diffusers_step(spacing, steps, eta, to_one):
    """diffusers goes from t to t - T // steps, which is not always the next timestep of its own list."""
    schedule = Schedule.stable_diffusion(final_alpha_bar=1.0 if to_one else None)
    scheduler = DDIMScheduler(**CONFIG, timestep_spacing=spacing, set_alpha_to_one=to_one, steps_offset=1)
    scheduler.set_timesteps(steps)
    x, eps, noise = normal(2).float(), normal(2, seed=2).float(), normal(2, seed=3).float()
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(eps, t, x, eta=eta, variance_noise=noise, return_dict=False)
        ours = ddim.step(schedule, x, eps, t, t - 1000 // steps, eta=eta, noise=noise)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 30), ("leading", 50), ("trailing", 50)])
def test_the_whole_path_is_diffusers_path(spacing, steps, eta):
    """Where diffusers' steps meet: any number of leading steps, and trailing ones that divide T."""
    scheduler = DDIMScheduler(**CONFIG, timestep_spacing=spacing, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(steps)
    x = seeds.randn((2, 2, 4, 4), 5)
    noises = seeds.stream(x.shape, 5)
    next(noises)
    theirs = list(their_path(scheduler, x, wobbly, eta, noises))
    ours = list(ddim.path(wobbly, SD, x, SD.timesteps(steps, spacing), eta=eta, seed=5))
    assert [s.t for s in ours] == [*scheduler.timesteps.tolist(), -1]
    for state, expected in zip(ours[1:], theirs, strict=True):
        torch.testing.assert_close(state.x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 30), ("leading", 50), ("trailing", 50)])
def test_inversion_is_diffusers_inversion(spacing, steps):
    scheduler = DDIMInverseScheduler(**CONFIG, timestep_spacing=spacing, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(steps)
    x = normal(2).float()
    states = list(ddim.invert(wobbly, SD, x, SD.timesteps(steps, spacing)))
    assert [s.t for s in states] == [-1, *scheduler.timesteps.tolist()]
    for t, state in zip(scheduler.timesteps.tolist(), states[1:], strict=True):
        x = scheduler.step(wobbly(x, t), t, x, return_dict=False)[0]
        torch.testing.assert_close(state.x, x, rtol=1e-5, atol=1e-5)


# Against DDPM's posterior, at eta = 1


def posterior_by_bayes(schedule, x, x0, t, t_next):
    """q(x_next | x, x0): what x0 says of x_next, times what x says of it; both normal, so precisions add."""
    ab, ab_next = schedule.at(t), schedule.at(t_next)
    kept = ab / ab_next
    from_x0, from_x = 1 / (1 - ab_next), kept / (1 - kept)
    variance = 1 / (from_x0 + from_x)
    return variance * (from_x0 * ab_next**0.5 * x0 + from_x * x / kept**0.5), variance


def mean_and_variance(step, t, t_next, **options):
    """What a step draws from, read off by giving it no noise and then noise 1 everywhere."""
    x, eps = normal(2), normal(2, seed=2)
    mean, x0 = step(SD, x, eps, t, t_next, eta=1.0, noise=torch.zeros_like(x))
    one, _ = step(SD, x, eps, t, t_next, eta=1.0, noise=torch.ones_like(x))
    return x, x0, mean, (one - mean) ** 2


def check_posterior(step):
    for t, t_next in [(999, 998), (500, 499), (1, 0), (981, 961), (501, 1)]:
        x, x0, mean, variance = mean_and_variance(step, t, t_next)
        expected, expected_variance = posterior_by_bayes(SD, x, x0, t, t_next)
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(variance, torch.full_like(x, expected_variance), rtol=0, atol=1e-12)


def test_eta_1_draws_from_the_posterior():
    check_posterior(ddim.step)


def test_eta_1_from_pure_noise_takes_no_root_of_a_negative():
    """Nothing of the old noise is kept there, and rounding makes its variance -1e-16."""
    schedule, x = Schedule(torch.tensor([0.5, 1e-18])), normal(2)
    found, x0 = ddim.step(schedule, x, normal(2, seed=2), 1, 0, eta=1.0, noise=torch.zeros_like(x))
    torch.testing.assert_close(found, 0.5**0.5 * x0)


@pytest.mark.parametrize("t", [999, 500, 1])
def test_eta_1_is_diffusers_ddpm_step(t):
    """variance_type fixed_small is the posterior's variance, beta tilde."""
    scheduler = DDPMScheduler(**CONFIG, variance_type="fixed_small")
    x, eps = normal(2).float(), normal(2, seed=2).float()
    theirs = scheduler.step(eps, t, x, generator=torch.Generator().manual_seed(0), return_dict=False)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    ours = ddim.step(SD, x, eps, t, t - 1, eta=1.0, noise=noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_eta_1_samples_a_gaussian_world_truly():
    """500 ancestral steps of 4,096 independent numbers: mean and variance within four standard errors.

    Noise that is the same at every step, or the same as the start's, gives another variance.
    """
    m, S = torch.full((4, 16, 16), 0.5).double(), torch.full((4, 16, 16), 0.6).double()
    world = Gaussian(SD, m, S)
    x = seeds.randn((4, 4, 16, 16), 0, dtype=torch.float64)
    found = ddim.sample(world.predict, SD, x, SD.timesteps(500, "trailing"), eta=1.0, seed=0)
    assert abs(found.mean() - 0.5) < 4 * (0.6 / 4096) ** 0.5
    assert abs(found.var() - 0.6) < 4 * 0.6 * (2 / 4096) ** 0.5


# Against the exact flow, at eta = 0


def slope(steps, errors):
    """d log(error) / d log(steps), by least squares."""
    a, b = torch.tensor(steps).double().log(), torch.tensor(errors).double().log()
    return float(((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum())


def rmse(a, b):
    return float((a - b).pow(2).mean().sqrt())


def walk(step, predict, schedule, x, timesteps):
    levels = [*timesteps.tolist(), -1]
    for t, t_next in pairwise(levels):
        x, _ = step(schedule, x, predict(x, t), t, t_next)
    return x


def check_flow(step):
    world, x = correlated(SD), normal(2)
    exact = world.flow(x, 999, -1)
    steps = [25, 50, 100, 200]
    errors = [rmse(walk(step, world.predict, SD, x, SD.timesteps(n, "linspace")), exact) for n in steps]
    assert errors[-1] < 0.02
    assert -1.15 < slope(steps, errors) < -0.85, errors


def test_the_path_converges_to_the_exact_flow_of_a_gaussian_with_order_1():
    check_flow(ddim.step)


def test_a_step_is_exact_where_the_prediction_does_not_change():
    """In a world of one picture eps is constant along the flow, and one step goes all the way."""
    m = normal(1)[0]
    world = Gaussian(SD, m, torch.zeros_like(m))
    found = ddim.sample(world.predict, SD, normal(3, seed=2), torch.tensor([999]))
    expected = world.flow(normal(3, seed=2), 999, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_without_new_noise_the_seed_does_not_matter():
    world, x, timesteps = three_classes(SD), normal(2), SD.timesteps(10)
    a = ddim.sample(world.predict, SD, x, timesteps, seed=0)
    assert torch.equal(a, ddim.sample(world.predict, SD, x, timesteps, seed=99))
    b = ddim.sample(world.predict, SD, x, timesteps, eta=0.5, seed=0)
    assert torch.equal(b, ddim.sample(world.predict, SD, x, timesteps, eta=0.5, seed=0))
    assert not torch.equal(b, ddim.sample(world.predict, SD, x, timesteps, eta=0.5, seed=99))


def test_a_picture_does_not_depend_on_the_size_of_its_batch():
    world, timesteps = three_classes(SD), SD.timesteps(10)
    many = ddim.sample(world.predict, SD, normal(4), timesteps, eta=1.0, seed=3)
    for i in range(4):
        alone = ddim.sample(world.predict, SD, normal(4)[i : i + 1], timesteps, eta=1.0, seed=3 + i)
        torch.testing.assert_close(many[i : i + 1], alone, rtol=0, atol=1e-12)


# The step, up and down


def check_up_and_down(step):
    """With one eps a step up is undone by the step down, and no step at all changes nothing."""
    x, eps = normal(2), normal(2, seed=2)
    for t, t_next in [(981, 961), (961, 981), (-1, 999), (1, -1)]:
        there, x0 = step(SD, x, eps, t, t_next)
        back, x0_again = step(SD, there, eps, t_next, t)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-11)
        torch.testing.assert_close(x0_again, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(step(SD, x, eps, 500, 500)[0], x, rtol=0, atol=1e-13)


def test_a_step_up_undoes_a_step_down():
    check_up_and_down(ddim.step)


def test_from_a_clean_picture_a_step_up_is_noising():
    schedule = Schedule.stable_diffusion(final_alpha_bar=1.0)
    x0, eps = normal(2), normal(2, seed=2)
    up, _ = ddim.step(schedule, x0, eps, -1, 500)
    torch.testing.assert_close(up, schedule.add_noise(x0, eps, 500))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_pictures_may_be_at_different_levels(eta):
    x, eps, noise = normal(3), normal(3, seed=2), normal(3, seed=3)
    t, t_next = torch.tensor([999, 500, 20]), torch.tensor([900, 100, -1])
    together = ddim.step(SD, x, eps, t, t_next, eta=eta, noise=noise)
    for i in range(3):
        one = slice(i, i + 1)
        alone = ddim.step(SD, x[one], eps[one], int(t[i]), int(t_next[i]), eta=eta, noise=noise[one])
        torch.testing.assert_close((together[0][one], together[1][one]), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [SD, Schedule.cosine()])
def test_half_precision_neither_overflows_nor_drifts(schedule):
    """Cosine's noisiest x0 is past what float16 can hold; the step through it is not."""
    x, eps, noise = normal(2).half(), normal(2, seed=2).half(), normal(2, seed=3).half()
    for eta in (0.0, 1.0):
        exact, _ = ddim.step(schedule, x.double(), eps.double(), 999, 990, eta=eta, noise=noise.double())
        half, _ = ddim.step(schedule, x, eps, 999, 990, eta=eta, noise=noise)
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.double(), exact, rtol=2e-3, atol=2e-3)


def test_a_step_reads_no_value_of_x():
    """A tensor on the meta device has no values: whatever would make a GPU wait raises there."""
    x = torch.empty(2, 4, 8, 8, device="meta", dtype=torch.float16)
    assert ddim.step(SD, x, x, 981, 961, eta=1.0, noise=x)[0].device.type == "meta"


# Inversion


def round_trip(predict, x0, steps, refinements=0):
    timesteps = SD.timesteps(steps)
    top = ddim.last(ddim.invert(predict, SD, x0, timesteps, refinements=refinements))
    return ddim.sample(predict, SD, top.x, timesteps)


def test_encoding_and_decoding_gives_the_picture_back_up_to_one_over_steps():
    world = three_classes(SD)
    x0 = world.draw([0, 2])
    steps = [25, 50, 100, 200]
    errors = [rmse(round_trip(world.predict, x0, n), x0) for n in steps]
    assert -1.15 < slope(steps, errors) < -0.75, errors


def test_refined_inversion_is_exact():
    world = three_classes(SD)
    x0 = world.draw([0, 2])
    assert rmse(round_trip(world.predict, x0, 20), x0) > 1e-2
    assert float((round_trip(world.predict, x0, 20, refinements=100) - x0).abs().max()) < 1e-10


def test_inversion_follows_the_exact_flow_upwards():
    world, x0 = correlated(SD), normal(2)
    steps = [25, 50, 100, 200]
    tops = [ddim.last(ddim.invert(world.predict, SD, x0, SD.timesteps(n, "linspace"))) for n in steps]
    errors = [rmse(top.x, world.flow(x0, -1, 999)) for top in tops]
    assert -1.15 < slope(steps, errors) < -0.85, errors


# The path as a generator of states


def test_a_path_names_its_levels_and_carries_its_predictions():
    world, x = three_classes(SD), normal(2)
    timesteps = SD.timesteps(5)
    states = list(ddim.path(world.predict, SD, x, timesteps))
    assert [s.t for s in states] == [*timesteps.tolist(), -1]
    assert states[0].x is x and states[0].x0 is None and states[0].eps is None
    for before, after in pairwise(states):
        torch.testing.assert_close(after.eps, world.predict(before.x, before.t))
        torch.testing.assert_close(after.x0, SD.x0_from_eps(before.x, after.eps, before.t))
        torch.testing.assert_close(after.x, SD.add_noise(after.x0, after.eps, after.t))
    assert torch.equal(ddim.sample(world.predict, SD, x, timesteps), states[-1].x)


def test_a_path_predicts_only_as_far_as_it_is_walked():
    world = three_classes(SD)
    states = ddim.path(world.predict, SD, normal(3), SD.timesteps(5))
    next(states), next(states)
    assert world.calls == [3]
    list(states)
    assert world.calls == [3] * 5


@pytest.mark.parametrize("refinements", [0, 2])
def test_inversion_predicts_once_a_level_and_once_a_refinement(refinements):
    world = three_classes(SD)
    states = list(ddim.invert(world.predict, SD, normal(2), SD.timesteps(5), refinements=refinements))
    assert len(world.calls) == 5 * (1 + refinements)
    assert [s.t for s in states] == [-1, *SD.timesteps(5).tolist()[::-1]]


def test_the_condition_reaches_the_predictor():
    world, x = three_classes(SD), normal(2)
    cond = world.only(1, 2)
    found = ddim.sample(world.predict, SD, x, SD.timesteps(5), cond)
    alone = Gaussian(SD, world.means[1], torch.full_like(world.means[1], world.variances[1]))
    torch.testing.assert_close(found, ddim.sample(alone.predict, SD, x, SD.timesteps(5)), rtol=0, atol=1e-12)


def test_no_gradients_are_kept_and_grad_mode_is_not_left_changed():
    weight = torch.ones((), requires_grad=True)
    for state in ddim.path(lambda x, t, cond: weight * x, SD, normal(1), SD.timesteps(3)):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad


def test_the_worlds_predict_minus_noise_times_the_score():
    """The oracles' own oracle: autograd on densities, the Gaussian's from torch.distributions."""
    gaussian, mixture = correlated(SD), three_classes(SD)
    for t in (1, 500, 999):
        x = normal(2).requires_grad_()
        ab = float(SD.alpha_bar[t])
        S = gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
        p = torch.distributions.MultivariateNormal(
            ab**0.5 * gaussian.m.flatten(), ab * S + (1 - ab) * torch.eye(len(S), dtype=S.dtype)
        )
        score = torch.autograd.grad(p.log_prob(x.flatten(1)).sum(), x)[0]
        torch.testing.assert_close(gaussian.predict(x, t), -((1 - ab) ** 0.5) * score)
        classes = [
            torch.distributions.Normal(ab**0.5 * m.flatten(), (ab * v + 1 - ab) ** 0.5)
            for m, v in zip(mixture.means, mixture.variances, strict=True)
        ]
        each = torch.stack([c.log_prob(x.flatten(1)).sum(1) for c in classes], 1)
        score = torch.autograd.grad((each + mixture.prior.log()).logsumexp(1).sum(), x)[0]
        torch.testing.assert_close(mixture.predict(x, t), -((1 - ab) ** 0.5) * score)


# The checks refuse wrong steps


def wrong_step(s_of=None, x0_of=None, direction_of=None):
    """DDIM's step with one of its three formulas replaced."""

    def step(schedule, x, eps, t, t_next, *, eta=0.0, noise=None):
        ab, ab_next = schedule.at(t), schedule.at(t_next)
        right = eta * ((1 - ab_next) / (1 - ab) * max(1 - ab / ab_next, 0)) ** 0.5
        s = s_of(ab, ab_next, eta) if s_of else right
        x0 = x0_of(x, eps, ab) if x0_of else (x - (1 - ab) ** 0.5 * eps) / ab**0.5
        direction = direction_of(ab, ab_next, s) if direction_of else max(1 - ab_next - s**2, 0) ** 0.5
        x_next = ab_next**0.5 * x0 + direction * eps
        return (x_next if noise is None else x_next + s * noise), x0

    return step


WRONG_STEPS = {
    # the noise of DDPM's fixed_large variance
    "beta for beta tilde": (
        wrong_step(s_of=lambda ab, b, eta: eta * max(1 - ab / b, 0) ** 0.5),
        {"posterior"},
    ),
    "s upside down": (
        wrong_step(s_of=lambda ab, b, eta: eta * ((1 - ab) / (1 - b) * max(1 - ab / b, 0)) ** 0.5),
        {"posterior"},
    ),
    "new noise is not taken out of the direction": (
        wrong_step(direction_of=lambda ab, b, s: (1 - b) ** 0.5),
        {"posterior"},
    ),
    "direction of the level before": (
        wrong_step(direction_of=lambda ab, b, s: max(1 - ab - s**2, 0) ** 0.5),
        {"posterior", "flow", "up and down"},
    ),
    "alpha_bar without its root": (
        wrong_step(x0_of=lambda x, eps, ab: (x - (1 - ab) ** 0.5 * eps) / ab),
        {"flow", "up and down"},
    ),
    "x0 without its division": (
        wrong_step(x0_of=lambda x, eps, ab: x - (1 - ab) ** 0.5 * eps),
        {"flow", "up and down"},
    ),
}
CHECKS = {"posterior": check_posterior, "flow": check_flow, "up and down": check_up_and_down}


def test_the_right_step_written_again_passes_every_check():
    for check in CHECKS.values():
        check(wrong_step())


@pytest.mark.parametrize(
    ("wrong", "check"), [(wrong, check) for wrong in WRONG_STEPS for check in sorted(WRONG_STEPS[wrong][1])]
)
def test_the_checks_refuse_a_wrong_step(wrong, check):
    with pytest.raises(AssertionError):
        CHECKS[check](WRONG_STEPS[wrong][0])


# Bad input

X = torch.zeros(2, 4, 8, 8)
NAN = X.clone().fill_(math.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X.long()}, "x: got dtype torch.int64, wanted a floating-point tensor"),
        ({"x": None}, "x: got NoneType, wanted a floating-point tensor"),
        ({"eps": X[:1]}, r"eps: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\), the shape of x"),
        ({"t": 1000}, "t: got 1000, wanted a whole number from .* to 999"),
        ({"t_next": 1000}, "t: got 1000, wanted a whole number from .* to 999"),
        ({"eta": -0.1}, "eta: got -0.1, wanted a number from 0 to 1"),
        ({"eta": 1.5}, "eta: got 1.5, wanted a number from 0 to 1"),
        ({"eta": math.nan}, "eta: got nan, wanted a number from 0 to 1"),
        ({"eta": "1"}, "eta: got '1', wanted a number from 0 to 1"),
        ({"eta": 1.0}, "noise: got None with eta 1.0, wanted a standard normal draw like x"),
        ({"eta": 1.0, "noise": X[:1]}, r"noise: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\)"),
        ({"eta": 1.0, "noise": X, "t": 1, "t_next": 500}, "eta: got 1.0 on a step that is not down"),
        (
            {"eta": 1.0, "noise": X, "t": torch.tensor([1, 9]), "t_next": torch.tensor([0, 500])},
            "eta: got 1.0 on a step that is not down",
        ),
    ],
)
def test_a_step_refuses(change, message):
    arguments = {"x": X, "eps": X, "t": 981, "t_next": 961} | change
    with pytest.raises((TypeError, ValueError), match=message):
        ddim.step(SD, **arguments)


PATH_REFUSES = [
    ({"x": X[0]}, r"got shape \(4, 8, 8\), wanted \(n, c, h, w\) with no axis empty"),
    ({"x": X[:0]}, r"got shape \(0, 4, 8, 8\), wanted \(n, c, h, w\) with no axis empty"),
    ({"x": X.long()}, "got dtype torch.int64, wanted a floating-point tensor"),
    ({"x": NAN}, "got 512 of 512 values NaN or infinite, wanted all finite"),
    ({"timesteps": [1, 500]}, r"timesteps: got \[1, 500\], wanted at least one, falling"),
    ({"timesteps": [500, 500]}, r"timesteps: got \[500, 500\], wanted at least one, falling"),
    ({"timesteps": []}, r"timesteps: got \[\], wanted at least one, falling"),
    ({"timesteps": [1000, 1]}, "timesteps: got 1000, wanted a whole number from 0 to 999"),
    ({"timesteps": [500, -1]}, "timesteps: got -1, wanted a whole number from 0 to 999"),
    (
        {"timesteps": torch.tensor([500.0])},
        r"timesteps: got tensor\(\[500.\]\), wanted a row of",
    ),
    ({"timesteps": 20}, "timesteps: got 20, wanted a row of falling whole numbers"),
    ({"timesteps": torch.tensor(20)}, r"timesteps: got tensor\(20\), wanted a row of falling whole numbers"),
    ({"cond": torch.zeros(3, 8)}, r"cond: got shape \(3, 8\), wanted 2 rows, one for each picture in x"),
]


@pytest.mark.parametrize("walk", [ddim.path, ddim.invert])
@pytest.mark.parametrize(("change", "message"), PATH_REFUSES)
def test_a_path_refuses_when_it_is_asked_for_and_not_later(walk, change, message):
    arguments = {"x": X, "timesteps": [500, 1], "cond": None} | change
    with pytest.raises((TypeError, ValueError), match=message):
        walk(wobbly, SD, *arguments.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 2}, "eta: got 2.0, wanted a number from 0 to 1"),
        ({"eta": 1.0, "seed": -1}, "seed: got -1, wanted a whole number from 0"),
        ({"eta": 1.0, "seed": [1]}, "seed: got 1 seeds, wanted 2, one for each picture"),
    ],
)
def test_a_path_refuses_its_options(options, message):
    with pytest.raises(ValueError, match=message):
        ddim.path(wobbly, SD, X, [500, 1], **options)


@pytest.mark.parametrize("refinements", [-1, 0.5])
def test_inversion_refuses_its_options(refinements):
    with pytest.raises((TypeError, ValueError), match=r"refinements: got .*, wanted a whole number"):
        ddim.invert(wobbly, SD, X, [500, 1], refinements=refinements)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (
            lambda x, t, cond: x[:, :2],
            r"predict\(x, t, cond\): got shape \(2, 2, 8, 8\), wanted",
        ),
        (lambda x, t, cond: (x,), r"predict\(x, t, cond\): got tuple, wanted a floating-point tensor"),
        (lambda x, t, cond: x / 0, "sample, after its last step: got 512 of 512 values NaN or infinite"),
    ],
)
def test_a_predictor_that_gives_no_noise_is_named(predict, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ddim.sample(predict, SD, X, [500, 1])
