"""Broadcasting rules against numpy's and torch's own, for every pair of small shapes; the words and the mends."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

from kit.arrays import broadcast

SHAPES = [shape for rank in range(4) for shape in product(range(4), repeat=rank)]  # 85 of them
PAIRS = list(product(SHAPES, repeat=2))


def of_numpy(*shapes):
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def of_torch(*shapes):
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        return None


def of_kit(*shapes):
    return broadcast.joint(*shapes) if broadcast.joins(*shapes) else None


def run(code, tensor):
    """What a mend's code makes of a tensor."""
    return eval(code, dict.fromkeys("abc", tensor))


def test_the_joint_shape_of_every_pair_is_that_of_numpy_and_torch():
    assert len(PAIRS) == 85**2
    assert {pair: of_kit(*pair) for pair in PAIRS} == {pair: of_numpy(*pair) for pair in PAIRS}
    assert [pair for pair in PAIRS if of_kit(*pair) != of_torch(*pair)] == []


def test_three_operands_join_as_in_numpy():
    rng = np.random.default_rng(0)
    drawn = [tuple(SHAPES[i] for i in rng.integers(len(SHAPES), size=3)) for _ in range(2000)]
    got = [of_kit(*shapes) for shapes in drawn]
    assert got == [of_numpy(*shapes) for shapes in drawn]
    assert 100 < sum(shape is not None for shape in got) < 1900


def test_every_result_cell_reads_the_source_that_numpy_reads():
    cells = 0
    for one, other in PAIRS:
        result = of_kit(one, other)
        if result is None:
            continue
        own = np.arange(np.prod(one, dtype=int)).reshape(one)
        stretched = np.broadcast_to(own, result)
        for index in np.ndindex(result):
            assert own[broadcast.source(index, one)] == stretched[index]
            cells += 1
    assert cells > 9000


def test_a_source_feeds_exactly_the_cells_that_read_it():
    for one, other in PAIRS[::7]:
        if (result := of_kit(one, other)) is None or 0 in result:
            continue
        reads = {index: broadcast.source(index, one) for index in np.ndindex(result)}
        for index in np.ndindex(one):
            fed = set(product(*broadcast.feeds(index, one, result)))
            assert fed == {cell for cell, read in reads.items() if read == index}


def test_axes_are_tagged_by_what_happens_to_them():
    table = broadcast.axes((3, 1, 4), (2, 4))
    assert [(axis.axis, axis.sizes, axis.joint) for axis in table] == [
        (-3, (3, None), 3),
        (-2, (1, 2), 2),
        (-1, (4, 4), 4),
    ]
    assert [axis.tags for axis in table] == [("equal", "new"), ("stretched", "equal"), ("equal", "equal")]
    assert broadcast.axes((1,), (0,))[0].tags == ("stretched", "equal")
    assert broadcast.axes((1, 2), (3,))[-1].tags == ("mismatch", "mismatch")
    assert broadcast.axes((2,), (3,), (1,), ())[0].tags == ("mismatch", "mismatch", "stretched", "new")
    assert broadcast.axes() == broadcast.axes((), ()) == []


def test_the_first_bad_axis_from_the_right_is_named():
    assert (
        broadcast.why_not((2, 3, 4), (5, 3, 1))
        == "axis -3: a has 2, b has 5; wanted equal sizes, or 1, or no such axis"
    )
    assert broadcast.why_not((2, 9, 4), (5, 3, 4)).startswith("axis -2: a has 9, b has 3;")
    assert broadcast.why_not((2,), (1,), (0,)).startswith("axis -1: a has 2, c has 0;")
    assert broadcast.why_not((3, 1), (4,)) == ""
    with pytest.raises(ValueError, match="axis -1: a has 3, b has 4"):
        broadcast.joint((3,), (4,))


def test_every_mend_of_every_pair_does_in_torch_and_numpy_what_it_says():
    mended = 0
    for shapes in PAIRS[::5]:
        found = broadcast.mends(*shapes)
        assert bool(found) == (of_torch(*shapes) is None)
        for mend in found:
            other = shapes[1 - mend.operand]
            given = torch.arange(int(np.prod(shapes[mend.operand]))).reshape(shapes[mend.operand])
            mine = run(mend.code, given)
            assert tuple(mine.shape) == run(mend.code, given.numpy()).shape == mend.shape
            assert torch.equal(run(mend.torch, given), mine)
            assert tuple(torch.broadcast_shapes(mine.shape, other)) == mend.joint
            assert torch.equal(run(mend.expand, given), mine.expand(mend.joint))
            if mend.order is not None:
                assert torch.equal(given.permute(mend.order), mine)
            assert not mend.code.startswith(f"{mend.code[0]}[None")  # a new axis in front mends nothing
            mended += 1
    assert mended > 2000


def test_the_smallest_mend_comes_first_and_at_most_four():
    first, *others = broadcast.mends((3,), (3, 4))
    assert first == (0, (3, 1), "a[:, None]", "a.unsqueeze(1)", "a[:, None].expand(3, 4)", (3, 4), None)
    assert [np.prod(mend.joint) for mend in (first, *others)] == sorted(np.prod(m.joint) for m in (first, *others))
    # Mending a, an axis more, comes before mending b, and gives 36 numbers: three times as many.
    assert [mend.code for mend in broadcast.mends((3, 4), (3,))] == ["a.swapaxes(0, 1)", "b[:, None]", "a[:, :, None]"]
    assert broadcast.mends((4, 3), (3, 4))[0].code == "a.swapaxes(0, 1)"
    assert max(len(broadcast.mends(*pair)) for pair in PAIRS[::9]) == 4


def test_among_three_operands_mends_lead_step_by_step_to_a_joint_shape():
    for shapes in [((2,), (3,), (4,)), ((2, 3), (3, 2), (2, 2)), ((0, 2), (3,), (2, 2))]:
        shapes = list(shapes)
        for _ in range(3):
            if broadcast.joins(*shapes):
                break
            mend = broadcast.mends(*shapes)[0]
            shapes[mend.operand] = mend.shape
        assert broadcast.joins(*shapes)


def test_a_copy_costs_what_torch_would_allocate():
    x = torch.zeros(3, 1, dtype=torch.float64)
    stored, copied = broadcast.bytes_of((3, 1), (2, 3, 4), 8)
    assert stored == x.untyped_storage().nbytes()
    assert copied == x.expand(2, 3, 4).contiguous().untyped_storage().nbytes()


@pytest.mark.parametrize("value", [torch.zeros(2, 0), np.zeros((2, 0)), [2, 0], (np.int64(2), 0), torch.Size([2, 0])])
def test_a_shape_may_be_given_as_anything_that_has_one(value):
    assert broadcast.as_shape(value) == (2, 0)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ((2, -1), ValueError, r"b: got \(2, -1\), wanted sizes of 0 or more"),
        ((2, 1.5), TypeError, r"b: got \(2, 1.5\), wanted sizes"),
        ("23", TypeError, "b: got '23'"),
        (3, TypeError, "b: got 3"),
        (None, TypeError, "b: got None"),
    ],
)
def test_what_is_no_shape_is_refused_by_name(value, error, words):
    with pytest.raises(error, match=words):
        broadcast.as_shape(value, "b")


def test_kit_arrays_loads_neither_torch_nor_numpy():
    code = "import sys, kit.arrays.broadcast, kit.arrays.strides; print({'torch', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
