"""The training panel in Chromium, on a bare page without a kernel: the curve, the pictures, the time, Stop."""

import base64
import re
from typing import NamedTuple

import numpy as np
import pytest
from playwright.sync_api import expect

from kit.panels import TrainingPanel
from kit.panels._pictures import as_picture, encode
from kit.panels.training import smoothed
from tests.browser.pages import opened
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

HEIGHT, FOOT, LEFT = 210, 22, 46  # of the drawing, and what of it is beside the curve


class State(NamedTuple):
    stage: str
    step: int
    steps: int
    loss: float


def grey(number, size=8):
    return np.full((3, size, size), number / 255)


def run(*stages):
    """States of stages (name, steps, losses)."""
    for name, steps, losses in stages:
        for step, loss in enumerate(losses, 1):
            yield State(name, step, steps, float(loss))


def trained(*stages, running=False, **settings):
    """A panel whose run has ended, or that says it has not."""
    panel = TrainingPanel(run(*stages), **{"title": "One picture", **settings})
    panel.wait(20)
    if running:
        panel.status = "running"
    return panel


NOISY = np.random.default_rng(0).gamma(3, 0.02, 200)


def say(panel, kind, data, **content):
    coded = base64.b64encode(data).decode()
    panel.page.evaluate("content => kernel.say(content)", {"kind": kind, "base64": coded, **content})


def set_trait(panel, name, value):
    panel.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


def path(panel, kind, number=-1):
    """The corners (n, 2) of a drawn line."""
    panel.rest()
    lines = panel.find(f".kit-{kind}").all()
    return np.array(re.findall(r"([\d.]+) ([\d.]+)", lines[number].get_attribute("d")), float)


def labels(panel):
    """(value, height) of the numbers beside the curve."""
    panel.rest()
    texts = panel.find(".kit-losses text[text-anchor=end]").all()
    pairs = [
        (text.text_content().replace("−", "-").replace("·10^", "e"), float(text.get_attribute("y"))) for text in texts
    ]
    return [(float(value), y - 4) for value, y in pairs if y < HEIGHT - FOOT]


def heights(panel, log):
    """Where on the drawing a loss stands, by the numbers beside it."""
    values, places = zip(*labels(panel), strict=True)
    along = np.log if log else np.asarray
    slope, offset = np.polyfit(along(values), places, 1)
    np.testing.assert_allclose(slope * along(values) + offset, places, atol=0.1)
    return lambda loss: slope * along(loss) + offset


# The curve


@pytest.mark.parametrize("log", [False, True])
def test_the_running_mean_is_that_of_python_at_its_place_on_the_axes(stage, log):
    losses = np.geomspace(1, 0.02, 200) * NOISY if log else NOISY
    panel = stage(trained(("", 200, losses)))
    y, width = heights(panel, log), panel.find(".kit-losses").bounding_box()["width"]
    expect(panel.page.get_by_role("button", name="log")).to_have_attribute("aria-pressed", str(log).lower())
    drawn, mean = path(panel, "mean"), smoothed(losses, 200)
    steps = np.rint((drawn[:, 0] - LEFT) / (width - LEFT) * 200)
    assert steps[0] == 1 and steps[-1] == 200 and len(drawn) == 200
    np.testing.assert_allclose(drawn[:, 1], y(mean), atol=0.2)
    point = panel.find(".kit-now")
    assert float(point.get_attribute("cy")) == pytest.approx(y(mean[-1]), abs=0.2)
    assert float(point.get_attribute("cx")) == pytest.approx(width, abs=0.2)


def test_the_raw_losses_are_drawn_from_the_lowest_to_the_highest_of_each_pixel(stage):
    losses = np.random.default_rng(1).uniform(1, 2, 20_000)
    panel = stage(trained(("", 20_000, losses)))
    y, width = heights(panel, False), panel.find(".kit-losses").bounding_box()["width"] - LEFT
    drawn = path(panel, "raw")
    pixels = np.rint(LEFT + np.arange(1, 20_001) / 20_000 * width)
    for pixel in (100, 400, 700):
        inside = losses[pixels == pixel]
        got = np.sort(drawn[drawn[:, 0] == pixel][:, 1])
        np.testing.assert_allclose(got, [y(inside.max()), y(inside.min())], atol=0.3)
    assert len(drawn) <= 2 * width + 4


def test_a_lonely_high_loss_does_not_press_the_others_flat(stage):
    panel = stage(trained(("", 200, [*NOISY[:100], 50, *NOISY[101:]])))
    values = [value for value, _ in labels(panel)]
    assert max(values) < 6 and path(panel, "raw")[:, 1].min() >= 0


@pytest.mark.parametrize("width", [600, 1100])
def test_a_change_of_stage_is_marked_where_it_is_and_the_mean_begins_anew(stage, width):
    panel = stage(
        trained(("embedding", 100, NOISY[:100]), ("network", 300, 5 + NOISY[:50])),
        viewport={"width": width, "height": 800},
    )
    room = panel.find(".kit-losses").bounding_box()["width"]
    change = re.match(r"M([\d.]+) 0V", panel.find(".kit-change").get_attribute("d"))
    assert float(change[1]) == pytest.approx(LEFT + (room - LEFT) / 4, abs=0.1)
    assert panel.find(".kit-stage").all_text_contents() == ["embedding", "network"]
    assert panel.find(".kit-mean").count() == 2
    first, second = path(panel, "mean", 0), path(panel, "mean", 1)
    assert first[:, 0].max() <= float(change[1]) + 0.6 and second[:, 0].min() >= float(change[1])
    assert second[0, 1] < first[-1, 1] - 100 and second[-1, 0] == pytest.approx(
        LEFT + (room - LEFT) * 150 / 400, abs=0.6
    )


def test_a_click_chooses_the_other_axis_and_losses_below_zero_have_no_logarithm(stage):
    panel = stage(trained(("", 200, NOISY)))
    heights(panel, False)
    log = panel.page.get_by_role("button", name="log")
    log.click()
    heights(panel, True)
    expect(log).to_have_attribute("aria-pressed", "true")
    panel.page.get_by_role("button", name="linear").click()
    heights(panel, False)
    log.click()
    say(panel, "points", np.array([[200, -0.5]] * 9, "<f4").tobytes())
    heights(panel, False)
    below = stage(trained(("", 200, NOISY - 0.1)))
    expect(below.page.get_by_role("button", name="log")).to_be_disabled()
    heights(below, False)


def test_new_losses_are_drawn_as_they_come(stage):
    panel = stage(trained(("", 100, NOISY[:2]), running=True))
    count = len(path(panel, "mean"))
    fresh = np.array([[step, 0.1] for step in range(3, 51)], "<f4")
    say(panel, "points", fresh.tobytes())
    assert len(path(panel, "mean")) == count + 48
    set_trait(panel, "progress", dict(stage="", step=50, steps=100, loss=0.1, seconds=12.34, left=75.2))
    expect(panel.find("dd").first).to_have_text("50 of 100")
    assert [panel.reading(name) for name in ("loss", "left", "so far")] == ["0.100", "1:15 min", "12 s"]
    bar = panel.find(".kit-bar")
    assert (
        bar.get_attribute("aria-valuenow") == "50" and bar.get_attribute("aria-valuetext") == "50 of 100, 1:15 min left"
    )
    assert bar.locator("div").get_attribute("style") == "width: 50%;"


@pytest.mark.parametrize(
    ("left", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599.6, "1:00 h"), (7500, "2:05 h")],
)
def test_the_time_left_is_said_as_people_say_it(stage, left, text):
    panel = stage(trained(("", 100, NOISY[:2]), running=True))
    set_trait(panel, "progress", dict(stage="", step=2, steps=100, loss=0.1, seconds=1, left=left))
    panel.rest()
    assert panel.reading("left") == text


@pytest.mark.parametrize("losses", [[0.3], [0.3, 0.3, 0.3], [0, 0], [-1e-9]])
def test_a_run_that_has_hardly_begun_has_axes_too(stage, losses):
    panel = stage(trained(("", 250, losses), running=True))
    assert 3 <= len(labels(panel)) <= 12 and len(path(panel, "mean")) == len(losses)
    low, high = (end(value for value, _ in labels(panel)) for end in (min, max))
    assert low <= losses[0] + 1e-9 and losses[0] - 1e-9 <= high


def test_a_loss_that_is_not_finite_is_left_out(stage):
    panel = stage(trained(("", 10, [float("nan"), 1, 2, float("inf"), 1.5, float("nan")]), running=True))
    assert len(path(panel, "raw")) == 3 and len(path(panel, "mean")) == 5 and panel.reading("loss") == "–"


# The pictures


def colours(panel):
    return [panel.pixel(number)[0] for number in range(panel.find(".kit-frame canvas").count())]


def becomes(panel, *greys):
    for _ in range(50):
        if colours(panel) == list(greys):
            return True
        panel.page.wait_for_timeout(20)
    raise AssertionError(f"shows {colours(panel)}, wanted {list(greys)}")


def look(panel, step, *greys):
    data = [encode(as_picture(grey(number), "picture")) for number in greys]
    say(panel, "look", b"".join(data), step=step, lengths=[len(part) for part in data])


def test_the_newest_pictures_are_shown_and_those_before_are_let_go(stage):
    panel = stage(trained(("", 100, NOISY[:2]), look=lambda state: grey(40), running=True))
    assert becomes(panel, 40)
    expect(panel.find("figcaption")).to_have_text("at step 2")
    for step, greys in ((30, [60, 70]), (50, [80, 90, 100, 110])):
        look(panel, step, *greys)
        assert becomes(panel, *greys)
        expect(panel.find("figcaption")).to_have_text(f"at step {step}")
        assert panel.page.evaluate("alive()") == len(greys)
    panel.page.evaluate("end()")
    assert panel.page.evaluate("alive()") == 0


def test_without_look_there_is_no_frame(stage):
    assert stage(trained(("", 100, NOISY))).find("figure").is_hidden()


def test_pictures_keep_their_shape(stage):
    for width in (600, 1100):
        wide = trained(("", 9, NOISY[:2]), look=lambda state: np.zeros((3, 3, 10, 20)))
        panel = stage(wide, viewport={"width": width, "height": 900})
        panel.find(".kit-frame").last.wait_for()
        for frame in panel.find(".kit-frame").all():
            box = frame.bounding_box()
            assert box["width"] / box["height"] == pytest.approx(2, rel=0.02)


# Stop, the end, what goes wrong


def test_stop_says_so_at_once_and_what_it_kept_when_it_is_done(stage):
    panel = stage(trained(("", 100, NOISY[:2]), running=True))
    expect(panel.find(".kit-state")).to_have_text("training")
    panel.find(".kit-stop").click()
    assert panel.log() == [{"kind": "send", "content": {"kind": "stop"}}]
    expect(panel.find(".kit-state")).to_have_text("stopping")
    set_trait(panel, "status", "cancelled")
    expect(panel.find(".kit-state")).to_have_text("stopped; what was learnt is kept")
    expect(panel.find(".kit-stop")).to_be_hidden()
    assert panel.reading("left") == "–"


def test_before_the_first_step_it_says_that_it_begins(stage):
    def slow():
        gate.wait(20)
        yield State("", 1, 2, 0.5)

    import threading

    gate = threading.Event()
    panel = stage(TrainingPanel(slow(), title="One picture"))
    expect(panel.find(".kit-state")).to_have_text("beginning")
    assert panel.reading("step") == "–" and panel.find(".kit-mean").count() == 0
    gate.set()


def test_an_error_is_shown_with_its_traceback_folded_beside_what_was_learnt(stage):
    panel = stage(trained(("", 100, NOISY[:20])))
    set_trait(panel, "traceback", "Traceback: line 7 <b>in</b> fit")
    set_trait(panel, "error", "FloatingPointError: the loss is <i>nan</i>")
    expect(panel.find(".kit-error strong")).to_have_text("FloatingPointError: the loss is <i>nan</i>")
    expect(panel.find(".kit-error pre")).to_be_hidden()
    panel.find(".kit-error summary").click()
    expect(panel.find(".kit-error pre")).to_have_text("Traceback: line 7 <b>in</b> fit")
    set_trait(panel, "progress", dict(stage="", step=21, steps=100, loss=0.1, seconds=1, left=2))
    expect(panel.find(".kit-error pre")).to_be_visible()  # news do not fold it
    assert len(path(panel, "mean")) == 20


# The eye


def whole(**settings):
    panel = trained(
        ("embedding", 50, NOISY[:50]),
        ("network", 99, NOISY[:20]),
        look=lambda state: grey(40),
        running=True,
        **settings,
    )
    panel.error, panel.traceback = "RuntimeError: no", "Traceback ..."
    return panel


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    panel = stage(whole())
    panel.find(".kit-error summary").wait_for()
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) >= 4 and {value for _, value in focusable} == {"true"}


def test_the_panel_tells_assistive_technology_what_it_is(stage):
    panel = stage(whole())
    panel.find(".kit-frame").wait_for()
    tree = panel.find(".kit-panel").aria_snapshot()
    mean = smoothed(NOISY[:50], 50)[0], smoothed(NOISY[:20], 99)[-1]
    loss = f'img "loss from {mean[0]:.3g} to {mean[1]:.3g}, running mean"'
    for what in ('button "Stop"', 'button "linear" [pressed]', 'progressbar "Steps of this stage"', loss):
        assert what in tree, what
    assert 'img "What it draws by now"' in tree


@pytest.mark.parametrize("width", [320, 600, 960, 1600])
@pytest.mark.parametrize("count", [1, 4])
def test_it_fits_any_width(stage, width, count):
    made = trained(("embedding", 50, NOISY[:50]), look=lambda state: np.stack([grey(40)] * count), running=True)
    panel = stage(made, viewport={"width": width, "height": 1200})
    panel.find(".kit-frame").last.wait_for()
    panel.rest()
    assert panel.page.evaluate("beyondTheEdge()") == []


def test_it_is_drawn_anew_when_the_width_changes(stage):
    panel = stage(whole(), viewport={"width": 1100, "height": 900})
    for width in (600, 1100):
        panel.page.set_viewport_size({"width": width, "height": 900})
        panel.page.wait_for_timeout(200)
        assert panel.page.evaluate("beyondTheEdge()") == []
        assert panel.find(".kit-losses").bounding_box()["width"] == pytest.approx(
            panel.find("section").bounding_box()["width"], abs=1
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    panel = stage(whole(), color_scheme=scheme)
    panel.find(".kit-frame").wait_for()
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    html = ".kit-title, .kit-state, .kit-stop, .kit-hint, figcaption, dt, dd, .kit-error strong, [aria-pressed], "
    html += "[aria-pressed=true]"
    for kind, selectors in (("color", html), ("fill", ".kit-losses text, .kit-stage")):
        for selector in selectors.split(", "):
            ink = luminance(panel.find(selector).first.evaluate("(el, kind) => getComputedStyle(el)[kind]", kind))
            light, dark = max(ink, ground), min(ink, ground)
            assert (light + 0.05) / (dark + 0.05) >= 4.4, selector


def test_two_views_show_the_same_and_an_ended_one_listens_no_more(stage):
    panel = stage(trained(("", 100, NOISY[:20]), look=lambda state: grey(40), running=True))
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    look(panel, 30, 60)
    expect(panel.find("figcaption", second)).to_have_text("at step 30")
    assert panel.pixel(0, second)[0] == panel.pixel()[0] == 60
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    made = trained(("<b>first</b>", 100, NOISY), look=lambda state: grey(40), title="</script><b>a</b> & b")
    page_of = made.export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(page_of.as_uri())
        page.locator(".kit-mean").wait_for(state="attached")
        assert page.locator(".kit-title").inner_text() == "</script><b>a</b> & b"
        assert page.locator(".kit-stage").text_content() == "<b>first</b>"
        page.get_by_role("button", name="log").click()
        expect(page.get_by_role("button", name="log")).to_have_attribute("aria-pressed", "true")
        page.locator(".kit-frame canvas").wait_for()
        assert errors == []
