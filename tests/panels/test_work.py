"""Work in the background of a panel: one thread, the newest wish wins, nothing outlives the panel."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from kit.panels import Panel


class Bare(Panel):
    """A panel of nothing, that keeps what its work gave it."""

    _esm = "export default { render() {} }"

    def __init__(self):
        super().__init__()
        self.taken, self.ended = [], []

    def take(self, index, item):
        self.taken.append((index, item))

    def finish(self, status):
        self.ended.append((status, self.status))


class Gate:
    """A generator under the test's hand: it yields an item after each `open()`."""

    def __init__(self, *items):
        self.items, self.gate = items, threading.Semaphore(0)
        self.begun, self.closed, self.threads = threading.Event(), threading.Event(), set()
        self.asked = 0

    def open(self, count=1):
        self.gate.release(count)

    def run(self):
        self.begun.set()
        try:
            for item in self.items:
                self.asked += 1
                self.gate.acquire()
                self.threads.add(threading.current_thread())
                yield item
        finally:
            self.closed.set()


def start(panel, steps):
    panel.work.start(steps, Bare.take, finish=Bare.finish)


def at_work():
    return [thread for thread in threading.enumerate() if thread.name == "Bare"]


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def test_items_are_taken_in_order_in_another_thread_and_the_status_tells():
    panel, gate = Bare(), Gate("a", "b")
    statuses = []
    panel.observe(lambda change: statuses.append(change.new), "status")
    start(panel, gate.run())
    assert panel.status == "running" and not panel.work.wait(0)
    gate.open(2)
    assert panel.work.wait(5)
    assert panel.taken == [(0, "a"), (1, "b")]
    assert statuses == ["running", "done"] and panel.ended == [("done", "running")]
    assert gate.threads.isdisjoint({threading.main_thread()})


def test_cancel_ends_after_the_current_step_whose_item_is_not_taken():
    panel, gate = Bare(), Gate("a", "b", "c")
    start(panel, gate.run())
    gate.open()
    eventually(lambda: panel.taken)
    panel.work.cancel()
    gate.open()
    assert panel.work.wait(5) and gate.closed.is_set()
    assert panel.taken == [(0, "a")] and panel.status == "cancelled" and panel.ended == [("cancelled", "running")]


def test_at_the_end_the_generator_is_closed_even_if_somebody_holds_it():
    panel, gate = Bare(), Gate("a", "b")
    steps, seen = gate.run(), []
    panel.work.start(steps, Bare.take, finish=lambda panel, status: seen.append((status, gate.closed.is_set())))
    gate.open()
    eventually(lambda: panel.taken)
    panel.work.cancel()
    gate.open()
    assert panel.work.wait(5) and seen == [("cancelled", True)]


def test_the_browsers_stop_cancels():
    panel, gate = Bare(), Gate("a")
    start(panel, gate.run())
    panel.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    gate.open()
    assert panel.wait(5).status == "cancelled" and panel.taken == []


def test_of_many_wishes_the_newest_runs_and_only_one_thread_does():
    panel, first, last = Bare(), Gate("a", "b"), Gate("z")
    start(panel, first.run())
    assert first.begun.wait(5)
    between = [Gate(n) for n in range(5)]
    for gate in between:
        start(panel, gate.run())
    start(panel, last.run())
    assert len(at_work()) == 1
    first.open(), last.open()
    assert panel.work.wait(5)
    assert panel.taken == [(0, "z")] and panel.status == "done"
    assert not any(gate.begun.is_set() for gate in between)
    assert panel.ended == [("cancelled", "running"), ("done", "running")]


def test_a_newer_start_does_not_show_the_older_ones_end():
    panel, first, last = Bare(), Gate("a"), Gate("z")
    statuses = []
    panel.observe(lambda change: statuses.append(change.new), "status")
    start(panel, first.run())
    assert first.begun.wait(5)
    start(panel, last.run())
    first.open()
    assert last.begun.wait(5) and panel.status == "running"
    last.open()
    panel.wait(5)
    assert statuses == ["running", "done"]


def test_cancelled_before_it_began_it_never_begins():
    panel, gate = Bare(), Gate("a")
    with panel.work._lock:  # the thread cannot fetch its work
        start(panel, gate.run())
        panel.work.cancel()
    assert panel.wait(5).status == "cancelled"
    assert not gate.begun.is_set() and panel.ended == []


def test_cancel_forgets_what_waits_and_a_later_start_runs():
    panel, first, second = Bare(), Gate("a"), Gate("b")
    start(panel, first.run())
    start(panel, second.run())
    panel.work.cancel()
    first.open(), second.open()
    assert panel.wait(5).status == "cancelled" and not second.begun.is_set() and panel.taken == []
    start(panel, iter("c"))
    assert panel.wait(5).status == "done" and panel.taken == [(0, "c")]


def test_who_sees_the_end_may_start_the_next():
    panel = Bare()
    panel.observe(lambda change: change.new == "done" and len(panel.taken) < 3 and start(panel, iter("x")), "status")
    start(panel, iter("x"))
    eventually(lambda: len(panel.taken) == 3)
    assert panel.wait(5).status == "done"


def fail(problem):
    yield "a"
    raise problem


@pytest.mark.parametrize("problem", [RuntimeError("no memory left"), SystemExit("no memory left")])
def test_an_error_is_shown_the_panel_lives_on_and_a_new_start_clears_it(problem):
    panel = Bare()
    start(panel, fail(problem))
    assert panel.wait(5).status == "error" and panel.taken == [(0, "a")]
    assert panel.error == f"{type(problem).__name__}: no memory left" and "in fail" in panel.traceback
    assert panel.ended == [("error", "running")]
    start(panel, iter("b"))
    assert (panel.error, panel.traceback) == ("", "")
    assert panel.wait(5).status == "done" and panel.taken == [(0, "a"), (0, "b")]


def raises(panel, *given):
    raise ValueError(f"got {given}")


@pytest.mark.parametrize("place", ["take", "finish"])
def test_what_the_panel_does_wrong_with_an_item_is_shown_too(place):
    panel, gate = Bare(), Gate("a")
    given = {"take": Bare.take, place: raises}
    panel.work.start(gate.run(), **given)
    gate.open()
    assert panel.wait(5).status == "error" and panel.error.startswith("ValueError: got (")
    assert gate.closed.is_set()


def test_close_ends_the_work_and_a_closed_panel_takes_nothing_more():
    panel, gate = Bare(), Gate("a", "b")
    work, alive = panel.work, weakref.ref(panel)
    start(panel, gate.run())
    taken = panel.taken
    gate.open()
    eventually(lambda: taken)
    eventually(lambda: gate.asked == 2)
    panel.close()
    with pytest.raises(RuntimeError, match="got a closed panel, wanted an open one"):
        start(panel, iter("c"))
    del panel
    gc.collect()
    assert alive() is None and not gate.closed.is_set()  # a step that hangs keeps no panel alive
    gate.open()
    assert work.wait(5) and gate.closed.is_set() and taken == [(0, "a")]
    eventually(lambda: not at_work())


def test_what_waits_when_the_panel_is_closed_never_begins():
    panel, first, second = Bare(), Gate("a"), Gate("b")
    work = panel.work
    start(panel, first.run())
    assert first.begun.wait(5)
    start(panel, second.run())
    panel.close()
    first.open(), second.open()
    assert work.wait(5) and first.closed.is_set() and not second.begun.is_set()


def test_only_iterators_are_work():
    with pytest.raises(TypeError, match="steps: got list, wanted an iterator, for example a generator"):
        Bare().work.start(["a"], Bare.take)


ALONE = """
import os, time
import torch
from IPython import InteractiveShell
from kit.panels import Panel

class Bare(Panel):
    _esm = "export default { render() {} }"

def threads():
    return len(os.listdir("/proc/self/task"))

def fewer():  # than were last seen; waited for five seconds at most
    until = time.monotonic() + 5
    while threads() >= seen[-1] and time.monotonic() < until:
        time.sleep(0.01)
    return threads()

def computed():  # by two threads
    return torch.exp(torch.ones(300_000))

def looked():
    seen.append(threads())
    while not go:
        time.sleep(0.01)
    seen.append(fewer())
    computed()
    seen.append(threads())
    yield

def take(panel, index, item):
    pass

shell, panel, seen, go = InteractiveShell.instance(), Bare(), [], []
seen.append(threads())
computed()
seen.append(threads())
panel.work.start(looked(), take)
while len(seen) < 3:
    time.sleep(0.01)
computed()
seen.append(threads())
go.append(True)
panel.wait(10)
shell.user_ns["computed"] = computed
shell.run_cell("computed()", silent=False)
seen.append(fewer())
first, *seen = seen
print([n - first for n in seen])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP, on Linux, is known to need it")
def test_while_a_panel_works_the_threads_that_computed_for_the_cells_are_gone():
    run = subprocess.run(
        [sys.executable, "-c", ALONE], env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True
    )
    # The cell's second; the panel's one alone; the cell's again; gone when it waits; the panel's second; none at last.
    assert run.stdout.splitlines()[-1:] == ["[1, 1, 2, 1, 2, 0]"], run.stdout + run.stderr
