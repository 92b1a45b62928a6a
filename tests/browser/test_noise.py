"""The scrubber in Chromium, on a bare page without a kernel: what the hand does, what the eye sees."""

import base64
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from kit.panels import NoiseScrubber
from kit.panels._pictures import as_picture, encode
from tests.browser.stage import colour, flat, scrubber

pytestmark = pytest.mark.browser


def frame(step, track=0):
    return track, step, encode(as_picture(flat(step, track), "frame"))


# The hand


def test_dragging_shows_the_step_under_the_pointer_in_every_track(stage):
    panel = stage(scrubber(tracks=3))
    panel.shows(0, tracks=3)
    panel.page.mouse.move(*panel.at(3))
    panel.page.mouse.down()
    for step in (3, 12, 24, 7):
        panel.page.mouse.move(*panel.at(step))
        panel.shows(step, tracks=3)
    panel.page.mouse.up()
    assert panel.now() == 7


def test_a_drag_beyond_the_end_stays_at_the_end(stage):
    panel = stage(scrubber())
    panel.page.mouse.move(*panel.at(3))
    panel.page.mouse.down()
    panel.page.mouse.move(*panel.at(40))
    panel.shows(24)
    panel.page.mouse.move(-50, 5)
    panel.shows(0)


def test_a_drag_speaks_on_press_and_on_release_only(stage):
    panel = stage(scrubber())
    panel.page.mouse.move(*panel.at(1))
    panel.page.mouse.down()
    panel.page.mouse.move(*panel.at(20), steps=20)
    panel.page.wait_for_timeout(120)
    assert len(panel.log()) == 1 and panel.saved("index") == panel.saved("live") == [1]
    panel.page.mouse.up()
    assert len(panel.log()) == 2 and panel.saved("index") == panel.saved("live") == [1, 20]


def test_a_drag_speaks_in_between_if_somebody_listens(stage):
    path = scrubber()
    path.observe(print, "live")
    panel = stage(path)
    panel.page.mouse.move(*panel.at(1))
    panel.page.mouse.down()
    panel.page.mouse.move(*panel.at(20), steps=20)
    panel.page.wait_for_timeout(120)
    assert panel.saved("index") == [1] and panel.saved("live")[-1] == 20
    panel.page.mouse.up()
    assert panel.saved("index") == [1, 20]


def test_a_fast_drag_speaks_at_most_every_50_ms_and_in_traits_only(stage):
    path = scrubber()
    path.observe(print, ["index", "live"])
    panel = stage(path)
    panel.page.evaluate("drag(150, 25, 4)")
    saves = panel.log()
    times = [entry["at"] for entry in saves[1:-1]]  # between press and release
    assert len(times) >= 3 and min(np.diff(times)) >= 45
    assert {entry["kind"] for entry in saves} == {"save"}


def test_hovering_previews_without_a_word_to_the_kernel_and_a_click_commits(stage):
    panel = stage(scrubber(timesteps=range(240, -1, -10)))
    panel.page.mouse.move(*panel.at(9))
    panel.shows(9)
    assert (panel.now(), panel.reading("t")) == (0, "150")
    expect(panel.find(".kit-preview .kit-ghost")).to_have_css("opacity", "1")
    panel.page.mouse.move(5, 790)
    panel.shows(0)
    assert panel.reading("t") == "240" and panel.log() == []
    panel.page.mouse.click(*panel.at(9))
    panel.shows(9)
    assert panel.now() == 9 and panel.saved("index") == [9]


KEYS = [("ArrowRight", 11), ("ArrowUp", 11), ("ArrowLeft", 9), ("ArrowDown", 9), ("Shift+ArrowRight", 20),
        ("Shift+ArrowLeft", 0), ("PageUp", 20), ("PageDown", 0), ("Home", 0), ("End", 24)]  # fmt: skip


@pytest.mark.parametrize(("key", "step"), KEYS, ids=[key for key, _ in KEYS])
def test_keys_move_and_commit(stage, key, step):
    panel = stage(scrubber(index=10))
    panel.slider.focus()
    panel.page.keyboard.press(key)
    panel.shows(step)
    assert panel.now() == step and panel.saved("index") == [step]


def test_a_key_still_down_when_the_focus_leaves_has_chosen(stage):
    panel = stage(scrubber(index=10))
    panel.slider.focus()
    panel.page.keyboard.down("ArrowRight")
    panel.shows(11)
    panel.slider.blur()
    assert panel.saved("index") == [11]


def test_a_frame_that_arrives_while_a_key_is_down_does_not_take_the_playhead_along(stage):
    panel = stage(scrubber(index=23))
    panel.slider.focus()
    panel.page.keyboard.down("Home")
    panel.page.evaluate("kernel.set('index', 24)")
    panel.page.keyboard.up("Home")
    panel.shows(0)
    assert panel.saved("index") == [0]
    panel.page.evaluate("kernel.set('index', 7)")
    panel.shows(7)


def test_keys_stop_at_the_ends_and_leave_other_keys_to_the_page(stage):
    panel = stage(scrubber())
    panel.slider.focus()
    panel.page.evaluate("window.left = []; addEventListener('keydown', e => left.push([e.key, e.defaultPrevented]))")
    for key in ("ArrowLeft", "a", "Control+ArrowRight", "Tab"):
        panel.page.keyboard.press(key)
    assert panel.now() == 0
    left = panel.page.evaluate("left")
    assert ["ArrowLeft", True] in left and ["a", False] in left and ["ArrowRight", False] in left


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    path = scrubber()
    path.status, path.error, path.traceback = "running", "RuntimeError: no", "Traceback ..."
    panel = stage(path)
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) == 6  # slider, play, speed, stop, summary, traceback
    assert {value for _, value in focusable} == {"true"}


def test_the_focused_slider_has_a_ring(stage):
    panel = stage(scrubber())
    for _ in range(3):
        panel.page.keyboard.press("Tab")
        if panel.slider.evaluate("el => el === document.activeElement"):
            break
    expect(panel.slider).to_have_css("outline-style", "solid")
    assert float(panel.slider.evaluate("el => parseFloat(getComputedStyle(el).outlineWidth)")) >= 2


def test_playing_shows_every_step_in_turn_and_is_silent_until_it_pauses(stage):
    panel = stage(scrubber(steps=8))
    panel.page.evaluate("""window.seen = [];
      const watch = () => { seen.push(+document.querySelector(".kit-slider").getAttribute("aria-valuenow"));
                            requestAnimationFrame(watch); }; watch()""")
    for _ in range(3):  # 1x, 2x, 4x, 0.5x
        panel.find(".kit-speed").click()
    panel.find(".kit-speed").click()
    assert panel.find(".kit-speed").inner_text() == "1×"
    panel.find(".kit-play").click()
    expect(panel.find(".kit-play")).to_have_attribute("aria-label", "Pause")
    panel.page.wait_for_function("seen.includes(5)")
    assert panel.log() == []
    expect(panel.find(".kit-play")).to_have_attribute("aria-label", "Play", timeout=5000)
    seen = panel.page.evaluate("seen.filter((step, i) => step !== seen[i - 1])")
    assert seen == list(range(8))
    assert panel.saved("index") == [7]


def test_space_plays_and_pauses_and_a_finished_path_starts_again(stage):
    panel = stage(scrubber(index=24))
    panel.slider.focus()
    panel.page.keyboard.press("Space")
    panel.page.wait_for_function("document.querySelector('.kit-slider').getAttribute('aria-valuenow') == 2")
    panel.page.keyboard.press("Space")
    stopped = panel.now()
    panel.page.wait_for_timeout(300)
    assert panel.now() == stopped == panel.saved("index")[-1] and 2 <= stopped <= 4


# The eye


def test_readings_follow_the_schedule(stage):
    alpha_bar = [0.0, 0.2, 0.5, 0.9, 1.0]
    panel = stage(scrubber(steps=5, timesteps=[999, 600, 300, 10, -1], alpha_bar=alpha_bar, labels=list("abcde")))
    panel.slider.focus()
    shown = []
    for _ in range(5):
        shown.append([panel.reading(name) for name in ("step", "t", "ᾱ", "σ", "log-SNR")])
        panel.page.keyboard.press("ArrowRight")
        panel.page.wait_for_timeout(60)
    assert shown[0] == ["1 / 5", "999", "0.00", "∞", "−∞"]
    assert shown[4] == ["5 / 5", "clean", "1.00", "0.00", "∞"]
    for step in (1, 2, 3):
        read = [float(text.replace("−", "-")) for text in shown[step][2:]]
        a = alpha_bar[step]
        np.testing.assert_allclose(read, [a, np.sqrt(1 / a - 1), np.log(a / (1 - a))], rtol=5e-3, atol=1e-9)
    assert panel.find(".kit-label").inner_text() == "e"
    assert panel.slider.get_attribute("aria-valuetext") == "step 5 / 5, t clean, ᾱ 1.00, σ 0.00, log-SNR ∞, e"


def test_the_slider_tells_assistive_technology_what_it_is(stage):
    panel = stage(scrubber(index=3))
    tree = panel.find(".kit-panel").aria_snapshot()
    assert 'slider "Path"' in tree and 'button "Play"' in tree and 'button "Speed 1×"' in tree
    assert [panel.slider.get_attribute(f"aria-value{end}") for end in ("min", "max", "now")] == [
        "0",
        "24",
        "3",
    ]


def test_the_strip_shows_each_step_below_the_slider_in_its_place(stage):
    panel = stage(scrubber(steps=10))
    panel.shows(0)
    panel.page.wait_for_timeout(200)
    assert panel.page.evaluate("stripColours(10)") == [colour(step) for step in range(10)]


def test_nothing_moves_while_scrubbing(stage):
    steps = 25
    notes = dict(
        timesteps=[1000 - 41 * s for s in range(steps)],
        alpha_bar=np.linspace(0.0001, 1, steps),
        labels=["x" * (1 + 9 * s) for s in range(steps)],
    )
    panel = stage(scrubber(steps, 2, **notes))
    panel.slider.focus()
    layouts = set()
    for _ in range(steps):
        panel.page.wait_for_timeout(25)
        layouts.add(str(panel.page.evaluate("places()")))
        panel.page.keyboard.press("ArrowRight")
    assert len(layouts) == 1


@pytest.mark.parametrize("width", [320, 480, 960, 1600])
@pytest.mark.parametrize("tracks", [1, 3])
def test_it_fits_any_width_and_enlarges_by_whole_pixels(stage, width, tracks):
    panel = stage(scrubber(steps=5, tracks=tracks, size=48, timesteps=range(5), alpha_bar=[0.5] * 5),
                  viewport={"width": width, "height": 800}, device_scale_factor=2)  # fmt: skip
    panel.shows(0, tracks)
    assert panel.page.evaluate("beyondTheEdge()") == []
    side = panel.find(".kit-frame").first.bounding_box()["width"]
    assert side * 2 % 48 == 0 and side >= 96


def test_pictures_use_their_room_where_whole_pixels_would_waste_it(stage):
    panel = stage(scrubber(steps=2, tracks=3, size=128), viewport={"width": 818, "height": 800})
    assert panel.find(".kit-frame").first.bounding_box()["width"] > 240


def test_readings_are_proof_against_the_hosts_styles(stage):
    panel = stage(scrubber(timesteps=range(25), alpha_bar=[0.5] * 25))
    before = panel.page.evaluate("places()")
    panel.page.add_style_tag(content="dt { float: left; width: 20%; padding: 3px } dd { width: 78%; margin: 9px }")
    assert panel.page.evaluate("places()") == before


def test_it_grows_and_shrinks_with_its_place(stage):
    panel = stage(scrubber(tracks=3, size=64))
    before = panel.find(".kit-frame").first.bounding_box()["width"]
    panel.page.set_viewport_size({"width": 420, "height": 800})
    panel.page.wait_for_timeout(100)
    assert panel.find(".kit-frame").first.bounding_box()["width"] < before
    panel.page.mouse.click(*panel.at(11))
    panel.shows(11, 3)


def luminance(text):
    """Relative luminance of a computed colour, `rgb(r, g, b)` or `color(srgb r g b)`, as WCAG defines it."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)[:3]]
    channels = numbers if "srgb" in text else [number / 255 for number in numbers]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    path = scrubber(timesteps=range(25), labels=["word"] * 25)
    path.status, path.error, path.traceback = "running", "RuntimeError: no", "Traceback ..."
    panel = stage(path, color_scheme=scheme)
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    for selector in (
        ".kit-title",
        ".kit-state",
        "strong",
        ".kit-stop",
        "dt",
        "dd",
        ".kit-label",
        ".kit-ticks span",
    ):
        ink = luminance(panel.find(selector).first.evaluate("el => getComputedStyle(el).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def test_the_hosts_colours_come_first(stage):
    panel = stage(scrubber())
    panel.page.evaluate("document.body.style.setProperty('--jp-layout-color0', 'rgb(1, 2, 3)')")
    expect(panel.find(".kit-panel")).to_have_css("background-color", "rgb(1, 2, 3)")


def test_reduced_motion_is_respected(stage):
    path = scrubber()
    path.status = "running"
    dot = "el => getComputedStyle(el, '::before').animationName"
    assert stage(path).find(".kit-state").evaluate(dot) == "kit-pulse"
    assert stage(path, reduced_motion="reduce").find(".kit-state").evaluate(dot) == "none"


def test_latents_have_hard_pixels_and_pictures_do_not(stage):
    panel = stage(NoiseScrubber({"latent": [np.zeros((16, 16))], "picture": [np.zeros((128, 128))]}))
    expect(panel.find("canvas").nth(0)).to_have_css("image-rendering", "pixelated")
    expect(panel.find("canvas").nth(1)).to_have_css("image-rendering", "auto")


# Frames that arrive later


@pytest.mark.parametrize(
    ("settings", "under"),
    [
        (dict(timesteps=[30, 20, 10, -1], labels=list("abcd")), ["30", "20", "10", "clean"]),
        (dict(labels=[f"r = 0.{i}" for i in range(4)]), ["r = 0.0", "r = 0.1", "r = 0.2", "r = 0.3"]),
        (dict(labels=[f"a sentence about picture {i}" for i in range(4)]), ["1", "2", "3", "4"]),
        ({}, ["1", "2", "3", "4"]),
    ],
)
def test_ticks_are_named_by_timesteps_or_by_short_labels(stage, settings, under):
    panel = stage(scrubber(steps=4, **settings))
    panel.shows(0)
    assert panel.page.locator(".kit-ticks span").all_text_contents() == under


def stream(steps=10, **settings):
    """A panel as it is while a generator runs: one frame there, the length announced."""
    path = scrubber(1)
    path.length, path.timesteps, path.status = steps, list(range(steps))[::-1], "running"
    return path


def missing(panel):
    """The hatched stretches as (first step, steps), from their places."""
    width = panel.slider.bounding_box()["width"]
    return panel.find(".kit-gaps").evaluate(
        "(el, unit) => [...el.children].map(gap => [parseFloat(gap.style.left), parseFloat(gap.style.width)]"
        ".map(x => Math.round(x / unit)))", width / 10)  # fmt: skip


def test_missing_steps_are_hatched_until_their_frames_arrive(stage):
    panel = stage(stream())
    assert missing(panel) == [[1, 9]]
    panel.frames(frame(1), frame(5))
    assert missing(panel) == [[2, 3], [6, 4]]
    panel.page.mouse.click(*panel.at(5, 10))
    panel.shows(5)
    panel.page.mouse.click(*panel.at(7, 10))
    expect(panel.find(".kit-frame")).to_have_class("kit-frame kit-missing")
    panel.frames(frame(7))
    panel.shows(7)


def test_a_view_opened_late_has_every_frame(stage):
    panel = stage(stream())
    panel.frames(*[frame(step) for step in range(1, 10)])
    late = panel.open()
    panel.page.evaluate("kernel.set('index', 8)")
    panel.shows(8, view=late)


def test_the_whole_state_fills_what_messages_missed_and_repeats_nothing(stage):
    panel = stage(stream())
    panel.frames(frame(1))
    whole = scrubber(10).get_state()["_frames"]
    panel.page.wait_for_timeout(300)
    before = panel.page.evaluate("made")
    blob = base64.b64encode(whole["blob"]).decode()
    panel.page.evaluate("([table, blob]) => kernel.state(table, blob)", [whole["table"], blob])
    panel.page.wait_for_timeout(300)
    assert missing(panel) == []
    thumbnails = 10
    assert panel.page.evaluate("made") - before == 8 + thumbnails
    panel.page.evaluate("kernel.set('index', 9)")
    panel.shows(9)


def test_frames_in_json_are_read_where_binary_cannot_pass(stage):
    panel = stage(stream())
    track, step, data = frame(4)
    content = {"table": [[track, step, len(data)]], "base64": base64.b64encode(data).decode()}
    panel.page.evaluate("content => kernel.say({ kind: 'frames', ...content })", content)
    panel.page.mouse.click(*panel.at(4, 10))
    panel.shows(4)


def test_an_unknown_length_grows_with_the_frames(stage):
    path = scrubber(1)
    path.status = "running"
    panel = stage(path)
    panel.page.evaluate("kernel.set('length', 2)")
    panel.frames(frame(1))
    panel.page.evaluate("kernel.set('index', 1)")
    panel.shows(1)
    assert (panel.slider.get_attribute("aria-valuemax"), panel.reading("step")) == ("1", "2 / 2")


def test_the_kernel_does_not_move_a_playhead_held_in_the_hand(stage):
    panel = stage(stream())
    panel.frames(*[frame(step) for step in range(1, 5)])
    panel.page.mouse.move(*panel.at(2, 10))
    panel.page.mouse.down()
    panel.shows(2)
    panel.page.evaluate("kernel.set('index', 4)")
    panel.page.wait_for_timeout(60)
    assert panel.now() == 2
    panel.page.mouse.up()
    assert panel.saved("index")[-1] == 2


def test_stop_asks_the_kernel_and_goes_when_it_has_stopped(stage):
    panel = stage(stream())
    panel.find(".kit-stop").click()
    assert panel.log() == [{"kind": "send", "content": {"kind": "stop"}}]
    panel.page.evaluate("kernel.set('status', 'cancelled')")
    expect(panel.find(".kit-stop")).to_be_hidden()
    expect(panel.find(".kit-state")).to_have_text("stopped")


def test_playing_waits_for_frames_that_are_on_their_way(stage):
    panel = stage(stream())
    panel.frames(frame(1), frame(2))
    panel.find(".kit-play").click()
    panel.shows(2)
    panel.page.wait_for_timeout(300)
    assert panel.now() == 2
    panel.frames(frame(3))
    panel.shows(3)


def test_an_error_is_shown_with_its_traceback_folded(stage):
    panel = stage(stream())
    expect(panel.find(".kit-error")).to_be_hidden()
    panel.page.evaluate("kernel.set('traceback', 'Traceback: line 7 <b>in</b> step')")
    panel.page.evaluate("kernel.set('error', 'ValueError: <i>bad</i>')")
    expect(panel.find(".kit-error strong")).to_have_text("ValueError: <i>bad</i>")
    expect(panel.find(".kit-error pre")).to_be_hidden()
    panel.find("summary").click()
    expect(panel.find(".kit-error pre")).to_have_text("Traceback: line 7 <b>in</b> step")


def test_a_step_without_a_picture_in_one_track_is_hatched_there_only(stage):
    panel = stage(NoiseScrubber({"a": [flat(0), flat(1)], "b": [None, flat(1, 1)]}, index=0))
    frames = panel.find(".kit-frame")
    expect(frames.nth(1)).to_have_class("kit-frame kit-missing")
    expect(frames.nth(0)).to_have_class("kit-frame")
    assert panel.find(".kit-gaps > div").count() == 0
    panel.page.mouse.click(*panel.at(1, 2))
    panel.shows(1, tracks=2)
    expect(frames.nth(1)).to_have_class("kit-frame")


# Many views, many frames, the end


def test_two_views_of_one_panel_move_together(stage):
    panel = stage(scrubber())
    second = panel.open()
    panel.page.mouse.move(*panel.at(14))
    panel.page.mouse.down()
    panel.shows(14)
    panel.shows(14, view=second)


def test_a_view_that_ends_in_the_hand_lets_go_of_the_playhead(stage):
    panel = stage(scrubber())
    panel.page.mouse.move(*panel.at(4))
    panel.page.mouse.down()
    panel.shows(4)
    other = panel.open()
    panel.page.evaluate("views[0].remove()")
    panel.page.evaluate("kernel.set('index', 9)")
    panel.shows(9, view=other - 1)


def test_an_ended_view_listens_no_more_and_the_other_lives_on(stage):
    panel = stage(scrubber())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    panel.page.mouse.click(*panel.at(6))
    panel.shows(6)


def test_decoded_frames_stay_within_64_mb_wherever_the_playhead_goes(stage):
    side, steps = 1024, 40  # 160 MB decoded
    big = NoiseScrubber([np.full((side, side), step / steps) for step in range(steps)], index=0)
    panel = stage(big)
    for step in (0, 20, 39, 3):
        panel.page.mouse.click(*panel.at(step, steps))
        panel.page.wait_for_function(
            "want => Math.abs(colourAt(document.querySelector('.kit-frame canvas'), 0.5)[0] - want) < 2",
            arg=round(step / steps * 255),
        )
    panel.page.wait_for_function("window.idle = (window.idle ?? 0) + 1, window.idle > 30")
    assert panel.page.evaluate("alive()") * side * side * 4 <= 64 * 2**20 + 4 * side * side
    panel.page.evaluate("end()")
    panel.page.wait_for_timeout(100)
    assert panel.page.evaluate("alive()") == 0


def test_scrubbing_is_as_quick_as_drawing_nothing(stage):
    """p50 and p95 of input to paint at 512 x 512, beside the same chain of events that draws nothing."""
    rng = np.random.default_rng(0)
    path = NoiseScrubber([rng.random((512, 512, 3)) for _ in range(20)], index=0)
    panel = stage(path)
    panel.page.wait_for_timeout(800)
    nothing = panel.page.evaluate("nothingDrawn(60)")
    times = panel.page.evaluate("drag(120, 20)")
    assert times["moves"] >= 100
    assert times["p50_ms"] <= nothing["p50"] + 8 and times["p95_ms"] <= nothing["p95"] + 40, (times, nothing)
