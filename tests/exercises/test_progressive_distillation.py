"""Progressive distillation's exercises: right answers written apart, and wrong ones that must be told why."""

import math

import torch

from kit.diffusion import distill
from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, by angles, or in another form than the checker's own.


def clean_and_noise(z, v, alpha_bar):
    rows = []
    for one, other, level in zip(z, v, alpha_bar.tolist(), strict=True):
        turn = torch.tensor([[math.sqrt(level), -math.sqrt(1 - level)], [math.sqrt(1 - level), math.sqrt(level)]])
        rows.append(torch.einsum("ab,bchw->achw", turn.to(one), torch.stack([one, other])))
    return torch.stack(rows, 1)


def error_of_x(error, alpha_bar, says):
    """By trying it: a z and a network's answer, right and off by so much."""
    found = []
    for off, level in zip(error.tolist(), alpha_bar.tolist(), strict=True):
        alpha, sigma = math.sqrt(level), math.sqrt(1 - level)
        wrong = {"x": off, "v": alpha * 0.3 - sigma * (0.7 + off) - (alpha * 0.3 - sigma * 0.7)}
        wrong["eps"] = ((0.3 - sigma * (0.7 + off)) - (0.3 - sigma * 0.7)) / alpha if alpha else math.inf
        found.append(abs(wrong[says]))
    return torch.tensor(found).to(error)


def truncated_weight(error, alpha_bar):
    return torch.stack([e * max(float(a) / (1 - float(a)), 1.0) for e, a in zip(error, alpha_bar, strict=True)])


def two_in_one(teacher, z, i, alpha_bar):
    angle = [math.acos(math.sqrt(float(level))) for level in alpha_bar]

    def turned(z, x, phi, to):
        eps = (z - math.cos(phi) * x) / math.sin(phi)
        return math.cos(to) * x + math.sin(to) * eps

    z_mid = turned(z, teacher(z, i), angle[i], angle[i - 1])
    z_end = turned(z_mid, teacher(z_mid, i - 1), angle[i - 1], angle[i - 2])
    ratio = math.sin(angle[i - 2]) / math.sin(angle[i])
    return (z_end - ratio * z) / (math.cos(angle[i - 2]) - ratio * math.cos(angle[i]))


def share_of_first(phi, h):
    """From Algorithm 2 itself, with a teacher whose first answer is 1 and whose second is 0."""

    def one(phi):
        z_mid = math.cos(phi - h) - math.sin(phi - h) / math.sin(phi) * math.cos(phi)
        z_end = math.sin(phi - 2 * h) / math.sin(phi - h) * z_mid
        return z_end / (math.cos(phi - 2 * h) - math.sin(phi - 2 * h) / math.sin(phi) * math.cos(phi))

    return torch.tensor([one(float(angle)) for angle in phi]).to(phi)


def updates_paid(teacher_steps, steps, updates):
    paid = 0
    while teacher_steps > steps:
        teacher_steps //= 2
        paid += sum([updates, updates, updates])
    return paid


RIGHT = [clean_and_noise, error_of_x, truncated_weight, two_in_one, share_of_first, updates_paid]

# Mistakes as a reader makes them, and what the message must name.


def angles(alpha_bar, z):
    phi = torch.acos(alpha_bar.sqrt()).view(-1, 1, 1, 1).to(z)
    return phi.cos(), phi.sin()


def turned_back(z, v, alpha_bar):
    cos, sin = angles(alpha_bar, z)
    return torch.stack([cos * z + sin * v, cos * v - sin * z])


def without_roots(z, v, alpha_bar):
    level = alpha_bar.view(-1, 1, 1, 1)
    return torch.stack([level * z - (1 - level) * v, (1 - level) * z + level * v])


def noise_first(z, v, alpha_bar):
    cos, sin = angles(alpha_bar, z)
    return torch.stack([sin * z + cos * v, cos * z - sin * v])


def plus(z, v, alpha_bar):
    cos, sin = angles(alpha_bar, z)
    return torch.stack([cos * z + sin * v, sin * z + cos * v])


def minus(z, v, alpha_bar):
    cos, sin = angles(alpha_bar, z)
    return torch.stack([cos * z - sin * v, sin * z - cos * v])


def off_by(of_eps=None, of_v=None, power=0.5, least=0.0):
    """error_of_x with another factor for eps or for v, with other powers, or without the level of no signal."""

    def answer(error, alpha_bar, says):
        alpha, sigma = (level**power for level in (alpha_bar.clip(least), 1 - alpha_bar))
        if says == "eps":
            return error * (of_eps(alpha, sigma) if of_eps else sigma / alpha)
        return error * (of_v(alpha, sigma) if of_v else sigma) if says == "v" else 1.0 * error

    return answer


def snr(alpha_bar):
    return alpha_bar / (1 - alpha_bar)


def walked(levels=(0, 1, 2), *, asked=(0, 1), of_first=False, ends="inverted", power=1, whole=(0, 2)):
    """two_in_one in angles, with other levels on the way, asked elsewhere, or with another end."""

    def answer(teacher, z, i, alpha_bar):
        def root(k):
            return (alpha_bar[i - k] ** power).sqrt()

        def rest(k):
            return (1 - alpha_bar[i - k] ** power).sqrt()

        def go(z, x, a, b):
            return root(b) * x + rest(b) * (z - root(a) * x) / rest(a)

        first = teacher(z, i - asked[0])
        z_mid = go(z, first, levels[0], levels[1])
        second = teacher(z if of_first else z_mid, i - asked[1])
        z_end = go(z_mid, second, levels[1], levels[2])
        ratio = rest(whole[1]) / rest(whole[0])
        target = (z_end - ratio * z) / (root(whole[1]) - ratio * root(whole[0]))
        return {"inverted": target, "second": second, "first": first, "z": z_end, "mean": (first + second) / 2}[ends]

    return answer


def first_share(phi, h):
    return (torch.sin(phi - 2 * h) / torch.sin(phi - h)) / (2 * math.cos(h))


WRONG = [
    ("clean_and_noise", turned_back, "turns the wrong way"),
    ("clean_and_noise", without_roots, "are roots"),
    ("clean_and_noise", noise_first, "in the other order"),
    ("clean_and_noise", plus, "sign of x's second term"),
    ("clean_and_noise", minus, "sign of the noise's second term"),
    ("error_of_x", off_by(of_eps=lambda alpha, sigma: alpha / sigma), "upside down"),
    ("error_of_x", off_by(of_eps=lambda alpha, sigma: sigma), "divided by alpha as well"),
    ("error_of_x", off_by(power=1), "are roots"),
    ("error_of_x", off_by(of_v=lambda alpha, sigma: alpha), "only sigma counts"),
    ("error_of_x", off_by(of_v=lambda alpha, sigma: sigma / alpha), "what v is for"),
    ("error_of_x", off_by(least=1e-8), "but infinite"),
    ("truncated_weight", lambda error, alpha_bar: error * snr(alpha_bar), "nothing was truncated"),
    (
        "truncated_weight",
        lambda error, alpha_bar: error * snr(alpha_bar).clip(None, 1),
        "from above",
    ),
    ("truncated_weight", lambda error, alpha_bar: error / (1 - alpha_bar), "SNR + 1"),
    ("truncated_weight", lambda error, alpha_bar: error * alpha_bar.clip(1), "a share"),
    (
        "truncated_weight",
        lambda error, alpha_bar: error * (1 / snr(alpha_bar)).clip(1),
        "1 / SNR",
    ),
    (
        "truncated_weight",
        lambda error, alpha_bar: error / snr(alpha_bar).clip(1),
        "divided by",
    ),
    (
        "truncated_weight",
        lambda error, alpha_bar: (error * snr(alpha_bar).clamp(min=1)).sum() / len(error),
        "one number",
    ),
    ("two_in_one", walked((0, 2, 1)), "swapped"),
    ("two_in_one", walked(ends="second"), "second answer; one step"),
    ("two_in_one", walked(asked=(0, 0), of_first=True, ends="first"), "first answer"),
    ("two_in_one", walked(ends="z"), "where the two steps end"),
    ("two_in_one", walked(asked=(0, 0)), "the level z has by then"),
    ("two_in_one", walked(of_first=True), "that the first step made"),
    ("two_in_one", walked(whole=(0, 1)), "the whole step"),
    ("two_in_one", walked(ends="mean"), "do not count alike"),
    ("two_in_one", walked(power=2), "was squared"),
    ("share_of_first", lambda phi, h: 1 - first_share(phi, h), "second answer counts"),
    ("share_of_first", lambda phi, h: 0 * phi + 1 / 2, "the limit of many steps"),
    ("share_of_first", lambda phi, h: first_share(phi, h / 2), "turns by 2 h"),
    ("share_of_first", lambda phi, h: torch.sin(phi - 2 * h) / torch.sin(phi), "how much of z is left"),
    ("updates_paid", lambda first, last, updates: 2 * updates * int(math.log2(first // last)), "the student is run"),
    ("updates_paid", lambda first, last, updates: updates * int(math.log2(first // last)), "run twice"),
    ("updates_paid", lambda first, last, updates: 3 * updates * (first - last), "log2 of the ratio"),
    (
        "updates_paid",
        lambda first, last, updates: updates * (first + last) * int(math.log2(first // last)),
        "wherever they lie",
    ),
]


def test_the_kits_target_is_what_two_in_one_asks_for():
    exercise = EXERCISES["two_in_one"]
    for given in exercise.inputs():
        teacher, z, i, alpha_bar = given.values()

        def network(z, t, teacher=teacher, alpha_bar=alpha_bar):
            ab = alpha_bar[int(t[0])]
            return (ab**0.5 * z - teacher(z, int(t[0]))) / (1 - ab) ** 0.5

        times = torch.arange(len(alpha_bar))
        found = distill.target(network, distill.Levels(times, alpha_bar.double()), z, torch.full((len(z),), i))
        assert torch.allclose(found.to(z), exercise.answer(teacher, z, i, alpha_bar), atol=2e-4)
