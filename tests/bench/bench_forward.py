"""The computed scrubber in JupyterLab: input to paint at 512 x 512, slow handlers, Stop, fifty panels; with bars."""

import numpy as np

from tests.bench.labs import forgotten, on_either_thread, row
from tests.browser.drive import LISTEN, SETUP, SLOW, STREAM, drag, settled
from tests.browser.lab import Notebook

PANEL = (
    "panel = NoiseScrubber.forward(rng.random((3, 512, 512)), rng.standard_normal((3, 512, 512)), {schedules})\npanel"
)
SCHEDULES = {"one schedule": "levels", "four side by side": "{str(k): levels**k for k in (1, 2, 3, 4)}"}
EMPTY = """async count => {
  const times = [];
  for (let i = 0; i < count; i++) {
    const since = performance.now();
    await new Promise(done => requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => { times.push(performance.now() - since); done(); };
      channel.port2.postMessage(0);
    }));
    await new Promise(done => setTimeout(done, 17));
  }
  return times;
}"""


def moved(page, curve, count=120):
    """Drag the point of the curve to and fro with the mouse; returns how many messages went out meanwhile."""
    y = curve["y"] + curve["height"] / 2
    page.evaluate(LISTEN)
    page.mouse.move(curve["x"] + 5, y)
    page.mouse.down()
    page.wait_for_timeout(1000)
    page.evaluate("said.length = 0")
    for place in np.sin(np.arange(count) / 9):
        page.mouse.move(curve["x"] + (0.5 + 0.45 * place) * curve["width"], y)
        page.wait_for_timeout(60)
    said = page.evaluate("said.length")
    page.mouse.up()
    page.wait_for_timeout(500)
    return said


def painted(page, lab, name, threads):
    """Rows of the time from an input to its picture's drawing, and of what the kernel heard meanwhile."""
    for what, schedules in SCHEDULES.items():
        notebook = Notebook(page, lab, lab.write(f"{name}.ipynb", SETUP, PANEL.format(schedules=schedules)))
        notebook.run()
        curve = notebook.panel().locator(".kit-curve").bounding_box()
        page.wait_for_timeout(2000)
        p50, p95 = np.percentile(page.evaluate(EMPTY, 100), [50, 95])
        yield row(f"an empty frame (the floor of {what})", threads, f"p50 {p50:.1f}, p95 {p95:.1f} ms", "")
        said = moved(page, curve)
        stats = notebook.ask("panel.stats()")
        measured = f"p50 {stats['p50_ms']:.1f}, p95 {stats['p95_ms']:.1f} ms of {stats['moves']}"
        yield row(f"drag at 512 x 512, {what}", threads, measured, "p95 <= 16 ms")
        yield row("messages to the kernel in that drag", threads, said, "0")
        notebook.close()


def handled(page, lab, name, threads):
    """The row of a handler of 100 ms that observes `live` during a drag of 3 s at 60 Hz."""
    notebook = Notebook(page, lab, lab.write(f"{name}.ipynb", SETUP, "panel = forward(512)\npanel" + SLOW, "panel"))
    notebook.run()
    notebook.panel()
    seconds, calls, _ = settled(notebook, drag(page, 3)["released"])
    yield row("settled after 3 s at 60 Hz, handler of 100 ms", threads, f"{seconds:.2f} s, {calls} calls", "<= 0.4 s")
    notebook.close()


def stopped(page, lab, name, threads):
    """The row of steps begun after Stop was clicked, of 0.6 s each."""
    notebook = Notebook(page, lab, lab.write(f"{name}.ipynb", SETUP, STREAM))
    notebook.run()
    page.wait_for_function("document.querySelector('.kit-slider')?.getAttribute('aria-valuenow') === '2'")
    clicked = page.evaluate("Date.now() / 1000")
    notebook.panel().locator(".kit-stop").click()
    page.wait_for_selector(".kit-state:text('stopped')")
    late = sum(time > clicked for time in notebook.ask("begun"))
    yield row("steps begun after Stop", threads, late, "<= 1")
    notebook.close()


def measured(page, lab, threads):
    for measure in (painted, handled, stopped):
        yield from measure(page, lab, measure.__name__, threads)
    yield from forgotten(page, lab, threads, SETUP)


def run():
    """Measure all on one page, in JupyterLab with comms on subshells' threads and on the main one."""
    return on_either_thread(measured, width=1200, height=1300)
