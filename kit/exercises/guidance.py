"""The exercises of walkthroughs/guidance-2207.12598.ipynb, each with a right answer and the mistakes one makes.

u, c         tensors (n, c, h, w)        the noise predicted without and with the prompt
ab           alpha_bar, 0 < ab < 1       the share of signal in the variance, (n,)
w            a number, 1 for none        the guidance in u + w (c - u)
g            a number, 0 to 1            the update's length as a share of u's
phi          a number, 0 to 1            how much of the rescaled prediction (2305.08891, section 3.4)
"""

from __future__ import annotations

import random

import torch

from kit.diffusion.guidance import combine, guided
from kit.exercises.checking import Exercise
from kit.exercises.inputs import Network, dtype, levels, normal, per_picture, shapes

# leave_out


def _leave_out(cond, null, luck, p):
    return torch.where(per_picture(luck < p, cond), null, cond)


def _captions() -> list[dict]:
    sizes = [(2, 1, 2), (3, 3, 3), (4, 4, 4), (5, 2, 3), (2, 3, 5), (6, 4, 1), (8, 2, 2), (5, 5, 5)]

    def given(i, shape):
        luck = torch.rand(shape[0], generator=torch.Generator().manual_seed(40 + i), dtype=dtype(i))
        below, above = luck.sort().values[[0, -1]].tolist()
        p = round((below + above) / 2, 3)  # at least one caption is left out, and one stays
        null = normal((1, *shape[1:]), 2 * i, dtype(i))
        return {"cond": normal(shape, 2 * i + 1, dtype(i)), "null": null, "luck": luck, "p": p}

    return [given(i, shape) for i, shape in enumerate(sizes)]


leave_out = Exercise(
    name="leave_out",
    asks="leave_out(cond, null, luck, p), which returns cond with null in place of each caption whose luck is below p.",
    answer=_leave_out,
    inputs=_captions,
    mistakes={
        "this is the other way round: with p = 0.1 nine captions in ten must stay.": (
            lambda cond, null, luck, p: torch.where(per_picture(luck < p, cond), cond, null)
        ),
        "one throw for the whole batch: every caption has a luck of its own.": (
            lambda cond, null, luck, p: null.expand_as(cond) if luck[0] < p else cond
        ),
        "a caption that is left out is not zeros: it is the empty prompt's embedding, null.": (
            lambda cond, null, luck, p: _leave_out(cond, torch.zeros_like(null), luck, p)
        ),
        "(n,) lines up with the last axis, the embedding's numbers: make it (n, 1, 1), one throw for each caption.": (
            lambda cond, null, luck, p: torch.where(luck < p, null, cond)
        ),
    },
)


# classifier_slope


def _classifier_slope(u, c, ab):
    return (u - c) / per_picture((1 - ab).sqrt(), u)


def _pairs(count: int = 10) -> list[dict]:
    return [
        {"u": normal(shape, 2 * i, dtype(i)), "c": normal(shape, 2 * i + 1, dtype(i))}
        for i, shape in enumerate(shapes(count))
    ]


def _slope_inputs() -> list[dict]:
    return [pair | {"ab": levels(len(pair["u"]), 60 + i, dtype(i))} for i, pair in enumerate(_pairs())]


classifier_slope = Exercise(
    name="classifier_slope",
    asks="classifier_slope(u, c, ab), which returns the gradient of log p(c | x) by x; ab has shape (n,).",
    answer=_classifier_slope,
    inputs=_slope_inputs,
    mistakes={
        "the sign is turned: noise points away from the picture, its gradient towards it.": (
            lambda u, c, ab: -_classifier_slope(u, c, ab)
        ),
        "eps is the gradient times sqrt(1 - ab): divide by it.": lambda u, c, ab: u - c,
        "1 - ab is a variance: divide by its square root.": lambda u, c, ab: (u - c) / per_picture(1 - ab, u),
        "this divides by the signal's factor sqrt(ab); wanted the noise's, sqrt(1 - ab).": (
            lambda u, c, ab: (u - c) / per_picture(ab.sqrt(), u)
        ),
        "(n,) lines up with the last axis, the columns: make it (n, 1, 1, 1) to have one level for each picture.": (
            lambda u, c, ab: (u - c) / (1 - ab).sqrt()
        ),
    },
)


# t_norm


def _norm(x):
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)


def _t_norm_inputs() -> list[dict]:
    return [pair | {"g": (0.5, 0.2, 1.0, 0.15, 0.0)[i % 5]} for i, pair in enumerate(_pairs())]


t_norm = Exercise(
    name="t_norm",
    asks="t_norm(u, c, g), which returns u plus an update along c - u that is g times as long as u, in each picture.",
    answer=lambda u, c, g: combine(u, c, 1, "t_norm", g=g),
    inputs=_t_norm_inputs,
    mistakes={
        "one norm was taken over the whole batch, so that a picture depends on its neighbours.": (
            lambda u, c, g: u + g * (c - u) * u.norm() / (c - u).norm()
        ),
        "the norms were taken over the channels alone: one a pixel, wanted one a picture.": (
            lambda u, c, g: u + g * (c - u) * u.norm(dim=1, keepdim=True) / (c - u).norm(dim=1, keepdim=True)
        ),
        "(n,) lines up with the last axis, the columns: make it (n, 1, 1, 1) to have one norm for each picture.": (
            lambda u, c, g: u + g * (c - u) * u.flatten(1).norm(dim=1) / (c - u).flatten(1).norm(dim=1)
        ),
        "the update has norm g: it still wants the norm of u.": lambda u, c, g: u + g * (c - u) / _norm(c - u),
        "the update is not yet divided by its own norm, that of c - u.": lambda u, c, g: u + g * (c - u) * _norm(u),
        "c has taken the place of c - u: the update goes from u towards c, not along c.": (
            lambda u, c, g: u + g * c * _norm(u) / _norm(c)
        ),
    },
)


# std_rescale


def _std(x):
    return x.std(dim=(1, 2, 3), keepdim=True)


def _std_rescaled(u, c, w, phi, std=_std):
    x = u + w * (c - u)
    return phi * x * std(c) / std(x) + (1 - phi) * x


def _std_inputs() -> list[dict]:
    settings = [(7.5, 1.0), (3.0, 0.7), (0.5, 0.7), (10.0, 0.0), (-1.0, 0.3)]
    return [pair | dict(zip(("w", "phi"), settings[i % 5], strict=True)) for i, pair in enumerate(_pairs())]


std_rescale = Exercise(
    name="std_rescale",
    asks=(
        "std_rescale(u, c, w, phi), which returns phi r + (1 - phi) x: x is guided by w, r is x with the standard "
        "deviation of c, picture by picture."
    ),
    answer=lambda u, c, w, phi: combine(u, c, w, "std", phi=phi),
    inputs=_std_inputs,
    mistakes={
        "one standard deviation was taken over the whole batch, so that a picture depends on its neighbours.": (
            lambda u, c, w, phi: _std_rescaled(u, c, w, phi, torch.std)
        ),
        "phi and 1 - phi are exchanged: phi = 0 must leave the guided prediction as it is.": (
            lambda u, c, w, phi: _std_rescaled(u, c, w, 1 - phi)
        ),
        "this takes the standard deviation of u; the paper takes that of c.": (
            lambda u, c, w, phi: _std_rescaled(u, c, w, phi, lambda x: _std(u if x is c else x))
        ),
        "phi is forgotten: this is r alone.": lambda u, c, w, phi: _std_rescaled(u, c, w, 1.0),
    },
)


# guide_within


def _guide_within(predict, x, t, cond, uncond, w, low, high):
    return guided(predict, uncond, w, interval=(low, high))(x, t, cond)


def _within_inputs() -> list[dict]:
    luck = random.Random(3)
    intervals = [(500, (200, 700)), (900, (200, 700)), (200, (200, 700)), (700, (200, 700)), (100, (200, 700))]
    intervals += [(t, (luck.randint(0, 300), luck.randint(600, 999))) for t in (0, 400, 999)]

    def given(i, shape):
        n, L, d = shape[0], 1 + i % 3, 1 if i == 0 else 4
        cond, uncond = (normal((n, L, d), 200 + 2 * i + j, dtype(i)) for j in range(2))
        t, (low, high) = intervals[i]
        inputs = {"predict": Network(), "x": normal(shape, i, dtype(i)), "t": t}
        return inputs | {"cond": cond, "uncond": uncond, "w": (3.0, 7.5, 2.0)[i % 3], "low": low, "high": high}

    return [given(i, shape) for i, shape in enumerate(shapes(len(intervals)))]


def _observe_within(function, arguments: dict) -> dict:
    network = Network()
    result = function(network, *list(arguments.values())[1:])
    return {"result": result, "calls of predict": network.calls, "pictures through predict": network.rows}


def _both(predict, x, cond, uncond, t):
    return predict(torch.cat([x, x]), t, torch.cat([uncond, cond])).chunk(2)


def _always_both(predict, x, t, cond, uncond, w, low, high):
    u, c = _both(predict, x, cond, uncond, t)
    return u + w * (c - u) if low <= t <= high else c


def _u_outside(predict, x, t, cond, uncond, w, low, high):
    return guided(predict, uncond, w if low <= t <= high else 0)(x, t, cond)


def _turned(predict, x, t, cond, uncond, w, low, high):
    return guided(predict, uncond, 1 if low <= t <= high else w)(x, t, cond)


def _open_ends(predict, x, t, cond, uncond, w, low, high):
    return guided(predict, uncond, w if low < t < high else 1)(x, t, cond)


guide_within = Exercise(
    name="guide_within",
    asks=(
        "guide_within(predict, x, t, cond, uncond, w, low, high), which returns u + w (c - u) where low <= t <= high, "
        "and elsewhere c from one call of predict on n pictures."
    ),
    answer=_guide_within,
    inputs=_within_inputs,
    observe=_observe_within,
    mistakes={
        "right, but u was asked for where it is not needed: outside the interval one call on n pictures is enough.": (
            _always_both
        ),
        "outside the interval the prompt must still be heard: wanted c, not u.": _u_outside,
        "this guides outside the interval, and not within.": _turned,
        "both ends belong to the interval: low <= t <= high.": _open_ends,
    },
)


EXERCISES = (leave_out, classifier_slope, t_norm, std_rescale, guide_within)
