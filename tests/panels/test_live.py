"""GuidanceSlider.live seen from Python: what is drawn of what was asked for, what comes back, what it refuses."""

import base64
import io
import json
import sys
import threading
import time

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.panels import GuidanceSlider
from kit.panels import live as module
from kit.panels.live import Mailbox, Wish


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Work ends a twentieth of a second after the last wish."""
    monkeypatch.setattr(module, "IDLE", 0.05)


def shade(value):
    return np.full((3, 8, 8), value)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class Model:
    """A `draw` under the test's hand: each call is noted, and waits for `allow`."""

    def __init__(self, allowed=0):
        self.calls, self.gate, self.inside, self.most = [], threading.Semaphore(allowed), 0, 0

    def allow(self, count=100):
        for _ in range(count):
            self.gate.release()

    def __call__(self, prompt, seed, w):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.calls.append((prompt, seed, w))
        assert self.gate.acquire(timeout=5)
        self.inside -= 1
        return shade(w / 10)


def live(draw=lambda prompt, seed, w: shade(w / 10), **settings):
    return GuidanceSlider.live(draw, **settings)


def want(panel, n, w, prompt="", seed=0):
    """What the browser says while a hand moves."""
    content = {"kind": "want", "n": n, "prompt": prompt, "seed": seed, "w": w}
    panel.comm.hear({"method": "custom", "content": content})


def came(panel):
    """[(rung, n, w)] of the pictures that were sent."""
    return [(c["rung"], c["n"], c["w"]) for c, _ in panel.comm.named("custom", kind="picture")]


# The mailbox


def test_a_newer_wish_takes_the_place_of_an_older_one_and_one_server_is_sent():
    box = Mailbox()
    assert box.put(Wish("", 0, 1.0)) is True
    assert box.put(Wish("", 0, 2.0)) is False
    assert box.wait(0) and box.take().w == 2.0 and box.take() is None


def test_who_waits_in_vain_no_longer_serves_and_who_left_a_wish_is_replaced():
    box = Mailbox()
    box.put(Wish("", 0, 1.0))
    box.take()
    assert box.left() is False
    assert box.wait(0.01) is False and box.put(Wish("", 0, 2.0)) is True
    box.leave()
    assert box.left() is True and box.left() is False


def test_no_wish_is_lost_however_it_falls_to_the_end_of_the_work(monkeypatch):
    monkeypatch.setattr(module, "IDLE", 0.001)
    panel = live()
    for n in range(1, 300):
        want(panel, n, 1 + n / 100)
        eventually(lambda n=n: came(panel)[-1:] == [("", n, 1 + n / 100)])
        time.sleep(0.0005 * (n % 5))
    panel.wait(5)
    assert panel.status == "done"


# What is drawn


def test_a_wish_is_drawn_in_the_background_and_its_picture_sent_with_its_number():
    seen = []
    panel = live(
        lambda prompt, seed, w: seen.append((prompt, seed, w, threading.current_thread().name)) or shade(w / 10)
    )
    assert seen == [] and panel.status == "idle"
    want(panel, 7, 3.0, "a horse", 5)
    panel.wait(5)
    assert seen == [("a horse", 5, 3.0, "LiveGuidance")] and panel.status == "done"
    [(content, [data])] = panel.comm.named("custom", kind="picture")
    assert content["ms"] >= 0 and (pixels(data) == round(0.3 * 255)).all()
    assert {name: content[name] for name in ("rung", "prompt", "seed", "w", "n")} == {
        "rung": "", "prompt": "a horse", "seed": 5, "w": 3.0, "n": 7}  # fmt: skip


def test_the_newest_wish_is_drawn_and_those_between_never():
    model = Model()
    panel = live(model)
    want(panel, 1, 1.0)
    eventually(lambda: model.calls)
    for n in range(2, 60):
        want(panel, n, 1 + n / 10)
    model.allow()
    panel.wait(5)
    assert came(panel) == [("", 1, 1.0), ("", 59, 6.9)] and len(model.calls) == 2


def test_rungs_take_turns_and_all_end_on_the_newest_wish():
    two, four = Model(), Model(100)
    panel = live({"2 steps": two, "4 steps": four})
    want(panel, 1, 1.0)
    eventually(lambda: two.calls)
    want(panel, 2, 2.0)
    two.allow(1)
    eventually(lambda: len(two.calls) == 2)
    want(panel, 3, 3.0)
    two.allow()
    panel.wait(5)
    order = [("2 steps", 1, 1.0), ("4 steps", 2, 2.0), ("2 steps", 2, 2.0), ("2 steps", 3, 3.0), ("4 steps", 3, 3.0)]
    assert came(panel) == order


def test_draw_is_called_by_one_thread_at_a_time():
    model = Model()
    panel = live(model)
    want(panel, 1, 1.0)
    eventually(lambda: model.calls)
    other = threading.Thread(target=panel.snapshot)
    other.start()
    time.sleep(0.05)
    assert len(model.calls) == 1
    model.allow()
    other.join(5)
    panel.wait(5)
    assert len(model.calls) == 2 and model.most == 1


def test_a_trait_set_from_python_draws_and_one_that_the_browser_asked_for_does_not():
    seen = []
    panel = live(lambda prompt, seed, w: seen.append((prompt, seed, w)) or shade(0.5), prompt="a cow")
    panel.w = 3
    panel.wait(5)
    panel.prompt, panel.seed = "a dog", 9
    panel.wait(5)
    assert seen[0] == ("a cow", 0, 3.0) and seen[-1] == ("a dog", 9, 3.0)
    count = len(seen)
    want(panel, 1, 5.0, "a dog", 9)
    panel.wait(5)
    panel.comm.choose(w=5.0)
    panel.wait(5)
    assert seen[count:] == [("a dog", 9, 5.0)] and panel.w == 5
    panel.draw()
    panel.wait(5)
    assert len(seen) == count + 2


def test_stop_forgets_what_waits_and_the_next_wish_is_drawn():
    model = Model()
    panel = live(model)
    want(panel, 1, 1.0)
    eventually(lambda: model.calls)
    want(panel, 2, 2.0)
    panel.stop()
    model.allow()
    panel.wait(5)
    assert came(panel) == [] and panel.status == "cancelled"
    want(panel, 3, 3.0)
    panel.wait(5)
    assert came(panel) == [("", 3, 3.0)]


def fails(prompt, seed, w):
    if prompt == "a gryphon":
        raise ValueError("prompt: got 'gryphon', which is no word of the small world")
    return {"wide": np.zeros((2, 3)) + 7, "none": None}.get(prompt, shade(w / 10))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a gryphon", "ValueError: prompt: got 'gryphon', which is no word of the small world"),
        ("wide", "ValueError: draw at w = 4: got values from 7 to 7, wanted [0, 1]"),
        ("none", "ValueError: draw at w = 4: got shape ()"),
    ],
)
def test_an_error_in_draw_is_shown_and_the_panel_lives_on(prompt, words):
    panel = live(fails)
    want(panel, 1, 4.0, prompt)
    panel.wait(5)
    assert panel.status == "error" and words in panel.error and "Traceback" in panel.traceback
    assert panel.comm.named("custom", kind="ended")
    want(panel, 2, 4.0, "a horse")
    panel.wait(5)
    assert (panel.status, panel.error) == ("done", "") and came(panel) == [("", 2, 4.0)]


def test_a_wish_that_comes_while_another_fails_is_drawn():
    inside, go = threading.Event(), threading.Event()

    def draw(prompt, seed, w):
        inside.set()
        assert go.wait(5)
        return fails(prompt, seed, w)

    panel = live(draw)
    want(panel, 1, 4.0, "a gryphon")
    assert inside.wait(5)
    want(panel, 2, 5.0, "a horse")
    go.set()
    eventually(lambda: came(panel))
    panel.wait(5)
    assert came(panel) == [("", 2, 5.0)] and panel.status == "done"


def test_on_colab_pictures_are_json(monkeypatch):
    panel = live()
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    want(panel, 1, 4.0)
    panel.wait(5)
    [(content, buffers)] = panel.comm.named("custom", kind="picture")
    assert not buffers and json.dumps(content) and (pixels(base64.b64decode(content["base64"])) == 102).all()


def test_a_picture_may_be_a_tensor_of_a_batch_of_one():
    panel = live(lambda prompt, seed, w: torch.full((1, 3, 8, 8), w / 10))
    panel.w = 5
    panel.wait(5)
    assert (pixels(panel.comm.named("custom", kind="picture")[0][1][0]) == 128).all()


# What comes back


def test_a_page_that_is_loaded_anew_gets_the_last_pictures():
    panel = live({"2 steps": lambda prompt, seed, w: shade(0.2), "4 steps": lambda prompt, seed, w: shade(0.4)})
    assert panel.get_state()["_drawn"] == {"table": [], "blob": b""}
    want(panel, 3, 2.0, "a cow", 1)
    panel.wait(5)
    state = panel.get_state()["_drawn"]
    start = 0
    for (rung, wish, ms, length), (name, value) in zip(
        state["table"], [("2 steps", 0.2), ("4 steps", 0.4)], strict=True
    ):
        assert rung == name and wish == {"prompt": "a cow", "seed": 1, "w": 2.0, "n": 3} and ms >= 0
        assert (pixels(state["blob"][start : start + length]) == round(255 * value)).all()
        start += length
    assert start == len(state["blob"])


def test_stats_are_the_browsers_measurements_and_what_draw_took():
    panel = live(lambda prompt, seed, w: time.sleep(0.02) or shade(0.5))
    assert panel.stats() == {"pictures": 0, "draw_ms": {}}
    panel.w = 2
    panel.wait(5)
    panel.comm.choose(_timing={"pictures": 40, "per_second": 18.5, "p50_ms": 50.0, "p95_ms": 80.0})
    stats = panel.stats()
    assert stats["pictures"] == 40 and stats["per_second"] == 18.5 and stats["draw_ms"][""] >= 20


def test_the_static_picture_shows_every_rung_over_the_range_of_w_and_is_made_once():
    seen = []

    def draw(prompt, seed, w):
        seen.append(w)
        return np.broadcast_to(w / 10, (3, 128, 128))

    panel = live({"2 steps": draw, "4 steps": draw})
    data = panel._repr_mimebundle_()[0]["image/png"]
    picture = pixels(base64.b64decode(data))
    assert seen == [1.0, 2.75, 4.5, 6.25, 8.0] * 2 and panel._repr_mimebundle_()[0]["image/png"] == data
    assert len(seen) == 10
    for column, w in enumerate([1.0, 2.75, 4.5, 6.25, 8.0]):
        for row in range(2):
            assert abs(int(picture[20 + 64 + row * 148, 6 + 64 + column * 134, 0]) - w / 10 * 255) <= 1
    panel.prompt = "another"
    panel.wait(5)
    panel._static()
    assert len(seen) == 22  # two of the change itself


def test_what_cannot_be_drawn_in_time_or_at_all_is_hatched(monkeypatch):
    hatched = pixels(live(fails, prompt="a gryphon")._static())
    assert (hatched[30:140, 10:130] == 204).any() and (hatched[30:140, 10:130] == 255).any()
    monkeypatch.setattr(module, "STILL_SECONDS", 0.05)
    seen = []
    live(lambda prompt, seed, w: time.sleep(0.06) or seen.append(w) or shade(0.5))._static()
    assert seen == [1.0]


def test_a_snapshot_shows_what_is_chosen():
    panel = live(lambda prompt, seed, w: shade(seed / 10), seed=5)
    assert (pixels(panel.snapshot())[100, 100] == 128).all() and panel.status == "idle"


def test_an_exported_page_holds_pictures_and_says_that_there_is_no_kernel(tmp_path):
    panel = live(w=2.0)
    text = panel.export_html(tmp_path / "page.html").read_text()
    state = json.loads(text.split('id="state">')[1].split("</script>")[0])
    assert state["_kernel"] is False and [row[0] for row in state["_drawn"]["table"]] == [""]
    assert panel.get_state()["_kernel"] is True
    with pytest.raises(ValueError, match="no word of the small world"):
        live(fails, prompt="a gryphon").export_html(tmp_path / "other.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_it_says_what_it_is():
    assert repr(live(prompt="a cow")) == "GuidanceSlider.live('a cow', seed 0, w = 4, idle)"
    assert "2 steps, 4 steps; " in repr(live(dict.fromkeys(["2 steps", "4 steps"], fails)))


def test_close_frees_the_model_and_ends_the_work():
    model = Model()
    panel = live(model)
    want(panel, 1, 1.0)
    eventually(lambda: model.calls)
    panel.close()
    model.allow()
    panel.wait(5)
    assert panel._last == {} and panel._rungs.draws == {} and len(model.calls) == 1
    with pytest.raises(RuntimeError, match="closed panel"):
        panel.w = 3


# What is refused


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (dict(draw=3), TypeError, "draw: got int, wanted a callable, draw(prompt, seed, w) -> picture"),
        (dict(draw={}), ValueError, "draw: got an empty dict"),
        (dict(draw={"2": None}), TypeError, "draw['2']: got None, wanted a callable"),
        (dict(draw=lambda w: 0), TypeError, "draw: cannot be called as draw(prompt, seed, w): too many positional"),
        (dict(w=9), ValueError, "w: got 9, wanted a number in w_range, from 1 to 8"),
        (dict(w="x"), TypeError, "w: got 'x', wanted a number in w_range"),
        (dict(w=float("nan")), ValueError, "w: got nan, wanted a number in w_range"),
        (dict(w_range=(8, 1)), ValueError, "w_range: got (8, 1), wanted (low, high)"),
        (dict(w_range=(1, float("inf"))), ValueError, "w_range: got (1, inf), wanted (low, high), two finite numbers"),
        (dict(w_range=3), TypeError, "w_range: got 3, wanted (low, high)"),
        (dict(prompt=None), TypeError, "prompt: got NoneType, wanted a text"),
        (dict(seed=-1), ValueError, "seed: got -1, wanted a whole number from 0 to 2147483647"),
        (dict(seed=1.5), TypeError, "seed: got 1.5, wanted a whole number"),
        (dict(seed=True), TypeError, "seed: got True, wanted a whole number"),
    ],
)
def test_bad_input_is_refused_in_words(settings, error, words):
    with pytest.raises(error) as raised:
        live(**settings)
    assert words in str(raised.value)


def test_a_trait_out_of_range_is_refused_and_the_old_value_stays():
    panel = live()
    for name, value in [("w", 9.0), ("w", 0.5), ("seed", -1), ("seed", 2**31)]:
        before = getattr(panel, name)
        with pytest.raises(traitlets.TraitError, match=f"{name}: got "):
            setattr(panel, name, value)
        assert getattr(panel, name) == before
    assert panel.status == "idle"
