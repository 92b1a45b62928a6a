"""DiffEdit (2210.11427): change what a text names, and leave the rest of the picture as it is.

Step 1, `mask`: noise the picture; where the noise predicted for the query differs from that predicted for the
reference, the picture must change. Step 2, `encode`: walk the picture up to the noise, without any text. Step 3,
`edit`: walk down under the query, and put the encoded picture back outside the mask at every level.

    here          paper       diffusers               meaning
    x0            x_0         image                   the clean latents (n, c, h, w)
    reference     R           source_prompt           the condition that fits the picture, or the empty text's
    query         Q           target_prompt           the condition that the edited picture should fit
    empty         (none)      negative_prompt         the condition of the empty text
    strength      50 %        mask_encode_strength    how far up the schedule the difference is taken, 0 to 1
    samples       n           num_maps_per_mask       noises that the difference is averaged over
    mask          M           mask_image              True (or 1) where the picture changes
    ratio         r           inpaint_strength        how far up the schedule the picture is encoded, (0, 1]
    encoded[t]    x_t         image_latents           the picture encoded up to timestep t; -1 is x0
    y             y_t         latents                 the edit on its way down

Conditions have a row for each picture, or one row for all. The paper's Section 3.2 leaves open how the channels
become one number (here: the mean of absolute differences), how extreme values are removed (here: the map is cut
off at a quantile) and whether the predictions of step 1 are guided (here: no; it would change nothing).
`DEVIATIONS` lists what others do instead; each function takes the names of those to switch on.
"""

import warnings
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

import torch

from kit.diffusion import checks, ddim, seeds
from kit.diffusion.ddim import State
from kit.diffusion.guidance import guided
from kit.diffusion.schedule import lifted


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Step 1 with every stage on the way, of n pictures; floats but for `mask`."""

    per_noise: torch.Tensor  # (n, samples, h, w)  each noise's absolute difference, its channels averaged
    per_channel: torch.Tensor  # (n, c, h, w)  each channel's absolute difference, its noises averaged
    mean: torch.Tensor  # (n, 1, h, w)  averaged over noises and channels
    clipped: torch.Tensor  # (n, 1, h, w)  its extreme values cut off
    normalised: torch.Tensor  # (n, 1, h, w)  rescaled to [0, 1] picture by picture
    mask: torch.Tensor  # (n, 1, h, w)  bool, normalised > threshold
    threshold: float

    def __repr__(self):
        n, samples, h, w = self.per_noise.shape
        shares = ", ".join(f"{share:.0%}" for share in self.mask.flatten(1).float().mean(1).tolist())
        return f"Mask({n} of {h} x {w}, {samples} noises, threshold {self.threshold:g}, covers {shares})"


class Edit(NamedTuple):
    """What `masked_edit` made: the mask, the encoded levels by timestep, and the edited clean latents."""

    mask: Mask
    encoded: dict[int, torch.Tensor]
    x: torch.Tensor


def masked_edit(
    predict, schedule, x0, timesteps, reference, query, empty, *, ratio, guidance, seed=0, deviations=(), **of_mask
):
    """The three steps in one: an `Edit` of x0 from the reference to the query.

    timesteps: falling, of the whole schedule, as for `ddim.path`; the last round(ratio * steps) are walked, up and
    down. guidance: w in `u + w (c - u)` on the way down, 1 being none; the paper's is 7.5 for Stable Diffusion.
    of_mask: strength, samples, clip, threshold and batch, as for `mask`. seed: as for `randn`.
    """
    on = _known(deviations)
    guide = guided(predict, empty, guidance)
    asked = guided(predict, empty, 1 - guidance) if "guidance backwards in the mask" in on else predict
    found = mask(asked, schedule, x0, reference, query, seed=seed, deviations=on, **of_mask)
    if "noise in place of encoding" in on:
        encoded = noised(schedule, x0, timesteps, ratio=ratio, seed=seed)
    elif "guided inversion" in on:
        encoded = encode(guide, schedule, x0, timesteps, reference, ratio=ratio)
    else:
        text = reference if "caption in inversion" in on else empty
        encoded = encode(predict, schedule, x0, timesteps, text, ratio=ratio)
    return Edit(found, encoded, edit(guide, schedule, encoded, found.mask, query, deviations=on))


# Step 1: the mask


def mask(predict, schedule, x0, reference, query, *, clip=0.9, threshold=0.5, deviations=(), **of_differences):
    """Where x0 must change for the query: the `Mask` that `to_mask` makes of the `differences`.

    Takes the settings of both: strength, samples, seed and batch, clip and threshold. Raises ValueError if a
    picture's query equals its reference, because nothing tells them apart.
    """
    n = len(checks.latents("x0", x0))
    reference, query = _rows("reference", reference, n), _rows("query", query, n)
    if (checks.like("query", query, "reference", reference) == reference).flatten(1).all(1).any():
        raise ValueError("query: got the reference itself for some picture, wanted a text that differs from it")
    found = differences(predict, schedule, x0, reference, query, deviations=deviations, **of_differences)
    return to_mask(found, clip=clip, threshold=threshold, deviations=deviations)


@torch.no_grad()
def differences(
    predict, schedule, x0, reference, query, *, strength=0.5, samples=10, seed=0, batch=None, deviations=()
):
    """eps for the query less eps for the reference, (n, samples, c, h, w), on noised copies of x0.

    strength: the copies are noised to t = round(strength * (T - 1)). samples: noises for each picture, all
    different. seed: as for `randn`, whose draw is each picture's first noise. batch: noised copies in one call of
    predict, which gets each of them twice, with the reference and with the query; by default all. The result does
    not depend on it.
    """
    on = _known(deviations)
    n = len(checks.finite("x0", checks.latents("x0", x0)))
    samples = checks.whole("samples", samples, 1, 10_000)
    batch = n * samples if batch is None else checks.whole("batch", batch, 1, 2**31)
    t = round(checks.real("strength", strength, 0, 1) * (len(schedule) - 1))

    noise = torch.stack([*islice(seeds.stream(x0.shape, seed, x0.device, x0.dtype), samples)], 1)
    if "one noise repeated" in on:
        noise = noise[:, :1].expand_as(noise)
    x = schedule.add_noise(x0.repeat_interleave(samples, 0), noise.flatten(0, 1), t)
    reference = _rows("reference", reference, n).repeat_interleave(samples, 0)
    query = _rows("query", query, n).repeat_interleave(samples, 0)
    parts = zip(x.split(batch), reference.split(batch), query.split(batch), strict=True)
    found = torch.cat([_difference(predict, t, *part) for part in parts])
    return checks.finite("predict(x, t, cond)", found).unflatten(0, (n, samples))


def to_mask(difference, *, clip=0.9, threshold=0.5, deviations=()):
    """The `Mask` of signed differences (n, samples, c, h, w), by arithmetic alone.

    clip: 0 to 1, the quantile of each picture's map above which its values are cut off, so that a share of at least
        1 - clip is marked; 1 keeps them all.
    threshold: 0 to 1; at 0 all but the smallest values are marked. A map without contrast becomes 0 everywhere.
    That and any other empty mask are said as a warning that names the pictures.
    """
    on = _known(deviations)
    if checks.floating("difference", difference).ndim != 5 or 0 in difference.shape:
        raise ValueError(f"difference: got shape {tuple(difference.shape)}, wanted (n, samples, c, h, w)")
    d = lifted(checks.finite("difference", difference))
    clip, threshold = checks.real("clip", clip, 0, 1), checks.real("threshold", threshold, 0, 1)

    per_noise = d.abs().mean(2)
    per_channel = d.mean(1).abs() if "abs after mean" in on else d.abs().mean(1)
    mean = per_channel.mean(1, keepdim=True)
    low, high = _ends(mean, 1.0 if "extremes kept" in on else clip, on)
    clipped = mean.clamp(max=high)
    span = high - low
    flat = span <= 16 * torch.finfo(d.dtype).eps * high  # no contrast but that of rounding
    normalised = ((clipped - low) / span.masked_fill(flat, 1)).masked_fill(flat, 0)
    found = Mask(per_noise, per_channel, mean, clipped, normalised, normalised > threshold, threshold)
    _say_what_is_empty(found.mask.flatten(1).any(1), flat.flatten())
    return found


# Step 2: the encoding


def encode(predict, schedule, x0, timesteps, empty, *, ratio, refinements=0):
    """x0 on its way up to the noise, by timestep: {-1: x0, …, t_r: the noisiest}, each (n, c, h, w).

    predict: without guidance. empty: the condition of the empty text; the paper encodes without any words.
    timesteps: falling, of the whole schedule; the last round(ratio * steps) are walked. refinements: as for
    `ddim.invert`, which walks.
    """
    checks.latents("x0", x0)
    walked = _walked(timesteps, ratio)
    empty = _rows("empty", empty, len(x0))
    encoded = {s.t: s.x for s in ddim.invert(predict, schedule, x0, walked, empty, refinements=refinements)}
    checks.finite("encode, after its last step", next(reversed(encoded.values())))
    return encoded


def noised(schedule, x0, timesteps, *, ratio, seed=0):
    """What takes the place of `encode` in the paper's ablation (Figure 6): x0 under one noise, at the same levels."""
    checks.finite("x0", checks.latents("x0", x0))
    noise = seeds.randn(x0.shape, seed, x0.device, x0.dtype)
    levels = reversed(ddim.levels(schedule, _walked(timesteps, ratio)))
    return {t: x0 if t < 0 else schedule.add_noise(x0, noise, t) for t in levels}


# Step 3: the edit


def edit(predict, schedule, encoded, mask, query, *, deviations=()):
    """Clean latents that follow the query inside the mask, and outside it equal encoded[-1] exactly.

    predict: guided, as from `guidance.guided`. encoded: from `encode`; the walk starts at its noisiest level.
    mask: bool, or floats in [0, 1], (h, w) for every picture, (1, 1, h, w) or (n, 1, h, w); tensor or array.
    """
    states = edit_path(predict, schedule, encoded, mask, query, deviations=deviations)
    return checks.finite("edit, after its last step", ddim.last(states).x)


def edit_path(predict, schedule, encoded, mask, query, *, deviations=()):
    """The states of `edit`, from the noisiest level to the clean end, one call of predict between them."""
    on = _known(deviations)
    if not isinstance(encoded, dict) or -1 not in encoded:
        raise TypeError(f"encoded: got {type(encoded).__name__}, wanted the levels by timestep, as from encode")
    x0 = checks.latents("encoded[-1]", encoded[-1])
    for t, x in encoded.items():
        checks.like(f"encoded[{t}]", x, "encoded[-1]", x0)
    return _blended(predict, schedule, encoded, _weights(mask, x0), _rows("query", query, len(x0)), on)


@torch.no_grad()
def _blended(predict, schedule, encoded, M, query, on):
    levels = sorted(encoded, reverse=True)
    y = encoded[levels[0]]
    yield State(levels[0], y)
    for t, t_next in pairwise(levels):
        eps = ddim.predicted(predict, y, t, query)
        y, y0 = ddim.step(schedule, y, eps, t, t_next)
        x = encoded[t if "blend one level late" in on else t_next]
        y = M * y + (1 - M) * x
        yield State(t_next, y, y0, eps)


# What the steps are made of


def _difference(predict, t, x, reference, query):
    """eps for the query less eps for the reference, both from one call."""
    r, q = ddim.predicted(predict, torch.cat([x, x]), t, torch.cat([reference, query])).chunk(2)
    return q - r


def _ends(mean, clip, on):
    """The values that become 0 and 1, (n, 1, 1, 1): by the paper, a picture's own."""
    rows = mean.reshape(1, -1) if "whole-batch statistics" in on else mean.flatten(1)
    if "clamp at 3x the mean" in on:
        low, high = torch.zeros_like(rows[:, 0]), 3 * rows.mean(1)
    else:
        low, high = rows.amin(1), rows.quantile(clip, dim=1)
    return (end.expand(len(mean)).view(-1, 1, 1, 1) for end in (low, high))


def _say_what_is_empty(marked, flat):
    for why, where in {"": ~marked & ~flat, ", as the difference has no contrast": flat}.items():
        if where.any():
            pictures = ", ".join(map(str, where.nonzero().flatten().tolist()))
            warnings.warn(f"mask: empty for picture {pictures}{why}", stacklevel=4)


def _walked(timesteps, ratio):
    """The last round(ratio * steps) of the timesteps."""
    steps = len(timesteps)
    count = round(steps * checks.real("ratio", ratio, 0, 1))
    if count == 0:
        raise ValueError(f"ratio: got {ratio} of {steps} timesteps, wanted at least one of them")
    return timesteps[steps - count :]


def _rows(name, cond, n):
    """A condition with a row for each of n pictures."""
    if not isinstance(cond, torch.Tensor) or not cond.ndim:
        raise TypeError(f"{name}: got {cond!r}, wanted a tensor (n, ...) or (1, ...)")
    return checks.batch(name, cond.expand(n, *cond.shape[1:]) if len(cond) == 1 else cond, n)


def _weights(mask, x):
    """M, floats (n, 1, h, w) or (1, 1, h, w) like x, of a mask as `edit` takes it."""
    try:
        M = mask if isinstance(mask, torch.Tensor) else torch.tensor(mask)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"mask: got {type(mask).__name__}, wanted a tensor or array, bool or in [0, 1]") from None
    M = M.to(x.dtype) if M.dtype == torch.bool else M
    return checks.mask("mask", M[None, None] if M.ndim == 2 else M, x).to(x.device, x.dtype)


def _known(deviations):
    """The names to switch on, all of them known."""
    names = {deviations} if isinstance(deviations, str) else set(deviations)
    if unknown := names - DEVIATIONS.keys():
        got = ", ".join(map(repr, sorted(map(str, unknown))))
        raise ValueError(f"deviations: got {got}, wanted some of {', '.join(map(repr, DEVIATIONS))}")
    return names


# What others do


class Deviation(NamedTuple):
    """One departure from the paper: in which of its steps, what the paper does, what is done instead, and by whom."""

    step: int
    paper: str
    instead: str
    who: str


DEVIATIONS = {
    "one noise repeated": Deviation(
        1,
        "n different noises",
        "one noise n times, so that averaging changes nothing",
        "Xiang-cd",
    ),
    "abs after mean": Deviation(
        1,
        "spatial differences are averaged",
        "signed differences are averaged, and cancel before their size is taken",
        "a blog",
    ),
    "extremes kept": Deviation(
        1,
        "extreme values are removed",
        "the largest value alone sets the scale",
        "johnrobinsn, a blog",
    ),
    "clamp at 3x the mean": Deviation(
        1,
        "extreme values are removed, the map is rescaled to [0, 1]",
        "clamped at and divided by 3 x its mean: just map > 1.5 x mean, empty where most of the picture differs",
        "diffusers 0.42; at 4x Xiang-cd",
    ),
    "whole-batch statistics": Deviation(
        1,
        "a picture has its own mask",
        "the pictures of a batch set each other's scale",
        "diffusers 0.42",
    ),
    "guidance backwards in the mask": Deviation(
        1,
        "the two predictions",
        "guided ones, query and empty text exchanged: (1 - w) c + w u; the mask stays, as its scale does not count",
        "diffusers 0.42",
    ),
    "caption in inversion": Deviation(
        2,
        "no text while encoding",
        "the reference text, without guidance",
        "diffusers 0.42, on request",
    ),
    "guided inversion": Deviation(
        2,
        "no text while encoding",
        "the reference text, with the guidance of the way down",
        "diffusers 0.42, Xiang-cd",
    ),
    "noise in place of encoding": Deviation(
        2,
        "DDIM encoding",
        "the picture under one noise (Figure 6, without encoding)",
        "the paper's ablation",
    ),
    "blend one level late": Deviation(
        3,
        "M y_t + (1 - M) x_t at one t",
        "x of the level just left: too noisy at every step, and never x_0",
        "diffusers 0.42, Xiang-cd",
    ),
}

# Those that come together: deviations=IMPLEMENTATIONS["diffusers 0.42"].
IMPLEMENTATIONS = {
    "the paper": (),
    "diffusers 0.42": (
        "clamp at 3x the mean",
        "whole-batch statistics",
        "guidance backwards in the mask",
        "guided inversion",
        "blend one level late",
    ),
}
