"""MaskPicker: the threshold that makes a mask of a difference map, dragged in the browser, and corrected by a brush.

Notation: a map has h x w cells, and a picture f x f pixels for each cell. n is the number of noises that the
differences are averaged over (DiffEdit, 2210.11427, Section 3.2); `samples` here, as in `kit.diffusion.diffedit`.
"""

import base64
import binascii

import numpy as np
import traitlets

from kit.panels._panel import Panel, source
from kit.panels._pictures import as_array, as_picture, encode, png, sheet, strip

MAX_BYTES = 16 * 2**20
VIEWS = ("overlay", "contour", "cut-out", "curtain")
PAPER = 0.5  # the paper's threshold
TINT = (230, 73, 128)  # of the mask, here and in mask.js


def normalised(maps, clip):
    """One map in [0, 1], float64 (h, w), of absolute differences (n, h, w); the browser's to the last bit.

    The mean over the noises, cut off above its quantile `clip`, then rescaled so that its smallest value is 0 and
    its largest 1; without contrast, 0 everywhere. As `kit.diffusion.diffedit.to_mask`. With clip=None the one map
    given stays as it is.
    """
    mean = sum(maps.astype(np.float64)) / len(maps)
    if clip is None:
        return mean
    low, high = mean.min(), _quantile(mean, clip)
    span = high - low
    if span <= 16 * float(np.finfo(np.float32).eps) * high:  # no contrast but that of rounding
        return np.zeros_like(mean)
    return (np.minimum(mean, high) - low) / span


def _quantile(values, share):
    """Linear between the two nearest. (np.quantile rounds differently, and the browser could not follow.)"""
    ordered = np.sort(values, axis=None)
    place = share * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


class MaskPicker(Panel):
    """Drag the threshold of a difference map, see at once what the mask covers, and paint in what it misses.

    picture: in [0, 1], (3, h', w'), (h', w', 3) or (h', w'), or a batch of them; array, or tensor on any device.
        h' = f h and w' = f w for a whole f.
    difference: absolute differences, by noise (samples, h, w) or averaged (h, w), or those of a batch
        (n, samples, h, w), of any scale; or the `Mask` that `kit.diffusion.diffedit.mask` returns.
    index: which picture of the batch, 0 to n - 1. threshold: to open on, 0 to 1; by default the Mask's, or the
        paper's 0.5. samples: the n to open on, 1 to samples; by default all.
    clip: the quantile above which the map's values are cut off; None takes a map (h, w) in [0, 1] as it is.
    truth: the true mask, bool or 0 and 1, (h, w) or (n, 1, h, w), for an IoU.

    A Mask that other arithmetic made (another `clip`, a deviation) is shown just as it is, without the choice of n.
    The traits threshold, samples and brush make the mask, in the browser and here alike: `picker.mask` is what
    `kit.diffusion.diffedit.edit` takes. They are sent when a hand lets go, and while keys move them every 100 ms.
    Raises TypeError or ValueError for bad input, and TraitError for a choice there is not.
    """

    _esm = source("_draw.js", "_dial.js", "_masked.js", "_level.js", "_veil.js", "mask.js")
    _css = source("_panel.css", "mask.css")

    threshold = traitlets.Float(PAPER, help="cells above it are in the mask, 0 to 1").tag(sync=True)
    samples = traitlets.Int(help="n, how many of the noises the map is the mean of").tag(sync=True)
    brush = traitlets.Unicode(help="base64 of a bit a cell: painted in, then a bit a cell: erased; '': none").tag(
        sync=True, echo_update=False
    )
    view = traitlets.Enum(VIEWS, "overlay").tag(sync=True)
    smooth = traitlets.Bool(help="whether the map is shown interpolated between its cells").tag(sync=True)
    grid = traitlets.Bool(help="whether the map's cells are shown").tag(sync=True)
    doubt = traitlets.Bool(help="whether cells in doubt are shown").tag(sync=True)
    outline = traitlets.Bool(help="whether the outline of the true mask is shown").tag(sync=True)

    shape = traitlets.List(traitlets.Int(), help="(noises, h, w) of the maps").tag(sync=True)
    size = traitlets.List(traitlets.Int(), help="[width, height] of the picture in pixels").tag(sync=True)
    clip = traitlets.Float(allow_none=True).tag(sync=True)
    _operands = traitlets.Dict().tag(sync=True, echo_update=False)
    _timing = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(
        self, picture, difference, *, index=0, threshold=None, samples=None, clip=0.9, truth=None, title="", **kwargs
    ):
        if hasattr(difference, "per_noise"):
            threshold = difference.threshold if threshold is None else threshold
            maps, clip = _maps_of(difference, index, _clip(clip))
        else:
            maps, clip = _maps(difference, "difference", index), _clip(clip)
        self._maps = _checked(maps, clip)
        self._picture = _picture(picture, index, self._maps.shape[1:])
        self._truth = None if truth is None else _truth(truth, index, self._maps.shape[1:])
        parts = {"maps": self._maps.tobytes(), "picture": encode(self._picture)}
        if self._truth is not None:
            parts["truth"] = np.packbits(self._truth).tobytes()
        super().__init__(
            threshold=_share("threshold", PAPER if threshold is None else threshold),
            samples=len(self._maps) if samples is None else samples,
            shape=list(self._maps.shape),
            size=[self._picture.shape[1], self._picture.shape[0]],
            clip=clip,
            title=title,
            _operands=parts,
            **kwargs,
        )

    # --- what is chosen

    @property
    def normalised(self):
        """The map of the first n noises that the threshold divides, float64 (h, w) in [0, 1]."""
        return normalised(self._maps[: self.samples], self.clip)

    @property
    def mask(self):
        """The mask actually used, bool (h, w): normalised > threshold, what was painted in, less what was erased."""
        added, erased = _strokes(self.brush, self._maps.shape[1:])
        return ((self.normalised > self.threshold) | added) & ~erased

    @property
    def iou(self):
        """Cells in both the mask and the truth by cells in either, 0 to 1 (1 if both are empty); None without truth."""
        if self._truth is None:
            return None
        either = (self.mask | self._truth).sum()
        return float((self.mask & self._truth).sum() / either) if either else 1.0

    @traitlets.validate("threshold")
    def _in_range(self, proposal):
        return _share("threshold", proposal.value, traitlets.TraitError)

    @traitlets.validate("samples")
    def _of_the_noises(self, proposal):
        if not 1 <= proposal.value <= len(self._maps):
            raise traitlets.TraitError(f"samples: got {proposal.value}, wanted 1 to {len(self._maps)}")
        return proposal.value

    @traitlets.validate("brush")
    def _of_the_cells(self, proposal):
        try:
            _strokes(proposal.value, self._maps.shape[1:])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None
        return proposal.value

    def stats(self):
        """What the panel carries, and how fast it answered: bytes, moves, and p50_ms, p95_ms from input to paint."""
        return {"bytes": sum(map(len, self._operands.values())), "moves": 0, **self._timing}

    # --- without a browser

    def snapshot(self):
        """PNG bytes of the picture, the map, the picture under the mask, and the mask, side by side."""
        return png(sheet(*self._sheet(), 256, smooth=False))

    def _static(self):
        return strip(*self._sheet(), smooth=False)

    def _sheet(self):
        """Rows and captions for `sheet`."""
        mask, f = self.mask, len(self._picture) // self._maps.shape[1]
        colour = np.broadcast_to(self._picture.reshape(*self._picture.shape[:2], -1), (*self._picture.shape[:2], 3))
        inside = mask.repeat(f, 0).repeat(f, 1)[..., None]
        veiled = np.where(inside, np.rint(0.45 * colour + 0.55 * np.array(TINT)), colour).astype(np.uint8)
        grey = np.rint(255 * self.normalised).astype(np.uint8)
        pictures = {
            "picture": self._picture,
            f"map, n = {self.samples}": grey,
            f"at {self.threshold:.3g}: {mask.mean():.0%}": veiled,
            f"mask, {mask.shape[0]} x {mask.shape[1]}": 255 * mask.astype(np.uint8),
        }
        return [(self.title, [encode(picture) for picture in pictures.values()])], [*pictures]

    def __repr__(self):
        n, h, w = self._maps.shape
        parts = [f"threshold {self.threshold:g}", f"covers {self.mask.mean():.0%} of {h} x {w}"]
        parts += [f"{self.samples} of {n} noises"] if n > 1 else []
        return f"MaskPicker({', '.join([*parts, *(['painted'] if self.brush else [])])})"

    def close(self):
        """End the panel, in the browser too. The mask stays readable; what was sent to the browser is freed."""
        super().close()
        self._operands = {}


def _strokes(brush, shape):
    """(painted in, erased), each bool (h, w)."""
    cells = shape[0] * shape[1]
    length = -(-cells // 8)
    try:
        data = base64.b64decode(brush, validate=True) or bytes(2 * length)
    except binascii.Error:
        data = b""
    if len(data) != 2 * length:
        raise ValueError(f"brush: got {brush!r:.40}, wanted base64 of {2 * length} bytes, twice a bit a cell, or ''")
    planes = np.frombuffer(data, np.uint8).reshape(2, length)
    return np.unpackbits(planes, axis=1, count=cells).reshape(2, *shape).astype(bool)


# What is accepted


def _maps(value, name, index):
    """float32 (samples, h, w) of one picture."""
    array = as_array(value, name)
    maps = _one(array, index, name) if array.ndim == 4 else array[None] if array.ndim == 2 else array
    if maps.ndim != 3 or 0 in maps.shape:
        wanted = "wanted a map (h, w), one for each noise (samples, h, w), or a batch (n, samples, h, w)"
        raise ValueError(f"{name}: got shape {array.shape}, {wanted}")
    return np.ascontiguousarray(maps, "<f4")


def _maps_of(found, index, clip):
    """(maps, clip) of a Mask: its map for each noise, or, if other arithmetic was applied to them, its last map."""
    maps = _maps(found.per_noise, "per_noise", index)
    last = _maps(found.normalised, "normalised", index)
    if clip is not None and np.allclose(normalised(maps, clip), last[0], rtol=0, atol=1e-5):
        return maps, clip
    return last, None


def _checked(maps, clip):
    if not np.isfinite(maps).all():
        bad = int((~np.isfinite(maps)).sum())
        raise ValueError(f"difference: got {bad} NaN or infinite values of {maps.size}, wanted all finite")
    if maps.min() < 0:
        raise ValueError(
            f"difference: got {maps.min():.4g}, wanted absolute differences, none below 0: take abs() first"
        )
    if clip is None and (len(maps) > 1 or maps.max() > 1):
        got = f"shape {maps.shape} with values to {maps.max():.4g}"
        raise ValueError(f"difference: got {got} and clip=None, wanted one map (h, w) in [0, 1]")
    if maps.nbytes > MAX_BYTES:
        got = f"{maps.nbytes / 2**20:.0f} MB of maps"
        raise ValueError(f"difference: got {got}, wanted at most {MAX_BYTES / 2**20:.0f} MB: give fewer noises")
    return maps


def _picture(value, index, shape):
    """uint8 (f h, f w) or (f h, f w, 3)."""
    if np.ndim(value) == 4 and len(value) > 1:
        value = _one(value, index, "picture")
    picture = as_picture(value, "picture")
    (height, width), (h, w) = picture.shape[:2], shape
    if height % h or width % w or height // h != width // w:
        wanted = "wanted a whole number of pixels a cell, as many across as down"
        raise ValueError(f"picture: got {width} x {height} pixels for a map of {w} x {h} cells, {wanted}")
    return picture


def _truth(value, index, shape):
    array = as_array(value, "truth")
    array = _one(array, index, "truth") if array.ndim == 4 else array
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.shape != shape:
        raise ValueError(f"truth: got shape {array.shape}, wanted {shape}, the map's")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("truth: got values other than 0 and 1, wanted a bool mask")
    return array.astype(bool)


def _one(batch, index, name):
    """One of a batch; of a batch of one, that."""
    if len(batch) == 1:
        return batch[0]
    if not 0 <= index < len(batch):
        raise ValueError(f"index: got {index}, wanted 0 to {len(batch) - 1}, as {name} holds {len(batch)} pictures")
    return batch[index]


def _clip(clip):
    return None if clip is None else _share("clip", clip)


def _share(name, value, error=ValueError):
    """`value` as a float in [0, 1]."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {value!r}, wanted a number from 0 to 1") from None
    if not 0 <= number <= 1:
        raise error(f"{name}: got {number:g}, wanted a number from 0 to 1")
    return number
