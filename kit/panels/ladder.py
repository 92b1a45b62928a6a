"""DistillationLadder: a teacher's path and its students' over one axis of time, one step of each over two above it.

Notation: t falls from the noisiest state to -1, the clean end. A rung is a path; step i of a rung goes from its state
i to its state i + 1, and lies over steps 2 i and 2 i + 1 of the rung above (2202.00512, Algorithm 2).
"""

import itertools
import operator
from collections.abc import Mapping

import numpy as np
import traitlets
from PIL import Image, ImageDraw, ImageFont

from kit.panels._panel import Panel, source
from kit.panels._pictures import STRIP_BYTES, as_picture, encode, png, printable

MAX_BYTES = 16 * 2**20
GAINS = (64, 32, 16, 8, 4, 2)  # what a difference may be multiplied by, to be seen
LESSON = ("target", "said", "residual")


class DistillationLadder(Panel):
    """The states of a teacher and of its students, aligned; of each student's step what it makes of the teacher's two.

    rungs: {name: states} from the teacher down, at least two; states: (t, picture) pairs from the noisiest, t falling,
        to the clean end, t = -1. Each rung stops at every second level of the one above. Pictures (3, h, w) in [0, 1],
        all of one size; arrays, or tensors on any device.
    lessons: {(rung, step): {"target": picture, "said": picture, "residual": number}}, both counted from 0: what a
        student was to say there (x-tilde), what it says, and how far that is from it, in whatever measure.
    title: written above.

    The trait `at` is [rung, step], the chosen step of a student. Bad input is raised as TypeError or ValueError.
    """

    _esm = source("_draw.js", "_dial.js", "_rerun.js", "ladder.js")
    _css = source("_panel.css", "ladder.css")

    at = traitlets.List(traitlets.Int(), help="[rung, step] of the chosen step of a student").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), help="of the rungs, from the top").tag(sync=True)
    times = traitlets.List(help="t of the states of each rung").tag(sync=True)
    size = traitlets.List(traitlets.Int(), help="[width, height] of the pictures").tag(sync=True)
    apart = traitlets.List(help="of each step of each student: the RMS difference of its end and the rung above's")
    apart.tag(sync=True)
    gain = traitlets.Int(help="what the differences of ends are multiplied by").tag(sync=True)
    lessons = traitlets.List(help="[rung, step, residual] of each lesson").tag(sync=True)
    lesson_gain = traitlets.Int(1, help="what the residuals' pictures are multiplied by").tag(sync=True)
    _pictures = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(self, rungs, *, lessons=None, title=""):
        # First of all: close() needs it, and Python closes a panel whose constructor raised, too.
        self._still, self._rungs = None, _rungs(rungs)
        pictures = [states for _, states in self._rungs.values()]
        taught = _lessons(lessons, self._rungs)
        ends = [_ends(*pair) for pair in itertools.pairwise(pictures)]
        shown = [*itertools.chain(*pictures), *itertools.chain(*(pair for *_, pair in taught))]
        data = [encode(picture) for picture in shown]
        if sum(map(len, data)) > MAX_BYTES:
            got, wanted = f"{sum(map(len, data)) / 2**20:.0f} MB", f"at most {MAX_BYTES / 2**20:.0f} MB"
            raise ValueError(f"rungs: got {got} of pictures, wanted {wanted}: give fewer steps, or smaller pictures")
        super().__init__(
            names=list(self._rungs),
            times=[times for times, _ in self._rungs.values()],
            size=list(pictures[0][0].shape[1::-1]),
            apart=[[_rms(difference) for difference in row] for row in ends],
            gain=_gain(itertools.chain(*ends)),
            lessons=[[rung, step, residual] for rung, step, residual, _ in taught],
            lesson_gain=_gain(_difference(said, target) for *_, (target, said) in taught),
            at=[1, 0],
            title=title,
            _pictures={"lengths": [len(each) for each in data], "blob": b"".join(data)},
        )

    @classmethod
    def toy(cls, means=(-1.0, 1.0), stds=(0.15, 0.3), weights=(0.5, 0.5), *, steps=4, title=""):
        """The same in one dimension, where all is exact and computed live: a `kit.panels.phase.PhaseSpace`.

        The data are a mixture of normals, of these means, standard deviations and weights (which are made to sum to
        1). Under the cosine schedule two panes show x over t: DDIM with N `steps` (1, 2, 4, ... 64, the trait
        `steps`), and the student at N steps that loses nothing, whose jumps land on the path of its teacher of 256
        steps. Beside them stands how far either's ends are from the teacher's (W1). Raises ValueError in words.
        """
        from kit.panels.phase import PhaseSpace

        return PhaseSpace(means, stds, weights, steps=steps, title=title)

    @traitlets.validate("at")
    def _among_steps(self, proposal):
        rung, step = proposal.value if len(proposal.value) == 2 else (0, 0)
        if not (1 <= rung < len(self._rungs) and 0 <= step < len(self.times[rung]) - 1):
            steps = ", ".join(f"[{rung}, 0 to {len(times) - 2}]" for rung, times in enumerate(self.times) if rung)
            raise traitlets.TraitError(f"at: got {proposal.value}, wanted [rung, step] among {steps}")
        return proposal.value

    def snapshot(self):
        """PNG bytes of the ladder."""
        return self._static()

    def _static(self):
        self._still = self._still or self._drawn()
        return self._still

    def _drawn(self):
        for side, colors in [(96, None), (96, 256), (64, 256), (48, 128), (32, 64)]:
            data = png(_sheet(self._rungs, side), colors)
            if len(data) <= STRIP_BYTES:
                break
        return data

    def __repr__(self):
        width, height = self.size
        return f"DistillationLadder({' over '.join(self.names)}; {width}x{height}, {len(self.lessons)} lessons)"

    def close(self):
        """End the panel and free its pictures."""
        super().close()
        self._rungs, self._pictures, self._still = {}, {}, None


# Differences


def _difference(picture, other):
    return (picture.astype(np.float64) - other) / 255


def _ends(above, states):
    """Of each step: its end less that of the two steps above it, (h, w, 3) in [-1, 1]."""
    return [_difference(picture, wanted) for picture, wanted in zip(states[1:], above[2::2], strict=True)]


def _rms(difference):
    return float(np.sqrt(np.mean(difference**2)))


def _gain(differences):
    """The largest gain with which at least 99 % of all values stay within the half of the range that is theirs."""
    values = [np.abs(difference).ravel() for difference in differences]
    most = np.quantile(np.concatenate(values), 0.99) if values else 1.0
    return next((gain for gain in GAINS if gain * most <= 1), 1)


# The static picture


def _sheet(rungs, side):
    """PIL image of the rungs over one axis of time, each step an arc over its thumbnails, on white."""
    (top, _), gap, head = next(iter(rungs.values())), 8, 42
    width = len(top) * (side + gap) + gap
    image = Image.new("RGB", (width, len(rungs) * (head + side) + 26), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for row, (name, (times, pictures)) in enumerate(rungs.items()):
        y, every = row * (head + side) + head, 2**row
        middles = [gap + i * every * (side + gap) + side // 2 for i in range(len(times))]
        draw.text((gap, y - 26), printable(name), fill="#555", anchor="ls", font=font)
        for start, end in itertools.pairwise(middles):
            draw.arc((start, y - 20, end, y + 16), 180, 360, fill="#3b5bdb", width=2)
        for x, picture in zip(middles, pictures, strict=True):
            image.paste(Image.fromarray(picture).convert("RGB").resize((side, side)), (x - side // 2, y))
    for i, t in enumerate(top):
        text = f"t = {t}" if t >= 0 else "clean"
        draw.text((gap + i * (side + gap) + side // 2, image.height - 8), text, fill="#555", anchor="ms", font=font)
    return image


# What is accepted


def _rungs(rungs):
    """{name: (times, uint8 pictures)}, checked: each rung stops at every second level of the one above."""
    wanted = "wanted {name: [(t, picture), ...]} of a teacher and at least one student"
    if not isinstance(rungs, Mapping):
        raise TypeError(f"rungs: got {type(rungs).__name__}, {wanted}")
    if len(rungs) < 2:
        raise ValueError(f"rungs: got {len(rungs)}, {wanted}")
    checked = {str(name): _states(states, f"rungs[{name!r}]") for name, states in rungs.items()}
    for (above, (upper, _)), (name, (times, _)) in itertools.pairwise(checked.items()):
        if times != upper[::2] or len(upper) % 2 == 0:
            every = f"those of {above!r}, {upper}" if len(upper) % 2 else f"{above!r} to have an even number of steps"
            raise ValueError(f"rungs[{name!r}]: got levels {times}, wanted every second of {every}")
    shapes = {picture.shape for _, pictures in checked.values() for picture in pictures}
    if len(shapes) > 1:
        raise ValueError(f"rungs: got pictures of sizes {sorted(shapes)}, wanted all of one size")
    return checked


def _states(states, name):
    """(times, uint8 pictures) of one rung."""
    wanted = "wanted (t, picture) pairs"
    try:
        pairs = [(operator.index(t.item() if hasattr(t, "item") else t), picture) for t, picture in states]
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {states!r:.60}, {wanted}, t a whole number") from None
    times = [t for t, _ in pairs]
    if len(times) < 2 or times[-1] != -1 or not all(a > b for a, b in itertools.pairwise(times)):
        raise ValueError(f"{name}: got t = {times}, wanted at least two, falling, to -1, the clean end")
    return times, [as_picture(picture, f"{name}, t = {t}") for t, picture in pairs]


def _lessons(lessons, rungs):
    """[rung, step, residual, (target, said)] of each, in order."""
    return [_lesson(key, lesson, list(rungs.values())) for key, lesson in sorted((lessons or {}).items())]


def _lesson(key, lesson, rungs):
    name = f"lessons[{key!r}]"
    rung, step = key if isinstance(key, tuple) and len(key) == 2 else (0, 0)
    if not (1 <= rung < len(rungs) and 0 <= step < len(rungs[rung][0]) - 1):
        wanted = f"wanted (rung, step) with rung 1 to {len(rungs) - 1}, and a step that the rung has"
        raise ValueError(f"{name}: got no step of a student, {wanted}")
    if not isinstance(lesson, Mapping) or set(lesson) != set(LESSON):
        got = list(lesson) if isinstance(lesson, Mapping) else type(lesson).__name__
        raise ValueError(f"{name}: got {got}, wanted a dict of {', '.join(LESSON)}")
    pair = tuple(as_picture(lesson[part], f"{name}, {part}") for part in LESSON[:2])
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"{name}: got a target {pair[0].shape} and what is said {pair[1].shape}, wanted one size")
    return rung, step, float(lesson["residual"]), pair
