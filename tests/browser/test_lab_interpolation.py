"""The interpolation slider and a real training run in JupyterLab itself: silence, re-runs, Stop and what it keeps."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SETUP = """
import time
import numpy as np
from kit.panels import InterpolationSlider
calls, steps = [], 8
made = lambda eta: np.stack([np.full((3, 32, 32), (eta * 100 + row) / 255) for row in (0, 5)])

def sample(eta):
    calls.append(eta)
    for step in range(steps):
        if eta > 1.15 and step == 3:
            raise RuntimeError("beyond the words")
        time.sleep(0.05)
        yield made(eta)
"""
PANEL = """
etas = np.linspace(0, 1.2, 7)
panel = InterpolationSlider(np.stack([made(eta) for eta in etas], 1), etas, source=made(0)[0], sample=sample, eta=0.6,
                            fidelity=1 - etas / 2, alignment=etas)
said = []
panel.on_msg(lambda panel, content, buffers: said.append(content))
state = panel.set_state
panel.set_state = lambda given: (said.append(sorted(given)), state(given))[1]
panel
"""
# A network of two layers that learns to draw one picture, by kit.diffusion.imagic itself.
TRAIN = """
import torch
from torch import nn
from kit.diffusion import Schedule, imagic
from kit.diffusion.denoising import Denoising
from kit.diffusion.training import Plan
from kit.panels import TrainingPanel

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.picture, self.words = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(4, 3)
    def forward(self, x, t, cond):
        return self.picture(x) + self.words(cond.mean(1))[:, :, None, None]

x0, cond = torch.rand(1, 3, 16, 16), torch.randn(1, 2, 4)
plan = Plan(steps=200_000, lr=1e-3, warmup=0, floor=1, every=100_000)

def fit(folder):
    denoising = Denoising(Schedule.stable_diffusion(1.0))
    return imagic.fit(Tiny(), denoising, x0, cond, embedding=plan, model=plan, folder=folder)

@torch.no_grad()
def look(state):
    return state.network(x0, 0, state.cond)[0].sigmoid()
"""
RUN = "panel = TrainingPanel(fit(folder), look=look, every=0.2, title='one picture')\npanel"
either_thread = pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 1300}) as (page, errors):
        page.set_default_timeout(60_000)
        yield page
        assert errors == []


def at(panel, eta):
    """Where on the page the slider's place for an eta is."""
    box = panel.locator(".kit-dial").bounding_box()
    return box["x"] + eta / 1.2 * box["width"], box["y"] + box["height"] - 43


def now(panel):
    return float(panel.locator(".kit-dial").get_attribute("aria-valuenow"))


def greys(panel):
    """The greys of the two pictures at eta."""
    read = "canvas => canvas.getContext('2d').getImageData(1, 1, 1, 1).data[0]"
    return [canvas.evaluate(read) for canvas in panel.locator("figure").nth(2).locator("canvas").all()]


def eventually(condition, page, seconds=20):
    for _ in range(int(seconds * 20)):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing happened")


@either_thread
def test_a_drag_says_nothing_a_release_re_runs_and_what_was_made_is_kept(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("drag.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    page.mouse.move(*at(panel, 0.6))
    page.mouse.down()
    for nearest in (0.2, 0.8, 1.0, 0, 0.4):
        page.mouse.move(*at(panel, nearest + 0.04), steps=8)
        eventually(lambda nearest=nearest: greys(panel) == [round(100 * nearest), round(100 * nearest + 5)], page)
    assert notebook.ask("(said, calls)") == ([], [])
    page.mouse.up()
    eta = now(panel)
    said = panel.locator(".kit-said").nth(2)
    expect(said).to_have_text("true re-run, finished")
    eventually(lambda: greys(panel) == [round(100 * eta), round(100 * eta + 5)], page)
    assert notebook.ask("(panel.eta, calls, panel.status)") == (eta, [eta], "done")
    assert notebook.ask("said") == [["_timing", "eta"]] and notebook.ask("panel.stats()['moves']") > 5
    for place in (1.0, eta):
        page.mouse.click(*at(panel, place))
    expect(said).to_have_text("true re-run, finished")
    assert notebook.ask("calls") == [eta]
    page.evaluate("notebook.context.save()")
    page.reload()
    notebook.ready()
    panel = notebook.panel()
    expect(panel.locator(".kit-found i")).to_have_count(8)
    eventually(lambda: greys(panel) == [round(100 * eta), round(100 * eta + 5)], page)


@either_thread
def test_the_newest_release_wins_stop_ends_it_and_an_error_leaves_the_slider_alive(
    labs, page, open_notebook, subshells
):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("stop.ipynb", SETUP + "steps = 400", PANEL))
    notebook.run()
    panel = notebook.panel()
    said = panel.locator(".kit-said").nth(2)
    for eta in (0.1, 0.3, 0.9):
        page.mouse.click(*at(panel, eta))
        page.wait_for_timeout(150)
    expect(said).to_contain_text("true re-run, step 3")
    wanted = now(panel)
    assert greys(panel) == [round(100 * wanted), round(100 * wanted + 5)]
    panel.locator(".kit-stop").click()
    expect(panel.locator(".kit-state")).to_have_text("stopped")
    expect(said).to_contain_text("the nearest, of η = ")
    panel.locator(".kit-dial").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(panel.locator(".kit-error strong")).to_have_text("RuntimeError: beyond the words")
    notebook.ask("globals().update(steps=4)")
    page.mouse.click(*at(panel, 0.5))
    expect(said).to_have_text("true re-run, finished")
    expect(panel.locator(".kit-error")).to_be_hidden()
    assert notebook.ask("(panel.status, calls[-1])") == ("done", now(panel)) and notebook.errors() == []


@either_thread
def test_a_real_run_is_watched_stopped_and_gone_on_with(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    cells = [TRAIN, f"folder = 'run-{subshells}'", RUN]
    notebook = open_notebook(lab, lab.write(f"train-{subshells}.ipynb", *cells))
    notebook.run()
    if subshells:  # a cell that waits; on the main thread no Stop would be heard meanwhile
        page.evaluate("() => { notebook.sessionContext.session.kernel.requestExecute({ code: 'panel.wait()' }); }")
    panel = notebook.panel()
    step = panel.locator("dd").first
    done = lambda: int(step.text_content().replace("–", "0").split()[0])  # noqa: E731
    eventually(lambda: done() > 1, page, 60)
    expect(panel.locator(".kit-stage")).to_have_text("embedding")
    expect(panel.locator("figure canvas")).to_be_visible()
    before = done()
    eventually(lambda: done() > before, page)  # also while a cell waits
    panel.locator(".kit-stop").click()
    expect(panel.locator(".kit-state")).to_have_text("stopped; what was learnt is kept", timeout=20_000)
    stage, stopped = notebook.ask("(panel.wait().stage, panel.state.step)")
    assert stage == "embedding" and before < stopped < 200_000 and done() == stopped
    assert (lab.work / f"run-{subshells}/embedding.safetensors").exists()
    notebook.ask("globals().update(second=TrainingPanel(fit(folder)))")
    notebook.ask("(__import__('time').sleep(2), second.stop())")
    assert notebook.ask("(second.wait().step > panel.state.step, second._losses.points[0][0])") == (True, stopped + 1)
    assert notebook.errors() == []


def test_no_letter_leaks_into_the_notebook_and_close_removes_the_panels(labs, page, open_notebook):
    lab = labs()
    cells = [SETUP, PANEL, TRAIN, "slider, folder = panel, None", RUN]
    notebook = open_notebook(lab, lab.write("keys.ipynb", *cells))
    notebook.run()
    count = notebook.cells()
    for number, focus in ((0, ".kit-dial"), (0, "input"), (1, ".kit-stop"), (1, ".kit-group .kit-button")):
        place = notebook.panel(number).locator(focus).first
        place.focus()
        for key in "amyxbdd":
            page.keyboard.press(key)
        expect(place).to_be_focused()
    page.wait_for_timeout(300)
    assert notebook.cells() == count == ["code"] * 5
    notebook.ask("(slider.close(), panel.close())")
    expect(page.locator(".kit-panel")).to_have_count(0)
