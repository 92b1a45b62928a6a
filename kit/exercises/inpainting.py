"""The exercises of walkthroughs/inpainting-2201.09865.ipynb, each with a right answer and its mistakes.

x, x0, eps, z   tensors (n, c, h, w)           the noisy latents, the clean ones, standard normal draws
mask            (n, 1, h, w), zeros and ones   1: to be painted; 0: known (the paper's m is 1 less this)
ab, ab_next     alpha_bar, in (0, 1)           the share of signal in the variance of x
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from kit.diffusion import ddpm, edit
from kit.diffusion.schedule import Schedule
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal, shapes


def _mask(shape, seed: int, of=torch.float32) -> Tensor:
    """Zeros and ones (n, 1, h, w), both there where there is room for both."""
    n, _, h, w = shape
    mask = torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask.view(-1)[0] = True
    mask.view(-1)[-1] = False
    return mask.to(of)


# conditional


def _conditional(m, S, known, x):
    """By the inverse of S, its block of the unknown part: another way than the one taught."""
    P = torch.linalg.inv(S)
    cov = torch.linalg.inv(P[~known][:, ~known])
    return m[~known] - cov @ P[~known][:, known] @ (x - m[known]), cov


def _world(d: int, unknown: int, seed: int) -> dict:
    known = torch.ones(d, dtype=torch.bool)
    known[torch.randperm(d, generator=torch.Generator().manual_seed(seed))[:unknown]] = False
    root = normal((d, d), 2 * seed, torch.float64)
    S = root @ root.T / d + 0.5 * torch.eye(d, dtype=torch.float64)
    m, x = normal((2, d), 2 * seed + 1, torch.float64)
    return {"m": m.round(decimals=1), "S": S.round(decimals=1), "known": known, "x": x[known].round(decimals=1)}


def _conditional_inputs() -> list[dict]:
    # As many known as unknown: there a transposed or exchanged block goes through without an error.
    sizes = [(2, 1), (4, 2), (3, 1), (3, 2), (6, 3), (8, 3), (12, 8)]
    return [_world(d, unknown, seed) for seed, (d, unknown) in enumerate(sizes)]


def _observe_conditional(function, arguments: dict) -> dict:
    result = function(*arguments.values())
    if result is None:
        return {"result": None}
    mean, cov = result if isinstance(result, tuple) and len(result) == 2 else (result, ...)
    return {"mean": mean, "covariance": cov}


def _schur(m, S, known, x, *, centred=True, based=True, inverted=True, sign=-1.0, lowered=True):
    """The form that is taught, with room for a slip in every place."""
    u, k = ~known, known
    G = S[u][:, k] @ torch.linalg.inv(S[k][:, k]) if inverted else S[u][:, k]
    mean = G @ (x - m[k] if centred else x)
    cov = S[u][:, u] + sign * G @ S[k][:, u] if lowered else S[u][:, u]
    return (m[u] + mean if based else mean), cov


conditional = Exercise(
    name="conditional",
    asks=(
        "conditional(m, S, known, x), which returns (mean, covariance) of the unknown part of N(m, S), given that the "
        "known part is x; m (d,), S (d, d), known (d,) of bool."
    ),
    answer=_conditional,
    inputs=_conditional_inputs,
    observe=_observe_conditional,
    mistakes={
        "what the known part tells is how far it lies from its own mean: G multiplies x - m_k.": (
            lambda m, S, known, x: _schur(m, S, known, x, centred=False)
        ),
        "this is only the change that x brings: the unknown part's own mean m_u is missing.": (
            lambda m, S, known, x: _schur(m, S, known, x, based=False)
        ),
        "the covariance is that of the unknown part before x was known: knowing lowers it, by G S_ku.": (
            lambda m, S, known, x: _schur(m, S, known, x, lowered=False)
        ),
        "to know something cannot make the rest less certain: G S_ku is taken away from S_uu, not added.": (
            lambda m, S, known, x: _schur(m, S, known, x, sign=1.0)
        ),
        "S_uk is not divided by S_kk yet: G = S_uk S_kk^-1.": (
            lambda m, S, known, x: _schur(m, S, known, x, inverted=False)
        ),
        "this is the inverse of a covariance: the block of S^-1 has to be inverted once more.": (
            lambda m, S, known, x: (_schur(m, S, known, x)[0], torch.linalg.inv(_schur(m, S, known, x)[1]))
        ),
    },
)


# put_back


def _put_back(x, x0, mask, eps, ab):
    schedule = Schedule(torch.tensor([ab], dtype=torch.float64))
    return torch.where(mask > 0, x, schedule.add_noise(x0, eps, 0))


def _put_back_inputs() -> list[dict]:
    def given(i, shape):
        x, x0, eps = (normal(shape, 3 * i + j, dtype(i)) for j in range(3))
        ab = round(random.Random(i).uniform(0.1, 0.9), 3)
        return {"x": x, "x0": x0, "mask": _mask(shape, i, dtype(i)), "eps": eps, "ab": ab}

    return [given(i, shape) for i, shape in enumerate(shapes(9))]


def _compose(known):
    """put_back, with something else for the known part."""
    return lambda x, x0, mask, eps, ab: mask * x + (1 - mask) * known(x0, eps, ab)


put_back = Exercise(
    name="put_back",
    asks=(
        "put_back(x, x0, mask, eps, ab), which returns x, which is at the level ab, with its known part, where mask is "
        "0, replaced by x0's at the same level, under the noise eps."
    ),
    answer=_put_back,
    inputs=_put_back_inputs,
    mistakes={
        "the mask is the wrong way round: here 1 is to be painted; the paper's m is 1 where it is known.": (
            lambda x, x0, mask, eps, ab: _put_back(x, x0, 1 - mask, eps, ab)
        ),
        "this is Algorithm 1, line 5, as printed, which multiplies eps by a variance: Eq. 8a means its root.": (
            _compose(lambda x0, eps, ab: ab**0.5 * x0 + (1 - ab) * eps)
        ),
        "the known part is clean, and the rest is not: the network expects one level of noise everywhere.": (
            _compose(lambda x0, eps, ab: x0)
        ),
        "the known part has its signal's factor, but no noise.": _compose(lambda x0, eps, ab: ab**0.5 * x0),
        "x0 must be shrunk by sqrt(ab), too: x = sqrt(ab) x0 + sqrt(1 - ab) eps.": (
            _compose(lambda x0, eps, ab: x0 + (1 - ab) ** 0.5 * eps)
        ),
        "ab is a variance: its square root multiplies x0.": (
            _compose(lambda x0, eps, ab: ab * x0 + (1 - ab) ** 0.5 * eps)
        ),
    },
)


# renoise


def _renoise(x, ab, ab_next, z):
    return ddpm.renoise(Schedule(torch.tensor([ab, ab_next], dtype=torch.float64)), x, 0, 1, z)


def _renoise_inputs() -> list[dict]:
    def given(i, shape):
        luck = random.Random(i)
        ab, ab_next = round(luck.uniform(0.5, 0.95), 3), round(luck.uniform(0.05, 0.4), 3)
        x, z = (normal(shape, 2 * i + j, dtype(i)) for j in range(2))
        return {"x": x, "ab": ab, "ab_next": ab_next, "z": z}

    return [given(i, shape) for i, shape in enumerate(shapes(9))]


renoise = Exercise(
    name="renoise",
    asks="renoise(x, ab, ab_next, z), which returns x taken up from the level ab to ab_next < ab by one new draw z.",
    answer=_renoise,
    inputs=_renoise_inputs,
    mistakes={
        "x is taken for clean: it holds noise already, and only what is missing is added.": (
            lambda x, ab, ab_next, z: ab_next**0.5 * x + (1 - ab_next) ** 0.5 * z
        ),
        "the factor is right, but too much noise: x brings some along, so only 1 - ab_next / ab is missing.": (
            lambda x, ab, ab_next, z: (ab_next / ab) ** 0.5 * x + (1 - ab_next) ** 0.5 * z
        ),
        "the factor is right, but too little noise: of the variance 1 - ab only ab_next / ab is left.": (
            lambda x, ab, ab_next, z: (ab_next / ab) ** 0.5 * x + (ab - ab_next) ** 0.5 * z
        ),
        "x must shrink while the noise grows, or the variance grows without end.": (
            lambda x, ab, ab_next, z: x + (ab - ab_next) ** 0.5 * z
        ),
        "these are the variances: their square roots multiply x and z.": (
            lambda x, ab, ab_next, z: ab_next / ab * x + (1 - ab_next / ab) * z
        ),
        "the ratio is upside down: the signal must shrink.": (
            lambda x, ab, ab_next, z: (ab / ab_next) ** 0.5 * x + (1 - ab_next / ab) ** 0.5 * z
        ),
    },
)


# walk


def _walk_inputs() -> list[dict]:
    sizes = [(4, 2, 2), (6, 2, 3), (5, 1, 2), (7, 3, 2), (3, 5, 4), (4, 4, 3), (12, 3, 1), (20, 5, 4), (250, 10, 10)]
    return [{"steps": steps, "jump_length": j, "resamples": r} for steps, j, r in sizes]


def _walk(steps, jump_length, resamples, *, jumps_at=None, last=(-1,), climb=None):
    """The walk written with counters, as RePaint's authors do, with room for a slip."""
    jumps_at = range(0, steps - jump_length, jump_length) if jumps_at is None else jumps_at
    left = dict.fromkeys(jumps_at, resamples - 1)
    i, stops = steps, []
    while i > 0:
        i -= 1
        stops.append(i)
        if left.get(i, 0) > 0:
            left[i] -= 1
            up = list(range(i + 1, i + jump_length + 1))
            stops += up if climb is None else climb(up)
            i = up[-1]
    return [*stops, *last]


walk = Exercise(
    name="walk",
    asks=(
        "walk(steps, jump_length, resamples), which returns the list of stops from steps - 1 down to -1; at each "
        "multiple of jump_length below steps - jump_length it goes jump_length stops up and down again, "
        "resamples - 1 times."
    ),
    answer=edit.repaint_schedule,
    inputs=_walk_inputs,
    mistakes={
        "one time too often: resamples counts how often a stretch is walked down, the first time included.": (
            lambda steps, jump_length, resamples: _walk(steps, jump_length, resamples + 1)
        ),
        "the clean end, -1, is missing.": (
            lambda steps, jump_length, resamples: _walk(steps, jump_length, resamples, last=())
        ),
        "each stretch is repeated once only; wanted resamples - 1 times.": (
            lambda steps, jump_length, resamples: _walk(steps, jump_length, min(resamples, 2))
        ),
        "0 is a multiple of jump_length, too: the last stretch is repeated like the others.": (
            lambda steps, jump_length, resamples: _walk(
                steps, jump_length, resamples, jumps_at=range(jump_length, steps - jump_length, jump_length)
            )
        ),
        "the way up goes by every stop, as the way down does.": (
            lambda steps, jump_length, resamples: _walk(steps, jump_length, resamples, climb=lambda up: up[-1:])
        ),
        "no jump starts at steps - jump_length: from there the way up would end above the start.": (
            lambda steps, jump_length, resamples: _walk(
                steps, jump_length, resamples, jumps_at=range(0, steps - jump_length + 1, jump_length)
            )
        ),
    },
)


# latent_mask


def _latent_mask(mask, f):
    return F.max_pool2d(mask, f)


def _latent_inputs() -> list[dict]:
    sizes = [(1, 2, 2, 2), (1, 1, 2, 4), (2, 2, 2, 2), (3, 4, 3, 2), (1, 4, 8, 8), (2, 8, 3, 3), (4, 8, 16, 16)]
    return [
        {"mask": _mask((n, 1, f * h, f * w), seed, dtype(seed)) * _blot(n, f * h, f * w, dtype(seed)), "f": f}
        for seed, (n, f, h, w) in enumerate(sizes)
    ]


def _blot(n: int, h: int, w: int, of) -> Tensor:
    """A box of ones with room about it, so that there are cells without any."""
    blot = torch.zeros(n, 1, h, w, dtype=of)
    blot[..., : h // 2 + 1, : (w + 1) // 2] = 1
    return blot


latent_mask = Exercise(
    name="latent_mask",
    asks=(
        "latent_mask(mask, f), which returns (n, 1, h / f, w / f) for a mask (n, 1, h, w) of zeros and ones: 1 for "
        "each latent of whose f x f pixels any is to be painted."
    ),
    answer=_latent_mask,
    inputs=_latent_inputs,
    mistakes={
        "this looks at one pixel of the f x f: whatever is to be painted beside it stays.": (
            lambda mask, f: mask[..., ::f, ::f]
        ),
        "this is the share of pixels that are to be painted; wanted 1 as soon as there is one.": (
            lambda mask, f: F.avg_pool2d(mask, f)
        ),
        "this paints only where all f x f pixels are to be painted; wanted any of them.": (
            lambda mask, f: 1 - F.max_pool2d(1 - mask, f)
        ),
        "this paints where more than half of the pixels are to be painted; wanted any of them.": (
            lambda mask, f: (F.avg_pool2d(mask, f) > 0.5).to(mask)
        ),
        "the zeros and ones have become bool: keep the mask's dtype, for it multiplies latents.": (
            lambda mask, f: F.max_pool2d(mask, f) > 0
        ),
    },
)


EXERCISES = (conditional, put_back, renoise, walk, latent_mask)
