"""Image-to-image and inpainting: their ends, their calls, diffusers' own loops, and worlds with a true answer.

Each check of RePaint is a function of what it judges, and is shown to refuse the wrong forms of WRONG_WALKS too.
"""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, RePaintScheduler

from kit.diffusion import ddim, ddpm, seeds
from kit.diffusion.edit import (
    image_to_image,
    image_to_image_path,
    inpaint,
    inpaint_path,
    repaint,
    repaint_path,
    repaint_schedule,
)
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import Gaussian, normal, signal_noise, smooth, three_classes

SD = Schedule.stable_diffusion()
DDPM = Schedule.linear(final_alpha_bar=1.0)
WORLD = three_classes(SD)


def test_strength_0_gives_the_picture_back():
    x0 = normal(2)
    assert torch.equal(image_to_image(WORLD.predict, SD, x0, strength=0, steps=20), x0)


def test_strength_1_is_sampling_whatever_the_picture_is():
    start = seeds.randn((2, 2, 4, 4), 7, dtype=torch.float64)
    expected = ddim.sample(WORLD.predict, SD, start, SD.timesteps(20))
    for x0 in (normal(2), 100 * normal(2, seed=3)):
        assert torch.equal(image_to_image(WORLD.predict, SD, x0, strength=1, steps=20, seed=7), expected)


@pytest.mark.parametrize("steps", [1, 10, 25, 50])
def test_int_of_steps_times_strength_calls(steps):
    for strength in (0, 0.05, 0.29, 0.5, 0.8, 0.999, 1):
        WORLD.calls.clear()
        states = list(image_to_image_path(WORLD.predict, SD, normal(3), strength=strength, steps=steps))
        assert WORLD.calls == [3] * int(steps * strength)
        assert len(states) == int(steps * strength) + 1 and states[-1].t == -1


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.8])
def test_between_its_ends_it_is_diffusers_loop(strength):
    """Noise to the first timestep that is kept, then every step from there."""
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(25)
    kept = scheduler.timesteps[25 - min(int(25 * strength), 25) :]
    x0, noise = normal(2).float(), seeds.randn((2, 2, 4, 4), 3)
    x = scheduler.add_noise(x0, noise, kept[:1].repeat(2))
    for t in kept:
        x = scheduler.step(torch.tanh(x), t, x, return_dict=False)[0]
    ours = image_to_image(lambda x, t, c: torch.tanh(x), SD, x0, strength=strength, steps=25, seed=3)
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


def test_the_path_starts_with_the_picture_noised_and_ends_with_the_edit():
    x0, options = normal(2), {"strength": 0.5, "steps": 10, "seed": 4}
    states = list(image_to_image_path(WORLD.predict, SD, x0, **options))
    noise = seeds.randn(x0.shape, 4, dtype=torch.float64)
    assert [s.t for s in states] == [401, 301, 201, 101, 1, -1]
    torch.testing.assert_close(states[0].x, SD.add_noise(x0, noise, 401))
    assert torch.equal(states[-1].x, image_to_image(WORLD.predict, SD, x0, **options))


def test_the_condition_reaches_the_predictor():
    x0, cond = normal(2), WORLD.only(1, 2)
    found = image_to_image(WORLD.predict, SD, x0, cond, strength=0.5, steps=10)
    alone = Gaussian(SD, WORLD.means[1], torch.full_like(WORLD.means[1], WORLD.variances[1]))
    expected = image_to_image(alone.predict, SD, x0, strength=0.5, steps=10)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_more_strength_goes_further_from_the_picture_and_nearer_to_the_class():
    """From pictures of class 0 towards class 2 (SDEdit's trade-off), in a world that knows its densities."""
    x0, cond = WORLD.draw([0] * 32), WORLD.only(2, 32)
    moved, likely = [], []
    for strength in (0, 0.2, 0.4, 0.6, 0.8):
        x = image_to_image(WORLD.predict, SD, x0, cond, strength=strength, steps=50)
        moved.append(float((x - x0).pow(2).mean()))
        likely.append(float(WORLD.log_density(x, -1, cond).mean()))
    assert moved == sorted(moved) and likely == sorted(likely)


def test_an_edit_stays_within_diffedits_bound_for_sdedit():
    """Proposition 1, (4) of 2210.11427: the mean distance is at most (C + 1) tau, C the size of the largest
    prediction; all sizes are root mean squares over a picture."""
    x0 = WORLD.draw([0] * 32)
    for strength in (0.2, 0.5, 0.8):
        states = list(image_to_image_path(WORLD.predict, SD, x0, strength=strength, steps=50))
        C = max(float(s.eps.pow(2).mean((1, 2, 3)).sqrt().max()) for s in states[1:])
        distance = float((states[-1].x - x0).pow(2).mean((1, 2, 3)).sqrt().mean())
        assert distance <= (C + 1) * SD.sigma(states[0].t)


def test_a_picture_does_not_depend_on_the_size_of_its_batch():
    x0 = normal(3)
    many = image_to_image(WORLD.predict, SD, x0, strength=0.6, steps=10, seed=5)
    for i in range(3):
        alone = image_to_image(WORLD.predict, SD, x0[i : i + 1], strength=0.6, steps=10, seed=5 + i)
        torch.testing.assert_close(many[i : i + 1], alone, rtol=0, atol=1e-12)


X = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": -0.1}, "strength: got -0.1, wanted a number from 0 to 1"),
        ({"strength": 1.01}, "strength: got 1.01, wanted a number from 0 to 1"),
        ({"strength": math.nan}, "strength: got nan, wanted a number from 0 to 1"),
        ({"strength": "much"}, "strength: got 'much', wanted a number from 0 to 1"),
        ({"steps": 0}, "steps: got 0, wanted a whole number from 1 to 1000"),
        ({"steps": -3}, "steps: got -3, wanted a whole number from 1 to 1000"),
        ({"steps": 1001}, "steps: got 1001, wanted a whole number from 1 to 1000"),
        ({"seed": -1}, "seed: got -1, wanted a whole number from 0"),
        ({"x0": X[0]}, r"x0: got shape \(4, 8, 8\), wanted \(n, c, h, w\) with no axis empty"),
        ({"x0": X[:0]}, r"x0: got shape \(0, 4, 8, 8\), wanted \(n, c, h, w\) with no axis empty"),
        ({"x0": X.byte()}, "x0: got dtype torch.uint8, wanted a floating-point tensor"),
        ({"x0": X / 0}, "x0: got 512 of 512 values NaN or infinite, wanted all finite"),
        ({"cond": torch.zeros(3, 8)}, r"cond: got shape \(3, 8\), wanted 2 rows, one for each picture in x"),
    ],
)
@pytest.mark.parametrize("edit", [image_to_image, image_to_image_path])
def test_image_to_image_refuses(edit, change, message):
    arguments = {"x0": X, "cond": None, "strength": 0.5, "steps": 10, "seed": 0} | change
    with pytest.raises((TypeError, ValueError), match=message):
        edit(lambda x, t, cond: x, SD, **arguments)


# Inpainting: what blending and RePaint share

LEFT = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
LEFT[..., :2] = 1
QUICK = {inpaint: dict(steps=10), repaint: dict(steps=10, jump_length=3, resamples=3)}


@pytest.mark.parametrize("edit", QUICK)
@pytest.mark.parametrize("schedule", [SD, DDPM])
def test_known_pixels_are_exact_at_the_end(edit, schedule):
    """Also on a schedule whose end is not quite clean, as Stable Diffusion's."""
    world, x0 = three_classes(schedule), normal(2)
    found = edit(world.predict, schedule, x0, LEFT, **QUICK[edit])
    assert torch.equal(found[..., 2:], x0[..., 2:])
    assert float((found[..., :2] - x0[..., :2]).abs().min()) > 1e-4


@pytest.mark.parametrize("edit", QUICK)
def test_without_anything_to_paint_the_picture_comes_back(edit):
    x0 = normal(2)
    assert torch.equal(edit(WORLD.predict, SD, x0, torch.zeros_like(LEFT), **QUICK[edit]), x0)


def test_with_everything_to_paint_it_is_sampling_from_the_same_seed():
    x0, everything, cond = normal(2), torch.ones_like(LEFT), WORLD.only(1, 2)
    start = seeds.randn(x0.shape, 7, dtype=torch.float64)
    found = inpaint(WORLD.predict, SD, x0, everything, cond, steps=10, seed=7)
    assert torch.equal(found, ddim.sample(WORLD.predict, SD, start, SD.timesteps(10), cond))
    found = repaint(WORLD.predict, SD, x0, everything, cond, steps=10, resamples=1, seed=7)
    expected = ddpm.sample(WORLD.predict, SD, start, SD.timesteps(10, "linspace"), cond, seed=7)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # the kit draws ddpm's noise in float32


@pytest.mark.parametrize("edit", QUICK)
def test_each_picture_may_have_its_own_mask_and_stands_alone(edit):
    x0, masks = normal(3), torch.cat([LEFT, 1 - LEFT, torch.full_like(LEFT, 0.5)])
    many = edit(WORLD.predict, SD, x0, masks, WORLD.only(0, 3), seed=5, **QUICK[edit])
    for i in range(3):
        one = slice(i, i + 1)
        alone = edit(WORLD.predict, SD, x0[one], masks[one], WORLD.only(0), seed=5 + i, **QUICK[edit])
        torch.testing.assert_close(many[one], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("edit", QUICK)
def test_the_edits_are_the_last_of_their_paths(edit):
    x0, path = normal(2), {inpaint: inpaint_path, repaint: repaint_path}[edit]
    states = list(path(WORLD.predict, SD, x0, LEFT, seed=4, **QUICK[edit]))
    assert states[-1].t == -1
    assert torch.equal(states[-1].x, edit(WORLD.predict, SD, x0, LEFT, seed=4, **QUICK[edit]))
    assert torch.equal(states[0].x, seeds.randn(x0.shape, 4, dtype=torch.float64))
    for before, after in pairwise(states):
        if after.t < before.t:
            torch.testing.assert_close(after.eps, WORLD.predict(before.x, before.t))
            torch.testing.assert_close(after.x0, SD.x0_from_eps(before.x, after.eps, before.t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("edit", QUICK)
def test_latents_keep_their_dtype(edit, dtype):
    found = edit(lambda x, t, cond: torch.tanh(x), SD, normal(2).to(dtype), LEFT, **QUICK[edit])
    assert found.dtype == dtype


# Latent blending


def test_along_a_blended_path_the_known_part_is_the_picture_at_the_same_noise():
    """At every level the one it is at, not the one before, and always the same draw."""
    x0 = normal(2)
    noise = seeds.randn(x0.shape, 3, dtype=torch.float64)
    states = list(inpaint_path(WORLD.predict, SD, x0, LEFT, steps=10, seed=3))
    assert [s.t for s in states] == [*SD.timesteps(10).tolist(), -1]
    for state in states[1:-1]:
        signal, spread = signal_noise(SD, state.t)
        torch.testing.assert_close(state.x[..., 2:], (signal * x0 + spread * noise)[..., 2:])


def test_a_blended_path_predicts_once_a_step():
    WORLD.calls.clear()
    inpaint(WORLD.predict, SD, normal(3), LEFT, steps=7)
    assert WORLD.calls == [3] * 7


# RePaint's walk


def moves(stops):
    down = sum(b < a for a, b in pairwise(stops))
    return down, len(stops) - 1 - down


def test_the_papers_walk_has_4570_moves_2410_of_them_down():
    """By hand: 250 down, and at each of the 24 multiples of 10 below 240, nine times 10 up and 10 down."""
    stops = repaint_schedule()
    assert len(stops) - 1 == 4570 and moves(stops) == (2410, 2160) == (250 + 24 * 9 * 10, 24 * 9 * 10)
    assert stops[0] == 249 and stops[-1] == -1 and max(stops) == 249
    assert all(abs(a - b) == 1 for a, b in pairwise(stops))


@pytest.mark.parametrize(
    ("steps", "jump", "resamples"),
    [(250, 10, 10), (100, 10, 3), (37, 5, 2), (10, 10, 4), (12, 1, 3), (7, 20, 2), (1, 1, 1), (40, 4, 1)],
)
def test_the_walk_is_that_of_diffusers(steps, jump, resamples):
    """Theirs leaves the clean end to be understood."""
    scheduler = RePaintScheduler(num_train_timesteps=steps)
    scheduler.set_timesteps(steps, jump, resamples)
    assert [*scheduler.timesteps.tolist(), -1] == repaint_schedule(steps, jump, resamples)


def test_repaint_stops_where_its_walk_says_and_predicts_on_the_way_down():
    WORLD.calls.clear()
    timesteps = SD.timesteps(10, "linspace").tolist()
    states = list(repaint_path(WORLD.predict, SD, normal(2), LEFT, **QUICK[repaint]))
    walk = repaint_schedule(**QUICK[repaint])
    assert [s.t for s in states] == [timesteps[9 - i] if i >= 0 else -1 for i in walk]
    assert len(WORLD.calls) == moves(walk)[0] == 10 + 3 * 2 * 3
    for before, after in pairwise(states):
        assert (after.eps is None) == (after.x0 is None) == (after.t > before.t)


# RePaint's moves


def mirrored(x, t, cond=None):
    """A predictor of no meaning in which each half of a picture heeds the other."""
    return torch.tanh(x + 0.5 * x.flip(-1))


def check_diffusers_moves(repaint):
    """Their step and their undo_step along the walk, with one generator. Their mask is 1 where ours is 0."""
    betas = torch.linspace(0.001, 0.3, 12, dtype=torch.float64)
    scheduler = RePaintScheduler(num_train_timesteps=12, trained_betas=betas.numpy(), eta=1.0, clip_sample=False)
    walk = dict(steps=12, jump_length=3, resamples=2)
    scheduler.set_timesteps(12, 3, 2)
    x0 = normal(1).float()
    g = torch.Generator().manual_seed(3)
    x = torch.randn(x0.shape, generator=g)
    for t, t_next in pairwise(repaint_schedule(**walk)):
        if t_next > t:
            x = scheduler.undo_step(x, t_next, generator=g)
        else:
            x = scheduler.step(mirrored(x, t), t, x, x0, 1 - LEFT.float(), generator=g).prev_sample
    schedule = Schedule.from_betas(betas, final_alpha_bar=1.0)
    ours = repaint(mirrored, schedule, x0, LEFT, seed=3, **walk)
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


def check_known_noise(repaint):
    """On the way to the end the known part is q(x_t | x0): 16,384 numbers of mean and variance known.

    Seen through a predictor that looks at what it is given at each level.
    """
    x0, seen = normal(1024, seed=8), []
    known = 1 - LEFT.expand(x0.shape)

    def watch(x, t, cond):
        signal, noise = signal_noise(DDPM, t)
        off = ((x - signal * x0) / noise)[known.bool()]
        seen.append((t, float(off.mean()), float(off.var())))
        return x * 0.5

    repaint(watch, DDPM, x0, LEFT, steps=8, jump_length=2, resamples=2, seed=0)
    n = int(known.sum())
    for t, mean, variance in seen:
        assert abs(mean) < 5 / n**0.5, (t, mean)
        assert abs(variance - 1) < 5 * (2 / n) ** 0.5, (t, variance)


class Conditional:
    """What half a picture of a smooth Gaussian world says of the other half: N(mean, covariance), exactly."""

    def __init__(self, n):
        self.world = smooth(DDPM)
        self.unknown = LEFT.flatten().bool()
        S = (self.world.axes * self.world.variances) @ self.world.axes.T
        m, a, b = self.world.m.flatten(), self.unknown, ~self.unknown
        root = torch.linalg.cholesky(S)
        self.x0 = (m + normal(1, (16,), seed=7) @ root.T).view(1, 1, 4, 4).expand(n, -1, -1, -1)
        gain = S[a][:, b] @ torch.linalg.inv(S[b][:, b])
        self.mean = m[a] + gain @ (self.x0[0].flatten() - m)[b]
        self.covariance = S[a][:, a] - gain @ S[b][:, a]

    def distance(self, found):
        """The square of the 2-Wasserstein distance from the true conditional, of a sample taken as Gaussian."""
        x = found.flatten(1)[:, self.unknown]
        mean, covariance = x.mean(0), torch.cov(x.T)
        root = square_root(self.covariance)
        cross = square_root(root @ covariance @ root).trace()
        return float((mean - self.mean).pow(2).sum() + (self.covariance + covariance).trace() - 2 * cross)


def square_root(S):
    values, axes = torch.linalg.eigh(S)
    return axes * values.clamp(min=0).sqrt() @ axes.T


def check_conditional(repaint):
    """Going back up ten times brings the painted half to what the known half truly says of it."""
    truth = Conditional(256)
    walk = dict(steps=50, jump_length=5, seed=0)
    once, ten = (
        truth.distance(repaint(truth.world.predict, DDPM, truth.x0, LEFT, resamples=r, **walk)) for r in (1, 10)
    )
    assert once > 0.8 and ten < 0.3, (once, ten)


REPAINT_CHECKS = {
    "diffusers' moves": check_diffusers_moves,
    "known noise": check_known_noise,
    "conditional": check_conditional,
}


@pytest.mark.parametrize("check", REPAINT_CHECKS)
def test_repaint(check):
    REPAINT_CHECKS[check](repaint)


def test_blending_alone_does_not_make_the_halves_fit():
    """The known half is put back at every level, but what is painted was settled without it."""
    truth = Conditional(256)
    assert truth.distance(inpaint(truth.world.predict, DDPM, truth.x0, LEFT, steps=50)) > 2


def walked(known=None, renoise=None, down=None):
    """RePaint once more, in the paper's symbols, over the parts that can be got wrong.

    m: 1 where known. a: alpha-bar before and b after a step down; k: what a step up keeps.
    """
    known = known or (lambda x0, z, a, b: b**0.5 * x0 + (1 - b) ** 0.5 * z)
    renoise = renoise or (lambda x, z, k: k**0.5 * x + (1 - k) ** 0.5 * z)
    down = down or (
        lambda x, eps, z, a, b: (
            (x - (1 - a / b) / (1 - a) ** 0.5 * eps) / (a / b) ** 0.5 + ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5 * z
        )
    )

    def repaint(predict, schedule, x0, mask, *, steps, jump_length, resamples, seed):
        m, noises = 1 - mask.to(x0), seeds.stream(x0.shape, seed, dtype=x0.dtype)
        timesteps = [*schedule.timesteps(steps, "linspace").tolist()[::-1], -1]
        x = next(noises)
        for i, j in pairwise(repaint_schedule(steps, jump_length, resamples)):
            a, b, z = schedule.at(timesteps[i]), schedule.at(timesteps[j]), next(noises)
            if j > i:
                x = renoise(x, z, b / a)
            else:
                eps = predict(x, timesteps[i], None)
                x = m * known(x0, z, a, b) + (1 - m) * down(x, eps, z, a, b)
        return x

    return repaint


WRONG_WALKS = {
    "noise by its variance, as line 5 has it": (
        walked(known=lambda x0, z, a, b: b**0.5 * x0 + (1 - b) * z),
        {*REPAINT_CHECKS} - {"conditional"},
    ),
    "the known part one level too noisy": (
        walked(known=lambda x0, z, a, b: a**0.5 * x0 + (1 - a) ** 0.5 * z),
        {*REPAINT_CHECKS} - {"conditional"},
    ),
    "the known part without noise": (
        walked(known=lambda x0, z, a, b: b**0.5 * x0),
        {*REPAINT_CHECKS} - {"conditional"},
    ),
    "up by beta and not its root": (
        walked(renoise=lambda x, z, k: k**0.5 * x + (1 - k) * z),
        {*REPAINT_CHECKS},
    ),
    "up without losing signal": (walked(renoise=lambda x, z, k: x + (1 - k) ** 0.5 * z), {*REPAINT_CHECKS}),
    "no way back up": (walked(renoise=lambda x, z, k: x), {*REPAINT_CHECKS}),
    "down without noise, their pipeline's default": (
        walked(
            down=lambda x, eps, z, a, b: b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps,
        ),
        {"diffusers' moves"},
    ),
}


@pytest.mark.parametrize("check", REPAINT_CHECKS)
def test_the_paper_written_again_passes_every_check(check):
    REPAINT_CHECKS[check](walked())


@pytest.mark.parametrize(("wrong", "check"), [(w, c) for w in WRONG_WALKS for c in sorted(WRONG_WALKS[w][1])])
def test_the_checks_refuse_a_wrong_walk(wrong, check):
    with pytest.raises(AssertionError):
        REPAINT_CHECKS[check](WRONG_WALKS[wrong][0])


# Bad input

M = torch.ones(1, 1, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": M[0]}, r"mask: got shape \(1, 8, 8\), wanted \(2, 1, 8, 8\) or \(1, 1, 8, 8\)"),
        ({"mask": torch.ones(3, 1, 8, 8)}, r"mask: got shape \(3, 1, 8, 8\), wanted"),
        ({"mask": torch.ones(1, 4, 8, 8)}, r"mask: got shape \(1, 4, 8, 8\), wanted"),
        ({"mask": torch.ones(1, 1, 64, 64)}, r"mask: got shape \(1, 1, 64, 64\), wanted"),
        ({"mask": M > 0}, "mask: got dtype torch.bool, wanted a floating-point tensor"),
        ({"mask": 255 * M}, r"mask: got values from 255 to 255, wanted them in \[0, 1\], 1 to be painted"),
        ({"mask": -M}, "mask: got values from -1 to -1, wanted"),
        ({"mask": M / 0}, "mask: got 64 of 64 values NaN or infinite"),
        ({"x0": X[0]}, r"x0: got shape \(4, 8, 8\), wanted \(n, c, h, w\)"),
        ({"x0": X / 0}, "x0: got 512 of 512 values NaN or infinite"),
        ({"steps": 0}, "steps: got 0, wanted a whole number from 1"),
        ({"steps": 1001}, "steps: got 1001, wanted a whole number from 1 to 1000"),
        ({"seed": -1}, "seed: got -1, wanted a whole number from 0"),
        ({"cond": torch.zeros(3, 8)}, r"cond: got shape \(3, 8\), wanted 2 rows, one for each picture in x"),
    ],
)
@pytest.mark.parametrize("edit", [inpaint, inpaint_path, repaint, repaint_path])
def test_inpainting_refuses(edit, change, message):
    arguments = {"x0": X, "mask": M, "cond": None, "steps": 10, "seed": 0} | change
    with pytest.raises((TypeError, ValueError), match=message):
        edit(lambda x, t, cond: x, SD, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 10), "steps: got 0, wanted a whole number from 1"),
        ((250, 0, 10), "jump_length: got 0, wanted a whole number from 1"),
        ((250, 10, 0), "resamples: got 0, wanted a whole number from 1"),
        ((250, 10, 1.5), "resamples: got 1.5, wanted a whole number from 1"),
    ],
)
def test_a_walk_of_nothing_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        repaint_schedule(*arguments)


@pytest.mark.parametrize("edit", QUICK)
def test_inpainting_names_a_predictor_that_gives_no_noise(edit):
    with pytest.raises(ValueError, match=f"{edit.__name__}, after its last step: got .* values NaN or infinite"):
        edit(lambda x, t, cond: x / 0, SD, X, M, **QUICK[edit])
    with pytest.raises(ValueError, match=r"predict\(x, t, cond\): got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\)"):
        edit(lambda x, t, cond: x[:1], SD, X, M, **QUICK[edit])
