"""DDPM against conditioning of Gaussians, diffusers' scheduler, DDIM at eta = 1 and worlds with an exact answer.

Each check is a function of the step it judges, and is shown to refuse the wrong steps of WRONG_STEPS too.
"""

from itertools import pairwise

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from kit.diffusion import ddim, ddpm, seeds, training
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import Gaussian, Mixture, correlated, normal, signal_noise, three_classes

SD = Schedule.stable_diffusion()
DDPM = Schedule.linear(final_alpha_bar=1.0)


def mean_factor_and_variance(step):
    """What a step draws from at x = 1, read off by giving it no noise and then noise 1 everywhere."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    mean = float(step(one, noise=torch.zeros_like(one)))
    return mean, (float(step(one, noise=one)) - mean) ** 2


# Up: one step of noise


def chain(renoise, schedule, levels):
    """The factor of x0 and the variance of noise after a chain of steps up; DDPM, Eq. 2 a thousand times."""
    factor, variance = 1.0, 0.0
    for t, t_next in pairwise(levels):
        kept, added = mean_factor_and_variance(
            lambda x, noise, t=t, t_next=t_next: renoise(schedule, x, t, t_next, noise)
        )
        factor, variance = factor * kept, variance * kept**2 + added
    return factor, variance


def check_chain(renoise):
    for levels in (range(-1, 1000), [-1, 10, 500, 999]):
        factor, variance = chain(renoise, DDPM, levels)
        signal, noise = signal_noise(DDPM, 999)
        assert factor == pytest.approx(signal, rel=1e-9)
        assert variance == pytest.approx(noise**2, rel=1e-9)


def test_a_thousand_steps_of_noise_are_one():
    check_chain(ddpm.renoise)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, x, t, t_next, noise: (s.at(t_next) / s.at(t)) * x + (1 - s.at(t_next) / s.at(t)) ** 0.5 * noise,
        lambda s, x, t, t_next, noise: (s.at(t_next) / s.at(t)) ** 0.5 * x + (1 - s.at(t_next) / s.at(t)) * noise,
        lambda s, x, t, t_next, noise: s.add_noise(x, noise, t_next),
    ],
    ids=["the signal not under its root", "noise scaled by its variance", "the whole way's noise"],
)
def test_the_check_refuses_a_wrong_step_of_noise(wrong):
    with pytest.raises(AssertionError):
        check_chain(wrong)


# Down: the posterior, and the step


def by_regression(schedule, x, x0, t, t_next):
    """q(x_next | x, x0): both are normal given x0, and the mean of one is a regression on the other."""
    signal, noise = signal_noise(schedule, t)
    signal_next, noise_next = signal_noise(schedule, t_next)
    covariance = signal / signal_next * noise_next**2  # x is sqrt(kept) x_next and noise of its own
    slope = covariance / noise**2
    return signal_next * x0 + slope * (x - signal * x0), noise_next**2 - slope * covariance


STEPS = [(999, 998), (500, 499), (1, 0), (981, 961), (501, 1), (300, -1)]


def check_posterior(posterior):
    x, x0 = normal(2), normal(2, seed=2)
    for schedule in (SD, DDPM):
        for t, t_next in STEPS:
            mean, variance = posterior(schedule, x0, x, t, t_next)
            expected, expected_variance = by_regression(schedule, x, x0, t, t_next)
            torch.testing.assert_close(mean, expected, rtol=0, atol=1e-10)
            assert float(variance) == pytest.approx(expected_variance, abs=1e-12)


def test_the_posterior_is_a_gaussian_given_another():
    check_posterior(ddpm.posterior)


@pytest.mark.parametrize("change", [lambda m, v: (m, v**0.5), lambda m, v: (0.99 * m, v), lambda m, v: (m, 0 * v)])
def test_the_check_refuses_a_wrong_posterior(change):
    with pytest.raises(AssertionError):
        check_posterior(lambda *arguments: change(*ddpm.posterior(*arguments)))


def moments(step, world, schedule, variance, t, t_next):
    """Mean and variance at t_next of a step from the world's own x at t, whose prediction is linear in x."""
    signal, noise = signal_noise(schedule, t)
    mean, spread = signal * float(world.m), signal**2 * float(world.variances) + noise**2
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    def take(x, noise):
        return step(schedule, x, world.predict(x, t), t, t_next, variance=variance, noise=noise)[0]

    offset = float(take(zero, zero))
    factor = float(take(zero + 1, zero)) - offset
    added = (float(take(zero, zero + 1)) - offset) ** 2
    return factor * mean + offset, factor**2 * spread + added


def check_where_a_variance_is_exact(step):
    """Section 3.2: "small" for data of one point, "large" for standard normal data, at every step."""
    for variance, m, v in [("small", 0.7, 0.0), ("large", 0.0, 1.0)]:
        m_, v_ = (torch.full((1, 1, 1), value, dtype=torch.float64) for value in (m, v))
        world = Gaussian(SD, m_, v_)
        for t, t_next in STEPS[:-1]:
            signal, noise = signal_noise(SD, t_next)
            found = moments(step, world, SD, variance, t, t_next)
            assert found == pytest.approx((signal * m, signal**2 * v + noise**2), abs=1e-10)


def check_theirs(step):
    """diffusers' own steps, neighbours and apart; theirs adds noise of the large variance to the last, too."""
    x, eps = normal(2).float(), normal(2, seed=2).float()
    for variance, steps in [("small", 1000), ("large", 1000), ("small", 50), ("large", 50)]:
        scheduler = DDPMScheduler(variance_type=f"fixed_{variance}", clip_sample=False)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps.tolist()[: -1 if variance == "large" else None : steps // 10]:
            theirs = scheduler.step(eps, t, x, generator=torch.Generator().manual_seed(0), return_dict=False)
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            ours = step(DDPM, x, eps, t, t - 1000 // steps, variance=variance, noise=noise)
            torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-3)


def check_no_noise_at_the_end(step):
    """Algorithm 2, line 3: z = 0 in the last step, whatever the variance."""
    x, eps = normal(2), normal(2, seed=2)
    for variance in ddpm.VARIANCES:
        a, b = (step(DDPM, x, eps, 40, -1, variance=variance, noise=k * torch.ones_like(x))[0] for k in (0, 1))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        torch.testing.assert_close(a, DDPM.x0_from_eps(x, eps, 40))


CHECKS = {
    "where a variance is exact": check_where_a_variance_is_exact,
    "theirs": check_theirs,
    "no noise at the end": check_no_noise_at_the_end,
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_step_down(check):
    CHECKS[check](ddpm.step)


def wrong_step(change):
    """DDPM's step with another variance: change(small, beta, t_next)."""

    def step(schedule, x, eps, t, t_next, *, variance, noise):
        x0 = schedule.x0_from_eps(x, eps, t)
        mean, small = ddpm.posterior(schedule, x0, x, t, t_next)
        beta = 1 - schedule.at(t) / schedule.at(t_next)
        return mean + change(variance, float(small), beta, t_next) ** 0.5 * noise, x0

    return step


def right(variance, small, beta, t_next):
    return small if variance == "small" else beta * (t_next >= 0)


WRONG_STEPS = {
    "small for large": (lambda v, small, beta, t: small, {"where a variance is exact", "theirs"}),
    "large for small": (lambda v, small, beta, t: beta * (t >= 0), {"where a variance is exact", "theirs"}),
    "the two exchanged": (
        lambda v, small, beta, t: right("small" if v == "large" else "large", small, beta, t),
        {"where a variance is exact", "theirs"},
    ),
    "noise scaled by its variance": (lambda *a: right(*a) ** 2, {"where a variance is exact", "theirs"}),
    "no noise at all": (lambda *a: 0.0, {"where a variance is exact", "theirs"}),
    "noise in the last step": (lambda v, small, beta, t: small if v == "small" else beta, {"no noise at the end"}),
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_right_step_written_again_passes_every_check(check):
    CHECKS[check](wrong_step(right))


@pytest.mark.parametrize(("wrong", "check"), [(w, c) for w in WRONG_STEPS for c in sorted(WRONG_STEPS[w][1])])
def test_the_checks_refuse_a_wrong_step(wrong, check):
    with pytest.raises(AssertionError):
        CHECKS[check](wrong_step(WRONG_STEPS[wrong][0]))


# Paths


def test_with_the_small_variance_the_path_is_ddims_at_eta_1():
    world, x, timesteps = three_classes(SD), normal(2), SD.timesteps(20)
    ours = list(ddpm.path(world.predict, SD, x, timesteps, seed=3))
    theirs = list(ddim.path(world.predict, SD, x, timesteps, eta=1.0, seed=3))
    for a, b in zip(ours, theirs, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-12)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close((a.x0, a.eps), (b.x0, b.eps), rtol=0, atol=1e-12)
    found = ddpm.sample(world.predict, SD, x, timesteps, seed=3)
    assert torch.equal(found, ours[-1].x)


@pytest.mark.parametrize("variance", ddpm.VARIANCES)
def test_a_path_is_its_steps_with_one_draw_each(variance):
    world, x = three_classes(SD), normal(2)
    noises = seeds.stream(x.shape, 3)
    next(noises)  # the start's
    for before, after in pairwise(ddpm.path(world.predict, SD, x, SD.timesteps(5), variance=variance, seed=3)):
        eps = world.predict(before.x, before.t)
        expected = ddpm.step(SD, before.x, eps, before.t, after.t, variance=variance, noise=next(noises))
        torch.testing.assert_close((after.x, after.x0), expected)


def kolmogorov(numbers):
    """The Kolmogorov-Smirnov distance from N(0, 1), times the root of n: above 1.63 once in a hundred."""
    x = numbers.flatten().sort().values
    below = torch.arange(len(x)) / len(x)
    normal_below = torch.special.ndtr(x)
    distance = torch.maximum(normal_below - below, below + 1 / len(x) - normal_below).max()
    return float(distance * len(x) ** 0.5)


@pytest.mark.parametrize("variance", ddpm.VARIANCES)
def test_a_thousand_steps_sample_a_gaussian_world(variance):
    """256 pictures of N(m, S), whitened: 8,192 numbers that cannot be told from N(0, 1)."""
    world = correlated(DDPM)
    x = seeds.randn((256, 2, 4, 4), 0, dtype=torch.float64)
    timesteps = DDPM.timesteps(1000, offset=0)
    found = ddpm.sample(world.predict, DDPM, x, timesteps, variance=variance, seed=0)
    off = (found - world.m).flatten(1) @ world.axes
    assert kolmogorov(off / world.variances.sqrt()) < 1.63
    assert kolmogorov(1.1 * off / world.variances.sqrt()) > 1.63, "a spread wrong by a tenth is seen"


def test_at_few_steps_new_noise_costs_more_than_none():
    """The spread that ten steps leave, in a world of a known one: DDIM's table 1, in closed form."""
    world = correlated(SD)
    x, timesteps = seeds.randn((512, 2, 4, 4), 0, dtype=torch.float64), SD.timesteps(10)

    def shortfall(found):
        variances = ((found - world.m).flatten(1) @ world.axes).var(0)
        return float((variances.sqrt() - world.variances.sqrt()).pow(2).mean().sqrt())

    ode = shortfall(ddim.sample(world.predict, SD, x, timesteps))
    ancestral = shortfall(ddpm.sample(world.predict, SD, x, timesteps, seed=0))
    assert ancestral > 1.5 * ode, (ancestral, ode)


def test_a_picture_does_not_depend_on_the_size_of_its_batch():
    world, timesteps = three_classes(SD), SD.timesteps(10)
    many = ddpm.sample(world.predict, SD, normal(4), timesteps, variance="large", seed=3)
    for i in range(4):
        alone = ddpm.sample(world.predict, SD, normal(4)[i : i + 1], timesteps, variance="large", seed=3 + i)
        torch.testing.assert_close(many[i : i + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variance", ddpm.VARIANCES)
def test_pictures_may_be_at_different_levels(variance):
    x, eps, noise = normal(3), normal(3, seed=2), normal(3, seed=3)
    t, t_next = torch.tensor([999, 500, 20]), torch.tensor([900, 100, -1])
    together = ddpm.step(SD, x, eps, t, t_next, variance=variance, noise=noise)
    up = ddpm.renoise(SD, x, t_next, t, noise)
    for i in range(3):
        one, levels = slice(i, i + 1), (int(t[i]), int(t_next[i]))
        alone = ddpm.step(SD, x[one], eps[one], *levels, variance=variance, noise=noise[one])
        torch.testing.assert_close((together[0][one], together[1][one]), alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(up[one], ddpm.renoise(SD, x[one], *levels[::-1], noise[one]))


@pytest.mark.parametrize("variance", ddpm.VARIANCES)
def test_half_precision_neither_overflows_nor_drifts(variance):
    """Cosine's noisiest x0 is past what float16 can hold; the step through it is not."""
    cosine = Schedule.cosine()
    x, eps, noise = normal(2).half(), normal(2, seed=2).half(), normal(2, seed=3).half()
    exact, _ = ddpm.step(cosine, x.double(), eps.double(), 999, 990, variance=variance, noise=noise.double())
    half, _ = ddpm.step(cosine, x, eps, 999, 990, variance=variance, noise=noise)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), exact, rtol=2e-3, atol=2e-3)


def test_a_step_reads_no_value_of_x():
    """A tensor on the meta device has no values: whatever would make a GPU wait raises there."""
    x = torch.empty(2, 4, 8, 8, device="meta", dtype=torch.float16)
    for variance in ddpm.VARIANCES:
        assert ddpm.step(SD, x, x, 981, 961, variance=variance, noise=x)[0].device.type == "meta"
    assert ddpm.renoise(SD, x, 961, 981, x).device.type == "meta"


# The loss (Eq. 14), in a world where its least value is known

TWO_POINTS = Mixture(
    DDPM,
    torch.tensor([-0.8, 0.8], dtype=torch.float64).view(2, 1, 1, 1),
    torch.tensor([0.02, 0.1], dtype=torch.float64),
    torch.tensor([0.4, 0.6], dtype=torch.float64),
)


def least_loss(world, t):
    """E|eps|^2 - E|eps_hat|^2, the second by quadrature: what is left of eps once its best guess is known."""
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64).view(-1, 1, 1, 1)
    density = world.log_density(grid, t, world.prior).exp()
    return 1 - float(torch.trapezoid(density * world.predict(grid, t).flatten() ** 2, grid.flatten()))


def draws(n, t):
    """x at t, and the noise in it."""
    classes = torch.multinomial(TWO_POINTS.prior, n, replacement=True, generator=torch.Generator().manual_seed(5))
    eps = normal(n, (1, 1, 1), seed=6)
    return DDPM.add_noise(TWO_POINTS.draw(classes), eps, t), eps


@pytest.mark.parametrize("t", [20, 200, 500, 900])
def test_the_best_predictor_has_the_least_loss(t):
    x, eps = draws(40_000, t)
    losses = (TWO_POINTS.predict(x, t) - eps).pow(2).flatten()
    assert abs(losses.mean() - least_loss(TWO_POINTS, t)) < 4 * losses.std() / len(losses) ** 0.5


class Loss(nn.Module):
    """Eq. 14 at one timestep, for a small network."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, x, eps):
        return (self.net(x.view(-1, 1)) - eps.view(-1, 1)).pow(2).mean()


def test_a_trained_network_comes_near_the_least_loss_from_above():
    """On the same draws; its loss is the best predictor's plus, on average, its square distance from that."""
    t = 200
    x, eps = (v.float() for v in draws(40_000, t))

    def batch(generator):
        rows = torch.randint(len(x), (512,), generator=generator)
        return x[rows], eps[rows]

    torch.manual_seed(0)
    objective = Loss()
    training.train(objective, batch, training.Plan(steps=300, lr=3e-3, average=0.9), report=lambda *_: None)
    with torch.no_grad():
        found = float(objective(x, eps))
    least = float((TWO_POINTS.predict(x.double(), t) - eps).pow(2).mean())
    assert least < found < 1.05 * least


# Bad input

X = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": "learned"}, "variance: got 'learned', wanted one of 'small', 'large'"),
        ({"variance": None}, "variance: got None, wanted one of"),
        ({"noise": None}, "noise: got None with variance small, wanted a standard normal draw like x"),
        ({"noise": X[:1]}, r"noise: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\), the shape of x"),
        ({"eps": X[:, :3]}, r"eps: got shape \(2, 3, 8, 8\), wanted \(2, 4, 8, 8\), the shape of x"),
        ({"x": X.long()}, "x: got dtype torch.int64, wanted a floating-point tensor"),
        ({"t_next": 600}, "t_next: got 600 after t = 500, wanted a level of less noise"),
        ({"t": 1000}, "t: got 1000, wanted a whole number from .* to 999"),
        ({"t_next": 0.5}, "t: got 0.5, wanted a whole number"),
        ({"t": torch.tensor([500, 300])}, r"t_next: got 400 after t = tensor\(\[500, 300\]\), wanted a level of less"),
    ],
)
def test_a_step_refuses(change, message):
    arguments = {"x": X, "eps": X, "t": 500, "t_next": 400, "variance": "small", "noise": X} | change
    with pytest.raises((TypeError, ValueError), match=message):
        ddpm.step(SD, **arguments)


def test_the_posterior_needs_noise_to_look_back_from():
    with pytest.raises(ValueError, match="t_next: got -1 after t = -1, wanted a level of less noise"):
        ddpm.posterior(DDPM, X, X, -1, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t_next": 400}, "t_next: got 400 after t = 500, wanted a level of more noise"),
        ({"noise": X[:1]}, r"noise: got shape \(1, 4, 8, 8\)"),
        ({"x": None}, "x: got NoneType, wanted a floating-point tensor"),
    ],
)
def test_a_step_of_noise_refuses(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ddpm.renoise(SD, **{"x": X, "t": 500, "t_next": 600, "noise": X} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timesteps": [1, 500]}, r"timesteps: got \[1, 500\], wanted at least one, falling"),
        ({"timesteps": []}, r"timesteps: got \[\], wanted at least one, falling"),
        ({"timesteps": [1000]}, "timesteps: got 1000, wanted a whole number from 0 to 999"),
        ({"variance": "medium"}, "variance: got 'medium', wanted one of"),
        ({"seed": -1}, "seed: got -1, wanted a whole number"),
        ({"x": X / 0}, "x: got 512 of 512 values NaN or infinite"),
        ({"cond": torch.zeros(3, 8)}, r"cond: got shape \(3, 8\), wanted 2 rows"),
    ],
)
@pytest.mark.parametrize("walk", [ddpm.path, ddpm.sample])
def test_a_path_refuses(walk, change, message):
    arguments = {"x": X, "timesteps": [500, 1], "cond": None, "variance": "small", "seed": 0} | change
    with pytest.raises((TypeError, ValueError), match=message):
        walk(lambda x, t, cond: x, SD, **arguments)


def test_a_predictor_that_gives_no_noise_is_named():
    with pytest.raises(ValueError, match="sample, after its last step: got 512 of 512 values NaN or infinite"):
        ddpm.sample(lambda x, t, cond: x / 0, SD, X, [500, 1])
    with pytest.raises(ValueError, match=r"predict\(x, t, cond\): got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\)"):
        ddpm.sample(lambda x, t, cond: x[:1], SD, X, [500, 1])


def test_what_a_predictor_raises_is_raised():
    def broken(x, t, cond):
        raise RuntimeError("no weights today")

    for walk in (ddpm.sample, ddim.sample):
        with pytest.raises(RuntimeError, match="no weights today"):
            walk(broken, SD, X, [500, 1])
