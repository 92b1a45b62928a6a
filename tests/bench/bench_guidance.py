"""Dragging the guidance, shown at 512 x 512 in JupyterLab: mouse moved to preview painted; Stop clicked to stopped."""

import numpy as np

from tests.bench.labs import forgotten, on_either_thread, row, times
from tests.browser.drive import LISTEN
from tests.browser.lab import Notebook

COUNT, LOWER = 45, 24  # moves of one way; pixels from one way to the next
SETUP = """
import gc, os, time, weakref
from pathlib import Path
import numpy as np
from IPython.display import display
from kit.panels import GuidanceSlider

rng = np.random.default_rng(0)
rgb = lambda channels: (rng.normal(size=(3, channels)) * 0.1, np.full(3, 0.5))

def sample(w):
    for step in range(400):
        time.sleep(0.1)
        yield np.full((3, 512, 512), step / 400)

def opened():
    return slider(4, 64, 64)

def slider(*shape):
    x, u, c = rng.normal(size=(3, *shape)).astype("f4")
    samples = {1.0: rng.random((3, 512, 512))}
    return GuidanceSlider(x, u, u + 0.1 * c, 500, 0.3, rgb(shape[0]), samples=samples, sample=sample)
"""
SLOW = """
calls, late = [], opened()
def slow(change):
    time.sleep(0.1)
    calls.append(time.time())
late.observe(slow, "w")
late
"""
PANELS = {  # what -> the shape of its latents
    "latents 4 x 64 x 64": "slider(4, 64, 64)",
    "pixels 3 x 512 x 512": "slider(3, 512, 512)",
}

# From the time stamp of the pointer event to the end of the task that follows the drawing of a preview, or, where
# nothing is drawn, that follows the next frame.
STICK = """() => {
  let since = 0;
  window.reset = () => { window.times = []; since = 0; };
  const channel = new MessageChannel();
  channel.port1.onmessage = ({ data }) => times.push(performance.now() - data);
  const painted = () => { if (since) channel.port2.postMessage(since); since = 0; };
  addEventListener("pointermove", event => {
    since ||= event.timeStamp;
    if (window.nothing) requestAnimationFrame(painted);
  }, true);
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    put.apply(this, given);
    if (this.canvas.closest(".kit-frame")) painted();
  };
}"""


def drag(page, x, y, stride):
    """Milliseconds of each of 4 COUNT moves of the mouse, each awaited until it is painted; the mouse stays down.

    There and back, twice, each way a little lower, for a brush paints nothing where it has been. In the first moves the
    browser still compiles what it runs.
    """
    page.mouse.move(x, y)
    page.mouse.down()
    page.wait_for_timeout(1000)
    page.evaluate("reset()")
    for done, place in enumerate([*range(1, COUNT + 1), *range(COUNT - 1, -1, -1)] * 2):
        page.mouse.move(x + place * stride, y + done // COUNT * LOWER)
        page.wait_for_function("count => times.length > count", arg=done)
        page.wait_for_timeout(100)  # each move by itself
    return page.evaluate("times")


def stopped(page, panel):
    """Milliseconds from a click on Stop to the word that the re-run has stopped, of a sampler of 100 ms a step."""
    panel.locator(".kit-stop").wait_for()
    page.wait_for_timeout(500)
    watch = """panel => new Promise(done => {
      const since = performance.now(), state = panel.querySelector(".kit-state");
      new MutationObserver(() => { if (state.textContent === "stopped") done(performance.now() - since); })
        .observe(state, { childList: true, characterData: true, subtree: true });
      panel.querySelector(".kit-stop").click();
    })"""
    return panel.evaluate(watch)


def settled(page, notebook, panel):
    """Seconds from the release of a hand that moved for 3 s at 60 Hz to the slow handler's last call, and its calls."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".kit-card > .kit-dial").bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 16)
    page.mouse.down()
    for place in np.sin(np.arange(180) / 9):
        page.mouse.move(box["x"] + (0.6 + 0.3 * place) * box["width"], box["y"] + 16)
        page.wait_for_timeout(1000 / 60)
    released = page.evaluate("Date.now() / 1000")
    page.mouse.up()
    page.wait_for_timeout(1000)
    calls = notebook.ask("calls")
    return calls[-1] - released, len(calls)


def dragged(page, panel, what, threads):
    """Rows of a drag, of what the kernel heard in it, and of Stop after it."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".kit-card > .kit-dial").bounding_box()
    page.evaluate("said.length = 0")
    moves = drag(page, box["x"] + 0.3 * box["width"], box["y"] + 16, 0.015 * box["width"])
    said = page.evaluate("said.length")
    side = round(panel.locator(".kit-frame").first.bounding_box()["width"])
    page.mouse.up()
    yield times(f"drag of w, {what}, shown at {side} px", threads, moves, "p95 <= 16 ms")
    yield row("messages to the kernel in that drag", threads, said, "0")
    yield row(
        "Stop, of a sampler of 100 ms a step", threads, f"{stopped(page, panel):.0f} ms", "one step and the way back"
    )


def measured(page, lab, threads):
    notebook = Notebook(page, lab, lab.write("guidance.ipynb", SETUP, *PANELS.values(), SLOW))
    notebook.run()
    notebook.panel()
    page.wait_for_timeout(2000)
    page.evaluate(LISTEN)
    page.evaluate(STICK)
    page.evaluate("nothing = true")
    yield times("an empty frame (the floor)", threads, drag(page, 600, 90, 3))
    page.mouse.up()
    page.evaluate("nothing = false")
    for number, what in enumerate(PANELS):
        yield from dragged(page, notebook.panel(number), what, threads)
    seconds, calls = settled(page, notebook, notebook.panel(len(PANELS)))
    yield row("settled after 3 s at 60 Hz, handler of 100 ms", threads, f"{seconds:.2f} s, {calls} calls", "<= 0.4 s")
    notebook.close()
    yield from forgotten(page, lab, threads, SETUP)


def run():
    """Measure all on one page, in JupyterLab with comms on subshells' threads and on the main one."""
    return on_either_thread(measured, width=1700, height=1100)
