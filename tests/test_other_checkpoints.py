"""With one name changed, a walkthrough's cells run on another checkpoint, and every assert in them holds."""

import nbformat
import pytest

from tests.checkpoints import save_variant
from tests.notebooks import WALKTHROUGHS, execute

NAME = 'NAME = "world"'


@pytest.mark.notebook
@pytest.mark.parametrize("variant", ["epsilon", "v"])
def test_stable_diffusion_runs_on_another_checkpoint(tmp_path, variant):
    folder = save_variant(tmp_path / variant, variant)
    notebook = nbformat.read(WALKTHROUGHS / "stable-diffusion.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if NAME in cell.source and cell.cell_type == "code"]
    cell.source = cell.source.replace(NAME, f"NAME = {str(folder)!r}")
    path = tmp_path / "stable-diffusion.ipynb"
    nbformat.write(notebook, path)
    run = execute(path)
    assert run.error == ""
    assert run.network == []
