"""`import kit` against `import torch`: seconds in a fresh interpreter, best and median of seven."""

import statistics
import subprocess
import sys
import time

REPEATS = 7


def seconds(statement):
    """Wall-clock seconds that a fresh interpreter takes for one statement, start and end included."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def run():
    rows = []
    for statement in ("pass", "import kit", "import numpy", "import torch", "import diffusers"):
        taken = [seconds(statement) for _ in range(REPEATS)]
        rows.append(
            {
                "statement": statement,
                "best s": f"{min(taken):.3f}",
                "median s": f"{statistics.median(taken):.3f}",
            }
        )
    return rows
