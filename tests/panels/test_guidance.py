"""GuidanceSlider seen from Python: its mathematics, what it sends, what it re-runs, what it refuses, how it ends."""

import base64
import gc
import io
import json
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

import kit
from kit.diffusion import combine, guided, path, randn, sample
from kit.panels import GuidanceSlider
from kit.panels.guidance import VARIANTS, combined, fit_rgb

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 5)
RGB = (RNG.normal(size=(3, 4)), [0.5, 0.4, 0.6])


def latents(*shape):
    return RNG.normal(size=shape or SHAPE).astype(np.float32)


def slider(n=1, **settings):
    """A slider over random predictions at n steps; alpha_bar rises as t falls from 900 to 100."""
    arrays = {name: latents(n, *SHAPE) for name in "xuc"}
    levels = np.linspace(0.2, 0.9, n)
    return GuidanceSlider(
        **{**arrays, "t": np.linspace(900, 100, n).astype(int), "alpha_bar": levels, "rgb": RGB, **settings}
    )


def shade(value):
    return np.full((3, 8, 8), value)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class Sampler:
    """A `sample` under the test's hand: each call is noted and yields shades as far as `allow` lets it."""

    def __init__(self, steps=3):
        self.steps, self.calls, self.gate, self.ended = steps, [], threading.Semaphore(0), []

    def allow(self, count=100):
        for _ in range(count):
            self.gate.release()

    def __call__(self, w, variant="none", g=0.2, phi=0.7, interval=None, negative=False):
        self.calls.append((w, variant, g, phi, interval, negative))
        return self.run(w)

    def run(self, w):
        try:
            for step in range(self.steps):
                assert self.gate.acquire(timeout=5)
                yield shade((step + 1) / self.steps * abs(w) / 20)
        finally:
            self.ended.append(w)


# The mathematics


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dial", [0.0, 0.3, 1.0])
def test_combined_is_the_kits_own_combine(variant, dial):
    for _ in range(5):
        u, c = latents().astype(float), 3 * latents().astype(float) + 0.5
        for phi in (0.0, 0.7, 1.0):
            want = combine(*(torch.tensor(a)[None] for a in (u, c)), dial, variant, g=dial, phi=phi)[0]
            np.testing.assert_allclose(combined(u, c, variant, dial, phi), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_no_length_is_left_as_it_is_as_by_the_kit(variant):
    u, zero = latents().astype(float), np.zeros(SHAPE)
    for a, b, dial in [(u, u, 0.5), (zero, zero, 0.5), (zero, u, 0.5), (u, zero, 1.0)]:
        want = combine(*(torch.tensor(v)[None] for v in (a, b)), dial, variant, g=dial)[0]
        got = combined(a, b, variant, dial, 0.7)
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_the_preview_of_the_true_noise_is_the_true_picture_for_every_w():
    x0, eps, ab = latents(), latents(), 0.3
    panel = slider(x=np.sqrt(ab) * x0 + np.sqrt(1 - ab) * eps, u=eps, c=eps, alpha_bar=ab)
    want = np.einsum("rc,chw->hwr", RGB[0], x0) + RGB[1]
    for w in (-2, 0, 1, 20):
        panel.w = w
        np.testing.assert_allclose(panel.preview(), want, atol=1e-4)


def test_the_preview_is_that_of_u_at_0_and_that_of_c_at_1_and_outside_the_interval():
    panel = slider(negative=latents(1, *SHAPE), t=500)
    swapped = slider(x=panel._arrays["x"], u=panel._arrays["c"], c=panel._arrays["u"], alpha_bar=panel.alpha_bar)
    panel.w, swapped.w = 0, 1
    np.testing.assert_allclose(panel.preview(), swapped.preview(), atol=1e-12)
    panel.w, swapped.w = 1, 0
    only_c = swapped.preview()
    np.testing.assert_allclose(panel.preview(), only_c, atol=1e-12)
    np.testing.assert_allclose(panel.preview(negative=True), only_c, atol=1e-12)
    panel.w = 9
    for interval, acts in [([500, 900], True), ([100, 500], True), ([501, 900], False), ([100, 499], False)]:
        panel.interval = interval
        assert np.allclose(panel.preview(), only_c) != acts
    panel.variant = "full_norm"
    np.testing.assert_allclose(panel.preview(), only_c, atol=1e-12)


def test_fit_rgb_finds_a_linear_decoder_exactly():
    z = latents(5, 4, 3, 2)
    flat = np.einsum("rc,nchw->nrhw", RGB[0], z) + np.reshape(RGB[1], (3, 1, 1))
    matrix, bias = fit_rgb(z, flat.repeat(8, 2).repeat(8, 3))
    np.testing.assert_allclose(matrix, RGB[0], atol=1e-5)
    np.testing.assert_allclose(bias, RGB[1], atol=1e-5)
    with pytest.raises(ValueError, match=r"got shapes \(5, 4, 3, 2\) and \(5, 3, 24, 17\), wanted"):
        fit_rgb(z, np.zeros((5, 3, 24, 17)))


# What is sent


def test_the_operands_are_sent_once_with_the_first_message_and_unharmed():
    given = {name: torch.tensor(latents(3, *SHAPE)) for name in ("x", "u", "c", "negative")}
    panel = slider(3, **given)
    [(kind, data, buffers)] = panel.comm.sent
    assert kind == "comm_open" and data["buffer_paths"] == [["_operands", "blob"], ["_samples", "blob"]]
    assert data["state"]["_operands"]["names"] == ["x", "u", "c", "negative"]
    sent = np.frombuffer(buffers[0], "<f4").reshape(4, 3, *SHAPE)
    for array, operand in zip(sent, given.values(), strict=True):
        np.testing.assert_array_equal(array, operand.numpy())
    panel.comm.choose(w=9.0, interval=[100, 300])
    assert panel.comm.sent[1:] and not any(buffers for *_, buffers in panel.comm.sent[1:])


def test_the_authors_samples_are_sent_as_pictures_under_their_w():
    panel = slider(samples={1: shade(0.2), 7.5: torch.tensor(shade(0.6))})
    state = panel.get_state()["_samples"]
    assert [row[0] for row in state["table"]] == [["none", w, None, None, False] for w in (1.0, 7.5)]
    start = 0
    for (_, length, rerun), value in zip(state["table"], (0.2, 0.6), strict=True):
        assert (pixels(state["blob"][start : start + length]) == round(value * 255)).all() and not rerun
        start += length
    assert start == len(state["blob"])


def test_one_picture_may_come_without_the_axis_of_steps():
    panel = slider(x=latents(), u=latents(), c=latents(), t=torch.tensor(500), alpha_bar=torch.tensor(0.5))
    assert (panel.shape, panel.t, panel.alpha_bar, panel.at) == ([1, *SHAPE], [500], [0.5], 0)


def test_timesteps_and_alpha_bar_may_be_tensors_and_keep_their_precision():
    levels = torch.tensor([0.1, 1 - 1e-12], dtype=torch.float64)
    panel = slider(2, t=torch.tensor([999, 0]), alpha_bar=levels)
    assert (panel.t, panel.alpha_bar) == ([999, 0], [0.1, 1 - 1e-12])


def test_it_opens_on_the_middle_step_or_the_wanted_one():
    assert slider(5).at == 2 and slider(5, at=4).at == 4


# The re-run


def test_a_release_calls_sample_and_its_last_picture_is_kept():
    sampler = Sampler()
    panel = slider(sample=sampler)
    assert sampler.calls == [] and panel.status == "idle"
    panel.comm.choose(w=10.0)
    sampler.allow()
    panel.wait(5)
    assert sampler.calls == [(10.0, "none", 0.2, 0.7, None, False)] and panel.status == "done"
    key = ["none", 10.0, None, None, False]
    steps = panel.comm.named("custom", kind="step")
    assert [content["step"] for content, _ in steps] == [1, 2, 3] and steps[0][0]["key"] == key
    [(content, [data])] = panel.comm.named("custom", kind="sample")
    assert content["key"] == key and (pixels(data) == 128).all()
    assert panel.get_state()["_samples"]["table"] == [[key, len(data), True]]


def test_sample_is_given_those_settings_only_that_differ_from_their_defaults():
    seen = []
    panel = slider(sample=lambda w, **settings: seen.append((w, settings)) or shade(0.5), negative=latents(1, *SHAPE))
    wishes = [dict(w=3.0), dict(variant="pred_norm"), dict(variant="std", phi=0.4), dict(variant="t_norm", g=0.3),
              dict(interval=[200, 700]), dict(variant="none", with_negative=True)]  # fmt: skip
    for wish in wishes:
        panel.comm.choose(**wish)
        panel.wait(5)
    assert seen == [
        (3.0, {}),
        (3.0, {"variant": "pred_norm"}),
        (3.0, {"variant": "std", "phi": 0.4}),
        (3.0, {"variant": "t_norm", "g": 0.3}),
        (3.0, {"variant": "t_norm", "g": 0.3, "interval": (200, 700)}),
        (3.0, {"interval": (200, 700), "negative": True}),
    ]


def test_what_was_made_is_not_made_again():
    seen = []
    panel = slider(sample=lambda w: seen.append(w) or shade(0.5), samples={2.0: shade(0.1)})
    for w in (4.0, 2.0, 4.0, 6.0, 4.0):
        panel.w = w
        panel.wait(5)
    assert seen == [4.0, 6.0]


def test_run_makes_what_is_chosen_anew_and_keeps_the_newer():
    shades = iter([0.2, 0.8])
    panel = slider(sample=lambda w: shade(next(shades)))
    for _ in range(2):
        panel.run()
        panel.wait(5)
    [(_, data, rerun)] = panel._finished.rows
    assert (pixels(data) == round(0.8 * 255)).all() and rerun


def test_the_newest_wish_wins():
    sampler = Sampler()
    panel = slider(sample=sampler)
    panel.w = 4
    eventually(lambda: sampler.calls)
    for w in (6, 8, 12):
        panel.w = w
    sampler.allow()
    panel.wait(5)
    assert [call[0] for call in sampler.calls] == [4, 12] and sampler.ended == [4, 12]
    assert [row[0][1] for row in panel._finished.rows] == [12]


def test_settings_that_change_together_are_one_wish():
    panel, begun = slider(sample=lambda w, interval=None: shade(0.5)), []
    start = panel.work.start
    panel.work.start = lambda *given, **more: begun.append(panel._key) or start(*given, **more)
    panel.comm.choose(w=8.0, interval=[200, 700])
    panel.wait(5)
    assert begun == [["none", 8.0, None, [200, 700], False]] and panel.status == "done"


def test_going_back_to_a_finished_sample_ends_the_re_run():
    sampler = Sampler()
    panel = slider(sample=sampler, samples={2.0: shade(0.1)})
    panel.w = 4
    eventually(lambda: sampler.calls)
    panel.w = 2
    sampler.allow()
    panel.wait(5)
    assert panel.status == "cancelled" and sampler.ended == [4] and len(panel._finished.rows) == 1


def test_stop_ends_the_re_run_within_a_step_and_run_begins_it_again():
    sampler = Sampler(50)
    panel = slider(sample=sampler)
    panel.comm.choose(w=4.0)
    sampler.allow(2)
    eventually(lambda: len(panel.comm.named("custom", kind="step")) == 2)
    panel.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    sampler.allow(1)
    panel.wait(5)
    assert panel.status == "cancelled" and sampler.ended == [4]
    assert len(panel.comm.named("custom", kind="step")) == 2 and panel._finished.rows == []
    panel.comm.hear({"method": "custom", "content": {"kind": "run"}})
    sampler.allow()
    panel.wait(5)
    assert panel.status == "done" and len(panel._finished.rows) == 1


def failing(w):
    yield shade(0.5)
    raise RuntimeError("out of memory at the second step")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (failing, "RuntimeError: out of memory at the second step"),
        (lambda w: iter([]), "ValueError: sample: got no picture, wanted one, or a generator that yields at least one"),
        (lambda w: None, "ValueError: sample: got no picture"),
        (lambda w: np.zeros((3, 4)) + 7, "ValueError: sample at w = 4, picture 0: got values from 7 to 7"),
        (lambda w: iter([shade(0), "x"]), "TypeError: sample at w = 4, picture 1: got str"),
        (lambda: shade(0), "TypeError: sample: cannot be called as sample(4): too many positional arguments"),
    ],
)
def test_an_error_in_sample_is_shown_and_the_panel_lives_on(bad, words):
    panel = slider(sample=bad)
    panel.comm.choose(w=4.0)
    panel.wait(5)
    assert panel.status == "error" and words in panel.error and "Traceback" in panel.traceback
    assert panel._finished.rows == []
    panel._sample = lambda w: shade(0.5)
    panel.comm.choose(w=6.0)
    panel.wait(5)
    assert (panel.status, panel.error) == ("done", "") and len(panel._finished.rows) == 1


def test_a_setting_that_sample_does_not_take_is_named():
    panel = slider(sample=lambda w: shade(0.5))
    panel.variant = "std"
    panel.wait(5)
    words = (
        "sample: cannot be called as sample(5, variant='std', phi=0.7): got an unexpected keyword argument 'variant'"
    )
    assert words in panel.error


def test_on_colab_later_pictures_are_json(monkeypatch):
    panel = slider(sample=lambda w: shade(0.5))
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    panel.w = 4
    panel.wait(5)
    messages = panel.comm.named("custom")
    assert [content["kind"] for content, _ in messages] == ["step", "sample"]
    for content, buffers in messages:
        assert not buffers and json.dumps(content)
        assert (pixels(base64.b64decode(content["base64"])) == 128).all()
    assert not [1 for _, _, buffers in panel.comm.sent[1:] if buffers]


def test_without_sample_nothing_runs():
    panel = slider()
    panel.w = 9
    assert panel.status == "idle" and not panel.runs
    with pytest.raises(ValueError, match="run: got a panel without `sample`"):
        panel.run()


# The code that makes a picture


@pytest.fixture(scope="module")
def world():
    """The names that `to_code` asks for, on the small world, and predictions at five steps of a path."""
    models = kit.load("world")
    timesteps, noise = models.timesteps(5), randn((1, *models.latent_shape), 3)
    with torch.no_grad():
        cond, uncond, negative = (models.embed([text]) for text in ("a horse in the snow", "", "night"))
        states = [
            s for s in path(guided(models.predict, uncond, 3.0), models.schedule, noise, timesteps, cond) if s.t >= 0
        ]
        x = torch.cat([state.x for state in states])
        predicted = [
            torch.cat([models.predict(s.x, s.t, embedding) for s in states]) for embedding in (uncond, cond, negative)
        ]
    names = dict(models=models, timesteps=timesteps, noise=noise, cond=cond, uncond=uncond, negative=negative)
    return names, x, predicted, [s.t for s in states]


def over_world(world, **settings):
    names, x, (u, c, negative), t = world
    levels = [names["models"].schedule.at(each) for each in t]
    rgb = (torch.tensor(RGB[0], dtype=torch.float32), torch.tensor(RGB[1]))
    return GuidanceSlider(x, u, c, t, levels, rgb, negative=negative, **settings)


CHOICES = [dict(w=7.5), dict(w=-1.25), dict(variant="pred_norm", w=12), dict(variant="t_norm", g=0.15),
           dict(variant="full_norm", g=0.4), dict(variant="std", phi=0.3, w=15), dict(w=6, interval=[300, 700]),
           dict(w=6, interval=[0, 100]), dict(w=4, with_negative=True)]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_code_of_level_1_makes_the_preview(world, choice):
    panel = over_world(world, **choice)
    _, x, (u, c, negative), _ = world
    row = slice(panel.at, panel.at + 1)
    names = dict(x=x[row], u=u[row], c=c[row], negative=negative[row],
                 alpha_bar=torch.tensor(panel.alpha_bar[panel.at]),
                 rgb=(torch.tensor(RGB[0], dtype=torch.float32), torch.tensor(RGB[1])))  # fmt: skip
    exec(panel.to_code(1), names)
    want = panel.preview(choice.get("with_negative", False)).clip(0, 1).transpose(2, 0, 1)
    np.testing.assert_allclose(names["picture"][0], want, atol=1e-4)


@torch.no_grad()
def of_world(world, w, negative=False, **settings):
    """The author's `sample`, written with the kit."""
    names = world[0]
    models, away = names["models"], names["negative" if negative else "uncond"]
    predict = guided(models.predict, away, w, **settings)
    return models.decode(sample(predict, models.schedule, names["noise"], names["timesteps"], names["cond"]))


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_code_of_level_3_makes_the_sample(world, choice):
    panel = over_world(world, sample=lambda w, **settings: of_world(world, w, **settings), w=1)
    with panel.hold_trait_notifications():
        for name, value in choice.items():
            setattr(panel, name, value)
    panel.wait(60)
    assert panel.error == ""
    names = dict(world[0])
    with torch.no_grad():
        exec(panel.to_code(), names)
    made = pixels(panel._finished.get(panel._key)) / 255
    np.testing.assert_allclose(made, names["picture"][0].permute(1, 2, 0).numpy(), atol=0.51 / 255)


def test_the_code_is_that_of_the_shown_level():
    assert "x0 =" in slider().to_code() and "guided(" in slider(sample=lambda w: shade(0)).to_code()
    with pytest.raises(ValueError, match="level: got 4, wanted 1, 2 or 3"):
        slider().to_code(4)


# The end


def test_fifty_panels_opened_and_closed_leave_none_alive():
    alive = []
    for _ in range(50):
        panel = slider(sample=lambda w: shade(0.5), samples={2.0: shade(0.1)})
        panel.w = 7
        panel.wait(5)
        panel._repr_mimebundle_()
        alive += [weakref.ref(panel), weakref.ref(panel.layout)]
        panel.close()
        del panel
    gc.collect()
    assert [ref for ref in alive if ref() is not None] == []


def test_close_ends_a_re_run_and_frees_the_arrays():
    sampler = Sampler(50)
    panel = slider(sample=sampler)
    panel.w = 4
    sampler.allow(1)
    eventually(lambda: panel.comm.named("custom"))
    panel.close()
    sampler.allow(1)
    eventually(lambda: sampler.ended)
    assert panel.stats()["bytes"] == 0


def test_a_sampler_that_hangs_does_not_keep_a_closed_panel_alive():
    sampler = Sampler()
    panel = slider(sample=sampler)
    panel.w = 4
    eventually(lambda: sampler.calls)
    alive = weakref.ref(panel)
    panel.close()
    del panel
    gc.collect()
    assert alive() is None and not sampler.ended
    sampler.allow(1)
    eventually(lambda: sampler.ended)


# Without a browser


def test_the_bundle_holds_a_sheet_a_view_and_words():
    noisy = {float(w): RNG.random((3, 256, 256)) for w in range(12)}
    panel = slider(3, samples=noisy, negative=latents(3, *SHAPE))
    data, _ = panel._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert len(png) <= 200_000 and Image.open(io.BytesIO(png)).size[0] > 8 * 48
    assert data["text/plain"] == "GuidanceSlider(w = 5, 3 steps of 4x6x5, 12 samples, idle)"
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id


def test_the_snapshot_shows_the_previews_and_the_nearest_sample():
    grey = [np.zeros((3, 4)), [0.25, 0.25, 0.25]]
    panel = slider(rgb=grey, negative=latents(1, *SHAPE), samples={1.0: shade(0.5), 9.0: shade(0.75)}, w=6)
    image = pixels(panel.snapshot())
    assert (image == round(0.75 * 255)).all(-1).sum() >= 256 * 256
    assert (image == round(0.25 * 255)).all(-1).sum() >= 2 * 256 * 200
    panel.w = 3
    assert (pixels(panel.snapshot()) == round(0.5 * 255)).all(-1).sum() >= 256 * 256


def test_an_exported_page_holds_all_and_asks_nothing_of_the_network(tmp_path):
    page = slider(samples={2.0: shade(0.5)}, title="guidance").export_html(tmp_path / "page.html").read_text()
    assert "guidance" in page and "http" not in page.replace("http://www.w3.org", "")


# What is refused

GOOD = dict(
    x=latents(2, *SHAPE), u=latents(2, *SHAPE), c=latents(2, *SHAPE), t=[500, 100], alpha_bar=[0.3, 0.8], rgb=RGB
)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(x=latents(4, 5)), ValueError, "x: got shape (4, 5), wanted (channels, h, w) or (n, channels, h, w)"),
        (dict(c=latents(2, 4, 6, 6)), ValueError, "c: got shape (2, 4, 6, 6), wanted (2, 4, 6, 5) like x"),
        (dict(u=latents(1, *SHAPE)), ValueError, "u: got shape (1, 4, 6, 5), wanted (2, 4, 6, 5) like x"),
        (dict(negative=latents()), ValueError, "negative: got shape (1, 4, 6, 5), wanted (2, 4, 6, 5) like x"),
        (dict(u=np.full((2, *SHAPE), np.nan)), ValueError, "u: got 240 NaN or infinite values of 240, wanted"),
        (dict(c="noise"), TypeError, "c: got str"),
        (dict(rgb=np.zeros((3, 5))), TypeError, "rgb: got ndarray, wanted (matrix (3, 4), bias (3,)), as from fit_rgb"),
        (dict(rgb=(np.zeros((3, 3)), np.zeros(3))), ValueError, "rgb: got shapes (3, 3) and (3,), wanted (matrix"),
        (dict(rgb=(np.full((3, 4), np.inf), np.zeros(3))), ValueError, "rgb: got NaN or infinite values"),
        (dict(t=[100, 500]), ValueError, "t: got [100, 500], wanted falling timesteps from 0 to 999"),
        (dict(t=[1000, 500]), ValueError, "t: got [1000, 500], wanted falling timesteps from 0 to 999"),
        (dict(t=[500, -1]), ValueError, "t: got [500, -1], wanted falling timesteps from 0 to 999"),
        (dict(t=500), ValueError, "t: got 500, wanted 2 whole numbers, one for each step of x"),
        (dict(alpha_bar=0.5), ValueError, "alpha_bar: got 0.5, wanted 2 numbers, one for each step of x"),
        (dict(T=1), ValueError, "T: got 1, wanted at least 2 timesteps"),
        (dict(t=[500.5, 100]), ValueError, "t: got [500.5, 100], wanted 2 whole numbers, one for each step of x"),
        (dict(alpha_bar=[0.0, 0.5]), ValueError, "alpha_bar: got values from 0 to 0.5, wanted all in (0, 1]"),
        (dict(alpha_bar=[0.2, 1.5]), ValueError, "alpha_bar: got values from 0.2 to 1.5, wanted all in (0, 1]"),
        (dict(alpha_bar=[0.2, np.nan]), ValueError, "alpha_bar: got values from"),
        (dict(w=np.nan), ValueError, "w: got nan, wanted a number from -2 to 20"),
        (dict(w=np.inf), ValueError, "w: got inf, wanted a number from -2 to 20"),
        (dict(w=21), ValueError, "w: got 21, wanted a number from -2 to 20"),
        (dict(w="five"), TypeError, "w: got 'five', wanted a number from -2 to 20"),
        (dict(at=2), ValueError, "at: got 2, wanted 0 to 1"),
        (dict(sample=5), TypeError, "sample: got int, wanted a callable, sample(w, **settings)"),
        (dict(samples=[shade(0)]), TypeError, "samples: got list, wanted {w: picture}"),
        (dict(samples={30: shade(0)}), ValueError, "samples: got 30, wanted a number from -2 to 20"),
        (dict(samples={3: shade(2)}), ValueError, "samples[3]: got values from 2 to 2"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error) as raised:
        GuidanceSlider(**{**GOOD, **arguments})
    assert words in str(raised.value)


def test_more_than_16_mb_of_latents_is_refused():
    big = np.zeros((12, 4, 200, 200), np.float32)
    with pytest.raises(ValueError, match=r"x: got 22 MB of latents and predictions, wanted at most 16 MB: give fewer"):
        GuidanceSlider(big, big, big, range(12)[::-1], np.full(12, 0.5), RGB)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("w", np.nan, "w: got nan, wanted a number from -2 to 20"),
        ("g", 1.5, "g: got 1.5, wanted a number from 0 to 1"),
        ("phi", -0.1, "phi: got -0.1, wanted a number from 0 to 1"),
        ("interval", [700, 200], "interval: got [700, 200], wanted [low, high] with 0 <= low <= high <= 999"),
        ("interval", [5], "interval: got [5], wanted [low, high]"),
        ("at", 3, "at: got 3, wanted 0 to 2"),
        ("with_negative", True, "with_negative: got True, but the panel was given no `negative`"),
        ("variant", "max", "variant"),
    ],
)
def test_a_choice_out_of_range_is_refused_and_the_old_one_stays(name, value, words):
    panel = slider(3)
    before = getattr(panel, name)
    with pytest.raises(traitlets.TraitError) as raised:
        setattr(panel, name, value)
    assert words in str(raised.value) and getattr(panel, name) == before


def test_an_interval_of_all_timesteps_is_no_interval():
    panel = slider(3)
    panel.interval = [0, 999]
    assert panel.interval == []


def test_a_slider_of_arrays_needs_no_torch():
    code = """
import sys, numpy as np
from kit.panels import GuidanceSlider
x = np.zeros((4, 2, 2))
GuidanceSlider(x, x, x, 500, 0.5, (np.zeros((3, 4)), np.zeros(3)))
print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
