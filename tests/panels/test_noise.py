"""NoiseScrubber seen from Python: what it sends, what comes back, what it refuses, how it ends."""

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

from kit.panels import NoiseScrubber

RNG = np.random.default_rng(0)


def pictures(count, size=6):
    return [RNG.random((3, size, size)) for _ in range(count)]


def decoded(frames):
    """{(track, step): pixels} of what was sent, read by PIL from the table and the blob."""
    found, start = {}, 0
    for track, step, length in frames["table"]:
        image = Image.open(io.BytesIO(frames["blob"][start : start + length]))
        found[track, step], start = np.asarray(image), start + length
    assert start == len(frames["blob"])
    return found


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class Steps:
    """A generator of pictures under the test's hand: `allow(n)` lets it yield n more."""

    def __init__(self, items):
        self.items, self.gate, self.ended = items, threading.Semaphore(1), threading.Event()
        self.asked = 0

    def allow(self, count):
        for _ in range(count):
            self.gate.release()

    def run(self):
        try:
            for item in self.items:
                self.asked += 1
                self.gate.acquire()
                yield item
        finally:
            self.ended.set()


# What is sent


def test_all_frames_arrive_with_the_first_message_and_unharmed():
    tracks = {"x_t": pictures(4), "x0-hat": [None, *pictures(3)]}
    panel = NoiseScrubber(tracks, [30, 20, 10, -1], ["a", "b", "c", "d"], title="path")
    [(kind, data, buffers)] = panel.comm.sent
    assert kind == "comm_open" and data["buffer_paths"] == [["_frames", "blob"]] and len(buffers) == 1
    sent = decoded({**data["state"]["_frames"], "blob": buffers[0]})
    assert sorted(sent) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    for (track, step), pixels in sent.items():
        given = list(tracks.values())[track][step]
        np.testing.assert_array_equal(pixels, (given * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


@pytest.mark.parametrize(
    "give",
    [
        list,
        np.stack,
        lambda p: torch.tensor(np.stack(p)),
        lambda p: {"x": np.stack(p)},
        lambda p: [{"x": picture} for picture in p],
    ],
    ids=["list", "batch", "tensor batch", "track", "list of steps"],
)
def test_a_path_may_come_in_any_container(give):
    path = pictures(3)
    sent = decoded(NoiseScrubber(give(path)).get_state()["_frames"])
    assert [step for _, step in sent] == [0, 1, 2]
    for step, picture in enumerate(path):
        np.testing.assert_allclose(sent[0, step].transpose(2, 0, 1) / 255, picture, atol=0.5001 / 255)


def test_timesteps_and_alpha_bar_may_be_tensors_and_keep_their_precision():
    panel = NoiseScrubber(
        pictures(2), torch.tensor([999, -1]), alpha_bar=torch.tensor([0.1, 1 - 1e-12], dtype=torch.float64)
    )
    assert panel.timesteps == [999, -1]
    assert panel.alpha_bar == [0.1, 1 - 1e-12]


def test_small_pictures_are_pixelated_unless_said_otherwise():
    assert NoiseScrubber(pictures(1, 64)).pixelated == [True]
    assert NoiseScrubber(pictures(1, 65)).pixelated == [False]
    assert NoiseScrubber(pictures(1, 65), pixelated=True).pixelated == [True]
    assert NoiseScrubber(pictures(1, 8), pixelated=False).pixelated == [False]


# What comes back


def test_a_choice_in_the_browser_is_a_trait_in_python():
    panel = NoiseScrubber(pictures(5))
    seen = []
    panel.observe(lambda change: seen.append(change.new), "index")
    assert panel.index == 4
    panel.comm.choose(live=2)
    assert (panel.index, panel.live) == (4, 2)
    panel.comm.choose(index=2, live=2)
    assert panel.index == 2 and seen == [2]


def test_fast_traits_are_not_echoed():
    panel = NoiseScrubber(pictures(5))
    panel.comm.choose(live=1)
    panel.comm.choose(index=3, live=3, _timing={"moves": 1})
    echoed = {name for content, _ in panel.comm.named("echo_update") for name in content}
    assert echoed <= {"index"}


def test_python_moves_the_playhead_within_the_path_only():
    panel = NoiseScrubber(pictures(3), index=0)
    panel.index = 2
    assert panel.comm.named("update", index=2)
    with pytest.raises(traitlets.TraitError, match="index: got 3, wanted 0 to 2"):
        panel.index = 3


def test_stats_add_the_browsers_measurements():
    panel = NoiseScrubber(pictures(3))
    size = sum(length for *_, length in panel.get_state()["_frames"]["table"])
    assert panel.stats() == {"frames": 3, "bytes": size, "moves": 0}
    panel.comm.choose(_timing={"moves": 9, "p50_ms": 2.5, "p95_ms": 4.0})
    assert panel.stats() == {"frames": 3, "bytes": size, "moves": 9, "p50_ms": 2.5, "p95_ms": 4.0}


# A generator that is still running


def test_frames_stream_in_one_message_a_step():
    path = pictures(4)
    steps = Steps(path)
    panel = NoiseScrubber(steps.run(), [3, 2, 1, 0])
    assert (panel.status, panel.length, panel.index) == ("running", 4, 0)
    steps.allow(3)
    panel.wait(5)
    messages = panel.comm.named("custom", kind="frames")
    assert [content["table"][0][:2] for content, _ in messages] == [[0, 1], [0, 2], [0, 3]]
    for (content, [blob]), picture in zip(messages, path[1:], strict=True):
        [pixels] = decoded({**content, "blob": blob}).values()
        np.testing.assert_array_equal(pixels, (picture * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
    assert panel.status == "done" and panel.error == ""


def test_a_track_that_begins_late_tells_the_browser_its_size():
    """A path's first state has no prediction: that track's pictures come with the second step."""
    steps = Steps([dict(x=picture, x0=None if i == 0 else picture) for i, picture in enumerate(pictures(3, size=96))])
    panel = NoiseScrubber(steps.run())
    assert (panel.sizes, panel.pixelated) == ([[96, 96], [0, 0]], [False, True])
    steps.allow(2)
    panel.wait(5)
    told = [state for state, _ in panel.comm.named("update") if "sizes" in state]
    assert [(state["sizes"], state["pixelated"]) for state in told] == [([[96, 96]] * 2, [False, False])]


def test_a_page_opened_late_is_given_all_frames_so_far():
    steps = Steps(pictures(4))
    panel = NoiseScrubber(steps.run())
    steps.allow(1)
    eventually(lambda: len(panel.comm.named("custom")) == 1)
    panel.comm.hear({"method": "request_state"})
    state, buffers = panel.comm.named("update")[-1]
    assert sorted(decoded({**state["_frames"], "blob": buffers[0]})) == [(0, 0), (0, 1)]
    assert state["length"] == 2
    panel.close()
    steps.allow(2)


def test_when_done_the_state_holds_every_frame_for_whoever_missed_one():
    panel = NoiseScrubber(iter(pictures(3))).wait(5)
    [(state, buffers)] = [(state, buffers) for state, buffers in panel.comm.named("update") if "_frames" in state]
    assert sorted(decoded({**state["_frames"], "blob": buffers[0]})) == [(0, 0), (0, 1), (0, 2)]


def test_on_colab_streamed_frames_are_json(monkeypatch):
    steps = Steps(pictures(2))
    panel = NoiseScrubber(steps.run())
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    steps.allow(1)
    panel.wait(5)
    [(content, buffers)] = panel.comm.named("custom")
    assert not buffers and json.dumps(content)
    assert list(decoded({**content, "blob": base64.b64decode(content["base64"])})) == [(0, 1)]
    assert not [1 for _, data, buffers in panel.comm.sent[1:] if buffers]


def test_a_playhead_on_the_newest_frame_follows_and_a_moved_one_stays():
    steps = Steps(pictures(5))
    panel = NoiseScrubber(steps.run())
    steps.allow(2)
    eventually(lambda: panel.index == 2)
    panel.comm.choose(index=1)
    steps.allow(2)
    panel.wait(5)
    assert panel.length == 5 and panel.index == 1


def test_a_choice_made_while_a_frame_is_packed_is_kept():
    class Slow:
        """A picture during whose packing the reader presses Home."""

        def __array__(self, dtype=None, copy=None):
            panel.comm.choose(index=0)
            return pictures(1)[0]

    steps = Steps([*pictures(3), Slow(), *pictures(2)])
    panel = NoiseScrubber(steps.run())
    steps.allow(5)
    panel.wait(5)
    assert panel.length == 6 and panel.index == 0


def test_stop_in_the_browser_ends_the_generator_and_keeps_its_frames():
    steps = Steps(pictures(9))
    panel = NoiseScrubber(steps.run(), range(9))
    steps.allow(1)
    eventually(lambda: len(panel._reel.rows) == 2)
    panel.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    steps.allow(1)
    panel.wait(5)
    assert panel.status == "cancelled" and steps.ended.is_set()
    assert len(panel._reel.rows) == 2 and panel.length == 9


def fail_at(step, path):
    for at, picture in enumerate(path):
        if at == step:
            raise RuntimeError("out of memory at the third step")
        yield picture


def test_an_error_in_the_generator_is_shown_and_keeps_the_frames():
    panel = NoiseScrubber(fail_at(2, pictures(4)), range(4)).wait(5)
    assert panel.status == "error"
    assert panel.error == "RuntimeError: out of memory at the third step"
    assert "in fail_at" in panel.traceback
    assert len(panel._reel.rows) == 2


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (np.zeros((3, 7, 7)), "frames[1]: got 7x7 pixels (w x h), wanted 6x6 as in the frames before"),
        (np.full((3, 6, 6), np.nan), "frames[1]: got 108 NaN"),
        ({"x": np.zeros((3, 6, 6))}, "frames[1]: got tracks ['x'], wanted [''] as in the first"),
    ],
)
def test_bad_frames_of_a_running_generator_are_named_in_the_panel(later, words):
    panel = NoiseScrubber(iter([np.zeros((3, 6, 6)), later])).wait(5)
    assert panel.status == "error" and words in panel.error


def test_more_frames_than_announced_is_an_error():
    panel = NoiseScrubber(iter(pictures(3)), [1, 0]).wait(5)
    assert "got more than the 2 steps" in panel.error and panel.length == 2


def test_fewer_frames_than_announced_stay_missing():
    panel = NoiseScrubber(iter(pictures(2)), [3, 2, 1, 0]).wait(5)
    assert (panel.status, panel.length, panel.index) == ("done", 4, 1)


def test_the_first_step_is_taken_at_once_so_that_its_error_is_raised():
    with pytest.raises(RuntimeError, match="third step"):
        NoiseScrubber(fail_at(0, pictures(1)))


# The end


def test_a_closed_panel_is_collected():
    panel = NoiseScrubber(pictures(3))
    panel._repr_mimebundle_()
    alive, layout = weakref.ref(panel), weakref.ref(panel.layout)
    panel.close()
    del panel
    gc.collect()
    assert alive() is None and layout() is None


def test_close_ends_a_running_generator():
    steps = Steps(pictures(9))
    panel = NoiseScrubber(steps.run())
    alive = weakref.ref(panel)
    panel.close()
    steps.allow(1)
    assert steps.ended.wait(5)
    assert panel.wait(5).stats()["bytes"] == 0
    del panel
    gc.collect()
    assert alive() is None


def test_a_generator_that_hangs_does_not_keep_a_closed_panel_alive():
    steps = Steps(pictures(2))
    panel = NoiseScrubber(steps.run())
    alive = weakref.ref(panel)
    eventually(lambda: steps.asked == 2)
    panel.close()
    del panel
    gc.collect()
    assert alive() is None and not steps.ended.is_set()
    steps.allow(1)
    assert steps.ended.wait(5)


# Without a browser


def test_the_bundle_holds_a_picture_a_view_and_words():
    panel = NoiseScrubber({"x_t": pictures(30, 16), "x0-hat": pictures(30, 16)}, range(30))
    data, _ = panel._repr_mimebundle_()
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert len(data["image/png"]) * 3 / 4 <= 200_000
    assert image.size[0] > image.size[1] > 2 * 48
    assert data["text/plain"] == "NoiseScrubber(30 steps, of x_t, x0-hat, 16x16, at step 29, idle)"
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id


def test_labels_name_the_pictures_of_the_static_picture_where_no_timesteps_do():
    path = pictures(3)

    def static(**notes):
        return NoiseScrubber(path, **notes)._static()

    assert static(labels=["r = 0", "r = 1", "r = 2"]) != static(labels=["r = 5", "r = 6", "r = 7"])
    assert static(timesteps=[2, 1, 0], labels=["a", "b", "c"]) == static(timesteps=[2, 1, 0])


def test_the_static_picture_is_drawn_once_per_set_of_frames():
    steps = Steps(pictures(2))
    panel = NoiseScrubber(steps.run())
    first = panel._static()
    assert panel._static() is first
    steps.allow(1)
    panel.wait(5)
    assert panel._static() != first


def test_snapshot_shows_every_track_at_the_chosen_step_in_full_size():
    shades = {"a": [0.0, 0.2, 0.4], "b": [0.6, 0.8, 0.9]}
    panel = NoiseScrubber({name: [np.full((3, 40, 40), s) for s in row] for name, row in shades.items()}, index=1)
    for step, image in [(1, panel.snapshot()), (2, panel.snapshot(2))]:
        image = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
        for row in shades.values():
            matching = (image == round(row[step] * 255)).all(-1)
            assert (matching.sum(1) >= 40).sum() == 40
    with pytest.raises(ValueError, match="index: got 3, wanted 0 to 2"):
        panel.snapshot(3)


def test_an_exported_page_is_whole_or_the_old_one(tmp_path):
    page = tmp_path / "path.html"
    assert NoiseScrubber(pictures(2), title="first").export_html(page) == page
    before = page.read_bytes()
    assert b"first" in before and b"http" not in before.replace(b"http://www.w3.org", b"")
    with pytest.raises(UnicodeEncodeError):
        NoiseScrubber(pictures(2), title="\ud800").export_html(page)
    assert page.read_bytes() == before and list(tmp_path.iterdir()) == [page]
    with pytest.raises(FileNotFoundError, match=r"wanted a path in a folder that exists"):
        NoiseScrubber(pictures(2)).export_html(tmp_path / "nowhere" / "path.html")


# What is refused


GOOD = [np.zeros((3, 4, 4))] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(frames=[]), ValueError, "frames: got an empty sequence, wanted at least one picture"),
        (dict(frames=iter([])), ValueError, "frames: got a generator that yields nothing"),
        (dict(frames={}), ValueError, "frames: got no pictures"),
        (dict(frames={"x": []}), ValueError, "wanted at least one picture"),
        (dict(frames=[{"x": None}]), ValueError, "frames[0]: got no picture in any track"),
        (dict(frames={"x": GOOD, "y": GOOD[:2]}), ValueError, "different lengths {'x': 3, 'y': 2}"),
        (dict(frames=5), TypeError, "frames: got int, wanted pictures"),
        (dict(frames="path.png"), TypeError, "frames: got str, wanted pictures"),
        (dict(frames=np.zeros((3, 4, 4))), ValueError, "got one array of shape (3, 4, 4), wanted pictures"),
        (dict(frames=torch.zeros(3, 4, 4)), ValueError, "got one array of shape (3, 4, 4), wanted pictures"),
        (dict(frames=[*GOOD, np.zeros((3, 4, 5))]), ValueError, "frames[3]: got 5x4 pixels (w x h), wanted"),
        (dict(frames={"x": [*GOOD, GOOD[0] + 2]}), ValueError, "frames[3] of track 'x': got values"),
        (dict(frames=GOOD, timesteps=[1, 2]), ValueError, "timesteps: got 2, wanted 3, one per step"),
        (dict(frames=GOOD, timesteps=7), TypeError, "timesteps: got 7, wanted a sequence of int"),
        (dict(frames=GOOD, timesteps="abc"), TypeError, "timesteps: got 'abc', wanted a sequence of int"),
        (dict(frames=GOOD, labels=["a"] * 4), ValueError, "labels: got 4, wanted 3, one per step"),
        (dict(frames=GOOD, alpha_bar=[0.5]), ValueError, "alpha_bar: got 1, wanted 3, one per step"),
        (dict(frames=GOOD, alpha_bar=[0.5, 1.5, 0]), ValueError, "alpha_bar: got values from 0 to 1.5"),
        (dict(frames=GOOD, alpha_bar=[0.5, np.nan, 0]), ValueError, "wanted all in [0, 1]"),
        (dict(frames=iter(GOOD), timesteps=[1, 2], labels=["a"]), ValueError, "labels: got 1, wanted 2"),
        (dict(frames=GOOD, index=3), ValueError, "index: got 3, wanted 0 to 2"),
        (dict(frames=GOOD, index=-1), ValueError, "index: got -1, wanted 0 to 2"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error) as raised:
        NoiseScrubber(**arguments)
    assert words in str(raised.value)


def test_more_than_64_mb_is_refused():
    noise = RNG.random((1400, 1400, 3))
    with pytest.raises(ValueError, match=r"of pictures so far, wanted at most 64 MB: give every k-th step"):
        NoiseScrubber([noise] * 60)


# What an import costs


def loaded(code):
    """Which heavy modules a fresh interpreter holds after the code."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split()) & {
        "torch",
        "diffusers",
        "matplotlib",
        "numba",
        "numpy",
        "anywidget",
        "PIL",
    }


def test_importing_the_package_loads_no_widget_code():
    assert loaded("import kit.panels; dir(kit.panels)") == set()


def test_a_scrubber_of_arrays_needs_no_torch():
    code = "from kit.panels import NoiseScrubber; NoiseScrubber([[[0.5]]])"
    assert loaded(code) == {"numpy", "anywidget", "PIL"}
