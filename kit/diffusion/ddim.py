"""DDIM (2010.02502): one step between any two noise levels, the path down (sampling) and up (inversion).

    here                 paper                          meaning
    x, t                 x_t                            the noisy latents and the timestep they are at
    eps                  epsilon_theta(x_t)             the predicted noise
    x0                   f_theta(x_t), Eq. 9            the clean latents that x and eps imply
    ab, ab_next          alpha_t, alpha_{t-1}           alpha_bar before and after the step (DDPM's alpha-bar)
    eta                  eta                            0: no new noise; 1: DDPM's posterior
    s                    sigma_t(eta), Eq. 16           how much new noise a step adds

Latents are float tensors (n, c, h, w). Timestep -1 is the clean end of a path.
"""

from collections import deque
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch

from kit.diffusion import checks, seeds
from kit.diffusion.schedule import lifted, shaped


class State(NamedTuple):
    """One stop of a path: latents x at timestep t (-1 at the clean end), all tensors (n, c, h, w).

    x0, eps: what was predicted in the step that led here; None at the first stop, before any prediction.
    """

    t: int
    x: torch.Tensor
    x0: torch.Tensor | None = None
    eps: torch.Tensor | None = None


def step(schedule, x, eps, t, t_next, *, eta=0.0, noise=None):
    """Take x from timestep t to t_next, down or up, along the predicted eps. DDIM, Eq. 12 and 16.

    t, t_next: ints, or (n,) integers for pictures at different levels; -1 is the clean end. eta: 0 to 1, and
    above 0 only on the way down, with `noise` a standard normal draw like x. Returns (x at t_next, x0).
    """
    checks.like("eps", eps, "x", checks.floating("x", x))
    ab, ab_next = level(schedule, t), level(schedule, t_next)
    s = _new_noise(ab, ab_next, checks.real("eta", eta, 0, 1))

    x_, eps_ = lifted(x), lifted(eps)
    x0 = schedule.x0_from_eps(x_, eps_, t)
    x_next = shaped(ab_next**0.5, x_) * x0 + shaped(_root(1 - ab_next - s**2), x_) * eps_
    if eta > 0:
        x_next = x_next + shaped(s, x_) * lifted(wanted_noise(noise, x, "eta", eta))
    return x_next.to(x.dtype), x0.to(x.dtype)


def path(predict, schedule, x, timesteps, cond=None, *, eta=0.0, seed=0):
    """The states from x at timesteps[0] down to the clean end: a generator of len(timesteps) + 1 states.

    predict: (x, t, cond) -> eps, called once a step with t an int. timesteps: falling ints, as from
    `schedule.timesteps`. eta: 0 to 1. seed: as for `randn`, used when eta > 0; the path goes on from where
    `randn(x.shape, seed)` stopped, so that the same seed may have drawn x. No gradients are kept.
    """
    stops = levels(schedule, timesteps)
    checks.finite("x", checks.latents("x", x))
    checks.batch("cond", cond, len(x))
    eta = checks.real("eta", eta, 0, 1)
    noises = seeds.stream(x.shape, seed, x.device) if eta > 0 else None
    return down(predict, partial(step, schedule, eta=eta), x, stops, cond, noises)


def sample(predict, schedule, x, timesteps, cond=None, *, eta=0.0, seed=0):
    """The clean end of `path`: latents like x. Raises ValueError if the predictor's noise was not finite."""
    states = path(predict, schedule, x, timesteps, cond, eta=eta, seed=seed)
    return checks.finite("sample, after its last step", last(states).x)


def invert(predict, schedule, x0, timesteps, cond=None, *, refinements=0):
    """The states from the clean x0 up to timesteps[0]: the steps of `path` walked backwards.

    A step up needs the eps of the level it leads to, which is not known yet. It is predicted there from the
    lower level's x, an error of O(1/steps) after decoding. Each of `refinements` >= 0 repeats the prediction
    from the x just reached; where that converges, `sample` on the same timesteps gives x0 back exactly.
    One call of predict for each level and refinement; eta is 0. No gradients are kept.
    """
    stops = levels(schedule, timesteps)
    checks.finite("x0", checks.latents("x0", x0))
    checks.batch("cond", cond, len(x0))
    refinements = checks.whole("refinements", refinements, 0, 10_000)
    return _up(predict, schedule, x0, stops[::-1], cond, refinements)


def last(states):
    """The last of some states, the others let go on the way."""
    return deque(states, maxlen=1).pop()


# What every sampler's path is made of


@torch.no_grad()
def down(predict, step, x, stops, cond, noises):
    """The states from x at stops[0] down to the last of the stops.

    step: (x, eps, t, t_next, noise=...) -> (x_next, x0). noises: draws of which a step takes one, the first
    being let go because the start may be made of it; None for steps that take no noise.
    """
    yield State(stops[0], x)
    if noises:
        next(noises)
    for t, t_next in pairwise(stops):
        eps = predicted(predict, x, t, cond)
        x, x0 = step(x, eps, t, t_next, noise=next(noises) if noises else None)
        yield State(t_next, x, x0, eps)


def predicted(predict, x, t, cond):
    """eps, once it is known to be like x."""
    eps = predict(x, t, cond)
    return checks.like("predict(x, t, cond)", eps, "x", x)


def level(schedule, t):
    """alpha_bar at t as a float64 tensor, () or (n,)."""
    return torch.as_tensor(schedule.at(t), dtype=torch.float64)


def levels(schedule, timesteps):
    """The timesteps of a path as ints, noisiest first, and the clean end."""
    row = timesteps.tolist() if isinstance(timesteps, torch.Tensor) else timesteps
    try:
        stops = [checks.whole("timesteps", t, 0, len(schedule) - 1) for t in row]
    except TypeError:
        raise TypeError(f"timesteps: got {timesteps!r}, wanted a row of falling whole numbers") from None
    if not stops or any(t <= t_next for t, t_next in pairwise(stops)):
        raise ValueError(f"timesteps: got {stops}, wanted at least one, falling")
    return [*stops, -1]


def wanted_noise(noise, x, name, value):
    """`noise`, once it is known to be like x: the setting `name` asks for some."""
    if noise is None:
        raise ValueError(f"noise: got None with {name} {value}, wanted a standard normal draw like x")
    return checks.like("noise", noise, "x", x)


# What is DDIM's own


@torch.no_grad()
def _up(predict, schedule, x, stops, cond, refinements):
    yield State(stops[0], x)
    for t, t_next in pairwise(stops):
        x_next = x
        for _ in range(1 + refinements):
            eps = predicted(predict, x_next, t_next, cond)
            x_next, x0 = step(schedule, x, eps, t, t_next)
        x = x_next
        yield State(t_next, x, x0, eps)


def _new_noise(ab, ab_next, eta):
    """sigma_t(eta) of Eq. 16."""
    if eta == 0:
        return torch.zeros_like(ab_next)
    if (ab_next < ab).any() or (ab == 1).any():
        raise ValueError(f"eta: got {eta} on a step that is not down to less noise, wanted 0")
    return eta * ((1 - ab_next) / (1 - ab)) ** 0.5 * (1 - ab / ab_next) ** 0.5


def _root(variance):
    """Its square root, where rounding may have left a variance of 0 just below 0."""
    return variance.clamp(min=0) ** 0.5
