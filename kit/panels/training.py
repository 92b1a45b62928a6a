"""TrainingPanel: a training run while it runs: its loss, its time, what it draws by now, a Stop that keeps all that."""

import math
import time
import traceback
from collections.abc import Iterator

import numpy as np
import traitlets
from PIL import Image, ImageDraw

from kit.panels._panel import Panel, source
from kit.panels._pictures import STRIP_BYTES, as_array, as_picture, encode, font, png, printable, tile
from kit.panels._work import as_callable
from kit.panels.noise import is_pixelated

TOLD = 0.1  # seconds between two messages to the browser, at least
GROUND = "#f3f4f7"
WANTED = "wanted one with step, steps and loss, as imagic.State"


class Losses:
    """The losses of a run of one or more stages, each counting its own steps, on one axis of steps.

    stages: {name, start, steps}, start being the steps of the stages before. points: [step on the axis, loss].
    """

    def __init__(self):
        self.stages, self.points = [], []
        self._step = 0

    def add(self, stage, step, steps, loss):
        """A stage is new where its name is, or where the steps do not go on. The same step again changes nothing."""
        if not self.stages or stage != self.stages[-1]["name"] or step < self._step:
            start = sum(self.stages[-1][key] for key in ("start", "steps")) if self.stages else 0
            self.stages = [*self.stages, {"name": stage, "start": start, "steps": steps}]
        elif step == self._step:
            return
        self._step = step
        self.points.append((self.stages[-1]["start"] + step, loss))

    def packed(self, since=0):
        """The points from number `since` on, as the browser takes them: float32 pairs."""
        return np.asarray(self.points[since:], "<f4").tobytes()

    def of_stages(self):
        """(stage, its steps (n,) on the axis, their losses (n,)) of each stage, float64."""
        points = np.asarray(self.points, np.float64).reshape(-1, 2)
        for stage in self.stages:
            inside = (points[:, 0] > stage["start"]) & (points[:, 0] <= stage["start"] + stage["steps"])
            yield stage, *points[inside].T


def smoothed(losses, steps):
    """The running mean of a stage's losses, (n,): about the last 25th of its `steps` counts, and 100 at most.

    m_t is the mean of x_1 to x_t, weighted by b^(t - i), where b = 1 - 1 / window. What is not finite does not count.
    """
    keep = 1 - 1 / min(max(steps / 25, 1), 100)
    mean = weight = 0.0
    out = []
    for loss in losses:
        if math.isfinite(loss):
            mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        out.append(mean / weight if weight else math.nan)
    return np.array(out)


class End:
    """What is left of a run: its last state, what was read of it, and what went wrong."""

    def __init__(self):
        self.state = self.reading = self.problem = None


class TrainingPanel(Panel):
    """Watch a training run: its loss, the time that is left, what it draws by now; Stop keeps what was learnt.

    states: an iterator of objects with `step`, `steps` and `loss`, and maybe `stage`: the generators of
        `kit.diffusion.imagic` and `personalize`, or any other. It runs in a thread, from now on. Stop, `stop()` and
        `close()` end it after the step that runs, and close it: a `kit.diffusion.training.Run` then writes its
        checkpoint, and the same call goes on from there.
    look: look(state) -> a picture (3, h, w), or some (k, 3, h, w), in [0, 1], of what the run has learnt so far; called
        in the thread between steps (put torch.no_grad() inside), at the first state, then at most every `every`
        seconds, and at the end. If it raises, that is shown, and it is not called again; the run goes on.

    `state` is the last state; `wait()` blocks until the end and returns it, or raises what the run raised. The loss is
    drawn for each step, faint, and as a running mean over about a 25th of a stage's steps (100 at most); on a
    logarithmic scale where the mean falls by more than ten times, unless the reader chooses the other.

    In a notebook that is also run without a reader, the picture is of the end if it is shown again then:

        shown = display(panel := TrainingPanel(states), display_id=True)
        state = panel.wait()
        shown.update(panel)
    """

    _esm = source("_draw.js", "_dial.js", "_rerun.js", "training.js")
    _css = source("_panel.css", "training.css")

    progress = traitlets.Dict(
        help="stage, step, steps, loss, seconds (so far), left (seconds in this stage, or None)"
    ).tag(sync=True)
    stages = traitlets.List(help="{name, start, steps} of each stage so far").tag(sync=True)
    looks = traitlets.Bool(help="whether there are pictures to come").tag(sync=True)
    _points = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: panel._losses.packed())
    _pictures = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: panel._seen())

    def __init__(self, states, *, look=None, every=2.0, title="", **kwargs):
        # First of all: close() needs it, and Python closes a panel whose constructor raised, too.
        self._losses, self._end, self._drawn = Losses(), End(), []
        if not isinstance(states, Iterator):
            raise TypeError(f"states: got {type(states).__name__}, wanted an iterator, for example imagic.fit(...)")
        if not (isinstance(every, int | float) and every >= 0):
            raise ValueError(f"every: got {every!r}, wanted seconds, 0 or more")
        self._look = as_callable(look, "look", "look(state)")
        self._every = every
        self._told = self._sent = self._drawn_at = self._smooth = 0
        self._looked = -math.inf
        self._began = self._since = None
        super().__init__(title=title, looks=look is not None, **kwargs)
        self.work.start(_watched(states, self._end), TrainingPanel._take, finish=TrainingPanel._finish)

    @property
    def state(self):
        """The last state of the run so far, or None."""
        return self._end.state

    def wait(self, timeout=None):
        """Block until the run has ended, at most `timeout` seconds; returns its last state so far.

        Raises what the run raised, or else what `look` did. Interrupted, it ends the run as Stop does.
        """
        try:
            self.work.wait(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._end.problem is not None:
            raise self._end.problem
        return self.state

    # --- in the thread

    def _take(self, index, state):
        self._note()
        now = time.monotonic()
        if now - self._told >= TOLD:
            self._tell(now)
        if self._look is not None and now - self._looked >= self._every:
            self._draw(state)

    def _note(self):
        """Take the last state down: its loss, and how far the run is."""
        stage, step, steps, loss = self._end.reading
        now, before = time.monotonic(), len(self._losses.stages)
        self._losses.add(stage, step, steps, loss)
        if len(self._losses.stages) > before:
            self._began = self._began or now
            self._since = (now, step)
        since, first = self._since
        left = (now - since) / (step - first) * (steps - step) if step > first else None
        loss = loss if math.isfinite(loss) else None  # JSON has no NaN
        self._now = dict(stage=stage, step=step, steps=steps, loss=loss, seconds=now - self._began, left=left)

    def _tell(self, now):
        self._told = now
        with self.hold_sync():
            self.stages, self.progress = self._losses.stages, self._now
        fresh = self._losses.packed(self._sent)
        self._sent = len(self._losses.points)
        if fresh:
            self.send_bytes({"kind": "points"}, fresh)

    def _draw(self, state):
        """Show what the run draws by now."""
        try:
            pictures = [as_picture(picture, "look") for picture in _pictures(self._look(state))]
        except Exception as problem:
            self._look, self._end.problem = None, problem
            self.traceback = "".join(traceback.format_exception(problem))
            self.error = f"look raised {type(problem).__name__}: {problem}; the run goes on"
            return
        finally:
            self._looked = time.monotonic()
        self._smooth = not is_pixelated(pictures[0].shape[:2])
        self._drawn, self._drawn_at = [encode(picture) for picture in pictures], int(state.step)
        content = {"kind": "look", "step": self._drawn_at, "lengths": [len(data) for data in self._drawn]}
        self.send_bytes(content, b"".join(self._drawn))

    def _finish(self, status):
        if self.state is None:
            return
        self._note()  # after a Stop it was not taken
        self._tell(time.monotonic())
        if status != "error" and self._look is not None:
            self._draw(self.state)
        if status == "cancelled" and self._end.problem is not None:
            raise self._end.problem

    # --- without a browser

    def _seen(self):
        return {
            "step": self._drawn_at,
            "lengths": [len(data) for data in self._drawn],
            "blob": b"".join(self._drawn),
        }

    def stats(self):
        """What the panel carries: a dict of points (steps with a loss), pictures and bytes."""
        size = 8 * len(self._losses.points) + sum(map(len, self._drawn))
        return {"points": len(self._losses.points), "pictures": len(self._drawn), "bytes": size}

    def snapshot(self):
        """PNG bytes of the curve and the newest pictures, as wide as they are."""
        return png(self._sheet())

    def _static(self):
        image = self._sheet()
        for colors in (None, 256, 64, 16):
            if len(data := png(image, colors)) <= STRIP_BYTES:
                break
        return data

    def _sheet(self):
        return _sheet(self._losses, [tile(data, PLOT[1], self._smooth) for data in self._drawn[:4]], self._caption())

    def _caption(self):
        if not self.progress:
            return "no step yet"
        now = self.progress
        stage = f"{now['stage']}: " if now["stage"] else ""
        loss = "" if now["loss"] is None else f", loss {now['loss']:.4g}"
        return f"{stage}step {now['step']} of {now['steps']}{loss}"

    def __repr__(self):
        return f"TrainingPanel({self._caption()}, {self.status})"

    def close(self):
        """End the panel and the run (after the step that runs; what it learnt stays in `state`); frees pictures."""
        super().close()
        self._drawn, self._look = [], None


def _watched(states, end):
    """The states, the last of which is noted, as is what goes wrong, also while they are closed."""
    try:
        for state in states:
            end.reading = _read(state)
            end.state = state
            yield state
        if end.state is None:
            raise ValueError("states: got none, wanted at least one")
    except GeneratorExit:
        raise
    except BaseException as problem:
        end.problem = problem
        raise
    finally:
        try:
            getattr(states, "close", lambda: None)()
        except Exception as problem:
            end.problem = problem


def _read(state):
    try:
        return str(getattr(state, "stage", "")), int(state.step), int(state.steps), float(state.loss)
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(f"states: got {type(state).__name__} ({error}), {WANTED}") from None


def _pictures(given):
    """What `look` gave, one picture or several, as a sequence of them."""
    array = as_array(given, "look")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise ValueError(f"look: got shape {array.shape}, wanted (3, h, w), or (k, 3, h, w) for several")
    return array if array.ndim == 4 else array[None]


# The static picture

PLOT = (470, 170)
LEFT, TOP, BOTTOM, HEAD = 52, 26, 26, 22


def _sheet(losses, tiles, caption):
    """PIL image: the curve, and the newest pictures beside it."""
    width, height = PLOT
    image = Image.new("RGB", (LEFT + width + 12 + len(tiles) * (height + 8), TOP + height + BOTTOM), "white")
    draw = ImageDraw.Draw(image)
    draw.text((LEFT, TOP - 8), printable(caption), fill="#333", anchor="ls", font=font(12))
    draw.rectangle((LEFT, TOP, LEFT + width - 1, TOP + height - 1), fill=GROUND)
    parts = [(x, y, smoothed(y, stage["steps"])) for stage, x, y in losses.of_stages() if len(x)]
    if any(np.isfinite(mean).any() for *_, mean in parts):
        _curve(image, draw, losses.stages, parts)
    for number, picture in enumerate(tiles):
        image.paste(picture, (LEFT + width + 12 + number * (height + 8), TOP))
    return image


def _curve(image, draw, stages, parts):
    """Lines twice as large as they are shown, made smaller, for then they are smooth; and words beside them."""
    width, height = PLOT
    total = stages[-1]["start"] + stages[-1]["steps"]
    low, high, log = scale_of(*(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))
    along = np.log if log else np.asarray

    def place(x, y):
        share = (along(np.clip(y, low, high)) - along(low)) / (along(high) - along(low))
        return list(zip(2 * x / total * width, 2 * (height - share * (height - HEAD)), strict=True))

    large = Image.new("RGB", (2 * width, 2 * height), GROUND)
    lines = ImageDraw.Draw(large)
    for x, y, mean in parts:
        lines.line(place(x, y), fill="#bcc7f3", width=2)
        lines.line(place(x, mean), fill="#3b5bdb", width=4, joint="curve")
    image.paste(large.resize(PLOT, Image.Resampling.LANCZOS), (LEFT, TOP))
    for stage in stages:
        edge = LEFT + stage["start"] / total * width
        if stage["start"]:
            draw.line((edge, TOP, edge, TOP + height - 1), fill="#999")
        draw.text((edge + 6, TOP + 5), printable(stage["name"]), fill="#333", font=font(11))
    small = dict(fill="#555", font=font(11))
    draw.text((LEFT - 6, TOP + HEAD), f"{high:.2g}", anchor="rm", **small)
    draw.text((LEFT - 6, TOP + height - 5), f"{low:.2g}", anchor="rm", **small)
    draw.text((LEFT, TOP + height + 16), "0", anchor="ms", **small)
    draw.text((LEFT + width, TOP + height + 16), f"{total} steps", anchor="rs", **small)


def scale_of(losses, means):
    """(low, high, whether logarithmic) of an axis for losses and their running means.

    It holds all means and 96 of 100 losses; it is logarithmic where the means fall by more than ten times.
    """
    losses, means = losses[np.isfinite(losses)], means[np.isfinite(means)]
    low, high = (float(f(np.append(means, np.quantile(losses, q)))) for f, q in ((np.min, 0.02), (np.max, 0.98)))
    log = low > 0 and means.max() > 10 * means.min()
    if high - low <= 1e-6 * max(high, -low):
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    room = (high - low) * 0.05
    return (low, high, True) if log else (low - room, high + room, False)
