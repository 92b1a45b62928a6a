"""InterpolationSlider seen from Python: what it sends, re-runs, keeps and refuses, shows alone, and how it ends."""

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

from kit.panels import InterpolationSlider

ETAS = [0, 0.25, 0.5, 0.75, 1, 1.25]


def shade(value, size=8):
    return np.full((3, size, size), value)


def pictures(rows=1, etas=ETAS, size=8):
    """(rows, n, 3, size, size): the picture of row r at the i-th eta is of the grey (8 i + r) / 255."""
    return np.array([[shade((8 * i + row) / 255, size) for i in range(len(etas))] for row in range(rows)])


def slider(rows=1, etas=ETAS, **settings):
    return InterpolationSlider(pictures(rows, etas), etas, **settings)


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

    def __call__(self, eta):
        self.calls.append(eta)
        return self.run(eta)

    def run(self, eta):
        try:
            for step in range(self.steps):
                assert self.gate.acquire(timeout=5)
                yield shade((100 + step) / 255)
        finally:
            self.ended.append(eta)


def unpacked(state):
    """{eta: the greys of its rows} of what is sent."""
    start, greys = 0, {}
    for eta, lengths, _ in state["table"]:
        greys[eta] = []
        for length in lengths:
            greys[eta].append(pixels(state["blob"][start : start + length])[0, 0, 0])
            start += length
    assert start == len(state["blob"])
    return greys


# What is sent


@pytest.mark.parametrize("rows", [1, 3])
def test_every_picture_is_sent_once_under_its_eta_row_by_row(rows):
    panel = slider(rows)
    [(kind, data, buffers)] = panel.comm.sent
    assert kind == "comm_open" and data["buffer_paths"] == [["_pictures", "blob"]] and len(buffers) == 1
    want = {eta: [8 * i + row for row in range(rows)] for i, eta in enumerate(ETAS)}
    assert unpacked(panel.get_state()["_pictures"]) == want
    assert (panel.etas, panel.rows, panel.size) == (ETAS, rows, [8, 8])
    panel.comm.choose(eta=0.3)
    assert not any(buffers for *_, buffers in panel.comm.sent[1:])


def test_tensors_and_a_list_of_them_are_taken_and_unharmed():
    given = torch.tensor(pictures()[0], requires_grad=True)
    before = given.detach().clone()
    for value in (given, list(given.detach())):
        panel = InterpolationSlider(value, torch.tensor(ETAS))
        assert panel.rows == 1 and panel.etas == ETAS
    assert torch.equal(given.detach(), before)


def test_etas_come_back_as_they_are_written():
    assert slider(etas=[0, 0.1, 0.3, 0.7]).etas == [0, 0.1, 0.3, 0.7]
    assert slider(etas=np.linspace(0, 1.2, 13, dtype=np.float32)).etas == [round(0.1 * i, 6) for i in range(13)]


def test_the_input_and_the_true_edit_are_sent_as_pictures():
    panel = slider(source=shade(0.2), true=torch.tensor(shade(0.6)))
    stills = panel.get_state()["_stills"]
    assert {name: pixels(data)[0, 0, 0] for name, data in stills.items()} == {"source": 51, "true": 153}
    assert slider()._stills == {}


@pytest.mark.parametrize("rows", [1, 2])
def test_the_curves_are_numbers_by_row_and_eta(rows):
    numbers = np.arange(6.0)
    panel = slider(rows, fidelity=numbers, alignment=np.stack([numbers] * rows) + np.arange(rows)[:, None])
    assert panel.curves["fidelity"] == [numbers.tolist()]
    assert panel.curves["alignment"] == [(numbers + row).tolist() for row in range(rows)]


def test_a_curve_goes_straight_from_eta_to_eta_by_the_mean_of_its_rows():
    panel = slider(2, fidelity=[[1, 3, 0, 0, 0, 7], [3, 5, 0, 0, 0, 7]])
    assert [panel.at("fidelity", eta) for eta in (0, 0.125, 0.25, 1.25)] == [2, 3, 4, 7]
    panel.eta = 0.375
    assert panel.at("fidelity") == 2
    with pytest.raises(ValueError, match=r"at: got 'alignment', wanted one of \['fidelity'\]"):
        panel.at("alignment")


def test_it_opens_in_the_middle_of_the_band_or_where_it_is_told():
    assert slider().eta == 0.75 and slider(band=None).eta == 1.25 and slider(band=(0, 0.4)).eta == 0.25
    assert slider(eta=0.4).eta == 0.4 and slider(etas=[0, 0.1]).eta == 0.1


def test_the_band_is_the_papers_unless_told_otherwise():
    assert slider().band == [0.6, 0.8] and slider(band=None).band == [] and slider(band=(0.5, 0.9)).band == [0.5, 0.9]
    assert slider().flat is None and slider(flat=0.4).flat == 0.4


# The re-run


def test_a_release_calls_sample_and_its_last_pictures_are_kept():
    sampler = Sampler()
    panel = slider(sample=sampler)
    assert sampler.calls == [] and panel.status == "idle" and panel.runs
    panel.comm.choose(eta=0.6)
    sampler.allow()
    panel.wait(5)
    assert sampler.calls == [0.6] and panel.status == "done"
    steps = panel.comm.named("custom", kind="step")
    assert [(content["step"], content["key"]) for content, _ in steps] == [(1, 0.6), (2, 0.6), (3, 0.6)]
    [(content, [data])] = panel.comm.named("custom", kind="sample")
    assert content["key"] == 0.6 and content["lengths"] == [len(data)] and (pixels(data) == 102).all()
    state = panel.get_state()["_pictures"]
    assert unpacked(state)[0.6] == [102] and [rerun for *_, rerun in state["table"]].count(True) == 1
    assert [eta for eta, *_ in state["table"]] == sorted([*ETAS, 0.6])


def test_a_picture_for_each_row_is_sent_in_one_message():
    panel = slider(3, sample=lambda eta: torch.stack([torch.tensor(shade(row / 255)) for row in (7, 8, 9)]))
    panel.eta = 0.1
    panel.wait(5)
    [(content, [data])] = panel.comm.named("custom", kind="sample")
    assert len(content["lengths"]) == 3 and sum(content["lengths"]) == len(data)
    assert unpacked(panel.get_state()["_pictures"])[0.1] == [7, 8, 9]


def test_what_was_made_is_not_made_again():
    calls = []
    panel = slider(sample=lambda eta: calls.append(eta) or shade(0.5))
    for eta in (0.6, 0.75, 0.6, 0.6004, 0.9, 0.6):
        panel.eta = eta
        panel.wait(5)
    assert calls == [0.6, 0.9]


def test_run_makes_what_is_chosen_anew_and_keeps_the_newer():
    shades = iter([0.2, 0.8])
    panel = slider(sample=lambda eta: shade(next(shades)), eta=0.6)
    for _ in range(2):
        panel.comm.hear({"method": "custom", "content": {"kind": "run"}})
        panel.wait(5)
    assert unpacked(panel.get_state()["_pictures"])[0.6] == [204] and len(panel._cached.entries) == 7


def test_the_newest_wish_wins():
    sampler = Sampler()
    panel = slider(sample=sampler)
    panel.eta = 0.1
    eventually(lambda: sampler.calls)
    for eta in (0.2, 0.3, 0.4):
        panel.eta = eta
    sampler.allow()
    panel.wait(5)
    assert sampler.calls == [0.1, 0.4] and sampler.ended == [0.1, 0.4]
    assert not panel._cached.has(0.1) and panel._cached.has(0.4)


def test_going_back_to_what_was_made_ends_the_re_run():
    sampler = Sampler()
    panel = slider(sample=sampler)
    panel.eta = 0.1
    eventually(lambda: sampler.calls)
    panel.eta = 0.5
    sampler.allow()
    panel.wait(5)
    assert panel.status == "cancelled" and sampler.ended == [0.1] and not panel._cached.has(0.1)


def test_stop_ends_the_re_run_within_a_step_and_run_begins_it_again():
    sampler = Sampler(50)
    panel = slider(sample=sampler)
    panel.comm.choose(eta=0.1)
    sampler.allow(2)
    eventually(lambda: len(panel.comm.named("custom", kind="step")) == 2)
    panel.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    sampler.allow(1)
    panel.wait(5)
    assert panel.status == "cancelled" and sampler.ended == [0.1] and not panel._cached.has(0.1)
    panel.run()
    sampler.allow()
    panel.wait(5)
    assert panel.status == "done" and panel._cached.has(0.1)


def failing(eta):
    yield shade(0.5)
    raise RuntimeError("out of memory at the second step")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (failing, "RuntimeError: out of memory at the second step"),
        (lambda eta: iter([]), "ValueError: sample: got no picture, wanted one, or a generator"),
        (lambda eta: shade(7), "ValueError: sample at eta = 0.1, step 1: got values from 7 to 7"),
        (lambda eta: iter([shade(0), "x"]), "TypeError: sample at eta = 0.1, step 2: got str"),
        (lambda eta: shade(0, 9), "ValueError: sample at eta = 0.1, step 1: got 9x9 pixels (w x h), wanted 8x8"),
        (lambda eta: pictures(2)[:, 0], "got shape (2, 3, 8, 8), wanted (1, 3, h, w), a picture for each row"),
        (lambda: shade(0), "TypeError: sample: cannot be called as sample(0.1): too many positional arguments"),
    ],
)  # fmt: skip
def test_an_error_in_sample_is_shown_and_the_panel_lives_on(bad, words):
    panel = slider(sample=bad)
    panel.comm.choose(eta=0.1)
    panel.wait(5)
    assert panel.status == "error" and words in panel.error and "Traceback" in panel.traceback
    assert len(panel._cached.entries) == 6
    panel._sample = lambda eta: shade(0.5)
    panel.comm.choose(eta=0.2)
    panel.wait(5)
    assert (panel.status, panel.error) == ("done", "") and panel._cached.has(0.2)


def test_on_colab_later_pictures_are_json(monkeypatch):
    panel = slider(2, sample=lambda eta: np.stack([shade(0.5)] * 2))
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    panel.eta = 0.1
    panel.wait(5)
    messages = panel.comm.named("custom")
    assert [content["kind"] for content, _ in messages] == ["step", "sample"]
    for content, buffers in messages:
        data = base64.b64decode(content["base64"])
        assert not buffers and json.dumps(content) and (pixels(data[: content["lengths"][0]]) == 128).all()


def test_without_sample_nothing_runs():
    panel = slider()
    panel.eta = 0.3
    assert panel.status == "idle" and not panel.runs
    with pytest.raises(ValueError, match="run: got a panel without `sample`"):
        panel.run()


# The end


def test_fifty_panels_opened_and_closed_leave_none_alive():
    alive = []
    for _ in range(50):
        panel = slider(2, source=shade(0.5), sample=lambda eta: pictures(2)[:, 0])
        panel.eta = 0.3
        panel.wait(5)
        panel._repr_mimebundle_()
        alive += [weakref.ref(panel), weakref.ref(panel.layout)]
        panel.close()
        del panel
    gc.collect()
    assert [ref for ref in alive if ref() is not None] == []


def test_close_ends_a_re_run_and_frees_the_pictures():
    sampler = Sampler(50)
    panel = slider(sample=sampler)
    panel.eta = 0.1
    sampler.allow(1)
    eventually(lambda: panel.comm.named("custom"))
    panel.close()
    sampler.allow(1)
    eventually(lambda: sampler.ended)
    assert panel.stats()["bytes"] == 0
    with pytest.raises(ValueError, match="run: got a panel without `sample`"):
        panel.run()


def test_a_sampler_that_hangs_does_not_keep_a_closed_panel_alive():
    sampler = Sampler()
    panel = slider(sample=sampler)
    panel.eta = 0.1
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
    noisy = np.random.default_rng(0).random((3, 13, 3, 200, 200), dtype=np.float32)
    panel = InterpolationSlider(noisy, np.linspace(0, 1.2, 13), source=noisy[0, 0])
    data, _ = panel._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert len(png) <= 200_000 and Image.open(io.BytesIO(png)).size[0] > 9 * 48
    assert data["text/plain"] == "InterpolationSlider(eta = 0.7, 13 etas from 0 to 1.2, 3 rows, 200x200, idle)"
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id


def test_the_sheet_shows_the_input_then_the_etas_in_each_row():
    image = pixels(slider(2, source=shade(200 / 255))._static())
    middles = [image[20 + 64 + row * 148, 6 + 64 + column * 134] for row in range(2) for column in range(7)]
    want = [200, 0, 8, 16, 24, 32, 40, 200, 1, 9, 17, 25, 33, 41]
    np.testing.assert_array_equal(middles, np.repeat(want, 3).reshape(-1, 3))


def test_the_snapshot_shows_what_is_in_view():
    panel = slider(source=shade(200 / 255), true=shade(100 / 255), eta=0.6)
    image = pixels(panel.snapshot())
    assert [image[134, 6 + 128 + column * 262, 0] for column in range(4)] == [200, 0, 16, 100]


def test_an_exported_page_holds_all_and_asks_nothing_of_the_network(tmp_path):
    page = slider(title="from a dog to a cat").export_html(tmp_path / "page.html").read_text()
    assert "from a dog to a cat" in page and "http" not in page.replace("http://www.w3.org", "")


def test_a_slider_needs_no_torch():
    code = """
import sys, numpy as np
from kit.panels import InterpolationSlider
InterpolationSlider(np.zeros((3, 3, 8, 8)), [0, 0.5, 1])
print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]


# What is refused

GOOD = dict(pictures=pictures(2), etas=ETAS)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(pictures=shade(0)), ValueError, "pictures: got shape (3, 8, 8), wanted (n, 3, h, w) or (rows,"),
        (dict(pictures=pictures(2)[:, :5]), ValueError, "pictures: got 5 in a row, wanted 6, one for each of etas"),
        (dict(pictures=np.zeros((0, 6, 3, 8, 8))), ValueError, "pictures: got shape (0, 6, 3, 8, 8), wanted"),
        (dict(pictures=np.zeros((6, 4, 8, 8))), ValueError, "pictures[0, 0]: got shape (4, 8, 8), wanted one picture"),
        (dict(pictures=np.full((6, 3, 8, 8), np.nan)), ValueError, "pictures[0, 0]: got 192 NaN or infinite values"),
        (dict(pictures=np.full((6, 3, 8, 8), 255)), ValueError, "divide by 255"),
        (dict(pictures="pictures"), TypeError, "pictures: got str"),
        (dict(etas=[0, 0.5, 0.25, 0.75, 1, 1.25]), ValueError, "etas: got [0.0, 0.5, 0.25, 0.75, 1.0, 1.25], wanted"),
        (dict(etas=[0, 0.25, 0.25, 0.75, 1, 1.25]), ValueError, "wanted them rising, by at least 0.0005"),
        (dict(etas=[0, 0.25, 0.5, 0.75, 1, np.nan]), ValueError, "wanted all finite"),
        (dict(etas=[0, 0.25, 0.5, 0.75, 1, np.inf]), ValueError, "wanted all finite"),
        (dict(etas=[0.1, 0.25, 0.5, 0.75, 1, 1.25]), ValueError, "wanted 0 among them: the reconstruction"),
        (dict(etas=0.5), ValueError, "etas: got shape (), wanted (n,) with n of at least 2"),
        (dict(etas=[0], pictures=np.zeros((1, 3, 8, 8))), ValueError, "etas: got shape (1,), wanted (n,) with n"),
        (dict(etas="all"), TypeError, "etas: got str"),
        (dict(source=shade(0, 9)), ValueError, "source: got 9x9 pixels (w x h), wanted 8x8 as in pictures"),
        (dict(true=shade(2)), ValueError, "true: got values from 2 to 2"),
        (dict(fidelity=[1, 2]), ValueError, "fidelity: got shape (2,), wanted (6,) or (2, 6), a number for"),
        (dict(alignment=np.zeros((3, 6))), ValueError, "alignment: got shape (3, 6), wanted (6,) or (2, 6)"),
        (dict(fidelity=[0, 1, np.nan, 3, 4, 5]), ValueError, "fidelity: got 1 NaN or infinite numbers"),
        (dict(flat=2), ValueError, "flat: got 2, wanted a number from 0 to 1.25"),
        (dict(flat="little"), TypeError, "flat: got 'little', wanted a number from 0 to 1.25"),
        (dict(band=(0.8, 0.6)), ValueError, "band: got (0.8, 0.6), wanted two finite numbers, the lower first"),
        (dict(band=0.6), ValueError, "band: got 0.6, wanted (low, high), or None for none"),
        (dict(band=(0.6, np.inf)), ValueError, "band: got (0.6, inf), wanted two finite numbers"),
        (dict(eta=np.nan), ValueError, "eta: got nan, wanted a number from 0 to 1.25"),
        (dict(eta=1.5), ValueError, "eta: got 1.5, wanted a number from 0 to 1.25"),
        (dict(labels="ab"), ValueError, "labels: got 'ab', wanted two names, of eta = 0 and of eta = 1"),
        (dict(labels=["a"]), ValueError, "labels: got ['a'], wanted two names"),
        (dict(sample=5), TypeError, "sample: got int, wanted a callable, sample(eta)"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error) as raised:
        InterpolationSlider(**{**GOOD, **arguments})
    assert words in str(raised.value)


def test_more_than_64_mb_of_pictures_are_refused(monkeypatch):
    noisy = np.random.default_rng(0).random((16, 4, 3, 128, 128))
    monkeypatch.setattr("kit.panels.interpolation.MAX_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"pictures: got 3 MB, wanted at most 1 MB: give fewer etas or rows"):
        InterpolationSlider(noisy, [0, 0.5, 1, 1.2])


@pytest.mark.parametrize("value", [np.nan, -0.01, 1.26, np.inf])
def test_an_eta_out_of_range_is_refused_and_the_old_one_stays(value):
    panel = slider()
    with pytest.raises(traitlets.TraitError, match=r"eta: got .*, wanted a number from 0 to 1.25"):
        panel.eta = value
    assert panel.eta == 0.75
