"""Pictures on their way to the browser: nothing lost, nothing silently repaired."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from kit.panels import _pictures
from kit.panels._pictures import as_picture, encode, sheet, strip

RNG = np.random.default_rng(0)
PICTURE = RNG.random((5, 7, 3))


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    "given",
    [
        PICTURE,
        PICTURE.tolist(),
        PICTURE.astype(np.float32)[None],
        PICTURE.transpose(2, 0, 1),
        PICTURE.transpose(2, 0, 1)[None],
        torch.tensor(PICTURE).permute(2, 0, 1),
        torch.tensor(PICTURE, requires_grad=True),
        torch.tensor(PICTURE, dtype=torch.float32).permute(2, 0, 1)[None],
    ],
    ids=["hwc", "list", "1hwc", "chw", "1chw", "tensor chw", "tensor with grad", "tensor 1chw"],
)
def test_every_layout_is_the_same_picture(given):
    expected = [[[int(v * 255 + 0.5) for v in pixel] for pixel in line] for line in PICTURE.tolist()]
    np.testing.assert_array_equal(as_picture(given, "frame"), expected)


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 1), (1, 1, 5, 7)])
def test_grey_pictures_stay_grey(shape):
    grey = RNG.random((5, 7))
    np.testing.assert_array_equal(as_picture(grey.reshape(shape), "frame"), (grey * 255 + 0.5).astype(np.uint8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_any_precision_are_read(dtype):
    picture = as_picture(torch.full((3, 4, 4), 0.5, dtype=dtype), "frame")
    assert (picture == 128).all()


def test_rounding_outside_the_range_is_accepted_and_half_a_grey_level_is_not():
    assert as_picture(np.full((4, 4), 1 + 1e-4), "frame").max() == 255
    assert as_picture(np.full((4, 4), -1e-4), "frame").max() == 0
    with pytest.raises(ValueError, match=r"got values from 1\.003 to 1\.003, wanted \[0, 1\]"):
        as_picture(np.full((4, 4), 1.003), "frame")


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.zeros((4, 4, 4)), ValueError, r"got shape \(4, 4, 4\), wanted one picture: \(3, h, w\)"),
        (np.zeros((2, 3, 4, 4)), ValueError, r"got shape \(2, 3, 4, 4\).*one picture of the batch.*x\[:1\]"),
        (np.zeros(4), ValueError, r"got shape \(4,\)"),
        (np.zeros((3, 0, 4)), ValueError, r"got shape \(3, 0, 4\)"),
        (np.float32(0.5), ValueError, r"got shape \(\)"),
        (np.array([[0.5, np.nan]]), ValueError, r"got 1 NaN or infinite values of 2"),
        (np.array([[0.5, np.inf]]), ValueError, r"got 1 NaN or infinite values of 2"),
        (
            np.array([[0, 255]], np.uint8),
            ValueError,
            r"from 0 to 255, wanted \[0, 1\].*0\.\.255: divide by 255",
        ),
        (np.array([[-1.0, 1.0]]), ValueError, r"from -1 to 1, wanted \[0, 1\]; map it there first"),
        (np.zeros((4, 2049)), ValueError, r"got 2049x4 pixels, wanted at most 2048 a side"),
        ("picture.png", TypeError, r"got str .*wanted an array of numbers"),
        ([[0.1, 0.2], [0.3]], TypeError, r"got list .*wanted an array of numbers"),
        (None, (TypeError, ValueError), r"wanted"),
    ],
)
def test_bad_pictures_are_named(bad, error, words):
    with pytest.raises(error, match=r"frames\[3\]: .*" + words):
        as_picture(bad, "frames[3]")


def test_small_pictures_arrive_lossless():
    noise = RNG.integers(0, 256, (128, 128, 3), np.uint8)
    data = encode(noise)
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(data), noise)


def test_large_pictures_arrive_as_jpeg_that_keeps_coloured_detail():
    y, x = np.mgrid[0:256, 0:256] // 8
    chequered = np.where(((x + y) % 2)[..., None], [200, 60, 60], [60, 60, 200]).astype(np.uint8)
    data = encode(chequered)
    assert data.startswith(b"\xff\xd8")
    error = decode(data).astype(float) - chequered
    assert 10 * np.log10(255**2 / (error**2).mean()) > 35


def test_strip_of_pure_noise_stays_under_200_kb():
    noise = [encode(RNG.integers(0, 256, (128, 128, 3), np.uint8)) for _ in range(8)]
    for rows in (1, 3, 6):
        data = strip([(f"track {r}", noise) for r in range(rows)], [str(t) for t in range(8)])
        assert len(data) <= 200_000
        assert Image.open(io.BytesIO(data)).size[0] >= 8 * 48


def test_sheet_shows_each_picture_in_its_place():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    flat = [encode(np.full((16, 16, 3), colour, np.uint8)) for colour in colours]
    image = sheet([("a", flat[:2]), ("b", flat[2:])], ["0", "1"], 32)
    centre = {
        (row, column): image.getpixel((6 + 38 * column + 16, 20 + 52 * row + 16)) for row in (0, 1) for column in (0, 1)
    }
    assert list(centre.values()) == colours


def test_letters_the_font_lacks_are_spelt_out():
    assert _pictures.printable("x̂₀ at ᾱ, ε") == "x-hat0 at alpha-bar, eps"
