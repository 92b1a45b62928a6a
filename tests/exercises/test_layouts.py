"""The same numbers otherwise in memory: what an answer that minds only packed tensors fails on."""

import pytest
import torch

from kit.exercises.layouts import as_view, scattered, twice

SHAPES = [(), (1,), (5,), (2, 3), (3, 1, 2), (0, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_a_scattered_tensor_has_the_same_numbers(shape, dtype):
    x = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    view = scattered(x)
    assert torch.equal(view, x) and view.dtype == x.dtype


def test_a_scattered_tensor_lies_with_holes_from_an_offset_on_and_inside_out():
    view = scattered(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert view.storage_offset() == 3 and view.stride() == (2, 4)
    storage = view.as_strided((15,), (1,), 0).tolist()
    assert storage == [77, 77, 77, 1, 77, 4, 77, 2, 77, 5, 77, 3, 77, 6, 77]


def seen_by(function, x):
    observed = twice(function, {"x": x, "k": 2})
    return [observed[name].tolist() for name in ("result", "on views with holes")]


def test_a_function_is_tried_on_both_layouts():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert seen_by(lambda x, k: k * x, x) == [[[2, 4], [6, 8]]] * 2
    packed, holes = seen_by(lambda x, k: torch.as_strided(x, (4,), (1,), 0), x)
    assert packed == [1, 2, 3, 4] and holes == [77, 77, 77, 1]


def test_a_copy_is_told_from_a_view():
    x = torch.arange(6.0).reshape(2, 3)
    assert as_view(lambda x: x.T, {"x": x})["a copy"] is False
    assert as_view(lambda x: x.T.clone(), {"x": x})["a copy"] is True
    assert as_view(lambda x: x.tolist(), {"x": x})["a copy"] is True
    assert as_view(lambda x: x.as_strided((2,), (1,)), {"x": x})["on a view with holes"].tolist() == [0, 77]
    # reshape gives a view of a packed tensor, and a copy of one with holes
    assert as_view(lambda x: x.reshape(-1), {"x": x})["a copy"] is True


@pytest.mark.parametrize("observe", [twice, as_view])
def test_an_answer_left_open_is_seen(observe):
    assert observe(lambda x: None, {"x": torch.ones(2)}) == {"result": None}
