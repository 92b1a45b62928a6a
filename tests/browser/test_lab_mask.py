"""The DiffEdit walkthrough's last section in JupyterLab: a picture of one's own, its mask by hand, the edit."""

import io

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.pages import opened
from tests.notebooks import WALKTHROUGHS

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SEES = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] === 255);
}"""


def section():
    """The cells of the walkthrough that its last section needs, as they stand there."""
    cells = nbformat.read(WALKTHROUGHS / "diffedit-2210.11427.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    last = next(i for i, source in enumerate(code) if "upload = FileUpload(" in source)
    return [next(s for s in code if start in s) for start in ("import kit", "def put(")] + code[last : last + 3]


def photograph():
    """A JPEG as a telephone keeps it, lying on its side: upright 240 x 400, red above, green and blue, white below."""
    bands = {80: (255, 0, 0), 200: (0, 255, 0), 320: (0, 0, 255), 400: (255, 255, 255)}
    upright = np.zeros((400, 240, 3), np.uint8)
    for end, colour in reversed(bands.items()):
        upright[:end] = colour
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    file = io.BytesIO()
    Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.fixture(scope="module")
def notebook(browser, labs):
    lab = labs()
    with opened(browser, kinds=("error",), viewport={"width": 1400, "height": 1100}) as (page, errors):
        page.set_default_timeout(60_000)
        notebook = Notebook(page, lab, lab.write("own.ipynb", *section()))
        notebook.run()
        yield notebook
        notebook.close()
        assert errors == []


def below(notebook, source):
    """Run the cells from the one that holds `source` on."""
    notebook.scroll_to(source)
    notebook.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-below')")
    assert notebook.errors() == []


def test_an_uploaded_photograph_is_turned_upright_cut_and_edited(notebook):
    assert notebook.ask("torch.equal(yours, bird)")
    notebook.scroll_to("FileUpload(")
    with notebook.page.expect_file_chooser() as chooser:
        notebook.page.get_by_role("button", name="A picture of yours").click()
    chooser.value.set_files({"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": photograph()})
    expect(notebook.page.get_by_role("button", name="A picture of yours (1)")).to_be_visible()
    below(notebook, "def opened(")
    assert notebook.ask("[*yours.shape]") == [1, 3, 128, 128]
    for row, colour in ((4, (0, 1, 0)), (60, (0, 1, 0)), (68, (0, 0, 1)), (124, (0, 0, 1))):
        assert notebook.ask(f"yours[0, :, {row}, 64].tolist()") == pytest.approx(colour, abs=0.05)
    assert notebook.ask("torch.equal(edit * ~torch.tensor(picker.mask), z * ~torch.tensor(picker.mask))")


def test_the_next_cell_edits_under_the_mask_that_was_corrected_by_hand(notebook):
    notebook.scroll_to("def opened(")
    panel, page = notebook.panel(), notebook.page
    before = notebook.ask("edit.tolist()")
    panel.get_by_role("slider", name="Threshold").focus()
    for key in ("End", "PageDown", "PageDown"):
        page.keyboard.press(key)
    panel.get_by_role("slider", name="Number of noises n").focus()
    page.keyboard.press("Home")
    for name in ("contour", "curtain", "overlay", "smooth", "grid", "in doubt", "add"):
        panel.get_by_role("button", name=name, exact=True).click()
    frame = panel.locator(".kit-frame")
    frame.scroll_into_view_if_needed()
    side = frame.bounding_box()["width"]
    for place in (0.1, 0.9, 0.5):
        frame.click(position={"x": place * side, "y": 0.1 * side})
    panel.get_by_role("button", name="undo", exact=True).click()
    page.wait_for_timeout(500)
    assert notebook.ask("[picker.threshold, picker.samples, picker.view]") == [0.8, 1, "overlay"]
    shown = panel.locator(".kit-thumbnail canvas").evaluate(SEES)
    assert notebook.ask("picker.mask.ravel().tolist()") == shown
    mask = np.reshape(shown, (16, 16))
    assert mask[1, 1] and mask[1, 14]
    below(notebook, "diffedit.edit(guided(own")
    after, z = (np.array(notebook.ask(f"{name}.tolist()"))[0] for name in ("edit", "z"))
    assert (after[:, ~mask] == z[:, ~mask]).all() and (after[:, mask] != z[:, mask]).any(0).mean() > 0.9
    assert not np.array_equal(after, np.array(before)[0])
