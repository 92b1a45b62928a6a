"""The scrubber's computed mode seen from Python: the operands it sends, the choices that come back, what it refuses."""

import gc
import io
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.diffusion.schedule import Schedule
from kit.panels import NoiseScrubber

RNG = np.random.default_rng(0)
LINEAR = np.linspace(0.99, 0.01, 10)
X0, EPS = RNG.random((3, 5, 7)), RNG.standard_normal((3, 5, 7))


def forward(x0=X0, eps=EPS, schedules=LINEAR, **settings):
    return NoiseScrubber.forward(x0, eps, schedules, **settings)


def sent(panel):
    """The operands as the browser reads them, and the affine picture they make at a level: pixels (c, h, w)."""
    [(_, data, buffers)] = [message for message in panel.comm.sent if message[0] == "comm_open"]
    operands = dict(data["state"]["_operands"])
    for (_, name), buffer in zip(data["buffer_paths"], buffers, strict=True):
        operands[name] = np.frombuffer(buffer, "<f4")
    return operands


def seen(operands, alpha_bar, shape):
    x0, eps = (operands[name].reshape(shape).astype(float) for name in ("x0", "eps"))
    offset = np.reshape(operands["offset"], (-1, 1, 1))
    return np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps + offset


# What is sent


def test_the_operands_make_x_t_of_a_picture():
    operands = sent(forward())
    for alpha_bar in (0.0, 0.3, 1.0):
        x_t = np.sqrt(alpha_bar) * (2 * X0 - 1) + np.sqrt(1 - alpha_bar) * EPS
        np.testing.assert_allclose(seen(operands, alpha_bar, X0.shape), (x_t + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(operands["values_x0"], (2 * X0 - 1).ravel(), atol=1e-6)
    np.testing.assert_allclose(operands["values_eps"], EPS.ravel(), atol=1e-6)


def test_a_latent_is_taken_as_it_is_and_decoded_linearly():
    x0, eps = RNG.standard_normal((2, 4, 6, 5))
    matrix, bias = RNG.standard_normal((3, 4)) / 9, RNG.random(3)
    for rgb, shift in [((matrix, bias), bias), (matrix, np.zeros(3))]:
        operands = sent(forward(x0, eps, rgb=rgb))
        x_t = np.sqrt(0.3) * x0 + np.sqrt(0.7) * eps
        wanted = np.tensordot(matrix, x_t, 1) + shift[:, None, None]
        np.testing.assert_allclose(seen(operands, 0.3, (3, 6, 5)), wanted, atol=1e-6)
        np.testing.assert_allclose(operands["values_x0"], x0.ravel(), rtol=1e-6)


def test_three_channels_with_a_decoder_are_a_latent_outside_0_1_too():
    matrix = np.eye(3) / 6
    operands = sent(forward(8 * X0 - 4, EPS, rgb=(matrix, np.full(3, 0.5))))
    np.testing.assert_allclose(seen(operands, 1.0, X0.shape), (8 * X0 - 4) / 6 + 0.5, atol=1e-6)


def test_channels_without_a_decoder_are_grey_tiles_in_rows_three_sigma_wide():
    x0, eps = RNG.standard_normal((2, 5, 2, 4))
    operands = sent(forward(x0, eps))
    table = seen(operands, 1.0, (4, 12))
    for channel in range(5):
        row, column = divmod(channel, 3)
        tile = table[0][2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(tile, 0.5 + x0[channel] / 6, atol=1e-6)
    np.testing.assert_allclose(table[0][2:, 8:], 0.5)


def test_of_many_values_the_histogram_gets_a_sample_that_pairs_x0_with_its_eps():
    x0 = np.linspace(0, 1, 3 * 200 * 200).reshape(3, 200, 200)
    operands = sent(forward(x0, 4 * x0 - 2))
    assert len(operands["values_x0"]) == 2**16 < x0.size
    np.testing.assert_allclose(operands["values_eps"], 2 * operands["values_x0"], atol=1e-5)
    counts, _ = np.histogram(operands["values_x0"], bins=10, range=(-1, 1))
    np.testing.assert_allclose(counts / 2**16, 0.1, atol=0.01)


@pytest.mark.parametrize(
    "shape",
    [lambda x: x, torch.tensor, lambda x: x[None], lambda x: np.moveaxis(x, 0, -1), lambda x: x.tolist()],
    ids=["array", "tensor", "batch of one", "colours last", "list"],
)
def test_operands_may_come_in_any_container(shape):
    operands = sent(forward(shape(X0), shape(EPS)))
    np.testing.assert_allclose(operands["x0"], X0.ravel() - 0.5, atol=1e-6)


def test_a_grey_picture_is_sent_once():
    for x0, eps in [(X0[0], EPS[0]), (X0[:1], EPS[:1])]:
        panel = forward(x0, eps)
        assert len(sent(panel)["x0"]) == 35 and panel.sizes == [[7, 5]]


def test_schedules_keep_their_precision_order_and_the_timesteps_asked_for():
    schedules = {"sd": Schedule.stable_diffusion().alpha_bar, "cosine": Schedule.cosine().alpha_bar}
    panel = forward(schedules=schedules, timesteps=[981, 500, 1])
    assert panel.tracks == ["sd", "cosine"] and panel.schedule == "sd" and panel.compare
    assert panel.levels == [[float(s[t]) for t in (981, 500, 1)] for s in schedules.values()]
    assert (panel.timesteps, panel.length, panel.index) == ([981, 500, 1], 3, 1)
    alone = forward()
    assert alone.timesteps == list(range(10)) and alone.index == 5 and not alone.compare
    assert forward(schedules=[1.0, 0.0]).levels == [[1.0, 0.0]]


# What comes back


def test_choices_in_the_browser_are_traits_in_python():
    panel = forward(schedules={"a": LINEAR, "b": LINEAR**2})
    panel.comm.choose(schedule="b", axis="log-SNR", curve="σ", compare=False, marks=[2, 7], shown="B − A", index=4)
    assert (panel.schedule, panel.axis, panel.curve, panel.compare) == ("b", "log-SNR", "σ", False)
    assert (panel.marks, panel.shown, panel.index) == ([2, 7], "B − A", 4)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("schedule", "c", r"schedule: got 'c', wanted one of \['a'\]"),
        ("marks", [0, 10], r"marks: got \[0, 10\], wanted two steps to 9, or -1"),
        ("marks", [0], "length 2"),
        ("axis", "sigma", "sigma"),
        ("index", 10, "index: got 10, wanted 0 to 9"),
    ],
)
def test_a_choice_that_is_none_is_refused(name, value, words):
    panel = forward(schedules={"a": LINEAR})
    with pytest.raises(traitlets.TraitError, match=words):
        setattr(panel, name, value)


def test_stats_count_the_bytes_of_the_operands_and_the_browsers_moves():
    panel = forward()
    assert panel.stats() == {"bytes": 4 * 4 * X0.size, "moves": 0}
    panel.comm.choose(_timing={"moves": 9, "p50_ms": 2.5, "p95_ms": 4.0})
    assert panel.stats()["p95_ms"] == 4.0


# Without a browser


def read(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_snapshot_shows_x_t_of_every_schedule_in_full_size():
    flat, noise = np.full((3, 40, 40), 0.75), np.zeros((3, 40, 40))
    panel = forward(flat, noise, {"a": [0.81, 0.25], "b": [0.64, 0.09]}, index=0)
    for step, roots in [(0, (0.9, 0.8)), (1, (0.5, 0.3))]:
        image = read(panel.snapshot(step))
        for root in roots:
            matching = (image == round(255 * (0.5 + root * 0.25))).all(-1)
            assert (matching.sum(1) >= 40).sum() == 40
    assert (read(panel.snapshot()) == read(panel.snapshot(0))).all()


def test_the_bundle_holds_a_strip_of_each_schedule():
    x0, eps = RNG.random((3, 300, 300)), RNG.standard_normal((3, 300, 300))
    panel = forward(x0, eps, {"linear": LINEAR, "square": LINEAR**2})
    still = panel._static()
    image = Image.open(io.BytesIO(still))
    assert len(still) <= 200_000 and image.size[0] > 8 * 48 and image.size[1] > 2 * 48
    assert panel._static() is still
    data, _ = panel._repr_mimebundle_()
    assert data["text/plain"] == "NoiseScrubber.forward(10 steps, of linear, square, 300x300, at step 5)"


# The end


def test_a_closed_panel_is_collected_and_its_operands_with_it():
    panel = forward()
    panel._repr_mimebundle_()
    alive, operands = weakref.ref(panel), weakref.ref(panel._operands)
    panel.close()
    assert operands() is None
    del panel
    gc.collect()
    assert alive() is None


def resident():
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_fifty_panels_made_and_closed_leave_none_alive_and_memory_flat():
    x0, eps = RNG.random((3, 512, 512)), RNG.standard_normal((3, 512, 512))
    frames = [x0[:, :64, :64]] * 4
    alive, memory = [], []
    for _ in range(50):
        for panel in (forward(x0, eps), NoiseScrubber(frames), NoiseScrubber(iter(frames)).wait(5)):
            alive.append(weakref.ref(panel))
            panel.close()
        del panel
        gc.collect()
        memory.append(resident())
    assert not any(ref() for ref in alive)
    assert abs(memory[-1] - memory[9]) <= 10, memory  # the first ones fill caches


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(x0="x.png"), TypeError, "x0: got str"),
        (dict(x0=np.zeros(3)), ValueError, "x0: got shape (3,), wanted one picture (3, h, w) or latent"),
        (dict(x0=np.zeros((2, 3, 4, 4))), ValueError, "x0: got shape (2, 3, 4, 4), wanted one picture"),
        (dict(x0=np.zeros((3, 0, 4))), ValueError, "x0: got shape (3, 0, 4), wanted one picture"),
        (dict(eps=EPS[:, :4]), ValueError, "eps: got shape (3, 4, 7), wanted (3, 5, 7) as x0"),
        (dict(eps=EPS[:1]), ValueError, "eps: got shape (1, 5, 7), wanted (3, 5, 7) as x0"),
        (dict(x0=np.full((3, 4, 4), np.nan)), ValueError, "x0: got 48 NaN or infinite values of 48"),
        (dict(eps=np.where(EPS > 1, np.inf, EPS)), ValueError, f"eps: got {int((EPS > 1).sum())} NaN or infinite"),
        (dict(x0=2 * X0 - 1), ValueError, "wanted [0, 1]"),
        (dict(x0=np.zeros((3, 900, 900)), eps=np.zeros((3, 900, 900))), ValueError, "900x900 pixels (w x h), 19 MB"),
        (dict(x0=np.zeros((1, 2, 3000)), eps=np.zeros((1, 2, 3000))), ValueError, "wanted at most 2048 a side"),
        (dict(rgb=np.zeros((4, 3))), ValueError, "rgb: got a matrix (4, 3) and a bias (3,), wanted (3, 3)"),
        (dict(rgb=(np.eye(3), [0])), ValueError, "and a bias (1,), wanted (3, 3) for a latent of 3 channels, and (3,)"),
        (dict(rgb=np.full((3, 3), np.inf)), ValueError, "rgb: got NaN or infinite values"),
        (dict(schedules=[0.9, 0.5, 0.6]), ValueError, "schedules: got ᾱ = 0.5 at t = 1 and 0.6 at t = 2, wanted it to"),
        (dict(schedules=[0.9, 0.5, 0.5]), ValueError, "wanted it to fall at every timestep"),
        (dict(schedules={"a": LINEAR[::-1]}), ValueError, "schedules['a']: got ᾱ = 0.01 at t = 0 and 0.118889"),
        (dict(schedules=[1.2, 0.5]), ValueError, "schedules: got ᾱ from 0.5 to 1.2, wanted all in [0, 1]"),
        (dict(schedules=[0.5, -0.1]), ValueError, "schedules: got ᾱ from -0.1 to 0.5, wanted all in [0, 1]"),
        (dict(schedules=[0.5, np.nan]), ValueError, "schedules: got ᾱ = nan, wanted all in [0, 1]"),
        (dict(schedules=[0.5]), ValueError, "schedules: got shape (1,), wanted ᾱ at two timesteps or more"),
        (dict(schedules="linear"), TypeError, "schedules: got str, wanted ᾱ at each timestep"),
        (dict(schedules={}), ValueError, "schedules: got 0, wanted 1 to 6"),
        (dict(schedules={str(i): LINEAR for i in range(7)}), ValueError, "schedules: got 7, wanted 1 to 6"),
        (dict(schedules={"a": LINEAR, "b": LINEAR[:9]}), ValueError, "got {'a': 10, 'b': 9} timesteps, wanted as many"),
        (dict(timesteps=[3, 10]), ValueError, "timesteps[1]: got 10, wanted 0 to 9"),
        (dict(timesteps=[-1]), ValueError, "timesteps[0]: got -1, wanted 0 to 9"),
        (dict(timesteps=[]), ValueError, "timesteps: got none, wanted at least one"),
        (dict(timesteps=5), TypeError, "timesteps: got 5, wanted a sequence of int"),
        (dict(index=10), ValueError, "index: got 10, wanted 0 to 9"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error) as raised:
        forward(**arguments)
    assert words in str(raised.value)
