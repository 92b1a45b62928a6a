"""The guidance walkthrough's exercises: right answers written apart, and wrong ones that must be told why."""

import math

import torch

from kit.diffusion.schedule import Schedule
from kit.exercises import EXERCISES
from tests.diffusion.worlds import normal, three_classes

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def leave_out(cond, null, luck, p):
    return torch.stack([null[0] if u < p else row for row, u in zip(cond, luck.tolist(), strict=True)])


def classifier_slope(u, c, ab):
    return torch.stack([(b - a) / -math.sqrt(1 - level) for a, b, level in zip(u, c, ab.tolist(), strict=True)])


def length(x):
    return math.sqrt(x.square().sum())


def t_norm(u, c, g):
    return torch.stack([a + (b - a) * (g * length(a) / length(b - a)) for a, b in zip(u, c, strict=True)])


def spread(x):
    return math.sqrt((x - x.mean()).square().mean())


def std_rescale(u, c, w, phi):
    def one(a, b):
        guided = w * b + (1 - w) * a
        return guided * (1 - phi + phi * spread(b) / spread(guided))  # the mean's n - 1 cancels in the ratio

    return torch.stack([one(a, b) for a, b in zip(u, c, strict=True)])


def guide_within(predict, x, t, cond, uncond, w, low, high):
    if t < low or t > high:
        return predict(x, t, cond)
    both = predict(x.repeat(2, 1, 1, 1), t, torch.cat([cond, uncond]))
    c, u = both[: len(x)], both[len(x) :]
    return w * c + (1 - w) * u


RIGHT = [leave_out, classifier_slope, t_norm, std_rescale, guide_within]

# Mistakes as a reader makes them, and what the message must name.


def per(level):
    return level[:, None, None, None]


def lengths(x):
    return x.flatten(1).norm(dim=1)


def in_place(cond, null, luck, p):
    cond[luck < p] = null
    return cond


def rescaled(u, c, w, phi, ratio):
    x = u + w * (c - u)
    return x * (phi * ratio(u, c, x) + 1 - phi)


def picture_std(x):
    return x.flatten(1).std(1)[:, None, None, None]


def halves(predict, x, t, cond, uncond):
    return predict(torch.cat([x, x]), t, torch.cat([uncond, cond])).chunk(2)


def guides_where(inside, outside):
    """guide_within with another idea of where, and of what to say elsewhere."""

    def answer(predict, x, t, cond, uncond, w, low, high):
        if not inside(t, low, high):
            return outside(predict, x, t, cond, uncond, w)
        u, c = halves(predict, x, t, cond, uncond)
        return u + w * (c - u)

    return answer


def closed(t, low, high):
    return low <= t <= high


def only_c(predict, x, t, cond, uncond, w):
    return predict(x, t, cond)


WRONG = [
    ("leave_out", lambda cond, null, luck, p: torch.where((luck >= p)[:, None, None], null, cond), "other way round"),
    ("leave_out", lambda cond, null, luck, p: null.repeat(len(cond), 1, 1) if luck[0] < p else cond, "one throw"),
    ("leave_out", lambda cond, null, luck, p: cond * (luck >= p)[:, None, None], "not zeros"),
    ("leave_out", lambda cond, null, luck, p: torch.where(luck < p, null, cond), "make it (n, 1, 1)"),
    ("leave_out", in_place, "changed cond in place"),
    ("leave_out", lambda cond, null, luck, p: cond, "got     [["),
    ("classifier_slope", lambda u, c, ab: (c - u) / per(1 - ab) ** 0.5, "the sign is turned"),
    ("classifier_slope", lambda u, c, ab: u - c, "divide by it"),
    ("classifier_slope", lambda u, c, ab: (u - c) / per(1 - ab), "a variance"),
    ("classifier_slope", lambda u, c, ab: (u - c) / per(ab) ** 0.5, "the signal's factor"),
    ("classifier_slope", lambda u, c, ab: (u - c) / (1 - ab) ** 0.5, "one level for each picture"),
    ("classifier_slope", lambda u, c, ab: -c / per(1 - ab) ** 0.5, "got     [["),
    ("t_norm", lambda u, c, g: u + g * (c - u) * (u.norm() / (c - u).norm()), "over the whole batch"),
    (
        "t_norm",
        lambda u, c, g: u + g * (c - u) * (u.norm(dim=1, keepdim=True) / (c - u).norm(dim=1, keepdim=True)),
        "over the channels alone",
    ),
    ("t_norm", lambda u, c, g: u + g * (c - u) * (lengths(u) / lengths(c - u)), "one norm for each picture"),
    ("t_norm", lambda u, c, g: u + g * (c - u) / per(lengths(c - u)), "still wants the norm of u"),
    ("t_norm", lambda u, c, g: u + g * (c - u) * per(lengths(u)), "not yet divided"),
    ("t_norm", lambda u, c, g: u + g * c * per(lengths(u) / lengths(c)), "c has taken the place"),
    ("t_norm", lambda u, c, g: u + g * (c - u), "got     [["),
    (
        "std_rescale",
        lambda u, c, w, phi: rescaled(u, c, w, phi, lambda u, c, x: c.std() / x.std()),
        "over the whole batch",
    ),
    (
        "std_rescale",
        lambda u, c, w, phi: rescaled(u, c, w, 1 - phi, lambda u, c, x: picture_std(c) / picture_std(x)),
        "are exchanged",
    ),
    (
        "std_rescale",
        lambda u, c, w, phi: rescaled(u, c, w, phi, lambda u, c, x: picture_std(u) / picture_std(x)),
        "takes the standard deviation of u",
    ),
    (
        "std_rescale",
        lambda u, c, w, phi: rescaled(u, c, w, 1, lambda u, c, x: picture_std(c) / picture_std(x)),
        "phi is forgotten",
    ),
    (
        "std_rescale",
        lambda u, c, w, phi: rescaled(u, c, w, phi, lambda u, c, x: per(lengths(c) / lengths(x))),
        "got     ",
    ),
    (
        "guide_within",
        lambda predict, x, t, cond, uncond, w, low, high: (lambda u, c: u + w * (c - u) if low <= t <= high else c)(
            *halves(predict, x, t, cond, uncond)
        ),
        "right, but u was asked for",
    ),
    ("guide_within", guides_where(closed, lambda predict, x, t, cond, uncond, w: predict(x, t, uncond)), "not u"),
    ("guide_within", guides_where(lambda t, low, high: not low <= t <= high, only_c), "guides outside the interval"),
    ("guide_within", guides_where(lambda t, low, high: low < t < high, only_c), "both ends belong"),
    ("guide_within", guides_where(lambda t, low, high: low <= t < high, only_c), "differ"),
    ("guide_within", guides_where(lambda t, low, high: True, only_c), "differ"),
]


# The exercises ask for what the papers say.


def test_the_slope_is_that_of_a_classifier_by_bayes():
    """On a mixture whose classes are known, against autograd of log p(k | x)."""
    schedule = Schedule.stable_diffusion()
    world, t, k = three_classes(schedule), 400, 1
    x = normal(5).requires_grad_()
    log_p = world.log_joint(x, t, world.prior.expand(5, -1)).log_softmax(-1)[:, k]
    (slope,) = torch.autograd.grad(log_p.sum(), x)
    u, c = world.predict(x, t).detach(), world.predict(x, t, world.only(k, 5)).detach()
    ab = schedule.alpha_bar[t].expand(5)
    torch.testing.assert_close(EXERCISES["classifier_slope"].answer(u, c, ab), slope)


def test_in_every_input_a_caption_is_left_out_and_another_stays():
    for given in EXERCISES["leave_out"].inputs():
        assert 0 < (given["luck"] < given["p"]).sum() < len(given["luck"])


def test_the_ends_of_the_interval_are_among_the_inputs():
    inputs = EXERCISES["guide_within"].inputs()
    assert any(given["t"] == given["low"] for given in inputs)
    assert any(given["t"] == given["high"] for given in inputs)
