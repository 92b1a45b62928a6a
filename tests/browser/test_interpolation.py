"""The interpolation slider in Chromium, on a bare page without a kernel: what the hand does, what the eye sees."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from kit.panels import InterpolationSlider
from kit.panels._pictures import as_picture, encode
from tests.browser.pages import opened
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

ETAS = [0, 0.25, 0.5, 0.75, 1, 1.25]
FIDELITY = [0.9, 0.85, 0.8, 0.5, 0.3, 0.2]
ALIGNMENT = [20, 21, 22, 27, 29, 28]


def grey(number, size=8):
    return np.full((3, size, size), number / 255)


def slider(rows=1, etas=ETAS, size=8, **settings):
    """A slider whose picture in row r at the i-th eta is of the grey 40 i + 5 r; input 250, true edit 15."""
    pictures = [[grey((40 * i + 5 * row) % 256, size) for i in range(len(etas))] for row in range(rows)]
    curves = dict(fidelity=FIDELITY, alignment=ALIGNMENT) if etas is ETAS else {}
    stills = dict(source=grey(250, size), true=grey(15, size))
    settings = {
        **curves,
        **stills,
        "sample": lambda eta: None,
        "flat": 0.4,
        "title": "From a test to a test",
        **settings,
    }
    return InterpolationSlider(np.array(pictures), etas, **settings)


def dial(panel, view=0):
    return panel.find(".kit-dial", view)


def at(panel, eta, high=1.25):
    """Where on the page the slider's place for an eta is."""
    box = dial(panel).bounding_box()
    return box["x"] + eta / high * box["width"], box["y"] + box["height"] - 43


def now(panel):
    panel.rest()
    return float(dial(panel).get_attribute("aria-valuenow"))


def shows(panel, *greys):
    """Wait until the canvases hold these greys, in order; fails with what is there instead."""
    for _ in range(50):
        got = [panel.pixel(number)[0] for number in range(panel.find(".kit-frame canvas").count())]
        if got == list(greys):
            return True
        panel.page.wait_for_timeout(20)
    raise AssertionError(f"shows {got}, wanted {list(greys)}")


def press(panel, eta):
    """The pointer goes down at an eta, and stays."""
    panel.page.mouse.move(*at(panel, eta))
    panel.page.mouse.down()


def click(panel, eta):
    press(panel, eta)
    panel.page.mouse.up()


def title(panel):
    """The two lines under the picture at eta, once it is drawn."""
    panel.rest()
    caption = panel.find("figcaption").nth(2)
    return caption.locator("strong").inner_text(), caption.locator(".kit-said").inner_text()


def say(panel, kind, eta, *greys, **content):
    """Deliver a picture of each row as the kernel does."""
    coded = [encode(as_picture(grey(number), "picture")) for number in greys]
    blob = base64.b64encode(b"".join(coded)).decode()
    message = {"kind": kind, "key": eta, "lengths": [len(data) for data in coded], "base64": blob, **content}
    panel.page.evaluate("content => kernel.say(content)", message)


def set_trait(panel, name, value):
    panel.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


# The hand


def test_dragging_shows_the_pictures_made_at_once_and_says_nothing_until_release(stage):
    panel = stage(slider())
    press(panel, 0.75)
    for eta, nearest in [(0.1, 0), (0.3, 1), (0.5, 2), (0.99, 4), (1.2, 5), (0.0, 0), (0.62, 2), (0.9, 4)]:
        panel.page.mouse.move(*at(panel, eta), steps=4)
        assert abs(now(panel) - eta) <= 0.011
        assert shows(panel, 250, 0, 40 * nearest, 15)
    assert panel.log() == []
    panel.page.mouse.up()
    assert panel.saved("eta") == [now(panel)] and len(panel.log()) == 1


def test_the_curves_and_small_pictures_are_part_of_the_slider(stage):
    panel = stage(slider())
    box = dial(panel).bounding_box()
    panel.page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 20)
    panel.page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 120)
    assert panel.saved("eta") == [0.5, 1]


def test_a_drag_beyond_the_ends_stays_there_and_eta_may_be_beyond_1(stage):
    panel = stage(slider())
    press(panel, 0.75)
    panel.page.mouse.move(2000, 5)
    assert now(panel) == 1.25 and shows(panel, 250, 0, 200, 15)
    panel.page.mouse.move(-50, 5)
    assert now(panel) == 0 and shows(panel, 250, 0, 0, 15)


KEYS = [("ArrowRight", 0.76), ("ArrowUp", 0.76), ("ArrowLeft", 0.74), ("ArrowDown", 0.74), ("Shift+ArrowRight", 0.85),
        ("Alt+ArrowLeft", 0.749), ("PageUp", 0.85), ("PageDown", 0.65), ("Home", 0), ("End", 1.25)]  # fmt: skip


@pytest.mark.parametrize(("key", "eta"), KEYS, ids=[key for key, _ in KEYS])
def test_keys_move_and_commit(stage, key, eta):
    panel = stage(slider())
    dial(panel).focus()
    panel.page.keyboard.press(key)
    assert now(panel) == eta and panel.saved("eta") == [eta]


def test_without_a_re_run_an_arrow_leads_to_the_next_picture(stage):
    panel = stage(slider(sample=None, eta=0))
    dial(panel).focus()
    for i, eta in enumerate(ETAS):
        assert now(panel) == eta and shows(panel, 250, 0, 40 * i, 15)
        panel.page.keyboard.press("ArrowRight")
    assert panel.saved("eta") == ETAS[1:]
    assert panel.find(".kit-run").is_hidden()


def test_a_press_near_a_picture_that_was_made_means_exactly_that(stage):
    panel = stage(slider(etas=[0, 0.333, 1]))
    x, y = at(panel, 0.333, high=1)
    panel.page.mouse.click(x + 3, y)
    assert panel.saved("eta") == [0.333]


@pytest.mark.parametrize(("text", "eta"), [("0.31", 0.31), ("1,1", 1.1), ("0", 0)])
def test_a_typed_eta_is_taken(stage, text, eta):
    panel = stage(slider())
    field = panel.page.get_by_label("η", exact=True)
    field.fill(text)
    field.press("Enter")
    assert now(panel) == eta and panel.saved("eta") == [eta]


@pytest.mark.parametrize("text", ["half", "", "1.26", "-0.1", "NaN"])
def test_a_typed_eta_that_is_none_is_said_in_words(stage, text):
    panel = stage(slider())
    field = panel.page.get_by_label("η", exact=True)
    place = dial(panel).bounding_box()
    field.fill(text)
    field.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text(f"η: got {text or 'nothing'}, wanted a number from 0 to 1.25")
    assert now(panel) == 0.75 and panel.log() == [] and dial(panel).bounding_box() == place


# The curves, the band, the flat region


def circles(panel, selector):
    """Centres on the page of the circles."""
    boxes = [circle.bounding_box() for circle in panel.find(selector).all()]
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]


def axis(panel, name):
    """(slope, offset) from a value of a curve to a height on the page, by the numbers beside it."""
    texts = panel.find(f".kit-curves text.kit-{name}:not(.kit-word)").all()
    values = [float(text.text_content().replace("−", "-")) for text in texts]
    heights = [
        text.evaluate("el => +el.getAttribute('y') - 4 + el.ownerSVGElement.getBoundingClientRect().top")
        for text in texts
    ]
    assert len(values) >= 2
    return np.polyfit(values, heights, 1)


@pytest.mark.parametrize(("name", "values"), [("fidelity", FIDELITY), ("alignment", ALIGNMENT)])
def test_each_number_stands_over_its_eta_at_the_height_of_its_axis(stage, name, values):
    panel = stage(slider())
    slope, offset = axis(panel, name)
    assert slope < 0
    for (x, y), eta, value in zip(circles(panel, f".kit-dot.kit-{name}"), ETAS, values, strict=True):
        assert abs(x - at(panel, eta)[0]) < 0.7 and abs(y - (slope * value + offset)) < 0.7


@pytest.mark.parametrize("eta", [0, 0.1, 0.25, 0.6, 0.9, 1.25])
def test_the_points_go_along_the_curves_with_the_hand(stage, eta):
    panel = stage(slider())
    click(panel, 0.4)
    press(panel, eta)
    exact = now(panel)
    for name, values in (("fidelity", FIDELITY), ("alignment", ALIGNMENT)):
        slope, offset = axis(panel, name)
        value = np.interp(exact, ETAS, values)
        [(x, y)] = circles(panel, f".kit-point.kit-{name}")
        assert abs(x - at(panel, exact)[0]) < 0.7 and abs(y - (slope * value + offset)) < 0.7
        about = "" if exact in ETAS else "≈ "
        assert panel.reading(name) == f"{about}{value:.3f}"


def test_a_curve_that_is_level_has_an_axis_too(stage):
    panel = stage(slider(fidelity=[0.3, 0.3, 0.30000001, 0.3, 0.3, 0.3], alignment=[0] * 6))
    for name, value in (("fidelity", 0.3), ("alignment", 0)):
        slope, offset = axis(panel, name)
        assert all(abs(y - (slope * value + offset)) < 0.7 for _, y in circles(panel, f".kit-dot.kit-{name}"))


def test_of_several_rows_the_mean_is_drawn_over_each(stage):
    rows = np.array(FIDELITY) + np.array([[0.05], [-0.15]])
    panel = stage(slider(2, fidelity=rows))
    slope, offset = axis(panel, "fidelity")
    heights = [y for _, y in circles(panel, ".kit-dot.kit-fidelity")]
    np.testing.assert_allclose(heights, slope * rows.mean(0) + offset, atol=0.7)
    assert panel.find(".kit-faint.kit-fidelity").count() == 2 and panel.find(".kit-faint.kit-alignment").count() == 0


def row_of_plot(panel):
    """The colours of the page along the plot's lowest pixels, where no curve goes, and the x of the first."""
    box = panel.find(".kit-curves").bounding_box()
    clip = {
        "x": round(box["x"]) - 20,
        "y": box["y"] + box["height"] - 4,
        "width": round(box["width"]) + 40,
        "height": 1,
    }
    image = Image.open(io.BytesIO(panel.page.screenshot(clip=clip))).convert("RGB")
    return np.asarray(image)[0].astype(int), clip["x"]


def stretch(panel, low, high):
    """Whether from one eta to another the plot has one colour of its own, other than just outside."""
    colours, left = row_of_plot(panel)
    from_, to = (round(at(panel, eta)[0] - left) for eta in (low, high))
    inside = colours[from_ + 2 : to - 2]
    needle = round(at(panel, now(panel))[0] - left)
    inside = np.delete(
        inside, [i - from_ - 2 for i in (needle - 1, needle, needle + 1) if 0 <= i - from_ - 2 < len(inside)], 0
    )
    outside = [colours[i] for i in (from_ - 3, to + 3)]
    return (inside == inside[0]).all() and all(np.abs(inside[0] - colour).sum() > 8 for colour in outside)


@pytest.mark.parametrize("width", [600, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_band_and_the_flat_region_are_where_they_should_be_in_pixels(stage, width, scheme):
    panel = stage(slider(eta=1), viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert stretch(panel, 0.6, 0.8) and stretch(panel, 0, 0.4)
    assert not stretch(panel, 0.55, 0.8) and not stretch(panel, 0, 0.45) and not stretch(panel, 0.85, 0.95)
    expect(panel.find(".kit-band-word").first).to_have_text("the paper’s")
    expect(panel.find(".kit-band-word").last).to_have_text("0.6 to 0.8")
    assert panel.find(".kit-flat-word").all_text_contents() == ["still", "the picture"]


def test_another_band_is_not_called_the_papers_and_one_beyond_the_end_is_cut(stage):
    panel = stage(slider(eta=0, band=(0.9, 3), flat=None))
    assert stretch(panel, 0.9, 1.25) and panel.find(".kit-flat").count() == 0
    assert panel.find(".kit-band-word").all_text_contents() == ["marked", "0.9 to 3"]
    panel = stage(slider(band=None, flat=None))
    assert panel.find(".kit-band, .kit-flat, .kit-band-word, .kit-flat-word").count() == 0
    assert stage(slider(band=(2, 3))).find(".kit-band").count() == 0


def test_without_curves_the_band_is_marked_all_the_same(stage):
    panel = stage(slider(etas=[0, 0.3, 0.5, 0.9, 1.25], eta=0.3, sample=None))
    assert stretch(panel, 0.6, 0.8) and stretch(panel, 0, 0.4)
    assert panel.reading("picture of") == "η = 0.3"
    click(panel, 0.8)
    assert panel.reading("picture of") == "η = 0.9"


# The pictures


def test_the_input_the_reconstruction_and_the_true_edit_stay_in_view(stage):
    panel = stage(slider())
    captions = [caption.inner_text().split("\n") for caption in panel.find("figcaption").all()]
    assert captions == [["Input", "the picture"], ["η = 0", "reconstruction"], ["η = 0.75", "made before"],
                        ["True edit", "the words"]]  # fmt: skip
    for eta, i in ((0, 0), (1.25, 5)):
        click(panel, eta)
        assert shows(panel, 250, 0, 40 * i, 15)
    bare = stage(slider(source=None, true=None))
    assert bare.find("figure").count() == 2 and shows(bare, 0, 120)


def test_every_seed_has_a_row(stage):
    panel = stage(slider(3))
    assert shows(panel, 250, 0, 5, 10, 120, 125, 130, 15)
    click(panel, 1)
    assert shows(panel, 250, 0, 5, 10, 160, 165, 170, 15)
    tops = [
        [round(f.bounding_box()["y"]) for f in panel.find("figure").nth(n).locator(".kit-frame").all()] for n in (1, 2)
    ]
    assert tops[0] == tops[1] and len(set(tops[0])) == 3


def test_with_several_seeds_the_slider_stands_beside_them_where_there_is_room(stage):
    for width, beside in ((1100, True), (600, False)):
        panel = stage(slider(2), viewport={"width": width, "height": 1000})
        figures, place = [figure.bounding_box() for figure in panel.find("figure").all()], dial(panel).bounding_box()
        assert all(box["x"] + box["width"] < place["x"] for box in figures) == beside
        assert all(box["y"] + box["height"] < place["y"] for box in figures) != beside
        assert place["width"] >= 0.35 * width


def test_the_small_pictures_stand_over_their_etas(stage):
    panel = stage(slider(2))
    panel.page.wait_for_timeout(100)
    film = panel.find(".kit-film")
    box = film.bounding_box()
    read = """(canvas, [x, y]) => { const copy = new OffscreenCanvas(1, 1).getContext("2d");
      copy.drawImage(canvas, -Math.round(x), -Math.round(y)); return [...copy.getImageData(0, 0, 1, 1).data]; }"""
    for i, eta in enumerate(ETAS):
        for row in range(2):
            place = [at(panel, eta)[0] - box["x"], (row + 0.5) * box["height"] / 2]
            assert film.evaluate(read, place) == [40 * i + 5 * row] * 3 + [255]
    mark = panel.find(".kit-mark").bounding_box()
    assert abs(mark["x"] + mark["width"] / 2 - at(panel, 0.75)[0]) < 0.7


def test_small_pictures_that_would_overlap_are_left_out(stage):
    panel = stage(slider(etas=[0, 0.01, 0.02, 0.5, 1], eta=0), viewport={"width": 400, "height": 900})
    panel.page.wait_for_timeout(100)
    assert panel.find(".kit-found i").count() == 5
    film = panel.find(".kit-film")
    box = film.bounding_box()
    share = (at(panel, 0.02, high=1)[0] - box["x"]) / box["width"]
    assert film.evaluate("(canvas, share) => colourAt(canvas, share)", share)[0] == 0


# Re-runs


def test_between_etas_the_nearest_picture_is_shown_for_what_it_is(stage):
    panel = stage(slider(sample=None))
    expect(panel.find(".kit-other")).to_have_count(0)
    panel.page.get_by_label("η", exact=True).fill("0.6")
    panel.page.get_by_label("η", exact=True).press("Enter")
    assert title(panel) == ("η = 0.6", "the nearest, of η = 0.5")
    expect(panel.find(".kit-other")).to_have_count(1)
    assert shows(panel, 250, 0, 80, 15)


def test_a_re_run_streams_in_row_by_row_and_its_picture_is_kept(stage):
    panel = stage(slider(2))
    click(panel, 0.6)
    eta = now(panel)
    expect(panel.find(".kit-said").nth(2)).to_have_text("the nearest, of η = 0.5; asked for, not begun")
    set_trait(panel, "status", "running")
    for step in (1, 2):
        say(panel, "step", eta, 50 * step, 60 * step, step=step)
        expect(panel.find(".kit-said").nth(2)).to_have_text(f"true re-run, step {step}")
        assert shows(panel, 250, 0, 5, 50 * step, 60 * step, 15)
    expect(panel.find(".kit-bar")).to_be_visible()
    expect(panel.find(".kit-state")).to_have_text("running")
    expect(panel.find(".kit-run")).to_be_hidden()
    say(panel, "sample", eta, 33, 44)
    set_trait(panel, "status", "done")
    assert shows(panel, 250, 0, 5, 33, 44, 15) and title(panel) == (f"η = {eta:g}", "true re-run, finished")
    expect(panel.find(".kit-found i")).to_have_count(7)
    expect(panel.find(".kit-bar")).to_be_hidden()
    click(panel, 0.75)
    click(panel, eta)
    assert shows(panel, 250, 0, 5, 33, 44, 15)


def test_the_second_re_run_shows_how_far_it_is(stage):
    panel = stage(slider())
    for eta, steps in ((0.6, 4), (0.3, 1)):
        click(panel, eta)
        set_trait(panel, "status", "running")
        for step in range(1, steps + 1):
            say(panel, "step", now(panel), 7, step=step)
        if eta == 0.6:
            say(panel, "sample", now(panel), 7)
            set_trait(panel, "status", "done")
    expect(panel.find(".kit-said").nth(2)).to_have_text("true re-run, step 1 of 4")
    bar = panel.find(".kit-bar")
    expect(bar.locator("div")).to_have_attribute("style", "width: 25%;")


def test_stop_answers_at_once_and_a_button_runs_again(stage):
    panel = stage(slider())
    click(panel, 0.6)
    set_trait(panel, "status", "running")
    say(panel, "step", now(panel), 99, step=1)
    assert shows(panel, 250, 0, 99, 15)
    panel.find(".kit-stop").click()
    assert panel.log()[-1] == {"kind": "send", "content": {"kind": "stop"}}
    expect(panel.find(".kit-state")).to_have_text("stopping")
    set_trait(panel, "status", "cancelled")
    expect(panel.find(".kit-state")).to_have_text("stopped")
    expect(panel.find(".kit-stop")).to_be_hidden()
    assert shows(panel, 250, 0, 80, 15)
    expect(panel.find(".kit-run")).to_have_text(f"Re-run at η = {now(panel):g}")
    panel.find(".kit-run").click()
    assert panel.log()[-1] == {"kind": "send", "content": {"kind": "run"}}


def test_where_no_kernel_answers_that_is_said(stage):
    panel = stage(slider())
    click(panel, 0.6)
    words = "no answer: the kernel is busy, or there is none"
    expect(panel.find(".kit-said").nth(2)).to_contain_text(words, timeout=5000)


def test_an_error_is_shown_with_its_traceback_folded_and_the_slider_lives_on(stage):
    panel = stage(slider())
    set_trait(panel, "traceback", "Traceback: line 7 <b>in</b> sample")
    set_trait(panel, "error", "ValueError: <i>bad</i>")
    expect(panel.find(".kit-error strong")).to_have_text("ValueError: <i>bad</i>")
    expect(panel.find(".kit-error pre")).to_be_hidden()
    panel.find(".kit-error summary").click()
    expect(panel.find(".kit-error pre")).to_have_text("Traceback: line 7 <b>in</b> sample")
    click(panel, 1)
    assert now(panel) == 1 and shows(panel, 250, 0, 160, 15)


# The eye


def broken(**settings):
    panel = slider(**settings)
    panel.status, panel.error, panel.traceback = "running", "RuntimeError: no", "Traceback ..."
    return panel


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    focusable = stage(broken()).page.evaluate("focusable()")
    assert len(focusable) >= 5 and {value for _, value in focusable} == {"true"}


def test_the_panel_tells_assistive_technology_what_it_is(stage):
    panel = stage(slider(2))
    tree = panel.find(".kit-panel").aria_snapshot()
    for what in ('slider "eta, the share of the words"', 'textbox "η"', 'img "Input"', 'img "η = 0, seed 2"',
                 'img "Picture at η, seed 1"', 'img "True edit"'):  # fmt: skip
        assert what in tree, what
    said = dial(panel).get_attribute("aria-valuetext")
    assert said == "eta 0.75, between 0.6 and 0.8, marked, fidelity 0.500, alignment 27.000"
    dial(panel).focus()
    panel.page.keyboard.press("Home")
    panel.page.keyboard.press("ArrowRight")
    now(panel)
    said = dial(panel).get_attribute("aria-valuetext")
    assert said == "eta 0.01, picture of 0, still the picture, fidelity 0.898, alignment 20.040"


@pytest.mark.parametrize("width", [320, 600, 960, 1600])
@pytest.mark.parametrize("rows", [1, 4])
def test_it_fits_any_width_and_enlarges_by_whole_pixels(stage, width, rows):
    panel = stage(slider(rows), viewport={"width": width, "height": 1200}, device_scale_factor=2)
    assert panel.page.evaluate("beyondTheEdge()") == []
    side = panel.find(".kit-frame").first.bounding_box()["width"]
    assert side * 2 % 8 == 0 and side >= 90


def test_a_picture_that_is_not_square_keeps_its_shape(stage):
    wide = np.zeros((6, 3, 10, 30))
    panel = stage(InterpolationSlider(wide, ETAS, source=wide[0]))
    for frame in panel.find(".kit-frame").all():
        box = frame.bounding_box()
        assert abs(box["width"] / box["height"] - 3) < 0.02


@pytest.mark.parametrize("rows", [1, 3])
def test_nothing_moves_while_dragging(stage, rows):
    panel = stage(slider(rows), viewport={"width": 1100, "height": 1000})
    parts = ".kit-panel :is(figure, section, dt, input, .kit-dial, .kit-curves)"
    places = """parts => [...document.querySelectorAll(parts)].map(el => el.getBoundingClientRect())
      .map(({ x, y, height }) => [x, y, height]).join()"""
    layouts = set()
    press(panel, 0)
    for eta in (0, 0.13, 0.6, 0.75, 1, 1.23, 1.25):
        panel.page.mouse.move(*at(panel, eta))
        panel.page.wait_for_timeout(40)
        layouts.add(panel.page.evaluate(places, parts))
    assert len(layouts) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    panel = stage(broken(eta=0.6), color_scheme=scheme)
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    html = ".kit-title, figcaption strong, .kit-said, input, .kit-scale span, .kit-scale em, dt, dd, .kit-error strong"
    svg = ".kit-curves text.kit-fidelity, .kit-curves text.kit-alignment, .kit-band-word, .kit-flat-word"
    for kind, selectors in (("color", html), ("fill", svg)):
        for selector in selectors.split(", "):
            ink = luminance(panel.find(selector).first.evaluate("(el, kind) => getComputedStyle(el)[kind]", kind))
            light, dark = max(ink, ground), min(ink, ground)
            assert (light + 0.05) / (dark + 0.05) >= 4.4, selector


def test_reduced_motion_is_respected(stage):
    animation = "el => getComputedStyle(el).animationName"
    for motion, name in (("no-preference", "kit-pulse"), ("reduce", "none")):
        running = slider()
        running.status = "running"
        panel = stage(running, reduced_motion=motion)
        say(panel, "step", 0.75, 9, step=1)
        expect(panel.find(".kit-bar")).to_be_visible()
        assert panel.find(".kit-bar > div").evaluate(animation) == name


def test_two_views_move_together_and_an_ended_one_listens_no_more(stage):
    panel = stage(slider())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.evaluate("scrollTo(0, 0)")
    click(panel, 1)
    expect(dial(panel, second)).to_have_attribute("aria-valuenow", "1")
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    click(panel, 0.5)
    assert now(panel) == 0.5


def test_the_kernel_does_not_move_a_slider_held_in_the_hand(stage):
    panel = stage(slider())
    press(panel, 0.5)
    set_trait(panel, "eta", 1.1)
    panel.page.wait_for_timeout(60)
    assert now(panel) == 0.5
    panel.page.mouse.up()
    set_trait(panel, "eta", 1.0)
    panel.page.wait_for_timeout(60)
    assert now(panel) == 1 and shows(panel, 250, 0, 160, 15)


def test_only_as_many_pictures_are_kept_decoded_as_fit_and_none_when_the_model_ends(stage):
    etas = np.linspace(0, 1.2, 61)
    panel = stage(slider(etas=etas, size=720, eta=0, source=None, true=None))  # 2 MB each, decoded: 32 fit
    dial(panel).focus()
    for key, eta, shade in (("End", 1.2, 60 * 40 % 256), ("Home", 0, 0)):
        panel.page.keyboard.press(key)
        expect(dial(panel)).to_have_attribute("aria-valuenow", f"{eta:g}")
        panel.page.wait_for_timeout(1500)
        assert shows(panel, 0, shade)
        assert 20 <= panel.page.evaluate("alive()") <= 32
    panel.page.evaluate("end()")
    panel.page.wait_for_timeout(100)
    assert panel.page.evaluate("alive()") == 0


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    made = slider(2, title="</script><b>eta</b> & words", labels=("<i>a</i>", "b & c"))
    page_of = made.export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(page_of.as_uri())
        page.locator("dd").first.wait_for()
        page.locator(".kit-dial").focus()
        page.keyboard.press("End")
        canvas = page.locator(".kit-frame canvas").nth(3)
        page.wait_for_timeout(300)
        assert canvas.evaluate("canvas => canvas.getContext('2d').getImageData(1, 1, 1, 1).data[0]") == 200
        expect(page.locator(".kit-dial")).to_have_attribute("aria-valuenow", "1.25")
        assert page.locator(".kit-title").inner_text() == "</script><b>eta</b> & words" and errors == []
        assert page.locator(".kit-said").first.inner_text() == "<i>a</i>"
