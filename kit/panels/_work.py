"""Work in the background of a panel: a piece of work is an iterator, one item a step; the newest wish wins."""

import contextlib
import ctypes
import functools
import inspect
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import NamedTuple

from IPython import get_ipython


class Job(NamedTuple):
    """An iterator of steps, what takes each item into the panel, and what is done at the end (or None)."""

    steps: Iterator
    take: object
    finish: object


class Work:
    """What a panel does while the reader goes on: in one thread at most, and one piece at a time.

    It sets the panel's status to running, and at the end to done, cancelled or error, with `error` and
    `traceback`. The thread holds the panel only between steps: work that hangs does not keep it alive.
    """

    def __init__(self, panel):
        self._panel = weakref.ref(panel)
        self._lock = threading.RLock()  # re-entrant: who observes the status may start the next piece
        self._idle = threading.Event()
        self._idle.set()
        self._cancel = threading.Event()
        self._wish = None
        _rest_between_cells()

    def start(self, steps, take, *, finish=None):
        """Take the items of an iterator, in a thread; what runs already ends after its current step.

        steps: an iterator, as a generator is; its close() is called at the end. It runs in the thread only.
        take(panel, index, item): called in the thread with each item and its number from 0. A function that
            holds no panel itself: `Scrubber._take`, not `self._take`.
        finish(panel, status): called in the thread at the end of every piece that was begun, before the
            panel's status is set; status is done, cancelled (also by a newer start) or error.
        Of pieces started while another runs only the newest is begun. Raises TypeError for what is no
        iterator, RuntimeError once the panel is closed.
        """
        if not isinstance(steps, Iterator):
            raise TypeError(f"steps: got {type(steps).__name__}, wanted an iterator, for example a generator")
        panel = self._panel()
        if panel is None or panel.comm is None:
            raise RuntimeError("start: got a closed panel, wanted an open one")
        with self._lock:
            self._drop()
            self._wish = Job(steps, take, finish)
            panel.error = panel.traceback = ""
            panel.status = "running"
            if self._idle.is_set():
                self._idle.clear()
                rest()
                threading.Thread(target=self._run, name=type(panel).__name__, daemon=True).start()

    def cancel(self):
        """End what runs after its current step, whose item is not taken, and forget what waits."""
        with self._lock:
            self._drop()

    def wait(self, timeout=None):
        """Block until nothing runs, at most `timeout` seconds; returns whether nothing does."""
        rest()
        return self._idle.wait(timeout)

    def _drop(self):
        self._cancel.set()
        if self._wish is not None:
            _close(self._wish.steps)
        self._wish = None

    # --- in the thread

    def _run(self):
        while (job := self._next()) is not None:
            self._end(job, *self._do(job))

    def _next(self):
        with self._lock:
            job, self._wish = self._wish, None
            if job is not None:
                self._cancel.clear()
                return job
            panel = self._open_panel()
            if panel is not None and panel.status == "running":  # forgotten before it was begun
                panel.status = "cancelled"
            self._idle.set()

    def _do(self, job):
        try:
            for index, item in enumerate(job.steps):
                panel = self._open_panel()
                if panel is None or self._cancel.is_set():
                    return "cancelled", None
                job.take(panel, index, item)
                del panel
        except BaseException as problem:  # there is nobody above a thread
            return "error", problem
        return "done", None

    def _end(self, job, status, problem):
        _close(job.steps)
        panel = self._open_panel()
        if panel is None:
            return
        try:
            if job.finish is not None:
                job.finish(panel, status)
        except Exception as worse:
            status, problem = "error", worse
        with self._lock:
            if self._wish is None:
                _tell(panel, status, problem)

    def _open_panel(self):
        panel = self._panel()
        return None if panel is None or panel.comm is None else panel


def _tell(panel, status, problem):
    if problem is not None:
        panel.traceback = "".join(traceback.format_exception(problem))
        panel.error = f"{type(problem).__name__}: {problem}"
    panel.status = status


def _close(steps):
    with contextlib.suppress(Exception):
        getattr(steps, "close", lambda: None)()


# The cores' threads


def rest():
    """Let go of the threads that compute for the calling one; its next product of matrices starts them anew.

    OpenMP, of GNU, keeps some for every thread that ever computed, and once all of them together are more than the
    cores, it puts them to sleep between any two operations: a small network then trains half as fast in a panel's
    thread as in a cell, although the cell's threads have nothing to do.
    """
    if sys.platform == "linux":
        omp_pause_soft = 1
        getattr(ctypes.CDLL(None), "omp_pause_resource_all", lambda _: None)(omp_pause_soft)  # there with torch


@functools.cache
def _rest_between_cells():
    """In a notebook the thread of the cells rests when none runs: who starts work then may be another thread."""
    if (shell := get_ipython()) is not None:
        shell.events.register("post_execute", rest)


# What an author gives a panel to call


def as_callable(value, name, form):
    """`value`, which is None or can be called in the form that the error names."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: got {type(value).__name__}, wanted a callable, {form}")
    return value


def pictures_of(sample, value, **settings):
    """The pictures of sample(value, **settings), which returns one or yields at least one, as steps of a Work.

    All that the author wrote runs here, in the thread.
    """
    try:
        inspect.signature(sample).bind(value, **settings)
    except TypeError as error:
        given = ", ".join([f"{value:g}", *(f"{name}={setting!r}" for name, setting in settings.items())])
        raise TypeError(f"sample: cannot be called as sample({given}): {error}") from None
    made = sample(value, **settings)
    pictures = made if isinstance(made, Iterator) else iter([made])
    first = next(pictures, None)
    if first is None:
        raise ValueError("sample: got no picture, wanted one, or a generator that yields at least one")
    yield first
    yield from pictures
