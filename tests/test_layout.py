"""The house rules that no single file shows: what imports what, what lies where, what is tracked."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TOP_LEVEL = {
    *("walkthroughs", "kit", "tests", "environment.yml", "README.md", "binder", "Dockerfile"),
    *("pyproject.toml", "constraints.txt", "Makefile", "LICENSE", ".ci", ".gitignore"),
}

# What each part of kit/ may import besides the standard library and itself; a module's own entry, such as
# "diffusion.training", widens its package's. What no entry names is forbidden.
ARROWS = {
    "__init__": set(),
    "__main__": {"torch", "packaging", "jupyter_core"},
    "arrays": {"numpy", "torch", "numba"},
    "arrays.digits": {"sklearn"},  # the bundled digits
    "diffusion": {"torch"},
    "diffusion.training": {"accelerate", "safetensors"},
    "diffusion.personalize": {"safetensors"},  # a learnt word as diffusers reads it
    "world": {"kit.diffusion", "torch", "numpy", "safetensors"},
    "world.caption": {"transformers", "tokenizers"},
    "world.distilling": {"diffusers", "accelerate"},
    "world.judge": {"transformers"},  # the image tower of the CLIP score
    "world.measure": {"diffusers", "transformers"},  # loads the parts of a weights folder by itself
    "world.sheet": {"PIL"},
    "world.train": {"diffusers", "transformers", "tokenizers", "accelerate"},
    "models": {
        "kit.world",
        "kit.diffusion",
        "torch",
        "diffusers",
        "transformers",
        "huggingface_hub",
        "safetensors",
    },
    "panels": {"kit.arrays", "numpy", "PIL", "IPython", "anywidget", "ipywidgets", "traitlets"},
    "exercises": {"kit.arrays", "kit.diffusion", "numpy", "torch"},
}

DRAWERS = {"utils", "util", "core", "common", "helpers", "misc"}
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"}
NOT_TEXT = {".safetensors", ".png", ".npz", ".gz"}


def tracked(root=ROOT):
    """What git tracks, as paths relative to the root; a new file counts once it is added."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True)
    return [Path(name) for name in listing.stdout.split("\0") if name and (root / name).exists()]


# Import arrows


def imports(path, module):
    """The dotted names that a module of kit imports, also relative ones and `import_module("...")`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ("kit", *module.split("."))[: -node.level] if node.level else ()
            base = ".".join([*above, node.module or ""]).strip(".")
            # `from kit import world` reaches kit.world, not just kit.
            yield from (f"{base}.{alias.name}" for alias in node.names) if base.startswith("kit") else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def allowed(module, name):
    """Whether the table lets `module` ("diffusion.ddim") import `name`."""
    package = module.split(".")[0]
    entries = {f"kit.{package}"} | ARROWS.get(package, set()) | ARROWS.get(module, set())
    return name.split(".")[0] in sys.stdlib_module_names or any(
        name == entry or name.startswith(entry + ".") for entry in entries
    )


def forbidden_imports(root=ROOT):
    """Each import in kit/ that the table does not allow, as (module, imported name)."""
    found = []
    for path in sorted((root / "kit").rglob("*.py")):
        module = ".".join(path.relative_to(root / "kit").with_suffix("").parts)
        found += [(module, name) for name in imports(path, module) if not allowed(module, name)]
    return found


def test_imports_in_kit_follow_the_arrows():
    assert forbidden_imports() == []


def test_every_part_of_kit_stands_in_the_table():
    parts = {path.stem for path in (ROOT / "kit").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - ARROWS.keys() == set()


@pytest.mark.parametrize(
    ("module", "line", "name"),
    [
        ("panels/noise.py", "import torch", "torch"),
        ("panels/noise.py", "from kit.diffusion import ddim", "kit.diffusion.ddim"),
        ("panels/noise.py", "from kit import world", "kit.world"),
        ("panels/noise.py", "from ..models import load", "kit.models.load"),
        ("diffusion/ddim.py", "import diffusers", "diffusers"),
        ("diffusion/ddim.py", "import torchvision", "torchvision"),
        ("diffusion/ddim.py", "def f():\n    from .. import panels", "kit.panels"),
        ("diffusion/ddim.py", 'import_module("kit.panels")', "kit.panels"),
        ("diffusion/__init__.py", "from ..world import render", "kit.world.render"),
        ("world/render.py", "from kit.models import load", "kit.models.load"),
        ("world/render.py", "import diffusers.models", "diffusers.models"),
        ("exercises/__init__.py", "import kit.panels", "kit.panels"),
        ("__init__.py", "import numpy", "numpy"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, module, line, name):
    heavy = shutil.ignore_patterns("weights", ".training", "__pycache__")
    shutil.copytree(ROOT / "kit", tmp_path / "kit", ignore=heavy)
    planted = tmp_path / "kit" / module
    planted.parent.mkdir(exist_ok=True)
    source = planted.read_text(encoding="utf-8") if planted.exists() else ""
    planted.write_text(f"{source}\n{line}\n", encoding="utf-8")
    assert (module.removesuffix(".py").replace("/", "."), name) in forbidden_imports(tmp_path)


def test_third_party_imports_in_kit_are_declared_dependencies():
    from importlib.metadata import packages_distributions

    from kit.__main__ import wanted

    declared = {name.lower().replace("_", "-") for extra in ("", "lab") for name in wanted(extra)}
    providers = packages_distributions()
    undeclared = {
        name.split(".")[0]
        for path in (ROOT / "kit").rglob("*.py")
        for name in imports(path, ".".join(path.relative_to(ROOT / "kit").with_suffix("").parts))
        if (top := name.split(".")[0]) not in sys.stdlib_module_names | {"kit"}
        and not declared & {provider.lower().replace("_", "-") for provider in providers.get(top, [])}
    }
    assert undeclared == set()


# Where things lie


def test_the_top_level_holds_exactly_what_the_layout_names():
    assert {path.parts[0] for path in tracked()} == TOP_LEVEL


def test_every_algorithm_has_its_test():
    algorithms = {path.stem for path in (ROOT / "kit" / "diffusion").glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "diffusion").glob("test_*.py")}
    assert algorithms - tests == set()


def test_no_module_is_a_drawer():
    assert [path for path in tracked() if path.suffix == ".py" and DRAWERS & {*path.parts, path.stem}] == []


def test_weights_are_safetensors_only():
    assert [path for path in tracked() if path.suffix in PICKLES] == []
    weights = [path for path in tracked() if path.is_relative_to("kit/world/weights")]
    assert {path.suffix for path in weights} <= {".safetensors", ".json", ".txt", ".md"}


def test_tracked_files_are_small():
    sizes = {path: (ROOT / path).stat().st_size for path in tracked()}
    assert {path: size for path, size in sizes.items() if size > 2_000_000 and path.suffix != ".safetensors"} == {}


# Text


def blemishes(text):
    """What an editor would have cleaned: returns the names of the faults in a text file."""
    faults = {
        "carriage return": "\r" in text,
        "trailing space": re.search(r"[ \t]\n", text),
        "no newline at the end": bool(text) and not text.endswith("\n"),
        "blank lines at the end": text.endswith("\n\n"),
        "a home folder's path": re.search(r"/(?:home|root|Users)/(?!reader\b)\w", text),
        "an unresolved merge": re.search(r"^(?:<{7}|>{7}) ", text, re.MULTILINE),
    }
    return [name for name, found in faults.items() if found]


def test_text_files_are_clean():
    written = Path("kit/world/weights")  # by diffusers and transformers, in their manner
    texts = [p for p in tracked() if p.suffix not in NOT_TEXT | {".ipynb"} and written not in p.parents]
    faults = {path: blemishes((ROOT / path).read_bytes().decode("utf-8")) for path in texts}
    assert {path: names for path, names in faults.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a\r\n", "carriage return"),
        ("a \nb\n", "trailing space"),
        ("a", "no newline at the end"),
        ("a\n\n", "blank lines at the end"),
        ("see /".rstrip() + "home/ann/kit\n", "a home folder's path"),
        ("<" * 7 + " HEAD\n", "an unresolved merge"),
    ],
)
def test_a_blemish_is_found(text, fault):
    assert fault in blemishes(text)
    assert blemishes("clean\n") == []
