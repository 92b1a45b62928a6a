"""Panels of several kinds on one page: whichever style sheet came last, each looks as it does alone."""

import numpy as np
import pytest

from kit.panels import AplPad, BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer
from tests.browser.pages import opened
from tests.browser.stage import Stage, scrubber
from tests.browser.test_forward import forward
from tests.browser.test_guidance import slider as guidance
from tests.browser.test_interpolation import slider as interpolation
from tests.browser.test_ladder import ladder
from tests.browser.test_live import live
from tests.browser.test_mask import picker
from tests.browser.test_training import trained

pytestmark = pytest.mark.browser

SQUARE = np.arange(9.0).reshape(3, 3)
PANELS = {
    "noise": scrubber,
    "forward": forward,
    "guidance": guidance,
    "live": live,
    "mask": picker,
    "interpolation": interpolation,
    "training": lambda: trained(("", 9, np.linspace(1, 0.1, 9))),
    "ladder": ladder,
    "broadcast": lambda: BroadcastVisualizer((3, 1), (4,)),
    "storage": lambda: StorageView(SQUARE),
    "strides": lambda: StrideVisualizer(SQUARE, ops=[("as_strided", (2, 2), (3, 1), 0)]),
    "matmul": lambda: MatmulStepper(SQUARE, SQUARE, order="blocks", block=2, step=5),
    "apl": lambda: AplPad("+/⍳4"),
}
LOOKS = """() => {
  const hidden = new Set(["STYLE", "I"]);  // of the sensors of colours nothing is seen
  return [...document.querySelectorAll("main *")].filter(node => !hidden.has(node.tagName)).map(node => {
    const style = getComputedStyle(node), values = [...style].map(name => [name, style[name]]);
    return [`${node.tagName}.${node.getAttribute("class")}`, Object.fromEntries(values)];
  });
}"""
COMPARED = f"""() => {{
  const now = ({LOOKS})();
  return before.flatMap(([node, style], i) => Object.keys(style).filter(name => style[name] !== now[i][1][name])
    .map(name => `${{node}} ${{name}}: ${{style[name]}} alone, now ${{now[i][1][name]}}`)).slice(0, 20);
}}"""


@pytest.mark.parametrize("name", PANELS)
def test_the_style_sheets_of_other_panels_change_nothing(browser, name):
    sheets = {panel()._css for panel in PANELS.values()}
    with opened(browser) as (page, errors):
        stage = Stage(page, PANELS[name]())
        page.wait_for_timeout(300)
        page.evaluate(f"() => {{ window.before = ({LOOKS})(); }}")
        for sheet in sorted(sheets):
            page.add_style_tag(content=sheet)
        stage.rest()
        assert len(page.evaluate("before")) > 10
        assert page.evaluate(COMPARED) == []
        assert not errors
