"""Each exercise passes a right answer written independently of it, and names each mistake of a list."""

import math

import pytest
import torch

from kit.diffusion import ddim, edit
from kit.diffusion.ddim import State
from kit.diffusion.schedule import Schedule
from kit.exercises import check

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def add_noise(x0, eps, ab):
    pictures = [math.sqrt(a) * x + math.sqrt(1 - a) * e for x, e, a in zip(x0, eps, ab.tolist(), strict=True)]
    return torch.stack(pictures)


def ddim_step(x, eps, ab, ab_next):
    """Multiplied out: one factor for x, one for eps."""
    ratio = math.sqrt(ab_next / ab)
    return ratio * x + (math.sqrt(1 - ab_next) - ratio * math.sqrt(1 - ab)) * eps


def guide(predict, x, t, cond, uncond, w):
    both = predict(x.repeat(2, 1, 1, 1), t, torch.cat([cond, uncond]))
    c, u = both[: len(x)], both[len(x) :]
    return w * c + (1 - w) * u


def same_length(g, c):
    return torch.stack([p * math.sqrt((q * q).sum()) / math.sqrt((p * p).sum()) for p, q in zip(g, c, strict=True)])


def walked(timesteps, strength):
    skipped = len(timesteps) - math.floor(strength * len(timesteps))
    return timesteps[torch.arange(len(timesteps)) >= skipped]


def until_still(states, tolerance):
    x0s = []
    for state in states:
        yield state
        if state.x0 is not None:
            x0s.append(state.x0)
        if len(x0s) > 1:
            moved = [(a - b).square().mean() ** 0.5 for a, b in zip(x0s[-1], x0s[-2], strict=True)]
            if max(moved) < tolerance:
                break


RIGHT = [add_noise, ddim_step, guide, same_length, walked, until_still]

# Mistakes as a reader makes them, and what the message must name.


def per(level):
    return level[:, None, None, None]


def x0_of(x, eps, ab):
    return (x - math.sqrt(1 - ab) * eps) / math.sqrt(ab)


def halves(predict, x, t, first, second):
    return predict(torch.cat([x, x]), t, torch.cat([first, second])).chunk(2)


def without_batching(predict, x, t, cond, uncond, w):
    u = predict(x, t, uncond)
    return u + w * (predict(x, t, cond) - u)


def swapped_halves(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, cond, uncond)
    return u + w * (c - u)


def papers_w(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, uncond, cond)
    return (1 + w) * c - w * u


def one_less(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, uncond, cond)
    return u + (w - 1) * (c - u)


def no_origin(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, uncond, cond)
    return w * (c - u)


def from_c(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, uncond, cond)
    return c + w * (c - u)


def twice_over(predict, x, t, cond, uncond, w):
    predict(x, t, cond)
    return guide(predict, x, t, cond, uncond, w)


def first_of_pair_only(predict, x, t, cond, uncond, w):
    u, c = halves(predict, x, t, uncond, cond)
    return u[:1] + w * (c - u)


def eager(states, tolerance):
    return iter(list(until_still(iter(list(states)), tolerance)))


def drops_the_last(states, tolerance):
    before = None
    for state in states:
        if before is not None and before.x0 is not None:
            moved = (state.x0 - before.x0).square().flatten(1).mean(1).sqrt()
            if moved.max() < tolerance:
                return
        yield state
        before = state


def rests(value):
    """until_still for another measure of rest: value(state, state before), to lie below the tolerance."""

    def until_still(states, tolerance):
        before = None
        for state in states:
            yield state
            if before is not None and before.x0 is not None and value(state, before) < tolerance:
                return
            before = state

    return until_still


def never(states, tolerance):
    yield from states


def endless(states, tolerance):
    while True:
        yield State(0, torch.zeros(1, 1, 1, 1))


WRONG = [
    ("add_noise", lambda x0, eps, ab: per(ab) * x0 + per(1 - ab) * eps, "ab is a variance"),
    ("add_noise", lambda x0, eps, ab: per(ab) ** 0.5 * eps + per(1 - ab) ** 0.5 * x0, "exchanged"),
    ("add_noise", lambda x0, eps, ab: per(ab) ** 0.5 * x0 + per(1 - ab**0.5) * eps, "not 1 - sqrt(ab)"),
    ("add_noise", lambda x0, eps, ab: ab**0.5 * x0 + (1 - ab) ** 0.5 * eps, "one level for each picture"),
    ("add_noise", lambda x0, eps, ab: ab[0] ** 0.5 * x0 + (1 - ab[0]) ** 0.5 * eps, "differ"),
    ("add_noise", lambda x0, eps, ab: per(ab) ** 0.5 * x0, "got     [["),
    ("add_noise", lambda x0, eps, ab: x0 + per(((1 - ab) / ab) ** 0.5) * eps, "got     [["),
    (
        "add_noise",
        lambda x0, eps, ab: (x0 * per(ab) ** 0.5 + eps * per(1 - ab) ** 0.5).float(),
        "float32\n    wanted  tensor",
    ),
    ("ddim_step", x0_of, "raised  TypeError"),
    ("ddim_step", lambda x, eps, ab, ab_next: x0_of(x, eps, ab), "this is x0-hat"),
    ("ddim_step", lambda x, eps, ab, ab_next: ab_next**0.5 * x0_of(x, eps, ab), "noise of the next level is missing"),
    (
        "ddim_step",
        lambda x, eps, ab, ab_next: ab_next**0.5 * x0_of(x, eps, ab) + (1 - ab) ** 0.5 * eps,
        "the level left behind",
    ),
    (
        "ddim_step",
        lambda x, eps, ab, ab_next: ab_next**0.5 * ab**0.5 * x0_of(x, eps, ab) + (1 - ab_next) ** 0.5 * eps,
        "not divided by sqrt(ab)",
    ),
    (
        "ddim_step",
        lambda x, eps, ab, ab_next: ddim_step(x, eps, ab_next, ab),
        "the two levels are exchanged",
    ),
    ("ddim_step", lambda x, eps, ab, ab_next: ddim_step(x, eps, ab**2, ab_next**2), "got     [["),
    (
        "ddim_step",
        lambda x, eps, ab, ab_next: ab_next * (x - (1 - ab) * eps) / ab + (1 - ab_next) * eps,
        "its square root that multiplies",
    ),
    ("ddim_step", lambda x, eps, ab, ab_next: x - (1 - ab_next) ** 0.5 * eps, "got     [["),
    ("guide", swapped_halves, "u and c are exchanged"),
    ("guide", papers_w, "counts w from 0"),
    ("guide", one_less, "off by one in w"),
    ("guide", no_origin, "u is missing"),
    ("guide", from_c, "counts w from 0"),
    ("guide", without_batching, "right, but in two calls"),
    ("guide", twice_over, "calls of predict: 2"),
    ("guide", first_of_pair_only, "differ"),
    ("same_length", lambda g, c: g * (c.norm() / g.norm()), "over the whole batch"),
    ("same_length", lambda g, c: g * c.std() / g.std(), "got     "),
    (
        "same_length",
        lambda g, c: g * (c.norm(dim=1, keepdim=True) / g.norm(dim=1, keepdim=True)),
        "over the channels alone",
    ),
    ("same_length", lambda g, c: g * per(g.flatten(1).norm(dim=1) / c.flatten(1).norm(dim=1)), "upside down"),
    ("same_length", lambda g, c: g / per(g.flatten(1).norm(dim=1)), "this has length 1"),
    (
        "same_length",
        lambda g, c: g * (c.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1)),
        "one length for each picture",
    ),
    ("same_length", lambda g, c: c, "got     "),
    ("walked", lambda timesteps, strength: timesteps[: int(len(timesteps) * strength)], "the noisiest ones"),
    ("walked", lambda timesteps, strength: timesteps[int(len(timesteps) * strength) :], "what is skipped"),
    ("walked", lambda timesteps, strength: timesteps[-int(len(timesteps) * strength) :], "[-0:]"),
    (
        "walked",
        lambda timesteps, strength: timesteps[len(timesteps) - round(len(timesteps) * strength) :],
        "rounded down",
    ),
    (
        "walked",
        lambda timesteps, strength: timesteps[max(0, len(timesteps) - int(len(timesteps) * strength) - 1) :],
        "one step too many",
    ),
    (
        "walked",
        lambda timesteps, strength: timesteps[len(timesteps) - int(len(timesteps) * strength) + 1 :],
        "got     [1]",
    ),
    ("walked", lambda timesteps, strength: timesteps[timesteps < 1000 * strength], "got     "),
    ("walked", lambda timesteps, strength: walked(timesteps, strength).tolist(), "got     list [251, 1]"),
    ("until_still", eager, "nothing is saved"),
    ("until_still", drops_the_last, "must be handed on"),
    ("until_still", rests(lambda a, b: (a.x - b.x).square().mean().sqrt()), "this looks at x"),
    ("until_still", rests(lambda a, b: (a.x0 - b.x0).square().mean().sqrt()), "outvoted by its neighbours"),
    (
        "until_still",
        rests(lambda a, b: (a.x0 - b.x0).square().mean((1, 2, 3)).sqrt().min()),
        "as soon as any picture rests",
    ),
    ("until_still", never, "t of the states: [60, 50, 40, 30, 20, 10, -1]"),
    ("until_still", endless, "t of the states: [0, 0, 0, 0, 0, 0, 0, 0]"),
    ("until_still", lambda states, tolerance: 3, "raised  TypeError"),
]


def test_levels_along_the_columns_are_seen_where_broadcasting_lets_them_through():
    message = check("add_noise", lambda x0, eps, ab: ab**0.5 * x0 + (1 - ab) ** 0.5 * eps).message
    assert "x0 = tensor (3, 3, 3, 3) float32" in message
    assert "54 of 81 differ" in message


# The exercises ask for what the kit's fast functions do.


def test_the_exercises_answers_are_the_kits():
    schedule = Schedule.stable_diffusion()
    x, eps = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([10, 500, 999])
    torch.testing.assert_close(add_noise(x, eps, schedule.at(t).float()), schedule.add_noise(x, eps, t))
    down, _ = ddim.step(schedule, x, eps, 700, 300)
    torch.testing.assert_close(ddim_step(x, eps, schedule.at(700), schedule.at(300)), down)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.79, 1.0])
def test_image_to_image_walks_what_the_exercise_walks(strength):
    schedule, asked = Schedule.stable_diffusion(), []

    def predict(x, t, cond):
        asked.append(t)
        return x

    edit.image_to_image(predict, schedule, torch.ones(1, 4, 2, 2), strength=strength, steps=20)
    assert asked == walked(schedule.timesteps(20), strength).tolist()
