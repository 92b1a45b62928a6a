"""The exercises of walkthroughs/stable-diffusion.ipynb, each with a right answer and the mistakes one makes.

x, x0, eps   tensors (n, c, h, w)        the noisy latents, the clean ones, the noise
ab           alpha_bar, 0 < ab < 1       the share of signal in the variance of x
u, c         tensors like x              the noise predicted without and with the prompt
w            a number, 1 for none        the guidance in u + w (c - u)
"""

from __future__ import annotations

import random
from itertools import islice, pairwise

import torch
from torch import Tensor

from kit.diffusion import ddim
from kit.diffusion.ddim import State
from kit.diffusion.guidance import guided
from kit.diffusion.schedule import Schedule
from kit.exercises.checking import Exercise
from kit.exercises.inputs import Network, dtype, levels, normal, per_picture, shapes

# add_noise


def _add_noise(x0, eps, ab):
    return per_picture(ab.sqrt(), x0) * x0 + per_picture((1 - ab).sqrt(), x0) * eps


def _noise_inputs() -> list[dict]:
    def given(i, shape):
        x0, eps = normal(shape, 2 * i, dtype(i)), normal(shape, 2 * i + 1, dtype(i))
        return {"x0": x0, "eps": eps, "ab": levels(shape[0], i, dtype(i))}

    return [given(i, shape) for i, shape in enumerate(shapes(12))]


add_noise = Exercise(
    name="add_noise",
    asks="add_noise(x0, eps, ab), which returns x_t of Eq. 4; ab has shape (n,), one level for each picture.",
    answer=_add_noise,
    inputs=_noise_inputs,
    mistakes={
        "ab is a variance: its square root multiplies x0, and the root of 1 - ab multiplies eps.": (
            lambda x0, eps, ab: per_picture(ab, x0) * x0 + per_picture(1 - ab, x0) * eps
        ),
        "the two factors are exchanged: at ab = 1 nothing but x0 must be left.": (
            lambda x0, eps, ab: _add_noise(eps, x0, ab)
        ),
        "the factor of eps is sqrt(1 - ab), not 1 - sqrt(ab): variances add up to 1, factors do not.": (
            lambda x0, eps, ab: per_picture(ab.sqrt(), x0) * x0 + per_picture(1 - ab.sqrt(), x0) * eps
        ),
        "(n,) lines up with the last axis, the columns: make it (n, 1, 1, 1) to have one level for each picture.": (
            lambda x0, eps, ab: ab.sqrt() * x0 + (1 - ab).sqrt() * eps
        ),
    },
)


# ddim_step


def _ddim_step(x, eps, ab, ab_next):
    # A schedule of two levels: timestep 0 holds ab, and below it lies ab_next.
    return ddim.step(Schedule(torch.tensor([ab], dtype=torch.float64), ab_next), x, eps, 0, -1)[0]


def _x0(x, eps, ab):
    return (x - (1 - ab) ** 0.5 * eps) / ab**0.5


def _step_inputs() -> list[dict]:
    luck = random.Random(1)

    def given(i, shape):
        ab, ab_next = sorted(round(luck.uniform(0.05, 0.99), 3) for _ in range(2))
        x, eps = normal(shape, 2 * i, dtype(i)), normal(shape, 2 * i + 1, dtype(i))
        return {"x": x, "eps": eps, "ab": ab, "ab_next": 1.0 if i == 3 else ab_next}

    return [given(i, shape) for i, shape in enumerate(shapes(12))]


ddim_step = Exercise(
    name="ddim_step",
    asks="ddim_step(x, eps, ab, ab_next), which returns x at the level ab_next (Eq. 12 without new noise).",
    answer=_ddim_step,
    inputs=_step_inputs,
    mistakes={
        "this is x0-hat: it still wants its noise back, sqrt(1 - ab_next) eps, and its factor sqrt(ab_next).": (
            lambda x, eps, ab, ab_next: _x0(x, eps, ab)
        ),
        "the noise of the next level is missing: sqrt(ab_next) x0-hat alone is not at any level.": (
            lambda x, eps, ab, ab_next: ab_next**0.5 * _x0(x, eps, ab)
        ),
        "the noise put back belongs to the level left behind: wanted sqrt(1 - ab_next), not sqrt(1 - ab).": (
            lambda x, eps, ab, ab_next: ab_next**0.5 * _x0(x, eps, ab) + (1 - ab) ** 0.5 * eps
        ),
        "x0-hat is not divided by sqrt(ab): x_t holds only sqrt(ab) of x0.": (
            lambda x, eps, ab, ab_next: ab_next**0.5 * (x - (1 - ab) ** 0.5 * eps) + (1 - ab_next) ** 0.5 * eps
        ),
        "the two levels are exchanged: this walks from ab_next to ab, towards more noise.": (
            lambda x, eps, ab, ab_next: ab**0.5 * _x0(x, eps, ab_next) + (1 - ab) ** 0.5 * eps
        ),
        "ab is a variance: it is its square root that multiplies.": (
            lambda x, eps, ab, ab_next: ab_next * (x - (1 - ab) * eps) / ab + (1 - ab_next) * eps
        ),
    },
)


# guide


def _guide_inputs() -> list[dict]:
    def given(i, shape):
        n, L, d = shape[0], 1 + i % 3, 1 if i == 0 else 4
        pair = [normal((n, L, d), 100 + 2 * i + j, dtype(i)) for j in range(2)]
        inputs = {"predict": Network(), "x": normal(shape, i, dtype(i)), "t": 1 + 83 * i}
        return inputs | {"cond": pair[0], "uncond": pair[1], "w": (3.0, 7.5, 2.0, -1.0, 0.5)[i % 5]}

    return [given(i, shape) for i, shape in enumerate(shapes(10))]


def _observe_guide(function, arguments: dict) -> dict:
    network = Network()
    result = function(network, *list(arguments.values())[1:])
    return {"result": result, "calls of predict": network.calls, "pictures through predict": network.rows}


def _in_one_call(combine):
    """guide, with another way to combine u and c."""

    def guide(predict, x, t, cond, uncond, w):
        u, c = predict(torch.cat([x, x]), t, torch.cat([uncond, cond])).chunk(2)
        return combine(u, c, w)

    return guide


def _in_two_calls(predict, x, t, cond, uncond, w):
    u, c = predict(x, t, uncond), predict(x, t, cond)
    return u + w * (c - u)


guide = Exercise(
    name="guide",
    asks="guide(predict, x, t, cond, uncond, w), which returns u + w (c - u) with one call of predict on 2n pictures.",
    answer=lambda predict, x, t, cond, uncond, w: guided(predict, uncond, w)(x, t, cond),
    inputs=_guide_inputs,
    observe=_observe_guide,
    mistakes={
        "u and c are exchanged: chunk hands the halves back in the order in which cat took them.": (
            _in_one_call(lambda u, c, w: c + w * (u - c))
        ),
        "this counts w from 0, as the paper does: here w = 1 must give c.": _in_one_call(
            lambda u, c, w: (1 + w) * c - w * u
        ),
        "this is off by one in w: w = 1 must give c, and w = 0 must give u.": _in_one_call(
            lambda u, c, w: u + (w - 1) * (c - u)
        ),
        "u is missing: w (c - u) is only the way from u, not the place.": _in_one_call(lambda u, c, w: w * (c - u)),
        "right, but in two calls: put both halves in one batch, which takes little longer than one half.": (
            _in_two_calls
        ),
    },
)


# same_length


def _same_length(g, c):
    def lengths(x):
        return per_picture(torch.linalg.vector_norm(x.flatten(1), dim=1), x)

    return g * lengths(c) / lengths(g)


def _length_inputs() -> list[dict]:
    return [
        {"g": normal(shape, 2 * i, dtype(i)), "c": normal(shape, 2 * i + 1, dtype(i))}
        for i, shape in enumerate(shapes(10))
    ]


same_length = Exercise(
    name="same_length",
    asks="same_length(g, c), which returns g with each picture of the batch made as long as that of c.",
    answer=_same_length,
    inputs=_length_inputs,
    mistakes={
        "(n,) lines up with the last axis, the columns: make it (n, 1, 1, 1) to have one length for each picture.": (
            lambda g, c: g * (c.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1))
        ),
        "one length was taken over the whole batch, so that a picture depends on its neighbours.": (
            lambda g, c: g * c.norm() / g.norm()
        ),
        "the lengths were taken over the channels alone: one length a pixel, wanted one a picture.": (
            lambda g, c: g * c.norm(dim=1, keepdim=True) / g.norm(dim=1, keepdim=True)
        ),
        "the ratio is upside down: multiply by the length of c, divide by that of g.": (
            lambda g, c: g * (g / _same_length(g, c))
        ),
        "this has length 1: it is divided by its own length, and not yet multiplied by that of c.": (
            lambda g, c: _same_length(g, c) / per_picture(c.flatten(1).norm(dim=1), c)
        ),
    },
)


# walked


def _walked(timesteps, strength):
    return timesteps[len(timesteps) - int(len(timesteps) * strength) :]


def _walked_inputs() -> list[dict]:
    schedule = Schedule.stable_diffusion()
    pairs = [(4, 0.5), (4, 0.7), (4, 1.0), (4, 0.0), (5, 0.1), (20, 0.3), (20, 0.79), (50, 0.999), (1, 1.0)]
    return [{"timesteps": schedule.timesteps(steps), "strength": strength} for steps, strength in pairs]


walked = Exercise(
    name="walked",
    asks="walked(timesteps, strength), which returns the last int(steps * strength) of the falling timesteps.",
    answer=_walked,
    inputs=_walked_inputs,
    mistakes={
        "these are the first, the noisiest ones: a picture that keeps its layout starts late.": (
            lambda timesteps, strength: timesteps[: int(len(timesteps) * strength)]
        ),
        "strength counts what is walked, not what is skipped: at 0.7 most of the steps are left.": (
            lambda timesteps, strength: timesteps[int(len(timesteps) * strength) :]
        ),
        "[-0:] is the whole of a tensor: strength 0 must walk no step at all.": (
            lambda timesteps, strength: timesteps[-int(len(timesteps) * strength) :]
        ),
        "steps are rounded down with int(), as diffusers does.": (
            lambda timesteps, strength: timesteps[len(timesteps) - round(len(timesteps) * strength) :]
        ),
        "one step too many.": (
            lambda timesteps, strength: timesteps[max(len(timesteps) - int(len(timesteps) * strength) - 1, 0) :]
        ),
    },
)


# until_still


def _moved(a: Tensor, b: Tensor) -> Tensor:
    """The root mean square of the difference, (n,)."""
    return (a - b).flatten(1).square().mean(1).sqrt()


def _until_still(states, tolerance):
    before = None
    for state in states:
        yield state
        if before is not None and before.x0 is not None and (_moved(state.x0, before.x0) < tolerance).all():
            return
        before = state


def _paths(n: int, settle: list[int], length: int, seed: int) -> list[State]:
    """A made-up path on which the x0 of picture i keeps moving until step settle[i]; its x never rests."""
    x0, states = torch.zeros(n, 2, 2, 2), [State(length * 10, normal((n, 2, 2, 2), seed))]
    for k in range(1, length + 1):
        pace = torch.tensor([1.0 if k <= settle[i] else 0.01 for i in range(n)])
        x0 = x0 + per_picture(pace, x0) * torch.ones_like(x0)
        t = (length - k) * 10 if k < length else -1
        states.append(State(t, normal((n, 2, 2, 2), seed + k), x0, torch.zeros_like(x0)))
    return states


def _still_inputs() -> list[dict]:
    makings = [(1, [2], 6), (1, [4], 6), (2, [2, 4], 8), (3, [5, 2, 3], 8), (1, [9], 5), (8, [1] * 7 + [4], 7)]
    return [
        {"states": _Path(_paths(n, settle, length, 10 * i)), "tolerance": 0.5}
        for i, (n, settle, length) in enumerate(makings)
    ]


class _Path(list):
    """States that introduce themselves briefly."""

    @property
    def __name__(self):
        moves = [f"{_moved(b.x0, a.x0).max().item():.2g}" for a, b in pairwise(self[1:])]
        return f"a path of {len(self)} states, {len(self[0].x)} picture(s), whose x0 moves by {', '.join(moves)}"


def _observe_states(function, arguments: dict) -> dict:
    taken = []

    def source():
        for state in arguments["states"]:
            taken.append(state.t)
            yield state

    states = function(source(), arguments["tolerance"])
    if states is None:
        return {"result": None}
    states = list(islice(states, len(arguments["states"]) + 1))  # an answer may go on for ever
    return {"t of the states": [state.t for state in states], "states taken from the path": len(taken)}


def _stops(moved, late=False, eager=False):
    """until_still with another idea of standing still."""

    def until_still(states, tolerance):
        states, before = list(states) if eager else states, None
        for state in states:
            still = before is not None and before.x0 is not None and moved(state, before, tolerance)
            if still and late:
                return
            yield state
            if still:
                return
            before = state

    return until_still


def _x0_rests(state, before, tolerance):
    return bool((_moved(state.x0, before.x0) < tolerance).all())


until_still = Exercise(
    name="until_still",
    asks=(
        "until_still(states, tolerance), a generator that hands on each state and ends after the first whose x0 lies "
        "less than tolerance (root mean square) from that of the state before, in every picture."
    ),
    answer=_until_still,
    inputs=_still_inputs,
    observe=_observe_states,
    mistakes={
        "the whole path was computed before the first state was handed on: nothing is saved by stopping then.": (
            _stops(_x0_rests, eager=True)
        ),
        "the state that stands still must be handed on, too: it is the result.": _stops(_x0_rests, late=True),
        "this looks at x, which moves at every step; x0 is what settles.": _stops(
            lambda state, before, tolerance: bool((_moved(state.x, before.x) < tolerance).all())
        ),
        "one average over the batch: a picture that still moves is outvoted by its neighbours.": _stops(
            lambda state, before, tolerance: bool((state.x0 - before.x0).square().mean().sqrt() < tolerance)
        ),
        "this stops as soon as any picture rests; wanted all.": _stops(
            lambda state, before, tolerance: bool((_moved(state.x0, before.x0) < tolerance).any())
        ),
    },
)


EXERCISES = (add_noise, ddim_step, guide, same_length, walked, until_still)
