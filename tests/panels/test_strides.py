"""StorageView and StrideVisualizer seen from Python: what they send, what the library says, what they refuse."""

import gc
import io
import json
import re
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from kit.panels import StorageView, StrideVisualizer, _cells
from kit.panels.strides import verdict


def test_the_browser_is_sent_the_whole_small_storage_and_how_the_view_reads_it():
    tensor = torch.arange(24, dtype=torch.float64).reshape(4, 6)[1:, ::2]
    panel = StorageView(tensor)
    assert panel._given == {
        "library": "torch",
        "dtype": "float64",
        "itemsize": 8,
        "size": 24,
        "shape": [3, 3],
        "strides": [6, 2],
        "offset": 6,
        "address": str(tensor.untyped_storage().data_ptr()),
        "device": "",
    }
    assert panel._storage == {"first": 0, "values": [repr(float(i)) for i in range(24)]}


@pytest.mark.parametrize("make", [np.arange, torch.arange])
def test_of_a_large_storage_the_part_that_is_read_is_sent(make):
    panel = StorageView(make(1_000_000)[500_001:500_011])
    assert panel._storage["first"] == 500_000 and panel._storage["values"][:2] == ["500000", "500001"]
    assert len(panel._storage["values"]) == 10_000 and len(panel._static()) < 200_000


def test_of_a_large_storage_the_part_that_is_sent_follows_the_operations():
    panel = StrideVisualizer(torch.arange(100_000)[:4])
    assert panel._storage["first"] == 0
    panel.ops = [["as_strided", [4], [1], 70_001]]
    assert panel._storage["first"] == 70_000 and panel._storage["values"][:2] == ["70000", "70001"]
    panel.ops = [["as_strided", [4], [1], 70_001], ["flip", 0], ["slice", 0, 1, None, 1]]  # the copy is another storage
    assert panel._storage["first"] == 70_000
    panel.ops = [["as_strided", [4], [1], 99_999]]
    assert "error" in panel._verdict["steps"][0] and panel._storage["first"] == 0


def test_nested_lists_and_single_numbers_become_arrays():
    assert StorageView([[1, 2], [3, 4]])._given["shape"] == [2, 2]
    assert StorageView(5.0)._storage["values"] == ["5.0"]


def made(tensor, *ops):
    return StrideVisualizer(tensor, ops=ops)._verdict


def test_the_verdict_is_the_librarys_own_data_ptr():
    tensor = torch.arange(12.0).reshape(3, 4)
    found = made(tensor, ("transpose", 0, 1), ("reshape", (12,)), ("view", (4, 3)))
    assert [step["copied"] for step in found["steps"]] == [False, True, False]
    storage = str(tensor.untyped_storage().data_ptr())
    assert [step["address"] == storage for step in found["steps"]] == [True, False, False]
    assert found["steps"][0]["strides"] == [1, 4] and found["library"] == "torch"


def test_the_verdict_follows_the_readers_operations():
    panel = StrideVisualizer(np.arange(6))
    panel.comm.choose(ops=[["flip", 0], ["reshape", [2, 3]]])
    assert [step["strides"] for step in panel._verdict["steps"]] == [[-1], [-3, -1]]
    assert panel.comm.named("update")[-1][0]["_verdict"]["ops"] == [["flip", 0], ["reshape", [2, 3]]]


def test_what_the_library_refuses_is_said_in_its_words():
    found = made(torch.arange(12.0).reshape(3, 4), ("transpose", 0, 1), ("view", (12,)), ("flip", 0))
    assert len(found["steps"]) == 2
    assert found["steps"][1]["error"].startswith("RuntimeError: view size is not compatible with input tensor's size")


@pytest.mark.parametrize("op", [["__class__"], ["numpy"], ["fill_", 0], ["backward"], [], ["slice"], ["expand", "x"]])
def test_only_operations_are_run_whatever_the_browser_asks(op):
    tensor = torch.ones(3)
    panel = StrideVisualizer(tensor)
    panel.comm.choose(ops=[op])
    assert "error" in panel._verdict["steps"][0] and tensor.tolist() == [1, 1, 1]


def test_an_operation_that_is_none_is_refused_at_once():
    with pytest.raises(ValueError, match="ops: got 'ravel', wanted transpose, permute, slice"):
        StrideVisualizer(np.arange(3), ops=[("ravel",)])


def test_reading_outside_is_refused_and_a_great_copy_is_not_made():
    outside = made(np.arange(4), ("as_strided", (5,), (1,), 0))
    assert "outside the storage; it was not run" in outside["steps"][0]["error"]
    great = made(torch.zeros(1), ("expand", (10_000, 10_000)), ("contiguous",))
    assert great["steps"][0]["copied"] is False
    assert great["steps"][1]["error"] == "MemoryError: a copy of 381 MiB was not made"


def test_writing_through_shared_cells_is_tried_on_a_copy_only():
    tensor, array = torch.zeros(4), np.zeros(4)
    assert made(tensor, ("expand", (3, 4)))["write"] == {"changed": 3}
    assert made(array, ("expand", (3, 4)))["write"] == {"error": "assignment destination is read-only"}
    assert made(torch.zeros(5), ("unfold", 0, 3, 1), ("flip", 0)).get("write") is None  # torch's flip copied
    assert made(np.zeros(5), ("as_strided", (3, 3), (1, 1), 0), ("flip", 0))["write"] == {"changed": 3}
    assert "write" not in made(tensor, ("slice", 0, 0, 4, 2))
    assert made(torch.zeros(4, dtype=torch.bool), ("expand", (2, 4)))["write"] == {"changed": 2}
    assert tensor.tolist() == array.tolist() == [0] * 4


def test_a_tensor_that_wants_gradients_is_left_alone():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert made(tensor, ("transpose", 0, 1), ("contiguous",))["steps"][1]["copied"] is True
    assert made(tensor[0], ("expand", (2, 3)))["write"] == {"changed": 2}
    assert tensor.grad is None and tensor.tolist() == [[1] * 3] * 2


@pytest.mark.parametrize(
    ("tensor", "error", "words"),
    [
        (torch.eye(2).to_sparse(), TypeError, "tensor: got a sparse tensor, wanted a dense one"),
        (torch.zeros(2, device="meta"), TypeError, "the meta device, which has no storage"),
        (np.array([None]), TypeError, "an array of object, wanted numbers"),
        ([[1], [2, 3]], ValueError, "tensor: got lists of different lengths, wanted rows of equal length"),
        (torch.zeros((1,) * 7), ValueError, "tensor: got 7 axes, wanted at most 6"),
        ("text", TypeError, "tensor: got str, wanted a torch tensor or a numpy array"),
        ((2, 3), TypeError, "tensor: got tuple"),
    ],
)
def test_what_has_no_storage_is_refused_in_words(tensor, error, words):
    for panel in (StorageView, StrideVisualizer):
        with pytest.raises(error, match=words):
            panel(tensor)


@pytest.mark.parametrize("tensor", [torch.zeros(0, 3), np.zeros(()), torch.zeros((2,) * 6), np.arange(300.0)[::-3]])
def test_without_a_browser_there_is_a_picture(tensor):
    for panel in (StorageView(tensor), StrideVisualizer(tensor)):
        data = panel._static()
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert len(data) <= 200_000 and (picture < 128).any() and (picture[-6:] == 255).all()


def test_a_line_of_64_cells_has_room_on_the_picture():
    array = np.zeros(200, dtype=np.int8)
    picture = np.asarray(
        Image.open(io.BytesIO(StorageView(array[-array.ctypes.data % 64 :][:64])._static())).convert("RGB")
    )
    coloured = (np.ptp(picture.astype(int), axis=2) > 20).any(axis=0).nonzero()[0]
    assert coloured.max() < 679 and (picture[:, -1] == 255).all()


def test_the_picture_of_a_large_storage_says_how_much_it_holds_and_tints_what_is_read(monkeypatch):
    lines, drawn = [], []
    monkeypatch.setattr(_cells.Picture, "line", lambda page, words, *_, **__: lines.append(words))
    monkeypatch.setattr(_cells.Picture, "tiles", lambda page, shape, cell_of, **_: drawn.append((shape, cell_of)))
    array = np.zeros((1000, 1000), np.float64)
    StorageView(array[:, ::2])._static()
    assert lines[-1] == "storage of 1,000,000 cells, a row is a cache line of 64 B; 32 rows are drawn"
    (rows, per), cell_of = drawn[-1]
    lead = array.ctypes.data % 64 // 8
    colours = [cell_of((at // per, at % per))[1] for at in range(lead, lead + 100)]
    assert per == 8 and rows in (1250, 1251)
    assert all((colour == _cells.CELL) == bool(cell % 2) for cell, colour in enumerate(colours))


def test_the_picture_is_of_what_is_read_after_the_operations():
    tensor = torch.arange(6.0).reshape(2, 3)

    def picture(tensor, *ops):
        return np.asarray(Image.open(io.BytesIO(StrideVisualizer(tensor, ops=ops)._static())).convert("L"), int)

    before, after, given = picture(tensor), picture(tensor, ("transpose", 0, 1)), picture(tensor.T)
    assert after.shape[0] == before.shape[0] + 22 + 2 * 20  # one row of cells more, and two lines of words
    cells = given.shape[0] - 60  # below the title and the line that names the operations
    stuck = picture(tensor, ("transpose", 0, 1), ("view", (6,)))
    for shown in (after, stuck):
        assert np.abs(shown[-cells:] - given[-cells:]).mean() < 1  # of 255; each picture chooses its 64 colours


@pytest.mark.parametrize(
    ("ops", "kind", "why"),
    [
        ([("transpose", 0, 1)], "view", "the strides change places; no number moves"),
        ([("contiguous",), ("flip", 0)], "copy", "torch has no negative strides, so it writes the numbers anew"),
        ([("transpose", 0, 1), ("contiguous",)], "copy", "strides (1, 3) are not row-major (2, 1): the numbers move"),
    ],
)
def test_the_picture_says_view_or_copy_and_why(ops, kind, why, monkeypatch):
    lines, tensor = [], torch.arange(6.0).reshape(2, 3)
    monkeypatch.setattr(_cells.Picture, "line", lambda page, words, *_, **__: lines.append(words))
    StrideVisualizer(tensor, ops=ops)._static()
    assert lines[2] == f"{kind}: {why}"
    storage = re.fullmatch(r"torch says: (a new|the same) storage, data_ptr 0x([0-9a-f]+)", lines[3])
    same = int(storage[2], 16) == tensor.untyped_storage().data_ptr()
    assert same == (storage[1] == "the same") == (kind == "view")


def test_the_picture_says_what_the_library_refused(monkeypatch):
    lines = []
    monkeypatch.setattr(_cells.Picture, "line", lambda page, words, *_, **__: lines.append(words))
    StrideVisualizer(torch.arange(6.0).reshape(2, 3), ops=[("transpose", 0, 1), ("view", (6,))])._static()
    said = " ".join(lines[2:6])
    assert said.startswith("error: torch: RuntimeError: view size is not compatible with input tensor's size")
    assert max(map(len, lines)) <= 100


def test_panels_say_what_they_show():
    assert repr(StorageView(np.arange(6)[::-1])) == (
        "StorageView(numpy int64 (6,), strides (-1,), offset 5, storage of 6 cells)"
    )


def test_a_closed_panel_lets_its_tensor_go():
    tensor = torch.zeros(3)
    panel, gone = StrideVisualizer(tensor), weakref.ref(tensor)
    panel.close()
    del tensor
    gc.collect()
    assert gone() is None
    panel.ops = [["flip", 0]]  # whatever arrives late changes nothing
    assert panel._verdict == {}


def test_a_verdict_is_plain_json():
    found = verdict(np.arange(6).reshape(2, 3), [["transpose", 0, 1]])
    assert json.loads(json.dumps(found)) == found
