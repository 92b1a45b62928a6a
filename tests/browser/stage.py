"""A panel on a bare page in Chromium: what it shows, and what it would have told the kernel."""

import base64
import json

import numpy as np

from kit.panels import NoiseScrubber
from tests.browser.pages import TESTS

HOST = (TESTS / "host.js").read_text(encoding="utf-8")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<style>:root { color-scheme: light dark } body { margin: 0 }</style><main></main>"""


def colour(step, track=0):
    """A colour of its own for each of 25 steps and 3 tracks, as bytes."""
    return [step * 10, 250 - step * 10, 40 + 80 * track]


def flat(step, track=0, size=8):
    """A picture of nothing but its colour."""
    return np.broadcast_to(np.array(colour(step, track)) / 255, (size, size, 3))


def scrubber(steps=25, tracks=1, size=8, **settings):
    """A scrubber whose picture at each step is of that step's colour; opens on step 0."""
    if tracks == 1:
        frames = [flat(step, 0, size) for step in range(steps)]
    else:
        frames = {f"track {t}": [flat(step, t, size) for step in range(steps)] for t in range(tracks)}
    return NoiseScrubber(frames, **{"index": 0, "title": "Path", **settings})


def encoded(value):
    return {"base64": base64.b64encode(value).decode()}


# In base64, for a list of as many numbers takes seconds on its way; through a copy, for reading a canvas slows it.
PIXELS = """(canvas, [x = 0, y = 0, width = canvas.width, height = canvas.height]) => {
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, -x, -y);
  let text = "";
  for (const byte of copy.getImageData(0, 0, width, height).data) text += String.fromCharCode(byte);
  return [width, height, btoa(text)]; }"""


def pixels(canvas, *part):
    """What a canvas shows, or x, y, width, height of it: bytes (height, width, 4)."""
    width, height, coded = canvas.evaluate(PIXELS, part)
    return np.frombuffer(base64.b64decode(coded), np.uint8).reshape(height, width, 4)


class Stage:
    """One page with one panel and its views."""

    def __init__(self, page, panel):
        self.page = page
        page.set_content(PAGE)
        page.add_script_tag(content=HOST)
        page.evaluate("text => host(text)", json.dumps(panel.get_state(), default=encoded))
        self.open()

    def open(self):
        """One more view of the same model; returns its number."""
        number = self.page.evaluate("open()")
        self.page.wait_for_function("n => views[n].el.querySelector('dd')", arg=number)
        return number

    def find(self, selector, view=0):
        return self.page.locator(f"main > div:nth-child({view + 1}) {selector}")

    @property
    def slider(self):
        return self.find(".kit-slider")

    def pixel(self, track=0, view=0):
        """The colour in the middle of a picture, as bytes."""
        return self.find(".kit-frame canvas", view).nth(track).evaluate("canvas => colourAt(canvas, 0.5)")

    def shows(self, step, tracks=1, view=0):
        """Wait until every picture is that of the step; fails with what is there instead."""
        want = [colour(step, track) for track in range(tracks)]
        for _ in range(100):
            got = [self.pixel(track, view) for track in range(tracks)]
            if got == want:
                return True
            self.page.wait_for_timeout(20)
        raise AssertionError(f"view {view} shows {got}, wanted {want} (step {step})")

    def at(self, step, steps=25):
        """Where on the page the slider's middle of a step is."""
        box = self.slider.bounding_box()
        return box["x"] + (step + 0.5) * box["width"] / steps, box["y"] + 20

    def rest(self):
        """Two frames: what was asked to be drawn is drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def now(self):
        return int(self.slider.get_attribute("aria-valuenow"))

    def log(self):
        """What the panel told the kernel, oldest first, without its measurements."""
        entries = self.page.evaluate("log")
        for entry in entries:
            entry.get("state", {}).pop("_timing", None)
        return entries

    def saved(self, name):
        """The values of one trait in the order they were saved."""
        return [entry["state"][name] for entry in self.log() if name in entry.get("state", {})]

    def reading(self, name):
        """The text beside a name in the row of readings."""
        self.rest()
        return self.find(f".kit-readings div:has(dt:text-is('{name}')) dd").inner_text()

    def frames(self, *rows):
        """Deliver streamed frames as the kernel does: rows of (track, step, bytes)."""
        table = [[track, step, len(data)] for track, step, data in rows]
        blob = base64.b64encode(b"".join(data for *_, data in rows)).decode()
        self.page.evaluate("([table, blob]) => kernel.frames(table, blob)", [table, blob])
