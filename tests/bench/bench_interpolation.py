"""Dragging eta over pictures of 512 x 512 in JupyterLab: mouse moved to pictures painted; a long curve."""

from tests.bench.bench_guidance import STICK, drag, stopped
from tests.bench.labs import forgotten, on_either_thread, row, times
from tests.browser.drive import LISTEN
from tests.browser.lab import Notebook

SETUP = """
import gc, os, time, types, weakref
from pathlib import Path
import numpy as np
from IPython.display import display
from kit.panels import InterpolationSlider, TrainingPanel

rng = np.random.default_rng(0)
etas = np.linspace(0, 1.2, 61)

def sample(eta):
    for step in range(400):
        time.sleep(0.1)
        yield rng.random((1, 3, 512, 512))

def slider(rows, side):
    y, x = np.mgrid[:side, :side].astype("f4") / side
    pictures = np.array([[[x, y, (x + eta + row / 4) % 1] for eta in etas] for row in range(rows)], "f4")
    return InterpolationSlider(pictures, etas, source=pictures[0, 0], fidelity=1 - etas, alignment=etas, flat=0.4,
                               sample=sample if rows == 1 else None)

def opened():
    return slider(1, 256)
"""
PANELS = {"one row of 512 x 512": "slider(1, 512)", "four rows of 256 x 256": "slider(4, 256)"}

# A run of many steps that goes on.
RUN = """
steps = 20_000
def run():
    for step in range(1, steps):
        yield types.SimpleNamespace(step=step, steps=steps, loss=1 / step)
    while True:
        time.sleep(0.1)
        yield types.SimpleNamespace(step=steps, steps=steps, loss=0.1)
training = TrainingPanel(run())
training
"""
# Milliseconds of each redrawing of the curve: a click on the other axis to the frame that shows it.
REDRAWN = """async count => {
  const times = [], view = document.querySelector(".kit-training");
  for (let i = 0; i < count; i++) {
    const since = performance.now(), before = view.querySelector(".kit-now");
    view.querySelectorAll(".kit-group .kit-button")[i % 2].click();
    await new Promise(done => {
      const look = () => view.querySelector(".kit-now") === before ? requestAnimationFrame(look) : done();
      requestAnimationFrame(look);
    });
    times.push(performance.now() - since);
    await new Promise(done => setTimeout(done, 100));
  }
  return times;
}"""


def dragged(page, panel, what, threads):
    """Rows of a drag, and of what the kernel heard in it; the mouse is up again."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".kit-dial").bounding_box()
    page.evaluate("said.length = 0")
    moves = drag(page, box["x"] + 0.1 * box["width"], box["y"] + box["height"] - 43, box["width"] / 60)
    said = page.evaluate("said.length")
    side = round(panel.locator(".kit-frame").first.bounding_box()["width"])
    page.mouse.up()
    yield times(f"drag of eta, {what}, shown at {side} px", threads, moves, "p95 <= 16 ms")
    yield row("messages to the kernel in that drag", threads, said, "0")


def measured(page, lab, threads):
    notebook = Notebook(page, lab, lab.write("interpolation.ipynb", SETUP, *PANELS.values()))
    notebook.run()
    notebook.panel()
    page.wait_for_timeout(2000)
    page.evaluate(LISTEN)
    page.evaluate(STICK.replace("putImageData", "drawImage"))
    page.evaluate("nothing = true")
    yield times("an empty frame (the floor)", threads, drag(page, 600, 90, 3))
    page.mouse.up()
    page.evaluate("nothing = false")
    for number, what in enumerate(PANELS):
        yield from dragged(page, notebook.panel(number), what, threads)
        if number == 0:
            box = notebook.panel(number).locator(".kit-dial").bounding_box()
            page.mouse.click(box["x"] + 0.51 / 1.2 * box["width"], box["y"] + box["height"] - 43)  # was not made
            late = f"{stopped(page, notebook.panel(number)):.0f} ms"
            yield row("Stop, of a sampler of 100 ms a step", threads, late, "one step and the way back")
    notebook.close()
    # Elsewhere, for a run that goes on draws its curve ten times a second, also while a hand drags.
    notebook = Notebook(page, lab, lab.write("training.ipynb", SETUP, RUN))
    notebook.run()
    notebook.panel()
    page.wait_for_timeout(2000)
    yield times("a curve of 20,000 losses drawn anew", threads, page.evaluate(REDRAWN, 20), "p95 <= 100 ms")
    notebook.close()
    yield from forgotten(page, lab, threads, SETUP)


def run():
    """Measure all in JupyterLab, with comms on subshells' threads and on the main one."""
    return on_either_thread(measured, width=1700, height=1100)
