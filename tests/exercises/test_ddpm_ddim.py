"""Each exercise passes a right answer written independently of it, and names each mistake of a list."""

import math
from itertools import pairwise

import pytest
import torch

from kit.diffusion import ddim
from kit.diffusion.schedule import Schedule
from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def best_guess(x, points, ab):
    guesses = []
    for one in x:
        weights = [math.exp(-((one - math.sqrt(ab) * p) ** 2).sum().item() / (2 * (1 - ab))) for p in points]
        guesses.append(sum(w * p for w, p in zip(weights, points, strict=True)) / sum(weights))
    return torch.stack(guesses)


def posterior(x0, x, ab, ab_next):
    """Two independent witnesses of x_next: sqrt(ab_next) x0 with variance 1 - ab_next, and x / a with beta / a²."""
    a, beta = math.sqrt(ab / ab_next), 1 - ab / ab_next
    from_x0, from_x = 1 / (1 - ab_next), a**2 / beta
    mean = (from_x0 * math.sqrt(ab_next) * x0 + from_x * x / a) / (from_x0 + from_x)
    return mean, 1 / (from_x0 + from_x)


def simple_loss(predict, x0, eps, t, alpha_bar):
    levels = [alpha_bar[k].item() for k in t]
    x = torch.stack([math.sqrt(a) * p + math.sqrt(1 - a) * e for a, p, e in zip(levels, x0, eps, strict=True)])
    off = predict(x, t) - eps
    return (off * off).sum() / off.numel()


def eta_step(x, eps, z, ab, ab_next, eta):
    """The posterior's variance is sigma² at eta = 1; then mean, old noise and new noise, each with its factor."""
    variance = eta**2 * posterior(x, x, ab, ab_next)[1]
    x0 = (x - math.sqrt(1 - ab) * eps) / math.sqrt(ab)
    return math.sqrt(ab_next) * x0 + math.sqrt(1 - ab_next - variance) * eps + math.sqrt(variance) * z


def step_up(predict, x, t, t_next, alpha_bar, refinements):
    """In x / signal, where a step is a straight line of slope eps over sigma, the noise per unit of signal."""

    def sigma(k):
        return math.sqrt(1 / alpha_bar[k].item() - 1)

    y = x
    for _ in range(refinements + 1):
        y = x / math.sqrt(alpha_bar[t].item()) + (sigma(t_next) - sigma(t)) * predict(y, t_next)
        y = y * math.sqrt(alpha_bar[t_next].item())
    return y


def subtract(x, eps, ab):
    return x / math.sqrt(ab) - math.sqrt(1 / ab - 1) * eps


RIGHT = [best_guess, posterior, simple_loss, eta_step, step_up, subtract]

# Mistakes as a reader makes them, and what the message must name.


def weigh(x, points, ab, dim=1, scale=0.5, root=False):
    distance = torch.cdist(x, ab**0.5 * points)
    return (-scale * (distance if root else distance**2) / (1 - ab)).softmax(dim) @ points


def eq_7(x0, x, ab, ab_next):
    return posterior(x0, x, ab, ab_next)


def noised(x0, eps, ab):
    ab = ab[:, None, None, None]
    return ab**0.5 * x0 + (1 - ab) ** 0.5 * eps


def variances(x0, eps, ab):
    ab = ab[:, None, None, None]
    return ab * x0 + (1 - ab) * eps


def climb(predict, x, t, t_next, alpha_bar, refinements):
    """step_up that goes on from where it has come to."""
    for _ in range(1 + refinements):
        x = step_up(predict, x, t, t_next, alpha_bar, 0)
    return x


def asks_below(predict, x, t, t_next, alpha_bar, refinements):
    return step_up(lambda y, _: predict(y, t), x, t, t_next, alpha_bar, refinements)


def sigma(ab, ab_next, eta):
    return eta * math.sqrt((1 - ab_next) / (1 - ab) * (1 - ab / ab_next))


def eq_12(x, eps, z, ab, ab_next, s, kept):
    return ab_next**0.5 * subtract(x, eps, ab) + kept * eps + s * z


WRONG = [
    ("best_guess", lambda x, points, ab: weigh(x, points, ab, dim=0), "over the points, for each x"),
    ("best_guess", lambda x, points, ab: points[torch.cdist(x, ab**0.5 * points).argmin(1)], "nearest point"),
    ("best_guess", lambda x, points, ab: weigh(x, points, ab, scale=1), "*twice* the variance"),
    ("best_guess", lambda x, points, ab: weigh(x, points, ab, root=True), "is squared"),
    ("best_guess", lambda x, points, ab: weigh(x / 1, points * ab**0.5, ab) / ab**0.5, "sqrt(ab), not ab"),
    ("best_guess", lambda x, points, ab: weigh(x, points * ab**-0.5, ab) * ab**0.5, "shrunken points"),
    ("best_guess", lambda x, points, ab: best_guess(x, points, ab) * ab**0.5, "not shrunken"),
    ("best_guess", lambda x, points, ab: points.mean(0).repeat(len(x), 1), "weighs the same"),
    ("best_guess", lambda x, points, ab: x / ab**0.5, "got     "),
    ("posterior", lambda x0, x, ab, ab_next: (eq_7(x0, x, ab, ab_next)[0], 1 - ab / ab_next), "beta-tilde"),
    (
        "posterior",
        lambda x0, x, ab, ab_next: (eq_7(x0, x, ab, ab_next)[0], eq_7(x0, x, ab, ab_next)[1] ** 0.5),
        "standard deviation",
    ),
    (
        "posterior",
        lambda x0, x, ab, ab_next: (
            ab_next**0.5 * x0 + ab**0.5 * (1 - ab_next) / (1 - ab) * x,
            1 - ab_next,
        ),
        "ab is the product of all steps",
    ),
    (
        "posterior",
        lambda x0, x, ab, ab_next: (
            (ab_next**0.5 * (1 - ab / ab_next) * x + (ab / ab_next) ** 0.5 * (1 - ab_next) * x0) / (1 - ab),
            eq_7(x0, x, ab, ab_next)[1],
        ),
        "exchanged",
    ),
    (
        "posterior",
        lambda x0, x, ab, ab_next: (
            eq_7(x0, x, ab, ab_next)[0] * (1 - ab) / (1 - ab_next),
            eq_7(x0, x, ab, ab_next)[1],
        ),
        "divided by 1 - ab",
    ),
    (
        "posterior",
        lambda x0, x, ab, ab_next: (
            (ab_next * (1 - ab / ab_next) * x0 + ab / ab_next * (1 - ab_next) * x) / (1 - ab),
            eq_7(x0, x, ab, ab_next)[1],
        ),
        "square roots are missing",
    ),
    ("posterior", lambda x0, x, ab, ab_next: eq_7(x0, x, ab, ab_next)[0], "a pair is wanted"),
    ("posterior", lambda x0, x, ab, ab_next: (x0, 0.0), "got     mean: "),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: (x0 - predict(noised(x0, eps, alpha_bar[t]), t)).pow(2).mean(),
        "against x0",
    ),
    ("simple_loss", lambda predict, x0, eps, t, alpha_bar: (predict(x0, t) - eps).pow(2).mean(), "shown the clean x0"),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: simple_loss(predict, x0, eps, t[0].repeat(len(t)), alpha_bar),
        "picture i is at t[i]",
    ),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: (
            (predict(alpha_bar[t] ** 0.5 * x0 + (1 - alpha_bar[t]) ** 0.5 * eps, t) - eps).pow(2).mean()
        ),
        "lines up with the last axis",
    ),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: (predict(variances(x0, eps, alpha_bar[t]), t) - eps).pow(2).mean(),
        "alpha_bar is a variance",
    ),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: (predict(noised(x0, eps, alpha_bar[t]), t) - eps).pow(2).sum(),
        "the sum of the squares",
    ),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: (predict(noised(x0, eps, alpha_bar[t]), t) - eps).abs().mean(),
        "not squared",
    ),
    (
        "simple_loss",
        lambda predict, x0, eps, t, alpha_bar: simple_loss(predict, x0, eps, t, alpha_bar) + 0 * predict(x0, t).sum(),
        "calls of predict: 2",
    ),
    (
        "eta_step",
        lambda x, eps, z, ab, ab_next, eta: eq_12(
            x, eps, z, ab, ab_next, sigma(ab, ab_next, eta), (1 - ab_next) ** 0.5
        ),
        "as much of the old was not taken out",
    ),
    (
        "eta_step",
        lambda x, eps, z, ab, ab_next, eta: eq_12(
            x,
            eps,
            z,
            ab,
            ab_next,
            sigma(ab, ab_next, eta),
            max(1 - ab_next - sigma(ab, ab_next, eta), 0) ** 0.5,
        ),
        "must be squared under the root",
    ),
    (
        "eta_step",
        lambda x, eps, z, ab, ab_next, eta: eta_step(x, eps, z, ab, ab_next, eta**0.5),
        "eta multiplies sigma",
    ),
    ("eta_step", lambda x, eps, z, ab, ab_next, eta: eta_step(x, eps, z, ab, ab_next, 0), "noise is missing"),
    (
        "eta_step",
        lambda x, eps, z, ab, ab_next, eta: eta_step(x, eps, sigma(ab, ab_next, eta) * z, ab, ab_next, eta),
        "by its standard deviation",
    ),
    (
        "eta_step",
        lambda x, eps, z, ab, ab_next, eta: eq_12(
            x,
            eps,
            z,
            ab,
            ab_next,
            eta * (1 - ab / ab_next) ** 0.5,
            max(1 - ab_next - eta**2 * (1 - ab / ab_next), 0) ** 0.5,
        ),
        "first root of Eq. 16",
    ),
    ("eta_step", lambda x, eps, z, ab, ab_next, eta: z, "got     "),
    ("step_up", asks_below, "asked for at t;"),
    ("step_up", climb, "climbs again and again"),
    (
        "step_up",
        lambda predict, x, t, t_next, alpha_bar, refinements: step_up(
            predict, x, t, t_next, alpha_bar, max(refinements - 1, 0)
        ),
        "got     ",
    ),
    (
        "step_up",
        lambda predict, x, t, t_next, alpha_bar, refinements: step_up(
            predict, x, t, t_next, alpha_bar, refinements - 1
        ),
        "one call too few",
    ),
    (
        "step_up",
        lambda predict, x, t, t_next, alpha_bar, refinements: step_up(
            predict, x, t, t_next, alpha_bar, refinements + 1
        ),
        "one call too many",
    ),
    (
        "step_up",
        lambda predict, x, t, t_next, alpha_bar, refinements: step_up(predict, x, t, t_next, alpha_bar, 0),
        "refinements are missing",
    ),
    (
        "step_up",
        lambda predict, x, t, t_next, alpha_bar, refinements: step_up(
            lambda y, _: predict(y, t_next), x, t_next, t, alpha_bar, refinements
        ),
        "this walks down",
    ),
    ("subtract", lambda x, eps, ab: x - eps, "holds sqrt(1 - ab) of the noise"),
    ("subtract", lambda x, eps, ab: x - math.sqrt(1 - ab) * eps, "divide by sqrt(ab)"),
    ("subtract", lambda x, eps, ab: (x - eps) / math.sqrt(ab), "only sqrt(1 - ab) of it"),
    ("subtract", lambda x, eps, ab: x / ab - (1 - ab) / ab * eps, "are variances"),
    ("subtract", lambda x, eps, ab: subtract(x, -eps, ab), "put on once more"),
    ("subtract", lambda x, eps, ab: (x - (1 - ab) ** 0.5 * eps).clamp(0, 1), "got     "),
]


# The exercises ask for what the kit's fast functions do, and for what is true.


def test_the_posterior_is_bayes_on_a_grid():
    """The density of x at ab_next, known up to a constant on a grid, summed."""
    x0, x, ab, ab_next = 0.7, -0.4, 0.3, 0.8
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    log_density = -((x - math.sqrt(ab / ab_next) * grid) ** 2) / (2 * (1 - ab / ab_next))
    weights = (log_density - (grid - math.sqrt(ab_next) * x0) ** 2 / (2 * (1 - ab_next))).softmax(0)
    mean, variance = EXERCISES["posterior"].answer(
        *(torch.tensor([v], dtype=torch.float64) for v in (x0, x)), ab, ab_next
    )
    assert mean.item() == pytest.approx((weights * grid).sum().item(), abs=1e-9)
    assert float(variance) == pytest.approx((weights * (grid - mean.item()) ** 2).sum().item(), abs=1e-9)


def test_steps_up_of_the_exercise_are_the_kits_inversion():
    schedule = Schedule.stable_diffusion()
    x0 = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def predict(x, t, cond=None):
        return torch.tanh(x) + t / 1000

    levels = [1, 301, 601]
    up = [state.x for state in ddim.invert(predict, schedule, x0, levels[::-1], refinements=2)]
    for (t, t_next), wanted in zip(pairwise(levels), up[2:], strict=True):
        x = EXERCISES["step_up"].answer(predict, up[levels.index(t) + 1], t, t_next, schedule.alpha_bar, 2)
        torch.testing.assert_close(x, wanted)
