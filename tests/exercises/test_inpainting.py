"""Each exercise passes a right answer written independently of it, and names each mistake of a list."""

import math
from itertools import pairwise

import pytest
import torch

from kit.diffusion import edit
from kit.diffusion.schedule import Schedule
from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def conditional(m, S, known, x):
    """One known number after the other, each lowering what is left by its own share."""
    m, S = m.clone(), S.clone()
    for i, value in zip(known.nonzero().flatten().tolist(), x.tolist(), strict=True):
        gain = S[:, i] / S[i, i]
        m, S = m + gain * (value - m[i]), S - torch.outer(gain, S[i])
    return m[~known], S[~known][:, ~known]


def put_back(x, x0, mask, eps, ab):
    known = (mask == 0).expand_as(x)
    result = x.clone()
    result[known] = math.sqrt(ab) * x0[known] + math.sqrt(1 - ab) * eps[known]
    return result


def renoise(x, ab, ab_next, z):
    beta = 1 - ab_next / ab
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * z


def walk(steps, jump_length, resamples):
    """The stretches from the noisy end: each walked down, then up and down again."""
    stops = list(range(steps - 1, -1, -1))
    for low in range(0, steps - jump_length, jump_length):
        at = stops.index(low)
        loop = [low + k for k in range(1, jump_length + 1)]
        again = (loop + loop[-2::-1] + [low]) * (resamples - 1)
        stops[at + 1 : at + 1] = again
    return [*stops, -1]


def latent_mask(mask, f):
    n, _, h, w = mask.shape
    small = torch.zeros(n, 1, h // f, w // f, dtype=mask.dtype)
    for i, _, y, x in mask.nonzero().tolist():
        small[i, 0, y // f, x // f] = 1
    return small


RIGHT = [conditional, put_back, renoise, walk, latent_mask]

# Mistakes as a reader makes them, and what the message must name.


def blocks(S, known):
    return S[~known][:, ~known], S[~known][:, known], S[known][:, known]


def given(change):
    """conditional, from the blocks of S: change(m_u, m_k, S_uu, S_uk, S_kk, x)."""
    return lambda m, S, known, x: change(m[~known], m[known], *blocks(S, known), x)


def inverse(S):
    return torch.linalg.inv(S)


def right_mean(u, k, uu, uk, kk, x):
    return u + uk @ inverse(kk) @ (x - k)


def right_cov(u, k, uu, uk, kk, x):
    return uu - uk @ inverse(kk) @ uk.T


def composed(known):
    return lambda x, x0, mask, eps, ab: torch.where(mask.bool(), x, known(x0, eps, ab))


def in_place(x, x0, mask, eps, ab):
    x[(mask == 0).expand_as(x)] = put_back(x, x0, mask, eps, ab)[(mask == 0).expand_as(x)]
    return x


def factors(of_x, of_z):
    return lambda x, ab, ab_next, z: math.sqrt(of_x(ab, ab_next)) * x + math.sqrt(of_z(ab, ab_next)) * z


def jumps(low_ends, times, up=lambda low, j: [low + k for k in range(1, j + 1)], end=(-1,)):
    """walk, with other jumps: where they start, how often, and which stops they make on the way up."""

    def walk(steps, j, r):
        stops = []
        for i in range(steps - 1, -1, -1):
            stops.append(i)
            if i in low_ends(steps, j):
                stops += times(r) * [*up(i, j), *range(i + j - 1, i - 1, -1)]
        return [*stops, *end]

    return walk


def lows(steps, j):
    return range(0, steps - j, j)


def cells(mask, f):
    return mask.unfold(2, f, f).unfold(3, f, f).flatten(4)


WRONG = [
    ("conditional", given(lambda *a: (a[0] + a[3] @ inverse(a[4]) @ a[5], right_cov(*a))), "from its own mean"),
    ("conditional", given(lambda *a: (right_mean(*a) - a[0], right_cov(*a))), "own mean m_u is missing"),
    ("conditional", given(lambda *a: (right_mean(*a), a[2])), "before x was known"),
    ("conditional", given(lambda *a: (right_mean(*a), 2 * a[2] - right_cov(*a))), "less certain"),
    ("conditional", given(lambda *a: (a[0] + a[3] @ (a[5] - a[1]), a[2] - a[3] @ a[3].T)), "not divided by S_kk"),
    ("conditional", given(lambda *a: (right_mean(*a), inverse(right_cov(*a)))), "inverted once more"),
    ("conditional", lambda m, S, known, x: (m[~known], S[~known][:, ~known]), "got     mean: ["),
    ("conditional", lambda m, S, known, x: conditional(m, S, known, x)[0], "got     covariance: "),
    ("conditional", lambda m, S, known, x: conditional(m, S, ~known, x), "got     mean: "),
    ("put_back", lambda x, x0, mask, eps, ab: put_back(x, x0, 1 - mask, eps, ab), "the wrong way round"),
    ("put_back", composed(lambda x0, eps, ab: math.sqrt(ab) * x0 + (1 - ab) * eps), "line 5, as printed"),
    ("put_back", composed(lambda x0, eps, ab: x0), "the known part is clean"),
    ("put_back", composed(lambda x0, eps, ab: math.sqrt(ab) * x0), "but no noise"),
    ("put_back", composed(lambda x0, eps, ab: x0 + math.sqrt(1 - ab) * eps), "shrunk by sqrt(ab)"),
    ("put_back", composed(lambda x0, eps, ab: ab * x0 + math.sqrt(1 - ab) * eps), "multiplies x0"),
    ("put_back", composed(lambda x0, eps, ab: math.sqrt(ab) * x0 + eps), "got     ["),
    ("put_back", in_place, "changed x in place"),
    ("renoise", factors(lambda a, b: b, lambda a, b: 1 - b), "taken for clean"),
    ("renoise", factors(lambda a, b: b / a, lambda a, b: 1 - b), "too much noise"),
    ("renoise", factors(lambda a, b: b / a, lambda a, b: a - b), "too little noise"),
    ("renoise", factors(lambda a, b: 1, lambda a, b: a - b), "must shrink"),
    ("renoise", factors(lambda a, b: (b / a) ** 2, lambda a, b: (1 - b / a) ** 2), "square roots"),
    ("renoise", factors(lambda a, b: a / b, lambda a, b: 1 - b / a), "upside down"),
    ("renoise", lambda x, ab, ab_next, z: renoise(x.double(), ab, ab_next, z), "float64\n    wanted  tensor"),
    ("walk", jumps(lows, lambda r: r), "one time too often"),
    ("walk", jumps(lows, lambda r: r - 1, end=()), "the clean end, -1, is missing"),
    ("walk", jumps(lows, lambda r: min(r, 2) - 1), "repeated once only"),
    ("walk", jumps(lambda steps, j: range(j, steps - j, j), lambda r: r - 1), "0 is a multiple"),
    ("walk", jumps(lows, lambda r: r - 1, up=lambda low, j: [low + j]), "goes by every stop"),
    ("walk", jumps(lambda steps, j: range(0, steps - j + 1, j), lambda r: r - 1), "would end above the start"),
    ("walk", lambda steps, j, r: range(steps - 1, -2, -1), "got     range(3, -2, -1)\n    wanted  ["),
    ("walk", lambda steps, j, r: walk(steps, 1, r), "got     ["),
    ("latent_mask", lambda mask, f: cells(mask, f)[..., 0], "one pixel of the f x f"),
    ("latent_mask", lambda mask, f: cells(mask, f).mean(-1), "the share of pixels"),
    ("latent_mask", lambda mask, f: cells(mask, f).amin(-1), "only where all"),
    ("latent_mask", lambda mask, f: (cells(mask, f).mean(-1) > 0.5).to(mask), "more than half"),
    ("latent_mask", lambda mask, f: cells(mask, f).amax(-1) == 1, "have become bool"),
    ("latent_mask", lambda mask, f: mask, "got     "),
]


# The exercises ask for what the kit's fast functions do, and for what is true.


def test_the_conditional_is_the_regression_of_many_draws():
    """Of a million draws of N(m, S): the unknown part regressed on the known, and what is left over."""
    m, S, known, _ = EXERCISES["conditional"].inputs()[1].values()
    draws = (
        m + torch.randn(1_000_000, 4, generator=torch.Generator().manual_seed(0)).double() @ torch.linalg.cholesky(S).T
    )
    beside = torch.cat([draws[:, known], torch.ones(len(draws), 1)], 1)
    slopes = torch.linalg.lstsq(beside, draws[:, ~known]).solution
    x = torch.tensor([0.5, -1.0], dtype=torch.float64)
    mean, cov = EXERCISES["conditional"].answer(m, S, known, x)
    torch.testing.assert_close(torch.cat([x, x.new_ones(1)]) @ slopes, mean, rtol=0, atol=0.01)
    torch.testing.assert_close(torch.cov((draws[:, ~known] - beside @ slopes).T), cov, rtol=0, atol=0.01)


def test_what_is_put_back_and_renoised_is_what_repaint_walks():
    """RePaint's states, the known part of each from one draw: its level is that of its timestep."""
    schedule = Schedule.stable_diffusion(1.0)
    x0, mask = torch.full((64, 4, 4, 4), 2.0), torch.zeros(1, 1, 4, 4)
    for state in list(edit.repaint_path(lambda x, t, cond: x, schedule, x0, mask, steps=6, jump_length=2, resamples=2))[
        1:
    ]:
        ab = schedule.at(state.t)
        wanted = put_back(x0, x0, mask.expand(64, 1, 4, 4), torch.zeros_like(x0), ab)
        torch.testing.assert_close(state.x.mean(), wanted.mean(), rtol=0, atol=0.08)
        assert state.x.var().item() == pytest.approx(1 - ab, abs=0.08)


@pytest.mark.parametrize(("steps", "j", "r", "down", "up"), [(250, 10, 10, 2410, 2160), (50, 5, 5, 230, 180)])
def test_the_walks_of_the_walkthrough_have_so_many_moves(steps, j, r, down, up):
    stops = EXERCISES["walk"].answer(steps, j, r)
    moves = [b - a for a, b in pairwise(stops)]
    assert {*moves} == {1, -1}
    assert (moves.count(-1), moves.count(1)) == (down, up)


def test_what_no_latent_of_the_mask_covers_is_known():
    mask, f = EXERCISES["latent_mask"].inputs()[-1].values()
    small = EXERCISES["latent_mask"].answer(mask, f)
    covered = small.repeat_interleave(f, 2).repeat_interleave(f, 3)
    assert torch.equal(covered * mask, mask)
    assert 0 < small.mean() < 1
