"""Classifier-free guidance (2207.12598): a guided predictor made from a predictor, and its rescalings.

here     CFG paper                 Stable Diffusion's code    meaning
w        1 + w                     guidance_scale             1: no guidance; 0: the condition is ignored
u        epsilon_theta(z)          noise_pred_uncond          predicted for the empty or the negative prompt
c        epsilon_theta(z, c)       noise_pred_text            predicted for the prompt
g                                                             the update's size as a share of u's, 0 to 1
phi      phi of 2305.08891         guidance_rescale           how much of the rescaled prediction, 0 to 1
"""

from functools import partial

import torch

from kit.diffusion import checks
from kit.diffusion.schedule import lifted, shaped


def combine(u, c, w, variant="none", *, g=0.2, phi=0.7):
    """The guided prediction of u and c, tensors (n, ...) of one shape; like u.

    w: any finite number; `t_norm` and `full_norm` take g in its place. variant: a name of RESCALINGS, ||.||
    and std being those of one picture, whatever else is in the batch:

        none         u + w (c - u)
        pred_norm    none's direction, u's norm
        t_norm       u + g ||u|| (c - u) / ||c - u||
        full_norm    t_norm's direction, u's norm
        std          phi r + (1 - phi) none, r being none times std(c) / std(none) (2305.08891, section 3.4)

    A picture whose denominator is 0 has nothing to rescale and keeps what it has.
    """
    rescaling = _rescaling(variant, w, g, phi)
    checks.like("c", c, "u", checks.floating("u", u))
    return rescaling(lifted(u), lifted(c)).to(u.dtype)


def guided(predict, uncond, w, *, variant="none", g=0.2, phi=0.7, interval=None):
    """The predictor `combine(u, c, w, variant)`, called like `predict` itself.

    uncond: the condition to move away from, (n, ...) like cond or (1, ...) for every picture: the empty
        prompt's embedding or, as a negative prompt, another's.
    w: any finite number, 1 being no guidance (the paper counts from 0: its w is this one less 1).
    variant, g, phi: as for `combine`.
    interval: (low, high), the timesteps, both included, between which guidance acts (2404.07724, which counts
        in sigma); at any other timestep the prediction is c. None: all of them.

    Both halves go through one call of predict, on 2n pictures; where guidance does not act, and at w = 1
    without rescaling, only c is asked for, and at w = 0 without rescaling only u.
    """
    w, interval = checks.real("w", w), _interval(interval)
    _rescaling(variant, w, g, phi)
    if not isinstance(uncond, torch.Tensor) or not uncond.ndim:
        raise TypeError(f"uncond: got {uncond!r}, wanted a tensor (n, ...) or (1, ...)")

    def guided_predict(x, t, cond):
        away = _one_for_each(uncond, cond, len(x))
        acts = _acts(interval, t)
        if not acts.any() or (w == 1 and variant == "none"):
            return predict(x, t, cond)
        if acts.all() and w == 0 and variant == "none":
            return predict(x, t, away)
        both = predict(_twice(x), _twice(t), torch.cat([away, cond]))
        u, c = checks.like("predict(x, t, cond)", both, "x twice", _twice(x)).chunk(2)
        eps = combine(u, c, w, variant, g=g, phi=phi)
        return eps if acts.all() else torch.where(shaped(acts, x).bool(), eps, c)

    return guided_predict


def _twice(value):
    """A tensor (n, ...) once for each half; a plain int serves both."""
    return torch.cat([value, value]) if isinstance(value, torch.Tensor) and value.ndim else value


def _one_for_each(uncond, cond, n):
    """uncond with a row for each of the n rows of cond."""
    if not isinstance(cond, torch.Tensor):
        raise TypeError(f"cond: got {type(cond).__name__}, wanted a tensor, to be batched with uncond")
    checks.batch("cond", cond, n)
    if len(uncond) == 1:
        uncond = uncond.expand(n, *uncond.shape[1:])
    if uncond.shape != cond.shape:
        raise ValueError(
            f"uncond: got shape {tuple(uncond.shape)}, wanted {tuple(cond.shape)} like cond, or one such row"
        )
    if (uncond.dtype, uncond.device) != (cond.dtype, cond.device):
        raise ValueError(
            f"uncond: got {uncond.dtype} on {uncond.device}, wanted {cond.dtype} on {cond.device}, as cond is"
        )
    return uncond


# The rescalings: functions of u, c, w, g and phi


def _none(u, c, w, g, phi):
    return u + w * (c - u)


def _pred_norm(u, c, w, g, phi):
    return _rescaled(_none(u, c, w, g, phi), _norm, u)


def _t_norm(u, c, w, g, phi):
    return u + g * _rescaled(c - u, _norm, u)


def _full_norm(u, c, w, g, phi):
    return _rescaled(_t_norm(u, c, w, g, phi), _norm, u)


def _std(u, c, w, g, phi):
    x = _none(u, c, w, g, phi)
    return phi * _rescaled(x, _spread, c) + (1 - phi) * x


RESCALINGS = {"none": _none, "pred_norm": _pred_norm, "t_norm": _t_norm, "full_norm": _full_norm, "std": _std}


def _rescaling(variant, w, g, phi):
    """The function of u and c that the settings name, once they are known to make sense."""
    if variant not in RESCALINGS:
        raise ValueError(f"variant: got {variant!r}, wanted one of {', '.join(map(repr, RESCALINGS))}")
    settings = dict(w=checks.real("w", w), g=checks.real("g", g, 0, 1), phi=checks.real("phi", phi, 0, 1))
    return partial(RESCALINGS[variant], **settings)


def _rescaled(x, size, other):
    """x, each picture times the number that gives it the size of `other`; a picture of size 0 stays as it is."""
    has = size(x)
    return x * torch.where(has > 0, size(other) / has, 1)


def _norm(x):
    """The norm of each picture."""
    return shaped(x.reshape(len(x), -1).norm(dim=1), x)


def _spread(x):
    """The standard deviation of each picture's numbers."""
    return shaped(x.reshape(len(x), -1).std(1, correction=0), x)


# Intervals


def _interval(interval):
    """(low, high), or None for no limits."""
    if interval is None:
        return None
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise TypeError(f"interval: got {interval!r}, wanted (low, high), two timesteps, or None") from None
    low = checks.whole("interval", low, 0, _LAST)
    return low, checks.whole("interval", high, low, _LAST)


def _acts(interval, t):
    """Whether guidance acts at t, as bools () or (n,) on t's own device, the CPU."""
    low, high = interval or (-_LAST, _LAST)
    return torch.as_tensor((t >= low) & (t <= high))


_LAST = 2**31
