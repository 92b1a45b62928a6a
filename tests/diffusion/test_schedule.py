"""The noise schedule against diffusers' schedulers, exact arithmetic and its own inverses."""

import math
from fractions import Fraction

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import normal

SD = Schedule.stable_diffusion()
THEIRS = {
    "stable_diffusion": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


def theirs(name="stable_diffusion", **more):
    return DDIMScheduler(**THEIRS[name], clip_sample=False, **more)


@pytest.mark.parametrize("name", THEIRS)
def test_the_named_schedules_are_diffusers_schedules(name):
    ours, other = getattr(Schedule, name)().alpha_bar, theirs(name).alphas_cumprod.double()
    # Theirs is a float32 product of a thousand factors, and cosine's last factor is one of 0.001.
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-7)
    assert ours.dtype == torch.float64 and len(ours) == 1000


def test_alpha_bar_is_the_exact_product_of_what_each_step_keeps():
    betas = [0.1, 0.25, 0.5]
    kept = [Fraction(1) - Fraction(b) for b in betas]
    exact = [math.prod(kept[: i + 1]) for i in range(3)]
    ours = Schedule.from_betas(betas).alpha_bar.tolist()
    assert ours == pytest.approx([float(x) for x in exact], rel=1e-15)


def test_ddpm_leaves_four_parts_in_a_hundred_thousand_of_the_signal():
    """alpha_bar_T of 2006.11239: the product of 1 - beta with beta from 1e-4 to 0.02."""
    exact = math.prod(1 - (1e-4 + (0.02 - 1e-4) * i / 999) for i in range(1000))
    assert Schedule.linear().at(999) == pytest.approx(exact, rel=1e-12)
    assert f"{exact:.3g}" == "4.04e-05"


@pytest.mark.parametrize("to_one", [False, True])
def test_every_timestep_below_zero_is_the_final_level(to_one):
    other = theirs(set_alpha_to_one=to_one)
    ours = Schedule.stable_diffusion(final_alpha_bar=1.0 if to_one else None)
    assert ours.at(-1) == ours.at(-19) == pytest.approx(float(other.final_alpha_cumprod), rel=1e-6)
    assert ours.at(torch.tensor([-19, -1, 0])).tolist() == [ours.at(-1), ours.at(-1), ours.at(0)]


def test_levels_agree_with_one_another():
    t = torch.arange(-1, 1000)
    signal, noise, sigma, log_snr = SD.signal(t), SD.noise(t), SD.sigma(t), SD.log_snr(t)
    torch.testing.assert_close(signal**2 + noise**2, torch.ones_like(signal))
    torch.testing.assert_close(sigma, (1 / SD.at(t) - 1).sqrt())  # DiffEdit's tau
    torch.testing.assert_close(log_snr, -2 * sigma.log())
    assert (log_snr[1:].diff() < 0).all()


def test_an_int_gives_the_float_that_a_tensor_of_it_gives():
    for name in ("at", "signal", "noise", "sigma", "log_snr"):
        level = getattr(SD, name)
        assert isinstance(level(500), float)
        assert level(torch.tensor(500)) == level(500) == level(torch.tensor([3, 500]))[1]


def test_a_level_without_noise_has_infinite_log_snr():
    assert Schedule.stable_diffusion(final_alpha_bar=1.0).log_snr(-1) == math.inf


# Zero terminal SNR


def check_zero_terminal_snr(rescaled):
    """2305.08891, Algorithm 1: diffusers' betas for it; the signal an affine function of what it was."""
    for name in THEIRS:
        before, after = getattr(Schedule, name)(), rescaled(getattr(Schedule, name)())
        betas = rescale_zero_terminal_snr(
            torch.cat([1 - before.alpha_bar[:1], 1 - before.alpha_bar[1:] / before.alpha_bar[:-1]])
        )
        expected = (1 - betas).cumprod(0)
        torch.testing.assert_close(after.alpha_bar[:-1], expected[:-1], rtol=1e-9, atol=1e-12)
        assert expected[-1] == 0 and after.at(999) == min(2**-24, after.at(998) / 2)
        assert after.at(0) == pytest.approx(before.at(0), rel=1e-12) and after.at(-1) == before.at(-1)
        old, new = (s.alpha_bar[:-1].sqrt() for s in (before, after))
        slope = (new[0] - new[-1]) / (old[0] - old[-1])
        torch.testing.assert_close(new - new[0], slope * (old - old[0]), rtol=0, atol=1e-12)


def test_zero_terminal_snr_is_diffusers_but_for_a_signal_that_eps_can_see_through():
    check_zero_terminal_snr(Schedule.zero_terminal_snr)
    assert (1 / SD.sigma(999)) ** 2 == pytest.approx(0.0047, abs=5e-5)  # what is taken away, of Stable Diffusion's
    assert Schedule.stable_diffusion(final_alpha_bar=1.0).zero_terminal_snr().at(-1) == 1


def shifted(s):
    """Shifted and not scaled."""
    signal = s.alpha_bar.sqrt()
    return Schedule(((signal - signal[-1] + 2**-12) / (1 + 2**-12)) ** 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: s,
        shifted,
        lambda s: Schedule(
            (s.alpha_bar - s.alpha_bar[-1]) * s.at(0) / (s.at(0) - s.at(999)) + 2**-24 * (s.alpha_bar == s.at(999))
        ),
        lambda s: Schedule(torch.cat([s.alpha_bar[:-1], torch.tensor([2**-24]).double()])),
    ],
    ids=["nothing done", "shifted only", "alpha_bar and not its root", "only the last changed"],
)
def test_the_check_refuses_another_way_to_zero(wrong):
    with pytest.raises((AssertionError, ValueError)):
        check_zero_terminal_snr(wrong)


@pytest.mark.parametrize("t", [1, 500, 998, 999])
def test_at_zero_terminal_snr_a_predicted_velocity_still_tells_x0(t):
    """As eps, on its way through the kit's one seam, in float32."""
    schedule = SD.zero_terminal_snr()
    x0, eps = normal(2).float(), normal(2, seed=2).float()
    x, v = schedule.add_noise(x0, eps, t), schedule.v_from_x0_eps(x0, eps, t)
    found = schedule.x0_from_eps(x, schedule.eps_from_v(x, v, t), t)
    torch.testing.assert_close(found, x0, rtol=0, atol=2e-3)


# Conversions


def test_noising_is_diffusers_noising():
    x0, eps, t = normal(3).float(), normal(3, seed=2).float(), torch.tensor([1, 481, 999])
    torch.testing.assert_close(SD.add_noise(x0, eps, t), theirs().add_noise(x0, eps, t), rtol=0, atol=1e-5)


def test_velocity_is_diffusers_velocity():
    x0, eps, t = normal(3).float(), normal(3, seed=2).float(), torch.tensor([1, 481, 999])
    velocity = theirs().get_velocity(x0, eps, t)
    torch.testing.assert_close(SD.v_from_x0_eps(x0, eps, t), velocity, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", [1, 481, 981])
def test_a_predicted_velocity_says_what_diffusers_reads_from_it(t):
    other = theirs(prediction_type="v_prediction", set_alpha_to_one=False)
    other.set_timesteps(50)
    x, v = normal(2).float(), normal(2, seed=2).float()
    after, x0 = other.step(v, t, x, return_dict=False)
    torch.testing.assert_close(SD.x0_from_v(x, v, t), x0, rtol=0, atol=1e-5)
    x0, eps = SD.x0_from_v(x, v, t), SD.eps_from_v(x, v, t)
    torch.testing.assert_close(SD.add_noise(x0, eps, t - 20), after, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", [0, 999, torch.tensor([0, 500, 999])])
def test_conversions_undo_one_another(t):
    x0, eps = normal(3), normal(3, seed=2)
    x, v = SD.add_noise(x0, eps, t), SD.v_from_x0_eps(x0, eps, t)
    for found, truth in [
        (SD.x0_from_eps(x, eps, t), x0),
        (SD.eps_from_x0(x, x0, t), eps),
        (SD.eps_from_v(x, v, t), eps),
        (SD.x0_from_v(x, v, t), x0),
        (SD.v_from_eps(x, eps, t), v),
    ]:
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-11)


def test_each_picture_has_its_own_timestep():
    x0, eps, t = normal(3), normal(3, seed=2), torch.tensor([0, 500, 999])
    one_by_one = [SD.add_noise(x0[i : i + 1], eps[i : i + 1], int(t[i])) for i in range(3)]
    torch.testing.assert_close(SD.add_noise(x0, eps, t), torch.cat(one_by_one), rtol=0, atol=0)


@pytest.mark.parametrize("t", [999, torch.tensor([999, 500])])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype, t):
    """Each result is the exact one, rounded to the dtype: nothing is lost on the way."""
    x, eps = normal(2).to(dtype), normal(2, seed=2).to(dtype)
    for convert in (SD.add_noise, SD.x0_from_eps, SD.v_from_eps, SD.eps_from_v):
        exact = convert(x.double(), eps.double(), t)
        half = convert(x, eps, t)
        assert half.dtype == dtype
        torch.testing.assert_close(half.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)


def test_looking_up_a_level_reads_no_value_of_x():
    """A tensor on the meta device has no values: whatever would make a GPU wait raises there."""
    x = torch.empty(2, 4, 8, 8, device="meta", dtype=torch.float16)
    for t in (500, torch.tensor([1, 500])):
        assert SD.add_noise(x, x, t).device.type == SD.x0_from_eps(x, x, t).device.type == "meta"


# Spacing


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_timesteps_are_diffusers_for_every_number_of_steps(spacing, offset):
    other = theirs(timestep_spacing=spacing, steps_offset=offset)
    for steps in range(1, 1001):
        if (spacing, offset, steps) == ("leading", 1, 1000):
            continue  # theirs names timestep 1000, which does not exist: the test of offsets below
        other.set_timesteps(steps)
        expected = other.timesteps.tolist()
        if spacing == "trailing" and len(expected) == steps + 1:
            assert expected.pop() == -1  # 61 steps and 61 other numbers: rounding gives theirs one step too many
        assert SD.timesteps(steps, spacing, offset).tolist() == expected, steps


def test_spacings_are_those_of_their_definitions():
    """By hand, 1000 in 4: from the front, from the back, both ends."""
    assert SD.timesteps(4).tolist() == [751, 501, 251, 1]
    assert SD.timesteps(4, "leading", offset=0).tolist() == [750, 500, 250, 0]
    assert SD.timesteps(4, "trailing").tolist() == [999, 749, 499, 249]
    assert SD.timesteps(4, "linspace").tolist() == [999, 666, 333, 0]
    assert SD.timesteps(4).dtype == torch.int64


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Schedule.from_betas([0.1, 1.0]),
            r"betas: got .* wanted a row of numbers strictly between 0 and 1",
        ),
        (lambda: Schedule.from_betas([0.1, math.nan]), r"betas: got .*nan"),
        (lambda: Schedule.from_betas([]), r"betas: got \[\]|alpha_bar: got \[\]"),
        (lambda: Schedule.from_betas([[0.1]]), r"betas: got \[\[0.1\]\]"),
        (
            lambda: Schedule(torch.tensor([0.5, 0.9])),
            r"alpha_bar: got shape \(2,\) from 0.5 to 0.9, .*falling",
        ),
        (lambda: Schedule(torch.tensor([0.9, 0.0])), r"alpha_bar: .*at 0 a picture is all noise"),
        (
            lambda: Schedule(torch.tensor([0.9, 0.5]), 0.8),
            r"final_alpha_bar: got 0.8, wanted .* from 0.899",
        ),
        (lambda: Schedule(torch.tensor([0.9, 0.5]), 1.1), r"final_alpha_bar: got 1.1, wanted .* to 1.0"),
    ],
)
def test_no_schedule_is_made_of_what_is_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "steps: got 0, wanted a whole number from 1 to 1000"),
        ((-5,), "steps: got -5, wanted a whole number from 1 to 1000"),
        ((1001,), "steps: got 1001, wanted a whole number from 1 to 1000"),
        ((20.0,), "steps: got 20.0, wanted a whole number"),
        ((True,), "steps: got True, wanted a whole number"),
        ((20, "karras"), "spacing: got 'karras', wanted one of 'leading', 'trailing', 'linspace'"),
        ((20, "leading", -1), "offset: got -1, wanted a whole number from 0 to 999"),
        ((1000, "leading", 1), "offset: got 1 with 1000 leading steps, wanted none past t = 999"),
    ],
)
def test_timesteps_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SD.timesteps(*arguments)


X = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, X, 1000), "t: got 1000, wanted a whole number from .* to 999"),
        ((X, X, 1.5), "t: got 1.5, wanted a whole number"),
        ((X, X, torch.tensor([1, 1000])), "t: got 1000, wanted timesteps up to 999"),
        (
            (X, X, torch.tensor([1.0, 2.0])),
            r"t: got torch.float32 of shape \(2,\), wanted an int or",
        ),
        ((X, X, torch.tensor([[1, 2]])), r"t: got torch.int64 of shape \(1, 2\)"),
        (
            (X, X, torch.tensor([1, 2, 3])),
            r"t: got 3 timesteps for \(2, 4, 8, 8\), wanted one",
        ),
        ((X, X[:1], 5), r"eps: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\), the shape of x0"),
        ((X.long(), X, 5), "x0: got dtype torch.int64, wanted a floating-point tensor"),
        ((X, X.int(), 5), "eps: got dtype torch.int32, wanted a floating-point tensor"),
        ((X.numpy(), X, 5), "x0: got ndarray, wanted a floating-point tensor"),
        ((X, X.to("meta"), 5), "eps: got device meta, wanted cpu, the device of x0"),
    ],
)
def test_noising_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SD.add_noise(*arguments)


def test_a_schedule_says_in_one_line_what_it_is():
    assert repr(SD) == "Schedule(T=1000, alpha_bar=0.99915…0.0046601, final=0.99915)"


def test_a_schedule_keeps_its_own_numbers():
    """Frozen, and not changed by what is later done to the tensor it was made from."""
    given = torch.tensor([0.9, 0.5], dtype=torch.float64)
    schedule = Schedule(given)
    given[0] = 0.1
    assert schedule.at(0) == 0.9
    with pytest.raises(AttributeError):
        schedule.final_alpha_bar = 1.0
