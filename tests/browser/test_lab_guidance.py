"""The guidance slider in JupyterLab itself: what it says while dragged, re-runs, Stop, errors, on either thread."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SETUP = """
import threading, time
import numpy as np
from kit.panels import GuidanceSlider
rng = np.random.default_rng(0)
x, u, c, negative = rng.normal(size=(4, 5, 4, 16, 16)).astype("f4")
rgb = rng.normal(size=(3, 4)) * 0.1, [0.5, 0.5, 0.5]
calls, steps, threads = [], 8, []

def sample(w, **settings):
    calls.append((w, settings))
    threads.append(threading.current_thread().name)
    for step in range(steps):
        if w < 0 and step == 3:
            raise RuntimeError("guided away")
        time.sleep(0.05)
        yield np.full((3, 32, 32), w / 20 * (step + 1) / steps if w > 0 else 0.5)
"""
PANEL = """
panel = GuidanceSlider(x, u, 0.5 * c + u, [900, 700, 500, 300, 100], [0.1, 0.3, 0.5, 0.7, 0.9], rgb,
                       negative=negative, sample=sample, samples={1.0: np.full((3, 32, 32), 0.05)}, title="w")
said = []
panel.on_msg(lambda panel, content, buffers: said.append(content))
state = panel.set_state
panel.set_state = lambda given: (said.append(sorted(given)), state(given))[1]
panel
"""


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 1300}) as (page, errors):
        page.set_default_timeout(30_000)
        yield page
        assert errors == []


def at(panel, w):
    """Where on the page the slider's place for w > 2 is."""
    box = panel.locator(".kit-card > .kit-dial").bounding_box()
    return box["x"] + (0.36 + (w - 2) / 18 * 0.64) * box["width"], box["y"] + 16


def now(panel):
    return float(panel.locator(".kit-card > .kit-dial").get_attribute("aria-valuenow"))


def grey(panel):
    read = "canvas => [...canvas.getContext('2d').getImageData(1, 1, 1, 1).data][0]"
    return panel.locator(".kit-frame canvas").last.evaluate(read)


def eventually(condition, page, seconds=15):
    for _ in range(int(seconds * 20)):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing happened")


@pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])
def test_a_drag_says_nothing_a_release_re_runs_and_what_was_made_is_kept(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("drag.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    page.mouse.move(*at(panel, 3))
    page.mouse.down()
    shown = set()
    for w in (4, 8, 19, 12, 6, 15):
        page.mouse.move(*at(panel, w), steps=10)
        page.wait_for_timeout(30)
        shown.add(panel.locator("canvas").first.evaluate("canvas => canvas.toDataURL()"))
    assert len(shown) == 6 and notebook.ask("(said, calls)") == ([], [])
    page.mouse.up()
    w = now(panel)
    expect(panel.locator("figcaption strong").last).to_have_text("True re-run, finished")
    expect(panel.locator(".kit-said").last).to_have_text(f"w = {w:g}, exactly")
    eventually(lambda: grey(panel) == round(w / 20 * 255), page)
    expect(panel.locator(".kit-found i")).to_have_count(2)
    assert notebook.ask("(panel.w, calls, panel.status)") == (w, [(w, {})], "done")
    assert notebook.ask("said") == [["_timing", "w"]]
    page.mouse.click(*at(panel, 5))
    expect(panel.locator(".kit-found i")).to_have_count(3)
    page.mouse.click(*at(panel, w))
    expect(panel.locator(".kit-said").last).to_have_text(f"w = {w:g}, exactly")
    page.wait_for_timeout(300)
    assert len(notebook.ask("calls")) == 2
    assert set(notebook.ask("threads")) == {"GuidanceSlider"} and notebook.ask("panel.stats()['moves']") > 5


@pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])
def test_stop_ends_a_re_run_within_a_step_and_an_error_leaves_the_panel_alive(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("stop.ipynb", SETUP + "steps = 400", PANEL))
    notebook.run()
    panel = notebook.panel()
    page.mouse.click(*at(panel, 12))
    expect(panel.locator(".kit-said").last).to_contain_text("step 3")
    panel.locator(".kit-stop").click()
    expect(panel.locator(".kit-state")).to_have_text("stopped")
    expect(panel.locator("figcaption strong").last).to_have_text("Nearest finished sample")
    panel.locator(".kit-card > .kit-dial").focus()
    page.keyboard.press("Home")
    expect(panel.locator(".kit-error strong")).to_have_text("RuntimeError: guided away")
    notebook.ask("globals().update(steps=4)")
    page.mouse.click(*at(panel, 12))
    expect(panel.locator("figcaption strong").last).to_have_text("True re-run, finished")
    expect(panel.locator(".kit-error")).to_be_hidden()
    assert notebook.ask("(panel.status, panel.error, len(calls))") == ("done", "", 3) and notebook.errors() == []


def test_the_newest_release_wins_and_a_reloaded_page_has_every_sample(labs, page, open_notebook):
    lab = labs()
    notebook = open_notebook(lab, lab.write("latest.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    for w in (4, 8, 16, 10):
        page.mouse.click(*at(panel, w))
        page.wait_for_timeout(60)
    w = now(panel)
    expect(panel.locator(".kit-said").last).to_have_text(f"w = {w:g}, exactly")
    assert notebook.ask("[row[0][1] for row in panel._finished.rows]") == [1.0, w]
    page.evaluate("notebook.context.save()")
    page.reload()
    notebook.ready()
    panel = notebook.panel()
    expect(panel.locator(".kit-found i")).to_have_count(2)
    eventually(lambda: grey(panel) == round(w / 20 * 255), page)


def test_no_letter_leaks_into_the_notebook_and_close_removes_the_panel(labs, page, open_notebook):
    lab = labs()
    notebook = open_notebook(lab, lab.write("keys.ipynb", SETUP, PANEL, "'last'"))
    notebook.run()
    panel, cells = notebook.panel(), notebook.cells()
    for focus in (
        ".kit-card > .kit-dial",
        "input",
        ".kit-group .kit-button",
        ".kit-high",
        ".kit-head",
        ".kit-code summary",
    ):
        panel.locator(focus).first.focus()
        for key in "amyxbdd":
            page.keyboard.press(key)
        expect(panel.locator(focus).first).to_be_focused()
    page.wait_for_timeout(300)
    assert notebook.cells() == cells == ["code"] * 3
    notebook.ask("panel.close()")
    expect(page.locator(".kit-panel")).to_have_count(0)
