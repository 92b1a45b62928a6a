"""DDPM (2006.11239): one step of noise, its reverse by Bayes, and ancestral sampling between any two levels.

    here                 paper                          meaning
    x, t                 x_t                            the noisy latents and the timestep they are at
    eps                  epsilon_theta(x_t, t)          the predicted noise
    x0                   x_0, Eq. 15                    the clean latents that x and eps imply
    ab, ab_next          alpha-bar_t, alpha-bar_{t-1}   before and after a step down
    beta                 beta_t                         1 - ab / ab_next: the noise one step adds
    small, large         beta-tilde_t, beta_t           section 3.2's two variances of a step down

The paper's steps are between neighbouring timesteps; these are between any two. Latents are float tensors
(n, c, h, w), and timestep -1 is the clean end of a path.
"""

from functools import partial

import torch

from kit.diffusion import checks, ddim, seeds
from kit.diffusion.schedule import lifted, shaped

VARIANCES = ("small", "large")


def renoise(schedule, x, t, t_next, noise):
    """x taken up from timestep t to a noisier t_next by one draw, `noise`, standard normal and like x. Eq. 2.

    t, t_next: ints, or (n,) integers for pictures at different levels.
    """
    checks.like("noise", noise, "x", checks.floating("x", x))
    kept = ddim.level(schedule, t_next) / ddim.level(schedule, t)
    if (kept > 1).any():
        raise ValueError(f"t_next: got {t_next} after t = {t}, wanted a level of more noise")
    x_ = lifted(x)
    return (shaped(kept**0.5, x_) * x_ + shaped((1 - kept) ** 0.5, x_) * lifted(noise)).to(x.dtype)


def posterior(schedule, x0, x, t, t_next):
    """q(x_next | x, x0), where the way from x0 to x has passed t_next. DDPM, Eq. 6 and 7.

    t, t_next: ints, or (n,) integers, t_next of less noise than t. Returns (mean, variance): the mean is like
    x, the variance the same for all numbers of a picture, float64 () or (n,) on the CPU.
    """
    checks.like("x0", x0, "x", checks.floating("x", x))
    ab, ab_next = ddim.level(schedule, t), ddim.level(schedule, t_next)
    if (ab_next < ab).any() or (ab == 1).any():
        raise ValueError(f"t_next: got {t_next} after t = {t}, wanted a level of less noise")
    beta = 1 - ab / ab_next
    x_ = lifted(x)
    from_x0 = shaped(ab_next**0.5 * beta / (1 - ab), x_) * lifted(x0)
    from_x = shaped((1 - beta) ** 0.5 * (1 - ab_next) / (1 - ab), x_) * x_
    return (from_x0 + from_x).to(x.dtype), (1 - ab_next) / (1 - ab) * beta


def step(schedule, x, eps, t, t_next, *, variance="small", noise):
    """Take x from timestep t down to t_next by one draw, `noise`, standard normal and like x. Algorithm 2.

    variance: "small", the posterior's, right for data of one point; or "large", beta, right for data that is
    standard normal (section 3.2). As in the algorithm, "large" adds none on the step to the clean end; of
    "small" nothing is left there, if the schedule's end is clean. Returns (x at t_next, x0).
    """
    ddim.wanted_noise(noise, x, "variance", _variance(variance))
    checks.like("eps", eps, "x", x)
    x_ = lifted(x)
    x0 = schedule.x0_from_eps(x_, lifted(eps), t)
    mean, small = posterior(schedule, x0, x_, t, t_next)
    added = small if variance == "small" else _large(schedule, t, t_next)
    return (mean + shaped(added**0.5, x_) * lifted(noise)).to(x.dtype), x0.to(x.dtype)


def path(predict, schedule, x, timesteps, cond=None, *, variance="small", seed=0):
    """The states from x at timesteps[0] down to the clean end: a generator of len(timesteps) + 1 states.

    predict: (x, t, cond) -> eps, called once a step with t an int. timesteps: falling ints. variance: as for
    `step`. seed: as for `randn`; the path goes on from where `randn(x.shape, seed)` stopped, as `ddim.path`,
    which with eta = 1 walks the same path as "small". No gradients are kept.
    """
    stops = ddim.levels(schedule, timesteps)
    checks.finite("x", checks.latents("x", x))
    checks.batch("cond", cond, len(x))
    take = partial(step, schedule, variance=_variance(variance))
    return ddim.down(predict, take, x, stops, cond, seeds.stream(x.shape, seed, x.device))


def sample(predict, schedule, x, timesteps, cond=None, *, variance="small", seed=0):
    """The clean end of `path`: latents like x. Raises ValueError if the predictor's noise was not finite."""
    states = path(predict, schedule, x, timesteps, cond, variance=variance, seed=seed)
    return checks.finite("sample, after its last step", ddim.last(states).x)


def _variance(variance):
    if variance not in VARIANCES:
        raise ValueError(f"variance: got {variance!r}, wanted one of {', '.join(map(repr, VARIANCES))}")
    return variance


def _large(schedule, t, t_next):
    """beta, and 0 on the step to the clean end."""
    beta = 1 - ddim.level(schedule, t) / ddim.level(schedule, t_next)
    return torch.where(torch.as_tensor(t_next) < 0, 0.0, beta)
