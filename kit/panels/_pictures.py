"""Pictures as bytes: checked arrays in, PNG or JPEG out. No widgets, no torch.

Accepted arrays: (h, w), (1, h, w), (3, h, w), (h, w, 1), (h, w, 3), each with or without a leading 1; values
in [0, 1]. An array that could be read both ways, such as (3, h, 3), is read channels first, as the kit's are.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_SIDE = 2048
LOSSLESS_SIDE = 128  # up to here PNG: a tensor's pixels should arrive as they are, and the bytes are few
ROUNDING = 1 / 510  # half a grey level: closer to [0, 1] than this, the byte is the same
STRIP_BYTES = 200_000  # of a committed notebook's 2 MB
STRIP_COLUMNS = 8


def as_picture(value, name):
    """uint8 array (h, w) or (h, w, 3) of one picture in [0, 1]; `name` begins every error.

    Raises TypeError for what is no array of numbers, ValueError for shape, size, NaN or range.
    """
    array = _drop_ones(as_array(value, name), name)
    if max(array.shape[:2]) > MAX_SIDE:
        got = f"{array.shape[1]}x{array.shape[0]} pixels"
        raise ValueError(f"{name}: got {got}, wanted at most {MAX_SIDE} a side: make the picture smaller first")
    check_range(array, name)
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def as_array(value, name):
    """float32 array of an array, a nested list or a tensor on any device (duck-typed)."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    try:
        return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        got = type(value).__name__
        raise TypeError(f"{name}: got {got} ({error}), wanted an array of numbers, for example (3, h, w)") from None


def _drop_ones(array, name):
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if 0 in shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)):
        hint = "; give one picture of the batch, for example x[:1]" if len(shape) == 4 else ""
        raise ValueError(f"{name}: got shape {shape}, wanted one picture: (3, h, w), (h, w, 3) or (h, w){hint}")
    return array


def check_range(array, name):
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name}: got {bad} NaN or infinite values of {array.size}, wanted all in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        bytes_meant = low >= 0 and high > 2
        hint = "this looks like 0..255: divide by 255" if bytes_meant else "map it there first, as in 0.5 + x / 6"
        raise ValueError(f"{name}: got values from {low:.4g} to {high:.4g}, wanted [0, 1]; {hint}")


def encode(picture):
    """Bytes of a uint8 picture: PNG up to 128 pixels a side, JPEG of quality 85 above."""
    out = io.BytesIO()
    if max(picture.shape[:2]) <= LOSSLESS_SIDE:
        Image.fromarray(picture).save(out, "PNG", compress_level=3)
    else:
        # Full chroma: noise is coloured pixel by pixel.
        Image.fromarray(picture).save(out, "JPEG", quality=85, subsampling=0)
    return out.getvalue()


def png(image, colors=None):
    out = io.BytesIO()
    (image.quantize(colors) if colors else image).save(out, "PNG", optimize=True)
    return out.getvalue()


def sheet(rows, captions, side, smooth=True):
    """PIL image: a labelled grid of pictures, `side` pixels each, on white.

    rows: list of (name, list of encoded picture or None); None is drawn hatched.
    captions: one text under each column.
    """
    gap, head, foot = 6, 20 if any(name for name, _ in rows) else 6, 20
    width = gap + len(captions) * (side + gap)
    height = len(rows) * (head + side) + foot
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for r, (name, pictures) in enumerate(rows):
        top = r * (head + side) + head
        draw.text((gap, top - 4), printable(name), fill="#555", anchor="ls", font=font(12))
        for c, data in enumerate(pictures):
            image.paste(tile(data, side, smooth), (gap + c * (side + gap), top))
    for c, caption in enumerate(captions):
        draw.text(
            (gap + c * (side + gap) + side // 2, height - 6),
            printable(caption),
            fill="#555",
            anchor="ms",
            font=font(11),
        )
    return image


def strip(rows, captions, smooth=True):
    """PNG of `sheet` in at most 200 KB: noise does not compress, so size and colours give way."""
    for side, colors in [(128, None), (128, 256), (96, 256), (80, 128), (64, 64), (48, 32)]:
        data = png(sheet(rows, captions, side, smooth), colors)
        if len(data) <= STRIP_BYTES:
            break
    return data


def printable(text):
    """The text without letters the built-in font cannot draw (a hat over a letter), which print as boxes."""
    plain = {
        "ε": "eps",
        "σ": "sigma",
        "ᾱ": "alpha-bar",
        "α": "alpha",
        "\u0302": "-hat",
        "\u0304": "-bar",
        "→": "->",
        "₀": "0",
        "ₜ": "t",
    }
    for letter, word in plain.items():
        text = text.replace(letter, word)
    return text.encode("latin-1", "replace").decode("latin-1")


def font(size):
    return ImageFont.load_default(size)


def tile(data, side, smooth):
    out = Image.new("RGB", (side, side), "white")
    if data is None:
        draw = ImageDraw.Draw(out)
        for x in range(-side, side, 8):
            draw.line((x, side, x + side, 0), fill="#ccc")
        return out
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / max(picture.size)
    size = [max(1, round(s * scale)) for s in picture.size]
    picture = picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    out.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return out
