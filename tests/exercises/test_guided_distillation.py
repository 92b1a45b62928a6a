"""Guided distillation's exercises: right answers written apart, and wrong ones that must be told why."""

import torch
from diffusers import StableDiffusionPipeline

from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, by diffusers, or in another form than the checker's own.


def guided_x(u, c, w):
    return torch.stack([one_c + g * (one_c - one_u) for one_u, one_c, g in zip(u, c, w, strict=True)])


def told_w(w, width):
    rows = []
    for value in w:
        angles = [1000 * (value - 1) * 10_000 ** (-k / (width // 2 - 1)) for k in range(width // 2)]
        rows.append(torch.stack([*(torch.sin(a) for a in angles), *(torch.cos(a) for a in angles)]))
    return torch.stack(rows)


def passes_for(steps, taught):
    return len([call for _ in range(steps) for call in (["guided"] if taught else ["with", "without"])])


def up_again(z, ab_k, ab_s, noise):
    rows = []
    for one, k, s, fresh in zip(z, ab_k.double(), ab_s.double(), noise, strict=True):
        gain = torch.sqrt(s / k)
        missing = (1 - s) - gain**2 * (1 - k)  # of the noise's variance
        rows.append(gain.to(one) * one + torch.sqrt(missing).to(one) * fresh)
    return torch.stack(rows)


def stops(steps):
    if steps == 1:
        return [1, 0]
    return [steps, steps - 2, *stops(steps - 1)]


RIGHT = [guided_x, told_w, passes_for, up_again, stops]

# Mistakes as a reader makes them, and what the message must name.


def wide(w, z):
    return w.view(-1, 1, 1, 1).expand_as(z)


def waves(w, width, *, scale=1000, start=1, ends=True):
    half = width // 2
    powers = torch.arange(half, dtype=w.dtype) / (half - 1 if ends else half)
    angles = scale * torch.outer(w - start, 10_000**-powers)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def alternating(w, width):
    both = waves(w, width)
    out = torch.empty_like(both)
    out[:, 0::2], out[:, 1::2] = both[:, : width // 2], both[:, width // 2 :]
    return out


def climb(gain, fresh):
    def answer(z, ab_k, ab_s, noise):
        k, s = wide(ab_k, z), wide(ab_s, z)
        return gain(k, s) * z + fresh(k, s) * noise

    return answer


def kept(k, s):
    return s.sqrt() / k.sqrt()


def missing(k, s):
    return (1 - s - s / k * (1 - k)).sqrt()


WRONG = [
    ("guided_x", lambda u, c, w: torch.lerp(u, c, wide(w, u)), "that one less 1"),
    ("guided_x", lambda u, c, w: u + wide(w, u) * (u - c), "changed places"),
    ("guided_x", lambda u, c, w: c + wide(w, u) * (c + u), "sum to 1 + 2 w"),
    ("guided_x", lambda u, c, w: wide(w, u) * (c - u), "sum to 0"),
    ("guided_x", lambda u, c, w: c + w[0] * (c - u), "one w for all"),
    ("told_w", lambda w, width: waves(w, width).roll(width // 2, 1), "the cosines came first"),
    ("told_w", lambda w, width: waves(w, width, start=0), "told as it is"),
    ("told_w", lambda w, width: waves(w, width, scale=1), "hardly any wave"),
    ("told_w", alternating, "alternate"),
    ("told_w", lambda w, width: waves(w, width, ends=False), "both ends counted"),
    ("passes_for", lambda steps, taught: steps, "asks the teacher twice"),
    ("passes_for", lambda steps, taught: steps + steps, "asked once a step"),
    ("up_again", climb(kept, lambda k, s: (1 - s).sqrt()), "what is missing is added"),
    ("up_again", climb(lambda k, s: 1, missing), "was not scaled"),
    ("up_again", climb(lambda k, s: s / k, missing), "root of ab_s / ab_k"),
    ("up_again", climb(kept, lambda k, s: missing(k, s) ** 2), "multiplied by its root"),
    ("up_again", climb(kept, lambda k, s: ((1 - s) - (1 - k)).sqrt()), "not before"),
    ("stops", lambda steps: [*reversed(range(steps + 1))], "two down and one up"),
    ("stops", lambda steps: stops(steps)[: max(2, 2 * steps - 2)], "once more"),
    ("stops", lambda steps: stops(steps)[: 2 * steps - 1], "one plain step leads to 0"),
]


def test_w_is_told_as_diffusers_tells_it():
    answer, pipe = EXERCISES["told_w"].answer, StableDiffusionPipeline.__new__(StableDiffusionPipeline)
    w = torch.tensor([1.0, 2.5, 7.5], dtype=torch.float64)
    theirs = StableDiffusionPipeline.get_guidance_scale_embedding(pipe, w - 1, 64, torch.float64)
    assert torch.allclose(answer(w, 64), theirs, atol=1e-2)  # whose frequencies are rounded to float32
