"""GuidanceSlider: what classifier-free guidance does to a prediction, live in the browser, and to a whole sample.

Notation: u is the noise predicted for the empty or the negative prompt, c for the prompt, and w = 1 is no
guidance (2207.12598 counts from 0: w' = w - 1). Whatever the rescaling, the guided prediction is
k (u + v (c - u)) with two numbers a picture: k, a scale, and v, the guidance in effect.
"""

import functools
import itertools
import math
import operator
from collections.abc import Mapping

import numpy as np
import traitlets

from kit.panels._panel import Panel, source
from kit.panels._pictures import STRIP_COLUMNS, as_array, as_picture, encode, png, sheet, strip
from kit.panels._work import as_callable, pictures_of

MAX_BYTES = 16 * 2**20
W_RANGE = (-2.0, 20.0)
VARIANTS = ("none", "pred_norm", "t_norm", "full_norm", "std")
LENGTHS = ("t_norm", "full_norm")  # those whose dial is g, the length of the update, in place of w
LADDER = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)  # of w, for a static picture when no sample is finished

STEP_CODE = """\
# 1: one step. x, c and {u} are the panel's at t = {t}, (1, channels, h, w); alpha_bar and rgb too are tensors
import torch
from kit.diffusion import combine

matrix, bias = rgb
eps = {eps}
x0 = (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
picture = (torch.einsum("rc,nchw->nrhw", matrix, x0) + bias.view(3, 1, 1)).clamp(0, 1)
"""
SAMPLE_CODE = """\
# 2, 3: a whole path. models, noise, timesteps and the embeddings cond and {away} are your own
from kit.diffusion import guided, sample

predict = guided(models.predict, {away}, {arguments})
picture = models.decode(sample(predict, models.schedule, noise, timesteps, cond))
"""


def fit_rgb(latents, pictures):
    """The linear decoder of least squares, (matrix (3, channels), bias (3,)), float32: `rgb` for the slider.

    latents: (n, channels, h, w). pictures: (n, 3, f h, f w) in [0, 1], the same decoded; each is averaged over
    the f x f pixels of a latent. Raises ValueError for shapes that do not fit.
    """
    latents, pictures = as_array(latents, "latents"), as_array(pictures, "pictures")
    n, channels, h, w = latents.shape if latents.ndim == 4 else (0, 0, 1, 1)
    f = pictures.shape[-1] // w
    if n == 0 or pictures.shape != (n, 3, f * h, f * w):
        wanted = "wanted (n, channels, h, w) and (n, 3, f h, f w)"
        raise ValueError(f"latents and pictures: got shapes {latents.shape} and {pictures.shape}, {wanted}")
    means = pictures.reshape(n, 3, h, f, w, f).mean((3, 5)).transpose(0, 2, 3, 1).reshape(-1, 3)
    rows = latents.transpose(0, 2, 3, 1).reshape(-1, channels)
    solution = np.linalg.lstsq(np.column_stack([rows, np.ones(len(rows))]), means, rcond=None)[0]
    return solution[:-1].T.astype(np.float32), solution[-1].astype(np.float32)


def combined(u, c, variant, dial, phi):
    """The guided prediction of one picture, float64; dial is g for t_norm and full_norm, and w for the others.

    As `kit.diffusion.combine`, which needs torch: see there.
    """
    update = _rescaled(c - u, np.linalg.norm, u) if variant in LENGTHS else c - u
    out = u + dial * update
    if variant in ("pred_norm", "full_norm"):
        return _rescaled(out, np.linalg.norm, u)
    return phi * _rescaled(out, np.std, c) + (1 - phi) * out if variant == "std" else out


def _rescaled(x, size, other):
    """x made the size of `other`; what has no size stays as it is."""
    return x * (size(other) / size(x)) if size(x) > 0 else x


class Finished:
    """Encoded samples, each under its key: [rescaling, dial, phi or None, interval or None, whether negative].

    `rows` holds (key, bytes, whether it was re-run by the panel) in the order of arrival.
    """

    def __init__(self):
        self.rows = []

    @property
    def bytes(self):
        return sum(len(data) for _, data, _ in self.rows)

    def add(self, key, data, rerun=False):
        self.rows = [row for row in self.rows if row[0] != key] + [(key, data, rerun)]

    def get(self, key):
        return next((data for known, data, _ in self.rows if known == key), None)

    def nearest(self, key):
        """(key, bytes) of the sample nearest on the dial, all else being equal, or None."""
        alike = [row[:2] for row in self.rows if _without_dial(row[0]) == _without_dial(key)]
        return min(alike, key=lambda row: abs(row[0][1] - key[1]), default=None)

    def packed(self):
        """The rows as the browser takes them: a table of [key, length, rerun] and all the bytes in one blob."""
        table = [[key, len(data), rerun] for key, data, rerun in self.rows]
        return {"table": table, "blob": b"".join(data for _, data, _ in self.rows)}


def _without_dial(key):
    return [key[0], *key[2:]]


class GuidanceSlider(Panel):
    """Drag the guidance w and see, at three honest levels, what it does.

        1  one step, exact    x0-hat of the guided prediction, combined and decoded linearly in the browser
        2  nearest finished   the picture of a whole path that was made with the nearest w
        3  true re-run        `sample` called on release, in the background; its result is then a finished one

    x, u, c: the noisy latents and the noise predicted for the empty prompt and for the prompt, each
        (channels, h, w), or (n, channels, h, w) at n steps of a path; arrays, or tensors on any device.
    t: the timestep of each, an int or n falling ones, 0 to T - 1. alpha_bar: of each, in (0, 1].
    rgb: (matrix (3, channels), bias (3,)), which makes latents pictures in [0, 1]; `fit_rgb` finds them.
    negative: the noise predicted for a negative prompt, like u; its preview then stands beside the other.
    samples: {w: picture}, finished samples (without rescaling, at all t), one as for NoiseScrubber.
    sample: sample(w, **settings) -> a picture, or a generator of pictures whose last is the sample. It is
        called in a thread (put torch.no_grad() inside), and of the settings is given only those that differ
        from their defaults: variant="none", g, phi, interval=None and negative=False. With variant, g, phi
        and interval handed on, `kit.diffusion.guided` understands them all.
    w: the guidance to open on. at: the step to open on, by default the middle one. T: timesteps in all.

    A choice (traits w, g, phi, variant, interval, with_negative) is committed when the hand lets go, and then
    re-run unless its sample is there; the newest choice wins. Bad input is raised as TypeError or ValueError;
    what goes wrong in `sample` is shown in the panel (traits `error`, `traceback`), which stays alive.
    """

    _esm = source("_draw.js", "_guided.js", "_dial.js", "_pad.js", "_rerun.js", "guidance.js")
    _css = source("_panel.css", "_dial.css", "_rerun.css", "guidance.css")

    w = traitlets.Float(help="guidance, -2 to 20; 1: none").tag(sync=True)
    g = traitlets.Float(0.2, help="length of the update per length of u, 0 to 1, for t_norm and full_norm").tag(
        sync=True
    )
    phi = traitlets.Float(0.7, help="share of the rescaled prediction, 0 to 1, for std").tag(sync=True)
    variant = traitlets.Enum(VARIANTS, "none", help="rescaling").tag(sync=True)
    interval = traitlets.List(traitlets.Int(), help="[low, high] timesteps where guidance acts; []: all").tag(sync=True)
    with_negative = traitlets.Bool(help="whether the sample moves away from the negative prompt").tag(sync=True)
    at = traitlets.Int(help="the step whose prediction is shown, 0 to n - 1").tag(sync=True)

    shape = traitlets.List(traitlets.Int(), help="(n, channels, h, w) of the latents").tag(sync=True)
    t = traitlets.List(traitlets.Int()).tag(sync=True)
    T = traitlets.Int().tag(sync=True)
    alpha_bar = traitlets.List(traitlets.Float()).tag(sync=True)
    rgb = traitlets.List(help="matrix (3, channels), bias (3,)").tag(sync=True)
    runs = traitlets.Bool(help="whether there is a `sample` to call").tag(sync=True)
    _operands = traitlets.Dict().tag(sync=True, echo_update=False)
    _samples = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: panel._finished.packed())
    _code = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(
        self,
        x,
        u,
        c,
        t,
        alpha_bar,
        rgb,
        *,
        negative=None,
        samples=None,
        sample=None,
        w=5.0,
        at=None,
        T=1000,
        title="",
        **kwargs,
    ):
        # First of all: close() needs it, and Python closes a panel whose constructor raised, too.
        self._finished = Finished()
        given = {"x": x, "u": u, "c": c} | ({} if negative is None else {"negative": negative})
        self._arrays = _operands(given)
        n, channels = self._arrays["x"].shape[:2]
        self._matrix, self._bias = _rgb(rgb, channels)
        self._sample = as_callable(sample, "sample", "sample(w, **settings)")
        self._running = self._last = None
        for key, data in _given(samples):
            self._finished.add(key, data)
        super().__init__(
            shape=list(self._arrays["x"].shape),
            t=_timesteps(t, n, T),
            T=T,
            alpha_bar=_alpha_bar(alpha_bar, n),
            rgb=[self._matrix.tolist(), self._bias.tolist()],
            runs=sample is not None,
            w=_between("w", w, *W_RANGE),
            at=n // 2 if at is None else _index(at, n),
            title=title,
            _operands={"names": list(self._arrays), "blob": b"".join(a.tobytes() for a in self._arrays.values())},
            _code=[STEP_CODE, SAMPLE_CODE],
            **kwargs,
        )
        self.observe(self._chosen, ["w", "g", "phi", "variant", "interval", "with_negative"])
        self.on_msg(lambda panel, content, buffers: content.get("kind") == "run" and panel.run())

    @classmethod
    def live(cls, draw, *, prompt="", seed=0, w=4.0, w_range=(1.0, 8.0), title=""):
        """The second mode: a model so fast that each move of w, the seed or the prompt is a true sample.

        draw: draw(prompt, seed, w) -> a picture as `samples` has them; or {name: draw} of several, side by side.
            It is called in a thread, one call at a time. What does not change is best kept, with a distilled student
            (`kit.load("world").student(2)`) as here:

                student, embed = models.student(2), functools.lru_cache(lambda prompt: models.embed([prompt]))

                @torch.inference_mode()
                def draw(prompt, seed, w):
                    noise = randn((1, *models.latent_shape), seed)
                    return models.decode(student.sample(noise, embed(prompt), w))[0]

        prompt, seed (0 to 2^31 - 1), w: what to open on. w_range: (low, high), the guidance that can be chosen.

        Returns the panel, whose traits are w, prompt and seed. As the hand moves, the browser tells the kernel what it
        wants, at most once a frame; the newest wish is drawn, older ones are forgotten. What goes wrong in `draw` is
        shown in the panel, which stays alive. Bad input is raised as TypeError or ValueError.
        """
        from kit.panels.live import LiveGuidance

        return LiveGuidance(draw, prompt=prompt, seed=seed, w=w, w_range=w_range, title=title)

    # --- what is chosen

    @property
    def dial(self):
        """What the slider turns: g where the rescaling has g, else w."""
        return self.g if self.variant in LENGTHS else self.w

    @property
    def _key(self):
        """What a sample depends on: [rescaling, dial, phi or None, interval or None, whether negative]."""
        phi = self.phi if self.variant == "std" else None
        return [self.variant, self.dial, phi, self.interval or None, self.with_negative]

    @traitlets.validate("w", "g", "phi")
    def _in_range(self, proposal):
        name = proposal.trait.name
        return _between(name, proposal.value, *(W_RANGE if name == "w" else (0.0, 1.0)), traitlets.TraitError)

    @traitlets.validate("interval")
    def _ordered(self, proposal):
        value = proposal.value
        if value and not (len(value) == 2 and 0 <= value[0] <= value[1] < self.T):
            wanted = f"wanted [low, high] with 0 <= low <= high <= {self.T - 1}, or [] for all"
            raise traitlets.TraitError(f"interval: got {value}, {wanted}")
        return [] if value == [0, self.T - 1] else value

    @traitlets.validate("at")
    def _in_path(self, proposal):
        return _index(proposal.value, len(self._arrays["x"]), traitlets.TraitError)

    @traitlets.validate("with_negative")
    def _has_negative(self, proposal):
        if proposal.value and "negative" not in self._arrays:
            raise traitlets.TraitError("with_negative: got True, but the panel was given no `negative`")
        return proposal.value

    # --- the re-run

    def _chosen(self, _):
        if self._finished.get(self._key) is not None:
            self.work.cancel()
        elif self._sample is not None and not (self.status == "running" and self._running == self._key):
            self.run()

    def run(self):
        """Call `sample` for what is chosen, in the background; an earlier call ends after its current step."""
        if self._sample is None:
            raise ValueError("run: got a panel without `sample`, wanted one to call")
        self._running = key = self._key
        steps = pictures_of(self._sample, self.w, **_settings(key))
        self.work.start(steps, functools.partial(_take, key), finish=functools.partial(_finish, key))

    # --- what is shown, and the code that makes it

    def preview(self, negative=False):
        """Level 1 as float64 (h, w, 3), not yet clipped to [0, 1]: the browser's, up to rounding.

        negative: away from the negative prompt, not from the empty one.
        """
        return self._decoded(negative, self.variant if self._acts else "none", self.dial if self._acts else 1.0)

    def _decoded(self, negative, variant, dial):
        names = ["x", "negative" if negative else "u", "c"]
        x, u, c = (self._arrays[name][self.at].astype(np.float64) for name in names)
        ab = self.alpha_bar[self.at]
        x0 = (x - math.sqrt(1 - ab) * combined(u, c, variant, dial, self.phi)) / math.sqrt(ab)
        return np.einsum("rc,chw->hwr", self._matrix, x0) + self._bias

    @property
    def _acts(self):
        """Whether guidance acts at the timestep shown; where it does not, the prediction is c."""
        low, high = self.interval or (0, self.T)
        return low <= self.t[self.at] <= high

    def to_code(self, level=None):
        """Python that makes the shown picture, with `kit.diffusion`; its first line says which names it needs.

        level: 1, the one-step preview; 2 or 3, a whole path as `sample` is understood to walk it; by default 3
        if there is a `sample`, else 1.
        """
        level = (3 if self.runs else 1) if level is None else level
        if level not in (1, 2, 3):
            raise ValueError(f"level: got {level!r}, wanted 1, 2 or 3")
        if level == 1:
            u = "negative" if self.with_negative else "u"
            eps = f"combine({u}, c, {self._arguments()})" if self._acts else "c  # outside the interval"
            return STEP_CODE.format(u=u, t=self.t[self.at], eps=eps)
        interval = f", interval=({self.interval[0]}, {self.interval[1]})" if self.interval else ""
        away = "negative" if self.with_negative else "uncond"
        return SAMPLE_CODE.format(away=away, arguments=self._arguments() + interval)

    def _arguments(self):
        """The arguments of `combine` after u and c, as they are written."""
        settings = _settings(self._key)
        settings = {name: settings[name] for name in ("variant", "g", "phi") if name in settings}
        return ", ".join([repr(self.w), *(f"{name}={value!r}" for name, value in settings.items())])

    def stats(self):
        """What the panel carries, and how fast it answered: a dict.

        samples: the finished ones; bytes: of these and of the operands; moves: inputs measured in the browser
        since it opened; p50_ms, p95_ms: from an input event to its picture painted.
        """
        size = sum(array.nbytes for array in self._arrays.values()) + self._finished.bytes
        return {"samples": len(self._finished.rows), "bytes": size, "moves": 0, **self._timing}

    def snapshot(self):
        """PNG bytes of what is chosen: each preview, and the nearest finished sample, side by side."""
        previews = {name: _encoded(self.preview(negative)) for name, negative in self._prompts}
        nearest = self._finished.nearest(self._key)
        finished = {f"finished, {_said(nearest[0])}": nearest[1]} if nearest else {}
        shown = previews | finished
        return png(
            sheet([(f"{_said(self._key)}, t {self.t[self.at]}", [*shown.values()])], [*shown], 256, smooth=False)
        )

    @property
    def _prompts(self):
        prompts = [("one step, exact", False)]
        return [*prompts, ("the same, negative prompt", True)] if "negative" in self._arrays else prompts

    def _static(self):
        """The finished samples in the order of w, under their previews; or the previews of a ladder of w."""
        finished = {key[1]: data for key, data, _ in self._finished.rows if key == _plain(key[1])}
        dials = sorted(finished) or LADDER
        columns = min(len(dials), STRIP_COLUMNS)
        dials = [dials[round(i * (len(dials) - 1) / max(columns - 1, 1))] for i in range(columns)]
        rows = [
            (f"{name}, at t {self.t[self.at]}", [_encoded(self._decoded(negative, "none", w)) for w in dials])
            for name, negative in self._prompts
        ]
        if finished:
            rows.append(("finished samples", [finished[w] for w in dials]))
        return strip(rows, [f"w = {w:g}" for w in dials], smooth=False)

    def __repr__(self):
        n, channels, h, w = self.shape
        parts = [
            _said(self._key),
            f"{n} steps of {channels}x{h}x{w}",
            f"{len(self._finished.rows)} samples",
            self.status,
        ]
        return f"GuidanceSlider({', '.join(parts)})"

    def close(self):
        """End the panel and a re-run under way (after its current step); frees predictions and samples."""
        super().close()
        self._finished.rows, self._arrays, self._operands, self._sample = [], {}, {}, None


def _take(key, panel, index, item):
    data = encode(as_picture(item, f"sample at {_said(key)}, picture {index}"))
    panel._last = data
    panel.send_bytes({"kind": "step", "key": key, "step": index + 1}, data)


def _finish(key, panel, status):
    if status == "done":
        panel._finished.add(key, panel._last, rerun=True)
        panel.send_bytes({"kind": "sample", "key": key}, panel._last)


def _plain(w):
    """The key of a sample without rescaling, at all t, away from the empty prompt."""
    return ["none", w, None, None, False]


def _settings(key):
    """What `sample` is called with besides w: the settings of a key that differ from their defaults."""
    variant, dial, phi, interval, negative = key
    settings = {
        "variant": variant != "none" and variant,
        "g": variant in LENGTHS and dial,
        "phi": phi,
        "interval": interval and tuple(interval),
        "negative": negative,
    }
    return {name: value for name, value in settings.items() if value is not None and value is not False}


def _said(key):
    """A key in words."""
    variant, dial, phi, interval, negative = key
    words = [f"{'g' if variant in LENGTHS else 'w'} = {dial:g}"]
    words += [variant] if variant != "none" else []
    words += [f"phi = {phi:g}"] if phi is not None else []
    words += [f"t {interval[0]} to {interval[1]}"] if interval else []
    return ", ".join([*words, "negative prompt"] if negative else words)


def _encoded(picture):
    return encode(as_picture(picture.clip(0, 1), "preview"))


# What is accepted


def _operands(given):
    """{name: float32 (n, channels, h, w)}, all of one shape and finite."""
    arrays = {name: as_array(value, name) for name, value in given.items()}
    arrays = {name: array[None] if array.ndim == 3 else array for name, array in arrays.items()}
    shape = arrays["x"].shape
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"x: got shape {np.shape(given['x'])}, wanted (channels, h, w) or (n, channels, h, w)")
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(f"{name}: got shape {array.shape}, wanted {shape} like x")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ValueError(f"{name}: got {bad} NaN or infinite values of {array.size}, wanted all finite")
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES:
        got, wanted = f"{size / 2**20:.0f} MB of latents", f"at most {MAX_BYTES / 2**20:.0f} MB"
        raise ValueError(f"x: got {got} and predictions, wanted {wanted}: give fewer steps of the path")
    return {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items()}


def _rgb(rgb, channels):
    """(matrix (3, channels), bias (3,)) as float64."""
    wanted = f"wanted (matrix (3, {channels}), bias (3,)), as from fit_rgb"
    if not isinstance(rgb, tuple | list) or len(rgb) != 2:
        raise TypeError(f"rgb: got {type(rgb).__name__}, {wanted}")
    matrix, bias = (as_array(part, "rgb").astype(np.float64) for part in rgb)
    if matrix.shape != (3, channels) or bias.shape != (3,):
        raise ValueError(f"rgb: got shapes {matrix.shape} and {bias.shape}, {wanted}")
    if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
        raise ValueError("rgb: got NaN or infinite values, wanted all finite")
    return matrix, bias


def _row(kind, values, n, name):
    """n numbers as a list, of one number or of a sequence."""
    one = not getattr(values, "ndim", 1) or not hasattr(values, "__len__")
    try:
        row = [kind(value) for value in ([values] if one else values)]
    except (TypeError, ValueError):
        row = []
    if len(row) != n:
        what = "whole numbers" if kind is operator.index else "numbers"
        raise ValueError(f"{name}: got {values!r:.80}, wanted {n} {what}, one for each step of x")
    return row


def _alpha_bar(alpha_bar, n):
    row = _row(float, alpha_bar, n, "alpha_bar")
    if not all(0 < a <= 1 for a in row):
        raise ValueError(f"alpha_bar: got values from {min(row):.4g} to {max(row):.4g}, wanted all in (0, 1]")
    return row


def _timesteps(t, n, T):
    if T < 2:
        raise ValueError(f"T: got {T}, wanted at least 2 timesteps")
    row = _row(operator.index, t, n, "t")
    if not all(0 <= low < high for high, low in itertools.pairwise([T, *row])):
        raise ValueError(f"t: got {row}, wanted falling timesteps from 0 to {T - 1}")
    return row


def _given(samples):
    """(key, bytes) of each of the author's samples."""
    if samples is None:
        return
    if not isinstance(samples, Mapping):
        raise TypeError(f"samples: got {type(samples).__name__}, wanted {{w: picture}}")
    for w, picture in samples.items():
        w = _between("samples", w, *W_RANGE)
        yield _plain(w), encode(as_picture(picture, f"samples[{w:g}]"))


def _between(name, value, low, high, error=ValueError):
    """`value` as a float in [low, high]."""
    wanted = f"wanted a number from {low:g} to {high:g}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {value!r}, {wanted}") from None
    if not low <= number <= high:
        raise error(f"{name}: got {number:g}, {wanted}")
    return number


def _index(at, n, error=ValueError):
    if not 0 <= at < n:
        raise error(f"at: got {at}, wanted 0 to {n - 1}")
    return int(at)
