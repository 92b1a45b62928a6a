"""What the panels' benches share: JupyterLab with comms on either kind of thread, rows with bars, fifty panels."""

import tempfile
from contextlib import closing

import numpy as np

from kit.__main__ import chromium
from tests.browser.drive import CYCLES
from tests.browser.lab import Lab, Notebook
from tests.browser.pages import launched, opened


def on_either_thread(measure, width=960, height=800):
    """Rows of measure(page, lab, threads), with comms on subshells' threads and then on the kernel's main one."""
    if not chromium():
        raise SystemExit("no Chromium found; install it (Debian, Ubuntu: sudo apt-get install chromium)")
    rows, viewport = [], {"width": width, "height": height}
    with tempfile.TemporaryDirectory() as folder, launched(chromium()) as browser:
        for subshells in (True, False):
            threads = "subshells" if subshells else "the main thread"
            with (
                closing(Lab(f"{folder}/{subshells}", subshells=subshells)) as lab,
                opened(browser, viewport=viewport) as (page, _),
            ):
                rows += measure(page, lab, threads)
    return rows


def row(what, threads, measured, bar=""):
    return {"what": what, "comms on": threads, "measured": measured, "bar": bar}


def times(what, threads, milliseconds, bar=""):
    """A row of the time from an input to its picture painted."""
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return row(what, threads, f"p50 {p50:.1f}, p95 {p95:.1f} ms of {len(milliseconds)}", bar)


def forgotten(page, lab, threads, *setup):
    """Rows of fifty panels shown and closed: how many live on, how the kernel's memory grew. Setup has `opened()`."""
    notebook = Notebook(page, lab, lab.write("forgotten.ipynb", *setup, "opened()", CYCLES))
    notebook.run()
    memory, alive = notebook.ask("memory"), notebook.ask("sum(ref() is not None for ref in alive)")
    notebook.close()
    yield row("alive of 50 panels closed", threads, alive, "0")
    yield row("memory after 50 panels less that after 10", threads, f"{memory[-1] - memory[9]:+.1f} MB", "within 10 MB")
