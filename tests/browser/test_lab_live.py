"""The live guidance slider in JupyterLab itself: latest wins, errors, Python's own choices, on either thread."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SETUP = """
import threading, time
import numpy as np
from kit.panels import GuidanceSlider
calls, times = [], []

def draw(prompt, seed, w):
    calls.append((prompt, seed, w))
    if "gryphon" in prompt:
        raise ValueError("no word of the small world: gryphon")
    times.append(time.time())
    time.sleep(0.05)
    return np.full((3, 16, 16), w / 8)
"""
PANEL = """
panel = GuidanceSlider.live(draw, prompt="a horse", title="live")
panel
"""

# A hand that moves 60 times a second; gives when it stops, and how many different pictures it saw.
DRAG = """async seconds => {
  const dial = document.querySelector(".kit-dial"), box = dial.getBoundingClientRect(), since = performance.now();
  const canvas = document.querySelector(".kit-frame canvas"), seen = new Set();
  for (let now = since; now - since < 1000 * seconds; now = performance.now()) {
    const clientX = box.left + box.width * (0.5 + 0.45 * Math.sin((now - since) / 300));
    dial.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX, clientY: box.top + 16 }));
    await new Promise(done => setTimeout(done, 1000 / 60));
    seen.add(canvas.getContext("2d").getImageData(1, 1, 1, 1).data[0]);
  }
  return [Date.now() / 1000, seen.size];
}"""


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 1000}) as (page, errors):
        page.set_default_timeout(30_000)
        yield page
        assert errors == []


def at(panel, w):
    """Where on the page the dial's place for w is."""
    box = panel.locator(".kit-dial").bounding_box()
    return box["x"] + (w - 1) / 7 * box["width"], box["y"] + 16


def now(panel):
    return float(panel.locator(".kit-dial").get_attribute("aria-valuenow"))


def grey(panel):
    read = "canvas => [...canvas.getContext('2d').getImageData(1, 1, 1, 1).data][0]"
    return panel.locator(".kit-frame canvas").first.evaluate(read)


def eventually(condition, page, seconds=15):
    for _ in range(int(seconds * 20)):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing happened")


def shows(panel, page, w):
    """Wait until the picture is that of w."""
    eventually(lambda: grey(panel) == round(w / 8 * 255), page)
    return True


@pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])
def test_a_drag_is_drawn_as_it_goes_and_ends_on_the_last_place(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("drag.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    assert shows(panel, page, 4)
    page.mouse.move(*at(panel, 4))
    page.mouse.down()
    released, seen = page.evaluate(DRAG, 3)
    assert seen >= 5 and notebook.ask("panel.w") == 4.0
    page.mouse.up()
    w = now(panel)
    assert shows(panel, page, w)
    eventually(lambda: notebook.ask("panel.status") == "done", page)
    after = [time for time in notebook.ask("times") if time > released]
    assert len(after) <= 3  # what was under way, what waited, and the last
    assert notebook.ask("calls[-1]") == ("a horse", 0, w) and notebook.ask("panel.w") == w
    eventually(lambda: notebook.ask("panel.stats()")["pictures"] > 3, page)
    stats = notebook.ask("panel.stats()")
    assert stats["p50_ms"] >= 50 and 0 < stats["per_second"] <= 20 and stats["draw_ms"][""] >= 50


def test_prompt_and_seed_are_live_an_error_is_shown_and_python_may_choose(labs, page, open_notebook):
    lab = labs()
    notebook = open_notebook(lab, lab.write("words.ipynb", SETUP, PANEL, "'last'"))
    notebook.run()
    panel = notebook.panel()
    shows(panel, page, 4)
    prompt, seed = panel.get_by_label("Prompt"), panel.get_by_label("Seed", exact=True)
    prompt.fill("a cow")
    eventually(lambda: notebook.ask("calls[-1]") == ("a cow", 0, 4.0), page)
    assert notebook.ask("panel.prompt") == "a horse"
    prompt.press("Enter")
    eventually(lambda: notebook.ask("panel.prompt") == "a cow", page)
    prompt.fill("a gryphon")
    expect(panel.locator(".kit-error strong")).to_have_text("ValueError: no word of the small world: gryphon")
    prompt.fill("a dog")
    expect(panel.locator(".kit-error")).to_be_hidden()
    seed.press("ArrowUp")
    eventually(lambda: notebook.ask("(calls[-1], panel.seed)") == (("a dog", 1, 4.0), 1), page)
    notebook.ask("setattr(panel, 'w', 2.0)")
    assert shows(panel, page, 2) and now(panel) == 2
    cells = notebook.cells()
    for focus in (".kit-prompt", ".kit-dial", ".kit-button"):
        panel.locator(focus).first.focus()
        for key in "amyxbdd":
            page.keyboard.press(key)
        expect(panel.locator(focus).first).to_be_focused()
    page.wait_for_timeout(300)
    assert notebook.cells() == cells == ["code"] * 3


def test_a_kernel_that_is_busy_gets_few_wishes_and_the_newest_is_drawn(labs, page, open_notebook):
    lab = labs(False)
    notebook = open_notebook(lab, lab.write("busy.ipynb", SETUP, PANEL, "time.sleep(6)"))
    notebook.start()
    panel = notebook.panel()
    panel.locator(".kit-dial").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    expect(panel.locator(".kit-state")).to_have_text("no answer: the kernel is busy, or there is none")
    assert shows(panel, page, 6)
    expect(panel.locator(".kit-state")).to_have_text("")
    assert len(notebook.ask("calls[5:]")) <= 6


def test_a_reloaded_page_has_the_last_picture_and_goes_on(labs, page, open_notebook):
    lab = labs()
    notebook = open_notebook(lab, lab.write("reload.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    shows(panel, page, 4)
    page.mouse.click(*at(panel, 6))
    shows(panel, page, now(panel))
    page.evaluate("notebook.context.save()")
    page.reload()
    notebook.ready()
    panel = notebook.panel()
    w = now(panel)
    assert abs(w - 6) < 0.06 and shows(panel, page, w)
    page.mouse.click(*at(panel, 2))
    assert shows(panel, page, now(panel))
    notebook.ask("panel.close()")
    expect(page.locator(".kit-panel")).to_have_count(0)


def test_the_ladder_and_its_toy_beside_it_keep_their_styles_and_tell_the_kernel(labs, page, open_notebook):
    setup = """
from kit.panels import DistillationLadder
levels = {4: [999, 749, 499, 249, -1], 2: [999, 499, -1], 1: [999, -1]}
rungs = {f"{n} steps": [(t, np.full((3, 16, 16), 0.5)) for t in ts] for n, ts in levels.items()}
ladder, toy = DistillationLadder(rungs), DistillationLadder.toy()
ladder
"""
    lab = labs()
    notebook = open_notebook(lab, lab.write("ladder.ipynb", SETUP + setup, "toy", PANEL))
    notebook.run()
    ladder = notebook.panel()
    expect(ladder.locator(".kit-sentence")).to_contain_text("goes from t = 999 to t = 499 at once")
    ladder.locator("button.kit-arc").nth(1).click()
    eventually(lambda: notebook.ask("ladder.at") == [1, 1], page)
    page.keyboard.press("ArrowDown")
    eventually(lambda: notebook.ask("ladder.at") == [2, 0], page)
    for key in "amyxbdd":
        page.keyboard.press(key)
    assert notebook.cells() == ["code"] * 3
    notebook.scroll_to("toy")
    toy = page.locator(".kit-phase")
    toy.locator(".kit-dial").first.focus()
    page.keyboard.press("End")
    eventually(lambda: notebook.ask("toy.steps") == 64, page)
    notebook.scroll_to("GuidanceSlider.live")
    page.locator(".kit-live").wait_for()
    align = "el => getComputedStyle(el).textAlign"
    captions = [panel.locator("figcaption").first.evaluate(align) for panel in (ladder, toy, page.locator(".kit-live"))]
    assert captions == ["left", "left", "center"]
