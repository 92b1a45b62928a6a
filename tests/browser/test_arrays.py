"""The array panels in Chromium, on a bare page: their rules against kit.arrays, the hand, the eye."""

import json
import random
import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from kit.arrays import broadcast, strides
from kit.panels import BroadcastVisualizer, MatmulStepper, StorageView, StrideVisualizer, _cells
from tests.arrays.test_broadcast import PAIRS, SHAPES
from tests.arrays.test_strides import drawn, start
from tests.browser.pages import opened
from tests.browser.stage import pixels
from tests.browser.tiles import WANDER, arrays, processor_time, taker

pytestmark = pytest.mark.browser


# The rules


@pytest.fixture
def rules(browser):
    with taker(browser) as take:
        yield take


def test_the_joint_shape_the_words_and_the_mends_of_every_pair_are_those_of_kit_arrays(rules):
    run = rules("broadcast.js", "alignedAxes", "jointShape", "whyNot", "mends")
    got = run(
        """shapes => shapes.flatMap(one => shapes.map(other => { const both = [one, other]; return {
          axes: rules.alignedAxes(both).map(({ axis, sizes, joint, tags }) => [axis, sizes, joint, tags]),
          joint: rules.jointShape(both), why: rules.whyNot(both), mends: rules.mends(both).map(Object.values) }; }))""",
        SHAPES,
    )
    wanted = [
        {
            "axes": broadcast.axes(*pair),
            "joint": broadcast.joint(*pair) if broadcast.joins(*pair) else None,
            "why": broadcast.why_not(*pair),
            "mends": broadcast.mends(*pair),
        }
        for pair in PAIRS
    ]
    assert len(got) == 85**2 and got == json.loads(json.dumps(wanted))


def test_the_mends_of_three_operands_are_those_of_kit_arrays(rules):
    run = rules("broadcast.js", "mends", "whyNot")
    rng = random.Random(0)
    triples = [rng.choices(SHAPES, k=3) for _ in range(1000)]
    got = run(
        "triples => triples.map(shapes => [rules.whyNot(shapes), rules.mends(shapes).map(Object.values)])", triples
    )
    assert got == json.loads(json.dumps([[broadcast.why_not(*t), broadcast.mends(*t)] for t in triples]))


def test_what_a_cell_reads_and_feeds_is_that_of_kit_arrays_for_every_cell_of_every_pair(rules):
    run = rules("broadcast.js", "sourceOf", "feeds", "cellsIn", "indices")
    joined = [(one, broadcast.joint(one, other)) for one, other in PAIRS if broadcast.joins(one, other)]
    got = run(
        """joined => joined.map(([shape, joint]) => [
          [...rules.indices(joint)].map(index => rules.sourceOf(index, shape)),
          [...rules.indices(shape)].map(index => rules.cellsIn(rules.feeds(index, shape, joint)))])""",
        joined,
    )
    for (shape, joint), (sources, fed) in zip(joined, got, strict=True):
        assert sources == [list(broadcast.source(index, shape)) for index in np.ndindex(joint)]
        wanted = [product(*broadcast.feeds(index, shape, joint)) for index in np.ndindex(shape)]
        assert fed == [[list(cell) for cell in cells] for cells in wanted]


def steps(library, chains, length=6):
    """Random operations, each with the view it starts from and what kit.arrays says to it."""
    rng = random.Random(library)
    for _ in range(chains):
        view, _ = start(rng, library)
        for _ in range(length):
            name, arguments = drawn(rng, view, view.count)
            try:
                outcome = strides.apply(view, name, *arguments, library=library)
            except (ValueError, IndexError) as error:
                yield view, [name, *arguments], str(error)
                continue
            yield view, [name, *arguments], outcome
            if outcome.view.is_inside(view.count):
                view = outcome.view


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_random_chains_of_operations_give_what_kit_arrays_gives(rules, library):
    names = "applied isContiguous boundsOf cellOf indices limitsOf isInside".split()
    run = rules("strides.js", *names)
    asked = list(steps(library, 1000))
    assert len(asked) == 6000 and 100 < sum(isinstance(said, str) for _, _, said in asked) < 3000
    got = run(
        """([library, asked]) => asked.map(([view, op]) => {
          try {
            const made = rules.applied(view, op, library), size = 40;
            return [made, rules.isContiguous(made.view), rules.boundsOf(made.view),
              [...rules.indices(made.view.shape)].map(index => rules.cellOf(made.view, index)),
              rules.boundsOf(made.view) && rules.isInside(made.view, size)
                ? rules.limitsOf(made.view, size, library) : null];
          } catch (error) { return error.message; } })""",
        [library, [[vars(view), op] for view, op, _ in asked]],
    )
    for (view, op, said), found in zip(asked, got, strict=True):
        wanted = said
        if not isinstance(said, str):
            made = said.view
            ends = strides.limits(made, 40, library) if made.bounds and made.is_inside(40) else None
            wanted = [
                {"view": vars(made), "copied": said.copied, "why": said.why},
                *(made.is_contiguous, made.bounds, made.cells(), ends),
            ]
        assert found == json.loads(json.dumps(wanted)), f"{view} {op}"


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_the_code_of_a_chain_runs_and_gives_what_the_chain_gives(rules, library):
    run = rules("strides.js", "applied", "written")
    rng = random.Random(library)
    done = Counter()
    names = {"np": np, "storage_of": strides.storage_of, **vars(np.lib.stride_tricks)}
    for _ in range(200):
        view, tensor = start(rng, library)
        result, ops = tensor, []
        for _ in range(4):
            found = strides.memory(result)
            name, arguments = drawn(rng, found.view, found.size)
            try:
                result = strides.on_tensor(result, name, *arguments)
            except (ValueError, IndexError, RuntimeError):
                continue
            ops.append([name, *arguments])
        code = run(
            """([view, ops, library]) => ops.reduce(([code, view], op) =>
              [rules.written(code, view, op, library, 8), rules.applied(view, op, library).view], ["t", view])[0]""",
            [vars(view), ops, library],
        )
        assert eval(code, {"t": tensor, **names}).tolist() == result.tolist(), code
        done.update(name for name, *_ in ops)
    assert done.keys() == strides.OPERATIONS.keys() and min(done.values()) >= 10, done


def test_what_is_rewritten_reads_as_replaced_and_keeps_its_nodes_where_it_can(rules):
    run = rules("broadcast.js", "rewrite", "phrase", "say", "element")
    rng = random.Random(5)

    def part():
        text = rng.choice(["", "a", "b", "long text"])
        return text if rng.random() < 0.5 else [rng.choice(["b", "code"]), rng.choice(["", "one", "two"]), text]

    pairs = [[[part() for _ in range(rng.randint(1, 3))] for _ in range(2)] for _ in range(400)]
    got = run(
        """pairs => pairs.map(([before, after]) => {
          const properties = name => ({ className: name, "data-kind": name });
          const phrase = part => typeof part === "string" ? part : rules.phrase(part[0], properties(part[1]), part[2]);
          const made = part => typeof part === "string" ? part
            : rules.element(part[0], properties(part[1]), part[2]);
          const [node, wanted] = [0, 1].map(() => document.createElement("p"));
          rules.rewrite(node, ...before.map(phrase));
          const first = node.firstChild;
          rules.rewrite(node, ...after.map(phrase));
          wanted.replaceChildren(...after.map(made));
          return [node.innerHTML === wanted.innerHTML, node.firstChild === first]; })""",
        pairs,
    )

    def built(part):
        return "text" if isinstance(part, str) else part[:2]

    alike = [[built(part) for part in before] == [built(part) for part in after] for before, after in pairs]
    assert [same for same, _ in got] == [True] * len(pairs)
    assert [kept for _, kept in got] == alike and 10 < sum(alike) < 390
    said = """() => { const node = document.createElement("p"), texts = [];
      for (const text of ["one", "two", "", "three"]) { rules.say(node, text); texts.push(node.textContent); }
      node.replaceChildren("a", "b"); rules.say(node, "four"); return [...texts, node.textContent]; }"""
    assert run(said) == ["one", "two", "", "three", "four"]


def test_the_picture_without_a_browser_lays_cells_out_as_the_browser_does(rules):
    run = rules("broadcast.js", "shownShape", "facets")
    rng = random.Random(0)
    shapes = [[rng.choice([0, 1, 2, 5, 40, 3000]) for _ in range(rng.randint(0, 6))] for _ in range(500)]
    got = run(
        """shapes => shapes.map(shape => {
          const { steps, width, height } = rules.facets(shape, [26, 22]);
          return [rules.shownShape(shape), steps, [width, height]]; })""",
        shapes,
    )
    wanted = [[_cells.shown_shape(shape), *_cells.facets(shape, (26, 22))] for shape in shapes]
    assert got == json.loads(json.dumps(wanted))
    assert all(np.prod(shown) <= 10_000 and max(shown, default=0) <= 128 for shown, *_ in got)


def test_loops_lines_and_misses_are_those_of_kit_arrays(rules):
    run = rules("strides.js", "matmulReads", "linesRead", "missesOf")
    cases = list(product(strides.ORDERS, (1, 3, 8, 9), (1, 4, 8), (4, 8), (1, 7, 16)))
    got = run(
        """cases => cases.map(([order, size, block, itemsize, capacity]) => {
          const reads = rules.matmulReads(order, size, block), lines = rules.linesRead(reads, size, itemsize);
          return [reads, lines, rules.missesOf(lines, capacity)]; })""",
        cases,
    )
    for (order, size, block, itemsize, capacity), (reads, lines, missed) in zip(cases, got, strict=True):
        wanted = list(strides.matmul_reads(order, size, block))
        assert [("ABC"[matrix], row, column) for matrix, row, column in reads] == wanted
        assert lines == strides.lines_read(wanted, size, itemsize)
        assert missed == strides.misses(lines, capacity)


# BroadcastVisualizer


def test_pointing_at_every_result_cell_reads_the_formula_with_its_numbers(stage):
    a, b = np.arange(12.0).reshape(3, 1, 4) / 4, torch.tensor([[2.0], [-3.0]])
    panel = stage(BroadcastVisualizer(a, b, op="*"))
    said = list(arrays(panel)[2].cells())
    wanted = (a * b.numpy()).round(4)
    text = lambda x: f"{x:.4g}".replace("-", "−")  # noqa: E731
    assert sorted(said) == sorted(
        f"(a * b)[{i}, {j}, {k}] = a[{i}, 0, {k}] * b[{j}, 0] = "
        f"{text(a[i, 0, k])} * {text(b[j, 0].item())} = {text(wanted[i, j, k] + 0.0) if wanted[i, j, k] else '0'}"
        for i, j, k in np.ndindex(3, 2, 4)
    )


def test_pointing_at_a_source_lights_what_it_feeds_and_nothing_else(stage):
    panel = stage(BroadcastVisualizer((3, 1, 4), (2, 1)))
    a, b, result = arrays(panel)
    places = {
        tuple(map(int, re.match(r"\(a \* b\)\[(\d), (\d), (\d)\]", text).groups())): place
        for text, place in result.cells().items()
    }
    assert len(places) == 24
    b.point(places[0, 1, 0])  # arrays of one shape have their cells in the same places
    assert b.said == "b[1, 0] = 20 feeds 12 cells: (a * b)[:, 1, :]"
    assert {index for index, place in places.items() if result.lit(place)} == {i for i in places if i[1] == 1}
    a.point(places[2, 1, 3])  # a ghost: the same number as a[2, 0, 3]
    assert a.said == "a[2, 0, 3] = 12 feeds 2 cells: (a * b)[2, :, 3]"
    assert {index for index, place in places.items() if result.lit(place)} == {(2, 0, 3), (2, 1, 3)}
    assert a.lit(places[2, 0, 3]) > a.lit(places[2, 1, 3]) > 0
    assert not any(b.lit(place) for place in places.values())
    panel.page.mouse.move(2, 2)
    expect(panel.find(".kit-hint").first).to_be_visible()
    assert not any(result.lit(place) for place in places.values())


def test_copies_are_ghosts_and_stored_cells_are_solid(stage):
    panel = stage(BroadcastVisualizer((3, 1, 4), (2, 1)))
    a, b, result = arrays(panel)
    places = {tuple(map(int, re.findall(r"\d+", text.split("]")[0]))): place for text, place in result.cells(8).items()}
    assert len(places) == 24 and all(result.is_solid(place) for place in places.values())
    assert {index for index, place in places.items() if a.is_solid(place)} == {i for i in places if i[1] == 0}
    assert {index for index, place in places.items() if b.is_solid(place)} == {i for i in places if i[0] == i[2] == 0}


def test_arrow_keys_walk_the_cells_as_they_lie(stage):
    panel = stage(BroadcastVisualizer((3, 1, 4), (2, 1)))
    result = arrays(panel)[2]
    result.over.focus()
    walked = []
    for key in (
        "ArrowRight",
        *["ArrowRight"] * 4,
        "ArrowDown",
        "ArrowDown",
        "ArrowLeft",
        "End",
        "ArrowRight",
        "Home",
        "ArrowUp",
    ):
        panel.page.keyboard.press(key)
        panel.page.wait_for_timeout(40)
        walked.append(tuple(map(int, re.findall(r"\d", result.said.split("]")[0]))))
    assert walked[:5] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 0, 0)]  # into the next facet
    assert walked[5:] == [(1, 1, 0), (1, 1, 0), (0, 1, 3), (2, 1, 3), (2, 1, 3), (0, 0, 0), (0, 0, 0)]
    panel.page.keyboard.press("Escape")
    expect(panel.find(".kit-hint").first).to_be_visible()


def mend(panel, code):
    panel.find(".kit-mend button").filter(has=panel.page.get_by_text(code, exact=True)).click()


def test_a_mismatch_is_said_in_words_and_its_mends_are_offered(stage):
    panel = stage(BroadcastVisualizer((2, 3), (3, 4)))
    expect(panel.find("[role=alert]")).to_contain_text(
        "axis −1 does not fit: a has 3, b has 4; wanted equal sizes, or 1, or no such axis."
    )
    assert panel.find(".kit-chip[data-tag=mismatch]").count() == 6
    mends = broadcast.mends((2, 3), (3, 4))
    written = [code for mend in mends for code in (mend.code, mend.torch, mend.expand)]
    assert panel.find(".kit-mend code").all_inner_texts() == written
    assert written[:3] == ["a[:, :, None]", "a.unsqueeze(2)", "a[:, :, None].expand(2, 3, 4)"]


@pytest.mark.parametrize("code", ["a[:, :, None]", "a.unsqueeze(2)", "a[:, :, None].expand(2, 3, 4)"])
def test_each_way_to_write_a_mend_is_clicked_and_gives_what_torch_gives(stage, code):
    a, b = torch.arange(6.0).reshape(2, 3) ** 2, torch.arange(12.0).reshape(3, 4)
    panel = stage(BroadcastVisualizer(a, b, op="+"))
    mend(panel, code)
    mended = eval(code)
    assert panel.saved("shapes") == [[list(mended.shape), [3, 4]]]
    expect(panel.find("[role=alert]")).to_be_hidden()
    assert panel.find("input").first.input_value() == ", ".join(map(str, mended.shape))
    left, _, result = arrays(panel)
    said = {tuple(map(int, re.findall(r"\d", text.split("]")[0]))): text for text in result.cells()}
    assert {index: float(text.split("= ")[-1]) for index, text in said.items()} == {
        index: (mended + b)[index].item() for index in np.ndindex(2, 3, 4)
    }
    assert all(
        f" a[{', '.join(map(str, index if mended.size(2) > 1 else (*index[:2], 0)))}]" in said[index] for index in said
    )
    # what is stored: six numbers, at any of whose copies the stored one is named
    assert panel.find("dd").first.inner_text() == "float32, 24 B stored; a copy at (2, 3, 4): 96 B"
    assert set(left.cells()) == {
        f"a[{i}, {j}, 0] = {a[i, j]:g} feeds 4 cells: (a + b)[{i}, {j}, :]" for i, j in np.ndindex(2, 3)
    }
    places = {tuple(map(int, re.findall(r"\d", text.split("]")[0]))): at for text, at in result.cells().items()}
    assert {index for index, at in places.items() if left.is_solid(at)} == {(i, j, 0) for i, j in np.ndindex(2, 3)}


def test_an_expand_that_would_stretch_nothing_is_not_offered(stage):
    panel = stage(BroadcastVisualizer((4, 3), (3, 4)))
    [exchange, *_] = panel.find(".kit-mend").all()
    assert exchange.locator("code").all_inner_texts() == ["a.swapaxes(0, 1)", "a.transpose(0, 1)"]
    panel = stage(BroadcastVisualizer((1, 3), (3, 4)))
    exchange = panel.find(".kit-mend").filter(has_text="a.swapaxes(0, 1)")
    assert exchange.locator("code").all_inner_texts()[2:] == ["a.swapaxes(0, 1).expand(3, 4)"]


def test_a_tensor_keeps_its_numbers_through_mends_until_the_reset(stage):
    a = torch.arange(12.0).reshape(4, 3) ** 2
    panel = stage(BroadcastVisualizer(a, (3, 4), op="+"))

    def results():
        said = arrays(panel)[2].cells()
        return {tuple(map(int, re.findall(r"\d", text.split("]")[0]))): float(text.split("= ")[-1]) for text in said}

    mend(panel, "a.swapaxes(0, 1)")
    counted = 10 * torch.arange(1, 13).reshape(3, 4)
    exchanged = a.T + counted
    assert results() == {index: exchanged[index].item() for index in np.ndindex(3, 4)}
    row = stage(BroadcastVisualizer(a[:1], (3, 4), op="+"))
    mend(row, "a.swapaxes(0, 1).expand(3, 4)")
    panel = row
    stretched = a[:1].T.expand(3, 4) + counted
    assert results() == {index: stretched[index].item() for index in np.ndindex(3, 4)}
    panel.find("button").filter(has_text="Reset").click()
    panel.find("input").nth(0).fill("3, 4")  # no longer known: its numbers are counted
    assert results() == {index: (counted * 1.1)[index].item() for index in np.ndindex(3, 4)}


def test_shapes_are_edited_by_typing_and_nonsense_is_not_sent(stage):
    panel = stage(BroadcastVisualizer((3, 1), (4,)))
    field = panel.find("input").nth(1)
    field.fill("(2, 1, 5)")
    assert panel.saved("shapes") == [[[3, 1], [2, 1, 5]]]
    assert panel.find(".kit-joint").inner_text() == "(2, 3, 5)"
    for typed in ("2, x", "-1", "1.5", "1, 1, 1, 1, 1, 1, 1"):
        field.fill(typed)
        assert field.get_attribute("aria-invalid") == "true"
    assert len(panel.saved("shapes")) == 1
    field.fill("")
    assert panel.find(".kit-joint").inner_text() == "(3, 1)" and field.get_attribute("aria-invalid") == "false"
    panel.find("button").filter(has_text="Reset").click()
    assert field.input_value() == "4" and panel.find(".kit-joint").inner_text() == "(3, 4)"


def test_the_kernel_changes_shapes_and_operation_too(stage):
    panel = stage(BroadcastVisualizer((3, 1), (4,)))
    panel.page.evaluate("kernel.set('shapes', [[2], [1]]); kernel.set('op', '**')")
    assert panel.find(".kit-joint").inner_text() == "(2,)" and panel.find("select").input_value() == "**"
    assert list(arrays(panel)[2].cells())[1] == "(a ** b)[1] = a[1] ** b[0] = 2 ** 10 = 1024"


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**", "==", "<", ">"])
def test_every_operation_computes_as_numpy_does(stage, op):
    a, b = np.array([[1.5], [-2.0]]), np.array([2.0, -2.0, 3.0])
    said = arrays(stage(BroadcastVisualizer(a, b, op=op)))[2].cells()
    with np.errstate(all="ignore"):
        wanted = eval(f"a {op} b")
    for text in said:
        index = tuple(map(int, re.findall(r"\d", text.split("]")[0])))
        got = text.rsplit("= ", 1)[1].replace("−", "-")
        assert (
            got == str(wanted[index]).lower()
            if wanted.dtype == bool
            else float(got) == pytest.approx(wanted[index], rel=1e-3)
        )
    assert len(said) == 6


def test_sizes_0_and_1_and_no_axes_are_right(stage):
    panel = stage(BroadcastVisualizer((3, 1), (0,)))
    assert panel.find(".kit-joint").inner_text() == "(3, 0)"
    assert panel.find(".kit-none").all_inner_texts() == ["no cells: an axis has size 0"] * 3
    assert "12 B stored; a copy at (3, 0): 0 B" in panel.find("dd").first.inner_text()
    panel = stage(BroadcastVisualizer(torch.tensor(5.0), (1,)))
    assert list(arrays(panel)[2].cells()) == ["(a * b)[0] = a * b[0] = 5 * 10 = 50"]


def test_bytes_stored_stand_against_those_of_a_copy(stage):
    panel = stage(BroadcastVisualizer(torch.zeros(1000, 1, dtype=torch.float64), (1, 3000)))
    assert panel.find("dd").all_inner_texts() == [
        "float64, 8000 B stored; a copy at (1000, 3000): 22.9 MiB; drawn up to (64, 128)",
        "float32, 11.7 KiB stored; a copy at (1000, 3000): 11.4 MiB; drawn up to (64, 128)",
        "3,000,000 numbers; drawn up to (64, 128)",
    ]
    assert pytest.approx(22.9, abs=0.05) == 8 * 1000 * 3000 / 2**20


def test_an_axis_has_one_colour_in_every_view(stage):
    panel = stage(BroadcastVisualizer((2, 1, 2, 1, 2, 1), (2, 1, 2, 1, 2)))
    arrays(panel)[2].over.focus()
    panel.page.keyboard.press("End")
    panel.page.wait_for_timeout(60)
    colours = """(node, axis) => [...node.querySelectorAll(".kit-axis-" + axis)].map(
      each => getComputedStyle(each).getPropertyValue("--kit-axis"))"""
    seen = [set(panel.find(".kit-panel").evaluate(colours, axis)) for axis in range(6)]
    assert [len(each) for each in seen] == [1] * 6 and len(set.union(*seen)) == 6
    ink = panel.find(".kit-formula .kit-axis-0").first.evaluate("node => getComputedStyle(node).color")
    head = panel.find(".kit-head").last.evaluate("node => getComputedStyle(node).borderBottomColor")
    assert ink == head


def test_arrays_are_drawn_again_when_the_theme_changes(stage):
    panel = stage(BroadcastVisualizer((2, 3), (3,)), color_scheme="light")
    array = arrays(panel)[2]
    place = (18 + 5, 18 + 5)  # in the first cell, beside the lines that measure the axes
    light = array.pixels(array.base, place)[0, 0]
    panel.page.emulate_media(color_scheme="dark")
    panel.page.wait_for_timeout(200)
    dark = array.pixels(array.base, place)[0, 0]
    assert sum(light[:3]) > 600 and sum(dark[:3]) < 200


def test_two_views_share_the_shapes_and_a_removed_one_leaves_nothing_behind(stage):
    panel = stage(BroadcastVisualizer(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), (2, 3)))
    before = panel.page.evaluate("listening()")
    panel.open()
    panel.find(".kit-mend button").filter(has_text="a.swapaxes(0, 1)").first.click()
    assert panel.find(".kit-joint", 1).inner_text() == "(2, 3)"
    panel.find(".kit-tiles canvas + canvas", 1).nth(2).focus()
    for _ in range(2):
        panel.page.keyboard.press("ArrowRight")
    expect(panel.find(".kit-formula", 1)).to_have_text("(a * b)[0, 1] = a[0, 1] * b[0, 1] = 3 * 20 = 60")
    panel.page.evaluate("views[1].remove()")
    assert panel.page.evaluate("listening()") == before
    panel.page.evaluate("views[0].remove()")
    assert panel.page.evaluate("listening()") == 0


def test_a_removed_strides_view_leaves_nothing_behind(stage):
    panel = stage(StrideVisualizer(torch.zeros(3)))
    panel.page.evaluate("views[0].remove()")
    assert panel.page.evaluate("listening()") == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: BroadcastVisualizer((2, 3), (3, 4)),
        lambda: BroadcastVisualizer((2, 1), (4,)),
        lambda: StrideVisualizer(torch.arange(12.0).reshape(3, 4), ops=[("as_strided", (2, 2), (4, 1), 0)]),
        lambda: StorageView(np.arange(6)),
    ],
    ids=["mismatch", "broadcast", "strides", "storage"],
)
@pytest.mark.parametrize("width", [420, 600, 1100])
def test_all_that_takes_focus_keeps_its_keys_and_nothing_leaves_the_page(stage, make, width):
    panel = stage(make(), viewport={"width": width, "height": 800})
    if panel.find("details").count():
        panel.find("summary").click()
    panel.page.wait_for_timeout(100)
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) >= 2 and {kept for _, kept in focusable} == {"true"}
    assert panel.page.evaluate("beyondTheEdge()") == []


def test_assistive_technology_is_told_what_there_is(stage):
    tree = stage(BroadcastVisualizer((3, 1), (4,))).find(".kit-panel").aria_snapshot()
    for part in ('combobox "Operation"', 'textbox "Shape of a": 3, 1', 'application "a * b, shape 3 by 4', "status"):
        assert part in tree
    tree = stage(StrideVisualizer(torch.zeros(2, 3))).find(".kit-panel").aria_snapshot()
    for part in (
        'toolbar "Operations"',
        'button "as_strided"',
        'application "View, shape 2 by 3',
        'application "Storage',
    ):
        assert part in tree


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    made = {"b": BroadcastVisualizer((3, 1), (4,)), "s": StrideVisualizer(torch.arange(6.0).reshape(2, 3))}
    with opened(browser, offline=True) as (page, errors):
        page.goto(made["b"].export_html(tmp_path / "b.html").as_uri())
        page.locator("input").first.fill("2, 1")
        expect(page.locator(".kit-joint")).to_have_text("(2, 4)")
        page.goto(made["s"].export_html(tmp_path / "s.html").as_uri())
        page.get_by_role("button", name="transpose").click()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".kit-verdict")).to_contain_text("by the rules of torch, no library asked")
        assert errors == []


# StorageView and StrideVisualizer


def strided(panel):
    view, stored, *_ = arrays(panel)
    return view, stored


def test_pointing_at_every_place_of_a_view_names_its_cell_address_and_number(stage):
    tensor = torch.arange(24.0).reshape(4, 6).T[1::2]
    view, _ = strided(stage(StorageView(tensor)))
    assert sorted(view.cells()) == sorted(
        f"view[{i}, {j}] → 1 + {i}·2 + {j}·6 = cell {1 + 2 * i + 6 * j}, "
        f"address {hex(tensor[i, j].data_ptr())}: {int(tensor[i, j])}"
        for i, j in np.ndindex(3, 4)
    )


def test_pointing_at_a_storage_cell_lights_every_place_that_reads_it(stage):
    tensor = torch.arange(5.0).unfold(0, 3, 1)  # the middle cell is read from three windows
    view, stored = strided(stage(StorageView(tensor)))
    places = {tuple(map(int, re.findall(r"\d", text.split("]")[0]))): place for text, place in view.cells().items()}
    cells = {
        int(re.match(r"cell (\d+)", text)[1]): place for text, place in stored.cells().items() if ", address" in text
    }
    assert sorted(cells) == [0, 1, 2, 3, 4] and len(places) == 9
    for cell, place in cells.items():
        stored.point(place)
        assert {index for index, where in places.items() if view.lit(where)} == {i for i in places if sum(i) == cell}
    view.point(places[1, 1])
    assert {cell for cell, where in cells.items() if stored.lit(where)} == {2}
    assert "3 places of the view read it" in view.said
    assert view.lit(places[1, 1]) > view.lit(places[0, 2]) > 0


def test_a_cell_and_the_places_that_read_it_have_one_colour(stage):
    view, stored = strided(stage(StorageView(np.broadcast_to(np.arange(4.0), (3, 4)))))

    def colours(array):
        """(number, the colour that most of its cell has) of each cell."""
        for text, place in array.cells().items():
            if number := re.search(r"address.*: (\d)", text):
                pixels = [tuple(pixel) for pixel in array.pixels(array.base, place, 13).reshape(-1, 4).tolist()]
                yield number[1], max(set(pixels), key=pixels.count)

    seen = dict(colours(stored))
    assert len(seen) == len(set(seen.values())) == 4
    viewed = list(colours(view))
    assert len(viewed) == 12 and set(viewed) == set(seen.items())


def facts(panel):
    return dict(
        zip(panel.find(".kit-facts dt").all_inner_texts(), panel.find(".kit-facts dd").all_inner_texts(), strict=True)
    )


def test_the_facts_are_those_of_the_tensor(stage):
    array = np.arange(24, dtype=np.int16).reshape(4, 6)[::-1, 1:]
    found = facts(stage(StorageView(array)))
    assert found.pop("storage") == f"48 B at {hex(array.base.ctypes.data)}"
    assert found == {
        "shape": "(4, 5)",
        "strides": "(-6, 1)",
        "in bytes": str(array.strides),
        "offset": "19 (38 B)",
        "contiguous": "no",
        "reads": "20 of 24 cells",
    }


def test_rows_of_the_storage_are_cache_lines_at_their_addresses(stage):
    array = np.arange(40.0)
    _, stored = strided(stage(StorageView(array), viewport={"width": 1100, "height": 800}))
    lines = {}
    for text, (_, y) in stored.cells().items():
        if match := re.match(r"cell (\d+), address (0x[0-9a-f]+): ", text):
            assert int(match[2], 16) == array.ctypes.data + 8 * int(match[1])
            lines.setdefault(int(match[2], 16) // 64, set()).add(round(y / 26))
    assert len(lines) >= 5 and all(len(rows) == 1 for rows in lines.values())
    assert len(set.union(*lines.values())) == len(lines)


def done(panel, name, **values):
    """Press an operation's button, type its arguments and apply it."""
    panel.page.get_by_role("button", name=name, exact=True).click()
    for label, value in values.items():
        panel.find(f".kit-form input[aria-label={label}]").first.fill(value)
    if panel.find(".kit-form").is_visible():
        panel.page.keyboard.press("Enter")
    panel.page.wait_for_timeout(120)


def test_buttons_make_a_chain_that_is_written_sent_and_undone(stage):
    panel = stage(StrideVisualizer(torch.arange(24.0).reshape(4, 6)))
    done(panel, "transpose")
    done(panel, "slice", start="1", stop="", step="2")
    done(panel, "reshape", shape="2, 6")
    assert panel.find(".kit-code").inner_text() == "t.transpose(0, 1)[1::2].reshape(2, 6)"
    ops = [["transpose", 0, 1], ["slice", 0, 1, None, 2], ["reshape", [2, 6]]]
    assert panel.saved("ops")[-1] == ops
    wanted = torch.arange(24.0).reshape(4, 6).transpose(0, 1)[1::2].reshape(2, 6)
    said = strided(panel)[0].cells()
    numbers = {re.match(r"view\[(\d), (\d)\]", text).groups(): float(re.search(r": (\d+)", text)[1]) for text in said}
    assert numbers == {(str(i), str(j)): wanted[i, j].item() for i, j in np.ndindex(2, 6)}
    assert (
        panel.find(".kit-badge").inner_text() == "copy"
        and "no library asked" in panel.find(".kit-verdict").inner_text()
    )
    panel.find("button").filter(has_text="Undo").click()
    panel.page.wait_for_timeout(120)
    assert panel.saved("ops")[-1] == ops[:2] and panel.find(".kit-badge").inner_text() == "view"
    panel.find("button").filter(has_text="Reset").click()
    expect(panel.find(".kit-verdict")).to_be_hidden()


def test_a_flipped_copy_holds_the_numbers_in_torchs_own_order(stage):
    """torch lays the copy of a transposed tensor out transposed again: the numbers of the storage are in that order."""
    tensor = torch.arange(12.0).reshape(3, 4)
    panel = stage(StrideVisualizer(tensor, ops=[("transpose", 0, 1), ("flip", 0)]))
    flipped = tensor.T.flip(0)
    _, stored = strided(panel)
    cells = dict(re.match(r"cell (\d+), .*: (\d+)", text).groups() for text in stored.cells() if ", address" in text)
    assert [int(cells[str(cell)]) for cell in range(12)] == strides.storage_of(flipped).tolist()


def test_the_librarys_word_stands_beside_the_view(stage):
    tensor = torch.arange(12.0).reshape(3, 4)
    panel = stage(StrideVisualizer(tensor, ops=[("transpose", 0, 1)]))
    assert panel.find(".kit-verdict").inner_text().replace("\n", " ") == (
        "viewThe strides change places; no number moves. "
        f"torch says: the same storage, data_ptr {hex(tensor.untyped_storage().data_ptr())}"
    )
    done(panel, "view", shape="12")
    expect(panel.find(".kit-badge")).to_have_text("error")
    expect(panel.find(".kit-verdict")).to_contain_text("axis 0 steps by 1, not by the 12 that would join 1")
    ops = [["transpose", 0, 1], ["view", [12]]]
    from kit.panels.strides import verdict

    panel.page.evaluate("said => kernel.set('_verdict', said)", verdict(tensor, ops))
    expect(panel.find(".kit-verdict")).to_contain_text("torch: RuntimeError: view size is not compatible")


def test_where_the_library_does_otherwise_than_the_rules_its_word_counts(stage):
    panel = stage(StrideVisualizer(torch.arange(6), ops=[("transpose", 0, 0)]))
    said = {"library": "torch", "ops": [["transpose", 0, 0]], "steps": [{"copied": True, "address": "4096"}]}
    panel.page.evaluate("said => kernel.set('_verdict', said)", said)
    expect(panel.find(".kit-badge")).to_have_text("copy")
    expect(panel.find(".kit-verdict")).to_contain_text("torch says: a new storage, data_ptr 0x1000")


def test_a_storage_scrolls_to_the_cell_that_a_view_reads(stage):
    tensor = torch.arange(4000.0)[::37]
    panel = stage(StorageView(tensor), viewport={"width": 420, "height": 900})
    strided(panel)[0].over.focus()
    panel.page.keyboard.press("End")
    panel.page.wait_for_timeout(100)
    box = panel.find(".kit-storage .kit-tiles").evaluate(
        "node => [node.scrollTop, node.clientHeight, node.scrollHeight]"
    )
    assert box[2] > box[1] + 100 and box[0] + box[1] == pytest.approx(box[2], abs=20)  # the last line is in sight


@pytest.mark.parametrize("dtype", ["int8", "float64", "complex128"])
def test_ten_thousand_cells_of_a_storage_are_drawn_to_the_last(stage, dtype):
    panel = stage(StorageView(np.zeros((100, 100), dtype)), viewport={"width": 1100, "height": 900})
    view, stored = strided(panel)
    assert panel.find("figcaption").nth(1).inner_text().startswith("storage of 10,000 cells; ")
    view.over.focus()
    panel.page.keyboard.press("End")
    panel.page.wait_for_timeout(60)
    assert stored.over.evaluate(MARKED) is not None


def rows_from(offset):
    return [["as_strided", [100, 100], [100, 1], offset]]


PICTURES = "all => all.map(canvas => canvas.toDataURL())"


@pytest.mark.parametrize(
    ("make", "trait", "values"),
    [
        (lambda: StrideVisualizer(torch.rand(10_200)), "ops", [rows_from(start) for start in (0, 57, 9000, -700, 3)]),
        (lambda: MatmulStepper(np.eye(100), np.eye(100), order="outer"), "step", [0, 123_456, 77, 10**6]),
    ],
    ids=["offsets, inside and beyond", "steps"],
)
def test_of_ten_thousand_cells_a_view_that_follows_shows_what_a_new_one_does(stage, make, trait, values):
    panel = stage(make(), viewport={"width": 1100, "height": 900})
    shown = set()
    for scheme, value in [*product(["light"], values), *product(["dark"], values[:2])]:
        panel.page.emulate_media(color_scheme=scheme)
        panel.page.evaluate("([trait, value]) => kernel.set(trait, value)", [trait, value])
        arrays(panel)[0].point((60, 60))
        panel.page.mouse.move(2, 2)
        panel.page.wait_for_timeout(200)
        pictures = panel.find(".kit-terms canvas").evaluate_all(PICTURES)
        fresh = panel.open()
        panel.page.wait_for_timeout(200)
        assert pictures == panel.find(".kit-terms canvas", view=1).evaluate_all(PICTURES)
        panel.page.evaluate("n => views[n].remove()", fresh)
        shown.add(str(pictures))
    assert len(shown) == len(values) + 2


def colours(array):
    """{colour: how many pixels have it} of an array's cells and margins."""
    return Counter(pixels(array.base).view(np.uint32).flatten().tolist())


def test_thousands_of_cells_have_the_colours_of_few(stage):
    """Of 10,000 cells 9,800 are read, each once, in up to 256 hues; or 1,000 are, and 8,800 that do not exist."""

    def drawn(offset):
        ops = [("as_strided", (98, 100), (100, 1), offset)]
        panel = stage(StrideVisualizer(torch.zeros(10_000), ops=ops), viewport={"width": 1100, "height": 900})
        return [colours(array) for array in strided(panel)]

    def has(found, cells, size):
        return [
            colour for colour, pixels in found.items() if abs(pixels - cells * size) <= 3
        ]  # a letter may have it too

    view, stored = drawn(57)
    page = {0, 0xFFFFFFFF}
    hues = {colour for colour in view if min(view[colour], stored[colour]) > 40} - page  # the margins have others
    of_view, of_stored = (round(sum(found[hue] for hue in hues) / 9800) for found in (view, stored))  # pixels of a cell
    assert 150 <= len(hues) <= 256
    assert all(abs(view[hue] / of_view - stored[hue] / of_stored) < 0.5 for hue in hues)
    [faint] = has(stored, 200, of_stored)
    view, stored = drawn(9000)
    [alarm] = has(view, 8800, of_view)
    smaller = round(stored[faint] / 9000)  # for there are more lines to draw
    assert has(stored, 9000, smaller) == [faint] != [alarm] and stored[alarm] > 10 * smaller


def test_of_a_large_array_it_is_said_how_much_is_drawn(stage):
    panel = stage(StorageView(np.arange(1_000_000).reshape(1000, 1000)), viewport={"width": 1100, "height": 900})
    assert panel.find("figcaption").all_inner_texts() == [
        "view t (1000, 1000), drawn up to (64, 128)",
        "storage of 1,000,000 cells, 10,000 of them drawn; each block one cache line",
    ]
    assert facts(panel)["reads"] == "cells 0 to 999999"


def test_what_numpy_flips_is_a_view_with_a_negative_stride_and_torch_copies(stage):
    numpy = stage(StrideVisualizer(np.arange(6), ops=[("flip", 0)]))
    assert (numpy.find(".kit-badge").inner_text(), facts(numpy)["strides"]) == ("view", "(-1,)")
    ours = stage(StrideVisualizer(torch.arange(6), ops=[("flip", 0)]))
    assert (ours.find(".kit-badge").inner_text(), facts(ours)["strides"]) == ("copy", "(1,)")
    assert "Torch has no negative strides" in ours.find(".kit-verdict").inner_text()


def test_the_hazard_of_writing_through_expand_is_shown_as_the_library_tried_it(stage):
    panel = stage(StrideVisualizer(torch.arange(4.0), ops=[("expand", (3, 4))]))
    assert "12 places, 4 cells." in panel.find(".kit-hazard").inner_text()
    assert "it changed 3 places at once" in panel.find(".kit-hazard").inner_text()
    panel = stage(StrideVisualizer(np.arange(4.0), ops=[("expand", (3, 4))]))
    assert "numpy refuses: assignment destination is read-only" in panel.find(".kit-hazard").inner_text()
    panel = stage(StrideVisualizer(torch.arange(4.0), ops=[("slice", 0, 0, 4, 2)]))
    expect(panel.find(".kit-hazard")).to_be_hidden()


def ends(panel):
    return {
        slider.get_attribute("aria-label"): (
            slider.get_attribute("min"),
            slider.get_attribute("max"),
            slider.input_value(),
        )
        for slider in panel.find(".kit-sliders input[type=range]").all()
    }


def test_sliders_stay_inside_the_storage_until_they_are_let_out(stage):
    panel = stage(StrideVisualizer(torch.arange(12.0), ops=[("as_strided", (3, 2), (2, 1), 1)]))
    limits = strides.limits(strides.View((3, 2), (2, 1), 1), 12)
    wanted = {
        **{f"size {axis}": ("1", str(most), str((3, 2)[axis])) for axis, most in enumerate(limits["shape"])},
        **{f"stride {k}": (str(low), str(high), str((2, 1)[k])) for k, (low, high) in enumerate(limits["strides"])},
        "offset": ("0", "6", "1"),
    }
    assert ends(panel) == wanted
    offset = panel.find("input[aria-label=offset]")
    offset.focus()
    panel.page.keyboard.press("End")
    panel.page.wait_for_timeout(120)
    assert panel.saved("ops")[-1] == [["as_strided", [3, 2], [2, 1], 6]] and facts(panel)["offset"] == "6 (24 B)"
    assert panel.find(".kit-badge").inner_text() == "view"
    red = [array.alarms() for array in strided(panel)]
    panel.find(".kit-red input").check()
    offset.focus()
    panel.page.keyboard.press("End")
    expect(panel.find(".kit-badge")).to_have_text("out of bounds")
    assert "cells 18 to 23 of a storage of 12" in panel.find(".kit-verdict").inner_text()
    panel.page.wait_for_timeout(100)
    assert red == [0, 0] and all(array.alarms() > 200 for array in strided(panel))
    view, _ = strided(panel)
    start, said = int(facts(panel)["storage"].split("0x")[1], 16), list(view.cells())
    assert len(said) == 6
    for text in said:
        cell, address, past = re.search(r"cell (\d+), address (0x\w+), (\d+) B past its end — outside", text).groups()
        assert int(address, 16) == start + 4 * int(cell) and int(past) == 4 * (int(cell) - 12)
        assert text.endswith(
            "outside the storage: not read, for that memory is not this tensor's, and to read it is undefined behaviour"
        )
    assert "What is marked ? is not read" in panel.find(".kit-verdict").inner_text()


@pytest.mark.parametrize("whole", [torch.arange(24.0) ** 2, np.arange(24) ** 2], ids=["torch", "numpy"])
def test_beyond_the_tensor_given_but_in_its_storage_the_true_numbers_are_read(stage, whole):
    """12 cells from cell 3 and from cell 16 on, where the tensor given has cells 6 to 11 and its storage 24."""
    for offset, verdict in [
        (3, "not beyond its storage: the numbers are true"),
        (16, "to read it is undefined behaviour"),
    ]:
        panel = stage(StrideVisualizer(whole[6:12], ops=[("as_strided", (3, 4), (4, 1), offset)]))
        said = list(strided(panel)[0].cells())
        assert verdict in panel.find(".kit-verdict").inner_text() and len(said) == 12
        for text, cell in zip(said, range(offset, offset + 12), strict=True):
            assert f"cell {cell}, " in text
            assert ("beyond the tensor given but in its storage" in text) == (cell < 24 and not 6 <= cell < 12)
            assert text.endswith(f": {int(whole[cell])}" if cell < 24 else "undefined behaviour")
        assert [array.alarms() > 0 for array in strided(panel)] == [offset == 16] * 2
    panel = stage(StrideVisualizer(whole[6:12], ops=[("as_strided", (2, 3), (3, 1), 6)]))
    assert "beyond" not in panel.find(".kit-verdict").inner_text()


def test_the_numbers_of_a_far_part_of_a_storage_are_shown_when_the_kernel_sends_them(stage):
    python = StrideVisualizer(torch.arange(100_000)[:4])
    panel = stage(python)
    for ops, first in [([["as_strided", [4], [1], 70_000]], 70_000), ([], 0)]:
        python.ops = ops
        panel.page.evaluate("ops => kernel.set('ops', ops)", ops)
        panel.page.wait_for_timeout(100)
        panel.page.evaluate("given => kernel.set('_storage', given)", python._storage)
        panel.page.wait_for_timeout(100)
        texts = list(strided(panel)[0].cells())
        assert [text.split(": ")[-1] for text in texts] == [str(first + i) for i in range(4)]


def test_the_loops_count_the_misses_of_kit_arrays(stage):
    panel = stage(StrideVisualizer(torch.zeros(2)), viewport={"width": 1100, "height": 900})
    panel.find("summary").click()
    for capacity in (16, 8, 64):
        panel.find("select").select_option(str(capacity))
        panel.page.wait_for_timeout(100)
        wanted = [
            sum(strides.misses(strides.lines_read(strides.matmul_reads(order, 16, 8), 16, 8), capacity))
            for order in ("ijk", "ikj", "blocked")
        ]
        assert panel.find(".kit-order span").all_inner_texts() == [f"{count:,} misses" for count in wanted]
    panel.find("button").filter(has_text="ikj").click()
    panel.find("input[aria-label=Read]").focus()
    panel.page.keyboard.press("End")
    expect(panel.find(".kit-loops .kit-formula")).to_contain_text(
        "read 12,288 of 12,288: C[15, 15], in the cache; 96 misses so far"
    )


def test_the_loops_are_played_and_each_read_lights_its_cell(stage):
    panel = stage(StrideVisualizer(torch.zeros(2)), viewport={"width": 1100, "height": 900})
    panel.find("summary").click()
    play, time, said = (panel.find(f".kit-loops {part}") for part in (".kit-play", "input", ".kit-formula"))
    reads = list(strides.matmul_reads("ijk", 16))
    lines = strides.lines_read(reads, 16, 8)
    missed = strides.misses(lines, 16)
    play.click()
    expect(play).to_have_attribute("aria-label", "Pause")
    panel.page.wait_for_function("() => +document.querySelector('.kit-loops input').value > 100")
    time.focus()
    panel.page.keyboard.press(" ")
    expect(play).to_have_attribute("aria-label", "Play")
    at = int(time.input_value())
    name, row, column = reads[at]
    assert said.inner_text() == (
        f"read {at + 1:,} of 12,288: {name}[{row}, {column}], {'a miss' if missed[at] else 'in the cache'}; "
        f"{sum(missed[: at + 1]):,} misses so far"
    )
    tiles = dict(zip("ABC", arrays(panel)[2:], strict=True))
    marked = {name: array.over.evaluate(MARKED) for name, array in tiles.items()}
    cell = tiles[name].over.evaluate("canvas => (parseFloat(canvas.style.width) - 19) / 16")
    assert marked.pop(name) == [pytest.approx(18 + (at + 0.5) * cell, abs=1) for at in (column, row)]
    assert set(map(str, marked.values())) == {"None"}
    panel.find("button").filter(has_text="blocked").click()
    assert time.input_value() == "0"


# The middle of all that is marked on a canvas, or null.
MARKED = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height), marked = [[], []];
  for (let i = 3; i < data.length; i += 4) if (data[i]) {
    marked[0].push((i >> 2) % canvas.width);
    marked[1].push(Math.floor((i >> 2) / canvas.width));
  }
  return marked[0].length ? marked.map(way => (Math.min(...way) + Math.max(...way) + 1) / 2) : null; }"""


SLID = {  # what is slid: how its panel is made, and what the kernel is to have where the slider stands
    "offset": (
        lambda: StrideVisualizer(torch.arange(60.0), ops=[("as_strided", (3, 2), (2, 1), 1)]),
        lambda value: ("ops", [["as_strided", [3, 2], [2, 1], value]]),
    ),
    "Multiply-adds done": (lambda: MatmulStepper(np.eye(5), np.eye(5)), lambda value: ("step", value)),
}


@pytest.mark.parametrize("label", SLID)
def test_the_kernel_hears_nothing_while_a_hand_slides_and_where_it_let_go(stage, label):
    make, told = SLID[label]
    panel = stage(make())
    slider, mouse = panel.find(f"input[aria-label='{label}']"), panel.page.mouse
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    seen = set()
    mouse.move(box["x"] + 12, box["y"] + box["height"] / 2)
    mouse.down()
    for share in [*np.linspace(0.1, 0.9, 20), *np.linspace(0.9, 0.4, 20)]:
        mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        panel.page.wait_for_timeout(20)
        seen.add(slider.input_value())
    panel.page.wait_for_timeout(300)
    assert len(seen) > 10 and panel.log() == []
    mouse.up()
    panel.page.wait_for_timeout(300)
    name, value = told(int(slider.input_value()))
    assert [entry["state"] for entry in panel.log()] == [{name: value}]


# Time


def test_hovering_and_sliding_over_ten_thousand_cells_takes_less_than_a_frame(stage):
    """The time of Chromium's main thread for an input, from its event to its drawing; other processes do not count."""
    broadcasting = BroadcastVisualizer((100, 1), (100,))
    striding = StrideVisualizer(torch.rand(100, 101), ops=[("as_strided", (100, 100), (100, 1), 0)])
    steppers = [MatmulStepper(np.eye(100), np.eye(100), order=order) for order in ("rows", "outer", "blocks")]
    cases = [(broadcasting, 2, WANDER), (striding, 0, WANDER), (striding, 0, SLIDE.format("offset"))]
    cases += [(stepper, 2, script) for stepper in steppers for script in (WANDER, SLIDE.format("Multiply-adds done"))]
    for panel, number, script in cases:
        put = stage(panel, viewport={"width": 1100, "height": 900})
        put.page.wait_for_timeout(300)
        busy = processor_time(put.page)
        before = busy()
        arrays(put)[number].over.evaluate(script)
        spent = (busy() - before) / 80
        put.find(".kit-terms, .kit-card").evaluate_all(LEAVE)
        times = put.page.evaluate("log").pop()["state"]["_timing"]
        assert times["moves"] >= 60 and spent <= 0.016, (spent, times)


LEAVE = "all => all.forEach(each => each.dispatchEvent(new PointerEvent('pointerleave')))"

SLIDE = """async () => {{
  const slider = document.querySelector("input[aria-label='{}']");
  for (let i = 0; i < 80; i++) {{
    slider.value = Math.round((i + 1) / 80 * slider.max);
    slider.dispatchEvent(new Event("input"));
    await new Promise(done => setTimeout(done, 40));
  }} }}"""
