"""`python -m tests.bench [name ...]`: runs every bench_*.py here, or those named, and prints their tables."""

import os
import platform
import sys
from importlib import import_module
from pathlib import Path

import torch


def table(rows):
    """Rows of equal keys as a Markdown table."""
    head = list(rows[0])
    cells = [head, *([str(row[key]) for key in head] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def machine():
    """One line on what the numbers were measured on."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{system}, {device}, torch {torch.__version__}"


def main(names):
    """Run the benches and print their tables; a name that is none of them is an error that lists them."""
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := set(names) - set(known):
        sys.exit(f"no bench named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print(machine())
    for name in names or known:
        bench = import_module(f"tests.bench.bench_{name}")
        try:
            print(f"\n{bench.__doc__.splitlines()[0]}\n\n{table(bench.run())}", flush=True)
        except FileNotFoundError as error:
            sys.exit(f"bench {name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
