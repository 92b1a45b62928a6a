"""InterpolationSlider: the pictures between a picture and the words for another, under one hand.

Notation: eta is the share of the words (2210.09276, Eq. 3): 0 is the picture as the model draws it, 1 the words alone.
"""

import functools
import itertools

import numpy as np
import traitlets

from kit.panels._panel import Panel, source
from kit.panels._pictures import STRIP_COLUMNS, as_array, as_picture, encode, png, sheet, strip
from kit.panels._work import as_callable, pictures_of
from kit.panels.noise import is_pixelated

MAX_BYTES = 64 * 2**20
SAME = 5e-4  # the slider's steps are no finer than 0.001


class Cached:
    """Encoded pictures by eta, a tuple of one for each row: `entries` holds (eta, pictures, whether re-run)."""

    def __init__(self):
        self.entries = []

    @property
    def bytes(self):
        return sum(len(data) for _, pictures, _ in self.entries for data in pictures)

    def add(self, eta, pictures, rerun=False):
        others = [entry for entry in self.entries if abs(entry[0] - eta) >= SAME]
        self.entries = sorted([*others, (eta, pictures, rerun)])

    def has(self, eta):
        return any(abs(known - eta) < SAME for known, *_ in self.entries)

    def nearest(self, eta):
        return min(self.entries, key=lambda entry: abs(entry[0] - eta))

    def packed(self):
        """The entries as the browser takes them: a table of [eta, lengths, rerun] and all the bytes in one blob."""
        table = [[eta, [len(data) for data in pictures], rerun] for eta, pictures, rerun in self.entries]
        return {"table": table, "blob": b"".join(data for _, pictures, _ in self.entries for data in pictures)}


class InterpolationSlider(Panel):
    """Drag eta from a picture to the words for another, and see the pictures that were made between them at once.

    pictures: (n, 3, h, w), or (rows, n, 3, h, w) with a row for each seed; values in [0, 1]; arrays, or tensors on any
        device. Made at `etas`: n rising numbers, 0 among them, whose picture, the reconstruction, is always in view.
    source: the input picture (3, h, w), always in view too. true: the edit as it should be, where that is known.
    fidelity, alignment: (n,) or (rows, n) numbers at the etas, drawn as curves over eta: how much of the picture is
        kept, and how well the words are met. Each has an axis of its own; of several rows the mean is drawn strongest.
    flat: the largest eta at which the picture still is the input; from the first eta to there is marked.
    band: (low, high), marked too: by default 0.6 to 0.8, where the paper finds most edits; None: none.
    sample: sample(eta) -> pictures (rows, 3, h, w), or (3, h, w) of one row; or a generator of such whose last are the
        result. It is called in a thread (put torch.no_grad() inside) when the hand lets go of an eta that was not made;
        the newest choice wins, and what was made is kept.
    labels: the names of the ends, eta = 0 and eta = 1. eta: the one to open on, by default the middle of the band.

    Between etas the nearest picture is shown, and said to be that; the points on the curves go straight from one eta
    to the next. Pictures up to 128 pixels a side arrive lossless, larger ones as JPEG of quality 85; the limits are
    2,048 pixels a side and 64 MB. Bad input is raised as TypeError or ValueError; what goes wrong in `sample` is shown
    in the panel (traits `error`, `traceback`), which stays alive.
    """

    _esm = source("_draw.js", "_dial.js", "_rerun.js", "interpolation.js")
    _css = source("_panel.css", "_dial.css", "_rerun.css", "interpolation.css")

    eta = traitlets.Float(help="the share of the words: set on release, by a key, or from Python").tag(sync=True)

    etas = traitlets.List(traitlets.Float(), help="those of the given pictures, rising").tag(sync=True)
    rows = traitlets.Int(help="pictures at each eta").tag(sync=True)
    size = traitlets.List(traitlets.Int(), help="[width, height] of a picture in pixels").tag(sync=True)
    curves = traitlets.Dict(help="{'fidelity' or 'alignment': (rows, n) numbers}").tag(sync=True)
    band = traitlets.List(traitlets.Float(), help="[low, high] or []").tag(sync=True)
    flat = traitlets.Float(None, allow_none=True).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    runs = traitlets.Bool(help="whether there is a `sample` to call").tag(sync=True)
    _stills = traitlets.Dict().tag(sync=True, echo_update=False)
    _pictures = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: panel._cached.packed())
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(
        self,
        pictures,
        etas,
        *,
        source=None,
        fidelity=None,
        alignment=None,
        true=None,
        flat=None,
        band=(0.6, 0.8),
        sample=None,
        labels=("the picture", "the words"),
        eta=None,
        title="",
        **kwargs,
    ):
        # First of all: close() needs it, and Python closes a panel whose constructor raised, too.
        self._cached = Cached()
        self._sample = as_callable(sample, "sample", "sample(eta)")
        self._running = self._last = None
        etas = _rising(etas)
        grid = _grid(pictures, len(etas))
        for column, value in enumerate(etas):
            self._cached.add(value, tuple(encode(row[column]) for row in grid))
        _fits(self._cached.bytes)
        height, width = grid[0][0].shape[:2]
        stills = {"source": source, "true": true}
        curves = {"fidelity": fidelity, "alignment": alignment}
        super().__init__(
            etas=etas,
            rows=len(grid),
            size=[width, height],
            curves={
                name: _curve(values, name, (len(grid), len(etas)))
                for name, values in curves.items()
                if values is not None
            },
            band=[] if band is None else _band(band),
            flat=None if flat is None else _real("flat", flat, etas[0], etas[-1]),
            labels=_two(labels),
            runs=sample is not None,
            eta=_opening(etas, band) if eta is None else _real("eta", eta, etas[0], etas[-1]),
            title=title,
            _stills={
                name: encode(_alike(picture, name, (height, width)))
                for name, picture in stills.items()
                if picture is not None
            },
            **kwargs,
        )
        self.observe(self._chosen, "eta")
        self.on_msg(lambda panel, content, buffers: content.get("kind") == "run" and panel.run())

    @traitlets.validate("eta")
    def _in_range(self, proposal):
        return _real("eta", proposal.value, self.etas[0], self.etas[-1], traitlets.TraitError)

    # --- the re-run

    def _chosen(self, _):
        if self._cached.has(self.eta):
            self.work.cancel()
        elif self._sample is not None and not (self.status == "running" and self._running == self.eta):
            self.run()

    def run(self):
        """Call `sample` for the chosen eta, in the background; an earlier call ends after its current step."""
        if self._sample is None:
            raise ValueError("run: got a panel without `sample`, wanted one to call")
        self._running = eta = self.eta
        steps = pictures_of(self._sample, eta)
        self.work.start(steps, functools.partial(_take, eta), finish=functools.partial(_finish, eta))

    # --- what is shown

    def at(self, name, eta=None):
        """The number of the curve "fidelity" or "alignment" at an eta, by default the chosen one: the rows' mean.

        Straight from one of the etas to the next, and as drawn.
        """
        if name not in self.curves:
            raise ValueError(f"at: got {name!r}, wanted one of {list(self.curves)}")
        eta = self.eta if eta is None else _real("eta", eta, self.etas[0], self.etas[-1])
        return float(np.interp(eta, self.etas, np.mean(self.curves[name], axis=0)))

    def stats(self):
        """What the panel carries, and how fast it answered: a dict.

        pictures: the cached ones, re-run ones too; bytes: of these; moves: inputs measured in the browser since it
        opened; p50_ms, p95_ms: from an input event to its pictures painted.
        """
        count = sum(len(pictures) for _, pictures, _ in self._cached.entries)
        return {"pictures": count, "bytes": self._cached.bytes, "moves": 0, **self._timing}

    def snapshot(self):
        """PNG bytes of what is in view: the input, the reconstruction and the pictures nearest to eta, row by row."""
        return png(self._sheet(sheet, [self._cached.nearest(0), self._cached.nearest(self.eta)], side=256))

    def _static(self):
        """The input, and the pictures at up to eight of the etas, row by row."""
        last = len(self.etas) - 1
        columns = min(last + 1, STRIP_COLUMNS)
        chosen = [self.etas[round(column * last / (columns - 1))] for column in range(columns)]
        return self._sheet(strip, [self._cached.nearest(eta) for eta in chosen])

    def _sheet(self, draw, entries, **settings):
        before, after = ([self._stills[name]] if name in self._stills else [] for name in ("source", "true"))
        rows = [
            (
                f"seed {row + 1}" if self.rows > 1 else "",
                [*before, *(pictures[row] for _, pictures, _ in entries), *after],
            )
            for row in range(self.rows)
        ]
        captions = [
            *["input"][: len(before)],
            *(f"eta = {eta:.3g}" for eta, *_ in entries),
            *["true edit"][: len(after)],
        ]
        return draw(rows, captions, smooth=not is_pixelated(self.size), **settings)

    def __repr__(self):
        n, (width, height) = len(self.etas), self.size
        parts = [
            f"eta = {self.eta:.3g}",
            f"{n} etas from {self.etas[0]:.3g} to {self.etas[-1]:.3g}",
            *([f"{self.rows} rows"] if self.rows > 1 else []),
            f"{width}x{height}",
            self.status,
        ]
        return f"InterpolationSlider({', '.join(parts)})"

    def close(self):
        """End the panel and a re-run under way (after its current step); frees the pictures."""
        super().close()
        self._cached.entries, self._stills, self._sample = [], {}, None


def _take(eta, panel, index, item):
    name = f"sample at eta = {eta:g}, step {index + 1}"
    pictures = [_alike(picture, name, panel.size[::-1]) for picture in _of_rows(item, name, panel.rows)]
    panel._last = tuple(encode(picture) for picture in pictures)
    _tell(panel, {"kind": "step", "key": eta, "step": index + 1})


def _finish(eta, panel, status):
    if status == "done":
        _fits(panel._cached.bytes + sum(map(len, panel._last)))
        panel._cached.add(eta, panel._last, rerun=True)
        _tell(panel, {"kind": "sample", "key": eta})


def _tell(panel, content):
    panel.send_bytes({**content, "lengths": [len(data) for data in panel._last]}, b"".join(panel._last))


# What is accepted


def _rising(etas):
    """etas as floats, checked."""
    row = as_array(etas, "etas").astype(np.float64)
    if row.ndim != 1 or len(row) < 2:
        raise ValueError(f"etas: got shape {row.shape}, wanted (n,) with n of at least 2")
    # float32 on the way here: 0.1 should be said as 0.1
    values = [round(float(value), 6) for value in row]
    if not np.isfinite(values).all():
        raise ValueError(f"etas: got {values}, wanted all finite")
    if not all(high - low >= SAME for low, high in itertools.pairwise(values)):
        raise ValueError(f"etas: got {values}, wanted them rising, by at least {SAME:g}")
    if not any(abs(value) < SAME for value in values):
        raise ValueError(f"etas: got {values}, wanted 0 among them: the reconstruction is always in view")
    return values


def _grid(pictures, n):
    """uint8 pictures by row and eta, all of one size."""
    array = as_array(pictures, "pictures")
    if array.ndim == 4:
        array = array[None]
    if array.ndim != 5 or 0 in array.shape:
        raise ValueError(f"pictures: got shape {np.shape(array)}, wanted (n, 3, h, w) or (rows, n, 3, h, w)")
    if array.shape[1] != n:
        raise ValueError(f"pictures: got {array.shape[1]} in a row, wanted {n}, one for each of etas")
    return [
        [as_picture(picture, f"pictures[{r}, {c}]") for c, picture in enumerate(row)] for r, row in enumerate(array)
    ]


def _of_rows(item, name, rows):
    """The pictures of one step of a re-run, one for each row."""
    array = as_array(item, name)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or len(array) != rows:
        raise ValueError(f"{name}: got shape {array.shape}, wanted ({rows}, 3, h, w), a picture for each row")
    return array


def _alike(picture, name, size):
    """A uint8 picture of the pictures' height and width."""
    picture = as_picture(picture, name)
    if picture.shape[:2] != tuple(size):
        got, wanted = (f"{w}x{h}" for h, w in (picture.shape[:2], size))
        raise ValueError(f"{name}: got {got} pixels (w x h), wanted {wanted} as in pictures")
    return picture


def _fits(size):
    if size > MAX_BYTES:
        got, wanted = f"{size / 2**20:.0f} MB", f"at most {MAX_BYTES / 2**20:.0f} MB"
        raise ValueError(f"pictures: got {got}, wanted {wanted}: give fewer etas or rows, or smaller pictures")


def _curve(values, name, shape):
    """(rows, n) finite numbers as lists."""
    array = as_array(values, name).astype(np.float64)
    if array.shape == shape[1:]:
        array = array[None]
    if array.shape not in (shape, (1, shape[1])):
        wanted = f"({shape[1]},) or {shape}"
        raise ValueError(f"{name}: got shape {array.shape}, wanted {wanted}, a number for each of etas")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: got {int((~np.isfinite(array)).sum())} NaN or infinite numbers, wanted all finite")
    return array.tolist()


def _band(band):
    try:
        low, high = (float(end) for end in band)
    except (TypeError, ValueError):
        raise ValueError(f"band: got {band!r:.80}, wanted (low, high), or None for none") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"band: got ({low:g}, {high:g}), wanted two finite numbers, the lower first")
    return [low, high]


def _two(labels):
    if isinstance(labels, str) or len(labels) != 2:
        raise ValueError(f"labels: got {labels!r:.80}, wanted two names, of eta = 0 and of eta = 1")
    return [str(label) for label in labels]


def _opening(etas, band):
    """The eta nearest to the middle of the band, or to the last if there is none."""
    middle = etas[-1] if band is None else sum(_band(band)) / 2
    return min(etas, key=lambda eta: abs(eta - middle))


def _real(name, value, low, high, error=ValueError):
    """`value` as a float from low to high."""
    wanted = f"wanted a number from {low:g} to {high:g}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {value!r:.80}, {wanted}") from None
    if not low - SAME < number < high + SAME:
        raise error(f"{name}: got {number:g}, {wanted}")
    return min(max(number, low), high)
