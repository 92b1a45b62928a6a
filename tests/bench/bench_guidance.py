"""Dragging the guidance, shown at 512 x 512 in JupyterLab: mouse moved to preview painted; Stop clicked to stopped."""

import tempfile

import numpy as np

from kit.__main__ import chromium
from tests.browser.lab import Lab, Notebook
from tests.browser.pages import launched, opened

COUNT = 45
SETUP = """
import time
import numpy as np
from kit.panels import GuidanceSlider

rng = np.random.default_rng(0)
rgb = lambda channels: (rng.normal(size=(3, channels)) * 0.1, np.full(3, 0.5))

def sample(w):
    for step in range(400):
        time.sleep(0.1)
        yield np.full((3, 512, 512), step / 400)

def slider(*shape):
    x, u, c = rng.normal(size=(3, *shape)).astype("f4")
    samples = {1.0: rng.random((3, 512, 512))}
    return GuidanceSlider(x, u, u + 0.1 * c, 500, 0.3, rgb(shape[0]), samples=samples, sample=sample)
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
    """Milliseconds of each of COUNT moves of the mouse, each awaited until it is painted; the mouse stays down."""
    page.mouse.move(x, y)
    page.mouse.down()
    page.wait_for_timeout(1000)
    page.evaluate("reset()")
    for done in range(1, COUNT + 1):
        page.mouse.move(x + done * stride, y)
        page.wait_for_function("count => times.length >= count", arg=done)
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


def row(what, times, side=""):
    p50, p95 = np.percentile(times, [50, 95])
    return {"what": what, "shown at": side, "n": len(times), "p50 ms": round(p50, 1), "p95 ms": round(p95, 1)}


def measured(page, panel, what):
    """A row for the drag and one for Stop."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".kit-card > .kit-dial").bounding_box()
    times = drag(page, box["x"] + 0.3 * box["width"], box["y"] + 16, 0.015 * box["width"])
    side = round(panel.locator(".kit-frame").first.bounding_box()["width"])
    page.mouse.up()
    return [row(what, times, f"{side} px"), row(f"{what}: Stop, at 100 ms a step", [stopped(page, panel)])]


def run():
    """Measure an empty frame, then a drag and a Stop of each panel in one notebook on one page."""
    if not chromium():
        raise SystemExit("bench guidance: no Chromium found; install it (Debian, Ubuntu: apt-get install chromium)")
    size = {"viewport": {"width": 1700, "height": 1100}}
    with tempfile.TemporaryDirectory() as folder, launched(chromium()) as browser, opened(browser, **size) as (page, _):
        lab = Lab(f"{folder}/lab")
        try:
            notebook = Notebook(page, lab, lab.write("guidance.ipynb", SETUP, *PANELS.values()))
            notebook.run()
            notebook.panel()
            page.wait_for_timeout(2000)
            page.evaluate(STICK)
            page.evaluate("nothing = true")
            rows = [row("an empty frame (the floor)", drag(page, 600, 90, 3))]
            page.mouse.up()
            page.evaluate("nothing = false")
            for number, what in enumerate(PANELS):
                rows += measured(page, notebook.panel(number), what)
        finally:
            lab.close()
    return rows
