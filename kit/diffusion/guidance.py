"""Classifier-free guidance (2207.12598): a guided predictor made from a predictor.

here     CFG paper                 Stable Diffusion's code    meaning
w        1 + w                     guidance_scale             1: no guidance; 0: the condition is ignored
u        epsilon_theta(z)          noise_pred_uncond          predicted for the empty or the negative prompt
c        epsilon_theta(z, c)       noise_pred_text            predicted for the prompt
"""

import torch

from kit.diffusion import checks


def guided(predict, uncond, w):
    """The predictor `u + w (c - u)`, called like `predict` itself.

    uncond: the condition to move away from, (n, ...) like cond or (1, ...) for every picture: the empty
        prompt's embedding or, as a negative prompt, another's.
    w: any finite number, 1 being no guidance (the paper counts from 0: its w is this one less 1).

    Both halves go through one call of predict, on 2n pictures; w = 1 asks only for c and w = 0 only for u.
    """
    w = checks.real("w", w)
    if not isinstance(uncond, torch.Tensor) or not uncond.ndim:
        raise TypeError(f"uncond: got {uncond!r}, wanted a tensor (n, ...) or (1, ...)")

    def guided_predict(x, t, cond):
        away = _one_for_each(uncond, cond, len(x))
        if w == 1:
            return predict(x, t, cond)
        if w == 0:
            return predict(x, t, away)
        u, c = predict(_twice(x), _twice(t), torch.cat([away, cond])).chunk(2)
        return u + w * (c - u)

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
