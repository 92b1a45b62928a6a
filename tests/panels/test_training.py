"""TrainingPanel seen from Python: what it takes of a run and tells, how a Stop keeps what it learnt, what is raised."""

import base64
import builtins
import gc
import io
import itertools
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kit.diffusion.training import Plan, Run
from kit.panels import TrainingPanel
from kit.panels.training import Losses, scale_of, smoothed


class Step(NamedTuple):
    step: int
    steps: int
    loss: float


class Staged(NamedTuple):
    stage: str
    step: int
    steps: int
    loss: float


def falling(steps=20, upto=None):
    for step in range(1, (upto or steps) + 1):
        yield Step(step, steps, 1 / step)


def shade(value, size=8):
    return np.full((3, size, size), value)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class Gated:
    """A run under the test's hand: a step is done after each `allow`; it notes its end."""

    def __init__(self, steps=10, last_words=None):
        self.steps, self.last_words = steps, last_words
        self.gate, self.begun, self.ended = threading.Semaphore(0), threading.Event(), threading.Event()
        self.done = 0

    def allow(self, count=1):
        self.gate.release(count)

    def run(self):
        self.begun.set()
        try:
            for step in range(1, self.steps + 1):
                assert self.gate.acquire(timeout=30)  # longer than a stalled machine stands still
                self.done = step
                yield Step(step, self.steps, 0.5)
        finally:
            self.ended.set()
            if self.last_words:
                raise self.last_words


def points(panel):
    """(step, loss) of all that was sent so far, message by message joined."""
    sent = b"".join(data for _, [data] in panel.comm.named("custom", kind="points"))
    return np.frombuffer(sent, "<f4").reshape(-1, 2)


# What is taken and told


def test_every_step_reaches_the_browser_once_in_order_and_wait_gives_the_last_state():
    panel = TrainingPanel(falling(300))
    assert panel.wait(20) == Step(300, 300, 1 / 300) == panel.state
    np.testing.assert_allclose(points(panel), [[step, 1 / step] for step in range(1, 301)], rtol=1e-6)
    whole = np.frombuffer(panel.get_state()["_points"], "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(whole, points(panel))
    assert panel.status == "done" and panel.stages == [{"name": "", "start": 0, "steps": 300}]
    assert {name: panel.progress[name] for name in ("stage", "step", "steps", "loss")} == dict(
        stage="", step=300, steps=300, loss=1 / 300
    )


def test_messages_are_few_however_fast_the_steps_are():
    panel = TrainingPanel(falling(5000))
    panel.wait(20)
    assert len(panel.comm.named("custom", kind="points")) <= panel.progress["seconds"] / 0.1 + 2
    assert len(points(panel)) == 5000


def test_a_slow_step_is_told_at_once():
    run = Gated()
    panel = TrainingPanel(run.run())
    for step in (1, 2, 3):
        time.sleep(0.11)
        run.allow()
        eventually(lambda step=step: len(points(panel)) == step)
    run.allow(100)


def test_stages_follow_one_another_on_one_axis_and_a_repeated_state_changes_nothing():
    def run():
        for stage, steps in (("embedding", 3), ("network", 2)):
            for step in range(1, steps + 1):
                yield Staged(stage, step, steps, 10 * steps + step)
            yield Staged(stage, steps, steps, 10 * steps + steps)  # as imagic's generators end

    panel = TrainingPanel(run())
    assert panel.wait(5).stage == "network"
    assert panel.stages == [dict(name="embedding", start=0, steps=3), dict(name="network", start=3, steps=2)]
    np.testing.assert_array_equal(points(panel), [[1, 31], [2, 32], [3, 33], [4, 21], [5, 22]])


def test_steps_that_begin_anew_are_a_stage_of_their_own_and_a_run_that_goes_on_begins_where_it_was():
    losses = Losses()
    for step in (5, 6, 1, 2):
        losses.add("", step, 6, step)
    assert losses.stages == [dict(name="", start=0, steps=6), dict(name="", start=6, steps=6)]
    assert losses.points == [(5, 5), (6, 6), (7, 1), (8, 2)]
    assert [x.tolist() for _, x, _ in losses.of_stages()] == [[5, 6], [7, 8]]


def test_the_time_left_is_that_of_the_steps_to_come_at_the_pace_so_far():
    def run():
        for step in range(5, 9):
            time.sleep(0.1)
            yield Step(step, 18, 1.0)

    panel = TrainingPanel(run())
    panel.wait(5)
    assert panel.progress["left"] == pytest.approx(10 * 0.1, rel=0.3)
    assert panel.progress["seconds"] == pytest.approx(3 * 0.1, rel=0.3)


def test_a_loss_may_be_a_tensor_and_one_that_is_not_finite_is_no_json():
    panel = TrainingPanel(iter([Step(1, 2, torch.tensor(0.25)), Step(2, 2, float("nan"))]))
    panel.wait(5)
    assert panel.progress["loss"] is None and points(panel)[0, 1] == 0.25 and np.isnan(points(panel)[1, 1])
    assert panel._static()


# What the run draws


def test_look_is_called_at_the_first_state_then_every_so_often_and_at_the_end():
    calls = []

    def run():
        for step in range(1, 41):
            time.sleep(0.01)
            yield Step(step, 40, 1.0)

    panel = TrainingPanel(
        run(), look=lambda state: calls.append((state.step, time.monotonic())) or shade(0.5), every=0.1
    )
    panel.wait(10)
    steps, times = zip(*calls, strict=True)
    assert steps[0] == 1 and steps[-1] == 40 and 3 <= len(steps) <= 7
    assert all(after - before >= 0.1 for before, after in itertools.pairwise(times[:-1]))
    assert [content["step"] for content, _ in panel.comm.named("custom", kind="look")] == list(steps)


@pytest.mark.parametrize("given", [shade(0.2), torch.tensor(shade(0.2), requires_grad=True), shade(0.2)[None]])
def test_the_newest_picture_is_sent_and_kept(given):
    panel = TrainingPanel(falling(), look=lambda state: given)
    panel.wait(5)
    [(content, [data]), *_] = panel.comm.named("custom", kind="look")
    assert content["lengths"] == [len(data)] and (pixels(data) == 51).all()
    state = panel.get_state()["_pictures"]
    assert (state["step"], state["lengths"], state["blob"]) == (20, [len(data)], data)


def test_several_pictures_come_in_one_message():
    panel = TrainingPanel(falling(), look=lambda state: np.stack([shade(0.2), shade(0.4), shade(0.6)]), every=100)
    panel.wait(5)
    (content, [data]), _ = panel.comm.named("custom", kind="look")
    assert len(content["lengths"]) == 3 and sum(content["lengths"]) == len(data)
    assert panel.stats() == {"points": 20, "pictures": 3, "bytes": 160 + len(data)}


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda state: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda state: shade(3), "ValueError: look: got values from 3 to 3, wanted [0, 1]"),
        (lambda state: np.zeros((2, 2, 3, 8, 8)), "ValueError: look: got shape (2, 2, 3, 8, 8), wanted (3, h"),
        (lambda state: None, "ValueError: look: got shape (), wanted (3, h, w)"),
    ],
)  # fmt: skip
def test_a_look_that_raises_is_shown_and_raised_by_wait_and_the_run_goes_on_to_its_end(look, words):
    calls = []
    panel = TrainingPanel(falling(), look=lambda state: calls.append(state.step) or look(state), every=0)
    kind, message = words.split(": ", 1)
    with pytest.raises(getattr(builtins, kind)) as raised:
        panel.wait(5)
    assert message in str(raised.value)
    assert panel.state.step == 20 and panel.status == "done" and calls == [1]
    assert panel.error.startswith(f"look raised {words}") and "Traceback" in panel.traceback
    assert len(points(panel)) == 20


# The end


def test_stop_ends_the_run_after_its_step_closes_it_and_keeps_what_was_learnt():
    run, seen = Gated(), []
    states = run.run()  # held here too, as by a notebook's variable
    panel = TrainingPanel(
        states, look=lambda state: seen.append((state.step, run.ended.is_set())) or shade(0.5), every=100
    )
    run.allow(3)
    eventually(lambda: panel.stats()["points"] == 3)
    panel.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    run.allow()
    assert panel.wait(5) == Step(4, 10, 0.5) == panel.state
    assert panel.status == "cancelled" and run.ended.is_set() and run.done == 4
    assert seen == [(1, False), (4, True)] and points(panel)[-1, 0] == 4 and panel.progress["step"] == 4


class Point(nn.Module):
    """One number, drawn towards a target."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(3))

    def forward(self, target):
        return ((self.place - target) ** 2).mean()


PLAN = Plan(steps=400, lr=0.05, warmup=0, every=10_000)


def training(point, checkpoint):
    def batch(generator):
        return (torch.ones(3) + 0.1 * torch.randn(3, generator=generator),)

    for step, loss in Run(point, batch, PLAN, checkpoint):
        time.sleep(0.002)
        yield Step(step, PLAN.steps, loss)


def test_a_real_run_stopped_in_between_writes_its_checkpoint_and_goes_on_from_there_to_the_same_end(tmp_path):
    whole, parts, checkpoint = Point(), Point(), tmp_path / "run.safetensors"
    TrainingPanel(training(whole, None)).wait(60)
    panel = TrainingPanel(training(parts, checkpoint))
    eventually(lambda: panel.state is not None and panel.state.step > 30, 30)
    panel.stop()
    stopped = panel.wait(30)
    assert 30 < stopped.step < 400 and panel.status == "cancelled" and checkpoint.exists()
    assert parts.place.mean().item() > 0.1
    parts = Point()
    panel = TrainingPanel(training(parts, checkpoint))
    assert panel.wait(60).step == 400 and points(panel)[0, 0] == stopped.step + 1
    torch.testing.assert_close(parts.place, whole.place, rtol=0, atol=0)


def test_wait_raises_what_the_run_raised_and_what_was_learnt_before_is_kept():
    def run():
        yield from falling(20, 7)
        raise FloatingPointError("train: the loss is nan at step 7")

    panel = TrainingPanel(run(), look=lambda state: shade(0.5), every=100)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="the loss is nan at step 7"):
            panel.wait(5)
    assert panel.status == "error" and panel.error == "FloatingPointError: train: the loss is nan at step 7"
    assert panel.state.step == 7 and len(points(panel)) == 7


def test_a_checkpoint_that_cannot_be_written_at_stop_is_said_and_raised():
    run = Gated(last_words=OSError(28, "No space left on device"))
    panel = TrainingPanel(run.run())
    run.allow()
    eventually(lambda: panel.stats()["points"])
    panel.stop()
    run.allow()
    with pytest.raises(OSError, match="No space left on device"):
        panel.wait(5)
    assert panel.status == "error" and "No space left" in panel.error and panel.state.step == 2


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (iter([]), ValueError, "states: got none, wanted at least one"),
        (iter([(1, 0.5)]), TypeError, "states: got tuple ('tuple' object has no attribute 'step'), wanted"),
        (iter([Step("one", 2, 0.5)]), TypeError, "states: got Step (invalid literal"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_named(run, error, words):
    panel = TrainingPanel(run)
    with pytest.raises(error) as raised:
        panel.wait(5)
    assert words in str(raised.value) and panel.status == "error" and words in panel.error


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(states=[Step(1, 2, 0.5)]), TypeError, "states: got list, wanted an iterator, for example imagic"),
        (dict(states=None), TypeError, "states: got NoneType, wanted an iterator"),
        (dict(look=shade(0)), TypeError, "look: got ndarray, wanted a callable, look(state)"),
        (dict(every=-1), ValueError, "every: got -1, wanted seconds, 0 or more"),
        (dict(every=float("nan")), ValueError, "every: got nan, wanted seconds, 0 or more"),
        (dict(every="often"), ValueError, "every: got 'often', wanted seconds, 0 or more"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_nothing_is_begun(arguments, error, words):
    run = falling()
    with pytest.raises(error) as raised:
        TrainingPanel(**{"states": run, **arguments})
    assert words in str(raised.value)
    assert next(run).step == 1


def test_an_interrupted_wait_ends_the_run_and_keeps_what_was_learnt():
    run = Gated()
    panel = TrainingPanel(run.run())
    run.allow()
    eventually(lambda: panel.stats()["points"])
    threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        panel.wait(30)
    run.allow()
    assert panel.wait(30).step == 2 and panel.status == "cancelled" and run.ended.is_set()


def test_wait_gives_up_after_its_time():
    run = Gated()
    panel = TrainingPanel(run.run())
    assert panel.wait(0.05) is None and panel.status == "running"
    run.allow()
    eventually(lambda: panel.state)
    assert panel.wait(0.05).step == 1
    run.allow(100)
    assert panel.wait(5).step == 10


def test_close_ends_the_run_and_the_state_stays():
    run = Gated()
    panel = TrainingPanel(run.run(), look=lambda state: shade(0.5))
    run.allow()
    eventually(lambda: panel.stats()["pictures"])
    panel.close()
    run.allow()
    assert run.ended.wait(5) and panel.wait(5).step == 2 and panel.stats()["pictures"] == 0


def test_a_run_that_hangs_does_not_keep_a_closed_panel_alive():
    run = Gated()
    panel = TrainingPanel(run.run(), look=lambda state: shade(0.5))
    alive = weakref.ref(panel)
    assert run.begun.wait(5)
    panel.close()
    del panel
    gc.collect()
    assert alive() is None and not run.ended.is_set()
    run.allow()
    assert run.ended.wait(5)


def test_fifty_panels_opened_and_closed_leave_none_alive():
    alive = []
    for _ in range(50):
        panel = TrainingPanel(falling(5), look=lambda state: shade(0.5))
        panel.wait(5)
        panel._repr_mimebundle_()
        alive += [weakref.ref(panel), weakref.ref(panel.layout)]
        panel.close()
        del panel
    gc.collect()
    assert [ref for ref in alive if ref() is not None] == []


# The running mean and the axis


def test_the_running_mean_is_the_weighted_mean_of_all_before():
    losses, steps = np.random.default_rng(0).random(60), 250
    b = 1 - 1 / (steps / 25)
    for t, mean in enumerate(smoothed(losses, steps)):
        weights = b ** np.arange(t, -1, -1.0)
        assert mean == pytest.approx(np.average(losses[: t + 1], weights=weights))


def test_what_is_not_finite_does_not_count_in_the_mean():
    np.testing.assert_allclose(smoothed([np.nan, 1, np.inf, 3], 50), [np.nan, 1, 1, (0.5 * 1 + 3) / 1.5])


def test_a_short_stage_is_not_smoothed_and_a_constant_stays_itself():
    losses = np.random.default_rng(0).random(20)
    np.testing.assert_allclose(smoothed(losses, 20), losses)
    np.testing.assert_allclose(smoothed(np.full(5000, 0.3), 100_000), 0.3)
    assert np.std(smoothed(np.random.default_rng(0).random(9000), 10**6)[1000:]) == pytest.approx(
        np.sqrt(1 / 12 / 199),
        rel=0.2,  # of a mean that a window of 100 weighs by powers: (1 - b) / (1 + b)
    )


def test_the_axis_is_logarithmic_where_the_means_fall_by_more_than_ten_times():
    falls = np.geomspace(1, 0.05, 100)
    assert scale_of(falls, falls) == (pytest.approx(0.05), pytest.approx(1), True)
    assert not scale_of(falls[:50], falls[:50])[2] and not scale_of(falls - 0.5, falls - 0.5)[2]
    low, high, log = scale_of(np.full(9, 0.5), np.full(9, 0.5))
    assert low < 0.5 < high and not log
    low, high, _ = scale_of(np.array([0.3]), np.array([0.30000000000000004]))
    assert high - low > 0.1


# Without a browser


def test_the_bundle_holds_the_curve_a_view_and_words():
    noisy = np.random.default_rng(0).random((4, 3, 300, 300))
    panel = TrainingPanel(iter([Staged("network", 3, 8, 0.123456)]), look=lambda state: noisy)
    panel.wait(5)
    data, _ = panel._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert len(png) <= 200_000 and Image.open(io.BytesIO(png)).size == (52 + 470 + 12 + 4 * 178, 26 + 170 + 26)
    assert data["text/plain"] == "TrainingPanel(network: step 3 of 8, loss 0.1235, done)"
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id


def blues(image):
    """The rows where the running mean is drawn, by column of the plot."""
    r, g, b = (image[26:196, 52:522, c].astype(int) for c in range(3))
    return [np.flatnonzero(column) for column in ((b - r > 90) & (g < 150)).T]


def test_the_curve_of_the_static_picture_falls_where_the_losses_do():
    panel = TrainingPanel(iter([Step(step, 100, 2.0 - step / 100) for step in range(1, 51)]))
    panel.wait(5)
    drawn = blues(pixels(panel._static()))
    heights = [rows.mean() for rows in drawn[10:225]]
    assert heights[-1] - heights[0] > 120 and np.all(np.diff(heights) > -1)
    assert not any(len(rows) for rows in drawn[240:])


def test_before_the_first_step_there_is_a_picture_too():
    run = Gated()
    panel = TrainingPanel(run.run())
    assert repr(panel) == "TrainingPanel(no step yet, running)" and len(panel._static()) > 500
    assert pixels(panel.snapshot()).shape == (222, 534, 3)
    run.allow(100)


def test_an_exported_page_of_a_running_panel_says_done_and_asks_nothing_of_the_network(tmp_path):
    run = Gated()
    panel = TrainingPanel(run.run(), title="one picture")
    page = panel.export_html(tmp_path / "page.html").read_text()
    assert "one picture" in page and '"status": "done"' in page and "http" not in page.replace("http://www.w3.org", "")
    run.allow(100)


def test_a_panel_needs_no_torch():
    code = """
import sys, types
from kit.panels import TrainingPanel
TrainingPanel(iter([types.SimpleNamespace(step=1, steps=1, loss=0.5)])).wait()
print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
