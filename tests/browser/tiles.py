"""Arrays of cells in the browser: rules of a panel's module, cells where they are pointed at, the time they take."""

import json
import math
from contextlib import contextmanager

import numpy as np

from kit.panels._panel import source
from tests.browser.pages import opened
from tests.browser.stage import pixels


@contextmanager
def taker(browser):
    """take(file, *names) -> run(script, given): the functions of a panel's module, called with Python values."""
    with opened(browser) as (page, errors):

        def take(file, *names):
            text = source("_draw.js", "_cells.js", "_play.js", file) + f"\nexport {{ {', '.join(names)} }};"
            load = """async text => { window.rules = await import(
              URL.createObjectURL(new Blob([text], { type: "text/javascript" }))); }"""
            page.evaluate(load, text)
            return lambda script, given=None: json.loads(
                page.evaluate(f"given => JSON.stringify((({script}))(given))", given)
            )

        yield take
        assert errors == []


class Array:
    """One array of a panel: where its cells are, found by pointing everywhere, and how they look."""

    def __init__(self, panel, number):
        self.panel, self.page = panel, panel.page
        self.over = panel.find(".kit-tiles canvas + canvas").nth(number)
        self.base = panel.find(".kit-tiles canvas:first-child").nth(number)

    @property
    def said(self):
        return self.panel.find(".kit-formula").first.inner_text()

    def cells(self, step=18):
        """{text of the formula: the middle of the points at which it is said}, in the order of pointing."""
        self.over.scroll_into_view_if_needed()
        found = self.over.evaluate(
            """async (canvas, step) => {
              const said = canvas.closest(".kit-panel").querySelector(".kit-formula"), found = {};
              const box = canvas.getBoundingClientRect();
              for (let y = 3; y < box.height; y += step) for (let x = 3; x < box.width; x += step) {
                canvas.dispatchEvent(new PointerEvent("pointermove",
                  { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
                await new Promise(requestAnimationFrame);
                if (!said.querySelector(".kit-hint")) (found[said.innerText] ??= []).push([x, y]);
              }
              canvas.dispatchEvent(new PointerEvent("pointerleave"));
              const middle = (points, way) => points.reduce((sum, point) => sum + point[way], 0) / points.length;
              return Object.fromEntries(Object.entries(found).map(([text, all]) =>
                [text, [middle(all, 0), middle(all, 1)]]));
            }""",
            step,
        )
        return {text.replace("\xa0", " "): tuple(place) for text, place in found.items()}

    def point(self, place):
        self.over.hover(position={"x": place[0], "y": place[1]})
        self.panel.rest()

    def pixels(self, canvas, place, side=1):
        """The pixels around a place, (side, side, 4)."""
        return pixels(canvas, *(math.floor(at - side / 2) for at in place), side, side).astype(int)

    def lit(self, place):
        """How strongly a place is marked, from 0 to 255."""
        return self.pixels(self.over, place)[0, 0, 3]

    def alarms(self):
        """How many pixels have the colour of an alarm."""
        red, green, blue, _ = np.moveaxis(self.pixels(self.base, (250, 250), 500), -1, 0)
        return int(((red > 150) & (green < 60) & (blue < 60)).sum())

    def is_solid(self, place):
        """Whether the cell around a place is filled; a ghost has an outline and a number only."""
        return bool((self.pixels(self.base, place, 9)[..., 3] == 255).all())


def arrays(panel):
    return [Array(panel, i) for i in range(panel.find(".kit-tiles").count())]


# A pointer that goes to and fro over a canvas of cells.
WANDER = """async canvas => {
  const box = canvas.getBoundingClientRect();
  for (let i = 0; i < 80; i++) {
    canvas.dispatchEvent(new PointerEvent("pointermove", { bubbles: true,
      clientX: box.left + 25 + 5 * i % (box.width - 50), clientY: box.top + 30 + 7 * i % (box.height - 60) }));
    await new Promise(done => setTimeout(done, 40));
  } }"""


def processor_time(page):
    """A function that gives the seconds of processor time the page's main thread has spent on tasks."""
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        metrics = client.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    return busy
