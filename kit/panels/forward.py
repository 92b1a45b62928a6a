"""The noise scrubber's second mode: x_t is not recorded but computed, in the browser, from x0 and eps.

Notation: alpha_bar is ᾱ; x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) eps (DDPM, 2006.11239, Eq. 4); as elsewhere
sigma = sqrt((1 - ᾱ) / ᾱ) and log-SNR = log(ᾱ / (1 - ᾱ)).
"""

import math
from collections.abc import Mapping

import numpy as np
import traitlets

from kit.panels._panel import source
from kit.panels._pictures import MAX_SIDE, STRIP_COLUMNS, as_array, check_range, encode, png, sheet, strip
from kit.panels.noise import Scrubber, as_index, each, is_pixelated

MAX_BYTES = 16 * 2**20
MAX_SCHEDULES = 6  # as many colours as can be told apart
SAMPLE = 2**16  # values in the histogram at most: a browser counts them within a millisecond
AXES = ("step", "t", "log-SNR")
CURVES = ("ᾱ", "σ", "log-SNR")
SHOWN = ("x_t", "A", "B", "B − A")


class Operands:
    """x0 and eps twice: as the formula has them, and as they are shown, which is linear in them.

    x0, eps: float32 (channels, h, w), as the formula has them.
    seen_x0, seen_eps: float32 (1 or 3, h', w') and offset (1 or 3,), with which a x0 + b eps is seen as
        a seen_x0 + b seen_eps + offset, in [0, 1].
    """

    def __init__(self, x0, eps, rgb):
        given, eps = (_as_operand(value, name, rgb is None) for value, name in [(x0, "x0"), (eps, "eps")])
        if eps.shape != given.shape:
            raise ValueError(f"eps: got shape {eps.shape}, wanted {given.shape} as x0")
        picture = rgb is None and len(given) in (1, 3)
        if picture:
            check_range(given, "x0")
        self.x0, self.eps = (2 * given - 1 if picture else given), eps
        if rgb is not None:
            matrix, self.offset = _as_decoder(rgb, len(given))
            self.seen_x0, self.seen_eps = (np.einsum("rc,chw->rhw", matrix, z) for z in (self.x0, eps))
        elif picture:
            self.seen_x0, self.seen_eps, self.offset = given - np.float32(0.5), eps / 2, np.full(len(given), 0.5)
        else:
            self.seen_x0, self.seen_eps, self.offset = _tiles(self.x0 / 6), _tiles(eps / 6), np.full(1, 0.5)
        if self.seen_x0.nbytes * 2 > MAX_BYTES or max(self.seen_x0.shape[1:]) > MAX_SIDE:
            got = "x".join(map(str, self.seen_x0.shape[:0:-1]))
            raise ValueError(
                f"x0: got {got} pixels (w x h), {self.seen_x0.nbytes * 2 / 2**20:.0f} MB with eps, wanted at most "
                f"{MAX_SIDE} a side and {MAX_BYTES / 2**20:.0f} MB: make it smaller first"
            )

    def packed(self):
        """What the browser computes with. Of the values for the histogram a random part, if they are many."""
        chosen = slice(None)
        if self.x0.size > SAMPLE:
            chosen = np.random.default_rng(0).permutation(self.x0.size)[:SAMPLE]
        arrays = {
            "x0": self.seen_x0,
            "eps": self.seen_eps,
            "values_x0": self.x0.ravel()[chosen],
            "values_eps": self.eps.ravel()[chosen],
        }
        return {
            "offset": self.offset.tolist(),
            **{name: np.ascontiguousarray(array, "<f4").tobytes() for name, array in arrays.items()},
        }

    def picture(self, alpha_bar, every=1):
        """uint8 (h, w) or (h, w, 3) of x_t, or of every k-th of its pixels."""
        seen_x0, seen_eps = (a[:, ::every, ::every].astype(float) for a in (self.seen_x0, self.seen_eps))
        seen = math.sqrt(alpha_bar) * seen_x0 + math.sqrt(1 - alpha_bar) * seen_eps + self.offset[:, None, None]
        pixels = np.rint(255 * seen.clip(0, 1)).astype(np.uint8)
        return pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)


class Forward(Scrubber):
    """x_t of one or several schedules, computed in the browser; made by `NoiseScrubber.forward`, which see."""

    _css = source("_panel.css", "forward.css")

    levels = traitlets.List(help="ᾱ of each schedule at each step").tag(sync=True)
    schedule = traitlets.Unicode(help="name of the schedule that the readings and the strip follow").tag(sync=True)
    axis = traitlets.Enum(AXES, "t", help="what the width of the panel stands for").tag(sync=True)
    curve = traitlets.Enum(CURVES, "ᾱ", help="what the curve shows").tag(sync=True)
    compare = traitlets.Bool(help="whether each schedule's x_t is shown, or the chosen one's only").tag(sync=True)
    marks = traitlets.List(traitlets.Int(), [-1, -1], minlen=2, maxlen=2, help="steps A and B; -1: none").tag(sync=True)
    shown = traitlets.Enum(SHOWN, "x_t", help="the step under the hand, a mark, or their difference").tag(sync=True)
    _operands = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda value, _: value and value.packed())

    def __init__(self, x0, eps, schedules, *, timesteps=None, rgb=None, title="", index=None, pixelated=None):
        operands = Operands(x0, eps, rgb)
        schedules = _as_schedules(schedules)
        timesteps = _as_timesteps(timesteps, len(next(iter(schedules.values()))))
        index = as_index(index, len(timesteps), len(timesteps) // 2)
        size = [operands.seen_x0.shape[2], operands.seen_x0.shape[1]]
        super().__init__(
            title=title,
            tracks=list(schedules),
            sizes=[size] * len(schedules),
            length=len(timesteps),
            timesteps=timesteps,
            pixelated=[is_pixelated(size) if pixelated is None else bool(pixelated)] * len(schedules),
            index=index,
            live=index,
            levels=[[float(alpha_bar[t]) for t in timesteps] for alpha_bar in schedules.values()],
            schedule=next(iter(schedules)),
            compare=len(schedules) > 1,
            _operands=operands,
        )
        self._still = None

    @traitlets.validate("schedule")
    def _among_tracks(self, proposal):
        if proposal.value not in self.tracks:
            raise traitlets.TraitError(f"schedule: got {proposal.value!r}, wanted one of {self.tracks}")
        return proposal.value

    @traitlets.validate("marks")
    def _marks_in_path(self, proposal):
        if not all(-1 <= mark < self.length for mark in proposal.value):
            raise traitlets.TraitError(f"marks: got {proposal.value}, wanted two steps to {self.length - 1}, or -1")
        return proposal.value

    def stats(self):
        """What the panel carries, and how fast it answered: bytes, moves, p50_ms, p95_ms as `NoiseScrubber.stats`."""
        size = sum(len(data) for data in self._operands.packed().values() if isinstance(data, bytes))
        return {"bytes": size, "moves": 0, **self._timing}

    def snapshot(self, index=None):
        """PNG bytes of every schedule's x_t at one step (by default the chosen one), side by side, in full size."""
        step = as_index(index, self.length, self.index)
        pictures = [encode(self._operands.picture(levels[step])) for levels in self.levels]
        rows = [(self._caption(step), pictures)]
        return png(sheet(rows, self.tracks, max(self.sizes[0]), smooth=not self.pixelated[0]))

    def _static(self):
        self._still = self._still or self._strip()
        return self._still

    def _strip(self):
        columns = min(self.length, STRIP_COLUMNS)
        steps = [round(c * (self.length - 1) / max(columns - 1, 1)) for c in range(columns)]
        every = math.ceil(max(self.sizes[0]) / 128)
        pictures = [[encode(self._operands.picture(levels[s], every)) for s in steps] for levels in self.levels]
        rows = list(zip(self.tracks, pictures, strict=True))
        return strip(rows, [self._caption(s) for s in steps], smooth=not self.pixelated[0])

    def __repr__(self):
        names = ", ".join(name for name in self.tracks if name)
        parts = [
            f"{self.length} steps",
            *([f"of {names}"] if names else []),
            "x".join(map(str, self.sizes[0])),
            f"at step {self.index}",
        ]
        return f"NoiseScrubber.forward({', '.join(parts)})"

    def close(self):
        """End the panel and free its operands."""
        super().close()
        self._operands = self._still = None


def _as_operand(value, name, may_be_last):
    """float32 (channels, h, w) of one picture or latent; of (h, w, 3), too, where the colours may come last."""
    array = as_array(value, name)
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if may_be_last and array.ndim == 3 and array.shape[-1] == 3 and array.shape[0] not in (1, 3):
        array = np.moveaxis(array, -1, 0)
    if array.ndim != 3 or 0 in shape:
        hint = "; give one of the batch, for example x0[:1]" if len(shape) == 4 else ""
        raise ValueError(f"{name}: got shape {shape}, wanted one picture (3, h, w) or latent (channels, h, w){hint}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name}: got {bad} NaN or infinite values of {array.size}, wanted all finite")
    return array


def _as_decoder(rgb, channels):
    matrix, bias = rgb if isinstance(rgb, tuple | list) and len(rgb) == 2 else (rgb, np.zeros(3))
    matrix, bias = as_array(matrix, "rgb"), as_array(bias, "rgb's bias")
    if matrix.shape != (3, channels) or bias.shape != (3,):
        wanted = f"wanted (3, {channels}) for a latent of {channels} channels, and (3,)"
        raise ValueError(f"rgb: got a matrix {matrix.shape} and a bias {bias.shape}, {wanted}")
    if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
        raise ValueError("rgb: got NaN or infinite values, wanted all finite")
    return matrix, bias.astype(float)


def _tiles(channels):
    """(1, h', w'): the channels (n, h, w) in rows, as square a table as they make; what is left over is 0."""
    n, h, w = channels.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    table = np.zeros((rows * columns, h, w), channels.dtype)
    table[:n] = channels
    return table.reshape(rows, columns, h, w).swapaxes(1, 2).reshape(1, rows * h, columns * w)


def _as_schedules(schedules):
    """{name: float64 ᾱ at each timestep}, checked."""
    named = isinstance(schedules, Mapping)
    given = dict(schedules) if named else {"": schedules}
    if not 1 <= len(given) <= MAX_SCHEDULES:
        raise ValueError(f"schedules: got {len(given)}, wanted 1 to {MAX_SCHEDULES}")
    checked = {str(key): _as_schedule(ab, f"schedules[{key!r}]" if named else "schedules") for key, ab in given.items()}
    lengths = {name: len(alpha_bar) for name, alpha_bar in checked.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"schedules: got {lengths} timesteps, wanted as many in each")
    return checked


def _as_schedule(alpha_bar, name):
    if hasattr(alpha_bar, "detach"):
        alpha_bar = alpha_bar.detach().cpu().double().numpy()
    try:
        alpha_bar = np.asarray(alpha_bar, dtype=float)
    except (TypeError, ValueError):
        got = type(alpha_bar).__name__
        raise TypeError(f"{name}: got {got}, wanted ᾱ at each timestep, an array of numbers") from None
    if alpha_bar.ndim != 1 or len(alpha_bar) < 2:
        raise ValueError(f"{name}: got shape {alpha_bar.shape}, wanted ᾱ at two timesteps or more, (T,)")
    if not np.isfinite(alpha_bar).all():
        raise ValueError(f"{name}: got ᾱ = {alpha_bar[~np.isfinite(alpha_bar)][0]}, wanted all in [0, 1]")
    low, high = alpha_bar.min(), alpha_bar.max()
    if low < 0 or high > 1:
        raise ValueError(f"{name}: got ᾱ from {low:.4g} to {high:.4g}, wanted all in [0, 1]")
    rises = np.flatnonzero(np.diff(alpha_bar) >= 0)
    if len(rises):
        t = int(rises[0])
        step = f"ᾱ = {alpha_bar[t]:.6g} at t = {t} and {alpha_bar[t + 1]:.6g} at t = {t + 1}"
        raise ValueError(f"{name}: got {step}, wanted it to fall at every timestep")
    return alpha_bar


def _as_timesteps(timesteps, count):
    if timesteps is None:
        return list(range(count))
    timesteps = each(int, timesteps, "timesteps")
    if not timesteps:
        raise ValueError("timesteps: got none, wanted at least one")
    for place, t in enumerate(timesteps):
        if not 0 <= t < count:
            raise ValueError(f"timesteps[{place}]: got {t}, wanted 0 to {count - 1}")
    return timesteps
