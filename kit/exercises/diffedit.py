"""The exercises of walkthroughs/diffedit-2210.11427.ipynb, each with a right answer and the mistakes one makes.

query, reference   tensors (samples, c, h, w)     the noise predicted for one picture under each text
difference         a tensor (n, h, w), not below 0   one map for each picture
clip, threshold    numbers, 0 to 1                the quantile where a map is cut off, and what divides it
encoded            a tensor (levels, n, c, h, w)  the picture's levels, the clean end first
mask               floats 0 and 1, (n, 1, h, w)   1 where the picture changes
alpha_bar          a tensor (levels,)             the share of signal in the variance of each level
"""

from __future__ import annotations

import math

import torch

from kit.diffusion import diffedit
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal, shapes

# difference_map


def _predictions() -> list[dict]:
    return [
        {"query": normal(shape, 2 * i, dtype(i)), "reference": normal(shape, 2 * i + 1, dtype(i))}
        for i, shape in enumerate(shapes(9))
    ]


difference_map = Exercise(
    name="difference_map",
    asks=(
        "difference_map(query, reference), which returns one map (h, w): the absolute differences of the two "
        "predictions (samples, c, h, w), averaged over noises and channels."
    ),
    answer=lambda query, reference: diffedit.to_mask((query - reference)[None]).mean[0, 0],
    inputs=_predictions,
    mistakes={
        "signed differences cancel when they are averaged: take their size first.": (
            lambda query, reference: (query - reference).mean((0, 1)).abs()
        ),
        "the noises were averaged before the size was taken: what differs in one noise cancels what does in another.": (
            lambda query, reference: (query - reference).mean(0).abs().mean(0)
        ),
        "the channels were averaged before the size was taken: a cell that swaps two of them seems unchanged.": (
            lambda query, reference: (query - reference).mean(1).abs().mean(0)
        ),
        "these are signed differences; only their size tells where the picture must change.": (
            lambda query, reference: (query - reference).mean((0, 1))
        ),
        "each prediction's own size was taken: it is the size of their difference that counts.": (
            lambda query, reference: (query.abs() - reference.abs()).abs().mean((0, 1))
        ),
        "only the first noise was looked at.": lambda query, reference: (query - reference)[0].abs().mean(0),
        "this is the sum; wanted the mean.": lambda query, reference: (query - reference).abs().sum((0, 1)),
        "differences were squared; wanted their absolute values.": (
            lambda query, reference: (query - reference).square().mean((0, 1))
        ),
        "the picture's rows and columns were averaged; the map needs a number for each place.": (
            lambda query, reference: (query - reference).abs().mean((2, 3))
        ),
    },
)


# to_mask


def _maps() -> list[dict]:
    def given(i, shape):
        n, _, h, w = shape
        settings = ((0.9, 0.5), (0.8, 0.4), (0.7, 0.6))[i % 3]
        return {
            "difference": 0.5 + normal((n, h, w), i, dtype(i)).abs(),
            "clip": settings[0],
            "threshold": settings[1],
        }

    sizes = [(1, 1, 1, 2), (3, 1, 3, 3), (2, 1, 4, 5), (4, 1, 6, 3), (3, 1, 7, 7), (1, 1, 8, 8), (2, 1, 5, 9)]
    return [given(i, shape) for i, shape in enumerate(sizes)]


def _kit_mask(difference, clip, threshold):
    return diffedit.to_mask(difference[:, None, None], clip=clip, threshold=threshold).mask[:, 0]


def _rescaled(difference, clip, threshold, *, together=False, low=True, cut=True):
    """to_mask with room for a slip in every place."""
    rows = difference.reshape(1, -1) if together else difference.flatten(1)
    bottom = rows.amin(1) if low else torch.zeros_like(rows[:, 0])
    top = rows.quantile(clip, dim=1) if cut else rows.amax(1)
    bottom, top = bottom.view(-1, 1, 1), top.view(-1, 1, 1)
    return (difference.minimum(top) - bottom) / (top - bottom) > threshold


def _without_extremes(difference, clip, threshold):
    top = difference.flatten(1).quantile(clip, dim=1).view(-1, 1, 1)
    return _rescaled(difference, clip, threshold) & (difference <= top)


to_mask = Exercise(
    name="to_mask",
    asks=(
        "to_mask(difference, clip, threshold), which returns a bool mask (n, h, w) of maps (n, h, w): each map cut off "
        "above its own quantile clip, rescaled to [0, 1], and then > threshold."
    ),
    answer=_kit_mask,
    inputs=_maps,
    mistakes={
        "the pictures of a batch set each other's scale: each map has a smallest and a largest value of its own.": (
            lambda difference, clip, threshold: _rescaled(difference, clip, threshold, together=True)
        ),
        "the extreme values stayed, and the largest alone sets the scale.": (
            lambda difference, clip, threshold: _rescaled(difference, clip, threshold, cut=False)
        ),
        "rescaled to [0, 1] means that the smallest value becomes 0: subtract it first.": (
            lambda difference, clip, threshold: _rescaled(difference, clip, threshold, low=False)
        ),
        "extreme values are cut off, down to the quantile; here they are thrown out of the mask.": _without_extremes,
        "this marks the same share of every picture: the quantile is where the map is cut off, not the threshold.": (
            lambda difference, clip, threshold: difference > difference.flatten(1).quantile(clip, dim=1).view(-1, 1, 1)
        ),
        "this is 1.5 times the mean, diffusers' rule: no quantile, and nothing was rescaled.": (
            lambda difference, clip, threshold: difference > 1.5 * difference.mean((1, 2), keepdim=True)
        ),
        "the map itself was held against the threshold; cut it off and rescale it before.": (
            lambda difference, clip, threshold: difference > threshold
        ),
        "this is the other way round: the mask is where the map is large.": (
            lambda difference, clip, threshold: ~_rescaled(difference, clip, threshold)
        ),
    },
)


# noises_needed


def _noises(change):
    """The ceiling of some function of spread / wanted, at least 1."""
    return lambda spread, wanted: max(1, math.ceil(change(spread / wanted)))


noises_needed = Exercise(
    name="noises_needed",
    asks=(
        "noises_needed(spread, wanted), which returns the least whole n for which the mean of n maps, each of standard "
        "deviation spread, has a standard deviation of at most wanted."
    ),
    answer=_noises(lambda ratio: ratio**2),
    inputs=lambda: [
        {"spread": spread, "wanted": wanted}
        for spread, wanted in ((1.0, 0.5), (2.0, 0.5), (0.7, 0.3), (0.05, 0.02), (0.2, 0.4), (0.11, 0.013))
    ],
    mistakes={
        "it is the variance that falls like 1 / n; the standard deviation falls like 1 / sqrt(n).": _noises(
            lambda ratio: ratio
        ),
        "the root was taken where a square is wanted: spread / sqrt(n) <= wanted, solved for n.": _noises(math.sqrt),
        "rounded down, which leaves one noise too few.": lambda spread, wanted: max(1, int((spread / wanted) ** 2)),
        "one more than needed, where the number comes out whole.": (
            lambda spread, wanted: int((spread / wanted) ** 2) + 1
        ),
        "there is no mean of 0 maps: n is at least 1.": lambda spread, wanted: (
            math.ceil((spread / wanted) ** 2) if wanted < spread else 0
        ),
    },
)


# passes


def _passes(mask=2, up=1, down=2, shortened=True):
    """How many pictures pass through the U-Net, if each part of DiffEdit costs so many for a noise or step."""

    def passes(samples, steps, ratio):
        return mask * samples + (up + down) * (round(ratio * steps) if shortened else steps)

    return passes


passes = Exercise(
    name="passes",
    asks=(
        "passes(samples, steps, ratio), which returns how many pictures go through the U-Net for one edit: the mask "
        "from samples noises, the way up and the guided way down, round(ratio * steps) steps each."
    ),
    answer=_passes(),
    inputs=lambda: [
        {"samples": samples, "steps": steps, "ratio": ratio}
        for samples, steps, ratio in ((1, 1, 1.0), (10, 25, 0.8), (10, 50, 0.7), (3, 20, 0.26), (30, 50, 1.0))
    ],
    mistakes={
        "each noise of the mask is asked about twice, with the query and with the reference.": _passes(mask=1),
        "the mask's predictions are not guided: two for each noise.": _passes(mask=4),
        "guidance asks twice at each step down, with the query and with nothing.": _passes(down=1),
        "the way up is not guided: one prediction a step.": _passes(up=2),
        "the mask costs something, too.": _passes(mask=0),
        "both ways are shortened by the ratio: round(ratio * steps) steps each.": _passes(shortened=False),
    },
)


# masked_decode


class _Network:
    """A made-up predictor, different at every level, that counts its calls; each place depends on all the others."""

    __name__ = "a made-up predict(y, i)"

    def __init__(self):
        self.calls = 0

    def __call__(self, y, i):
        self.calls += 1
        return torch.tanh(y + y.mean((1, 2, 3), keepdim=True)) * (1 + i / 10)


def _step(y, eps, ab, ab_next):
    return ab_next**0.5 * (y - (1 - ab) ** 0.5 * eps) / ab**0.5 + (1 - ab_next) ** 0.5 * eps


def _decodes(outside=lambda i: i - 1, *, flip=False, start=-1, blend_first=False, ask=lambda i: i):
    """masked_decode with a slip: another level outside or to ask at, the mask turned, another start or order."""

    def masked_decode(predict, encoded, mask, alpha_bar):
        M = 1 - mask if flip else mask
        y, top = encoded[start], len(encoded) - 1
        for i in range(top, 0, -1):
            y = M * y + (1 - M) * encoded[i] if blend_first else y
            y = _step(y, predict(y, ask(i)), alpha_bar[i], alpha_bar[i - 1])
            y = y if blend_first else M * y + (1 - M) * encoded[outside(i)]
        return y

    return masked_decode


def _unblended(predict, encoded, mask, alpha_bar):
    return _decodes()(predict, encoded, torch.ones_like(mask), alpha_bar)


def _blended_once(predict, encoded, mask, alpha_bar):
    return mask * _unblended(predict, encoded, mask, alpha_bar) + (1 - mask) * encoded[0]


def _walks() -> list[dict]:
    def given(i, shape):
        n, _, h, w = shape
        levels = 3 + i % 3
        mask = torch.rand((n, 1, h, w), generator=torch.Generator().manual_seed(70 + i)) > 0.5
        return {
            "predict": _Network(),
            "encoded": normal((levels, *shape), i, dtype(i)),
            "mask": mask.to(dtype(i)),
            "alpha_bar": torch.linspace(0.99, 0.2, levels, dtype=torch.float64).to(dtype(i)),
        }

    return [given(i, shape) for i, shape in enumerate(shapes(8))]


def _observe_calls(function, arguments: dict) -> dict:
    network = _Network()
    result = function(network, *list(arguments.values())[1:])
    return {"result": result, "calls of predict": network.calls}


masked_decode = Exercise(
    name="masked_decode",
    asks=(
        "masked_decode(predict, encoded, mask, alpha_bar), which walks from the noisiest level encoded[-1] down to "
        "level 0 by DDIM steps, one call of predict(y, i) at each level i > 0, and returns y; after every step y is "
        "the encoded picture of y's own level outside the mask."
    ),
    answer=_decodes(),
    inputs=_walks,
    observe=_observe_calls,
    mistakes={
        "one level late: after the step from i to i - 1, y is at i - 1, so encoded[i - 1] belongs outside.": _decodes(
            lambda i: i
        ),
        "the last step leaves the network's picture outside: blend after every step, not before it.": _decodes(
            blend_first=True
        ),
        "the clean x0 was put back at every level, beside a y that is still noisy.": _decodes(lambda i: 0),
        "the mask is 1 where the picture changes: y belongs inside, the encoded picture outside.": _decodes(flip=True),
        "the walk starts from the noisiest level, encoded[-1]; this starts from the clean picture.": _decodes(start=0),
        "nothing was put back outside the mask.": _unblended,
        "put back once, at the end; the inside never saw what it has to fit.": _blended_once,
        "the noise is asked for at the level that y has, i; not at the one it goes to.": _decodes(ask=lambda i: i - 1),
    },
)


EXERCISES = (difference_map, to_mask, noises_needed, passes, masked_decode)
