"""`python -m kit`, the doctor: is everything here that the walkthroughs need? If not, what mends it?

Exit status 0 when nothing is wrong, else 1. "note" marks what works but differs from what was tested.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

KIT = Path(__file__).parent
STUDENTS = KIT / "world" / "students"
CONSTRAINTS = KIT.parent / "constraints.txt"
LAB_EXTENSIONS = ("anywidget", "@jupyter-widgets/jupyterlab-manager")
REINSTALL = "python -m pip install --force-reinstall --no-deps anywidget==0.11.* jupyterlab_widgets==3.*"
ON_COLAB = "COLAB_RELEASE_TAG" in os.environ


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `state` is "ok", "note" or "wrong"; `mend` is what to type or to do."""

    subject: str
    state: str
    text: str
    mend: str = ""


def tested() -> dict[str, str]:
    """Package -> tested version, from constraints.txt; empty where the kit was installed without it."""
    if not CONSTRAINTS.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE))


def wanted(extra: str = "") -> dict[str, str]:
    """Package -> version range, of the kit or of one of its extras; {} where the kit is not installed."""
    try:
        lines = requires("walkthrough-kit") or []
    except PackageNotFoundError:
        return {}
    parts = [re.match(r"([\w.-]+)([^;]*)(?:; extra == \"(\w+)\")?$", line).groups(default="") for line in lines]
    return {name: asked.strip() for name, asked, of in parts if of == extra}


def install() -> str:
    """The command that brings every package to its tested version."""
    if CONSTRAINTS.exists():
        return f"cd {KIT.parent} && python -m pip install -c constraints.txt -e '.[lab]'   # or: make lab"
    try:
        urls = dict(line.split(", ", 1) for line in metadata("walkthrough-kit").get_all("Project-URL"))
    except PackageNotFoundError:
        return "clone the project and run there: make lab"
    return f"python -m pip install --upgrade git+{urls['Repository']}"


def package(name: str, asked: str, pin: str | None) -> Finding:
    """One installed package against the range asked for ("" for any) and the tested version."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "wrong", f"missing, wanted {asked or pin}", install())
    if not in_range(found, asked):
        return Finding(name, "wrong", f"{found}, wanted {asked}", install())
    if pin and found.split("+")[0] != pin:
        return Finding(name, "note", f"{found}, tested with {pin}", install())
    return Finding(name, "ok", found)


def in_range(found: str, asked: str) -> bool:
    """Whether the version lies in the range; True without `packaging`, whose own line reports that."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(asked).contains(found, prereleases=True)


def versions() -> Iterator[Finding]:
    """Python, and each package the kit needs."""
    yield Finding("python", "ok", f"{sys.version.split()[0]} in {sys.prefix}")
    ranges, pins = wanted(), tested()
    if not ranges:
        yield Finding("walkthrough-kit", "wrong", "not installed in this Python", install())
    for name, asked in sorted(ranges.items()):
        yield package(name, asked, pins.get(name))


def device() -> Iterator[Finding]:
    """What the models will run on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("device", "wrong", f"torch does not load: {error}", install())
        return
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        yield Finding("device", "ok", f"cuda: {gpu.name}, {gpu.total_memory / 1e9:.0f} GB")
    elif torch.backends.mps.is_available():
        yield Finding("device", "ok", "mps")
    else:
        yield Finding("device", "ok", f"cpu, {torch.get_num_threads()} of {os.cpu_count()} cores")
        if shutil.which("nvidia-smi"):
            mend = "update NVIDIA's driver, or install a CUDA build of the same torch version"
            yield Finding("gpu", "note", f"a driver is here, but torch {torch.__version__} sees no GPU", mend)


def weights(folder: Path = KIT / "world" / "weights", what: str = "weights", make: str = "world") -> Iterator[Finding]:
    """Whether each file of the small world's model is, byte for byte, the one that card.json lists.

    what: the name of the findings and of the folder in kit/world; make: the command that remakes it.
    """
    mend = f"git checkout -- kit/world/{what}   # or train them again: make {make}"
    card = folder / "card.json"
    try:
        files = json.loads(card.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        yield Finding(what, "wrong", f"{card} is missing", mend)
        return
    except (ValueError, KeyError, TypeError) as error:
        yield Finding(what, "wrong", f"{card} is not readable: {error!r}", mend)
        return
    if not files:
        yield Finding(what, "wrong", f"{card} lists no files", mend)
        return
    wrong = [fault for name, sha in sorted(files.items()) if (fault := tampered(folder / name, sha))]
    yield from (Finding(what, "wrong", fault, mend) for fault in wrong)
    if not wrong:
        size = sum((folder / name).stat().st_size for name in files) / 1e6
        yield Finding(what, "ok", f"{len(files)} files, {size:.1f} MB, all whole")


def tampered(path: Path, wanted_sha: str) -> str:
    """What is wrong with a file that should have this sha256, "" if nothing."""
    if not path.exists():
        return f"{path} is missing"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == wanted_sha else f"{path} has sha256 {found[:12]}…, wanted {wanted_sha[:12]}…"


def front_ends() -> Iterator[Finding]:
    """Where a panel can be shown, and the browser that the tests drive."""
    pins = tested()
    lines = [package(name, asked, pins.get(name)) for name, asked in sorted(wanted("lab").items())]
    if ON_COLAB:
        yield Finding("colab", "ok", "panels are shown by Colab's own widget manager")
    else:
        yield from lines
        if lines and all(line.state != "wrong" for line in lines):
            yield from lab()
    if browser := chromium():
        yield Finding("chromium", "ok", f"{browser} (only the tests need it)")
    else:
        yield Finding("chromium", "note", "not found (only the tests need it)", "apt-get install chromium")


def lab() -> Iterator[Finding]:
    """JupyterLab's widget extensions, and whether panels can answer while a cell runs."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    for name in LAB_EXTENSIONS:
        if not any((folder / name / "package.json").exists() for folder in folders):
            yield Finding("extension", "wrong", f"JupyterLab lacks {name}: panels stay blank", REINSTALL)
    if int(version("ipykernel").split(".")[0]) >= 7:
        yield Finding("panels", "ok", "answer while a cell runs (kernel subshells)")
    else:
        yield Finding("panels", "note", "wait until the running cell has ended (ipykernel < 7)", install())


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome, if any."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def main() -> int:
    """Print every finding and the mends; returns the exit status."""
    findings = [*versions(), *device(), *weights(), *weights(STUDENTS, "students", "students"), *front_ends()]
    for finding in findings:
        print(f"{finding.state:5}  {finding.subject:12}  {finding.text}")
    mends = dict.fromkeys(f"{finding.subject}: {finding.mend}" for finding in findings if finding.mend)
    wrong = sum(finding.state == "wrong" for finding in findings)
    print(f"\n{wrong} wrong." if wrong else "\nNothing is wrong.")
    if mends:
        print("To mend:\n  " + "\n  ".join(mends))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
