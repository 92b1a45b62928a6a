"""What the panels of arrays make of arrays they cannot show, and of those that only look so: all panels alike."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from kit.panels import BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer

PANELS = {
    "broadcast": BroadcastVisualizer,
    "storage": StorageView,
    "strides": StrideVisualizer,
    "matmul": lambda tensor: MatmulStepper(tensor, einsum="ijk"[: getattr(tensor, "ndim", 1)]),
}
EVERY = pytest.mark.parametrize("make", PANELS.values(), ids=PANELS)
DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]


@EVERY
@pytest.mark.parametrize(
    ("tensor", "error", "words"),
    [
        ([[1, 2], [3]], ValueError, "got lists of different lengths, wanted rows of equal length"),
        ([["a", "b"]], TypeError, "got an array of <U1, wanted numbers"),
        ([[1, None]], TypeError, "got an array of object, wanted numbers"),
        (np.array(["2026-11-20"], "datetime64[D]"), TypeError, "got an array of datetime64.D., wanted numbers"),
        (np.zeros(2, [("x", "f4")]), TypeError, "wanted numbers"),
        ("tensor", TypeError, "got str, wanted a torch tensor or a numpy array"),
        ({1, 2}, TypeError, "got set, wanted a torch tensor or a numpy array"),
        (torch.eye(2).to_sparse(), TypeError, r"got a sparse tensor, wanted a dense one: \.to_dense\(\)"),
        (torch.zeros(2, 2, device="meta"), TypeError, "got a tensor on the meta device, which has no storage"),
        (np.zeros((1,) * 7), ValueError, "got 7 axes, wanted at most 6"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:20],
)
def test_what_has_no_numbers_in_memory_is_refused_in_words(make, tensor, error, words):
    with pytest.raises(error, match=f"^(a|tensor): .*{words}"):
        make(tensor)


@EVERY
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:Sparse CSR")
def test_quantised_and_compressed_tensors_are_refused_in_words(make):
    with pytest.raises(TypeError, match=r"got a quantised tensor, wanted its numbers: \.dequantize\(\) or \.int_repr"):
        make(torch.quantize_per_tensor(torch.ones(2, 2), 1, 0, torch.qint8))
    with pytest.raises(TypeError, match="got a sparse tensor"):
        make(torch.eye(2).to_sparse_csr())


@EVERY
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3)], ids=str)
def test_a_tensor_that_wants_gradients_is_shown_wherever_it_lies_and_left_alone(make, device, shape):
    tensor = torch.ones(shape, device=device, requires_grad=True)
    panel = make(tensor)
    assert Image.open(io.BytesIO(panel._static())).width == 680
    assert tensor.grad is None and tensor.grad_fn is None and tensor.requires_grad and (tensor == 1).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda huge: BroadcastVisualizer(huge, (100_000,)),
        StorageView,
        lambda huge: StrideVisualizer(huge, ops=[("transpose", 0, 1)]),
        lambda huge: MatmulStepper(huge, huge),
    ],
    ids=PANELS,
)
@pytest.mark.parametrize("library", [np.float32, torch.tensor], ids=["numpy", "torch"])
def test_a_huge_array_costs_neither_a_copy_nor_a_long_message(make, library):
    if library is torch.tensor:
        huge = torch.ones(1, 1).expand(100_000, 100_000)  # 40 GB, were it copied
    else:
        huge = np.broadcast_to(np.float32(1), (100_000, 100_000))
    panel = make(huge)
    assert sum(len(str(value)) for value in panel.get_state().values()) < 1_000_000
    assert len(panel._static()) <= 200_000
