"""Pointing and sliding in the array panels at 10,000 cells, in JupyterLab: mouse moved to picture painted."""

import tempfile

import numpy as np

from kit.__main__ import chromium
from tests.browser.lab import Lab, Notebook
from tests.browser.pages import launched, opened

SETUP = """
import numpy as np
from kit.panels import BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer

rng = np.random.default_rng(0)
square = rng.normal(size=(100, 100))
strided = [("as_strided", (100, 100), (100, 1), 0)]
"""
RESULT, VIEW, STORAGE = (f".kit-tiles >> nth={place} >> canvas + canvas" for place in (2, 0, 1))
HOVER = (0.1, 0.5, 3)  # where on the element a drag begins, as shares of it, and the pixels of a move
PANELS = {  # the panel -> what is moved: its element and how
    "BroadcastVisualizer((100, 1), (100,))": {"point at a result": (RESULT, HOVER), "point at a source": (VIEW, HOVER)},
    "StorageView(square)": {"point at the view": (VIEW, HOVER), "point at the storage": (STORAGE, HOVER)},
    "StrideVisualizer(rng.normal(size=(100, 102)), ops=strided)": {
        "point at the view": (VIEW, HOVER),
        "slide the offset": ("input[aria-label=offset]", (0.05, 0.5, 0.75)),
    },
    **{
        f'MatmulStepper(square, square, order="{order}", block=16)': {
            "point at c": (RESULT, HOVER),
            "slide the steps": ("input[type=range]", (0.02, 0.5, 6)),
        }
        for order in ("rows", "outer", "blocks")
    },
}

# From the time stamp of the mouse's event to the end of the task that follows its drawing, or, where nothing is drawn,
# that follows the next frame.
STICK = """() => {
  let since = 0;
  window.reset = () => { window.times = []; };
  window.forget = () => { since = 0; };
  const channel = new MessageChannel();
  channel.port1.onmessage = ({ data }) => times.push(performance.now() - data);
  const painted = () => { if (since) channel.port2.postMessage(since); since = 0; };
  addEventListener("pointermove", event => {
    since ||= event.timeStamp;
    if (window.nothing) requestAnimationFrame(painted);
  }, true);
  for (const name of ["clearRect", "putImageData"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      draw.apply(this, given);
      if (this.canvas.closest?.(".kit-tiles")) painted();
    };
  }
}"""


def drag(page, x, y, stride):
    """Milliseconds of 180 moves of the mouse, there and back, each left alone for 150 ms.

    A move between two cells draws nothing. In the first moves the browser still compiles what it runs. Where moves
    follow each other by about two frames of the screen, many of them wait for most of a frame before any page hears
    of them, an empty one too; this is not to be part of what a panel is charged with.
    """
    page.mouse.move(x, y)
    page.mouse.down()
    page.wait_for_timeout(1000)
    page.evaluate("reset()")
    for place in [*range(1, 91), *range(89, -1, -1)]:
        page.evaluate("forget()")
        page.mouse.move(x + place * stride, y)
        page.wait_for_timeout(150)
    page.mouse.up()
    return page.evaluate("times")


def row(panel, what, times, bar="p95 <= 16"):
    p50, p95 = np.percentile(times, [50, 95])
    return {"panel": panel, "what": what, "n": len(times), "p50 ms": round(p50, 1), "p95 ms": round(p95, 1), "bar": bar}


def measured(page, panel, name):
    """A row for each thing that is moved."""
    for what, (selector, (x, y, stride)) in PANELS[name].items():
        element = panel.locator(selector).first
        element.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        box = element.bounding_box()
        yield row(name, what, drag(page, box["x"] + x * box["width"], box["y"] + y * box["height"], stride))


def run():
    """Measure an empty frame, then each panel in a notebook of its own."""
    if not chromium():
        raise SystemExit("bench arrays: no Chromium found; install it (Debian, Ubuntu: sudo apt-get install chromium)")
    rows = []
    with tempfile.TemporaryDirectory() as folder, launched(chromium()) as browser:
        lab = Lab(f"{folder}/lab")
        try:
            for place, name in enumerate(PANELS):
                with opened(browser, viewport={"width": 1500, "height": 1100}) as (page, _):
                    notebook = Notebook(page, lab, lab.write(f"{place}.ipynb", SETUP, name))
                    notebook.run()
                    page.wait_for_timeout(2000)
                    page.evaluate(STICK)
                    if not rows:
                        page.evaluate("nothing = true")
                        rows += [row("nothing (the floor)", "an empty frame", drag(page, 600, 90, 3), "")]
                    page.evaluate("nothing = false")
                    notebook.scroll_to(name)
                    rows += measured(page, page.locator(".jp-Cell", has_text=name).locator(".kit-panel"), name)
                    notebook.close()
        finally:
            lab.close()
    return rows
