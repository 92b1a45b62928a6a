"""BroadcastVisualizer seen from Python: what it sends, what comes back, what it refuses, without torch."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.panels import BroadcastVisualizer


def test_a_tensors_numbers_are_sent_row_by_row_and_lose_no_digit():
    array = np.array([[0.1, 1 / 3], [float("nan"), float("inf")]])
    for given in (array, array.T.copy().T, torch.tensor(array), torch.tensor(array).T.contiguous().T):
        [operand] = BroadcastVisualizer(given)._operands
        assert operand["shape"] == [2, 2] and operand["itemsize"] == 8 and operand["dtype"] == "float64"
        np.testing.assert_array_equal([float(text) for text in operand["values"]], array.reshape(-1))


def test_shapes_come_without_numbers_and_lists_with_theirs():
    panel = BroadcastVisualizer((3, 1), [4], torch.Size([2, 1, 1]), [[1, 2, 3, 4]])
    assert panel.shapes == [[3, 1], [4], [2, 1, 1], [1, 4]] and panel.joint == (2, 3, 4)
    assert [operand["values"] for operand in panel._operands] == [None, None, None, ["1", "2", "3", "4"]]
    assert [operand["name"] for operand in panel._operands] == list("abcd")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.complex64])
def test_tensors_of_any_number_are_taken_and_left_alone(dtype):
    tensor = torch.ones(2, 1, dtype=dtype)
    [operand, _] = BroadcastVisualizer(tensor, (3,))._operands
    assert operand["values"] == [repr(value) for value in tensor.reshape(-1).tolist()]
    assert operand["itemsize"] == tensor.element_size()


def test_a_tensor_that_wants_gradients_is_read_without_one():
    tensor = torch.ones(2, requires_grad=True)
    assert BroadcastVisualizer(tensor)._operands[0]["values"] == ["1.0", "1.0"]
    assert tensor.grad_fn is None and tensor.grad is None


def test_a_huge_tensor_costs_no_message_and_no_copy():
    huge = np.broadcast_to(np.float32(1), (100_000, 100_000))
    panel = BroadcastVisualizer(huge, (100_000,))
    assert panel._operands[0]["values"] == [] and panel.joint == (100_000, 100_000)
    assert len(panel._static()) < 200_000


def test_the_readers_shapes_and_operation_come_back():
    panel = BroadcastVisualizer((3,), (3, 4))
    assert panel.joint is None and panel.why_not.startswith("axis -1: a has 3, b has 4")
    panel.comm.choose(shapes=[[3, 1], [3, 4]], op="+")
    assert panel.joint == (3, 4) and panel.op == "+" and panel.why_not == ""
    assert repr(panel) == "BroadcastVisualizer((3, 1), (3, 4), op='+'): (3, 4)"


def test_shapes_set_from_python_must_be_as_many_and_possible():
    panel = BroadcastVisualizer((3,), (3, 4))
    for shapes in ([[3]], [[3], [1] * 7], [[3], [-1]]):
        with pytest.raises(traitlets.TraitError):
            panel.shapes = shapes
    assert panel.shapes == [[3], [3, 4]]


@pytest.mark.parametrize(
    ("operands", "settings", "error", "words"),
    [
        ((), {}, ValueError, "shapes_or_tensors: got 0, wanted 1 to 6"),
        (((1,),) * 7, {}, ValueError, "got 7, wanted 1 to 6"),
        (((3, -1),), {}, ValueError, r"a: got \(3, -1\), wanted sizes of 0 or more"),
        (((2,), (1.5, 2)), {}, TypeError, r"b: got \(1.5, 2\), wanted sizes"),
        (((1,) * 7,), {}, ValueError, "a: got 7 axes, wanted at most 6"),
        ((np.zeros((1,) * 7),), {}, ValueError, "a: got 7 axes, wanted at most 6"),
        (([[1, 2], [3]],), {}, ValueError, "a: got lists of different lengths"),
        ((np.array(["x"]),), {}, TypeError, "a: got an array of <U1, wanted numbers"),
        (([["x"]],), {}, TypeError, "a: got an array of <U1, wanted numbers"),
        ((torch.eye(2).to_sparse(),), {}, TypeError, "a: got a sparse tensor, wanted a dense one"),
        (((2,), {2}), {}, TypeError, "b: got set, wanted a torch tensor or a numpy array"),
        (((2,),), {"op": "@"}, ValueError, r"op: got '@', wanted one of \+ - \* / \*\* == < >"),
        (((2,),) * 3, {"op": "<"}, ValueError, r"op: got '<', wanted one of \+ - \* / \*\* for 3 operands"),
    ],
)
def test_what_cannot_be_broadcast_is_refused_in_words(operands, settings, error, words):
    with pytest.raises(error, match=words):
        BroadcastVisualizer(*operands, **settings)


@pytest.mark.parametrize("operands", [((3, 1, 4), (2, 1)), ((3,), (4,)), ((0, 2), (2,)), ((), ()), ((2,) * 6,)])
def test_without_a_browser_there_is_a_picture(operands):
    data = BroadcastVisualizer(*operands)._static()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert len(data) <= 200_000 and picture.shape[1] == 680 and 60 < picture.shape[0] <= 4000
    assert (picture < 128).any() and (picture[-6:] == 255).all()  # written, and not cut off below


def test_the_picture_fills_stored_cells_and_outlines_ghosts():
    def filled(*shapes):
        picture = np.asarray(Image.open(io.BytesIO(BroadcastVisualizer(*shapes)._static())).convert("L"))
        return (picture == 238).sum()  # the grey of a stored cell

    one, both = filled((30, 8), (1, 1)), filled((30, 8), (30, 8))
    assert one > 240 * 300 and both == pytest.approx(2 * one, rel=0.1)
    assert filled((30, 8), (8,)) < 1.1 * one


def test_panels_of_arrays_need_no_torch():
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from kit.panels import BroadcastVisualizer, StorageView, StrideVisualizer
assert BroadcastVisualizer((3, 1), np.ones(4)).joint == (3, 4)
panel = StrideVisualizer(np.arange(6).reshape(2, 3), ops=[("transpose", 0, 1), ("reshape", (6,))])
assert [step["copied"] for step in panel._verdict["steps"]] == [False, True]
assert StorageView([[1, 2], [3, 4]])._static()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
