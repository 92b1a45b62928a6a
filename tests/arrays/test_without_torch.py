"""kit.arrays and the panels of arrays where torch cannot be imported: a fresh Python that refuses it."""

import pkgutil
import subprocess
import sys

import pytest

import kit.arrays

MODULES = sorted(module.name for module in pkgutil.iter_modules(kit.arrays.__path__))
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("there is no torch here")
sys.meta_path.insert(0, Refuse())
"""
WORK = {  # what each module of the kit does without torch
    "broadcast": """
from kit.arrays import broadcast
assert broadcast.joint((3, 1), (4,)) == (3, 4)
assert broadcast.mends((3,), (3, 4))[0].code == "a[:, None]"
""",
    "strides": """
import numpy as np
from kit.arrays import strides
array = np.arange(6).reshape(2, 3)
found = strides.memory(array.T)
assert found.library == "numpy" and found.view == strides.View((3, 2), (1, 3), 0)
assert strides.apply(found.view, "reshape", (6,), library="numpy").copied
assert not strides.shares(strides.on_tensor(array.T, "reshape", (6,)), array)
""",
    "einsum": """
from kit.arrays import einsum
assert einsum.sizes(einsum.parse("ik,kj->ij"), (2, 3), (3, 4)) == {"i": 2, "k": 3, "j": 4}
""",
    "apl": """
from kit.arrays import apl
assert apl.evaluate("(2 3⍴⍳6)+.×3 2⍴⍳6").tolist() == [[22, 28], [49, 64]]
""",
    "matmul": """
import numpy as np
from kit.arrays import matmul
a, b = np.ones((5, 7), np.float32), np.ones((7, 3), np.float32)
assert (matmul.RUNGS["tiled"](a, b) == 7).all()
""",
    "digits": """
from kit.arrays import digits
found = digits.load()
assert found.x_train.shape[1] == 784 and found.x_train.max() == 1 and found.source
""",
}
PANELS = """
import io
import numpy as np
from PIL import Image
from kit.panels import BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer
array = np.arange(12.0).reshape(3, 4)
strided = StrideVisualizer(array, ops=[("transpose", 0, 1), ("reshape", (12,))])
assert [step["copied"] for step in strided._verdict["steps"]] == [False, True]
stepper = MatmulStepper(array, array.T)
stepper.einsum = "ij->ji"
broad = BroadcastVisualizer((3, 1), array)
assert broad.joint == (3, 4)
for panel in (strided, stepper, broad, StorageView([[1, 2], [3, 4]])):
    assert Image.open(io.BytesIO(panel._static())).width == 680
    panel.export_html("panel.html")
    panel.close()
"""


def without_torch(code, folder):
    script = f"{REFUSE}{code}\nassert 'torch' not in sys.modules"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, timeout=300)


def test_torch_is_refused(tmp_path):
    done = without_torch("import torch", tmp_path)
    assert done.returncode == 1 and "there is no torch here" in done.stderr


def test_every_module_of_arrays_is_imported(tmp_path):
    assert {"broadcast", "strides", "einsum"} <= set(MODULES)
    done = without_torch("\n".join(f"import kit.arrays.{name}" for name in MODULES), tmp_path)
    assert done.returncode == 0, done.stderr


def test_no_module_is_left_out():
    assert {name for name in MODULES if not name.startswith("_")} == WORK.keys()


@pytest.mark.parametrize("name", WORK)
def test_every_module_of_arrays_works(tmp_path, name):
    done = without_torch(WORK[name], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_panels_work(tmp_path):
    done = without_torch(PANELS, tmp_path)
    assert done.returncode == 0, done.stderr
