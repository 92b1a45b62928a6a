"""The scrubber's computed mode in Chromium: x_t against numpy, the curve, the axes, the marks, the histogram."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from kit.panels import NoiseScrubber
from tests.browser.pages import opened
from tests.browser.stage import pixels
from tests.browser.test_export import Exported
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

RNG = np.random.default_rng(0)
X0, EPS = RNG.random((3, 16, 12)), RNG.standard_normal((3, 16, 12))
T = 100
COSINE = np.cos(np.linspace(0.05, 1.55, T)) ** 2
LINEAR = np.cumprod(1 - np.linspace(0.001, 0.1, T))
WHOLE = np.linspace(1, 0, T)  # from no noise to no signal
SCHEDULES = {"cosine": COSINE, "linear": LINEAR, "whole": WHOLE}


def forward(schedules=SCHEDULES, x0=X0, eps=EPS, **settings):
    return NoiseScrubber.forward(x0, eps, schedules, title="Forward", **{"index": 50, **settings})


def with_traits(panel, **traits):
    for name, value in traits.items():
        setattr(panel, name, value)
    return panel


def log_snr(alpha_bar):
    with np.errstate(divide="ignore"):
        return np.log(alpha_bar) - np.log1p(-alpha_bar)


def shown(panel, number=0):
    """What a canvas shows, bytes (3, h, w)."""
    array = pixels(panel.find(".kit-frame canvas").nth(number)).astype(float)
    assert (array[..., 3] == 255).all()
    return np.moveaxis(array[..., :3], -1, 0)


def assert_shows(panel, seen, number=0):
    """The canvas shows (3, h, w) in [0, 1], each value rounded to the nearest byte."""
    panel.page.wait_for_timeout(60)
    difference = np.abs(shown(panel, number) - 255 * np.clip(seen, 0, 1))
    assert difference.max() <= 0.5 + 1e-4


def x_t(alpha_bar, x0=X0, eps=EPS):
    return np.sqrt(alpha_bar) * (2 * x0 - 1) + np.sqrt(1 - alpha_bar) * eps


def go(panel, step):
    """Move the playhead as the kernel does."""
    panel.page.evaluate("step => kernel.set('index', step)", step)


def choose(panel, group, value):
    panel.find(f"[role=radiogroup][aria-label={group}] input[value='{value}']").check(force=True)


def attribute(panel, selector, name, number=0):
    return float(panel.find(selector).nth(number).get_attribute(name))


# The formula


def test_every_pixel_of_x_t_is_that_of_numpy_under_every_schedule(stage):
    panel = stage(forward())
    for step in (0, 1, 50, 98, 99):
        go(panel, step)
        for number, schedule in enumerate(SCHEDULES.values()):
            assert_shows(panel, (x_t(schedule[step]) + 1) / 2, number)


def test_the_timesteps_visited_are_those_asked_for(stage):
    panel = stage(forward(timesteps=[99, 40, 3], index=1))
    assert_shows(panel, (x_t(COSINE[40]) + 1) / 2)
    assert panel.reading("t") == "40" and panel.reading("step") == "2 / 3"


def test_a_latent_is_decoded_linearly(stage):
    x0, eps = RNG.standard_normal((2, 4, 9, 9))
    matrix, bias = RNG.standard_normal((3, 4)) / 6, np.array([0.4, 0.5, 0.6])
    panel = stage(forward(COSINE, x0, eps, rgb=(matrix, bias)))
    latent = np.sqrt(COSINE[50]) * x0 + np.sqrt(1 - COSINE[50]) * eps
    assert_shows(panel, np.tensordot(matrix, latent, 1) + bias[:, None, None])


def test_grey_pictures_and_channels_without_a_decoder_are_grey(stage):
    assert_shows(stage(forward(COSINE, X0[:1], EPS[:1])), np.repeat((x_t(COSINE[50])[:1] + 1) / 2, 3, 0))
    x0, eps = RNG.standard_normal((2, 2, 5, 6))
    latent = np.sqrt(COSINE[50]) * x0 + np.sqrt(1 - COSINE[50]) * eps
    assert_shows(stage(forward(COSINE, x0, eps)), np.repeat(0.5 + np.hstack(latent)[None] / 6, 3, 0))


def overlap(fine, coarse):
    """(coarse, fine): the share that each of `fine` equal stretches has in each of `coarse`."""
    edges, ends = np.arange(fine) / fine, (np.arange(coarse) / coarse)[:, None]
    return np.clip(np.minimum(edges + 1 / fine, ends + 1 / coarse) - np.maximum(edges, ends), 0, None) * coarse


def test_where_there_is_no_room_each_pixel_shown_is_the_mean_of_x_t_over_its_area(stage):
    x0, eps = RNG.random((3, 300, 200)), RNG.standard_normal((3, 300, 200))
    panel = stage(forward(SCHEDULES, x0, eps), viewport={"width": 640, "height": 800})
    for room in (640, 700):
        panel.page.set_viewport_size({"width": room, "height": 800})
        panel.page.wait_for_timeout(100)
        height, width = shown(panel).shape[1:]
        assert 100 < width < 200 and height == round(1.5 * width)
        for number, schedule in enumerate(SCHEDULES.values()):
            mean = overlap(300, height) @ x_t(schedule[50], x0, eps) @ overlap(200, width).T
            assert_shows(panel, (mean + 1) / 2, number)


def test_readings_are_those_of_the_chosen_schedule(stage):
    panel = stage(with_traits(forward(), schedule="whole"))
    go(panel, 99)
    panel.page.wait_for_timeout(60)
    assert [panel.reading(name) for name in ("step", "t", "ᾱ", "σ", "log-SNR")] == [
        "100 / 100",
        "99",
        "0.00",
        "∞",
        "−∞",
    ]
    choose(panel, "schedule", "linear")
    level = LINEAR[99]
    wanted = [level, np.sqrt(1 / level - 1), np.log(level / (1 - level))]
    read = [float(panel.reading(name).replace("−", "-")) for name in ("ᾱ", "σ", "log-SNR")]
    np.testing.assert_allclose(read, wanted, rtol=5e-3)
    assert panel.saved("schedule") == ["linear"]


# The curve and its axes


def places(kind, schedule):
    """Shares of the width at which each step stands, up to a linear map of the axis."""
    values = {"step": np.arange(T), "t": np.arange(T), "log-SNR": -log_snr(schedule)}[kind]
    return values.astype(float)


@pytest.mark.parametrize("kind", ["step", "t", "log-SNR"])
def test_the_point_follows_the_pointer_along_any_axis(stage, kind):
    panel = stage(with_traits(forward({"cosine": COSINE, "linear": LINEAR}), axis=kind))
    width = panel.slider.bounding_box()["width"]
    values, seen = places(kind, COSINE), []
    panel.page.mouse.move(*panel.at(10, 100))
    panel.page.mouse.down()
    for share in (0.203, 0.374, 0.508, 0.803):
        box = panel.find(".kit-curve").bounding_box()
        panel.page.mouse.move(box["x"] + share * width, box["y"] + 100)
        panel.page.wait_for_timeout(60)
        seen.append((share * width, panel.now(), attribute(panel, ".kit-point.kit-chosen", "cx")))
    panel.page.mouse.up()
    pointer, steps, drawn = np.array(seen).T
    slope, start = np.polyfit(values[steps.astype(int)], drawn, 1)  # the axis as drawn is linear in its value
    np.testing.assert_allclose(start + slope * values[steps.astype(int)], drawn, atol=0.1)
    nearest = [np.abs(start + slope * values - x).argmin() for x in pointer]
    assert steps.tolist() == nearest and len(set(nearest)) > 2


@pytest.mark.parametrize("kind", ["step", "t", "log-SNR"])
def test_ticks_name_the_axis(stage, kind):
    panel = stage(with_traits(forward(COSINE, timesteps=list(range(99, -1, -3)), index=5), axis=kind))
    ticks = panel.find(".kit-ticks i.kit-named").evaluate_all(
        "ticks => ticks.map(tick => [parseFloat(tick.style.left), tick.innerText])"
    )
    at, named = np.array([(x, float(text.replace("−", "-"))) for x, text in ticks]).T
    slope, start = np.polyfit(at, named, 1)
    assert len(at) >= 4
    for step in (0, 20, 33):
        go(panel, step)
        panel.page.wait_for_timeout(60)
        read = start + slope * attribute(panel, ".kit-point", "cx")
        t = 99 - 3 * step
        wanted = {"step": step + 1, "t": t, "log-SNR": log_snr(COSINE[t])}[kind]
        assert abs(read - wanted) <= 0.01 * np.ptp(named)


@pytest.mark.parametrize("kind", ["ᾱ", "σ", "log-SNR"])
def test_the_point_is_as_high_as_the_lines_say(stage, kind):
    panel = stage(with_traits(forward({"cosine": COSINE}), curve=kind))
    lines = panel.find(".kit-line").evaluate_all("""lines => lines.map(line =>
      [parseFloat(line.querySelector("path").getAttribute("d").split(" ")[1]), line.textContent])""")
    heights, named = np.array([(y, float(text.replace("−", "-"))) for y, text in lines]).T
    scale = np.log10 if kind == "σ" else np.asarray
    slope, start = np.polyfit(heights, scale(named), 1)
    for step in (1, 30, 70, 97):
        go(panel, step)
        panel.page.wait_for_timeout(60)
        level = COSINE[step]
        wanted = {"ᾱ": level, "σ": np.sqrt(1 / level - 1), "log-SNR": log_snr(level)}[kind]
        read = start + slope * attribute(panel, ".kit-point", "cy")
        np.testing.assert_allclose(read, scale(wanted), atol=0.01 * np.ptp(scale(named)))


def test_on_the_axis_of_log_snr_all_schedules_are_read_at_the_same_noise(stage):
    panel = stage(with_traits(forward(), axis="log-SNR"))
    go(panel, 40)
    panel.page.wait_for_timeout(60)
    for number, schedule in enumerate(SCHEDULES.values()):
        step = int(np.abs(log_snr(schedule) - log_snr(COSINE[40])).argmin())
        assert panel.find(".kit-note").nth(number).inner_text().startswith(f"t {step} ·")
        assert_shows(panel, (x_t(schedule[step]) + 1) / 2, number)
    choose(panel, "across", "t")
    assert_shows(panel, (x_t(LINEAR[40]) + 1) / 2, 1)
    assert panel.saved("axis") == ["t"]


def test_ends_without_noise_or_signal_stand_at_the_ends_of_the_axis(stage):
    panel = stage(with_traits(forward({"whole": WHOLE}), axis="log-SNR", curve="log-SNR"))
    width = panel.slider.bounding_box()["width"]
    for step, x in [(0, 0), (99, width)]:
        go(panel, step)
        panel.page.wait_for_timeout(60)
        assert abs(attribute(panel, ".kit-point", "cx") - x) < 1
        assert 0 < attribute(panel, ".kit-point", "cy") < 140


def test_the_strip_shows_x_t_where_the_axis_says(stage):
    flat, none = np.full((3, 8, 8), 1.0), np.zeros((3, 8, 8))
    panel = stage(with_traits(forward({"cosine": COSINE}, flat, none), axis="log-SNR"))
    panel.page.wait_for_timeout(200)
    steps = []
    for share in np.arange(0.05, 1, 0.1):
        panel.page.mouse.click(panel.at(0, 1)[0] + (share - 0.5) * panel.slider.bounding_box()["width"], panel.at(0)[1])
        panel.page.wait_for_timeout(60)
        steps.append(panel.now())
    cells = panel.find(".kit-strip").evaluate("canvas => Math.floor(canvas.clientWidth / 48)")
    colours = panel.page.evaluate(f"stripColours({cells})")
    grey = [colours[int(share * cells)][0] for share in np.arange(0.05, 1, 0.1)]
    wanted = 255 * (np.sqrt(COSINE[steps]) + 1) / 2
    assert np.abs(np.array(grey) - wanted).max() < 255 * 0.06 and np.ptp(grey) > 80  # within half a cell


# Schedules, marks, difference


def test_schedules_are_compared_side_by_side_or_one_is_shown(stage):
    panel = stage(forward())
    figures = panel.find(".kit-pictures figure")
    assert [figures.nth(i).is_visible() for i in range(3)] == [True] * 3
    panel.find(".kit-check input").uncheck()
    choose(panel, "schedule", "linear")
    assert [figures.nth(i).is_visible() for i in range(3)] == [False, True, False]
    assert_shows(panel, (x_t(LINEAR[50]) + 1) / 2, 1)
    assert panel.saved("compare") == [False]


def test_a_single_schedule_asks_nothing_about_schedules(stage):
    panel = stage(forward(COSINE))
    expect(panel.find("[role=radiogroup][aria-label=schedule]")).to_be_hidden()
    expect(panel.find(".kit-swatch")).to_have_count(1)


def test_arrow_keys_choose_among_schedules(stage):
    panel = stage(forward())
    panel.find("input[value=cosine]").focus()
    panel.page.keyboard.press("ArrowDown")
    assert panel.saved("schedule") == ["linear"]
    expect(panel.find(".kit-schedule.kit-chosen")).to_have_class("kit-schedule kit-track-1 kit-chosen")


def mark(panel, letter, step):
    go(panel, step)
    panel.page.wait_for_timeout(60)
    panel.find(".kit-marks button").nth("AB".index(letter)).click()


def test_marks_are_kept_shown_and_subtracted_under_each_schedule(stage):
    panel = stage(forward({"cosine": COSINE, "linear": LINEAR}))
    for value in ("A", "B", "B − A"):
        expect(panel.find(f"input[value='{value}']")).to_be_disabled()
    mark(panel, "A", 20)
    mark(panel, "B", 70)
    assert panel.saved("marks") == [[20, -1], [20, 70]]
    go(panel, 5)
    for value, step in [("A", 20), ("B", 70), ("x_t", 5)]:
        choose(panel, "show", value)
        assert_shows(panel, (x_t(LINEAR[step]) + 1) / 2, 1)
        assert panel.reading("t") == str(step)
    choose(panel, "show", "B − A")
    for number, schedule in enumerate((COSINE, LINEAR)):
        assert_shows(panel, 0.5 + (x_t(schedule[70]) - x_t(schedule[20])) / 2, number)
    assert panel.find(".kit-note").first.inner_text() == "B − A, grey is 0"


def test_the_hand_takes_b_of_a_difference_along_and_ends_the_view_of_a_mark(stage):
    panel = stage(with_traits(forward(COSINE), marks=[20, 70], shown="B − A"))
    panel.page.mouse.move(*panel.at(30, 100))
    panel.page.mouse.down()
    panel.page.mouse.move(*panel.at(90, 100))
    assert_shows(panel, 0.5 + (x_t(COSINE[90]) - x_t(COSINE[20])) / 2)
    panel.page.mouse.up()
    assert panel.saved("marks")[-1] == [20, 90]
    choose(panel, "show", "A")
    assert_shows(panel, (x_t(COSINE[20]) + 1) / 2)
    panel.page.mouse.click(*panel.at(60, 100))
    assert_shows(panel, (x_t(COSINE[60]) + 1) / 2)
    assert panel.saved("shown")[-1] == "x_t"


def test_a_mark_under_the_playhead_is_cleared_by_its_button(stage):
    panel = stage(with_traits(forward(COSINE, index=20), marks=[20, 70], shown="B − A"))
    button = panel.find(".kit-marks button").first
    expect(button).to_have_text("clear A")
    button.click()
    assert panel.saved("marks") == [[-1, 70]] and panel.saved("shown") == ["x_t"]
    expect(panel.find(".kit-flag")).to_have_count(1)
    expect(panel.find("input[value='B − A']")).to_be_disabled()


# The histogram


def bars(panel):
    """Densities as drawn, from the heights of the bars."""
    heights = re.findall(r"L[\d.]+ ([\d.]+)h", panel.find(".kit-bars").get_attribute("d"))
    return 0.65 * (1 - np.array(heights, dtype=float) / 110)


def test_the_histogram_is_that_of_numpy_under_the_bell_it_should_become(stage):
    dark = X0**2  # whose mean is not 0
    panel = stage(with_traits(forward(x0=dark), schedule="linear"))
    for step in (0, 50, 99):
        go(panel, step)
        panel.page.wait_for_timeout(60)
        values = x_t(LINEAR[step], dark).ravel()
        counts, _ = np.histogram(values, bins=60, range=(-4, 4))
        density = np.minimum(counts / values.size * 60 / 8, 0.65)
        np.testing.assert_allclose(bars(panel), density, atol=0.65 * 0.1 / 110)
        read = [float(text.replace("−", "-")) for text in panel.find(".kit-histogram dd").all_inner_texts()]
        np.testing.assert_allclose(read, [values.mean(), values.std()], atol=0.0051)
    bell = re.findall(r"([\d.]+) ([\d.]+)", panel.find(".kit-bell").get_attribute("d"))
    x, y = np.array(bell, dtype=float).T
    normal = np.exp(-((x / 35 - 4) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(0.65 * (1 - y / 110), normal, atol=0.002)


# The hand, the eye, the end


def test_a_drag_of_the_point_tells_the_kernel_nothing_until_release(stage):
    panel = stage(with_traits(forward(), marks=[3, 5], shown="B − A"))
    panel.page.mouse.move(*panel.at(20, 100))
    panel.page.mouse.down()
    pressed = len(panel.log())
    panel.page.mouse.move(*panel.at(80, 100), steps=30)
    panel.page.wait_for_timeout(120)
    assert len(panel.log()) == pressed == 1
    panel.page.mouse.up()
    assert len(panel.log()) == 2 and panel.saved("index") == [20, 80]


def test_keys_move_the_point_and_space_plays_a_long_path_in_seconds(stage):
    panel = stage(forward({"long": np.linspace(0.999, 0.001, 1000)}, index=500))
    panel.slider.focus()
    for key, step in [("ArrowRight", 501), ("Shift+ArrowLeft", 491), ("PageUp", 541), ("Home", 0)]:
        panel.page.keyboard.press(key)
        expect(panel.slider).to_have_attribute("aria-valuenow", str(step))
    panel.page.keyboard.press("Space")
    panel.page.wait_for_timeout(1000)
    panel.page.keyboard.press("Space")
    assert panel.now() > 30


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    focusable = stage(forward()).page.evaluate("focusable()")
    assert len(focusable) == 1 + 2 + 3 + 1 + 3 + 3 + 4 + 2 + 1  # slider, play, speed, choices, check, marks, stop
    assert {value for _, value in focusable} == {"true"}


def test_assistive_technology_is_told_what_there_is(stage):
    tree = stage(forward()).find(".kit-panel").aria_snapshot()
    for words in ('slider "Forward"', 'radiogroup "schedule"', 'radio "cosine" [checked]', 'radiogroup "across"',
                  'radiogroup "curve"', 'radiogroup "show"', 'checkbox "side by side" [checked]',
                  'button "Mark this step as A"', 'img "linear"'):  # fmt: skip
        assert words in tree


def test_nothing_moves_while_scrubbing(stage):
    panel = stage(forward())
    panel.slider.focus()
    layouts = set()
    for step in range(0, 100, 7):
        go(panel, step)
        panel.page.wait_for_timeout(25)
        layouts.add(str(panel.page.evaluate("places()")))
    assert len(layouts) == 1


@pytest.mark.parametrize("width", [320, 480, 600, 1100, 1600])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_fits_any_width(stage, width, count):
    panel = stage(forward(dict(list(SCHEDULES.items())[:count])), viewport={"width": width, "height": 800})
    panel.page.wait_for_timeout(60)
    assert panel.page.evaluate("beyondTheEdge()") == []
    side = panel.find(".kit-frame").first.bounding_box()["height"]
    assert side >= 180


@pytest.mark.parametrize(("width", "count", "beside"), [(1100, 1, True), (480, 1, False), (600, 3, False)])
def test_the_histogram_stands_beside_the_pictures_where_they_keep_their_columns(stage, width, count, beside):
    panel = stage(forward(dict(list(SCHEDULES.items())[:count])), viewport={"width": width, "height": 800})
    panel.page.wait_for_timeout(60)
    pictures, side = (panel.find(selector).bounding_box() for selector in (".kit-pictures", ".kit-side"))
    assert (side["x"] >= pictures["x"] + pictures["width"]) == beside
    assert (side["y"] >= pictures["y"] + pictures["height"]) == (not beside)


def test_a_long_name_does_not_widen_its_picture(stage):
    panel = stage(forward({"a schedule " * 20: COSINE, "short": LINEAR}), viewport={"width": 600, "height": 800})
    panel.page.wait_for_timeout(60)
    widths = panel.find(".kit-pictures figure").evaluate_all("all => all.map(figure => figure.offsetWidth)")
    assert widths[0] == widths[1] == panel.find(".kit-frame").first.bounding_box()["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    panel = stage(forward(), color_scheme=scheme)
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    inks = ["figcaption", ".kit-note", ".kit-name", ".kit-options span", ".kit-check", ".kit-histogram dd"]
    texts = {**dict.fromkeys(inks, "color"), **dict.fromkeys([".kit-line text", ".kit-histogram text"], "fill")}
    for selector, name in texts.items():
        ink = luminance(panel.find(selector).first.evaluate(f"el => getComputedStyle(el).{name}"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector
    for track in range(3):
        line = luminance(panel.find(f".kit-schedule.kit-track-{track}").evaluate("el => getComputedStyle(el).stroke"))
        assert (max(line, ground) + 0.05) / (min(line, ground) + 0.05) >= 3, track


def test_two_views_share_every_choice(stage):
    panel = stage(forward())
    second = panel.open()
    choose(panel, "across", "log-SNR")
    choose(panel, "schedule", "linear")
    panel.page.mouse.click(*panel.at(30, 100))
    panel.page.wait_for_timeout(60)
    for selector in (".kit-curve", ".kit-readings"):
        first, other = (panel.find(selector, view).inner_html() for view in (0, second))
        assert first == other
    expect(panel.find("input[value=linear]", second)).to_be_checked()


def test_a_closed_view_listens_no_more(stage):
    panel = stage(forward())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    panel.page.evaluate("end()")


def test_an_exported_page_computes_without_a_kernel(browser, tmp_path):
    path = with_traits(forward(), marks=[20, 70]).export_html(tmp_path / "forward.html")
    with opened(browser, offline=True) as (page, errors):
        panel = Exported(page, path)
        page.mouse.click(*panel.at(80, 100))
        assert_shows(panel, (x_t(LINEAR[80]) + 1) / 2, 1)
        choose(panel, "show", "B − A")
        assert_shows(panel, 0.5 + (x_t(COSINE[70]) - x_t(COSINE[20])) / 2)
        assert errors == []


FILL = """() => {  // the least that any such panel must do: one affine map of two arrays into bytes
  const n = 512 * 512, x0 = new Float32Array(3 * n).fill(0.1), eps = new Float32Array(3 * n).fill(0.2), times = [];
  const bytes = new Uint8ClampedArray(4 * n);
  for (let i = 0; i < 30; i++) {
    const since = performance.now();
    for (let c = 0; c < 3; c++) {
      for (let p = 0; p < n; p++) bytes[4 * p + c] = 99 * x0[c * n + p] + i * eps[c * n + p] + 127.5;
    }
    times.push(performance.now() - since);
  }
  return times.sort((a, b) => a - b)[15];
}"""


def test_scrubbing_at_512_costs_little_more_than_the_formula(stage):
    x0, eps = RNG.random((3, 512, 512)), RNG.standard_normal((3, 512, 512))
    panel = stage(forward(COSINE, x0, eps))
    panel.page.wait_for_timeout(800)
    nothing, fill = panel.page.evaluate("nothingDrawn(60)"), panel.page.evaluate(FILL)
    times = panel.page.evaluate("drag(100, 100)")
    assert times["moves"] >= 90
    assert times["p50_ms"] <= nothing["p50"] + 5 * fill + 15, (times, nothing, fill)
