"""PhaseSpace: what distillation saves in one dimension, where the exact path is known and all is computed live.

Notation: x_t = alpha x + sigma eps with alpha = cos(pi t / 2), sigma = sin(pi t / 2); t falls from 1, noise, to 0.
"""

import math
from statistics import NormalDist

import numpy as np
import traitlets
from PIL import Image, ImageDraw, ImageFont

from kit.panels._panel import Panel, source
from kit.panels._pictures import png

TEACHER = 256  # steps of the path that is taken for exact
STEPS = (1, 2, 4, 8, 16, 32, 64)
STARTS = 401  # that distances are measured over
EVERY, FIRST = 10, 5  # of the starts the sixth is drawn, and every tenth after it: 40
DRAWN = len(range(FIRST, STARTS, EVERY))
MAX_MODES = 8


class PhaseSpace(Panel):
    """x over t for a mixture of normals: DDIM and the lossless student; made by `DistillationLadder.toy`, see there."""

    _esm = source("_draw.js", "_dial.js", "phase.js")
    _css = source("_panel.css", "_dial.css", "phase.css")

    steps = traitlets.Int(help="N: 1, 2, 4, ... 64").tag(sync=True)
    start = traitlets.Int(help="the start whose path is drawn bold, 0 to 39, the lowest first").tag(sync=True)
    mixture = traitlets.Dict(help="means, stds and weights, lists of one length").tag(sync=True)
    starts = traitlets.List(traitlets.Float(), help="x at t = 1, the quantiles of N(0, 1)").tag(sync=True)

    def __init__(self, means, stds, weights, *, steps=4, title=""):
        self._still = 0, b""  # first of all: close() needs it, and Python closes a panel whose constructor raised, too
        mixture = _mixture(means, stds, weights)
        normal = NormalDist()
        super().__init__(
            mixture={name: values.tolist() for name, values in zip(("means", "stds", "weights"), mixture, strict=True)},
            starts=[normal.inv_cdf((i + 0.5) / STARTS) for i in range(STARTS)],
            steps=_steps(steps),
            start=DRAWN // 2 + 1,
            title=title,
        )

    @traitlets.validate("steps")
    def _among_steps(self, proposal):
        return _steps(proposal.value, traitlets.TraitError)

    @traitlets.validate("start")
    def _among_starts(self, proposal):
        if not 0 <= proposal.value < DRAWN:
            raise traitlets.TraitError(f"start: got {proposal.value}, wanted 0 to {DRAWN - 1}")
        return proposal.value

    def path(self, steps):
        """DDIM's states (steps + 1, n) from each of the `starts` with the exact denoiser; float64."""
        return path(*(np.array(values) for values in self.mixture.values()), np.array(self.starts), steps)

    def w1(self, steps):
        """The Wasserstein-1 distance of DDIM's ends from the teacher's; the lossless student's is 0."""
        return float(np.abs(np.sort(self.path(steps)[-1]) - np.sort(self.path(TEACHER)[-1])).mean())

    def _static(self):
        if self._still[0] != self.steps:
            self._still = self.steps, self._drawn()
        return self._still[1]

    def _drawn(self):
        """PNG bytes: both panes, DDIM on the left, as the browser draws them without the densities."""
        exact, few = (self.path(steps)[:, FIRST::EVERY] for steps in (TEACHER, self.steps))
        reach = 1.05 * max(np.abs(exact).max(), np.abs(few).max())
        image = Image.new("RGB", (1920, 720), "white")  # twice as large as it is to be, for smooth lines
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(26)
        s = "" if self.steps == 1 else "s"
        landed = exact[:: TEACHER // self.steps]
        names = f"DDIM, {self.steps} step{s}: W1 {self.w1(self.steps):.3g}", "a student that loses nothing: W1 0"
        panes = zip((40, 1000), names, (few, landed), strict=True)
        for left, name, paths in panes:
            draw.text((left, 44), name, fill="#333", anchor="ls", font=font)
            for states, colour in [(exact, "#c9ced8"), (paths, "#3b5bdb")]:
                x, y = left + 880 * np.linspace(0, 1, len(states)), 370 - 290 * states / reach
                for column in y.T:
                    draw.line(list(zip(x.tolist(), column.tolist(), strict=True)), fill=colour, width=2)
            draw.text((left, 704), "t = 1, noise", fill="#555", anchor="ls", font=font)
            draw.text((left + 880, 704), "t = 0, data", fill="#555", anchor="rs", font=font)
        return png(image.resize((960, 360), Image.Resampling.LANCZOS), 128)

    def __repr__(self):
        return f"DistillationLadder.toy({self.mixture['means']}, {self.steps} steps, W1 {self.w1(self.steps):.3g})"


def denoised(z, alpha, sigma, means, stds, weights):
    """E[x | x_t = z] (n,) of a mixture of normals (k,): each mode's, by how likely z is to be of it."""
    variance = (alpha * stds) ** 2 + sigma**2
    away = z[:, None] - alpha * means
    log = np.log(weights) - 0.5 * np.log(variance) - away**2 / (2 * variance)
    likely = np.exp(log - log.max(1, keepdims=True))
    likely /= likely.sum(1, keepdims=True)
    return (likely * (means + alpha * stds**2 / variance * away)).sum(1)


def path(means, stds, weights, z, steps):
    """DDIM's states (steps + 1, n) from z (n,) at t = 1, in equal steps of t."""
    states = [z]
    for i in range(steps, 0, -1):
        (alpha, sigma), (alpha_next, sigma_next) = (_level(k / steps) for k in (i, i - 1))
        x = denoised(z, alpha, sigma, means, stds, weights)
        z = alpha_next * x + sigma_next / sigma * (z - alpha * x)
        states.append(z)
    return np.array(states)


def _level(t):
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)


def _mixture(means, stds, weights):
    """Three float64 arrays (k,), the weights summing to 1."""
    given = {"means": means, "stds": stds, "weights": weights}
    arrays = {}
    for name, values in given.items():
        try:
            arrays[name] = np.atleast_1d(np.asarray(values, dtype=float))
        except (TypeError, ValueError):
            raise TypeError(f"{name}: got {values!r:.60}, wanted numbers, one for each mode") from None
        if arrays[name].ndim != 1 or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: got {values!r:.60}, wanted a row of finite numbers")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not 1 <= lengths["means"] <= MAX_MODES:
        raise ValueError(f"means, stds and weights: got {lengths}, wanted as many of each, 1 to {MAX_MODES}")
    for name in ("stds", "weights"):
        if not (arrays[name] > 0).all():
            raise ValueError(f"{name}: got {_listed(arrays[name])}, wanted all above 0")
    return arrays["means"], arrays["stds"], arrays["weights"] / arrays["weights"].sum()


def _listed(array):
    return ", ".join(f"{value:g}" for value in array)


def _steps(steps, error=ValueError):
    if isinstance(steps, bool) or steps not in STEPS:
        raise error(f"steps: got {steps!r}, wanted one of {', '.join(map(str, STEPS))}")
    return int(steps)
