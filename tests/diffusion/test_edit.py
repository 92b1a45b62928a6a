"""Image-to-image: its two ends, its calls, diffusers' own loop, and how far it goes from the picture."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from kit.diffusion import ddim, seeds
from kit.diffusion.edit import image_to_image, image_to_image_path
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import Gaussian, normal, three_classes

SD = Schedule.stable_diffusion()
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
