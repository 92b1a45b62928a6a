"""The exercises of walkthroughs/ddpm-ddim-2006.11239-2010.02502.ipynb, each with a right answer and its mistakes.

x, x0, eps   tensors (n, c, h, w)        the noisy pictures, the clean ones, the noise
ab           alpha_bar, 0 < ab < 1       the share of signal in the variance of x
ab_next      alpha_bar                   that of the level a step leads to
z            a tensor like x             a new standard normal draw
"""

from __future__ import annotations

import random

import torch

from kit.diffusion import ddim, ddpm
from kit.diffusion.schedule import Schedule
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal, per_picture, shapes


def _pair_of_levels(seed: int) -> tuple[float, float]:
    """ab < ab_next, far enough apart for every mistake to show."""
    luck = random.Random(seed)
    return round(luck.uniform(0.1, 0.5), 3), round(luck.uniform(0.6, 0.95), 3)


def _two_levels(ab: float, ab_next: float) -> Schedule:
    """Timestep 0 holds ab; below it lies ab_next."""
    return Schedule(torch.tensor([ab], dtype=torch.float64), ab_next)


def _x0(x, eps, ab):
    return (x - (1 - ab) ** 0.5 * eps) / ab**0.5


# best_guess


def _expected(x, points, ab, *, scale=0.5, signal=0.5, root=False, over=1):
    """The sum of the points, each times its probability, with room for a slip in every place."""
    squares = (x[:, None] - ab**signal * points).square().sum(-1)
    squares = squares.sqrt() if root else squares
    return (-scale * squares / (1 - ab)).softmax(over) @ points


def _guess_inputs() -> list[dict]:
    def given(i):
        n, m = (1, 2) if i == 0 else (2 + i % 3, 2 + i % 4)
        ab = round(random.Random(i).uniform(0.1, 0.8), 3)
        return {"x": normal((n, 2), 2 * i, dtype(i)), "points": normal((m, 2), 2 * i + 1, dtype(i)), "ab": ab}

    return [given(i) for i in range(8)]


def _nearest(x, points, ab):
    return points[(x[:, None] - ab**0.5 * points).square().sum(-1).argmin(1)]


best_guess = Exercise(
    name="best_guess",
    asks=(
        "best_guess(x, points, ab), which returns E[x0 | x] (n, 2) for noisy x (n, 2), where x0 is one of the points "
        "(m, 2), each as likely as the others."
    ),
    answer=_expected,
    inputs=_guess_inputs,
    mistakes={
        "the probabilities must add up to 1 over the points, for each x by itself; here they do over the x.": (
            lambda x, points, ab: _expected(x, points, ab, over=0)
        ),
        "this is the one nearest point, the likeliest; the expected value weighs them all.": _nearest,
        "the exponent of a Gaussian is minus the square over *twice* the variance.": (
            lambda x, points, ab: _expected(x, points, ab, scale=1)
        ),
        "x holds sqrt(ab) of a point: compare it with the shrunken points.": (
            lambda x, points, ab: _expected(x, points, ab, signal=0)
        ),
        "the factor of a point in x is sqrt(ab), not ab.": lambda x, points, ab: _expected(x, points, ab, signal=1),
        "the distance is squared in a Gaussian's exponent.": lambda x, points, ab: _expected(x, points, ab, root=True),
        "this is the expected value of the noisy x's middle: the sum is over the points themselves, not shrunken.": (
            lambda x, points, ab: ab**0.5 * _expected(x, points, ab)
        ),
        "every point weighs the same here; Bayes weighs each by how well it explains x.": (
            lambda x, points, ab: points.mean(0).expand_as(x)
        ),
    },
)


# posterior


def _posterior(x0, x, ab, ab_next):
    return ddpm.posterior(_two_levels(ab, ab_next), x0, x, 0, -1)


def _levels_inputs(names) -> list[dict]:
    def given(i, shape):
        ab, ab_next = _pair_of_levels(i)
        tensors = {name: normal(shape, len(names) * i + j, dtype(i)) for j, name in enumerate(names)}
        return tensors | {"ab": ab, "ab_next": ab_next}

    return [given(i, shape) for i, shape in enumerate(shapes(9))]


def _observe_posterior(function, arguments: dict) -> dict:
    result = function(*arguments.values())
    if result is None:
        return {"result": None}
    mean, variance = result if isinstance(result, tuple) and len(result) == 2 else (result, ...)
    number = isinstance(variance, (int, float, torch.Tensor))
    return {"mean": mean, "variance": torch.as_tensor(variance, dtype=torch.float64) if number else variance}


def _eq_7(x0, x, ab, ab_next, *, exchanged=False, over=None, roots=True):
    """DDPM, Eq. 7, for a step from ab_next up to ab, with room for a slip."""
    beta = 1 - ab / ab_next
    over = 1 - ab if over is None else over
    a, b = (ab_next**0.5, (1 - beta) ** 0.5) if roots else (ab_next, 1 - beta)
    a, b = a * beta / over, b * (1 - ab_next) / over
    return (b * x0 + a * x if exchanged else a * x0 + b * x), (1 - ab_next) / (1 - ab) * beta


def _variance(change):
    """posterior, with another variance."""

    def posterior(x0, x, ab, ab_next):
        mean, variance = _eq_7(x0, x, ab, ab_next)
        return mean, change(variance, ab, ab_next)

    return posterior


posterior = Exercise(
    name="posterior",
    asks=(
        "posterior(x0, x, ab, ab_next), which returns (mean, variance) of x at the level ab_next, given x0 and x at ab "
        "(Eq. 7); the mean is like x, the variance a number."
    ),
    answer=_posterior,
    inputs=lambda: _levels_inputs(("x0", "x")),
    observe=_observe_posterior,
    mistakes={
        "the variance is beta, what the step adds; x0 is known too, which leaves less: beta-tilde.": _variance(
            lambda variance, ab, ab_next: 1 - ab / ab_next
        ),
        "this is the standard deviation; wanted its square.": _variance(lambda variance, ab, ab_next: variance**0.5),
        "beta of this step is 1 - ab / ab_next: ab is the product of all steps, not this step alone.": (
            lambda x0, x, ab, ab_next: (
                (ab_next**0.5 * (1 - ab) * x0 + ab**0.5 * (1 - ab_next) * x) / (1 - ab),
                (1 - ab_next) / (1 - ab) * (1 - ab),
            )
        ),
        "the weights of x0 and x are exchanged.": lambda x0, x, ab, ab_next: _eq_7(x0, x, ab, ab_next, exchanged=True),
        "both weights are divided by 1 - ab, the variance at the noisier level.": (
            lambda x0, x, ab, ab_next: _eq_7(x0, x, ab, ab_next, over=1 - ab_next)
        ),
        "the square roots are missing: sqrt(ab_next) and sqrt(1 - beta).": (
            lambda x0, x, ab, ab_next: _eq_7(x0, x, ab, ab_next, roots=False)
        ),
        "a pair is wanted: the mean and the variance.": lambda x0, x, ab, ab_next: _eq_7(x0, x, ab, ab_next)[0],
    },
)


# simple_loss


class _Network:
    """A made-up predictor, different at every timestep, that counts its calls."""

    __name__ = "a made-up predict(x, t)"

    def __init__(self):
        self.calls = 0

    def __call__(self, x, t):
        self.calls += 1
        t = torch.as_tensor(t)
        if t.ndim and t.shape != (len(x),):
            raise ValueError(f"predict: got t of shape {tuple(t.shape)} for {len(x)} pictures, wanted ({len(x)},)")
        level = 1 + t.to(x.dtype) / 10
        return torch.tanh(x) * (level.view(-1, *[1] * (x.ndim - 1)) if level.ndim else level)


def _noised(x0, eps, ab):
    return per_picture(ab.sqrt(), x0) * x0 + per_picture((1 - ab).sqrt(), x0) * eps


def _loss(predict, x0, eps, t, alpha_bar):
    return (eps - predict(_noised(x0, eps, alpha_bar[t]), t)).square().mean()


def _loss_inputs() -> list[dict]:
    def given(i, shape):
        alpha_bar = torch.linspace(0.95, 0.05, 12, dtype=torch.float64).to(dtype(i))
        t = torch.randint(12, (shape[0],), generator=torch.Generator().manual_seed(i))
        x0, eps = normal(shape, 2 * i, dtype(i)), normal(shape, 2 * i + 1, dtype(i))
        return {"predict": _Network(), "x0": x0, "eps": eps, "t": t, "alpha_bar": alpha_bar}

    return [given(i, shape) for i, shape in enumerate(shapes(9))]


def _observe_calls(function, arguments: dict) -> dict:
    network = _Network()
    result = function(network, *list(arguments.values())[1:])
    return {"result": result, "calls of predict": network.calls}


simple_loss = Exercise(
    name="simple_loss",
    asks=(
        "simple_loss(predict, x0, eps, t, alpha_bar), which returns Eq. 14's loss as the mean over all numbers; "
        "picture i is at timestep t[i], and predict(x, t) is called once."
    ),
    answer=_loss,
    inputs=_loss_inputs,
    observe=_observe_calls,
    mistakes={
        "the prediction is held against x0; eps is what was asked for.": (
            lambda predict, x0, eps, t, alpha_bar: (x0 - predict(_noised(x0, eps, alpha_bar[t]), t)).square().mean()
        ),
        "predict was shown the clean x0; it must see x_t.": (
            lambda predict, x0, eps, t, alpha_bar: (eps - predict(x0, t)).square().mean()
        ),
        "one level for all: picture i is at t[i], so ab = alpha_bar[t] needs the shape (n, 1, 1, 1).": (
            lambda predict, x0, eps, t, alpha_bar: _loss(predict, x0, eps, t[:1].expand_as(t), alpha_bar)
        ),
        "alpha_bar[t] of shape (n,) lines up with the last axis, the columns: make it (n, 1, 1, 1).": (
            lambda predict, x0, eps, t, alpha_bar: (
                (eps - predict(alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps, t)).square().mean()
            )
        ),
        "alpha_bar is a variance: its square root multiplies x0.": (
            lambda predict, x0, eps, t, alpha_bar: (
                (eps - predict(per_picture(alpha_bar[t], x0) * x0 + per_picture(1 - alpha_bar[t], x0) * eps, t))
                .square()
                .mean()
            )
        ),
        "this is the sum of the squares; wanted their mean.": (
            lambda predict, x0, eps, t, alpha_bar: _loss(predict, x0, eps, t, alpha_bar) * x0.numel()
        ),
        "the distance is not squared.": (
            lambda predict, x0, eps, t, alpha_bar: (eps - predict(_noised(x0, eps, alpha_bar[t]), t)).abs().mean()
        ),
    },
)


# eta_step


def _eta_step(x, eps, z, ab, ab_next, eta):
    return ddim.step(_two_levels(ab, ab_next), x, eps, 0, -1, eta=eta, noise=z)[0]


def _eq_12(x, eps, z, ab, ab_next, eta, *, s=None, kept=None):
    """DDIM, Eq. 12, with room for another sigma and for another share of eps."""
    s = eta * ((1 - ab_next) / (1 - ab)) ** 0.5 * (1 - ab / ab_next) ** 0.5 if s is None else s
    kept = (1 - ab_next - s**2) ** 0.5 if kept is None else kept
    return ab_next**0.5 * _x0(x, eps, ab) + kept * eps + s * z


def _eta_inputs() -> list[dict]:
    given = _levels_inputs(("x", "eps", "z"))
    return [inputs | {"eta": (1.0, 0.5, 0.0, 0.8)[i % 4]} for i, inputs in enumerate(given)]


eta_step = Exercise(
    name="eta_step",
    asks=(
        "eta_step(x, eps, z, ab, ab_next, eta), which returns x at the level ab_next by Eq. 12, with sigma of Eq. 16 "
        "and z as the new noise."
    ),
    answer=_eta_step,
    inputs=_eta_inputs,
    mistakes={
        "new noise came, and as much of the old was not taken out: eps keeps sqrt(1 - ab_next - sigma^2).": (
            lambda x, eps, z, ab, ab_next, eta: _eq_12(x, eps, z, ab, ab_next, eta, kept=(1 - ab_next) ** 0.5)
        ),
        "sigma must be squared under the root: it is variances that add up to 1 - ab_next.": (
            lambda x, eps, z, ab, ab_next, eta: _eq_12(
                x, eps, z, ab, ab_next, eta, kept=max(1 - ab_next - _sigma(ab, ab_next, eta), 0) ** 0.5
            )
        ),
        "eta multiplies sigma, not its square.": (
            lambda x, eps, z, ab, ab_next, eta: _eq_12(x, eps, z, ab, ab_next, eta, s=eta**0.5 * _sigma(ab, ab_next, 1))
        ),
        "this is the step of eta = 0, whatever eta: the new noise is missing.": (
            lambda x, eps, z, ab, ab_next, eta: _eq_12(x, eps, z, ab, ab_next, 0)
        ),
        "z is added with sigma squared; a draw is scaled by its standard deviation.": (
            lambda x, eps, z, ab, ab_next, eta: (
                _eq_12(x, eps, 0 * z, ab, ab_next, eta) + _sigma(ab, ab_next, eta) ** 2 * z
            )
        ),
        "the first root of Eq. 16 has the less noisy level above: (1 - ab_next) / (1 - ab).": (
            lambda x, eps, z, ab, ab_next, eta: _eq_12(
                x, eps, z, ab, ab_next, eta, s=eta * (1 - ab / ab_next) ** 0.5, kept=_kept_at_most(ab, ab_next, eta)
            )
        ),
    },
)


def _sigma(ab, ab_next, eta):
    """Eq. 16."""
    return eta * ((1 - ab_next) / (1 - ab)) ** 0.5 * (1 - ab / ab_next) ** 0.5


def _kept_at_most(ab, ab_next, eta):
    """What Eq. 12 keeps of eps beside a sigma without its first root, which may already be too much."""
    return max(1 - ab_next - eta**2 * (1 - ab / ab_next), 0) ** 0.5


# step_up


def _moved(x, eps, ab, ab_next):
    return ab_next**0.5 * _x0(x, eps, ab) + (1 - ab_next) ** 0.5 * eps


def _walks_up(at, from_x=True, more=0, level=None):
    """step_up with a slip: another timestep to ask at, a start that moves on, more repetitions, other levels."""

    def step_up(predict, x, t, t_next, alpha_bar, refinements):
        ab, ab_next = (level or (lambda a, b: (a, b)))(alpha_bar[t].item(), alpha_bar[t_next].item())
        start = y = x
        for _ in range(1 + refinements + more):
            y = _moved(start, predict(y, at(t, t_next)), ab, ab_next)
            start = x if from_x else y
        return y

    return step_up


def _up_inputs() -> list[dict]:
    alpha_bar = torch.linspace(0.95, 0.3, 14, dtype=torch.float64)

    def given(i, shape):
        inputs = {"predict": _Network(), "x": normal(shape, i, dtype(i)), "t": i, "t_next": i + 2 + i % 3}
        return inputs | {"alpha_bar": alpha_bar, "refinements": (0, 1, 3)[i % 3]}

    return [given(i, shape) for i, shape in enumerate(shapes(9))]


def _lower(t, t_next):
    return t


def _upper(t, t_next):
    return t_next


step_up = Exercise(
    name="step_up",
    asks=(
        "step_up(predict, x, t, t_next, alpha_bar, refinements), which returns x at t_next > t after 1 + refinements "
        "calls of predict(x, t_next), the first on x itself, the others on the result so far."
    ),
    answer=_walks_up(_upper),
    inputs=_up_inputs,
    observe=_observe_calls,
    mistakes={
        "the noise is asked for at t; the step down that this one undoes asks at t_next.": _walks_up(_lower),
        "every refinement must step from the x it was given, not from the last result: this climbs again and again.": (
            _walks_up(_upper, from_x=False)
        ),
        "one call too few: the first prediction is no refinement yet.": _walks_up(_upper, more=-1),
        "one call too many.": _walks_up(_upper, more=1),
        "the refinements are missing.": (
            lambda predict, x, t, t_next, alpha_bar, refinements: _walks_up(_upper)(predict, x, t, t_next, alpha_bar, 0)
        ),
        "the levels are exchanged: this walks down.": _walks_up(_upper, level=lambda ab, ab_next: (ab_next, ab)),
    },
)


# subtract


subtract = Exercise(
    name="subtract",
    asks="subtract(x, eps, ab), which returns the picture x0 that is left of x when its noise is taken away.",
    answer=lambda x, eps, ab: _two_levels(ab, ab).x0_from_eps(x, eps, 0),
    inputs=lambda: [
        {name: value for name, value in inputs.items() if name != "ab_next"} for inputs in _levels_inputs(("x", "eps"))
    ],
    mistakes={
        "x holds sqrt(1 - ab) of the noise, and all of eps was taken away.": lambda x, eps, ab: x - eps,
        "the noise is gone, but what is left is sqrt(ab) x0: divide by sqrt(ab).": (
            lambda x, eps, ab: x - (1 - ab) ** 0.5 * eps
        ),
        "all of eps was taken away; x holds only sqrt(1 - ab) of it.": lambda x, eps, ab: (x - eps) / ab**0.5,
        "the roots are missing: ab and 1 - ab are variances.": lambda x, eps, ab: (x - (1 - ab) * eps) / ab,
        "the noise was put on once more.": lambda x, eps, ab: (x + (1 - ab) ** 0.5 * eps) / ab**0.5,
    },
)


EXERCISES = (best_guess, posterior, simple_loss, eta_step, step_up, subtract)
