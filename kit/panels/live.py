"""The guidance slider's second mode: behind it a model so fast that every move is a true sample.

Notation: w is the guidance as `GuidanceSlider` counts it, 1 meaning none. A rung is one of the models compared, such
as a student at so many steps.
"""

import contextlib
import inspect
import math
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import traitlets

from kit.panels._panel import Panel, source
from kit.panels._pictures import as_picture, encode, png, sheet, strip
from kit.panels._work import as_callable

IDLE = 1.0  # seconds without a wish after which the work ends
MAX_SEED = 2**31 - 1
COLUMNS = 5  # of the static picture
STILL_SECONDS = 10.0  # which drawing it may take; what is not drawn by then is hatched


class Wish(NamedTuple):
    """What is to be drawn; n: the browser's number of it, 0 for one from Python."""

    prompt: str
    seed: int
    w: float
    n: int = 0


class Drawn(NamedTuple):
    """A picture of a rung: the wish, the encoded bytes, and the milliseconds that `draw` took."""

    wish: Wish
    data: bytes
    ms: float


class Mailbox:
    """One place for a wish: a newer one takes the place of the one that waits there."""

    def __init__(self):
        self._changed = threading.Condition()
        self._wish = None
        self._served = False

    def put(self, wish):
        """Leave a wish; returns whether nobody serves the box, so that somebody must be sent."""
        with self._changed:
            self._wish = wish
            self._changed.notify()
            return self._claimed()

    def wait(self, seconds):
        """Block until a wish is there, at most so many seconds; returns whether one is. If not, nobody serves."""
        with self._changed:
            self._served = self._changed.wait_for(lambda: self._wish is not None, seconds)
            return self._served

    def take(self):
        """The wish, or None."""
        with self._changed:
            wish, self._wish = self._wish, None
            return wish

    def leave(self):
        """Nobody serves the box from now on."""
        with self._changed:
            self._served = False

    def left(self):
        """Whether a wish waits that nobody serves, so that somebody must be sent."""
        with self._changed:
            return self._wish is not None and self._claimed()

    def _claimed(self):
        claimed, self._served = not self._served, True
        return claimed


class Rungs:
    """The author's functions by name, called one at a time from whichever thread."""

    def __init__(self, draws):
        self.draws = draws
        self._one_at_a_time = threading.Lock()

    def draw(self, rung, wish):
        with self._one_at_a_time:
            since = time.perf_counter()
            picture = self.draws[rung](wish.prompt, wish.seed, wish.w)
            ms = 1000 * (time.perf_counter() - since)
        where = f"draw[{rung!r}]" if rung else "draw"
        return Drawn(wish, encode(as_picture(picture, f"{where} at w = {wish.w:g}")), ms)


class LiveGuidance(Panel):
    """Prompt, seed and guidance under the hand; every move is a true sample. Made by `GuidanceSlider.live`, see there.

    The traits w, prompt and seed follow when the hand lets go; setting one from Python draws, too.
    """

    _esm = source("_draw.js", "_dial.js", "_rerun.js", "live.js")
    _css = source("_panel.css", "_dial.css", "_rerun.css", "live.css")

    w = traitlets.Float(help="guidance, in w_range; 1: none").tag(sync=True)
    prompt = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int(help="0 to 2^31 - 1").tag(sync=True)

    w_range = traitlets.List(traitlets.Float()).tag(sync=True)
    rungs = traitlets.List(traitlets.Unicode(), help="what each picture is drawn by").tag(sync=True)
    _drawn = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: panel._packed())
    _kernel = traitlets.Bool(True, help="whether there is a kernel to ask").tag(
        sync=True, to_json=lambda _, panel: not panel._leaving
    )
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(self, draw, *, prompt="", seed=0, w=4.0, w_range=(1.0, 8.0), title=""):
        # First of all: close() needs them, and Python closes a panel whose constructor raised, too.
        self._box, self._last, self._asked, self._leaving = Mailbox(), {}, None, False
        self._rungs = Rungs(_draws(draw))
        self._still = None, b""
        low, high = _range(w_range)
        super().__init__(
            w=_guidance(w, low, high),
            w_range=[low, high],
            prompt=_prompt(prompt),
            seed=_seed(seed),
            rungs=list(self._rungs.draws),
            title=title,
        )
        self.observe(self._chosen, ["w", "prompt", "seed"])
        self.on_msg(_hear)

    @traitlets.validate("w")
    def _in_range(self, proposal):
        return _guidance(proposal.value, *self.w_range, traitlets.TraitError)

    @traitlets.validate("seed")
    def _whole(self, proposal):
        return _seed(proposal.value, traitlets.TraitError)

    # --- drawing

    def draw(self):
        """Draw what is chosen, in the background, by every rung; the newest choice wins."""
        self._ask(Wish(self.prompt, self.seed, self.w))

    def _chosen(self, _):
        if (self.prompt, self.seed, self.w) != self._asked:  # else the browser asked for it before it told the traits
            self.draw()

    def _ask(self, wish):
        self._asked = wish[:3]
        if self._box.put(wish):
            self._serve()

    def _serve(self):
        self.work.start(_pictures(self._rungs, self._box), _take, finish=_finish)

    def stop(self):
        """End the drawing after the picture under way; what was asked for besides is forgotten."""
        self._box.take()
        self._box.leave()
        super().stop()

    # --- what comes back

    def stats(self):
        """How fast the panel answered: a dict.

        pictures: those painted that came from an input in the browser; per_second: of these, while the hand moved;
        p50_ms, p95_ms: from an input to its own picture painted; draw_ms: what `draw` took for each rung's last.
        The browser hands its measurements over when all that was asked for has come.
        """
        draw_ms = {rung: drawn.ms for rung, drawn in self._last.items()}
        return {"pictures": 0, **self._timing, "draw_ms": draw_ms}

    def snapshot(self):
        """PNG bytes of what is chosen, as drawn by every rung, side by side."""
        wish = Wish(self.prompt, self.seed, self.w)
        pictures = [self._rungs.draw(rung, wish).data for rung in self.rungs]
        return png(sheet([(f"{self.prompt}, seed {self.seed}, w = {self.w:g}", pictures)], self.rungs, 256))

    def _packed(self):
        """The last pictures as the browser takes them: a table of [rung, wish, ms, length], and one blob."""
        drawn = [(rung, self._last[rung]) for rung in self.rungs if rung in self._last]
        table = [[rung, each.wish._asdict(), each.ms, len(each.data)] for rung, each in drawn]
        return {"table": table, "blob": b"".join(each.data for _, each in drawn)}

    def _static(self):
        """Each rung over the range of w; made once for a prompt and a seed."""
        chosen = self.prompt, self.seed
        if self._still[0] != chosen:
            self._still = chosen, self._strip()
        return self._still[1]

    def _strip(self):
        until = time.monotonic() + STILL_SECONDS
        ws = [float(w) for w in np.linspace(*self.w_range, COLUMNS)]
        rows = [(rung, [self._picture(rung, w, until) for w in ws]) for rung in self.rungs]
        return strip(rows, [f"w = {w:g}" for w in ws])

    def _picture(self, rung, w, until):
        """Bytes; None where the time is up, or `draw` fails, of which the open panel tells."""
        with contextlib.suppress(Exception):
            if time.monotonic() < until:
                return self._rungs.draw(rung, Wish(self.prompt, self.seed, w)).data

    def _page(self):
        """The page shows the last pictures; where there are none yet, they are drawn now."""
        for rung in self.rungs:
            if rung not in self._last:
                self._last[rung] = self._rungs.draw(rung, Wish(self.prompt, self.seed, self.w))
        self._leaving = True
        try:
            return super()._page()
        finally:
            self._leaving = False

    def __repr__(self):
        names = f"{', '.join(name for name in self.rungs if name)}; " if any(self.rungs) else ""
        return f"GuidanceSlider.live({names}{self.prompt!r}, seed {self.seed}, w = {self.w:g}, {self.status})"

    def close(self):
        """End the panel, and the drawing after the picture under way; frees the pictures and the model."""
        super().close()
        self._last, self._rungs, self._still = {}, Rungs({}), (None, b"")


def _hear(panel, content, buffers):
    if content.get("kind") == "want":
        panel._ask(Wish(content["prompt"], content["seed"], float(content["w"]), content["n"]))


def _pictures(rungs, box):
    """(rung, Drawn) of the newest wish, rung by rung in turn, for as long as wishes come: the steps of a Work."""
    due = []
    try:
        while due or box.wait(IDLE):
            newer = box.take()
            if newer is not None:
                wish = newer
                due += [rung for rung in rungs.draws if rung not in due]
            if due:
                rung = due.pop(0)
                yield rung, rungs.draw(rung, wish)
    finally:
        box.leave()


def _take(panel, index, item):
    rung, drawn = item
    panel._last[rung] = drawn
    panel.send_bytes({"kind": "picture", "rung": rung, "ms": drawn.ms, **drawn.wish._asdict()}, drawn.data)


def _finish(panel, status):
    panel.send({"kind": "ended"})
    if panel._box.left():
        panel._serve()


# What is accepted


def _draws(draw):
    """{rung: function of (prompt, seed, w)}."""
    draws = dict(draw) if isinstance(draw, Mapping) else {"": draw}
    if not draws:
        raise ValueError("draw: got an empty dict, wanted {name: draw(prompt, seed, w)} of at least one")
    for rung, each in draws.items():
        name = f"draw[{rung!r}]" if isinstance(draw, Mapping) else "draw"
        if as_callable(each, name, "draw(prompt, seed, w) -> picture") is None:
            raise TypeError(f"{name}: got None, wanted a callable, draw(prompt, seed, w) -> picture")
        try:
            inspect.signature(each).bind("", 0, 1.0)
        except TypeError as error:
            raise TypeError(f"{name}: cannot be called as draw(prompt, seed, w): {error}") from None
    return {str(rung): each for rung, each in draws.items()}


def _range(w_range):
    wanted = "wanted (low, high), two finite numbers, the lower first"
    try:
        low, high = (float(w) for w in w_range)
    except (TypeError, ValueError):
        raise TypeError(f"w_range: got {w_range!r}, {wanted}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"w_range: got ({low:g}, {high:g}), {wanted}")
    return low, high


def _guidance(w, low, high, error=ValueError):
    wanted = f"wanted a number in w_range, from {low:g} to {high:g}"
    try:
        number = float(w)
    except (TypeError, ValueError):
        raise TypeError(f"w: got {w!r}, {wanted}") from None
    if not low <= number <= high:
        raise error(f"w: got {number:g}, {wanted}")
    return number


def _prompt(prompt):
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: got {type(prompt).__name__}, wanted a text")
    return prompt


def _seed(seed, error=ValueError):
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: got {seed!r}, wanted a whole number from 0 to {MAX_SEED}")
    if not 0 <= seed <= MAX_SEED:
        raise error(f"seed: got {seed}, wanted a whole number from 0 to {MAX_SEED}")
    return int(seed)
