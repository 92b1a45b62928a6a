"""Panels in JupyterLab itself: mouse, keyboard, theme, streams, with comms on either kind of thread."""

import re

import nbformat
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.lab import ROOT, Lab
from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

IMPORTS = """
import threading, time
import numpy as np
from kit.panels import NoiseScrubber
def picture(step):
    return np.full((3, 16, 16), step % 50 / 50)
"""
SCRUBBER = 'panel = NoiseScrubber([picture(s) for s in range(20)], range(20)[::-1], title="Path", index=0)\npanel'
STREAM = """
def path(steps, seconds):
    for step in range(steps):
        yield picture(step)
        time.sleep(seconds)
"""
BADGE, SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>", {"content_type": "image/svg+xml"}
GREY = """canvas => {
  const copy = new OffscreenCanvas(1, 1).getContext("2d");
  copy.drawImage(canvas, -1, -1);
  return copy.getImageData(0, 0, 1, 1).data[0];
}"""
COLOURS = """panel => ["backgroundColor", "color"].map(name =>
  getComputedStyle(panel)[name].match(/[\\d.]+/g).slice(0, 3).map(Number))"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def lab_without_subshells(tmp_path_factory, chromium):
    lab = Lab(tmp_path_factory.mktemp("lab"), subshells=False)
    yield lab
    lab.close()


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 900}) as (page, errors):
        page.set_default_timeout(30_000)
        # A walkthrough's badges are pictures from elsewhere, and there may be no network.
        page.context.route(re.compile(r"https?://(?!127\.0\.0\.1)"), lambda route: route.fulfill(body=BADGE, **SVG))
        yield page
        assert errors == []


def shows(panel, step, track=0):
    """Wait until the panel shows the picture of the step in that track."""
    want = round(step / 50 * 255)
    for _ in range(200):
        got = panel.locator(".kit-frame canvas").nth(track).evaluate(GREY)
        if got == want:
            return
        panel.page.wait_for_timeout(20)
    raise AssertionError(f"the panel shows grey {got}, wanted {want} (step {step})")


def at(panel, step, steps=20):
    box = panel.locator(".kit-slider").bounding_box()
    return box["x"] + (step + 0.5) * box["width"] / steps, box["y"] + 20


def click(panel, step, steps=20):
    """Click the slider at a step, once it stands still: a page is laid out anew after a load or a theme."""
    slider = panel.locator(".kit-slider")
    slider.click(position={"x": (step + 0.5) * slider.bounding_box()["width"] / steps, "y": 20})


def eventually(condition, page, seconds=10):
    for _ in range(int(seconds * 20)):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing happened")


def test_the_mouse_scrubs_and_the_choice_reaches_python(lab, page, open_notebook):
    notebook = open_notebook(lab, lab.write("mouse.ipynb", IMPORTS, SCRUBBER))
    notebook.run()
    panel = notebook.panel()
    shows(panel, 0)
    page.mouse.move(*at(panel, 3))
    page.mouse.down()
    for step in (3, 11, 17, 8):
        page.mouse.move(*at(panel, step))
        shows(panel, step)
    page.mouse.up()
    eventually(lambda: notebook.ask("(panel.index, panel.live)") == (8, 8), page)
    assert notebook.ask("panel.stats()['moves']") >= 3


def test_the_keyboard_scrubs_and_no_letter_leaks_into_the_notebook(lab, page, open_notebook):
    notebook = open_notebook(lab, lab.write("keys.ipynb", IMPORTS, SCRUBBER, "'last'"))
    notebook.run()
    panel = notebook.panel()
    cells = notebook.cells()
    panel.locator(".kit-slider").click(position={"x": 3, "y": 20})
    keys = dict(ArrowRight=1, ArrowUp=2, PageUp=12, End=19, PageDown=9, ArrowDown=8, Home=0)
    for key, step in keys.items():
        page.keyboard.press(key)
        shows(panel, step)
    for focus in (".kit-slider", ".kit-play", ".kit-speed"):
        panel.locator(focus).focus()
        for key in "amyxbdd":
            page.keyboard.press(key)
        expect(panel.locator(focus)).to_be_focused()
    page.wait_for_timeout(300)
    assert notebook.cells() == cells == ["code"] * 3
    panel.locator(".kit-slider").focus()
    page.keyboard.press("Space")
    eventually(lambda: notebook.ask("panel.index") == 0, page)
    shows(panel, 19)
    eventually(lambda: notebook.ask("panel.index") == 19, page)


def test_the_panel_follows_the_dark_theme(lab, page, open_notebook):
    notebook = open_notebook(lab, lab.write("theme.ipynb", IMPORTS, SCRUBBER))
    notebook.run()
    panel = notebook.panel()
    ground, ink = panel.evaluate(COLOURS)
    assert np.mean(ground) > 200 and np.mean(ink) < 100
    try:
        notebook.command("apputils:change-theme", theme="JupyterLab Dark")
        page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
        ground, ink = panel.evaluate(COLOURS)
        assert np.mean(ground) < 60 and np.mean(ink) > 180
        click(panel, 5)
        shows(panel, 5)
    finally:
        notebook.command("apputils:change-theme", theme="JupyterLab Light")
        page.wait_for_selector("body[data-jp-theme-light=true]", state="attached")


def test_frames_stream_in_while_another_cell_runs_and_stop_is_heard(lab, page, open_notebook):
    busy = """
for _ in range(1200):
    if panel.status != "running":
        break
    time.sleep(0.05)
else:
    raise TimeoutError("Stop was not heard while this cell ran")
"""
    cells = [IMPORTS + STREAM, "panel = NoiseScrubber(path(400, 0.25), range(400))\npanel", busy]
    notebook = open_notebook(lab, lab.write("stream.ipynb", *cells))
    notebook.start()
    slider = notebook.panel().locator(".kit-slider")
    expect(slider).to_have_attribute("aria-valuenow", re.compile("[3-9]"))
    slider.press("Home")
    shows(notebook.panel(), 0)
    notebook.panel().locator(".kit-stop").click()
    expect(notebook.panel().locator(".kit-state")).to_have_text("stopped")
    status, index, frames = notebook.ask("(panel.status, panel.index, panel.stats()['frames'])")
    assert (status, index) == ("cancelled", 0) and 3 < frames < 400
    assert notebook.errors() == []


def test_a_reloaded_page_gets_every_streamed_frame_from_the_kernel(lab, page, open_notebook):
    cells = [
        IMPORTS + STREAM,
        "panel = NoiseScrubber(path(20, 0.01), range(20))\npanel",
        "len(repr(panel.wait(9)))",
    ]
    notebook = open_notebook(lab, lab.write("reload.ipynb", *cells))
    notebook.run()
    shows(notebook.panel(), 19)
    page.evaluate("notebook.context.save()")
    page.reload()
    notebook.ready()
    panel = notebook.panel()
    for step in (19, 0, 7):
        click(panel, step)
        shows(panel, step)


def test_a_track_that_begins_late_is_shown_in_its_own_size(lab, page, open_notebook):
    late = """
def late(steps):
    for step in range(steps):
        yield {"x": picture(step), "x0": picture(step) if step else None}
        time.sleep(0.05)
"""
    cells = [IMPORTS + late, "panel = NoiseScrubber(late(8))\npanel", "len(repr(panel.wait(9)))"]
    notebook = open_notebook(lab, lab.write("late.ipynb", *cells))
    notebook.run()
    for track in (0, 1):
        shows(notebook.panel(), 7, track)
    widths = notebook.panel().locator(".kit-frame canvas").evaluate_all("all => all.map(canvas => canvas.width)")
    assert widths == [16, 16]


def test_an_error_in_the_generator_is_shown_in_the_panel(lab, page, open_notebook):
    bad = "def bad():\n    yield picture(0)\n    raise RuntimeError('no more memory')\nNoiseScrubber(bad())"
    notebook = open_notebook(lab, lab.write("error.ipynb", IMPORTS, bad))
    notebook.run()
    expect(notebook.panel().locator(".kit-error strong")).to_have_text("RuntimeError: no more memory")


def test_two_outputs_of_one_panel_move_together_and_close_removes_both(lab, page, open_notebook):
    notebook = open_notebook(lab, lab.write("views.ipynb", IMPORTS, SCRUBBER, "panel"))
    notebook.run()
    first, second = notebook.panel(0), notebook.panel(1)
    first.scroll_into_view_if_needed()
    page.mouse.click(*at(first, 6))
    shows(first, 6)
    shows(second, 6)
    notebook.ask("panel.close()")
    expect(page.locator(".kit-panel")).to_have_count(0)


@pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])
def test_choices_arrive_on_either_kind_of_thread(lab, lab_without_subshells, page, open_notebook, subshells):
    lab = lab if subshells else lab_without_subshells
    watch = "threads = []\npanel.observe(lambda change: threads.append(threading.current_thread().name), 'index')"
    stream = "stream = NoiseScrubber(path(20, 0.02), range(20))\nstream"
    notebook = open_notebook(lab, lab.write("threads.ipynb", IMPORTS + STREAM, SCRUBBER, watch, stream))
    notebook.run()
    panel = notebook.panel()
    page.mouse.click(*at(panel, 5))
    shows(panel, 5)
    eventually(lambda: notebook.ask("panel.index") == 5, page)
    assert notebook.ask("threads[0]").startswith("subshell") == subshells
    shows(notebook.panel(1), 19)


def test_the_first_walkthrough_runs_and_its_first_scrubber_moves(lab, page, open_notebook):
    walkthrough = nbformat.read(ROOT / "walkthroughs" / "stable-diffusion.ipynb", as_version=4)
    page.set_default_timeout(300_000)
    notebook = open_notebook(lab, lab.add("stable-diffusion.ipynb", walkthrough))
    notebook.run()
    page.set_default_timeout(30_000)
    notebook.scroll_to("NoiseScrubber(")
    panel = notebook.panel()
    seen = set()
    length = int(panel.locator(".kit-slider").get_attribute("aria-valuemax")) + 1
    panel.locator(".kit-slider").focus()
    for key, step in [("Home", 0), ("End", length - 1), ("ArrowLeft", length - 2)]:
        page.keyboard.press(key)
        expect(panel.locator(".kit-slider")).to_have_attribute("aria-valuenow", str(step))
        page.wait_for_timeout(200)
        seen.add(panel.locator(".kit-frame canvas").first.evaluate("canvas => canvas.toDataURL()"))
    page.mouse.click(*at(panel, length // 2, length))
    expect(panel.locator(".kit-slider")).to_have_attribute("aria-valuenow", str(length // 2))
    page.wait_for_timeout(200)
    seen.add(panel.locator(".kit-frame canvas").first.evaluate("canvas => canvas.toDataURL()"))
    assert len(seen) == 4
