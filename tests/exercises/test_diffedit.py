"""DiffEdit's exercises: right answers written apart, and wrong ones that must be told why."""

import math
from itertools import pairwise

import numpy as np
import torch

from kit.diffusion import Schedule, diffedit
from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, by numpy, or in another form than the checker's own.


def difference_map(query, reference):
    found = torch.zeros_like(query[0, 0])
    for q, r in zip(query.flatten(0, 1), reference.flatten(0, 1), strict=True):
        found += (r - q).abs()
    return found / (query.shape[0] * query.shape[1])


def to_mask(difference, clip, threshold):
    def one(values):
        values = values.double().numpy()
        top = np.quantile(values, clip)
        return torch.from_numpy(np.interp(values, [values.min(), top], [0, 1]) > threshold)

    return torch.stack([one(values) for values in difference])


def noises_needed(spread, wanted):
    return next(n for n in range(1, 1000) if spread / math.sqrt(n) <= wanted)


def passes(samples, steps, ratio):
    walked = int(ratio * steps + 0.5)
    return sum([samples, samples, walked, 2 * walked])


def masked_decode(predict, encoded, mask, alpha_bar):
    y = encoded[-1].clone()
    for i in reversed(range(1, len(encoded))):
        eps, level, lower = predict(y, i), float(alpha_bar[i]), float(alpha_bar[i - 1])
        x0 = (y - math.sqrt(1 - level) * eps) / math.sqrt(level)
        y = torch.where(mask > 0.5, math.sqrt(lower) * x0 + math.sqrt(1 - lower) * eps, encoded[i - 1])
    return y


RIGHT = [difference_map, to_mask, noises_needed, passes, masked_decode]

# Mistakes as a reader makes them, and what the message must name.


def spanned(clip=None, low=None, turn=False):
    """to_mask, each picture by itself, with other ends."""

    def answer(difference, quantile, threshold):
        top = (clip or (lambda d, q: d.flatten(1).quantile(q, 1)))(difference, quantile).view(-1, 1, 1)
        bottom = (low or (lambda d: d.amin((1, 2))))(difference).view(-1, 1, 1)
        inside = torch.minimum(difference, top) - bottom > threshold * (top - bottom)
        return ~inside if turn else inside

    return answer


def top_of(difference, quantile):
    return difference.flatten(1).quantile(quantile, 1).view(-1, 1, 1)


def whole_batch(difference, clip, threshold):
    top, bottom = difference.quantile(clip), difference.min()
    return (difference.clamp(max=float(top)) - bottom) / (top - bottom) > threshold


def thrown_out(difference, clip, threshold):
    return spanned()(difference, clip, threshold) & ~(difference > top_of(difference, clip))


def ceiling(value):
    return max(1, math.ceil(value))


def walks(outside, *, before=False, start=-1, inside=lambda M: M, ask=0):
    """masked_decode; outside(encoded, i) is what stands outside the mask after the step from i, or None."""

    def answer(predict, encoded, mask, alpha_bar):
        y, M = encoded[start], inside(mask)
        for i in range(len(encoded) - 1, 0, -1):
            if before:
                y = torch.where(M > 0.5, y, encoded[i])
            eps, level, lower = predict(y, i + ask), alpha_bar[i], alpha_bar[i - 1]
            y = (y - (1 - level).sqrt() * eps) * (lower / level).sqrt() + (1 - lower).sqrt() * eps
            x = None if before else outside(encoded, i)
            y = y if x is None else torch.where(M > 0.5, y, x)
        return y

    return answer


def put_back_once(predict, encoded, mask, alpha_bar):
    y = walks(lambda encoded, i: None)(predict, encoded, mask, alpha_bar)
    return torch.where(mask > 0.5, y, encoded[0])


def in_place(predict, encoded, mask, alpha_bar):
    result = masked_decode(predict, encoded, mask, alpha_bar)
    encoded[0] = 0
    return result


def right_level(encoded, i):
    return encoded[i - 1]


WRONG = [
    ("difference_map", lambda q, r: abs(q.mean((0, 1)) - r.mean((0, 1))), "signed differences cancel"),
    ("difference_map", lambda q, r: (q.mean(0) - r.mean(0)).abs().mean(0), "noises were averaged before"),
    ("difference_map", lambda q, r: (q.mean(1) - r.mean(1)).abs().mean(0), "channels were averaged before"),
    ("difference_map", lambda q, r: (q - r).mean(0).mean(0), "these are signed"),
    ("difference_map", lambda q, r: (q.abs() - r.abs()).abs().mean(0).mean(0), "each prediction's own size"),
    ("difference_map", lambda q, r: (q[0] - r[0]).abs().mean(0), "only the first noise"),
    ("difference_map", lambda q, r: (q - r).abs().sum(0).sum(0), "this is the sum"),
    ("difference_map", lambda q, r: ((q - r) ** 2).mean(0).mean(0), "squared"),
    ("difference_map", lambda q, r: (q - r).abs().mean(3).mean(2), "rows and columns"),
    ("difference_map", lambda q, r: q.sub_(r).abs().mean((0, 1)), "changed query in place"),
    ("difference_map", lambda q, r: (q - r).abs().mean((0, 1), keepdim=True), "got     tensor (1, 1, 1, 2) float32"),
    ("to_mask", whole_batch, "set each other's scale"),
    ("to_mask", spanned(clip=lambda d, q: d.amax((1, 2))), "the largest alone"),
    ("to_mask", spanned(low=lambda d: torch.zeros(len(d), dtype=d.dtype)), "subtract it first"),
    ("to_mask", thrown_out, "thrown out of the mask"),
    ("to_mask", lambda d, clip, threshold: d > top_of(d, clip), "the same share of every picture"),
    ("to_mask", lambda d, clip, threshold: d / d.mean((1, 2), keepdim=True) > 1.5, "1.5 times the mean"),
    ("to_mask", lambda d, clip, threshold: torch.gt(d, threshold), "held against the threshold"),
    ("to_mask", spanned(turn=True), "other way round"),
    ("to_mask", lambda *a: to_mask(*a).float(), "wanted  tensor (1, 1, 2) bool"),
    ("noises_needed", lambda spread, wanted: ceiling(spread / wanted), "variance that falls"),
    ("noises_needed", lambda spread, wanted: ceiling((spread / wanted) ** 0.5), "solved for n"),
    ("noises_needed", lambda spread, wanted: max(1, math.floor((spread / wanted) ** 2)), "rounded down"),
    ("noises_needed", lambda spread, wanted: 1 + math.floor((spread / wanted) ** 2), "one more than needed"),
    (
        "noises_needed",
        lambda spread, wanted: 0 if spread <= wanted else math.ceil(spread**2 / wanted**2),
        "mean of 0 maps",
    ),
    ("noises_needed", lambda spread, wanted: float(noises_needed(spread, wanted)), "not yet"),
    ("passes", lambda n, steps, ratio: n + 3 * round(steps * ratio), "asked about twice"),
    ("passes", lambda n, steps, ratio: 4 * n + 3 * round(steps * ratio), "not guided: two for each"),
    ("passes", lambda n, steps, ratio: 2 * (n + round(steps * ratio)), "with the query and with nothing"),
    ("passes", lambda n, steps, ratio: 2 * n + 4 * round(steps * ratio), "the way up is not guided"),
    ("passes", lambda n, steps, ratio: 3 * round(steps * ratio), "costs something, too"),
    ("passes", lambda n, steps, ratio: 2 * n + 3 * steps, "both ways are shortened"),
    ("masked_decode", walks(lambda encoded, i: encoded[i]), "one level late: after the step"),
    ("masked_decode", walks(None, before=True), "blend after every step"),
    ("masked_decode", walks(lambda encoded, i: encoded[0]), "the clean x0"),
    ("masked_decode", walks(right_level, inside=lambda M: 1 - M), "1 where the picture changes"),
    ("masked_decode", walks(lambda encoded, i: None if i == 1 else encoded[i - 1]), "blend after every step"),
    ("masked_decode", walks(right_level, start=0), "starts from the clean picture"),
    ("masked_decode", walks(lambda encoded, i: None), "nothing was put back outside"),
    ("masked_decode", put_back_once, "put back once"),
    ("masked_decode", walks(right_level, ask=-1), "not at the one it goes to"),
    ("masked_decode", in_place, "changed encoded in place"),
]


# The exercises ask for what the kit does.


def test_the_walk_of_the_exercise_is_the_kits_masked_edit():
    """The kit's levels carry timesteps, and its end has an alpha_bar of its own."""
    schedule = Schedule.stable_diffusion()
    levels = [-1, 101, 401, 701]
    random = torch.Generator().manual_seed(0)
    encoded = {t: torch.randn(2, 3, 4, 4, generator=random, dtype=torch.float64) for t in levels}
    mask = (torch.rand(2, 1, 4, 4, generator=random) > 0.5).double()
    kit = diffedit.edit(lambda x, t, cond: torch.tanh(x) * (1 + t / 1000), schedule, encoded, mask, torch.zeros(2, 1))
    alpha_bar = torch.tensor([schedule.at(t) for t in levels], dtype=torch.float64)
    own = EXERCISES["masked_decode"].answer(
        lambda y, i: torch.tanh(y) * (1 + levels[i] / 1000), torch.stack([*encoded.values()]), mask, alpha_bar
    )
    torch.testing.assert_close(own, kit)


def test_the_passes_of_the_exercise_are_those_of_the_kits_edit():
    schedule, rows = Schedule.stable_diffusion(), []

    def predict(x, t, cond):
        rows.append(len(x))
        return torch.tanh(x + cond.view(-1, 1, 1, 1))

    for ratio, steps, samples in ((0.8, 5, 2), (0.5, 6, 3)):
        rows.clear()
        x0 = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        reference, query, empty = (torch.full((1, 1), value) for value in (0.5, -0.5, 0.0))
        diffedit.masked_edit(
            predict, schedule, x0, schedule.timesteps(steps), reference, query, empty,
            ratio=ratio, guidance=5.0, samples=samples,
        )  # fmt: skip
        assert sum(rows) == EXERCISES["passes"].answer(samples, steps, ratio)


def test_so_many_noises_bring_the_spread_down_and_one_less_does_not():
    for given in EXERCISES["noises_needed"].inputs():
        n = EXERCISES["noises_needed"].answer(**given)
        spreads = [given["spread"] / math.sqrt(m) for m in range(1, n + 1)]
        assert spreads[-1] <= given["wanted"]
        assert all(a > b for a, b in pairwise(spreads))
        assert all(spread > given["wanted"] for spread in spreads[:-1])
