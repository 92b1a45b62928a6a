"""The APL pad in JupyterLab itself: typed, answered by the kernel on either thread, stopped, reloaded."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import opened

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SETUP = "import torch\nfrom kit.panels import AplPad\nA = torch.arange(6.0).reshape(2, 3)"
PANEL = "pad = AplPad('2 3⍴⍳6', {'A': A})\npad"


@pytest.fixture
def page(browser):
    with opened(browser, kinds=("error",), viewport={"width": 1200, "height": 1100}) as (page, errors):
        page.set_default_timeout(30_000)
        yield page
        assert errors == []


def ask(panel, page, text):
    panel.locator(".kit-input").focus()
    page.keyboard.type(text)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("subshells", [True, False], ids=["with subshells", "without"])
def test_the_kernel_answers_is_stopped_and_its_names_stay(labs, page, open_notebook, subshells):
    lab = labs(subshells)
    notebook = open_notebook(lab, lab.write("apl.ipynb", SETUP, PANEL, "'last'"))
    notebook.run()
    panel, cells = notebook.panel(), notebook.cells()
    ask(panel, page, "A+.`-`^A")
    expect(panel.locator(".kit-value").last).to_have_text("5 14\n14 50", use_inner_text=True)
    expect(panel.locator(".kit-torch pre").last).to_have_text("A @ A.T")
    expect(panel.locator(".kit-verdict").last).to_have_text("same result")
    ask(panel, page, "B`[A`-2")
    expect(panel.locator(".kit-about").last).to_have_text("named")
    assert notebook.ask("pad.workspace.run('B').tolist()") == [[0, 2, 4], [6, 8, 10]]
    ask(panel, page, "{`w+1}`P{0}1")
    expect(panel.locator(".kit-state")).to_have_text("running")
    panel.locator(".kit-stop").click()
    expect(panel.locator(".kit-wrong").last).to_contain_text("INTERRUPT")
    ask(panel, page, "1 2+1 2 3")
    expect(panel.locator(".kit-wrong").last).to_contain_text("LENGTH ERROR")
    for key in ("a", "b", "x", "Escape", "d", "d", "Shift+Enter"):
        page.keyboard.press(key)
    for focus in (".kit-glyph", ".kit-typed", ".kit-value", ".kit-clear"):
        panel.locator(focus).first.focus()
        for key in "abmyxdd":
            page.keyboard.press(key)
        expect(panel.locator(focus).first).to_be_focused()
    assert notebook.cells() == cells == ["code"] * 3 and notebook.errors() == []
    page.evaluate("notebook.context.save()")
    page.reload()
    notebook.ready()
    expect(notebook.panel().locator(".kit-log li")).to_have_count(6)  # Shift+Enter runs the line too
    notebook.ask("pad.close()")
    expect(page.locator(".kit-panel")).to_have_count(0)


def test_a_simple_expression_is_answered_within_a_round_trip(labs, page, open_notebook):
    lab = labs()
    notebook = open_notebook(lab, lab.write("quick.ipynb", SETUP, PANEL))
    notebook.run()
    panel = notebook.panel()
    for number in range(5):
        ask(panel, page, f"{number}+1")
        expect(panel.locator(".kit-value").last).to_have_text(str(number + 1))
    took = panel.locator(".kit-readings div:has(dt:text-is('answered in')) dd").inner_text()
    assert float(took.split()[0]) < 1000
