"""Every notebook in walkthroughs/, as committed and as it runs: offline, within limits, with pictures."""

import re
import subprocess
import sys

import nbformat
import pytest

from tests import links
from tests.notebooks import ROOT, WALKTHROUGHS, execute, limits, patience, save

PATHS = sorted(WALKTHROUGHS.glob("*.ipynb"))
LARGEST = 2_000_000  # bytes
WIDGET = "application/vnd.jupyter.widget-view+json"
# "/folder/file", or "C:\folder", where no word, scheme or tag stands before it.
ABSOLUTE_PATH = re.compile(r"(?<![\w./:~<\\-])(?:/[\w.+-]+){2,}|\b[A-Z]:\\\w")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def shown(output):
    """The text that a reader sees in an output."""
    data = output.get("data", {})
    kinds = ("text/plain", "text/html", "text/markdown")
    return "\n".join([output.get("text", ""), *(str(data[kind]) for kind in kinds if kind in data)])


def mimes(cell):
    """What kinds of output a cell has; a stream may come in pieces, so only whether there is one counts."""
    return {kind for output in cell.outputs for kind in output.get("data", {output.output_type: ""})}


# What a notebook can get wrong: each function lists the faults it finds.


def committed_faults(notebook):
    """Faults of the outputs as they stand in the file."""
    faults = ["saved widget state"] if "widgets" in notebook.metadata else []
    for output in outputs(notebook):
        data, text = output.get("data", {}), shown(output)
        if output.output_type == "error" or "Traceback (most recent call last)" in text:
            faults.append("an error in the outputs")
        if path := ABSOLUTE_PATH.search(text):
            faults.append(f"an absolute path in the outputs: {path[0]}")
        if WIDGET in data and "image/png" not in data:
            faults.append("a widget without a picture")
    return faults


def opening_faults(notebook, name, repo):
    """Faults of the first cells: a title with badges, then the cell that only acts on Colab."""
    title, *_ = notebook.cells
    code = code_cells(notebook)
    faults = []
    if title.cell_type != "markdown" or not re.match(r"# \S", title.source):
        faults.append("the first cell is not a title")
    if links.badges(repo, name) not in title.source:
        faults.append("the first cell lacks the badges")
    if not code or code[0].source != links.colab_cell(repo):
        faults.append("the first code cell is not the Colab cell")
    return faults


def running_faults(run, committed):
    """Faults of an execution, and what the committed file shows less or more than it."""
    seconds, gigabytes = limits(committed)
    faults = [f"an error: {run.error}"] if run.error else []
    faults += [f"network: {attempt}" for attempt in run.network]
    if run.seconds > patience() * seconds:
        faults.append(f"took {run.seconds:.0f} s, allowed are {seconds} s times {patience():.1f}")
    if run.gigabytes > gigabytes:
        faults.append(f"took {run.gigabytes:.2f} GB, allowed are {gigabytes}")
    if not run.error:
        pairs = zip(code_cells(committed), code_cells(run.notebook), strict=True)
        faults += [f"stale outputs: {old.source[:60]!r}" for old, new in pairs if mimes(old) != mimes(new)]
    return faults


# The walkthroughs


def test_there_are_walkthroughs():
    assert PATHS, f"no notebooks in {WALKTHROUGHS}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_committed_notebook_is_clean(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert committed_faults(notebook) == []
    assert opening_faults(notebook, path.name, links.repository()) == []


@pytest.mark.notebook
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_runs_offline_within_its_limits(path, record_property):
    run = execute(path)
    record_property("seconds", round(run.seconds, 1))
    record_property("gigabytes", round(run.gigabytes, 2))
    print(f"{path.name}: {run.seconds:.1f} s, {run.gigabytes:.2f} GB")
    assert running_faults(run, nbformat.read(path, as_version=4)) == []
    assert committed_faults(run.notebook) == []


COLAB_TRIAL = """
import sys, types
from IPython.core.interactiveshell import InteractiveShell

shell, calls = InteractiveShell.instance(), []
shell.register_magic_function(calls.append, "line", "pip")
source = sys.stdin.read()
shell.run_cell(source).raise_error()
assert calls == [], calls
sys.modules["google.colab"] = types.ModuleType("google.colab")
shell.run_cell(source).raise_error()
assert len(calls) == 1, calls
print(calls[0])
"""


def test_the_colab_cell_installs_on_colab_and_does_nothing_elsewhere():
    trial = subprocess.run(
        [sys.executable, "-c", COLAB_TRIAL],
        input=links.colab_cell("ann/kit"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert trial.stdout.split() == ["install", "--quiet", "git+https://github.com/ann/kit"]


# Faults, planted


def notebook_of(*sources, **metadata):
    """A notebook that opens as it should, with one more code cell per source."""
    repo = links.repository()
    cells = [
        nbformat.v4.new_markdown_cell(f"# A title\n\n{links.badges(repo, 'a.ipynb')}"),
        *(nbformat.v4.new_code_cell(source) for source in (links.colab_cell(repo), *sources)),
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, **metadata})


def run_of(tmp_path, *sources, **metadata):
    """(what executing a notebook of these cells gives, the faults that are found in it)."""
    path = tmp_path / "a.ipynb"
    notebook = notebook_of(*sources, **metadata)
    nbformat.write(notebook, path)
    run = execute(path)
    return run, running_faults(run, notebook)


WIDGET_VIEW = {"model_id": "0", "version_major": 2, "version_minor": 0}


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (dict(output_type="error", ename="E", evalue="", traceback=[]), "an error in the outputs"),
        (
            dict(output_type="stream", name="stderr", text="Traceback (most recent call last):\n"),
            "an error in the outputs",
        ),
        (
            dict(output_type="stream", name="stdout", text="saved to /srv/ann/x.png"),
            "an absolute path in the outputs",
        ),
        (
            dict(output_type="stream", name="stdout", text="'C:\\kit\\x.png'"),
            "an absolute path in the outputs",
        ),
        (
            dict(output_type="display_data", data={"text/html": "<a href='/srv/ann'>"}, metadata={}),
            "an absolute path in the outputs",
        ),
        (
            dict(output_type="display_data", data={WIDGET: WIDGET_VIEW}, metadata={}),
            "a widget without a picture",
        ),
    ],
)
def test_a_fault_in_the_committed_outputs_is_found(output, fault):
    notebook = notebook_of("x")
    assert committed_faults(notebook) == []
    notebook.cells[-1].outputs = [nbformat.from_dict(output)]
    assert [found.split(":")[0] for found in committed_faults(notebook)] == [fault]


def test_saved_widget_state_is_found():
    assert committed_faults(notebook_of(widgets={"state": {}})) == ["saved widget state"]


@pytest.mark.parametrize("text", ["a/b/c", "1/2/3 of 4", "https://example.org/a/b", "image/png", "</div></p>", "// x"])
def test_what_only_looks_like_a_path_is_left_alone(text):
    assert not ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda notebook: notebook.cells.pop(0), "the first cell is not a title"),
        (lambda notebook: notebook.cells.pop(1), "the first code cell is not the Colab cell"),
        (lambda notebook: notebook.cells[0].update(source="# A title"), "the first cell lacks the badges"),
        (
            lambda notebook: notebook.cells[1].update(source="import torch"),
            "the first code cell is not the Colab cell",
        ),
    ],
)
def test_a_wrong_opening_is_found(change, fault):
    notebook, repo = notebook_of("x"), links.repository()
    assert opening_faults(notebook, "a.ipynb", repo) == []
    change(notebook)
    assert fault in opening_faults(notebook, "a.ipynb", repo)


def test_badges_for_another_notebook_are_found():
    assert opening_faults(notebook_of(), "b.ipynb", links.repository()) == ["the first cell lacks the badges"]


URLLIB = """
import urllib.request
try:
    urllib.request.urlopen("https://example.org")
except OSError:
    pass
"""
HUB = """
import huggingface_hub
try:
    huggingface_hub.snapshot_download("a/b")
except Exception:
    pass
"""
CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import socket; socket.gethostbyname('example.org')"])
"""


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("source", "metadata", "fault"),
    [
        ("1 / 0", {}, "an error: .*ZeroDivisionError"),
        ("import os; os._exit(1)", {}, "an error: .*[Kk]ernel died"),
        (
            "import time; time.sleep(300)",
            {"limits": {"seconds": 0.1}},
            r"an error: .*(timeout|timed out)|took \d+ s, allowed are 0.1 s",
        ),
        ("len(b'x' * 10**9)", {"limits": {"gigabytes": 0.8}}, r"took 1\.\d+ GB, allowed are 0.8"),
        (
            "import socket; socket.create_connection(('192.0.2.1', 80))",
            {},
            r"network: socket.\w+ 192\.0\.2\.1",
        ),
        (URLLIB, {}, "network: socket.getaddrinfo example.org"),
        (HUB, {}, "network: socket.getaddrinfo"),
        (CHILD, {}, "network: socket.gethostbyname example.org"),
        ("print('not in the committed file')", {}, "stale outputs"),
    ],
)
def test_a_fault_in_running_is_found(tmp_path, source, metadata, fault):
    _, faults = run_of(tmp_path, source, **metadata)
    assert any(re.match(fault, found, re.DOTALL) for found in faults), faults


@pytest.mark.notebook
def test_a_good_notebook_has_no_faults_and_is_saved_without_widget_state(tmp_path):
    sources = (
        "import ipywidgets; slider = ipywidgets.IntSlider()",
        "import socket; socket.getaddrinfo('localhost', 80);",
    )
    run, faults = run_of(tmp_path, *sources)
    assert faults == []
    assert 0.1 < run.seconds < 60 and 0.03 < run.gigabytes < 1
    run.notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    save(run, tmp_path / "saved.ipynb")
    saved = nbformat.read(tmp_path / "saved.ipynb", as_version=4)
    assert committed_faults(saved) == []
    assert [cell.id for cell in saved.cells] == [cell.id for cell in run.notebook.cells]


def test_the_walkthroughs_folder_holds_only_notebooks():
    listing = subprocess.run(["git", "ls-files", "walkthroughs"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert {name for name in listing.stdout.split() if not name.endswith(".ipynb")} == set()
