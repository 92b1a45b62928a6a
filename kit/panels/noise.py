"""NoiseScrubber: the pictures of a path under one playhead, scrubbed in the browser with no kernel call.

Notation: alpha_bar is ᾱ, the share of signal in the variance; sigma = sqrt((1 - ᾱ) / ᾱ) the noise per unit
of signal; log-SNR = log(ᾱ / (1 - ᾱ)). Step 0 is the first picture of the path, whatever its noise.
"""

import sys
from collections.abc import Iterator, Mapping

import traitlets

from kit.panels._panel import Panel, source
from kit.panels._pictures import STRIP_COLUMNS, as_picture, encode, png, sheet, strip

MAX_BYTES = 64 * 2**20
PIXELATED_SIDE = 64  # up to here a picture is rather a tensor, and its pixels are what one wants to see


class Reel:
    """Encoded frames of named tracks on one playhead.

    `rows` holds (track, step, bytes) in the order of arrival; a row is appended whole, so that a thread may
    read while another adds. `sizes` holds [width, height] of each track, [0, 0] until its first picture.
    """

    def __init__(self, tracks):
        self.tracks = list(tracks)
        self.sizes = [[0, 0] for _ in self.tracks]
        self.rows = []
        self.bytes = 0

    def add(self, step, item):
        """Check and encode one step, a picture or {track: picture or None}; returns its new rows."""
        item = as_tracks(item)
        if list(item) != self.tracks:
            raise ValueError(f"frames[{step}]: got tracks {list(item)}, wanted {self.tracks} as in the first")
        rows = [self._row(track, step, item[name]) for track, name in enumerate(item) if item[name] is not None]
        if step == 0 and not rows:
            raise ValueError("frames[0]: got no picture in any track, wanted at least one")
        self.bytes += sum(len(data) for _, _, data in rows)
        if self.bytes > MAX_BYTES:
            raise ValueError(
                f"frames[{step}]: got {self.bytes / 2**20:.0f} MB of pictures so far, wanted at most "
                f"{MAX_BYTES / 2**20:.0f} MB: give every k-th step, or smaller pictures"
            )
        self.rows += rows
        return rows

    def _row(self, track, step, value):
        name = f"frames[{step}]" + (f" of track {self.tracks[track]!r}" if self.tracks[track] else "")
        picture = as_picture(value, name)
        size = [picture.shape[1], picture.shape[0]]
        if self.sizes[track] not in ([0, 0], size):
            got, wanted = ("x".join(map(str, s)) for s in (size, self.sizes[track]))
            raise ValueError(f"{name}: got {got} pixels (w x h), wanted {wanted} as in the frames before")
        self.sizes[track] = size
        return track, step, encode(picture)

    def get(self, track, step):
        return next((data for t, s, data in self.rows if (t, s) == (track, step)), None)

    def clear(self):
        self.rows, self.bytes = [], 0


def pack(rows):
    """Rows as the browser takes them: a table of [track, step, bytes] and all the bytes in one blob."""
    return {"table": [[t, s, len(data)] for t, s, data in rows], "blob": b"".join(data for *_, data in rows)}


def as_tracks(item):
    return dict(item) if isinstance(item, Mapping) else {"": item}


class Scrubber(Panel):
    """One playhead over the steps of a path: what recorded and computed pictures share."""

    _esm = source("_draw.js", "_forward.js", "_curve.js", "_histogram.js", "noise.js")

    tracks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List(help="[width, height] of each track in pixels").tag(sync=True)
    length = traitlets.Int(help="steps known or expected").tag(sync=True)
    timesteps = traitlets.List(traitlets.Int()).tag(sync=True)
    pixelated = traitlets.List(traitlets.Bool(), help="per track").tag(sync=True)
    index = traitlets.Int(help="the chosen step: set on release, by a key, or from Python").tag(sync=True)
    live = traitlets.Int(help="the step under the hand, every 50 ms if observed, else with index").tag(
        sync=True, echo_update=False
    )
    _heeded = traitlets.Bool(help="whether anyone observes live").tag(sync=True)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def observe(self, handler, names=traitlets.All, type="change"):
        super().observe(handler, names, type)
        if names is traitlets.All or "live" in ([names] if isinstance(names, str) else names):
            self._heeded = True

    @traitlets.validate("index", "live")
    def _in_path(self, proposal):
        if not 0 <= proposal.value < max(self.length, 1):
            name = proposal.trait.name
            raise traitlets.TraitError(f"{name}: got {proposal.value}, wanted 0 to {self.length - 1}")
        return proposal.value

    def _caption(self, step):
        if step >= len(self.timesteps):
            return f"step {step}"
        return f"t {self.timesteps[step]}" if self.timesteps[step] >= 0 else "clean"


class NoiseScrubber(Scrubber):
    """Scrub along the pictures of a path: x_t, x0-hat, eps-hat, or any others, on one playhead.

    frames: the pictures, each (3, h, w), (h, w, 3), (1, 3, h, w) or (h, w), values in [0, 1]; arrays, or
        tensors on any device. One of
        * a sequence of pictures, or a batch (n, 3, h, w);
        * {"x_t": pictures, "x0-hat": pictures, ...}, tracks of equal length; None: no picture at that step;
        * a generator of pictures or of {track: picture} steps. Its first step is taken at once, the others
          in a thread while the panel is already there to scrub; Stop, `stop()` and `close()` end it after
          its current step. (torch.no_grad() is per thread: put it inside the generator, or decorate it.)
    timesteps: one integer per step, shown as t; any negative one is the clean end, below t = 0.
    labels: one text per step.
    alpha_bar: ᾱ of each step, in [0, 1]; the panel then shows ᾱ, sigma and log-SNR.
    pixelated: True draws hard pixels, as for latents; by default so for pictures up to 64 pixels a side.
    index: the step to open on, by default the last. While frames stream in, a playhead on the newest follows.

    Pictures up to 128 pixels a side arrive lossless, larger ones as JPEG of quality 85; the limits are 2,048
    pixels a side and 64 MB altogether. Bad input is raised as TypeError or ValueError; what goes wrong later
    in a generator is shown in the panel (traits `error`, `traceback`), for no cell is left to raise it.
    """

    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    alpha_bar = traitlets.List(traitlets.Float()).tag(sync=True)
    _frames = traitlets.Any().tag(sync=True, echo_update=False, to_json=lambda _, panel: pack(list(panel._reel.rows)))

    def __init__(
        self,
        frames,
        timesteps=None,
        labels=None,
        *,
        title="",
        alpha_bar=None,
        pixelated=None,
        index=None,
        **kwargs,
    ):
        # First of all: close() needs it, and Python closes a panel whose constructor raised, too.
        self._reel = Reel([])
        steps = _steps(frames)
        running = isinstance(steps, Iterator)
        first = next(steps, None) if running else steps[0]
        if first is None:
            raise ValueError("frames: got a generator that yields nothing, wanted at least one picture")
        notes = _notes(timesteps, labels, alpha_bar, None if running else len(steps))
        self._reel = Reel(as_tracks(first))
        for step, item in enumerate([first] if running else steps):
            self._reel.add(step, item)
        self._hard = pixelated
        length = max([len(note) for note in notes.values()] + [1]) if running else len(steps)
        index = as_index(index, length, 0 if running else length - 1)
        super().__init__(
            **notes,
            title=title,
            tracks=self._reel.tracks,
            sizes=[list(size) for size in self._reel.sizes],
            length=length,
            pixelated=self._pixels(),
            index=index,
            live=index,
            **kwargs,
        )
        self._cached = (0, b"")
        if running:
            self.work.start(steps, NoiseScrubber._append, finish=NoiseScrubber._complete)

    @classmethod
    def forward(cls, x0, eps, schedules, *, timesteps=None, rgb=None, title="", index=None, pixelated=None):
        """The second mode: x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) eps, computed in the browser as the hand moves.

        The two operands are sent once, as float32; no frames are, and no step asks the kernel. Beside x_t
        stand the curve of the schedule, whose point can be dragged, and a histogram of x_t's values against
        N(0, 1). Several schedules are read at the same step, t or log-SNR, whichever is the axis.

        x0: one picture, (3, h, w), (1, h, w) or (h, w), values in [0, 1], which the formula takes as 2 x0 - 1;
            or a latent (channels, h, w), taken as it is: any with `rgb`, and any of other than 1 or 3 channels.
        eps: standard normal noise of the same shape.
        schedules: ᾱ at each timestep from t = 0, falling, in [0, 1]; or {name: ᾱ}, at most 6 of equal length.
        timesteps: those to visit, in order; by default all.
        rgb: the linear decoder of a latent, a matrix (3, channels) or (matrix, bias (3,)), to RGB in [0, 1];
            without it each channel is a grey tile, black at -3 and white at 3.
        index: the step to open on, by default the middle one.

        Returns the panel: its traits `schedule`, `axis`, `curve`, `compare`, `marks` and `shown` are what the
        controls choose. Limits: 2,048 pixels a side, 16 MB of operands (512x512 in colour takes 6).
        Raises TypeError or ValueError in words.
        """
        from kit.panels.forward import Forward

        settings = dict(timesteps=timesteps, rgb=rgb, title=title, index=index, pixelated=pixelated)
        return Forward(x0, eps, schedules, **settings)

    def _pixels(self):
        """Whether each track's pixels are hard, as asked for or by the size of its pictures, once there are any."""
        return [is_pixelated(size) if self._hard is None else bool(self._hard) for size in self._reel.sizes]

    # --- frames that arrive while the panel is open

    def _append(self, index, item):
        step = index + 1  # the first was taken by the constructor
        if self._known and step >= self.length:
            raise ValueError(f"frames: got more than the {self.length} steps that timesteps or labels announced")
        rows = self._reel.add(step, item)
        with self.hold_sync():
            self.length = max(self.length, step + 1)
            self.pixelated = self._pixels()  # before the sizes, which the browser hears of
            self.sizes = [list(size) for size in self._reel.sizes]
        packed = pack(rows)
        self.send_bytes({"kind": "frames", "table": packed["table"]}, packed["blob"])
        if self.index == step - 1:  # asked last: the reader may have moved away while the picture was packed
            self.index = step

    @property
    def _known(self):
        return bool(self.timesteps or self.labels or self.alpha_bar)

    def _complete(self, status):
        if "google.colab" not in sys.modules:
            self.send_state("_frames")  # whoever missed a message, and the saved notebook, now have every frame

    # --- what comes back

    def stats(self):
        """What the panel carries, and how fast it answered: a dict.

        frames, bytes: what was sent; moves: inputs measured in the browser since it opened; p50_ms, p95_ms:
        from an input event to its picture painted. The browser hands its measurements over with each choice.
        """
        return {"frames": len(self._reel.rows), "bytes": self._reel.bytes, "moves": 0, **self._timing}

    def snapshot(self, index=None):
        """PNG bytes of every track at one step (by default the chosen one), side by side, in full size."""
        step = as_index(index, self.length, self.index)
        data = [self._reel.get(track, step) for track in range(len(self.tracks))]
        side = max(max(size) for size in self.sizes)
        return png(sheet([(self._caption(step), data)], self.tracks, side, smooth=not all(self.pixelated)))

    def _static(self):
        count = len(self._reel.rows)
        if self._cached[0] != count:
            self._cached = (count, self._strip())
        return self._cached[1]

    def _caption(self, step):
        named = not self.timesteps and step < len(self.labels)
        return self.labels[step] if named else super()._caption(step)

    def _strip(self):
        columns = min(self.length, STRIP_COLUMNS)
        steps = [round(c * (self.length - 1) / max(columns - 1, 1)) for c in range(columns)]
        rows = [(name, [self._reel.get(track, s) for s in steps]) for track, name in enumerate(self.tracks)]
        return strip(rows, [self._caption(s) for s in steps], smooth=not all(self.pixelated))

    def __repr__(self):
        sizes = sorted({f"{w}x{h}" for w, h in self.sizes if w})
        tracks = ", ".join(name for name in self.tracks if name)
        parts = [
            f"{self.length} steps",
            *([f"of {tracks}"] if tracks else []),
            *sizes,
            f"at step {self.index}",
        ]
        return f"NoiseScrubber({', '.join(parts)}, {self.status})"

    def close(self):
        """End the panel and a generator that still runs (after its current step); frees the frames."""
        super().close()
        self._reel.clear()
        self._cached = (0, b"")


def _steps(frames):
    """The steps as a list, or as the iterator they were given as."""
    if isinstance(frames, Iterator):
        return frames
    if isinstance(frames, Mapping):
        return _zip_tracks(frames)
    if isinstance(frames, str | bytes) or not hasattr(frames, "__iter__"):
        wanted = "pictures: a sequence, {track: pictures} or a generator"
        raise TypeError(f"frames: got {type(frames).__name__}, wanted {wanted}")
    shape = tuple(getattr(frames, "shape", ()))
    if shape and len(shape) != 4:
        raise ValueError(f"frames: got one array of shape {shape}, wanted pictures: a list, or (n, 3, h, w)")
    steps = list(frames)
    if not steps:
        raise ValueError("frames: got an empty sequence, wanted at least one picture")
    return steps


def _zip_tracks(tracks):
    columns = {str(name): _steps(pictures) for name, pictures in tracks.items()}
    columns = {name: list(pictures) for name, pictures in columns.items()}
    lengths = {name: len(pictures) for name, pictures in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"frames: got tracks of different lengths {lengths}, wanted as many pictures in each")
    if not any(lengths.values()):
        raise ValueError("frames: got no pictures, wanted at least one track of at least one")
    return [dict(zip(columns, step, strict=True)) for step in zip(*columns.values(), strict=True)]


def _notes(timesteps, labels, alpha_bar, length):
    """The texts and numbers beside the pictures, checked: one of each per step."""
    notes = {}
    if timesteps is not None:
        notes["timesteps"] = each(int, timesteps, "timesteps")
    if labels is not None:
        notes["labels"] = each(str, labels, "labels")
    if alpha_bar is not None:
        notes["alpha_bar"] = each(float, alpha_bar, "alpha_bar")
        if not all(0 <= a <= 1 for a in notes["alpha_bar"]):
            low, high = min(notes["alpha_bar"]), max(notes["alpha_bar"])
            raise ValueError(f"alpha_bar: got values from {low:.4g} to {high:.4g}, wanted all in [0, 1]")
    for name, note in notes.items():
        length = len(note) if length is None else length
        if len(note) != length:
            raise ValueError(f"{name}: got {len(note)}, wanted {length}, one per step")
    return notes


def each(kind, values, name):
    try:
        return [kind(value) for value in values]
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {values!r:.80}, wanted a sequence of {kind.__name__}, one per step") from None


def as_index(index, length, default):
    if index is None:
        return default
    if not 0 <= index < length:
        raise ValueError(f"index: got {index}, wanted 0 to {length - 1}")
    return int(index)


def is_pixelated(size):
    return max(size) <= PIXELATED_SIDE
