"""Runs walkthroughs from top to bottom, offline, measured; `python -m tests.notebooks [paths]` saves the results."""

import functools
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

import kit

ROOT = Path(__file__).parent.parent
WALKTHROUGHS = ROOT / "walkthroughs"
OFFLINE = Path(__file__).parent / "offline"
PASS = 0.015  # seconds of the small world's U-Net, batch 2, on the two idle cores that limits are stated for (README)


@dataclass
class Run:
    """One execution: the notebook with its new outputs, and what the execution took."""

    notebook: nbformat.NotebookNode
    seconds: float  # wall clock, the start of the kernel included
    gigabytes: float  # the most that the kernel and its children held at once, in 10**9 bytes
    network: list[str]  # attempts to reach another machine, whether or not the notebook caught the refusal
    error: str  # "" when every cell ran


def limits(notebook):
    """(seconds, gigabytes) that a walkthrough may take: its metadata's "limits", or 120 s and 1.5 GB."""
    own = notebook.metadata.get("limits", {})
    return own.get("seconds", 120), own.get("gigabytes", 1.5)


def patience():
    """What a limit in seconds is multiplied by here: the machine's slowness; beside another test worker, twice it."""
    return slowness() * (2 if "PYTEST_XDIST_WORKER" in os.environ else 1)


@functools.cache
def slowness():
    """How many times longer than `PASS` a U-Net pass takes in this process, the best of ten; at least 1."""
    models = kit.load("world", device="cpu")
    x, cond = torch.zeros(2, *models.latent_shape), models.embed(["", "a horse in the snow"])
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        with torch.inference_mode():
            models.predict(x, 500, cond)
        taken.append(time.perf_counter() - begun)
    return max(1, min(taken) / PASS)


def execute(path):
    """Run the notebook `path` in an empty folder, as a reader does who has only that file and the kit."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "network.log"
        log.touch()
        (cwd := Path(folder) / "walkthroughs").mkdir()
        client = NotebookClient(
            notebook,
            timeout=math.ceil(2 * patience() * limits(notebook)[0]),
            kernel_name="python3",
            store_widget_state=False,
            resources={"metadata": {"path": str(cwd)}},
        )
        memory = _Memory(client)
        client.on_notebook_complete = lambda **_: memory.read()
        started, error = time.monotonic(), ""
        try:
            with memory:
                client.execute(env=_offline(folder, log))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as raised:
            error = str(raised)
        seconds = time.monotonic() - started
        return Run(notebook, seconds, memory.peak / 1e9, log.read_text(encoding="utf-8").splitlines(), error)


def save(run, path):
    """Write the executed notebook without widget state and execution counts, so that its diff stays small."""
    nbformat.write(run.notebook, path)
    strip = [sys.executable, "-m", "nbstripout", "--keep-output", "--keep-id", str(path)]
    subprocess.run(strip, check=True)


def _offline(folder, log):
    """The kernel's environment: no network, and an empty cache, so that no earlier download can help."""
    python_path = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
    return os.environ | {
        "PYTHONPATH": python_path,
        "KIT_NETWORK_LOG": str(log),
        "HF_HOME": str(Path(folder) / "hub"),
    }


class _Memory:
    """The largest resident memory of a client's kernel and its children while the block runs, in bytes."""

    def __init__(self, client):
        self.client, self.peak = client, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def _watch(self):
        while not self.done.wait(0.05):
            self.read()

    def read(self):
        if self.client.km is not None and self.client.km.has_kernel:
            self.peak = max(self.peak, _resident(self.client.km.provisioner.pid))


def _resident(pid):
    """Bytes held by a process (at its highest, where Linux keeps that) and by its children (now)."""
    try:
        kernel = psutil.Process(pid)
        children = kernel.children(recursive=True)
        return _high_water(kernel) + sum(child.memory_info().rss for child in children)
    except psutil.NoSuchProcess:
        return 0


def _high_water(process):
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return process.memory_info().rss


def main():
    paths = [Path(name) for name in sys.argv[1:]] or sorted(WALKTHROUGHS.glob("*.ipynb"))
    if not paths:
        sys.exit(f"no notebooks in {WALKTHROUGHS.name}/")
    failed = False
    for path in paths:
        run = execute(path)
        if run.error:
            failed = True
            print(f"{path.name}: not saved\n{run.error}")
            continue
        save(run, path)
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {run.seconds:.0f} s, {run.gigabytes:.2f} GB, saved in {size:.2f} MB")
    sys.exit(failed)


if __name__ == "__main__":
    main()
