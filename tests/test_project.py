"""The project as a whole: versions that agree, a light import, badges that lead home, a doctor that knows."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import kit
from kit.__main__ import weights as check_weights
from tests import links
from tests.bench.__main__ import table
from tests.test_layout import tracked

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_NAMES = {"pytorch": "torch", "pytorch-cpu": "torch"}  # what conda-forge calls torch


def python(*arguments, executable=sys.executable, **settings):
    """Run Python and hand back the finished process, with its output as text."""
    return subprocess.run([executable, *arguments], capture_output=True, text=True, check=False, **settings)


# Versions


def pins(root=ROOT):
    """Package -> tested version, from constraints.txt."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def conda(path):
    """What a conda environment file fixes: ({package: version}, the lines for pip)."""
    dependencies = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    fixed = [entry.split("=") for entry in dependencies if isinstance(entry, str) and "=" in entry]
    pip = [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    return {CONDA_NAMES.get(name, name): number for name, number in fixed}, pip


def disagreements(root=ROOT):
    """Where environment.yml, binder/ or the Dockerfile would install something else than constraints.txt."""
    found = []
    local, pip = conda(root / "environment.yml")
    binder, binder_pip = conda(root / "binder/environment.yml")
    docker = (root / "Dockerfile").read_text(encoding="utf-8")
    image = re.search(r"^FROM python:(\d+\.\d+)-", docker, re.MULTILINE)
    tested = pins(root) | {"python": local["python"]}
    for place, fixed in {
        "environment.yml": local,
        "binder": binder,
        "Dockerfile": {"python": image[1]},
    }.items():
        found += [f"{place}: {name} {n}" for name, n in fixed.items() if tested.get(name) != n]
        if place != "Dockerfile" and not {"python", "torch"} <= fixed.keys():
            found.append(f"{place}: leaves python or torch open")
    installs = {
        "environment.yml": " ".join(pip),
        "binder": " ".join(binder_pip) + pip_installs((root / "binder/postBuild").read_text(encoding="utf-8")),
        "Dockerfile": pip_installs(docker),
    }
    wanted = "-c constraints.txt -e .[lab]"
    return found + [f"{place}: pip gets {line!r}" for place, line in installs.items() if line != wanted]


def pip_installs(script):
    """What the `pip install` lines of a script ask for, without the options that only save space."""
    lines = re.findall(r"pip install (.*)", script)
    return " ".join(lines).replace("--no-cache-dir ", "").replace("'", "")


def closure(requirement, environment, seen=None):
    """The names of all packages that a requirement brings in, found through the installed metadata."""
    seen = {} if seen is None else seen
    name, extras = canonicalize_name(requirement.name), {"", *requirement.extras}
    if extras <= seen.get(name, set()):
        return seen
    seen[name] = seen.get(name, set()) | extras
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return seen
    for needed in map(Requirement, lines):
        if needed.marker is None or any(needed.marker.evaluate(environment | {"extra": extra}) for extra in extras):
            closure(needed, environment, seen)
    return seen


def test_the_environments_install_the_tested_versions():
    assert disagreements() == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("environment.yml", r"pytorch=2[\d.]+", "pytorch=2.12.0"),
        ("environment.yml", r"pytorch=2[\d.]+", "pytorch"),
        ("environment.yml", r"numpy=[\d.]+", "numpy=2.4.5"),
        ("environment.yml", r"      - -c constraints.txt\n", ""),
        ("environment.yml", r"(?<=\[lab\])", "\n      - torch==2.12.0"),
        ("binder/environment.yml", r"pytorch-cpu=2[\d.]+", "pytorch-cpu=2.12.0"),
        ("binder/environment.yml", r"python=3[\d.]+", "python=3.13"),
        ("binder/postBuild", r"-c constraints.txt ", ""),
        ("Dockerfile", r"python:3.1\d", "python:3.14"),
        ("Dockerfile", r"-c constraints.txt ", ""),
        ("constraints.txt", r"torch==[\d.]+", "torch==2.14.0"),
    ],
)
def test_a_version_changed_in_one_place_is_found(tmp_path, file, old, new):
    for name in (
        "environment.yml",
        "binder/environment.yml",
        "binder/postBuild",
        "Dockerfile",
        "constraints.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text = (tmp_path / file).read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    (tmp_path / file).write_text(changed, encoding="utf-8")
    assert disagreements(tmp_path) != []


def test_constraints_pin_everything_that_gets_installed_and_nothing_else():
    everything = Requirement("walkthrough-kit[lab,test]")
    # With these markers the constraints were made; elsewhere a few packages more or fewer are needed.
    made_on = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}
    needed = closure(everything, made_on | {"platform_system": "Linux"}).keys() - {"walkthrough-kit"}
    assert pins().keys() == needed


def test_the_tests_run_on_the_tested_versions():
    names = closure(Requirement("walkthrough-kit[lab,test]"), {}).keys() & pins().keys()
    assert {name: version(name).split("+")[0] for name in names} == {name: pins()[name] for name in names}


def test_the_ranges_in_pyproject_admit_the_tested_versions():
    for line in [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["test"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), line
    assert SpecifierSet(PROJECT["requires-python"]).contains(conda(ROOT / "environment.yml")[0]["python"])


def test_the_container_runs_as_an_ordinary_user_with_a_token_and_may_use_a_gpu():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")
    command = json.loads(lines[-1].removeprefix("CMD "))
    assert command[:3] == ["python", "-m", "jupyterlab"]
    assert not any("token" in word or "password" in word or "allow-root" in word for word in command)
    text = "\n".join(lines)
    assert "NVIDIA_VISIBLE_DEVICES=all" in text and "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in text


def test_binder_can_run_its_post_build_script():
    assert os.access(ROOT / "binder/postBuild", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / "binder/postBuild"], check=False).returncode == 0


def test_the_wheel_carries_every_tracked_file_of_kit(tmp_path):
    source = tmp_path / "source"
    for path in tracked():
        if path.parts[0] in ("kit", "pyproject.toml", "README.md", "LICENSE"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
    build = python("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    assert build.returncode == 0, build.stderr
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    assert {path.as_posix() for path in tracked() if path.parts[0] == "kit"} - carried == set()


# Importing


def test_import_kit_loads_nothing_heavy():
    code = "import sys, kit; dir(kit); print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(python("-c", code).stdout.split())
    assert "kit" in loaded
    assert loaded & {"torch", "diffusers", "transformers", "matplotlib", "numba", "numpy", "anywidget"} == set()


def test_import_kit_takes_at_most_three_tenths_of_a_second_more_than_python():
    def best(statement):
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            python("-c", statement)
            taken.append(time.perf_counter() - started)
        return min(taken)

    assert best("import kit") - best("pass") <= 0.3


@pytest.mark.parametrize("name", kit.__all__)
def test_every_public_name_exists(name):
    assert getattr(kit, name) is not None


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'lode'; it has .*load"):
        kit.lode  # noqa: B018


# Links


def addresses(text):
    """Every owner/name that a badge, a Colab cell or a clone command of the text leads to."""
    found = re.findall(
        r"(?:colab\.research\.google\.com/github/|mybinder\.org/v2/gh/|git\+https://github\.com/|"
        r"git clone https://github\.com/)([\w.-]+/[\w.-]+)",
        text,
    )
    return {address.removesuffix(".git") for address in found}


def strays(root=ROOT):
    """The addresses in README.md and the walkthroughs that are not the one in `[project.urls]`."""
    home = links.repository(root)
    return {
        (path.name, address)
        for path in links.files(root)
        for address in addresses(path.read_text(encoding="utf-8"))
        if address != home
    }


def test_every_badge_leads_to_the_address_in_pyproject():
    assert strays() == set()
    assert addresses((ROOT / "README.md").read_text(encoding="utf-8")) == {links.repository()}


def test_the_readme_lists_every_walkthrough_with_its_badges():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "walkthroughs").glob("*.ipynb"):
        assert f"(walkthroughs/{path.name})" in readme
        assert links.badges(links.repository(), path.name) in readme


@pytest.fixture
def copy(tmp_path):
    """The files that hold the project's address, copied."""
    (tmp_path / "walkthroughs").mkdir()
    for path in links.files():
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def test_links_move_everything_and_leave_the_rest_alone(copy):
    before = {path: path.read_text(encoding="utf-8") for path in links.files(copy)}
    home = links.repository(copy)
    assert links.rewrite("ann/other.kit", copy)
    assert links.repository(copy) == "ann/other.kit"
    assert strays(copy) == set()
    links.rewrite(home, copy)
    assert {path: path.read_text(encoding="utf-8") for path in links.files(copy)} == before


def test_a_badge_that_leads_elsewhere_is_found(copy):
    readme = copy / "README.md"
    text = readme.read_text(encoding="utf-8").replace(f"gh/{links.repository()}", "gh/ann/fork")
    readme.write_text(text, encoding="utf-8")
    assert ("README.md", "ann/fork") in strays(copy)


@pytest.mark.parametrize("name", ["", "kit", "a/b/c", "https://github.com/a/b", "a b/c", "../kit"])
def test_links_refuse_what_is_not_owner_and_name(copy, name):
    with pytest.raises(ValueError, match="wanted owner/name"):
        links.rewrite(name, copy)


# The doctor


@pytest.fixture
def model(tmp_path):
    """A weights folder of two files and a true card."""
    contents = {"unet/model.safetensors": b"weights", "model_index.json": b"{}"}
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    card = {"files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    return tmp_path


def test_whole_weights_are_in_order(model):
    (finding,) = check_weights(model)
    assert (finding.state, finding.mend) == ("ok", "")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda folder: (folder / "unet/model.safetensors").write_bytes(b"weighty"), "has sha256"),
        (lambda folder: (folder / "unet/model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "card.json").unlink(), "card.json is missing"),
        (lambda folder: (folder / "card.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "card.json").write_text("{}"), "not readable"),
        (lambda folder: (folder / "card.json").write_text("[]"), "not readable"),
        (lambda folder: (folder / "card.json").write_text('{"files": {}}'), "lists no files"),
    ],
)
def test_damaged_weights_are_named_with_the_mend(model, fault, words):
    fault(model)
    (finding,) = check_weights(model)
    assert finding.state == "wrong" and words in finding.text and "git checkout" in finding.mend


def doctor(folder=ROOT, executable=sys.executable):
    """Run the doctor of the kit in `folder`: (exit status, what it printed)."""
    done = python("-m", "kit", cwd=folder, executable=executable)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_doctor_finds_nothing_wrong_here():
    status, text = doctor()
    assert status == 0, text
    assert "Nothing is wrong." in text and "torch" in text and "device" in text


@pytest.mark.parametrize(("what", "command"), [("weights", "make world"), ("students", "make students")])
def test_the_doctor_finds_one_changed_byte_in_the_weights(tmp_path, what, command):
    shutil.copytree(ROOT / "kit", tmp_path / "kit", ignore=shutil.ignore_patterns(".training"))
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    weight = next((tmp_path / "kit/world" / what).rglob("*.safetensors"))
    data = bytearray(weight.read_bytes())
    data[-1] ^= 1
    weight.write_bytes(data)
    status, text = doctor(tmp_path)
    assert status == 1 and f"{weight} has sha256" in text and f"wrong  {what}" in text and command in text


@pytest.fixture
def environment(tmp_path):
    """A maker of virtual environments that hold everything installed here but what matches a pattern."""

    def make(missing, folder=tmp_path / "environment"):
        venv.create(folder, symlinks=True, with_pip=False)
        (target,) = folder.glob("lib/python*/site-packages")
        (source,) = {Path(distribution("torch").locate_file("")).resolve()}
        for entry in source.iterdir():
            if not re.match(missing, entry.name) and not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
        extensions = Path("share/jupyter/labextensions")
        for entry in (Path(sys.prefix) / extensions).iterdir():
            if not re.match(missing, entry.name):
                (folder / extensions).mkdir(parents=True, exist_ok=True)
                (folder / extensions / entry.name).symlink_to(entry)
        return str(folder / "bin/python")

    return make


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        (r"numba", "wrong  numba         missing, wanted"),
        (r"torch(?!v)", "wrong  torch         missing, wanted"),
        (r"packaging", "wrong  packaging     missing, wanted"),
        (r"jupyterlab(?!_)", "wrong  jupyterlab    missing, wanted"),
        (r"anywidget$", "wrong  extension     JupyterLab lacks anywidget"),
        (r"walkthrough_kit.*dist-info", "wrong  walkthrough-kit  not installed"),
    ],
)
def test_the_doctor_names_what_is_missing_and_how_to_mend_it(tmp_path, environment, missing, line):
    status, text = doctor(tmp_path, environment(missing))
    assert status == 1 and line in text
    assert "pip install" in text.split("To mend:")[1]


# Make and the benches


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (None, "Install Python 3.11 or newer"),
        ('case "$*" in *"3, 11"*) exit 1;; esac; echo Python 3.9.2', "Python 3.9.2 is too old"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
)
def test_make_says_what_is_missing(tmp_path, answers, words):
    shim = tmp_path / "python"
    if answers:
        shim.write_text(f"#!/bin/sh\n{answers}\n")
        shim.chmod(0o755)
    command = ["make", "lab", f"PYTHON={shim}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and words in done.stdout


def test_make_lists_its_commands():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^make (\w+)", listed, re.MULTILINE)
    assert commands == ["help", "lab", "test", "check", "notebooks", "world", "students", "bench", "links"]


def test_bench_tables_are_aligned_markdown():
    text = table([{"what": "kit", "s": 0.1}, {"what": "a long name", "s": 12}])
    assert text.splitlines() == [
        "| what        | s   |",
        "|-------------|-----|",
        "| kit         | 0.1 |",
        "| a long name | 12  |",
    ]


def test_an_unknown_bench_is_an_error_that_lists_the_known_ones():
    done = python("-m", "tests.bench", "nope", cwd=ROOT)
    assert done.returncode == 1 and "no bench named nope; there are" in done.stderr and "import" in done.stderr
