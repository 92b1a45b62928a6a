"""AplPad seen from Python: what it evaluates, says of torch, sends, refuses, and how it ends."""

import base64
import gc
import io
import json
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from kit.arrays.apl import Workspace
from kit.panels import AplPad
from kit.panels import apl as module


def eventually(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def typed(pad, text):
    """The entry of what the browser sent."""
    pad.comm.hear({"method": "custom", "content": {"kind": "run", "text": text}})
    assert pad.wait(20).status == "done"
    return pad._entries[-1]


def test_what_it_opens_with_is_evaluated_line_by_line_and_compared_with_torch():
    pad = AplPad("A←2 3⍴⍳6\n\nA+.×⍉A\n1÷0", {"B": torch.ones(2)})
    assert [entry["text"] for entry in pad._entries] == ["A←2 3⍴⍳6", "A+.×⍉A", "1÷0"]
    named, product, error = pad._entries
    assert named == {
        **{"text": "A←2 3⍴⍳6", "shown": "", "about": "", "error": None},
        **{"code": "A = torch.arange(1, 7).reshape(2, 3)", "verdict": "same result"},
    }
    assert (product["shown"], product["about"]) == ("14 32\n32 77", "shape 2 2")
    assert (product["code"], product["verdict"]) == ("A @ A.T", "same result")
    assert error["error"] == {"name": "DOMAIN ERROR", "message": "division by zero", "caret": "1÷0\n ^"}
    assert error["verdict"] == error["shown"] == ""
    assert pad._names == {"B": "shape 2", "A": "shape 2 3"}


def test_what_is_typed_is_answered_and_names_stay():
    pad = AplPad()
    assert typed(pad, "avg←{(+/⍵)÷≢⍵}")["verdict"] == "" and pad._names == {"avg": "function"}
    answer = typed(pad, "avg 1 2 3 4")
    assert answer["shown"] == "2.5" and answer["verdict"] == "same result"
    assert typed(pad, "x←x+x←1")["error"] is None and pad.workspace.run("x") == 2
    assert typed(pad, "x+1")["code"] == "x + 1"


def test_the_value_comes_before_torch_has_been_asked(monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(module, "_in_torch", lambda *given: asked.wait(10) and {"code": "c", "verdict": "v"})
    pad = AplPad()
    pad.run("1+1")
    eventually(lambda: pad._entries)
    assert pad._entries[0]["shown"] == "2" and pad._entries[0]["code"] == "" and pad.status == "running"
    asked.set()
    pad.wait(10)
    assert len(pad._entries) == 1 and pad._entries[0]["verdict"] == "v"


def test_the_torch_code_reads_the_names_as_they_were_before():
    pad = AplPad("A←⍳3\nA←A+1\nA", title="t")
    assert [entry["verdict"] for entry in pad._entries] == ["same result"] * 3
    assert pad._entries[1]["code"] == "A = A + 1" and pad._entries[2]["shown"] == "2 3 4"


def test_a_difference_from_torch_is_not_hushed_up(monkeypatch):
    monkeypatch.setattr(Workspace, "torch_code", lambda *given: "torch.tensor([1, 2, 4])")
    assert AplPad("⍳3")._entries[0]["verdict"] == "another result"
    monkeypatch.setattr(Workspace, "torch_code", lambda *given: "torch.ones(2) @ torch.ones(3)")
    assert AplPad("⍳3")._entries[0]["verdict"].startswith("torch refuses: inconsistent tensor size")


def test_where_no_torch_code_is_known_the_pad_says_so():
    entry = AplPad("(1 2)(3 4)")._entries[0]
    assert (entry["code"], entry["verdict"]) == ("", "no torch equivalent is known")


def test_without_torch_everything_but_the_comparison_works():
    code = """
import sys
sys.modules["torch"] = None
from kit.panels import AplPad
entry = AplPad("2 3⍴⍳6")._entries[0]
assert entry["shown"] == "1 2 3\\n4 5 6" and entry["code"] == "torch.arange(1, 7).reshape(2, 3)", entry
assert entry["verdict"] == "not checked: torch is not installed", entry
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stop_ends_what_runs_and_the_pad_goes_on():
    pad = AplPad()
    pad.run("{⍵+1}⍣{0}1")
    eventually(lambda: pad.status == "running")
    time.sleep(0.1)
    began = time.monotonic()
    pad.comm.hear({"method": "custom", "content": {"kind": "stop"}})
    pad.wait(10)
    assert time.monotonic() - began < 5 and pad._entries[-1]["error"]["name"] == "INTERRUPT"
    assert typed(pad, "2+2")["shown"] == "4"


def test_a_newer_expression_ends_the_older():
    pad = AplPad()
    pad.run("{⍵+1}⍣{0}1")
    time.sleep(0.1)
    began = time.monotonic()
    assert typed(pad, "2+2")["shown"] == "4" and time.monotonic() - began < 5


def test_the_newest_entries_are_kept_and_clear_forgets_all_but_the_names():
    pad = AplPad("\n".join(f"n←{i}" for i in range(60)))
    assert len(pad._entries) == 40 and pad._entries[-1]["text"] == "n←59"
    assert typed(pad, "n")["shown"] == "59" and len(pad._entries) == 40
    pad.comm.hear({"method": "custom", "content": {"kind": "clear"}})
    assert pad._entries == [] and typed(pad, "n")["shown"] == "59"


@pytest.mark.parametrize("content", [{"kind": "run"}, {"kind": "run", "text": 3}, {"kind": "eval", "text": "1"}, {}])
def test_other_messages_change_nothing(content):
    pad = AplPad("1+1")
    pad.comm.hear({"method": "custom", "content": content})
    assert pad.wait(5)._entries == AplPad("1+1")._entries and pad.status == "idle"


def test_a_text_without_end_is_an_error_of_apl():
    entry = typed(AplPad(), "1+" * 10_000)
    assert entry["error"]["name"] == "LIMIT ERROR" and len(entry["text"]) == 10_000


def test_an_entry_is_plain_json_and_bounded():
    entry = AplPad("1000 1000⍴1÷3")._entries[0]
    assert len(json.dumps(entry)) < 50_000 and entry["about"] == "shape 1000 1000"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((3,), "text: got int, wanted APL as a str"),
        (("", [1]), "names: got list, wanted a dict, for example {'A': tensor}"),
        (("", {"A": [[1], [2, 3]]}), "A: got lists of different lengths"),
    ],
)
def test_what_is_no_text_or_names_is_refused(given, words):
    with pytest.raises(TypeError) as raised:
        AplPad(*given)
    assert words in str(raised.value)


def test_without_a_browser_there_is_a_picture_and_a_text():
    pad = AplPad("2 3⍴⍳6\n1 2+1 2 3\n'abc'(1 2)")
    assert repr(pad) == (
        "AplPad(3 expressions)\n      2 3⍴⍳6\n1 2 3\n4 5 6\n      1 2+1 2 3\n         ^\n"
        "LENGTH ERROR: shape 2 against shape 3; wanted equal shapes, or one element\n"
        "      'abc'(1 2)\n┌───┬───┐\n│abc│1 2│\n└───┴───┘"
    )
    bundle, _ = pad._repr_mimebundle_()
    data = pad._static()
    assert bundle["text/plain"] == repr(pad) and base64.b64decode(bundle["image/png"]) == data
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert len(data) < 200_000 and picture.shape == (15 * 11 + 24, 680, 3)
    assert (np.ptp(picture, axis=2) > 100).any() and (picture[-6:] == 255).all()  # the error is red


def test_glyphs_are_drawn_and_not_the_box_of_a_missing_one():
    font = module._font()
    missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    for glyph in "⍳⍴⍉⌽⊖⍪⍋⍒⍤⍣⍨⌿⍀⍺⍵∘¨¯┌│":
        assert (font.getmask(glyph).getbbox(), bytes(font.getmask(glyph))) != missing, glyph


def test_a_closed_pad_ends_its_work_and_goes():
    pad = AplPad()
    pad.run("{⍵+1}⍣{0}1")
    work, gone = pad.work, weakref.ref(pad)
    time.sleep(0.2)  # it runs
    pad.close()
    assert work.wait(5)  # half of what a run may take
    del pad
    gc.collect()
    assert gone() is None
