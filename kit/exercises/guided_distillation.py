"""The exercises of walkthroughs/guided-distillation-2210.03142.ipynb, each with a right answer and the mistakes.

u, c          tensors (n, ch, h, w)    x predicted without and with the words
w             a tensor (n,)            the guidance; the exercise says from where it counts
z, noise      tensors (n, ch, h, w)    latents at a level, and a draw of noise
ab_k, ab_s    tensors (n,)             alpha^2 of the cleaner level k and of the noisier level s
"""

from __future__ import annotations

import math

import torch

from kit.diffusion import distill
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, levels, normal, per_picture, shapes

# guided_x


def _pairs() -> list[dict]:
    return [
        {
            "u": normal(shape, 2 * i, dtype(i)),
            "c": normal(shape, 2 * i + 1, dtype(i)),
            "w": 4 * levels(shape[0], i, dtype(i)),
        }
        for i, shape in enumerate(shapes(8))
    ]


def _combined(of_u, of_c):
    return lambda u, c, w: of_u(per_picture(w, u)) * u + of_c(per_picture(w, u)) * c


guided_x = Exercise(
    name="guided_x",
    asks=(
        "guided_x(u, c, w), which returns the guided x (n, ch, h, w) as this paper counts, (1 + w) c - w u: 0 is no "
        "guidance; w (n,) has a number for each picture."
    ),
    answer=_combined(lambda w: -w, lambda w: 1 + w),
    inputs=_pairs,
    mistakes={
        "this is u + w (c - u), where 1 is no guidance; this paper's w is that one less 1.": _combined(
            lambda w: 1 - w, lambda w: w
        ),
        "u and c changed places: guidance leads away from u.": _combined(lambda w: 1 + w, lambda w: -w),
        "the weights must sum to 1; here they sum to 1 + 2 w.": _combined(lambda w: w, lambda w: 1 + w),
        "these weights sum to 0: it is the direction from u to c, without the point it starts from.": _combined(
            lambda w: -w, lambda w: w
        ),
        "one w for all: each picture has its own.": lambda u, c, w: (1 + w[0]) * c - w[0] * u,
    },
)


# told_w


def _waves(scale=1000.0, start=1.0, *, cos_first=False, slowest=10_000.0):
    def told_w(w, width):
        frequencies = torch.exp(torch.linspace(0, -math.log(slowest), width // 2, dtype=w.dtype))
        angles = scale * (w - start)[:, None] * frequencies
        waves = [angles.sin(), angles.cos()]
        return torch.cat(waves[::-1] if cos_first else waves, 1)

    return told_w


def _interleaved(w, width):
    return _waves()(w, width).unflatten(1, (2, width // 2)).transpose(1, 2).flatten(1)


told_w = Exercise(
    name="told_w",
    asks=(
        "told_w(w, width), which returns (n, width): the sines, then the cosines, of 1000 (w - 1) f for width / 2 "
        "frequencies f that fall from 1 to 1 / 10,000 by equal factors; w (n,)."
    ),
    answer=_waves(),
    inputs=lambda: [
        {"w": (1 + 0.01 * torch.rand(n, generator=torch.Generator().manual_seed(i))).double(), "width": width}
        for i, (n, width) in enumerate(((1, 4), (3, 8), (2, 6), (5, 16), (4, 4)))
    ],
    mistakes={
        "the cosines came first.": _waves(cos_first=True),
        "w was told as it is: w of 1 would be told as 1,000, and not as 0.": _waves(start=0.0),
        "w - 1 was not multiplied by 1000: over the range of w hardly any wave would turn.": _waves(scale=1.0),
        "sines and cosines alternate here; wanted all sines, then all cosines.": _interleaved,
        "the last frequency is 1 / 10,000 itself: width / 2 frequencies, both ends counted.": (
            lambda w, width: _waves(slowest=10_000 ** (1 - 2 / width))(w, width)
        ),
    },
)


# passes_for


def _passes(teacher=2, student=1):
    return lambda steps, taught: (student if taught else teacher) * steps


passes_for = Exercise(
    name="passes_for",
    asks=(
        "passes_for(steps, taught), which returns how many pictures go through the network for one picture under "
        "guidance: by the teacher's sampler, or, if taught is True, by a student that takes w."
    ),
    answer=_passes(),
    inputs=lambda: [{"steps": steps, "taught": taught} for steps in (1, 4, 256) for taught in (False, True)],
    mistakes={
        "guidance asks the teacher twice at each step, with the words and without.": _passes(teacher=1),
        "a student that takes w is asked once a step: that was the point of its first stage.": _passes(student=2),
    },
)


# up_again


def _up(kept=lambda k, s: (s / k) ** 0.5, fresh=lambda k, s: (1 - s / k) ** 0.5):
    def up_again(z, ab_k, ab_s, noise):
        k, s = per_picture(ab_k, z), per_picture(ab_s, z)
        return kept(k, s) * z + fresh(k, s) * noise

    return up_again


def _climbs() -> list[dict]:
    def given(i, shape):
        ab_k = levels(shape[0], i, dtype(i))
        share = 0.3 + 0.5 * torch.rand(shape[0], generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        return {
            "z": normal(shape, 2 * i, dtype(i)),
            "ab_k": ab_k,
            "ab_s": ab_k * share.to(dtype(i)),
            "noise": normal(shape, 2 * i + 1, dtype(i)),
        }

    return [given(i, shape) for i, shape in enumerate(shapes(8))]


up_again = Exercise(
    name="up_again",
    asks=(
        "up_again(z, ab_k, ab_s, noise), which takes z from level k up to the noisier level s by one draw: (alpha_s / "
        "alpha_k) z + sigma_s|k noise, so that signal and noise have the shares ab_s and 1 - ab_s again."
    ),
    answer=distill.renoised,
    inputs=_climbs,
    mistakes={
        "this is the noise of level s whole; z has some already, so only what is missing is added.": _up(
            fresh=lambda k, s: (1 - s) ** 0.5
        ),
        "z was not scaled: its signal must shrink by alpha_s / alpha_k, too.": _up(
            kept=lambda k, s: torch.ones_like(k)
        ),
        "alpha is the root of ab: z shrinks by the root of ab_s / ab_k.": _up(kept=lambda k, s: s / k),
        "the variance of the new noise is 1 - ab_s / ab_k; the noise is multiplied by its root.": _up(
            fresh=lambda k, s: 1 - s / k
        ),
        "variances are subtracted after the old noise has shrunk with z, not before.": _up(
            fresh=lambda k, s: (k - s).clamp(min=0) ** 0.5
        ),
    },
)


# stops


def _stops(steps):
    visited = [steps]
    for i in range(steps, 1, -1):
        visited += [i - 2, i - 1]
    return [*visited, 0]


stops = Exercise(
    name="stops",
    asks=(
        "stops(steps), which returns the list of the levels that the stochastic sampler of so many steps is at, from "
        "steps to 0: from each level i > 1 down to i - 2 and up again to i - 1; from level 1 to 0."
    ),
    answer=_stops,
    inputs=lambda: [{"steps": steps} for steps in (1, 2, 3, 4, 8)],
    mistakes={
        "these are the deterministic sampler's: the stochastic one goes two down and one up.": (
            lambda steps: list(range(steps, -1, -1))
        ),
        "from level 2 it goes to 0 and up to 1 once more; only a step from level 1 ends the path.": (
            lambda steps: _stops(steps)[:-2] if steps > 1 else [1, 0]
        ),
        "the end is missing: at level 1 one plain step leads to 0.": lambda steps: _stops(steps)[:-1],
    },
)


EXERCISES = (guided_x, told_w, passes_for, up_again, stops)
