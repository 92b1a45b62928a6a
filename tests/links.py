"""Where the project lives, as badges and Colab cells say it; `python -m tests.links owner/name` moves it.

`[project.urls]` of pyproject.toml is the one source; everything else is derived from it and compared with it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")


def repository(root=ROOT):
    """The project's "owner/name", read from `[project.urls]`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://github.com/")


def badges(repo, notebook):
    """The Colab and Binder badges, one line of Markdown, of the file `notebook` in walkthroughs/."""
    colab = f"https://colab.research.google.com/github/{repo}/blob/main/walkthroughs/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{repo}/main?urlpath=lab/tree/walkthroughs/{notebook}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def colab_cell(repo):
    """The first code cell of every walkthrough: fetches the kit on Colab, does nothing anywhere else."""
    return (
        "import sys\n"
        "\n"
        'if "google.colab" in sys.modules:  # elsewhere this cell does nothing\n'
        f"    %pip install --quiet git+https://github.com/{repo}"
    )


def files(root=ROOT):
    """The files in which the project's address may stand."""
    return [root / "pyproject.toml", root / "README.md", *sorted((root / "walkthroughs").glob("*.ipynb"))]


def rewrite(new, root=ROOT):
    """Point every address of the project at `new` ("owner/name"); returns the files that changed."""
    if not REPO.fullmatch(new):
        raise ValueError(f"links: got {new!r}, wanted owner/name, as in https://github.com/owner/name")
    old = re.compile(rf"(?<=[/]){re.escape(repository(root))}(?![\w-])")
    changed = []
    for path in files(root):
        text = path.read_text(encoding="utf-8")
        if (moved := old.sub(new, text)) != text:
            path.write_text(moved, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.links owner/name")
    try:
        for path in rewrite(sys.argv[1]):
            print(path.relative_to(ROOT))
    except ValueError as error:
        sys.exit(str(error))
