"""The array panels in JupyterLab itself: pointing, mends, sliders, keys, the theme, on either kind of thread."""

import re
from contextlib import ExitStack, closing

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SETUP = """
import time
import numpy as np
import torch
from kit.panels import BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer
"""
BROADCAST = "b = BroadcastVisualizer(torch.arange(6.0).reshape(2, 3), (3, 4), op='+')\nb"
STRIDES = "s = StrideVisualizer(torch.arange(12.0).reshape(3, 4))\ns"
STORAGE = "t = StorageView(torch.arange(12.0).reshape(3, 4)[:, ::2])  # torch begins at a cache line\nt"
MATMUL = "m = MatmulStepper(torch.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4))\nm"

BOTH = pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 1000}) as (page, errors):
        page.set_default_timeout(30_000)
        yield page
        assert errors == []


@pytest.fixture
def ran(page, labs):
    """ran(name, *cells, subshells): a notebook whose cells were run; its kernel ends with the test."""
    with ExitStack() as kernels:

        def run(name, *cells, subshells=True):
            lab = labs(subshells)
            notebook = kernels.enter_context(closing(Notebook(page, lab, lab.write(f"{name}.ipynb", SETUP, *cells))))
            notebook.run()
            return notebook

        yield run


def canvas(panel, number=0):
    return panel.locator(".kit-tiles canvas + canvas").nth(number)


def formula(panel):
    return panel.locator(".kit-formula").first


def soon(condition, page, seconds=20):
    for _ in range(seconds * 20):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing happened")


@BOTH
def test_a_mend_is_clicked_a_result_pointed_at_and_the_kernel_has_the_shapes(ran, subshells):
    notebook = ran("broadcast", BROADCAST, "b.joint", subshells=subshells)
    panel = notebook.panel()
    assert notebook.ask("b.joint") is None
    panel.locator(".kit-mend button").filter(has_text="a[:, :, None]").first.click()
    expect(panel.locator(".kit-joint")).to_have_text("(2, 3, 4)")
    soon(lambda: notebook.ask("b.joint") == (2, 3, 4), notebook.page)
    canvas(panel, 2).hover(position={"x": 30, "y": 50})
    expect(formula(panel)).to_have_text("(a + b)[0, 0, 0] = a[0, 0, 0] + b[0, 0] = 0 + 10 = 10")
    panel.locator("input").nth(1).fill("3, 1")
    soon(lambda: notebook.ask("b.shapes") == [[2, 3, 1], [3, 1]], notebook.page)
    notebook.ask("setattr(b, 'op', '*')")
    expect(panel.locator("select")).to_have_value("*")
    assert notebook.errors() == []


@BOTH
def test_a_slider_of_as_strided_asks_the_library_and_stays_inside(ran, subshells):
    notebook = ran("strides", STRIDES, subshells=subshells)
    page, panel = notebook.page, notebook.panel()
    panel.get_by_role("button", name="transpose").click()
    page.keyboard.press("Enter")
    expect(panel.locator(".kit-verdict")).to_contain_text("torch says: the same storage, data_ptr")
    assert notebook.ask("s.ops") == [["transpose", 0, 1]]
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_role("button", name="as_strided").click()
    offset, size = panel.locator("input[aria-label=offset]"), panel.locator("input[aria-label='size 0']")
    size.focus()
    page.keyboard.press("ArrowLeft")
    expect(panel.locator(".kit-facts")).to_contain_text("(2, 4)")
    box = offset.bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 30, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    expect(offset).to_have_value("4")
    expect(panel.locator(".kit-verdict")).to_contain_text("torch says: the same storage, data_ptr")
    soon(lambda: notebook.ask("s.ops") == [["as_strided", [2, 4], [4, 1], 4]], page)
    assert notebook.ask("[(step['offset'], step['copied']) for step in s._verdict['steps']]") == [(4, False)]


@BOTH
def test_the_library_answers_while_a_cell_runs_where_there_are_subshells(ran, subshells):
    notebook = ran("busy", STRIDES, subshells=subshells)
    panel = notebook.panel()
    notebook.page.evaluate("""() => {
      const { kernel } = notebook.sessionContext.session;
      window.over = false;
      kernel.requestExecute({ code: "time.sleep(6)" }).done.then(() => { over = true; });
    }""")
    panel.get_by_role("button", name="contiguous").click()
    said = panel.locator(".kit-verdict")
    if not subshells:
        expect(said).to_contain_text("row-major already, so it is returned as it is. by the rules of torch")
        assert notebook.page.evaluate("over") is False
    expect(said).to_contain_text("torch says: the same storage", timeout=20_000)
    if subshells:
        assert notebook.page.evaluate("over") is False
    notebook.page.wait_for_function("over")


@BOTH
def test_a_product_is_stepped_typed_and_played_and_the_kernel_knows(ran, subshells):
    notebook = ran("matmul", MATMUL, subshells=subshells)
    page, panel = notebook.page, notebook.panel()
    slider, field = panel.locator("input[type=range]"), panel.locator("input[type=text]")
    slider.focus()
    for key in ("PageUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(formula(panel)).to_have_text("c[0, 1] = 0·1 + 1·5 = 5 after 2 of 3 terms")
    soon(lambda: notebook.ask("m.step") == 5, page)
    page.keyboard.press(" ")
    expect(panel.locator(".kit-play")).to_have_attribute("aria-label", "Pause")
    expect(formula(panel)).not_to_contain_text("after 2 of 3 terms")
    page.keyboard.press(" ")
    panel.get_by_role("button", name="outer products").click()
    soon(lambda: notebook.ask("(m.order, m.step)") == ("outer", 0), page)
    field.fill("ik,kj->")
    soon(lambda: notebook.ask("m.einsum") == "ik,kj->", page)
    slider.focus()
    page.keyboard.press("End")
    expect(formula(panel)).to_contain_text(f"= {(np.arange(6).reshape(2, 3) @ np.arange(12).reshape(3, 4)).sum()}")
    notebook.ask("m.set_trait('einsum', 'ij->ji')")
    expect(field).to_have_value("ij->ji")
    canvas(panel, 2).hover(position={"x": 30, "y": 30})
    expect(formula(panel)).to_have_text("c[0, 0] = 0")
    field.fill("ij->z")
    expect(panel.locator("mark")).to_have_text("z")
    page.wait_for_timeout(300)
    assert notebook.ask("m.einsum") == "ij->ji" and notebook.errors() == []


def test_pointing_at_a_storage_and_what_the_panel_measured(ran):
    notebook = ran("storage", STORAGE)
    panel = notebook.panel()
    canvas(panel, 1).hover(position={"x": 60, "y": 30})
    expect(formula(panel)).to_contain_text("cell 0, address 0x")
    canvas(panel).hover(position={"x": 30, "y": 30})
    expect(formula(panel)).to_contain_text("view[0, 0] → 0 + 0·4 + 0·2 = cell 0")
    notebook.page.mouse.move(5, 5)
    soon(lambda: notebook.ask("t.stats().get('moves', 0)") >= 2, notebook.page)
    notebook.ask("t.close()")
    expect(notebook.page.locator(".kit-panel")).to_have_count(0)


def test_no_letter_leaks_into_the_notebook_from_any_of_them(ran):
    notebook = ran("keys", BROADCAST, STRIDES, STORAGE, MATMUL, "'last'")
    page, cells = notebook.page, notebook.cells()
    for number in range(4):
        panel = notebook.panel(number)
        for element in panel.locator("[tabindex='0']").all():
            if not element.is_visible() or not element.is_enabled():
                continue
            element.focus()
            for key in "amyxbdd":
                page.keyboard.press(key)
            expect(element).to_be_focused()
    page.wait_for_timeout(300)
    assert notebook.cells() == cells == ["code"] * 6


def test_the_theme_of_jupyterlab_is_followed_by_the_pictures(ran):
    notebook = ran("theme", STRIDES, MATMUL)
    page = notebook.page
    brightness = """canvas => { const copy = new OffscreenCanvas(1, 1).getContext("2d");
      copy.drawImage(canvas, -25, -25); return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3); }"""
    bases = [notebook.panel(number).locator(".kit-tiles canvas").first for number in range(2)]
    assert all(min(base.evaluate(brightness)) > 150 for base in bases)
    notebook.command("apputils:change-theme", theme="JupyterLab Dark")
    for base in bases:
        page.wait_for_function(f"canvas => Math.max(...({brightness})(canvas)) < 150", arg=base.element_handle())


def test_arrow_keys_walk_the_cells_of_a_view(ran):
    notebook = ran("walk", STRIDES)
    panel = notebook.panel()
    canvas(panel).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown"):
        notebook.page.keyboard.press(key)
    expect(formula(panel)).to_contain_text(re.compile(r"^view\[1, 1\] → 0 \+ 1·4 \+ 1·1 = cell 5"))
