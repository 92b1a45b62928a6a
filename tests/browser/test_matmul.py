"""MatmulStepper in Chromium, on a bare page: its rules against numpy and loops, the hand, the eye."""

import random
import re
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from kit.arrays import einsum
from kit.panels import MatmulStepper
from tests.arrays.test_einsum import REFUSED, TAKEN
from tests.arrays.test_einsum import drawn as drawn_text
from tests.browser.pages import opened
from tests.browser.stage import pixels
from tests.browser.tiles import arrays, taker

pytestmark = pytest.mark.browser

A = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
B = np.array([[7.0, 8.0, 9.0, 1.0], [-1.0, -2.0, 3.0, 4.0], [5.0, 0.5, 2.0, -3.0]])


# The rules


@pytest.fixture
def rules(browser):
    with taker(browser) as take:
        yield take


def test_every_text_is_read_or_refused_as_kit_arrays_does(rules):
    run = rules("matmul.js", "parseEinsum", "sizesOf")
    rng = random.Random(1)
    cases = [(text, shapes) for text, shapes, *_ in TAKEN + REFUSED] + [drawn_text(rng) for _ in range(3000)]
    got = run(
        """cases => cases.map(([text, shapes]) => {
          try {
            const rule = rules.parseEinsum(text);
            return [rule.operands, rule.places, rule.result, rule.summed, [...rules.sizesOf(rule, shapes)]];
          } catch (error) { return [error.message, error.position]; } })""",
        cases,
    )
    refused = 0
    for (text, shapes), found in zip(cases, got, strict=True):
        try:
            rule = einsum.parse(text)
            sizes = einsum.sizes(rule, *shapes)
            wanted = [
                [*rule.operands],
                [[*p] for p in rule.places],
                rule.result,
                rule.summed,
                [[*s] for s in sizes.items()],
            ]
        except einsum.EinsumError as error:
            wanted = [str(error), error.position]
            refused += 1
        assert found == wanted, f"{text!r} {shapes}"
    assert 500 < refused < 2500


def fitting(rng):
    """A random einsum that numpy takes, its operands, an order and a block: at most a few hundred multiply-adds."""
    while True:
        letters = "ijkl"[: rng.randint(1, 4)]
        size = {letter: rng.choice([0, 1, 2, 3, 4]) for letter in letters}
        operands = ["".join(rng.choices(letters, k=rng.randint(0, 3))) for _ in range(rng.randint(1, 2))]
        used = "".join(dict.fromkeys("".join(operands)))
        text = ",".join(operands)
        if rng.random() < 0.8:
            text += "->" + "".join(rng.sample(used, rng.randint(0, len(used))))
        if any(len(set(own)) < len(own) and 0 in (size[x] for x in own) for own in operands):
            continue  # numpy is not sure of the diagonal of nothing
        if np.prod([size[letter] for letter in used]) <= 300:
            break
    once = lambda own, letter: own.count(letter) == 1  # noqa: E731
    shapes = [[1 if once(own, x) and rng.random() < 0.1 else size[x] for x in own] for own in operands]
    arrays = [
        np.array([rng.randint(-9, 9) for _ in range(np.prod(shape, dtype=int))]).reshape(shape) for shape in shapes
    ]
    return text, arrays, rng.choice(["rows", "outer", "blocks"]), rng.randint(1, 3)


def blocked(sizes, side):
    """The indices of some sizes, block by block: a list of lists."""
    starts = product(*(range(0, size, side) for size in sizes))
    ends = lambda start: (range(at, min(at + side, size)) for at, size in zip(start, sizes, strict=True))  # noqa: E731
    return [list(product(*ends(start))) for start in starts]


def loops(order, result, summed, block):
    """The pairs of blocks in order, each as its (cell, term) steps."""
    if order == "rows":
        return [[(cell, term) for term in np.ndindex(*summed)] for cell in np.ndindex(*result)]
    if order == "outer":
        return [[(cell, term) for cell in np.ndindex(*result)] for term in np.ndindex(*summed)]
    pairs = product(blocked(result, block), blocked(summed, block))
    return [list(product(cells, terms)) for cells, terms in pairs]


PLAN = """([text, given, order, block]) => {
  const arrays = given.map(([shape, values]) => ({ shape, shown: shape, values: Float64Array.from(values) }));
  const { rule, sizes, operands, refused } = rules.planOf(text, arrays);
  const of = letters => [...letters].map(letter => sizes.get(letter));
  const tiling = new rules.Tiling(of(rule.result), of(rule.summed), order, block);
  const sums = rules.partialSums(tiling, operands, rule.result, rule.summed), { perCell } = tiling;
  const at = steps => { const done = tiling.doneAfter(steps); return [...tiling.places].map(place => done(place)); };
  return { refused: refused?.message ?? null, result: of(rule.result), summed: of(rule.summed),
    steps: Array.from({ length: tiling.length }, (_, step) => { const { cell, term } = tiling.at(step);
      return [tiling.cells.sequence[cell], tiling.terms.sequence[term]]; }),
    units: Array.from({ length: tiling.length }, (_, step) => tiling.unit(step)),
    done: Array.from({ length: tiling.length + 1 }, (_, steps) => at(steps)),
    finished: Array.from({ length: tiling.length + 1 }, (_, steps) => tiling.finishedAfter(steps)),
    sums: Array.from({ length: tiling.length + 1 }, (_, steps) => at(steps).map((done, cell) =>
      sums[tiling.places[cell] * (perCell + 1) + done])) };
}"""


def test_every_einsum_in_every_order_grows_step_by_step_into_what_numpy_gives(rules):
    run = rules("matmul.js", "planOf", "Tiling", "partialSums")
    rng = random.Random(2)
    seen = set()
    for _ in range(400):
        text, operands, order, block = fitting(rng)
        got = run(PLAN, [text, [[list(x.shape), x.reshape(-1).tolist()] for x in operands], order, block])
        wanted = np.einsum(text, *operands)
        assert got["refused"] is None and tuple(got["result"]) == wanted.shape, text
        assert got["sums"][-1] == wanted.reshape(-1).tolist(), f"{text} {order} {block}"
        units = [unit for unit in loops(order, got["result"], got["summed"], block) if unit]
        steps = [step for unit in units for step in unit]
        assert got["steps"] == [[list(cell), list(term)] for cell, term in steps], f"{text} {order} {block}"
        ends = np.cumsum([0, *map(len, units)]).tolist()
        assert got["units"] == [[start, end] for start, end in pairwise(ends) for _ in range(end - start)]
        counts = np.zeros(wanted.shape, int)
        for done, (cell, _) in zip(got["done"], [*steps, (None, None)], strict=True):
            assert done == (counts if steps else counts + np.prod(got["summed"], dtype=int)).reshape(-1).tolist()
            if cell is not None:
                counts[cell] += 1
        terms = np.prod(got["summed"], dtype=int)
        assert got["finished"] == [done.count(terms) for done in got["done"]], f"{text} {order} {block}"
        seen.add((order, len(operands), bool(got["summed"])))
    assert len(seen) == 12


def test_the_sums_on_the_way_are_those_of_a_loop(rules):
    run = rules("matmul.js", "planOf", "Tiling", "partialSums")
    for order in ("rows", "outer", "blocks"):
        got = run(PLAN, ["ik,kj->ij", [[[2, 3], A.reshape(-1).tolist()], [[3, 4], B.reshape(-1).tolist()]], order, 2])
        c = np.zeros((2, 4))
        for (cell, (k,)), sums in zip(
            [step for unit in loops(order, (2, 4), (3,), 2) for step in unit], got["sums"], strict=False
        ):
            assert sums == c.reshape(-1).tolist()
            c[cell] += A[cell[0], k] * B[k, cell[1]]


def test_however_large_the_arrays_few_cells_and_steps_are_drawn(rules):
    run = rules("matmul.js", "parseEinsum", "drawnSizes")
    rng = random.Random(3)
    cases = []
    for text in ("ik,kj->ij", "ij,kl->ijkl", "abc,def->", "ij->ji", "abcdef->", "bik,bkj->bij", "ii->i"):
        letters = dict.fromkeys(text.replace(",", "").split("->")[0])
        cases += [(text, {x: rng.choice([1, 3, 40, 1000, 10**6]) for x in letters}) for _ in range(40)]
    got = run(
        """cases => cases.map(([text, sizes]) =>
          Object.fromEntries(rules.drawnSizes(rules.parseEinsum(text), new Map(Object.entries(sizes)), new Map())))""",
        cases,
    )
    for (text, sizes), drawn in zip(cases, got, strict=True):
        count = lambda letters: np.prod([drawn[x] for x in set(letters)])  # noqa: B023, E731
        assert all(1 <= drawn[x] <= min(sizes[x], 128) for x in sizes)
        assert count(drawn) <= 10**6 and all(count(part) <= 10_000 for part in re.split("->|,", text)), text
        if all(size <= 128 for size in sizes.values()) and np.prod(list(sizes.values())) <= 10_000:
            assert drawn == sizes


# The panel


def stepper(stage, *given, **settings):
    return stage(MatmulStepper(*(given or (A, B)), **settings), viewport={"width": 1000, "height": 900})


def said(panel):
    return panel.find(".kit-formula").inner_text().replace("\xa0", " ")


def press(panel, *keys):
    panel.find("input[type=range]").focus()
    for key in keys:
        panel.page.keyboard.press(key)
    panel.rest()


def middle(array, index, cell, left=18, top=18):
    """The middle of a cell of a matrix."""
    return left + (index[1] + 0.5) * cell[0], top + (index[0] + 0.5) * cell[1]


def lit(array, shape, strong=None):
    """The cells of a matrix that are marked, or those marked as strongly as the strongest."""
    box = array.over.evaluate("canvas => [parseFloat(canvas.style.width), parseFloat(canvas.style.height)]")
    cell = [(box[0] - 19) / shape[1], (box[1] - 19) / shape[0]]
    marks = {index: array.lit(middle(array, index, cell)) for index in np.ndindex(*shape)}
    most = max(marks.values())
    return {index for index, mark in marks.items() if mark and (not strong or mark == most)}


def short(number):
    return f"{number:.4g}".replace("-", "−")


@pytest.mark.parametrize("order", ["rows", "outer", "blocks"])
def test_each_step_says_its_terms_and_lights_its_cells_and_its_block(stage, order):
    panel = stepper(stage, order=order)
    a, b, c = arrays(panel)
    done = {}
    for unit in loops(order, (2, 4), (3,), 2):
        for (i, j), (k,) in unit:
            press(panel, "ArrowRight")
            done.setdefault((i, j), []).append(k)
            terms = [f"{short(A[i, k])}·{factor(B[k, j])}" for k in done[i, j]]
            terms[1:] = [
                f"({term.split('·')[0]})·{term.split('·')[1]}" if term[0] == "−" else term for term in terms[1:]
            ]
            total = short(sum(A[i, k] * B[k, j] for k in done[i, j]))
            after = "" if len(done[i, j]) == 3 else f" after {len(done[i, j])} of 3 terms"
            assert said(panel) == f"c[{i}, {j}] = {' + '.join(terms)} = {total}{after}"
            for array, shape, cell in ((a, (2, 3), (i, k)), (b, (3, 4), (k, j)), (c, (2, 4), (i, j))):
                assert lit(array, shape, strong=True) == {cell}
            assert lit(a, (2, 3)) == {(i, k) for (i, _), (k,) in unit}
            assert lit(b, (3, 4)) == {(k, j) for (_, j), (k,) in unit}
            assert lit(c, (2, 4)) == {cell for cell, _ in unit}
    assert panel.find(".kit-readings dd").all_inner_texts() == ["24 of 24", "8 of 8"]


def factor(number):
    return f"({short(number)})" if number < 0 else short(number)


def test_the_result_grows_out_of_ghosts(stage):
    panel = stepper(stage, order="rows")
    _, _, c = arrays(panel)
    box = c.over.evaluate("canvas => [parseFloat(canvas.style.width), parseFloat(canvas.style.height)]")
    places = {index: middle(c, index, ((box[0] - 19) / 4, (box[1] - 19) / 2)) for index in np.ndindex(2, 4)}
    solid = lambda: {index for index, (x, y) in places.items() if c.is_solid((x - 12, y - 5))}  # noqa: E731
    assert solid() == set()
    press(panel, "PageUp", "PageUp", "ArrowRight")
    assert solid() == {(0, 0), (0, 1), (0, 2)}
    pale = c.pixels(c.base, (places[0, 2][0] - 14, places[0, 2][1] - 8))[0, 0]
    whole = c.pixels(c.base, (places[0, 0][0] - 14, places[0, 0][1] - 8))[0, 0]
    assert (pale != whole).any()
    press(panel, "End")
    assert solid() == set(places)
    press(panel, "Home")
    assert solid() == set()


def test_thousands_of_cells_are_drawn_where_they_lie(stage):
    panel = stepper(stage, np.ones((6, 6, 9, 9)), einsum="abij->abij")
    panel.page.evaluate("kernel.set('step', 1458)")
    panel.rest()
    c = arrays(panel)[2]
    width, height = c.base.evaluate("canvas => [canvas.width, canvas.height]")
    side = ((width - 1 - 36 + 12) // 6 - 12) // 9
    picture = np.zeros((height, width), int)
    for index in np.ndindex(6, 6, 9, 9):
        y, x = (36 + (9 * side + 12) * outer + side * inner for outer, inner in zip(index[:2], index[2:], strict=True))
        picture[y + 1 : y + side, x + 1 : x + side] = 1 if index[0] < 3 else 2
    found = pixels(c.base).view(np.uint32)[36:, 36:, 0]
    wanted = picture[36:, 36:]
    assert [len(set(found[wanted == kind].tolist())) for kind in (0, 1, 2)] == [1, 1, 1]
    assert len(set(found[wanted > 0].tolist())) == 2 and (found[wanted == 0] == 0).all()


@pytest.mark.parametrize("order, step", [("rows", 60 * 1800 + 30), ("outer", 3600 * 59 + 1000), ("outer", 2000)])
def test_thousands_of_cells_are_ghosts_pale_or_whole(stage, order, step):
    panel = stepper(stage, np.ones((60, 60)), np.ones((60, 60)), order=order)
    terms = {
        "rows": [60] * 1800 + [30] + [0] * 1799,
        "outer": [step // 3600 + (cell < step % 3600) for cell in range(3600)],
    }
    panel.page.evaluate("step => kernel.set('step', step)", step)
    panel.rest()
    c = arrays(panel)[2]
    side = (c.base.evaluate("canvas => canvas.width") - 19) // 60
    found = pixels(c.base).view(np.uint32)[18 + side // 2 :: side, 18 + side // 2 :: side, 0][:60, :60].reshape(-1)
    kinds = [0 if done == 0 else 2 if done == 60 else 1 for done in terms[order]]
    assert len(set(zip(kinds, found.tolist(), strict=True))) == len(set(kinds)) == len(set(found.tolist()))


def test_letters_have_one_colour_and_their_values_at_each_step(stage):
    panel = stepper(stage, order="outer")
    letters = lambda: panel.find(".kit-letter").all_inner_texts()  # noqa: E731
    assert [text.replace("\n", "") for text in letters()] == ["i:", "j:", "k:", "i:", "k:", "k:", "j:"]
    assert panel.find(".kit-lit").count() == 0
    press(panel, *["ArrowRight"] * 15)  # the second outer product, its seventh cell
    assert [text.replace("\n", "") for text in letters()] == ["i1", "j2", "k1", "i1", "k1", "k1", "j2"]
    runs = panel.find(".kit-runs b").all_inner_texts()
    assert panel.find(".kit-lit").count() == 7 and sorted(runs) == ["i", "i", "j", "j"]
    colours = panel.find(".kit-letter").evaluate_all(
        "all => all.map(each => [each.querySelector('b').innerText, getComputedStyle(each.querySelector('b')).color])"
    )
    assert len({colour for _, colour in colours}) == 3 == len({tuple(pair) for pair in colours})
    named = panel.find(".kit-formula .kit-axis").first.evaluate("node => getComputedStyle(node).color")
    assert named == dict(map(tuple, colours))["i"]


def test_keys_step_jump_and_end(stage):
    panel = stepper(stage, order="rows")
    at = lambda: int(panel.find("input[type=range]").input_value())  # noqa: E731
    for keys, wanted in [
        (["ArrowRight"], 1),
        (["ArrowUp"], 2),
        (["PageUp"], 3),
        (["Shift+ArrowRight"], 6),
        (["ArrowLeft"], 5),
        (["PageDown"], 3),
        (["Shift+ArrowLeft"], 0),
        (["ArrowLeft"], 0),
        (["End", "ArrowRight", "PageUp"], 24),
        (["PageDown"], 21),
        (["Home"], 0),
    ]:
        press(panel, *keys)
        assert at() == wanted, keys
    for name, wanted in {"On by a unit": 3, "On by one": 4, "Back by one": 3, "Back by a unit": 0}.items():
        panel.page.get_by_role("button", name=name, exact=True).click()
        panel.rest()
        assert at() == wanted


def test_a_scrub_shows_what_numpy_has_after_so_many_terms_and_tells_the_kernel(stage):
    panel = stepper(stage, np.arange(1.0, 31).reshape(5, 6), np.arange(1.0, 43).reshape(6, 7), order="outer")
    slider = panel.find("input[type=range]")
    slider.evaluate("s => { s.value = 88; for (const type of ['input', 'change']) s.dispatchEvent(new Event(type)); }")
    panel.rest()
    a, b = np.arange(1.0, 31).reshape(5, 6), np.arange(1.0, 43).reshape(6, 7)
    i, j = divmod(87 % 35, 7)
    assert said(panel).endswith(f"= {short(a[i, :3] @ b[:3, j])} after 3 of 6 terms")
    assert panel.find(".kit-readings dd").first.inner_text() == "88 of 210"
    panel.page.wait_for_timeout(300)
    assert panel.saved("step") == [88]


def test_long_sums_begin_with_the_sum_of_the_first(stage):
    a, b = np.ones((1, 20)), np.arange(20.0).reshape(20, 1)
    panel = stepper(stage, a, b)
    press(panel, *["ArrowRight"] * 9)
    assert said(panel) == "c[0, 0] = 3 (3 terms) + 1·3 + 1·4 + 1·5 + 1·6 + 1·7 + 1·8 = 36 after 9 of 20 terms"


def test_pointing_at_cells_shows_what_they_are_made_of_and_go_into(stage):
    panel = stepper(stage)
    a, b, c = arrays(panel)
    assert sorted(c.cells()) == sorted(
        f"c[{i}, {j}] = {short(A[i, 0])}·{factor(B[0, j])} + {factor(A[i, 1])}·{factor(B[1, j])} + "
        f"{factor(A[i, 2])}·{factor(B[2, j])} = {short((A @ B)[i, j])}; so far 0, 0 of 3 terms"
        for i, j in np.ndindex(2, 4)
    )
    assert "a[1, 2] = −6 goes into 4 cells: c[1, :]" in list(a.cells())
    place = next(place for text, place in b.cells().items() if text.startswith("b[0, 3]"))
    b.point(place)
    assert said(panel) == "b[0, 3] = 1 goes into 2 cells: c[:, 3]"
    assert lit(c, (2, 4)) == {(0, 3), (1, 3)} and lit(a, (2, 3)) == {(0, 0), (1, 0)} and lit(b, (3, 4)) == {(0, 3)}
    assert panel.find(".kit-letter.kit-lit").all_inner_texts() == ["j\n3", "k\n0", "k\n0", "k\n0", "j\n3"]
    panel.page.mouse.move(2, 2)
    expect(panel.find(".kit-hint")).to_be_visible()
    c.over.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown"):
        panel.page.keyboard.press(key)
    panel.rest()
    assert said(panel).startswith("c[1, 1] = 4·8 + 5·(−2) + (−6)·0.5 = 19")


def test_off_the_diagonal_nothing_is_used(stage):
    panel = stepper(stage, np.arange(9.0).reshape(3, 3), einsum="ii->")
    a = arrays(panel)[0]
    texts = list(a.cells())
    assert "a[1, 1] = 4 goes into 1 cell: c" in texts
    assert "a[0, 2] = 2 is not used: equal letters run together" in texts and len(texts) == 9
    press(panel, "End")
    assert said(panel) == "c = 0 + 4 + 8 = 12"


def test_a_typed_text_is_followed_and_a_wrong_one_is_marked_at_its_place(stage):
    panel = stepper(stage)
    field, alert = panel.find("input[type=text]"), panel.find("[role=alert]")
    field.fill("ik,kj->iz")
    expect(alert).to_contain_text("z is in the result but in no operand; wanted a letter of an operand.")
    assert panel.find("mark").inner_text() == "z" and alert.locator("code").inner_text() == "ik,kj->iz"
    assert field.get_attribute("aria-invalid") == "true" and panel.saved("einsum") == []
    field.fill("ik,kj->ij")
    expect(alert).to_be_hidden()
    assert field.get_attribute("aria-invalid") == "false"
    field.fill("ik,kj->ji")
    expect(alert).to_be_hidden()
    assert panel.saved("einsum") == ["ik,kj->ji"] and field.get_attribute("aria-invalid") == "false"
    press(panel, "End")
    assert said(panel).startswith("c[3, 1] =") and said(panel).endswith(f"= {short((A @ B)[1, 3])}")
    field.fill("ij->")
    press(panel, "End")
    assert said(panel) == "c = 1 + (−2) + 3 + 4 + 5 + (−6) = 5" and panel.find("figure").nth(1).is_hidden()


def test_where_the_arrays_do_not_fit_counted_numbers_stand_in_and_it_is_said(stage):
    panel = stepper(stage)
    field = panel.find("input[type=text]")
    field.fill("bik,bkj->bij")
    expect(panel.find("[role=alert]")).to_contain_text("'bik' names 3 axes, a has 2 axes.")
    assert panel.find("mark").inner_text() == "b" and panel.saved("einsum") == ["bik,bkj->bij"]
    assert panel.find(".kit-note").inner_text() == (
        "Your arrays do not fit; counted numbers stand in for them: a (2, 3, 4), b (2, 4, 2)."
    )
    press(panel, "End")
    a, b = np.arange(1, 25).reshape(2, 3, 4), np.arange(1, 17).reshape(2, 4, 2)
    assert said(panel).endswith(f"= {(a @ b)[-1, -1, -1]}")
    field.fill("ik,kj->ij")
    expect(panel.find("[role=alert]")).to_be_hidden()
    expect(panel.find(".kit-note")).to_be_hidden()


def test_one_step_of_size_zero_and_stretched_axes_are_right(stage):
    panel = stepper(stage, np.ones((2, 0)), np.ones((0, 3)))
    assert panel.find("input[type=range]").is_disabled() and "No steps: an axis has size 0." in said(panel)
    assert panel.find(".kit-readings dd").all_inner_texts() == ["0 of 0", "6 of 6"]
    assert next(iter(arrays(panel)[2].cells())) == "c[0, 0] = 0"
    panel = stepper(stage, np.array([[2.0, 3.0]]), np.array([[5.0]]), einsum="ij,ij->ij")
    press(panel, "End")
    assert said(panel) == "c[0, 1] = 3·5 = 15" and lit(arrays(panel)[1], (1, 1)) == {(0, 0)}


def test_play_goes_to_the_end_pauses_and_begins_again(stage):
    panel = stepper(stage, np.eye(3), np.eye(3))
    at = lambda: int(panel.find("input[type=range]").input_value())  # noqa: E731
    play, speed = panel.find(".kit-play"), panel.find(".kit-speed")
    for _ in range(2):
        speed.click()
    expect(speed).to_have_text("4×")
    play.click()
    expect(play).to_have_attribute("aria-label", "Pause")
    panel.page.wait_for_function("() => +document.querySelector('input[type=range]').value >= 2")
    panel.page.wait_for_timeout(250)
    assert panel.saved("step") == []
    play.click()
    panel.rest()  # the last step is painted a frame later
    stopped = at()
    panel.page.wait_for_timeout(300)
    assert 2 <= stopped == at() < 27 and panel.saved("step") == [stopped]
    press(panel, " ")
    panel.page.wait_for_function("() => +document.querySelector('input[type=range]').value === 27")
    expect(play).to_have_attribute("aria-label", "Play")
    play.click()
    panel.page.wait_for_function("() => +document.querySelector('input[type=range]').value < 20")
    panel.find("button").filter(has_text="outer products").click()
    expect(play).to_have_attribute("aria-label", "Play")
    panel.page.wait_for_timeout(400)
    assert at() == 0


def test_order_and_block_are_chosen_by_the_reader_and_by_the_kernel(stage):
    panel = stepper(stage)
    loop = panel.find(".kit-loop")
    assert loop.inner_text() == "for i: for j: for k: c[i, j] += a[i, k] · b[k, j]"
    press(panel, "ArrowRight")
    panel.find("button").filter(has_text="outer products").click()
    assert panel.saved("order") == ["outer"] and panel.saved("step")[-1] == 0
    assert loop.inner_text() == "for k: for i: for j: c[i, j] += a[i, k] · b[k, j]"
    expect(panel.find("select")).to_be_hidden()
    panel.page.evaluate("kernel.set('order', 'blocks')")
    expect(panel.find("select")).to_be_visible()
    assert loop.inner_text() == "for i₀: for j₀: for k₀: for i: for j: for k: c[i, j] += a[i, k] · b[k, j]"
    panel.page.evaluate("kernel.set('block', 5)")
    assert panel.find("select").input_value() == "5"
    panel.find("select").select_option("4")
    assert panel.saved("block") == [4] and panel.find("select").input_value() == "4"
    press(panel, "PageUp")
    assert panel.find(".kit-readings dd").first.inner_text() == "24 of 24"
    panel.page.evaluate("kernel.set('einsum', 'ij->ji'); kernel.set('step', 2)")
    panel.rest()
    assert panel.find("input[type=text]").input_value() == "ij->ji" and said(panel) == "c[0, 1] = 4"


def test_what_is_not_drawn_is_said(stage):
    panel = stepper(stage, np.ones((300, 784)), np.ones((784, 10)))
    assert panel.find(".kit-note").inner_text() == "Shown and summed: the first 64 of 300 of i, 128 of 784 of k."
    press(panel, "End")
    assert said(panel).endswith("= 128") and panel.find(".kit-readings dd").last.inner_text() == "640 of 640"
    assert panel.find("figcaption").all_inner_texts() == ["a (300, 784)", "b (784, 10)", "c (300, 10)"]
    panel = stepper(stage, np.ones((300, 300)), np.ones((300, 300)), einsum="ik,jk->ij")
    press(panel, "End")
    note = "Shown and summed: the first 64 of 300 of i, 128 of 300 of k, 64 of 300 of j."
    assert panel.find(".kit-note").inner_text() == note and said(panel).endswith("= 128")


def test_rows_of_a_stand_beside_those_of_c_and_columns_of_b_above(stage):
    panel = stepper(stage)
    a, b, c = (array.over.bounding_box() for array in arrays(panel))
    assert a["y"] == pytest.approx(c["y"]) and a["height"] == c["height"]
    assert b["x"] == pytest.approx(c["x"]) and b["width"] == c["width"]
    assert b["y"] + b["height"] < c["y"] and a["x"] + a["width"] < c["x"]


@pytest.mark.parametrize("width", [420, 600, 1100])
def test_all_that_takes_focus_keeps_its_keys_and_nothing_leaves_the_page(stage, width):
    panel = stage(MatmulStepper(A, B, order="blocks"), viewport={"width": width, "height": 800})
    panel.find("input[type=text]").fill("bik,bkj->bij")
    panel.page.wait_for_timeout(100)
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) >= 13 and {kept for _, kept in focusable} == {"true"}
    assert panel.page.evaluate("beyondTheEdge()") == []


def test_assistive_technology_is_told_what_there_is(stage):
    panel = stepper(stage)
    press(panel, "ArrowRight")
    tree = panel.find(".kit-panel").aria_snapshot()
    for part in (
        'textbox "einsum": ik,kj->ij',
        'group "Order"',
        'button "row × column" [pressed]',
        'button "Play"',
        'application "a, shape 2 by 3; arrow keys go from cell to cell"',
        'slider "Multiply-adds done"',
        "status",
    ):
        assert part in tree
    assert panel.find("input[type=range]").get_attribute("aria-valuetext") == "1 of 24 multiply-adds"


def test_it_is_drawn_again_when_the_theme_changes(stage):
    panel = stage(MatmulStepper(A, B), color_scheme="light")
    array = arrays(panel)[0]
    light = array.pixels(array.base, (24, 24))[0, 0]
    panel.page.emulate_media(color_scheme="dark")
    panel.page.wait_for_timeout(200)
    dark = array.pixels(array.base, (24, 24))[0, 0]
    assert sum(light[:3]) > 600 and sum(dark[:3]) < 200


def test_two_views_share_the_step_and_a_removed_one_leaves_nothing_behind(stage):
    panel = stepper(stage)
    before = panel.page.evaluate("listening()")
    panel.open()
    press(panel, "End")
    expect(panel.find(".kit-formula", 1)).to_have_text(said(panel))
    panel.find(".kit-play", 1).click()
    panel.page.evaluate("views[1].remove()")
    assert panel.page.evaluate("listening()") == before
    at = panel.find("input[type=range]").input_value()
    panel.page.wait_for_timeout(700)
    assert panel.find("input[type=range]").input_value() == at  # its player went with it
    panel.page.evaluate("views[0].remove()")
    assert panel.page.evaluate("listening()") == 0


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    with opened(browser, offline=True) as (page, errors):
        page.goto(MatmulStepper(torch.tensor(A), torch.tensor(B)).export_html(tmp_path / "m.html").as_uri())
        page.locator("input[type=range]").focus()
        page.keyboard.press("End")
        expect(page.locator(".kit-formula")).to_contain_text(f"= {short((A @ B)[-1, -1])}")
        page.locator("input[type=text]").fill("ik->i")
        page.locator("input[type=range]").focus()
        page.keyboard.press("End")
        expect(page.locator(".kit-formula")).to_have_text("c[1] = 4 + 5 + (−6) = 3")
        assert errors == []
