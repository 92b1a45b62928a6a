"""A scrubber driven hard in JupyterLab: what the page tells the kernel, how late the kernel is, what is left behind."""

SETUP = """
import gc, os, threading, time, weakref
from pathlib import Path
import numpy as np
from IPython.display import display
from kit.panels import NoiseScrubber
rng = np.random.default_rng(0)
levels = np.linspace(0.999, 0.001, 1000)
def forward(side):
    return NoiseScrubber.forward(rng.random((3, side, side)), rng.standard_normal((3, side, side)), levels)
def opened():
    return forward(256)
"""
SLOW = """
calls = []
def slow(change):
    time.sleep(0.1)
    calls.append((change.new, time.time()))
panel.observe(slow, "live")
"""
CYCLES = """
import ctypes
def resident():
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system, or the allocator's habits are measured
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
alive, memory = [], []
for _ in range(50):
    panel = opened()
    display(panel)
    alive.append(weakref.ref(panel))
    panel.close()
    del panel
    gc.collect()
    memory.append(resident())
"""
STREAM = """
begun = []
def path():
    for step in range(200):
        begun.append(time.time())
        time.sleep(0.6)
        yield np.full((3, 16, 16), step / 200)
panel = NoiseScrubber(path(), range(200))
panel
"""

# What leaves for the kernel's widgets.
LISTEN = """() => {
  window.said = [];
  notebook.sessionContext.session.kernel.anyMessage.connect((_, { msg, direction }) => {
    if (direction === "send" && msg.header.msg_type.startsWith("comm_")) said.push(msg.content.data);
  });
}"""

# A hand that moves 60 times a second; gives when it let go, the last step under it, and what was said in between.
DRAG = """async ([number, seconds]) => {
  const slider = document.querySelectorAll(".kit-slider")[number], box = slider.getBoundingClientRect();
  slider.setPointerCapture = () => {};  // no pointer is really down
  const send = (type, share) => slider.dispatchEvent(new PointerEvent(type, { bubbles: true,
    clientX: box.left + share * box.width, clientY: box.top + 20 }));
  send("pointerdown", 0.1);
  await new Promise(done => setTimeout(done, 400));
  const before = said.length, since = performance.now();
  for (let now = since; now - since < 1000 * seconds; now = performance.now()) {
    send("pointermove", 0.5 + 0.4 * Math.sin((now - since) / 150));
    await new Promise(done => setTimeout(done, 1000 / 60));
  }
  send("pointermove", 0.77);
  const between = said.slice(before);
  const released = Date.now() / 1000;
  send("pointerup", 0.77);
  await new Promise(done => setTimeout(done, 200));  // until it is drawn
  return { released, between, step: +slider.getAttribute("aria-valuenow") };
}"""


def drag(page, seconds, number=0):
    """Drag a panel's slider to and fro at 60 Hz: {released, between, step}."""
    page.evaluate(LISTEN)
    return page.evaluate(DRAG, [number, seconds])


def settled(notebook, released):
    """Seconds from the release to the end of the slow handler's last call, how many calls, and the last step seen."""
    notebook.page.wait_for_timeout(2000)
    calls = notebook.ask("calls")
    return calls[-1][1] - released, len(calls), calls[-1][0]


def objects(page, name):
    """How many objects of a class are alive in the page, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    prototype = session.send("Runtime.evaluate", {"expression": f"{name}.prototype"})["result"]["objectId"]
    found = session.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]["objectId"]
    count = {"functionDeclaration": "function () { return this.length }", "objectId": found, "returnByValue": True}
    return session.send("Runtime.callFunctionOn", count)["result"]["value"]
