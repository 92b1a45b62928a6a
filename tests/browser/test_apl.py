"""The APL pad in Chromium, on a bare page: the bar, the prefix, history, what is answered, the eye."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from kit.arrays import _apl_words as words
from kit.arrays.apl import AplError, Workspace
from kit.panels import AplPad
from kit.panels._panel import source

pytestmark = pytest.mark.browser

SESSION = "2 3⍴⍳6\n1 2+1 2 3\navg←{(+/⍵)÷≢⍵}\n(1 2)'abc'"


@pytest.fixture
def pad(stage):
    return stage(AplPad(SESSION, {"A": np.arange(6.0).reshape(2, 3)}))


def prompt(pad):
    return pad.find(".kit-input")


def sent(pad):
    return [entry["content"] for entry in pad.log() if entry["kind"] == "send"]


def answered(pad, text):
    """What the kernel would answer to the text."""
    entries = AplPad(SESSION + "\n" + text)._entries
    pad.page.evaluate("entries => kernel.set('_entries', entries)", entries)


def test_the_session_is_shown_as_apl_prints_it(pad):
    rows = pad.find(".kit-log li")
    assert rows.count() == 4
    assert rows.nth(0).locator(".kit-typed").inner_text() == "2 3⍴⍳6"
    assert rows.nth(0).locator(".kit-value").inner_text() == "1 2 3\n4 5 6"
    assert rows.nth(0).locator(".kit-about").inner_text() == "shape 2 3"
    assert rows.nth(0).locator(".kit-torch pre").inner_text() == "torch.arange(1, 7).reshape(2, 3)"
    assert rows.nth(0).locator(".kit-verdict").get_attribute("data-verdict") == "same"
    assert rows.nth(2).locator(".kit-about").inner_text() == "named" and rows.nth(2).locator(".kit-torch").count() == 0
    assert rows.nth(3).locator(".kit-value").inner_text() == "┌───┬───┐\n│1 2│abc│\n└───┴───┘"
    assert pad.reading("names") == "A shape 2 3\navg function"


def test_the_caret_stands_below_the_character_that_failed(pad):
    row = pad.find(".kit-log li").nth(1)
    assert row.locator(".kit-wrong").inner_text().startswith("LENGTH ERROR shape 2 against shape 3")
    edges = """row => {
      const at = (node, from) => { const range = document.createRange(), text = node.firstChild;
        range.setStart(text, from); range.setEnd(text, from + 1); return range.getBoundingClientRect().x; };
      return [at(row.querySelector(".kit-typed"), 3), at(row.querySelector(".kit-caret"), 3)];
    }"""
    plus, caret = row.evaluate(edges)
    assert row.locator(".kit-typed").inner_text()[3] == "+" and row.locator(".kit-caret").text_content() == "   ^"
    assert abs(plus - caret) < 1


def test_enter_sends_the_line_and_the_answer_is_timed(pad):
    prompt(pad).fill("1+1")
    prompt(pad).press("Enter")
    assert sent(pad) == [{"kind": "run", "text": "1+1"}] and prompt(pad).input_value() == ""
    expect(pad.find(".kit-state")).to_have_text("asked")
    answered(pad, "1+1")
    expect(pad.find(".kit-log li")).to_have_count(5)
    expect(pad.find(".kit-state")).to_have_text("")
    assert re.fullmatch(r"\d+ ms", pad.reading("answered in"))
    prompt(pad).press("Enter")
    assert len(sent(pad)) == 1  # nothing is typed


def test_the_newest_answer_is_in_sight(stage):
    pad = stage(AplPad("30 1⍴1\n30 1⍴2"))
    end = "node => [node.scrollTop > 100, node.scrollHeight - node.scrollTop - node.clientHeight <= 1]"
    assert pad.find(".kit-log").evaluate(end) == [True, True]
    pad.find(".kit-log").evaluate("node => { node.scrollTop = 0; }")
    answered(pad, "30 1⍴3")
    assert pad.find(".kit-log").evaluate(end) == [True, True]


def test_while_it_runs_the_pad_says_so_and_can_be_stopped_and_without_an_answer_it_says_that(pad):
    prompt(pad).fill("{⍵+1}⍣{0}1")
    pad.find(".kit-run").click()
    expect(pad.find(".kit-stop")).to_be_hidden()
    pad.page.evaluate("kernel.set('status', 'running')")
    expect(pad.find(".kit-state")).to_have_text("running")
    pad.find(".kit-stop").click()
    assert sent(pad)[-1] == {"kind": "stop"}
    pad.page.evaluate("kernel.set('status', 'idle')")
    expect(pad.find(".kit-state")).to_have_text("no answer: the kernel is busy, or there is none")


GLYPHS = re.findall(r'^  \["(\\?.)", "(\\?.|)", ', source("apl.js"), re.MULTILINE)


def test_every_glyph_of_the_language_is_in_the_bar_and_every_example_runs():
    bar = {glyph.replace("\\\\", "\\") for glyph, _ in GLYPHS}
    assert set(words.FUNCTIONS + words.BOTH + "¨⍨.⍤⍣∘⍺⍵∇←⋄¯⍬⍝") == bar and len(GLYPHS) == len(bar)
    rows = re.findall(r'^  \["(\\?.)".*"((?:\\.|[^"\\])*)"\],$', source("apl.js"), re.MULTILINE)
    assert len(rows) == len(GLYPHS)
    for glyph, example in rows:
        example = example.replace("\\\\", "\\")
        assert glyph.replace("\\\\", "\\") in example
        try:
            Workspace().value(example)
        except AplError as error:
            raise AssertionError(f"{example}: {error}") from None


def test_a_click_inserts_at_the_cursor_and_pointing_explains(pad):
    prompt(pad).fill("2 3⍳6")
    prompt(pad).evaluate("input => input.setSelectionRange(3, 3)")
    rho = pad.page.get_by_role("button", name="⍴, shape, reshape")
    rho.hover()
    assert pad.find(".kit-help").inner_text().split("\n") == [
        *("⍴", "one argument shape", "two reshape; repeats what is too short", "2 3⍴⍳6", "`r")
    ]
    rho.click()
    assert prompt(pad).input_value() == "2 3⍴⍳6" and prompt(pad).evaluate("input => input.selectionStart") == 4
    expect(prompt(pad)).to_be_focused()
    expect(pad.find(".kit-help b")).to_have_text("⍴")  # the pointer is still there
    prompt(pad).hover()
    expect(pad.find(".kit-help")).to_contain_text("Point at a glyph")


# Dyalog's layout for an American keyboard: key and glyph.
LAYOUT = """`⋄ 1¨ 2¯ 3< 4≤ 5= 6≥ 7> 8≠ 9∨ 0∧ -× =÷ q? w⍵ e∊ r⍴ t~ y↑ u↓ i⍳ p* [← \\⊢ a⍺ s⌈ d⌊ g∇ j∘ z⊂ x⊃ b⊥ n⊤ m|
,⍝ .⍀ /⌿ #⍒ $⍋ %⌽ ^⍉ &⊖ *⍟ (⍱ )⍲ _! T⍨ P⍣ }⍬ |⊣ J⍤ L⌷ :≡ "≢ <⍪"""


def test_the_keys_are_those_of_dyalogs_layout():
    keyed = {key.replace('\\"', '"').replace("\\\\", "\\"): glyph for glyph, key in GLYPHS if key}
    assert keyed == {pair[0]: pair[1] for pair in LAYOUT.split()}


def test_the_prefix_and_a_key_give_a_glyph_for_every_key(pad):
    keyed = [
        (glyph.replace("\\\\", "\\"), key.replace('\\"', '"').replace("\\\\", "\\")) for glyph, key in GLYPHS if key
    ]
    assert len({key for _, key in keyed}) == len(keyed) > 50
    prompt(pad).focus()
    for _, key in keyed:
        pad.page.keyboard.type("`" + key)
    assert prompt(pad).input_value() == "".join(glyph for glyph, _ in keyed)
    prompt(pad).fill("")
    pad.page.keyboard.type("2 3`r`i6+`Q")
    assert prompt(pad).input_value() == "2 3⍴⍳6+`Q"


def test_arrows_recall_what_was_typed_and_a_click_edits_it_again(pad):
    prompt(pad).fill("draft")
    for wanted in ("(1 2)'abc'", "avg←{(+/⍵)÷≢⍵}", "1 2+1 2 3", "2 3⍴⍳6", "2 3⍴⍳6"):
        prompt(pad).press("ArrowUp")
        assert prompt(pad).input_value() == wanted
    for _ in range(5):
        prompt(pad).press("ArrowDown")
    assert prompt(pad).input_value() == "draft"
    pad.find(".kit-typed").nth(1).click()
    assert prompt(pad).input_value() == "1 2+1 2 3"
    expect(prompt(pad)).to_be_focused()


def test_the_bar_is_one_stop_of_the_tab_key_with_arrows_inside(pad):
    buttons = pad.find(".kit-glyph")
    assert pad.page.evaluate("document.querySelectorAll('.kit-glyph[tabindex=\"0\"]').length") == 1
    buttons.first.focus()
    pad.page.keyboard.press("ArrowRight")
    expect(buttons.nth(1)).to_be_focused()
    expect(pad.find(".kit-help b")).to_have_text("+")
    pad.page.keyboard.press("End")
    expect(buttons.last).to_be_focused()
    pad.page.keyboard.press("Enter")
    assert prompt(pad).input_value() == "⍝"
    pad.page.keyboard.press("Shift+Tab")
    pad.page.keyboard.press("Shift+Tab")


def test_no_key_reaches_jupyterlabs_shortcuts(pad):
    pad.find(".kit-glyph").first.press("End")  # another glyph is now the bar's stop
    assert all(suppressed == "true" for _, suppressed in pad.page.evaluate("focusable()"))


def test_text_is_text_and_never_markup(stage):
    pad = stage(AplPad("'<img src=x onerror=alert(1)>'\n<b>1</b>"))
    assert pad.find(".kit-log img").count() == pad.find(".kit-log b").count() == 0
    assert pad.find(".kit-value").first.inner_text() == "<img src=x onerror=alert(1)>"


def test_clear_is_sent_and_an_empty_session_shows_only_the_prompt(stage):
    pad = stage(AplPad("1"))
    pad.find(".kit-clear").click()
    assert sent(pad) == [{"kind": "clear"}]
    pad.page.evaluate("kernel.set('_entries', [])")
    expect(pad.find(".kit-log")).to_be_hidden()
    expect(pad.find(".kit-clear")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 600, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_leaves_the_page_and_all_can_be_read(stage, width, scheme):
    long = "+/" + "1234567890 " * 40
    pad = stage(
        AplPad(SESSION + "\n" + long + "\n5 100⍴1\nnosuch" + "x" * 200),
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    assert pad.page.evaluate("beyondTheEdge()") == []
    wide = "node => { node.scrollLeft = 1e6; return node.scrollLeft > 100 || node.scrollWidth === node.clientWidth; }"
    assert pad.find(".kit-value").nth(3).evaluate(wide)
    contrast = """node => {
      const rgb = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = ([...c]) => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const paint = colour => { const c = new OffscreenCanvas(1, 1).getContext("2d"); c.fillStyle = colour;
        c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); };
      const ink = light(paint(getComputedStyle(node).color));
      const ground = light(paint(getComputedStyle(document.querySelector(".kit-panel")).backgroundColor));
      return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    }"""
    for selector in (
        ".kit-typed",
        ".kit-value",
        ".kit-about",
        ".kit-wrong",
        ".kit-verdict",
        ".kit-glyph span",
        ".kit-glyph kbd",
    ):
        assert pad.find(selector).first.evaluate(contrast) >= 4.5, selector


def test_two_views_show_one_session_and_a_removed_one_leaves_nothing_behind(pad):
    before = pad.page.evaluate("listening()")
    pad.open()
    answered(pad, "7×6")
    assert pad.find(".kit-value", 1).last.inner_text() == "42" == pad.find(".kit-value", 0).last.inner_text()
    pad.page.evaluate("views[1].remove()")
    assert pad.page.evaluate("listening()") == before
