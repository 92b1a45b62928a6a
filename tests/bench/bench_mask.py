"""Dragging the mask's threshold, n and brush, shown at 512 x 512 in JupyterLab: mouse moved to picture painted."""

import tempfile

import numpy as np

from kit.__main__ import chromium
from tests.bench.bench_guidance import STICK, drag
from tests.browser.lab import Lab, Notebook
from tests.browser.pages import launched, opened

SETUP = """
import numpy as np
from kit.panels import MaskPicker

rng = np.random.default_rng(0)

def picker(cells, **settings):
    spots = rng.random((48, cells // 4, cells // 4)).repeat(4, 1).repeat(4, 2) + rng.random((48, cells, cells))
    return MaskPicker(rng.random((3, 512, 512)), spots, **settings)
"""
MAPS = {  # what -> the panel, of 48 noises, so that each move of n is one noise more
    "64 x 64": "picker(64)",
    "64 x 64, smooth, with doubt": "picker(64, smooth=True, doubt=True)",
    "256 x 256": "picker(256)",
}
HANDS = {  # what is dragged -> its element; shares of it where the drag begins, and how far a move goes
    "threshold": (".kit-level", 0.15, 0.5, 0.015),
    "n": (".kit-dial", 0.5 / 48, 0.3, 1 / 48),
    "brush": (".kit-frame", 0.15, 0.5, 0.015),
}
BAR = "p95 <= 16"


def row(what, maps, times, bar):
    p50, p95 = np.percentile(times, [50, 95])
    return {"dragged": what, "map": maps, "n": len(times), "p50 ms": round(p50, 1), "p95 ms": round(p95, 1), "bar": bar}


def measured(page, panel, maps):
    """A row for each hand."""
    panel.scroll_into_view_if_needed()
    panel.get_by_role("button", name="add", exact=True).click()
    for what, (selector, x, y, stride) in HANDS.items():
        box = panel.locator(selector).bounding_box()
        if what == "threshold":
            page.keyboard.down("Alt")  # or the line would stay at a mark for a move, and nothing be painted
        times = drag(page, box["x"] + x * box["width"], box["y"] + y * box["height"], stride * box["width"])
        page.keyboard.up("Alt")
        page.mouse.up()
        yield row(what, maps, times, BAR)


def run():
    """Measure an empty frame, then three drags of each panel in a notebook of its own."""
    if not chromium():
        raise SystemExit("bench mask: no Chromium found; install it (Debian, Ubuntu: sudo apt-get install chromium)")
    rows = []
    with tempfile.TemporaryDirectory() as folder, launched(chromium()) as browser:
        lab = Lab(f"{folder}/lab")
        try:
            for number, maps in enumerate(MAPS):
                with opened(browser, viewport={"width": 1500, "height": 1000}) as (page, _):
                    notebook = Notebook(page, lab, lab.write(f"{number}.ipynb", SETUP, MAPS[maps]))
                    notebook.run()
                    panel = notebook.panel()
                    page.wait_for_timeout(2000)
                    page.evaluate(STICK)
                    if not rows:
                        page.evaluate("nothing = true")
                        rows += [row("nothing (the floor)", "an empty frame", drag(page, 600, 90, 3), "")]
                        page.mouse.up()
                    page.evaluate("nothing = false")
                    rows += measured(page, panel, maps)
                    notebook.close()
        finally:
            lab.close()
    return rows
