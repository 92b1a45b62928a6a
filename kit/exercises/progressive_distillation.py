"""The exercises of walkthroughs/progressive-distillation-2202.00512.ipynb, each with a right answer and the mistakes.

z, x, v            tensors (n, c, h, w)     noisy latents, clean ones, and alpha eps - sigma x
alpha_bar          a tensor (n,) or (levels,)    alpha^2, the share of signal in the variance; the clean end first
teacher            teacher(z, i) -> x       what a made-up network takes the clean latents for, at level i
i, teacher_steps, steps    whole numbers     a level of the teacher; how many steps it and its last student take
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from kit.diffusion import distill
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, levels, normal, per_picture, shapes

# clean_and_noise


def _told() -> list[dict]:
    return [
        {
            "z": normal(shape, 2 * i, dtype(i)),
            "v": normal(shape, 2 * i + 1, dtype(i)),
            "alpha_bar": levels(shape[0], i, dtype(i)),
        }
        for i, shape in enumerate(shapes(8))
    ]


def _rotated(a, b, c, d, root=True):
    """x = a alpha z + b sigma v, eps = c sigma z + d alpha v."""

    def clean_and_noise(z, v, alpha_bar):
        power = 0.5 if root else 1
        alpha, sigma = (per_picture(level**power, z) for level in (alpha_bar, 1 - alpha_bar))
        return torch.stack([a * alpha * z + b * sigma * v, c * sigma * z + d * alpha * v])

    return clean_and_noise


def _swapped(z, v, alpha_bar):
    return _rotated(1, -1, 1, 1)(z, v, alpha_bar).flip(0)


clean_and_noise = Exercise(
    name="clean_and_noise",
    asks=(
        "clean_and_noise(z, v, alpha_bar), which returns torch.stack([x, eps]) such that z = alpha x + sigma eps and "
        "v = alpha eps - sigma x, (n, c, h, w), where alpha^2 = alpha_bar (n,) and sigma^2 = 1 - alpha_bar."
    ),
    answer=_rotated(1, -1, 1, 1),
    inputs=_told,
    mistakes={
        "this turns the wrong way: x = alpha z - sigma v, eps = sigma z + alpha v.": _rotated(1, 1, -1, 1),
        "alpha and sigma are roots: alpha_bar and 1 - alpha_bar are variances.": _rotated(1, -1, 1, 1, root=False),
        "the two came in the other order; wanted (x, eps).": _swapped,
        "the sign of x's second term: v holds minus sigma x.": _rotated(1, 1, 1, 1),
        "the sign of the noise's second term: v holds plus alpha eps.": _rotated(1, -1, 1, -1),
    },
)


# error_of_x


def _says(factor) -> Callable:
    return lambda error, alpha_bar, says: error * factor(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), says)


def _off(alpha, sigma, says):
    return {"x": torch.ones_like(alpha), "eps": sigma / alpha, "v": sigma}[says]


def _answers() -> list[dict]:
    def given(k, n, says):
        alpha_bar = levels(n, k, dtype(k))
        alpha_bar[0] = 0  # all noise
        return {"error": normal((n,), k + 50, dtype(k)).abs(), "alpha_bar": alpha_bar, "says": says}

    return [given(k, 2 + k % 5, says) for k, says in enumerate(("eps", "v", "x") * 3)]


error_of_x = Exercise(
    name="error_of_x",
    asks=(
        "error_of_x(error, alpha_bar, says), which returns (n,): how far x is off where what the network says is off "
        'by error (n,), at levels alpha_bar (n,), from 0 on; says is "x", "eps" or "v".'
    ),
    answer=_says(_off),
    inputs=_answers,
    mistakes={
        "for eps this is upside down: x = (z - sigma eps) / alpha.": _says(
            lambda alpha, sigma, says: alpha / sigma if says == "eps" else _off(alpha, sigma, says)
        ),
        "x = (z - sigma eps) / alpha: what the noise is off by is divided by alpha as well.": _says(
            lambda alpha, sigma, says: sigma if says == "eps" else _off(alpha, sigma, says)
        ),
        "sigma and alpha are roots of 1 - alpha_bar and alpha_bar.": _says(
            lambda alpha, sigma, says: _off(alpha.square(), sigma.square(), says)
        ),
        "for v, x = alpha z - sigma v: only sigma counts.": _says(
            lambda alpha, sigma, says: alpha if says == "v" else _off(alpha, sigma, says)
        ),
        "for v nothing is divided by alpha: that is what v is for.": _says(
            lambda alpha, sigma, says: sigma / alpha if says == "v" else _off(alpha, sigma, says)
        ),
        "without any signal an error of eps is no large number but infinite: leave it so.": (
            lambda error, alpha_bar, says: _says(_off)(error, alpha_bar.clamp(min=1e-8), says)
        ),
    },
)


# truncated_weight


def _per_row(weigh):
    return lambda error, alpha_bar: weigh(error, alpha_bar / (1 - alpha_bar))


truncated_weight = Exercise(
    name="truncated_weight",
    asks=(
        "truncated_weight(error, alpha_bar), which returns (n,): each picture's squared error of x, error (n,), times "
        "its truncated SNR, max(alpha^2 / sigma^2, 1)."
    ),
    answer=lambda error, alpha_bar: error * distill.weight(alpha_bar),
    inputs=lambda: [
        {"error": normal((n,), i, dtype(i)).square(), "alpha_bar": levels(n, i, dtype(i)) * (torch.arange(n) > 0)}
        for i, n in enumerate((2, 5, 3, 7, 4, 12))
    ],
    mistakes={
        "nothing was truncated: where there is next to no signal this weight is next to nothing.": _per_row(
            lambda error, snr: error * snr
        ),
        "this truncates from above: wanted the larger of SNR and 1.": _per_row(
            lambda error, snr: error * snr.clamp(max=1)
        ),
        "this is SNR + 1, the error of v: the paper's other choice.": _per_row(lambda error, snr: error * (snr + 1)),
        "SNR is alpha^2 / sigma^2; alpha_bar alone is a share, never above 1.": (
            lambda error, alpha_bar: error * alpha_bar.clamp(min=1)
        ),
        "this is 1 / SNR: signal over noise, not noise over signal.": _per_row(
            lambda error, snr: error * (1 / snr).clamp(min=1)
        ),
        "the weight was divided by; wanted the error times it.": _per_row(lambda error, snr: error / snr.clamp(min=1)),
        "one number came back; wanted one for each picture.": _per_row(
            lambda error, snr: (error * snr.clamp(min=1)).mean()
        ),
    },
)


# two_in_one


class _Teacher:
    """A made-up network, different at every level, that counts its calls."""

    __name__ = "a made-up teacher(z, i)"

    def __init__(self):
        self.calls = 0

    def __call__(self, z, i):
        self.calls += 1
        return torch.tanh(z + z.mean((1, 2, 3), keepdim=True)) * (1 + i / 10)


def _ddim(z, x, ab, ab_next):
    ratio = ((1 - ab_next) / (1 - ab)) ** 0.5
    return ratio * z + (ab_next**0.5 - ratio * ab**0.5) * x


def _inverted(z, z_end, ab, ab_end):
    ratio = ((1 - ab_end) / (1 - ab)) ** 0.5
    return (z_end - ratio * z) / (ab_end**0.5 - ratio * ab**0.5)


def _halvings(mid=1, end=2, *, ask=1, again=True, invert=True, squared=False, inverted=(0, 2)):
    """two_in_one with a slip: other levels, another place to ask at, no second step, no inversion."""

    def two_in_one(teacher, z, i, alpha_bar):
        def level(k):
            return alpha_bar[i - k] ** (2 if squared else 1)

        x = teacher(z, i)
        z_mid = _ddim(z, x, level(0), level(mid))
        x = teacher(z_mid if again else z, i - ask)
        z_end = _ddim(z_mid, x, level(mid), level(end))
        return _inverted(z, z_end, *(level(k) for k in inverted)) if invert else x

    return two_in_one


def _once(teacher, z, i, alpha_bar):
    teacher(z, i)
    return teacher(z, i)


def _z_end(teacher, z, i, alpha_bar):
    z_mid = _ddim(z, teacher(z, i), alpha_bar[i], alpha_bar[i - 1])
    return _ddim(z_mid, teacher(z_mid, i - 1), alpha_bar[i - 1], alpha_bar[i - 2])


def _mean(teacher, z, i, alpha_bar):
    first = teacher(z, i)
    return (first + teacher(_ddim(z, first, alpha_bar[i], alpha_bar[i - 1]), i - 1)) / 2


def _taught() -> list[dict]:
    def given(k, shape):
        count = (4, 6, 9)[k % 3]
        alpha_bar = torch.linspace(0.99, 0.1, count, dtype=torch.float64).to(dtype(k))
        return {
            "teacher": _Teacher(),
            "z": normal(shape, k, dtype(k)),
            "i": 2 + k % (count - 2),
            "alpha_bar": alpha_bar,
        }

    return [given(k, shape) for k, shape in enumerate(shapes(8))]


def _observe_teacher(function, arguments: dict) -> dict:
    teacher = _Teacher()
    result = function(teacher, *list(arguments.values())[1:])
    return {"result": result, "calls of teacher": teacher.calls}


two_in_one = Exercise(
    name="two_in_one",
    asks=(
        "two_in_one(teacher, z, i, alpha_bar), which returns x-tilde (n, c, h, w): with it one DDIM step from the "
        "teacher's level i to i - 2 ends where its two steps end, by way of i - 1; teacher(z, i) is called twice."
    ),
    answer=_halvings(),
    inputs=_taught,
    observe=_observe_teacher,
    mistakes={
        "t' and t'' are swapped: the first step goes to i - 1, the second to i - 2.": _halvings(2, 1, inverted=(0, 2)),
        "this is the teacher's second answer; one step with it does not end where the two steps end.": _halvings(
            invert=False
        ),
        "this is the teacher's first answer: the student would learn to take the teacher's own, coarser step.": _once,
        "this is where the two steps end, z at i - 2; wanted the x that one step to there needs.": _z_end,
        "the second time, ask at the level z has by then, i - 1.": _halvings(ask=0),
        "the second answer is asked of the z that the first step made.": _halvings(again=False),
        "the inversion belongs to the whole step, from i to i - 2.": _halvings(inverted=(0, 1)),
        "the two answers do not count alike; how much each does depends on the levels.": _mean,
        "alpha_bar was squared: alpha is its root.": _halvings(squared=True),
    },
)


# share_of_first


def _angles() -> list[dict]:
    def given(k, h, n):
        luck = torch.Generator().manual_seed(k)
        share = torch.rand(n, generator=luck, dtype=torch.float64).to(dtype(k))
        return {"phi": 2 * h + share * (math.pi / 2 - 2 * h), "h": h}

    return [given(k, math.pi / 4 / steps, n) for k, (steps, n) in enumerate(((1, 1), (2, 3), (4, 2), (16, 5), (64, 4)))]


share_of_first = Exercise(
    name="share_of_first",
    asks=(
        "share_of_first(phi, h), which returns c (k,): where each of the teacher's two steps turns by h, from phi (k,) "
        "to phi - h to phi - 2 h, x-tilde = c x_first + (1 - c) x_second of its two answers."
    ),
    answer=lambda phi, h: (phi - 2 * h).sin() / (2 * math.cos(h) * (phi - h).sin()),
    inputs=_angles,
    mistakes={
        "this is what the second answer counts; c is the first's.": (
            lambda phi, h: 1 - (phi - 2 * h).sin() / (2 * math.cos(h) * (phi - h).sin())
        ),
        "half each is the limit of many steps, not the answer.": lambda phi, h: torch.full_like(phi, 0.5),
        "each of the teacher's steps turns by h; the student's turns by 2 h.": (
            lambda phi, h: (phi - h).sin() / (2 * math.cos(h / 2) * (phi - h / 2).sin())
        ),
        "that is how much of z is left after both steps; c is how much the first answer is worth.": (
            lambda phi, h: (phi - 2 * h).sin() / phi.sin()
        ),
    },
)


# updates_paid


def _paid(per_update, made=1):
    return lambda teacher_steps, steps, updates: per_update * updates * round(math.log2(teacher_steps / steps)) * made


updates_paid = Exercise(
    name="updates_paid",
    asks=(
        "updates_paid(teacher_steps, steps, updates), which returns how often a network is run forward to distil "
        "teacher_steps to steps, one picture an update, with updates in each halving."
    ),
    answer=_paid(3),
    inputs=lambda: [
        {"teacher_steps": first, "steps": last, "updates": updates}
        for first, last, updates in ((2, 1, 10), (1024, 1, 50_000), (8192, 4, 50_000), (32, 8, 700), (4, 4, 5))
    ],
    mistakes={
        "the student is run, too: two of the teacher and one of the student.": _paid(2),
        "the teacher walks two steps for each of the student's: it is run twice.": _paid(1),
        "only the halvings count, log2 of the ratio; each takes the same number of updates.": (
            lambda teacher_steps, steps, updates: 3 * updates * (teacher_steps - steps)
        ),
        "an update walks two of the teacher's steps, wherever they lie, not the whole path.": (
            lambda teacher_steps, steps, updates: (
                updates * round(math.log2(teacher_steps / steps)) * (teacher_steps + steps)
            )
        ),
    },
)


EXERCISES = (clean_and_noise, error_of_x, truncated_weight, two_in_one, share_of_first, updates_paid)
