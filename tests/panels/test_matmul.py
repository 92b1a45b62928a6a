"""MatmulStepper seen from Python: what it sends, what comes back, what it refuses, the picture without a browser."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.panels import MatmulStepper, _cells
from kit.panels.matmul import _rule

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 6)), RNG.normal(size=(6, 5))


def sent(panel):
    """The operands' numbers as the browser reads them."""
    numbers, arrays = np.frombuffer(panel._values, "<f8"), []
    for operand in panel._operands:
        count = int(np.prod(operand["shown"]))
        arrays.append(numbers[:count].reshape(operand["shown"]))
        numbers = numbers[count:]
    assert numbers.size == 0
    return arrays


@pytest.mark.parametrize("make", [np.asarray, torch.tensor, lambda array: array.tolist()])
def test_the_browser_is_sent_every_number_whole(make):
    panel = MatmulStepper(make(A), make(B))
    for got, wanted in zip(sent(panel), (A, B), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [operand["shape"] for operand in panel._operands] == [[4, 6], [6, 5]]


def test_transposed_and_offset_arrays_are_sent_as_they_are_read():
    for a, b in [(A.T.copy().T[1:, ::2], B[::2]), (torch.tensor(A).T.contiguous().T[1:, ::2], torch.tensor(B)[::2])]:
        got, _ = sent(MatmulStepper(a, b))
        np.testing.assert_array_equal(got, A[1:, ::2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int8, torch.uint8, torch.int64])
def test_tensors_of_any_real_number_are_taken_and_left_alone(dtype):
    a = torch.arange(6).reshape(2, 3).to(dtype)
    got, _ = sent(MatmulStepper(a, a.T))
    np.testing.assert_array_equal(got, np.arange(6).reshape(2, 3))
    assert MatmulStepper(a, a.T)._operands[0]["dtype"] == str(dtype).removeprefix("torch.")


def test_a_tensor_that_wants_gradients_is_read_without_one():
    tensor = torch.ones(2, 2, requires_grad=True)
    assert sent(MatmulStepper(tensor, tensor))[0].tolist() == [[1, 1], [1, 1]]
    assert tensor.grad_fn is None and tensor.grad is None


def test_nan_and_infinity_arrive():
    got, _ = sent(MatmulStepper([[np.nan, np.inf, -np.inf]], B[:3]))
    np.testing.assert_array_equal(got, [[np.nan, np.inf, -np.inf]])


def test_of_a_huge_array_the_first_numbers_are_sent_and_nothing_is_copied_before():
    huge = np.broadcast_to(np.float32(2), (50_000, 784))
    panel = MatmulStepper(huge, np.ones((784, 10), np.float32))
    assert [operand["shown"] for operand in panel._operands] == [[64, 128], [128, 10]]
    assert panel._operands[0]["shape"] == [50_000, 784] and len(panel._values) < 100_000
    assert len(panel._static()) < 200_000


def test_the_readers_choices_come_back():
    panel = MatmulStepper(A, B)
    panel.comm.choose(einsum="ij->ji", order="outer", block=3, step=7)
    assert (panel.einsum, panel.order, panel.block, panel.step) == ("ij->ji", "outer", 3, 7)
    assert repr(panel) == "MatmulStepper(a (4, 6), b (6, 5), order='outer', einsum='ij->ji', step=7)"
    assert panel.stats() == {}
    panel.comm.choose(_timing={"moves": 3, "p50_ms": 4.0, "p95_ms": 5.0})
    assert panel.stats() == {"moves": 3, "p50_ms": 4.0, "p95_ms": 5.0}
    for name, value in dict(einsum="i->z", order="zigzag", block=0, step=-1).items():
        with pytest.raises(traitlets.TraitError):
            setattr(panel, name, value)


@pytest.mark.parametrize(
    ("operands", "settings", "error", "words"),
    [
        ((A, A), {}, ValueError, r"einsum: 'ik,kj->ij', place 3: k is 6 in a, but 4 in b; wanted one size"),
        ((A, B[0]), {}, ValueError, "place 3: 'kj' names 2 axes, b has 1 axis"),
        ((A,), {}, ValueError, "place 0: names 2 operands, got 1"),
        ((A, B), {"einsum": "ik,kj->iz"}, ValueError, "place 8: z is in the result but in no operand"),
        ((A, B), {"order": "columns"}, ValueError, "order: got 'columns', wanted one of rows, outer, blocks"),
        (([[1, 2], [3]], B), {}, ValueError, "a: got lists of different lengths"),
        ((A, [["x"]]), {}, TypeError, "b: got an array of <U1, wanted numbers"),
        ((A + 1j, B), {}, TypeError, "a: got an array of complex128, wanted real numbers"),
        ((A, torch.ones(6, 5, dtype=torch.bool)), {}, TypeError, "b: got an array of bool, wanted real numbers"),
        ((torch.eye(2).to_sparse(), A), {}, TypeError, "a: got a sparse tensor, wanted a dense one"),
        ((torch.ones(2, 2, device="meta"), A), {}, TypeError, "a: got a tensor on the meta device"),
        ((np.zeros((1,) * 7), A), {}, ValueError, "a: got 7 axes, wanted at most 6"),
        (("ab", A), {}, TypeError, "a: got str, wanted a torch tensor or a numpy array"),
    ],
)
def test_what_cannot_be_multiplied_is_refused_in_words(operands, settings, error, words):
    with pytest.raises(error, match=words):
        MatmulStepper(*operands, **settings)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantised_tensor_is_refused_in_words():
    with pytest.raises(TypeError, match="a: got a quantised tensor, wanted its numbers"):
        MatmulStepper(torch.quantize_per_tensor(torch.ones(2, 2), 1, 0, torch.qint8), A)


@pytest.mark.parametrize(
    ("operands", "einsum"),
    [
        ((A, B), "ik,kj->ij"),
        ((A,), "ij->ji"),
        ((np.ones((3, 3)),), "ii->"),
        ((np.ones((2, 3, 4)), np.ones((2, 4, 5))), "bik,bkj->bij"),
        ((np.ones((0, 3)), np.ones((3, 2))), "ik,kj->ij"),
        ((np.ones((300, 300)), np.ones((300, 1))), "ik,kj->ij"),
        ((np.ones((300, 300)), np.ones((300, 300))), "ik,kj->ij"),
        ((5.0, 6.0), ",->"),
    ],
)
def test_without_a_browser_there_is_a_picture(operands, einsum):
    data = MatmulStepper(*operands, einsum=einsum)._static()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert len(data) <= 200_000 and picture.shape[1] == 680 and 60 < picture.shape[0] <= 4000
    assert (picture < 128).any() and (picture[-6:] == 255).all()  # written, and not cut off below


def test_the_picture_holds_the_numbers_of_all_three(monkeypatch):
    drawn = []
    monkeypatch.setattr(_cells.Picture, "tiles", lambda page, shape, cell_of: drawn.append((shape, cell_of)))
    MatmulStepper(A, B)._static()
    assert [shape for shape, _ in drawn] == [(4, 6), (6, 5), (4, 5)]
    for (shape, cell_of), array in zip(drawn, (A, B, A @ B), strict=True):
        for index in np.ndindex(shape):
            assert float(cell_of(index)[0]) == pytest.approx(array[index], rel=1e-3)


def test_of_large_arrays_the_picture_holds_the_product_of_what_it_says(monkeypatch):
    lines, drawn = [], []
    monkeypatch.setattr(_cells.Picture, "line", lambda page, words, *_, **__: lines.append(words))
    monkeypatch.setattr(_cells.Picture, "tiles", lambda page, shape, cell_of: drawn.append(cell_of))
    MatmulStepper(np.ones((300, 300)), np.ones((300, 2)))._static()
    assert "Shown and summed: the first 64 of 300 of i, 128 of 300 of k." in lines
    assert drawn[-1]((0, 1))[0] == "128"


def test_where_the_readers_text_does_not_fit_the_picture_says_so():
    panel = MatmulStepper(A, B)
    before = panel._static()
    panel.comm.choose(einsum="bik,bkj->bij")
    assert panel._static() != before
    with pytest.raises(ValueError, match="'bik' names 3 axes"):
        _rule(panel.einsum, panel._given)


def test_a_stepper_needs_no_torch():
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from kit.panels import MatmulStepper
assert MatmulStepper(np.eye(2), [[1, 2], [3, 4]])._static()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
