"""MaskPicker seen from Python: its arithmetic, the mask it hands on, what comes from the browser, what it refuses."""

import base64
import gc
import io
import json
import warnings
import weakref

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.diffusion import Schedule, diffedit
from kit.panels import MaskPicker
from kit.panels.mask import normalised

RNG = np.random.default_rng(0)
SIZE, F = (6, 5), 4
MAPS = RNG.random((7, *SIZE)).astype(np.float32)
PICTURE = RNG.random((3, SIZE[0] * F, SIZE[1] * F))


def picker(picture=PICTURE, difference=MAPS, **settings):
    return MaskPicker(picture, difference, **settings)


def differences(n=2, samples=7, dtype=torch.float32):
    """Signed, (n, samples, 4, h, w)."""
    return torch.from_numpy(RNG.normal(size=(n, samples, 4, *SIZE))).to(dtype)


def painted(added=(), erased=()):
    """The trait `brush` for cells given as (row, column)."""
    planes = np.zeros((2, *SIZE), bool)
    for plane, cells in zip(planes, (added, erased), strict=True):
        for cell in cells:
            plane[cell] = True
    return base64.b64encode(b"".join(np.packbits(plane).tobytes() for plane in planes)).decode()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# The arithmetic


@pytest.mark.parametrize("clip", [0.5, 0.9, 0.95, 1.0])
def test_the_map_of_the_first_n_noises_is_the_algorithms(clip):
    difference = differences()
    for index in range(2):
        for n in range(1, 8):
            want = diffedit.to_mask(difference[:, :n], clip=clip).normalised[index, 0].double().numpy()
            maps = difference[index].abs().mean(1).numpy()
            np.testing.assert_allclose(normalised(maps[:n], clip), want, atol=1e-6)


@pytest.mark.parametrize("clip", [0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_of_a_mask_the_picker_shows_what_the_edit_uses(clip, dtype):
    for threshold in (0.0, 0.25, 0.5, 0.9):
        found = diffedit.to_mask(differences(dtype=dtype), clip=clip, threshold=threshold)
        for index in range(2):
            panel = picker(difference=found, index=index, clip=clip)
            assert (panel.samples, panel.shape, panel.threshold) == (7, [7, *SIZE], threshold)
            np.testing.assert_allclose(panel.normalised, found.normalised[index, 0].double(), atol=1e-6)
            assert (panel.mask == found.mask[index, 0].numpy()).all()


def test_fewer_noises_are_the_mask_of_fewer_noises():
    difference = differences()
    panel = picker(difference=diffedit.to_mask(difference), index=1)
    for n in range(1, 8):
        panel.samples = n
        assert (panel.mask == diffedit.to_mask(difference[:, :n]).mask[1, 0].numpy()).all()


@pytest.mark.parametrize("name", ["extremes kept", "clamp at 3x the mean", "whole-batch statistics", "abs after mean"])
def test_a_mask_made_otherwise_is_shown_as_it_is_without_n(name):
    found = diffedit.to_mask(differences(), threshold=0.3, deviations=name)
    panel = picker(difference=found, index=1)
    assert panel.clip is None and panel.shape == [1, *SIZE]
    np.testing.assert_allclose(panel.normalised, found.normalised[1, 0].double(), atol=1e-6)
    assert (panel.mask == found.mask[1, 0].numpy()).all()


def test_a_map_without_contrast_is_0_everywhere_as_by_the_algorithm():
    flat = torch.full((1, 3, 4, *SIZE), 0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = diffedit.to_mask(flat).normalised
    assert (want == 0).all()
    for maps in (flat[0].mean(1).numpy(), np.zeros((2, *SIZE))):
        assert (picker(difference=maps).normalised == 0).all()


def test_only_the_proportions_of_a_map_count():
    for scale in (1e-3, 1e3):
        np.testing.assert_allclose(picker(difference=scale * MAPS).normalised, picker().normalised, atol=1e-5)


def test_with_clip_none_the_map_is_taken_as_it_is():
    panel = picker(difference=MAPS[0], clip=None)
    assert (panel.normalised == MAPS[0]).all() and (panel.mask == (MAPS[0] > 0.5)).all()


# The mask that is handed on


def test_the_brush_prevails_over_the_threshold():
    panel = picker(difference=MAPS[0], clip=None, brush=painted(added=[(0, 1), (5, 4)], erased=[(2, 3)]))
    for threshold in (0.0, 0.4, 1.0):
        panel.threshold = threshold
        want = MAPS[0] > threshold
        want[0, 1] = want[5, 4] = True
        want[2, 3] = False
        assert panel.mask.dtype == bool and (panel.mask == want).all()
    panel.brush = ""
    assert not panel.mask.any()


def analytic(x, t, cond):
    """Noise predicted by a linear denoiser: a tenth of x and of the condition's mean."""
    return 0.1 * x + 0.1 * cond.mean((1, 2)).view(-1, 1, 1, 1)


def test_the_mask_goes_straight_into_the_edit():
    schedule, x0 = Schedule.stable_diffusion(), torch.randn(1, 4, *SIZE)
    texts = torch.randn(2, 1, 3, 8)
    encoded = diffedit.encode(analytic, schedule, x0, [801, 601, 401, 201, 1], texts[0], ratio=0.8)
    panel = picker(brush=painted(added=[(1, 1)]))
    edited = diffedit.edit(analytic, schedule, encoded, panel.mask, texts[1])
    changed = (edited != x0).any(1)[0].numpy()
    assert panel.mask.any() and not panel.mask.all() and (changed == panel.mask).all()


def test_the_iou_is_that_of_the_mask_actually_used():
    truth = np.zeros(SIZE, bool)
    truth[:2] = True
    panel = picker(difference=truth.astype(float), clip=None, truth=truth)
    assert panel.iou == 1
    panel.brush = painted(added=[(5, 0), (5, 1)], erased=[(0, 0)])
    assert panel.iou == pytest.approx(9 / 12)
    assert picker().iou is None
    assert picker(difference=np.zeros(SIZE), truth=np.zeros(SIZE)).iou == 1


def test_what_the_browser_chooses_is_a_trait_here():
    panel = picker(difference=MAPS)
    brush = painted(added=[(3, 3)])
    panel.comm.choose(threshold=0.25, samples=3, brush=brush, view="curtain", smooth=True, grid=True, doubt=True)
    want = normalised(MAPS[:3], 0.9) > 0.25
    want[3, 3] = True
    assert (panel.mask == want).all() and (panel.view, panel.smooth, panel.grid, panel.doubt) == (
        "curtain",
        *[True] * 3,
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("threshold", 1.01, "threshold: got 1.01, wanted a number from 0 to 1"),
        ("threshold", -0.1, "threshold: got -0.1, wanted"),
        ("threshold", float("nan"), "threshold: got nan, wanted"),
        ("samples", 0, "samples: got 0, wanted 1 to 7"),
        ("samples", 8, "samples: got 8, wanted 1 to 7"),
        ("brush", "AAAA", "brush: got 'AAAA', wanted base64 of 8 bytes"),
        ("brush", "AAAAAAAA", "brush: got 'AAAAAAAA', wanted base64 of 8 bytes"),
        ("brush", "a cat", "brush: got 'a cat', wanted base64"),
        ("view", "heat", "heat"),
    ],
)
def test_a_choice_that_is_none_is_refused(name, value, words):
    panel = picker()
    with pytest.raises(traitlets.TraitError, match=words):
        setattr(panel, name, value)


# What is sent


def sent(panel):
    [(_, data, buffers)] = [message for message in panel.comm.sent if message[0] == "comm_open"]
    paths = {path[-1]: bytes(buffer) for path, buffer in zip(data["buffer_paths"], buffers, strict=True)}
    return data["state"], paths


def test_the_browser_gets_the_maps_the_picture_and_the_truth_in_bits():
    truth = MAPS[0] > 0.3
    state, operands = sent(picker(truth=truth))
    assert (np.frombuffer(operands["maps"], "<f4").reshape(MAPS.shape) == MAPS).all()
    assert np.abs(pixels(operands["picture"]) / 255 - np.moveaxis(PICTURE, 0, -1)).max() <= 0.5 / 255 + 1e-9
    assert (np.unpackbits(np.frombuffer(operands["truth"], np.uint8))[:30].reshape(SIZE) == truth).all()
    assert (state["shape"], state["size"], state["samples"]) == ([7, *SIZE], [20, 24], 7)
    json.dumps({name: value for name, value in state.items() if name != "_operands"})


@pytest.mark.parametrize(
    "shape",
    [lambda x: x, torch.tensor, lambda x: x.tolist(), lambda x: np.stack([0 * x, x])],
    ids=["array", "tensor", "list", "batch"],
)
def test_the_operands_may_come_in_any_container(shape):
    panel = picker(shape(PICTURE), shape(MAPS), truth=shape((MAPS[:1] > 0.3).astype(float)), index=1)
    assert (panel._maps == MAPS).all() and panel._picture.shape == (24, 20, 3)
    assert (panel._truth == (MAPS[0] > 0.3)).all()


def test_one_map_in_any_shape_is_one_noise():
    for maps in (MAPS[0], MAPS[:1], MAPS[:1][None]):
        assert picker(difference=maps).shape == [1, *SIZE]


def test_what_is_given_is_never_changed():
    maps, picture = torch.tensor(MAPS), torch.tensor(PICTURE)
    panel = picker(picture, maps)
    panel.comm.choose(threshold=0.1, brush=painted(erased=[(0, 0)]))
    panel.mask[:] = True
    assert not panel.mask[0, 0]
    assert (maps.numpy() == MAPS).all() and (picture.numpy() == PICTURE).all()


def test_stats_count_the_bytes_sent_and_the_browsers_moves():
    panel = picker()
    assert panel.stats() == {"bytes": MAPS.nbytes + len(panel._operands["picture"]), "moves": 0}
    panel.comm.choose(_timing={"moves": 9, "p50_ms": 2.5, "p95_ms": 4.0})
    assert panel.stats()["p95_ms"] == 4.0


# Without a browser


def test_the_snapshot_shows_the_picture_the_map_the_tinted_picture_and_the_mask():
    shade = np.full((3, 24, 20), 0.2)
    panel = picker(shade, MAPS[0], clip=None, threshold=0.3)
    image = pixels(panel.snapshot())
    mask = panel.mask
    tint = np.rint(0.45 * 51 + 0.55 * np.array([230, 73, 128]))
    for number, wanted in [(0, np.full((6, 5, 3), 51)), (1, np.rint(255 * MAPS[0])[..., None]),
                           (2, np.where(mask[..., None], tint, 51)), (3, 255 * mask[..., None])]:  # fmt: skip
        middles = [6 + number * 262 + round((256 - 256 / 6 * 5) / 2 + 256 / 6 * (c + 0.5)) for c in range(5)]
        rows = [6 + round(256 / 6 * (r + 0.5)) for r in range(6)]
        assert np.abs(image[np.ix_(rows, middles)].astype(int) - wanted).max() <= 1


def test_the_bundle_holds_a_small_picture_and_says_what_the_panel_is():
    panel = picker(RNG.random((3, 384, 320)), truth=MAPS[0] > 0.5, title="horse")
    data, _ = panel._repr_mimebundle_()
    assert len(base64.b64decode(data["image/png"])) <= 200_000
    assert data["text/plain"] == f"MaskPicker(threshold 0.5, covers {panel.mask.mean():.0%} of 6 x 5, 7 of 7 noises)"
    panel.brush = painted(added=[(0, 0)])
    assert repr(panel).endswith("7 of 7 noises, painted)")


def test_a_closed_panel_is_collected_and_its_mask_stays_readable_till_then():
    panel = picker()
    panel._repr_mimebundle_()
    mask, alive = panel.mask, weakref.ref(panel)
    panel.close()
    assert (panel.mask == mask).all() and panel._operands == {}
    del panel
    gc.collect()
    assert alive() is None


# What is refused


BATCH = np.stack([MAPS, MAPS])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(threshold=1.5), ValueError, "threshold: got 1.5, wanted a number from 0 to 1"),
        (dict(threshold="half"), TypeError, "threshold: got 'half', wanted a number from 0 to 1"),
        (dict(threshold=float("nan")), ValueError, "threshold: got nan"),
        (dict(clip=-0.1), ValueError, "clip: got -0.1, wanted a number from 0 to 1"),
        (dict(difference="map.png"), TypeError, "difference: got str"),
        (dict(difference=np.zeros(5)), ValueError, "difference: got shape (5,), wanted a map (h, w)"),
        (dict(difference=np.zeros((0, 6, 5))), ValueError, "difference: got shape (0, 6, 5)"),
        (dict(difference=np.full(SIZE, np.nan)), ValueError, "difference: got 30 NaN or infinite values of 30"),
        (dict(difference=MAPS - 2), ValueError, "wanted absolute differences, none below 0: take abs() first"),
        (dict(difference=MAPS, clip=None), ValueError, "and clip=None, wanted one map (h, w) in [0, 1]"),
        (dict(difference=2 + MAPS[0], clip=None), ValueError, "clip=None, wanted one map (h, w) in [0, 1]"),
        (dict(difference=np.ones((5, 1000, 1000))), ValueError, "got 19 MB of maps, wanted at most 16 MB"),
        (dict(difference=BATCH, index=2), ValueError, "index: got 2, wanted 0 to 1, as difference holds 2 pictures"),
        (dict(picture=PICTURE[:, :23]), ValueError, "picture: got 20 x 23 pixels for a map of 5 x 6 cells"),
        (dict(picture=PICTURE[:, :12]), ValueError, "wanted a whole number of pixels a cell, as many across as down"),
        (dict(picture=PICTURE[:, :3, :3]), ValueError, "picture: got 3 x 3 pixels for a map of 5 x 6 cells"),
        (dict(picture=2 * PICTURE - 1), ValueError, "picture: got values from -"),
        (dict(picture="horse.png"), TypeError, "picture: got str"),
        (dict(truth=np.zeros((24, 20))), ValueError, "truth: got shape (24, 20), wanted (6, 5), the map's"),
        (dict(truth=np.full(SIZE, 0.5)), ValueError, "truth: got values other than 0 and 1, wanted a bool mask"),
        (dict(samples=8), traitlets.TraitError, "samples: got 8, wanted 1 to 7"),
        (dict(view="heat"), traitlets.TraitError, "heat"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error) as raised:
        picker(**arguments)
    assert words in str(raised.value)
