"""Scrubbing 50 pictures of 512 x 512 in JupyterLab: mouse moved to picture painted, against interact + imshow."""

import numpy as np

from tests.bench.labs import on_either_thread, row, times
from tests.browser.lab import Notebook

STEPS, COUNT = 50, 45
SETUP = """
import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import interact
from kit.panels import NoiseScrubber

y, x = np.mgrid[0:512, 0:512] / 512
frames = [np.stack([x, y, np.full_like(x, i / 49)], -1) for i in range(50)]
"""
OURS = "NoiseScrubber(frames, index=0)"
THEIRS = """
def show(step=0):
    plt.figure(figsize=(5.12, 5.12), dpi=100)
    plt.imshow(frames[step])
    plt.axis("off")
    plt.show()

interact(show, step=(0, 49));
"""

# Both are measured from outside by one stick: from the time stamp of the pointer event to the end of the task that
# follows the new picture's drawing, on a canvas for the one, as a decoded image element for the other.
STICK = """() => {
  window.reset = () => { window.times = []; since = 0; };
  let since = 0;
  addEventListener("pointermove", event => { since ||= event.timeStamp; }, true);
  addEventListener("pointermove", () => { if (window.nothing) requestAnimationFrame(painted); });
  const channel = new MessageChannel();
  channel.port1.onmessage = ({ data }) => times.push(performance.now() - data);
  const painted = () => { if (since) channel.port2.postMessage(since); since = 0; };
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...given) {
    draw.apply(this, given);
    if (this.canvas.closest(".kit-frame")) painted();
  };
  new MutationObserver(changes => {
    const added = changes.flatMap(change => [...change.addedNodes]).filter(node => node.querySelector);
    const image = added.map(node => node.matches("img") ? node : node.querySelector("img")).find(Boolean);
    if (image) image.decode().then(() => requestAnimationFrame(painted));
  }).observe(document.body, { childList: true, subtree: true });
}"""


def drag(page, start, stride, count):
    """Milliseconds of each of `count` moves of the mouse, `stride` pixels each, awaited until it is painted."""
    x, y = start
    page.mouse.move(x, y)
    page.mouse.down()
    page.wait_for_timeout(1000)
    page.evaluate("reset()")
    for done in range(1, count + 1):
        page.mouse.move(x + done * stride, y)
        page.wait_for_function("count => times.length >= count", arg=done)
        page.wait_for_timeout(200)  # each move by itself, after what the one before set going
    page.mouse.up()
    return page.evaluate("times")


def middle(locator):
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def nothing(page):
    """The same for a move that changes nothing: what the page and the machine need by themselves."""
    page.evaluate("nothing = true")
    times = drag(page, (600, 90), 3, COUNT)
    page.evaluate("nothing = false")
    return times


def compared(page, lab, threads):
    """Rows of the floor, of ours and of the other in one notebook on one page."""
    notebook = Notebook(page, lab, lab.write("scrub.ipynb", SETUP, OURS, THEIRS))
    notebook.run()
    notebook.panel()
    page.wait_for_selector("img")
    page.wait_for_timeout(2000)
    page.evaluate(STICK)
    floor = nothing(page)
    strip = page.locator(".kit-strip")
    y, width = middle(strip)[1], strip.bounding_box()["width"]
    ours = drag(page, (strip.bounding_box()["x"] + 2, y), width / STEPS, COUNT)
    track = page.locator(".noUi-target").bounding_box()
    theirs = drag(page, middle(page.locator(".noUi-handle")), track["width"] / (STEPS - 1), COUNT)
    notebook.close()
    ratio = np.percentile(theirs, [50, 95]) / np.percentile(ours, [50, 95])
    yield times("an empty frame (the floor)", threads, floor)
    yield times("kit.panels.NoiseScrubber", threads, ours, "p95 <= 16 ms")
    yield times("interact + plt.imshow", threads, theirs)
    yield row("times as long: p50, p95", threads, f"{ratio[0]:.1f}, {ratio[1]:.1f}")


def run():
    """Measure both, in JupyterLab with comms on subshells' threads and on the main one."""
    return on_either_thread(compared)
