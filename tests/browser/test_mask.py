"""The mask picker in Chromium, on a bare page without a kernel: what the hand does, what the eye sees."""

import base64
import io
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from kit.diffusion import diffedit
from kit.panels import MaskPicker
from kit.panels._panel import source
from kit.panels.mask import normalised
from tests.browser.lab import Lab, Notebook
from tests.browser.pages import opened
from tests.browser.stage import Stage
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

N, SIZE, SIDE = 5, (8, 8), 512  # noises, cells, and pixels of the canvas, 64 for a cell
RNG = np.random.default_rng(3)
MAPS = RNG.random((N, *SIZE)).astype(np.float32) ** 2
PICTURE = np.rint(255 * RNG.random((16, 16, 3))) / 255
TRUTH = RNG.random(SIZE) > 0.6
TINT, WHITE, BLACK, GOLD = [230, 73, 128], [255, 255, 255], [20, 20, 24], [255, 212, 59]


def picker(**settings):
    return MaskPicker(PICTURE, MAPS, **{"truth": TRUTH, "title": "Mask of a test", **settings})


class Picker(Stage):
    """A stage, and the places and pictures of this panel."""

    def __init__(self, page, panel):
        super().__init__(page, panel)
        self.panel = panel
        self.settled()

    @property
    def line(self):
        return self.find("[role=slider][aria-label=Threshold]")

    def settled(self):
        self.page.wait_for_timeout(120)

    def now(self):
        self.rest()
        return float(self.line.get_attribute("aria-valuenow"))

    def at(self, threshold):
        """Where on the page the threshold's line would stand."""
        box = self.find(".kit-level").bounding_box()
        return box["x"] + threshold * box["width"], box["y"] + 60

    def cell(self, row, column):
        """The middle of a cell of the picture, on the page."""
        box = self.find(".kit-frame").bounding_box()
        return box["x"] + (column + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8

    def image(self, selector=".kit-frame canvas"):
        """The bytes of a canvas, (h, w, 3)."""
        self.settled()
        url = self.find(selector).evaluate("canvas => canvas.toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))

    def used(self):
        """The mask that the panel says it uses."""
        return self.image(".kit-thumbnail canvas")[..., 0] == 255

    def agrees(self):
        """Python, told what the browser saved, has the mask that the browser shows; returns it."""
        used = self.used()
        for entry in self.log():
            for name, value in entry.get("state", {}).items():
                setattr(self.panel, name, value)
        assert (self.panel.mask == used).all()
        return used

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def drag(self, *places):
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()

    def set(self, name, value):
        self.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


@pytest.fixture
def stage(staged):
    return staged(Picker, viewport={"width": 1100, "height": 900})


# The arithmetic in the browser


MODULE = """async ([text, call, given]) => {
  const names = "normalised, quantile, deviations, doubtful, otsu, components, overlap, packed, unpacked";
  const whole = `${text}\\nexport { ${names} };`;
  const module = await import(URL.createObjectURL(new Blob([whole], { type: "text/javascript" })));
  return new Function("m", "given", `return ${call}`)(module, given);
}"""


@pytest.fixture(scope="module")
def js(browser):
    """js(expression of the module m and of what is given, given) -> its value, through JSON."""
    with opened(browser) as (page, errors):
        text = source("_dial.js", "_masked.js")
        yield lambda call, given: page.evaluate(MODULE, [text, call, given])
        assert not errors


def mapped(js, maps, clip):
    """The browser's normalised map of the first n, for each n."""
    given = [maps.ravel().tolist(), maps[0].size, len(maps), clip]
    call = """Array.from({ length: given[2] }, (_, i) =>
      [...m.normalised(Float32Array.from(given[0]), given[1], i + 1, given[3]).map])"""
    return [np.reshape(row, maps.shape[1:]) for row in js(call, given)]


@pytest.mark.parametrize("clip", [0.0, 0.37, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(6, 9, 7), (1, 1, 5), (3, 16, 16)])
def test_the_map_is_pythons_to_the_last_bit_and_the_algorithms(js, clip, shape):
    signed = torch.from_numpy(RNG.normal(size=(1, shape[0], 3, *shape[1:])).round(1)).float()
    maps = signed[0].abs().mean(1).numpy()
    for n, got in enumerate(mapped(js, maps, clip), 1):
        assert (got == normalised(maps[:n], clip)).all()
        want = diffedit.to_mask(signed[:, :n], clip=clip, threshold=0.0).normalised[0, 0] if clip else 0 * got
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_a_map_without_contrast_is_0_everywhere(js):
    assert not np.any(mapped(js, np.full((3, 4, 4), 0.7, np.float32), 0.9))
    assert not np.any(mapped(js, np.zeros((2, 4, 4), np.float32), 1.0))


def test_a_map_taken_as_it_is_stays_so(js):
    [got] = mapped(js, MAPS[:1], None)
    assert (got == MAPS[0]).all()


def test_the_percentile_is_numpys(js):
    for values in (RNG.random(101), RNG.integers(0, 4, 64) / 3, np.zeros(5), RNG.random(1)):
        for share in (0, 0.1, 0.5, 0.75, 0.999, 1):
            got = js("m.quantile(Float64Array.from(given[0]), given[1])", [values.tolist(), share])
            assert got == pytest.approx(np.quantile(values, share), abs=1e-12)


def test_otsu_leaves_the_least_variance_within_the_two_sides(js):
    def within(values, edge):
        sides = [values[values <= edge], values[values > edge]]
        return sum(side.var() * len(side) for side in sides if len(side))

    edges = np.arange(1, 256) / 256
    for values in (
        RNG.random(300),
        np.r_[RNG.normal(0.2, 0.05, 200), RNG.normal(0.8, 0.1, 50)].clip(0, 1),
        MAPS[0].ravel(),
    ):
        got = js("m.otsu(Float64Array.from(given))", values.tolist())
        assert within(values, got) == pytest.approx(min(within(values, edge) for edge in edges), rel=1e-9)
    assert js("m.otsu([0, 0, 0.75, 0.75])", None) == pytest.approx(0.375, abs=1 / 256)
    assert js("m.otsu([0, 0, 0])", None) == 0.5


def parts(mask):
    """How many parts: each cell takes its least neighbour's label until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(np.where(mask, labels, mask.size + 1), 1, constant_values=mask.size + 1)
        near = [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        least = np.where(mask, np.min(near, 0), 0)
        if (least == labels).all():
            return len(np.unique(labels[mask]))
        labels = least


def test_parts_hang_together_across_edges(js):
    masks = [RNG.random((9, 7)) < density for density in (0, 0.2, 0.5, 0.7, 1)] + [np.eye(7, dtype=bool)]
    for mask in masks:
        got = js(
            "m.components(Uint8Array.from(given[0]), given[1])", [mask.ravel().astype(int).tolist(), mask.shape[1]]
        )
        assert got == parts(mask)


def test_in_doubt_is_what_lies_within_two_standard_errors(js):
    call = """[...m.doubtful(m.normalised(Float32Array.from(given[0]), 64, given[1], 0.9),
                             m.deviations(Float32Array.from(given[0]), 64, 5), given[1], given[2])]"""
    for n in (1, 3, 5):
        mean = MAPS[:n].astype(float).mean(0)
        low, high = mean.min(), np.quantile(mean, 0.9)
        for threshold in (0.2, 0.5):
            far = np.abs(mean - (low + threshold * (high - low)))
            want = far <= 2 * MAPS.astype(float).std(0, ddof=1) / np.sqrt(n)
            got = np.reshape(js(call, [MAPS.ravel().tolist(), n, threshold]), SIZE)
            assert (got == want).all() and 0 < want.mean() < 1


def test_strokes_survive_their_packing(js):
    for area in (1, 8, 9, 63, 64):
        layer = RNG.integers(-1, 2, area).tolist()
        text = js("m.packed(Int8Array.from(given))", layer)
        assert js("[...m.unpacked(given[0], given[1])]", [text, area]) == layer
    assert js("m.packed(new Int8Array(9))", None) == ""


# The picture


def enlarged(cells):
    """By cell -> by pixel of the canvas."""
    f = SIDE // len(cells)
    return np.asarray(cells).repeat(f, 0).repeat(f, 1)


def edges(mask):
    """Pixels with a neighbour above, below, left or right on the other side."""
    padded = np.pad(mask, 1, mode="edge")
    return np.any([padded[1:-1, 1:-1] != side for side in
                   (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])], 0)  # fmt: skip


def outlined(picture, mask):
    """The picture with the line of a mask: white inside, black outside."""
    return np.where(edges(mask)[..., None], np.where(mask[..., None], WHITE, BLACK), picture)


PLAIN = enlarged(np.rint(255 * PICTURE).astype(int))
CHECKS = np.where((np.add.outer(np.arange(SIDE) // 8, np.arange(SIDE) // 8) % 2)[..., None], 214, 240)


def assert_shows(panel, want):
    assert np.abs(panel.image().astype(int) - want).max() <= 1


@pytest.mark.parametrize(
    ("view", "inside", "outside"),
    [
        ("overlay", np.rint(0.45 * PLAIN + 0.55 * np.array(TINT)), PLAIN),
        ("contour", PLAIN, PLAIN),
        ("cut-out", PLAIN, CHECKS),
    ],
)
def test_every_pixel_of_a_view_is_as_the_mask_says(stage, view, inside, outside):
    panel = stage(picker(view=view, samples=2))
    for threshold in (0.5, 0.2):
        panel.set("threshold", threshold)
        panel.panel.threshold, panel.panel.samples = threshold, 2
        mask = enlarged(panel.panel.mask)
        assert_shows(panel, outlined(np.where(mask[..., None], inside, outside), mask))
        assert (panel.used() == panel.panel.mask).all()


def test_smooth_is_the_bilinear_enlargement_of_the_map(stage):
    panel = stage(picker(view="contour", smooth=True))
    field = panel.panel.normalised
    for painted, threshold in [(None, 0.5), (None, 0.3), ((5, 2), 0.3), ((0, 7), 0.3), ((0, 7), 0.6)]:
        if painted and field[painted] <= 1:
            panel.press("1")
            panel.press("add")
            panel.page.mouse.click(*panel.cell(*painted))
            panel.page.mouse.move(0, 0)
            field[painted] = 1 + 1e-9
        panel.set("threshold", threshold)
        raised = torch.nn.functional.interpolate(torch.tensor(field)[None, None], size=(SIDE, SIDE),
                                                 mode="bilinear", align_corners=False)[0, 0].numpy()  # fmt: skip
        assert_shows(panel, outlined(PLAIN, raised > threshold))
        assert (panel.used() == (field > threshold)).all()
    expect(panel.find(".kit-said").first).to_have_text("shown interpolated; the mask used is by cell")


def test_the_curtain_parts_the_picture_from_the_map(stage):
    panel = stage(picker(view="curtain", threshold=1))
    image = panel.image().astype(int)
    assert (np.abs(image[:, :256] - PLAIN[:, :256]) <= 1).all()
    brightness = image[32::64, 32::64].sum(-1)[:, 4:].ravel()  # the colours of the map rise in brightness
    values = panel.panel.normalised[:, 4:].ravel()
    order = np.argsort(values, kind="stable")
    assert (np.diff(brightness[order]) >= 0).all() and len(np.unique(brightness)) > 20
    box = panel.find(".kit-frame").bounding_box()
    panel.drag((box["x"] + 256, box["y"] + 100), (box["x"] + 128, box["y"] + 300))
    image = panel.image().astype(int)
    assert (np.abs(image[:, :128] - PLAIN[:, :128]) <= 1).all()
    assert (image[32::64, 160] != PLAIN[32::64, 160]).any()
    handle = panel.page.get_by_role("slider", name="Curtain, share of the picture")
    expect(handle).to_have_attribute("aria-valuenow", "25")
    handle.focus()
    panel.page.keyboard.press("End")
    assert_shows(panel, PLAIN)
    assert panel.log() == []
    panel.press("overlay")
    expect(handle).to_be_hidden()


def test_the_grid_shows_the_cells(stage):
    panel = stage(picker(view="contour", threshold=1, grid=True))
    changed = (np.abs(panel.image().astype(int) - PLAIN) > 1).any(-1)
    lines = [row for row in range(SIDE) if changed[row].mean() > 0.5]
    assert {round(line / 64) for line in lines} == {*range(1, 8)} and all(
        abs(line - 64 * round(line / 64)) <= 1 for line in lines
    )
    assert not changed[4:60, 4:60].any()


def test_the_true_outline_is_golden(stage):
    panel = stage(picker(view="contour", threshold=0.3, outline=True))
    panel.set("threshold", 1)
    truth = enlarged(TRUTH)
    assert_shows(panel, np.where(edges(truth)[..., None], GOLD, PLAIN))


def test_cells_in_doubt_and_no_others_are_hatched(stage):
    panel = stage(picker(view="contour", threshold=0.4))
    panel.set("doubt", True)
    mean = MAPS.astype(float).mean(0)
    level = mean.min() + 0.4 * (np.quantile(mean, 0.9) - mean.min())
    doubt = np.abs(mean - level) <= 2 * MAPS.astype(float).std(0, ddof=1) / np.sqrt(N)
    plain, band = outlined(PLAIN, enlarged(mean > level)), np.add.outer(np.arange(SIDE), np.arange(SIDE)) % 8
    hatched = plain.copy()
    for at, ink in enumerate([WHITE, BLACK]):
        stripe = enlarged(doubt) & (band == at)
        hatched[stripe] = np.rint(0.25 * plain[stripe] + 0.75 * np.array(ink))
    assert_shows(panel, hatched)
    assert 0 < doubt.mean() < 1
    expect(panel.find(".kit-noises .kit-side")).to_have_text(f"{100 * doubt.mean():.1f} % of the cells in doubt")


def test_smooth_rows_that_a_move_leaves_alone_are_as_if_drawn_at_once(stage):
    """Small moves of all that the smooth view depends on, each against a new panel's first drawing."""
    panel, now, rng = stage(picker(smooth=True, doubt=True)), {"smooth": True, "doubt": True}, np.random.default_rng(5)
    moves = [("threshold", 0.45), ("threshold", 0.46), ("samples", 4), ("view", "contour"), ("threshold", 0.9),
             ("samples", 2), ("doubt", False), ("threshold", 0.91), ("doubt", True), ("threshold", 0.2)]  # fmt: skip
    for name, value in moves:
        panel.set(name, value)
        now[name] = value
        if rng.random() < 0.4:
            panel.press("1")
            panel.press(rng.choice(["add", "erase"]))
            panel.page.mouse.click(*panel.cell(*rng.integers(0, 8, 2)))
            panel.press("off")
            panel.page.mouse.move(0, 0)
        painted = [entry["state"]["brush"] for entry in panel.log() if "brush" in entry.get("state", {})]
        shown = panel.image()
        fresh = stage(picker(**{"threshold": 0.5} | now | ({"brush": painted[-1]} if painted else {})))
        assert (shown == fresh.image()).all(), (name, value)


def test_a_smooth_line_goes_from_one_row_of_cells_to_the_next(stage):
    """Pixel by pixel, so that a row of cells is changed by what turns in its neighbour alone."""
    panel = stage(MaskPicker(PICTURE, np.arange(8.0)[:, None].repeat(8, 1), view="contour", smooth=True))
    field = torch.tensor(panel.panel.normalised)[None, None]
    raised = torch.nn.functional.interpolate(field, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0]
    for row in [*range(190, 195), *range(194, 189, -1)]:  # the third row of cells ends after the pixels of row 191
        threshold = (raised[row - 1, 0] + raised[row, 0]).item() / 2
        panel.set("threshold", threshold)
        assert_shows(panel, outlined(PLAIN, (raised > threshold).numpy()))


# The threshold


def test_the_line_is_dragged_and_the_picture_follows_while_the_kernel_hears_nothing(stage):
    panel = stage(picker(view="contour"))
    panel.page.mouse.move(*panel.at(0.5))
    panel.page.mouse.down()
    places = np.linspace(0.5, 0.2, 40)
    for place in places:
        panel.page.mouse.move(*panel.at(place))
    mask = enlarged(normalised(MAPS, 0.9) > panel.now())
    assert abs(panel.now() - 0.2) < 0.01
    assert_shows(panel, outlined(PLAIN, mask))
    panel.page.wait_for_timeout(300)
    assert panel.log() == []
    panel.page.mouse.up()
    assert panel.saved("threshold") == [panel.now()] and panel.agrees().any()


def test_what_the_kernel_hears_of_a_held_key_is_a_word_every_100_ms(stage):
    panel = stage(picker())
    said = panel.page.evaluate("""async () => {
      const line = document.querySelector(".kit-threshold"), before = log.length, since = performance.now();
      for (let i = 0; performance.now() - since < 1000; i++) {
        line.dispatchEvent(new KeyboardEvent("keydown", { key: i % 40 < 20 ? "ArrowRight" : "ArrowLeft" }));
        await new Promise(done => setTimeout(done, 8));
      }
      return log.length - before;
    }""")
    assert 3 <= said <= 11


def test_the_line_stops_at_the_marks_but_not_under_alt(stage):
    panel = stage(picker())
    width = panel.find(".kit-level").bounding_box()["width"]
    near = 0.5 + 3 / width
    panel.drag(panel.at(0.9), panel.at(near))
    assert panel.now() == 0.5
    panel.page.keyboard.down("Alt")
    panel.drag(panel.at(0.9), panel.at(near))
    assert panel.now() == pytest.approx(near, abs=0.002) and panel.now() != 0.5


def test_the_line_is_moved_by_keys(stage):
    panel = stage(picker())
    panel.line.focus()
    for key, want in [("ArrowRight", 0.51), ("Shift+ArrowRight", 0.61), ("Alt+ArrowLeft", 0.609), ("PageDown", 0.509),
                      ("Home", 0), ("ArrowLeft", 0), ("End", 1), ("ArrowUp", 1)]:  # fmt: skip
        panel.page.keyboard.press(key)
        assert panel.now() == pytest.approx(want)
    expect(panel.line).to_have_attribute("aria-valuetext", "1.000, covers 0.0 %")
    assert panel.saved("threshold")[-1] == 1


def test_buttons_set_the_papers_otsus_and_a_percentiles_threshold(stage, js):
    panel = stage(picker(threshold=0.1))
    values = panel.panel.normalised
    otsu = js("m.otsu(Float64Array.from(given))", values.ravel().tolist())
    for name, want in [("paper", 0.5), ("Otsu", otsu), ("percentile", np.quantile(values, 0.75))]:
        button = panel.find(f".kit-group button:has-text('{name}')")
        button.click()
        assert panel.now() == pytest.approx(want, abs=1e-12)
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(button).to_have_text(f"{name} {want:.2f}")
    assert panel.agrees().mean() == pytest.approx(0.25, abs=1 / 64)
    panel.page.get_by_role("textbox", name="percentile").fill("40")
    panel.page.keyboard.press("Enter")
    marks = {
        mark.inner_text(): float(mark.evaluate("el => parseFloat(el.style.left)"))
        for mark in panel.find(".kit-snaps i").all()
    }
    assert marks == pytest.approx({"paper": 50, "Otsu": 100 * otsu, "40 %": 100 * np.quantile(values, 0.4)}, abs=1e-3)
    assert panel.now() == pytest.approx(np.quantile(values, 0.4), abs=1e-12)


def test_the_names_of_marks_lie_in_the_plot_and_not_over_each_other_however_near_these_are(stage, js):
    panel = stage(picker())
    field, plot = panel.page.get_by_role("textbox", name="percentile"), panel.find(".kit-level").bounding_box()
    values = panel.panel.normalised.ravel()
    marks = 0.5, js("m.otsu(Float64Array.from(given))", values.tolist())
    for percent in [*(100 * (values < mark).mean() for mark in marks), *range(5, 100, 10)]:
        field.fill(f"{percent:.1f}")
        panel.page.keyboard.press("Enter")
        panel.settled()
        boxes = [span.bounding_box() for span in panel.find(".kit-snaps span").all()]
        assert len(boxes) == 3 and all(within(box, plot, "y", "height") for box in boxes)
        for one, other in combinations(boxes, 2):
            assert beside(one, other, "x", "width") or beside(one, other, "y", "height"), (percent, one, other)


def within(box, around, side, size):
    return around[side] <= box[side] and box[side] + box[size] <= around[side] + around[size]


def beside(one, other, side, size):
    return one[side] + one[size] <= other[side] or other[side] + other[size] <= one[side]


def test_a_typed_threshold_is_taken_or_refused_in_words(stage):
    panel = stage(picker())
    field = panel.page.get_by_role("textbox", name="threshold")
    field.fill("0,25")
    field.press("Enter")
    assert panel.now() == 0.25 and panel.saved("threshold") == [0.25]
    field.fill("2")
    field.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text("threshold: got 2, wanted a number from 0 to 1")
    assert panel.now() == 0.25
    field.fill("0.3")
    field.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text("")


# The noises


def test_the_number_of_noises_is_dragged_and_the_mask_is_that_of_the_first_n(stage):
    panel = stage(picker())
    dial = panel.page.get_by_role("slider", name="Number of noises n")
    box = dial.bounding_box()
    for n in (1, 3, 2):
        panel.drag(
            (box["x"] + box["width"] - 5, box["y"] + 12), (box["x"] + (n - 0.5) / N * box["width"], box["y"] + 12)
        )
        expect(panel.find(".kit-noises h4 span").first).to_have_text(f"Noises n = {n} of 5")
        assert panel.saved("samples")[-1] == n
        assert (panel.agrees() == (normalised(MAPS[:n], 0.9) > 0.5)).all()
    dial.focus()
    for key, n in [("ArrowRight", 3), ("Home", 1), ("Alt+ArrowRight", 1), ("End", 5)]:
        panel.page.keyboard.press(key)
        expect(dial).to_have_attribute("aria-valuenow", str(n))


def test_the_curve_shows_the_share_in_doubt_for_every_n(stage):
    panel = stage(picker(threshold=0.4))
    d = panel.find(".kit-curve").get_attribute("d")
    points = np.array([[float(number) for number in point.split()] for point in d[1:].split("L")])
    shares = []
    for n in range(1, N + 1):
        mean = MAPS[:n].astype(float).mean(0)
        level = mean.min() + 0.4 * (np.quantile(mean, 0.9) - mean.min())
        shares.append((np.abs(mean - level) <= 2 * MAPS.astype(float).std(0, ddof=1) / np.sqrt(n)).mean())
    np.testing.assert_allclose(1 - points[:, 1] / 40, np.array(shares) / max(shares), atol=1e-6)
    np.testing.assert_allclose(points[:, 0], (np.arange(N) + 0.5) / N * 100)
    expect(panel.find(".kit-doubt .kit-top")).to_have_text(f"{100 * max(shares):.0f} %")


def test_the_curve_of_a_large_map_comes_whole_and_follows_the_threshold(stage):
    """So many cells that the shares are counted in several goes, and the line is moved in between."""
    maps = np.random.default_rng(8).random((16, 128, 128)).astype(np.float32) ** 2
    panel = stage(MaskPicker(PICTURE.repeat(8, 0).repeat(8, 1), maps, threshold=0.4))
    panel.set("threshold", 0.6)
    panel.set("threshold", 0.3)
    panel.page.wait_for_timeout(2000)
    points = panel.find(".kit-curve").get_attribute("d")[1:].split("L")
    shares, deviation = [], maps.astype(float).std(0, ddof=1)
    for n in range(1, 17):
        mean = maps[:n].astype(float).mean(0)
        level = mean.min() + 0.3 * (np.quantile(mean, 0.9) - mean.min())
        shares.append((np.abs(mean - level) <= 2 * deviation / np.sqrt(n)).mean())
    heights = [1 - float(point.split()[1]) / 40 for point in points]
    np.testing.assert_allclose(heights, np.array(shares) / max(shares), atol=1e-3)
    expect(panel.find(".kit-doubt .kit-top")).to_have_text(f"{100 * max(shares):.0f} %")


def test_one_map_has_neither_noises_nor_doubt(stage):
    panel = stage(MaskPicker(PICTURE, MAPS[0]))
    assert panel.find(".kit-noises").count() == 0
    assert panel.page.get_by_role("button", name="in doubt").count() == 0
    assert panel.page.get_by_role("button", name="truth").count() == 0
    assert panel.find("header").is_hidden()
    assert (panel.used() == panel.panel.mask).all()


# The brush


def test_strokes_add_and_erase_and_are_undone_and_redone(stage):
    panel = stage(picker(threshold=0.5))
    before = panel.used()
    out, inside = np.argwhere(~before)[0], np.argwhere(before)[0]
    panel.press("1")
    panel.press("add")
    panel.page.mouse.click(*panel.cell(*out))
    panel.press("erase")
    panel.page.mouse.click(*panel.cell(*inside))
    want = before.copy()
    want[tuple(out)], want[tuple(inside)] = True, False
    assert (panel.agrees() == want).all()
    expect(panel.find("dt:text-is('painted') + dd")).to_have_text("+1 −1 cells")
    panel.press("undo")
    want[tuple(inside)] = True
    assert (panel.agrees() == want).all()
    panel.press("undo")
    assert (panel.agrees() == before).all() and panel.panel.brush == ""
    expect(panel.page.get_by_role("button", name="undo", exact=True)).to_be_disabled()
    panel.press("redo")
    assert (panel.agrees() == want).all()
    panel.press("clear")
    assert (panel.agrees() == before).all()
    panel.press("undo")
    assert (panel.agrees() == want).all()
    redo = panel.page.get_by_role("button", name="redo", exact=True)
    expect(redo).to_be_enabled()
    panel.page.mouse.click(*panel.cell(*inside))
    expect(redo).to_be_disabled()


def test_a_fast_stroke_has_no_gaps_and_is_one_message(stage):
    panel = stage(picker(threshold=1))
    panel.press("1")
    panel.press("add")
    panel.drag(panel.cell(0, 0), panel.cell(7, 7))
    assert (panel.agrees() == np.eye(8, dtype=bool)).all()
    assert len(panel.saved("brush")) == 1
    panel.press("undo")
    assert not panel.agrees().any()


def test_the_brush_is_a_disc_as_wide_as_it_says_cut_off_at_the_borders(stage):
    panel = stage(picker(threshold=1))
    panel.press("add")
    for width, corners in [(3, True), (5, False)]:
        panel.press(str(width))
        panel.page.mouse.click(*panel.cell(3, 3))
        reach = width // 2
        want = np.zeros(SIZE, bool)
        want[3 - reach : 4 + reach, 3 - reach : 4 + reach] = True
        if not corners:
            want[[1, 1, 5, 5], [1, 5, 1, 5]] = False
        assert (panel.agrees() == want).all()
        panel.press("clear")
    panel.page.mouse.click(*panel.cell(0, 7))
    assert panel.agrees().sum() == 8 and panel.panel.mask[0, 5:].all() and not panel.panel.mask[:, :5].any()


def test_what_is_painted_stays_at_every_threshold_and_n(stage):
    panel = stage(picker(threshold=0.5))
    panel.press("3")
    panel.press("add")
    panel.page.mouse.click(*panel.cell(1, 1))
    panel.press("erase")
    panel.page.mouse.click(*panel.cell(6, 6))
    panel.line.focus()
    for key in ("Home", "End", "PageDown"):
        panel.page.keyboard.press(key)
        used = panel.agrees()
        assert used[:3, :3].all() and not used[5:, 5:].any()
    panel.page.get_by_role("slider", name="Number of noises n").focus()
    panel.page.keyboard.press("Home")
    assert panel.agrees()[:3, :3].all()


def test_the_brush_is_led_by_keys_and_tells_where_it_is(stage):
    panel = stage(picker(threshold=1))
    panel.press("1")
    frame = panel.find(".kit-frame")
    frame.focus()
    said = panel.find(".kit-said").first
    for key, cell in [("ArrowRight", (4, 5)), ("ArrowUp", (3, 5)), ("Shift+ArrowLeft", (3, 0)), ("ArrowLeft", (3, 0))]:
        panel.page.keyboard.press(key)
        value = panel.panel.normalised[cell]
        expect(said).to_have_text(f"row {cell[0]}, column {cell[1]}: {value:.3f}, not in the mask")
    panel.page.keyboard.press("Enter")
    expect(said).to_contain_text("in the mask, painted in")
    panel.page.keyboard.press("ArrowDown")
    panel.page.keyboard.press("Space")
    assert {tuple(cell) for cell in np.argwhere(panel.agrees())} == {(3, 0), (4, 0)}
    panel.page.keyboard.press("Delete")
    expect(said).to_contain_text("not in the mask, erased")
    assert {tuple(cell) for cell in np.argwhere(panel.agrees())} == {(3, 0)}
    panel.page.keyboard.press("Control+z")
    assert panel.agrees().sum() == 2
    panel.page.keyboard.press("Control+Shift+Z")
    assert panel.agrees().sum() == 1


def test_a_brush_set_from_python_is_shown(stage):
    panel = stage(picker(threshold=1))
    planes = np.zeros((2, 64), bool)
    planes[0, 8:16] = True
    brush = base64.b64encode(np.packbits(planes, axis=1).tobytes()).decode()
    panel.set("brush", brush)
    panel.panel.brush = brush
    assert (panel.used() == panel.panel.mask).all() and panel.used().sum() == 8
    expect(panel.page.get_by_role("button", name="undo", exact=True)).to_be_disabled()
    panel.set("brush", "")
    assert not panel.used().any()


# What is read


def test_readings_are_of_the_mask_actually_used(stage):
    panel = stage(picker())
    panel.press("add")
    panel.page.mouse.click(*panel.cell(7, 0))
    panel.settled()
    mask = panel.agrees()
    read = {
        name: panel.find(f"dt:text-is('{name}') + dd").inner_text()
        for name in ("coverage", "components", "IoU with the truth")
    }
    assert read["coverage"] == f"{100 * mask.mean():.1f} %" and read["components"] == str(parts(mask))
    assert read["IoU with the truth"] == f"{panel.panel.iou:.2f}"
    expect(panel.find(".kit-used .kit-said")).to_have_text("picker.mask, bool, 8 × 8 cells")


# The eye


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    focusable = stage(picker(view="curtain")).page.evaluate("focusable()")
    assert len(focusable) >= 20 and {value for _, value in focusable} == {"true"}


def test_the_panel_tells_assistive_technology_what_it_is(stage):
    tree = stage(picker(view="curtain")).find(".kit-panel").aria_snapshot()
    for what in (
        'slider "Threshold"',
        'slider "Number of noises n"',
        'slider "Curtain, share of the picture"',
        'application "Cells of the picture.',
        'textbox "threshold"',
        'textbox "percentile"',
        'button "curtain" [pressed]',
        'group "View"',
        'group "Brush"',
        'img "Mask actually used, covers',
        'img "The picture, the picture beside the map that the threshold divides"',
    ):
        assert what in tree, what


@pytest.mark.parametrize("width", [320, 600, 1100, 1600])
def test_it_fits_any_width(stage, width):
    panel = stage(picker(view="curtain"), viewport={"width": width, "height": 1200})
    assert panel.page.evaluate("beyondTheEdge()") == []
    box = panel.find(".kit-frame").bounding_box()
    assert box["width"] == box["height"] == min(512, width - 32)


def test_nothing_moves_while_dragging(stage):
    panel = stage(picker())
    places = "() => [...document.querySelectorAll('.kit-panel :is(section, .kit-frame, dt, input, button)')]" \
             ".map(el => el.getBoundingClientRect()).map(({ x, y, height }) => [x, y, height]).join()"  # fmt: skip
    layouts = set()
    panel.page.mouse.move(*panel.at(0))
    panel.page.mouse.down()
    for threshold in (0, 0.2, 0.5, 0.77, 1):
        panel.page.mouse.move(*panel.at(threshold))
        panel.settled()
        layouts.add(panel.page.evaluate(places))
    assert len(layouts) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    panel = stage(picker(), color_scheme=scheme)
    panel.page.get_by_role("textbox", name="threshold").fill("x")
    panel.page.keyboard.press("Enter")
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    texts = (
        ".kit-title, .kit-said, code, .kit-group span, .kit-group button, [aria-pressed=true], h4, .kit-side, input, "
    )
    texts += ".kit-percent, .kit-wrong, .kit-levels span, .kit-snaps span, .kit-values span, .kit-top, "
    texts += ".kit-scale span, dt, dd"
    for selector in texts.split(", "):
        ink = luminance(panel.find(selector).first.evaluate("el => getComputedStyle(el).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.4, selector


# Models and views


def test_two_views_move_together_and_an_ended_one_listens_no_more(stage):
    panel = stage(picker())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.evaluate("scrollTo(0, 0)")
    panel.page.mouse.click(*panel.at(0.3))
    expect(panel.find(".kit-threshold", second)).to_have_attribute("aria-valuenow", str(panel.now()))
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    panel.page.mouse.click(*panel.at(0.7))
    assert abs(panel.now() - 0.7) < 0.01


def test_the_kernel_does_not_move_a_line_held_in_the_hand(stage):
    panel = stage(picker())
    panel.page.mouse.move(*panel.at(0.3))
    panel.page.mouse.down()
    panel.set("threshold", 0.9)
    panel.settled()
    assert abs(panel.now() - 0.3) < 0.01
    panel.page.mouse.up()
    panel.set("threshold", 0.8)
    panel.settled()
    assert panel.now() == 0.8


def test_the_pictures_bitmap_is_freed_and_its_colours_kept(stage):
    panel = stage(picker(view="contour", threshold=1))
    assert panel.page.evaluate("alive()") == 0
    assert_shows(panel, PLAIN)


def test_the_panel_measures_how_fast_it_answers(stage):
    panel = stage(picker())
    panel.drag(panel.at(0.2), *[panel.at(place) for place in np.linspace(0.2, 0.8, 20)])
    panel.settled()
    panel.page.mouse.click(*panel.at(0.4))
    timing = panel.page.evaluate("log.at(-1).state._timing")
    assert timing["moves"] >= 3 and 0 < timing["p50_ms"] <= timing["p95_ms"]


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    page_of = picker(title="</script><b>mask</b>").export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(page_of.as_uri())
        line = page.get_by_role("slider", name="Threshold")
        line.focus()
        page.keyboard.press("Home")
        page.wait_for_timeout(100)
        values = normalised(MAPS, 0.9)
        expect(page.locator("dt:text-is('coverage') + dd")).to_have_text(f"{100 * (values > 0).mean():.1f} %")
        assert page.locator(".kit-title").inner_text() == "</script><b>mask</b>" and errors == []


# In JupyterLab


CELL = """
import numpy as np
from kit.panels import MaskPicker
rng = np.random.default_rng(0)
picker = MaskPicker(rng.random((3, 128, 128)), rng.random((10, 16, 16)))
picker
"""
SHOWN = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, 16, 16);
  return Array.from({ length: 256 }, (_, i) => data[4 * i] === 255);
}"""


@pytest.mark.lab
def test_in_jupyterlab_the_next_cell_has_the_mask_that_is_shown(browser, chromium, tmp_path):
    lab = Lab(tmp_path / "lab")
    try:
        with opened(browser, kinds=("error",), viewport={"width": 1400, "height": 1000}) as (page, errors):
            notebook = Notebook(page, lab, lab.write("mask.ipynb", CELL))
            notebook.run()
            panel = notebook.panel()
            plot, frame = panel.locator(".kit-level").bounding_box(), panel.locator(".kit-frame").bounding_box()
            for place in (0.5, 0.62):
                page.mouse.move(plot["x"] + place * plot["width"], plot["y"] + 60, steps=20)
                page.mouse.down()
            page.mouse.up()
            panel.get_by_role("button", name="add", exact=True).click()
            page.mouse.click(frame["x"] + 100, frame["y"] + 100)
            panel.locator(".kit-frame").focus()
            for key in "am":  # in a cell these would insert another, and make it text
                page.keyboard.press(key)
            page.wait_for_timeout(500)
            shown = panel.locator(".kit-thumbnail canvas").evaluate(SHOWN)
            assert notebook.ask("picker.mask.ravel().tolist()") == shown and 0 < sum(shown) < 256
            assert abs(notebook.ask("picker.threshold") - 0.62) < 0.01 and notebook.ask("picker.brush") != ""
            assert notebook.cells() == ["code"] and notebook.errors() == [] and errors == []
            notebook.close()
    finally:
        lab.close()
