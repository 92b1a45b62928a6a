"""The ladder and its toy in Chromium, on a bare page: what lies over what, what is lit, the mathematics."""

import re
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from kit.diffusion.distill import cosine, path
from kit.panels import DistillationLadder
from kit.panels._panel import source
from tests.browser.pages import opened
from tests.browser.stage import Stage
from tests.browser.test_noise import luminance
from tests.panels.test_ladder import LEVELS, MIXTURES, Exact, lesson, rungs

pytestmark = pytest.mark.browser

SHADES = {n: 0.11 * i for i, n in enumerate((8, 4, 2, 1), 1)}


def value(n, t):
    """A shade of its own for each state."""
    return SHADES[n] + 0.5 * (t + 1) / 1000


def ladder(**settings):
    lessons = {(1, 2): lesson(0.5, 0.5 + 20 / 255, 0.0784), (3, 0): lesson(0.2, 0.2, 0.0)}
    settings = {"lessons": lessons, "title": "Ladder", **settings}
    return DistillationLadder(rungs(8, 4, 2, 1, value=value), **settings)


class Ladder(Stage):
    """A stage, and the parts of this panel."""

    def step(self, rung, step, view=0):
        """The button of a student's step."""
        before = sum(len(LEVELS[n]) - 1 for n in (4, 2, 1)[: rung - 1])
        return self.find("button.kit-arc", view).nth(before + step)

    def choose(self, rung, step):
        self.step(rung, step).click()
        self.rest()

    def grey(self, selector, number=0):
        return self.find(f"{selector} canvas").nth(number).evaluate("canvas => colourAt(canvas, 0.5)[0]")

    def thumb(self, rung, state):
        before = sum(len(LEVELS[n]) for n in (8, 4, 2, 1)[:rung])
        return self.find(".kit-thumb").nth(before + state)

    def middle(self, locator):
        box = locator.bounding_box()
        return box["x"] + box["width"] / 2

    def set(self, name, value):
        self.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


@pytest.fixture
def stage(browser):
    """stage(panel, **context settings): the panel on a bare page whose console must stay silent."""
    with ExitStack() as pages:
        seen = []

        def put(panel, **settings):
            settings = {"viewport": {"width": 1000, "height": 1200}, **settings}
            page, errors = pages.enter_context(opened(browser, **settings))
            seen.append(errors)
            shown = Ladder(page, panel)
            page.wait_for_function("document.querySelector('.kit-sentence, .kit-read').textContent")
            return shown

        yield put
        assert not any(seen)


# The ladder


@pytest.mark.parametrize("width", [600, 1100])
def test_a_students_step_lies_over_exactly_two_of_the_rung_above(stage, width):
    panel = stage(ladder(), viewport={"width": width, "height": 1200})
    for rung in (1, 2, 3):
        n = (8, 4, 2, 1)[rung]
        for step in range(n):
            box = panel.step(rung, step).bounding_box()
            start, middle, end = (panel.middle(panel.thumb(rung - 1, 2 * step + k)) for k in range(3))
            assert abs(box["x"] - start) < 1 and abs(box["x"] + box["width"] - end) < 1
            assert start < middle < end
            own = [panel.middle(panel.thumb(rung, step + k)) for k in (0, 1)]
            np.testing.assert_allclose(own, [start, end], atol=0.6)


def test_every_thumbnail_is_its_state(stage):
    panel = stage(ladder())
    for rung, n in enumerate((8, 4, 2, 1)):
        for state, t in enumerate(LEVELS[n]):
            got = panel.thumb(rung, state).evaluate("canvas => colourAt(canvas, 0.5)[0]")
            assert got == round(255 * value(n, t)), (n, t)


def lit(panel):
    """The steps that are lit, [(rung, step)], and those above them."""
    read = """() => ["kit-lit", "kit-under"].map(name => [...document.querySelectorAll(".kit-arc")].flatMap((arc, at) =>
      arc.classList.contains(name) ? [at] : []))"""
    panel.rest()
    places = [(rung, step) for rung, n in enumerate((8, 4, 2, 1)) for step in range(n)]
    return [[places[at] for at in found] for found in panel.page.evaluate(read)]


def test_a_chosen_step_and_the_two_above_are_lit_and_compared(stage):
    panel = stage(ladder())
    assert lit(panel) == [[(1, 0)], [(0, 0), (0, 1)]]
    panel.choose(2, 1)
    assert lit(panel) == [[(2, 1)], [(1, 2), (1, 3)]] and panel.saved("at") == [[2, 1]]
    greys = [panel.grey(".kit-steps figure", number) for number in (0, 1, 2, 4, 5)]
    assert greys == [round(255 * value(n, t)) for n, t in [(4, 499), (4, 249), (4, -1), (2, 499), (2, -1)]]
    texts = panel.find(".kit-steps figcaption").all_inner_texts()
    assert [text.replace("\n", ", ") for text in texts] == [
        "4 steps, t = 499", "4 steps, t = 249", "4 steps, clean", "below − above, × 8; grey: none",
        "2 steps, t = 499", "2 steps, clean"]  # fmt: skip
    expect(panel.find(".kit-sentence")).to_have_text(
        "“2 steps”, step 2 of 2, goes from t = 499 to the clean end at once; "
        "“4 steps” takes two steps, by way of t = 249."
    )


def test_the_difference_is_what_it_says(stage):
    panel = stage(ladder())
    panel.choose(2, 1)
    differs = round(255 * value(2, -1)) - round(255 * value(4, -1))
    assert abs(panel.grey(".kit-difference") - (127.5 + 8 / 2 * differs)) <= 1
    rms = panel.find(".kit-measures dd").all_inner_texts()
    before = abs(round(255 * value(2, 499)) - round(255 * value(4, 499))) / 255
    assert rms == [f"{abs(differs) / 255:.4f} RMS", f"{before:.4f} RMS"]
    panel.choose(2, 0)
    expect(panel.find(".kit-measures dd").last).to_have_text("the same noise")


def test_a_hovered_step_is_shown_until_the_hand_leaves(stage):
    panel = stage(ladder())
    panel.step(1, 2).hover()
    assert lit(panel) == [[(1, 2)], [(0, 4), (0, 5)]] and panel.log() == []
    panel.page.mouse.move(5, 5)
    assert lit(panel) == [[(1, 0)], [(0, 0), (0, 1)]]


def test_keys_go_along_a_rung_and_between_rungs(stage):
    panel = stage(ladder())
    panel.step(1, 0).focus()
    steps = [
        ("ArrowRight", [1, 1]),
        ("End", [1, 3]),
        ("ArrowRight", [1, 3]),
        ("ArrowDown", [2, 1]),
        ("ArrowUp", [1, 2]),
    ]
    steps += [
        ("ArrowUp", [1, 2]),
        ("ArrowDown", [2, 1]),
        ("ArrowDown", [3, 0]),
        ("ArrowDown", [3, 0]),
        ("ArrowUp", [2, 0]),
    ]
    steps += [("ArrowUp", [1, 0]), ("ArrowLeft", [1, 0]), ("End", [1, 3]), ("Home", [1, 0])]
    for key, at in steps:
        panel.page.keyboard.press(key)
        assert lit(panel)[0] == [tuple(at)], (key, at)
        expect(panel.step(*at)).to_be_focused()
        expect(panel.step(*at)).to_have_attribute("aria-pressed", "true")
    assert panel.page.evaluate("document.querySelectorAll('.kit-arc[tabindex=\"0\"]').length") == 1


def test_a_lesson_is_shown_where_there_is_one(stage):
    panel = stage(ladder())
    expect(panel.find(".kit-lesson h4")).to_have_text("No lesson was kept of this step")
    panel.choose(1, 2)
    expect(panel.find(".kit-lesson h4")).to_have_text("What the student was taught here, and what it says")
    assert panel.find(".kit-lesson figcaption span").last.inner_text() == "× 8; residual 0.0784"
    got = [panel.grey(".kit-lesson", number) for number in range(3)]
    assert got[:2] == [128, 148] and abs(got[2] - (127.5 + 8 / 2 * 20)) <= 1
    panel.choose(3, 0)
    assert panel.find(".kit-lesson figcaption span").last.inner_text() == "× 8; residual 0.00"
    assert panel.grey(".kit-lesson", 0) == 51 and abs(panel.grey(".kit-lesson", 2) - 127.5) <= 1
    without = stage(ladder(lessons=None))
    expect(without.find(".kit-lesson")).to_be_hidden()


def test_the_kernel_may_choose_and_two_views_agree(stage):
    panel = stage(ladder())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.set("at", [3, 0])
    for view in (0, second):
        expect(panel.step(3, 0, view)).to_have_attribute("aria-pressed", "true")
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    panel.page.evaluate("end()")
    panel.page.wait_for_timeout(50)
    assert panel.page.evaluate("alive()") == 0


@pytest.mark.parametrize("width", [320, 600, 1100, 1600])
def test_it_fits_any_width(stage, width):
    for made in (ladder(), DistillationLadder.toy()):
        panel = stage(made, viewport={"width": width, "height": 1200})
        assert panel.page.evaluate("beyondTheEdge()") == []


def test_nothing_moves_while_steps_are_chosen(stage):
    panel = stage(ladder())
    places = "() => [...document.querySelectorAll('.kit-panel :is(figure, section, dt, .kit-thumb)')]" \
             ".map(el => el.getBoundingClientRect()).map(({ x, y, height }) => [x, y, height]).join()"  # fmt: skip
    layouts = set()
    for at in [(1, 0), (1, 2), (2, 1), (3, 0)]:
        panel.step(*at).hover()
        panel.rest()
        layouts.add(panel.page.evaluate(places))
    assert len(layouts) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    texts = ".kit-state, .kit-rung strong, .kit-rung span, .kit-axis span, .kit-sentence, figcaption strong, "
    texts += "figcaption span, .kit-jump, dt, dd, .kit-lesson h4"
    toys = ".kit-state, .kit-ddim strong, .kit-student strong, dt, dd, .kit-axis span, .kit-row > span, .kit-note, "
    toys += ".kit-read, .kit-scale span, .kit-scale em"
    for made, names in ((ladder(), texts), (DistillationLadder.toy(), toys)):
        panel = stage(made, color_scheme=scheme)
        ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
        assert ground > 0.9 if scheme == "light" else ground < 0.05
        for selector in names.split(", "):
            ink = luminance(panel.find(selector).first.evaluate("el => getComputedStyle(el).color"))
            assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.4, selector


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    for made, count in ((ladder(), 1), (DistillationLadder.toy(), 2)):
        focusable = stage(made).page.evaluate("focusable()")
        assert len(focusable) == count and {value for _, value in focusable} == {"true"}


def test_assistive_technology_is_told_what_there_is(stage):
    tree = stage(ladder()).find(".kit-panel").aria_snapshot()
    for words in ('group "Steps of the students"', 'button "4 steps: step 1 of 4, t = 999 to t = 749" [pressed]',
                  'button "1 steps: step 1 of 1, t = 999 to the clean end"', 'img "8 steps, t = 874"',
                  'img "below − above, × 8; grey: none"'):  # fmt: skip
        assert words in tree
    tree = stage(DistillationLadder.toy()).find(".kit-panel").aria_snapshot()
    for words in ('slider "Steps N"', 'slider "Start"', 'img "DDIM, 4 steps: from 0.09 it ends at'):
        assert words in tree


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    path = ladder(title="</script><b>L</b>").export_html(tmp_path / "page.html")
    with opened(browser, offline=True, viewport={"width": 900, "height": 1200}) as (page, errors):
        page.goto(path.as_uri())
        page.locator("button.kit-arc").nth(5).click()
        expect(page.locator(".kit-sentence")).to_contain_text("“2 steps”, step 2 of 2")
        assert page.locator(".kit-title").inner_text() == "</script><b>L</b>" and errors == []


# The toy


MODULE = """async ([text, mixture, starts, counts]) => {
  const whole = text + "\\nexport { path, w1 };";
  const { path, w1 } = await import(URL.createObjectURL(new Blob([whole], { type: "text/javascript" })));
  const walked = steps => starts.map(z => path(z, steps, mixture));
  const exact = walked(256).map(states => states.at(-1));
  return counts.map(steps => {
    const paths = walked(steps);
    return [paths, w1(paths.map(states => states.at(-1)), exact)];
  });
}"""


@pytest.mark.parametrize("name", MIXTURES)
def test_the_browsers_paths_are_those_of_the_kits_sampler_with_the_exact_denoiser(browser, name):
    means, stds, weights = MIXTURES[name]
    starts, counts = np.linspace(-2.5, 2.5, 9), [1, 2, 8, 64, 256]
    mixture = {"means": means, "stds": stds, "weights": [w / sum(weights) for w in weights]}
    with opened(browser) as (page, errors):
        text = source("_draw.js", "_dial.js", "phase.js")
        got = page.evaluate(MODULE, [text, mixture, starts.tolist(), counts])
        assert errors == []
    network, z = Exact(means, stds, weights), torch.tensor(starts).view(-1, 1, 1, 1)
    ends = {}
    for steps, (paths, _) in zip(counts, got, strict=True):
        states = torch.stack([state.x.flatten() for state in path(network, cosine(steps), z)], 1)
        np.testing.assert_allclose(paths, states, atol=1e-5)
        ends[steps] = np.sort(states[:, -1])
    for steps, (_, apart) in zip(counts, got, strict=True):
        assert abs(apart - np.abs(ends[steps] - ends[256]).mean()) < 1e-5


def toy(**settings):
    return DistillationLadder.toy(**{"title": "Toy", **settings})


def points(d):
    """[(x, y)] of each line of a path."""
    lines = [re.findall(r"([-\d.]+) ([-\d.]+)", line) for line in d.split("M")[1:]]
    return [np.array(line, dtype=float) for line in lines]


def test_the_numbers_shown_are_pythons(stage):
    made = toy()
    panel = stage(made)
    for steps in (4, 16, 1):
        panel.set("steps", steps)
        expect(panel.find(".kit-ddim strong")).to_have_text(f"DDIM, {steps} step{'s' if steps > 1 else ''}")
        shown = panel.find(".kit-ddim dd").inner_text()
        assert abs(float(shown) - made.w1(steps)) < 0.006 * made.w1(steps)
        expect(panel.find(".kit-student dd")).to_have_text("0")
    words = [float(text) for text in panel.find(".kit-scale em").all_inner_texts()]
    np.testing.assert_allclose(words, [made.w1(2**k) for k in range(7)], rtol=0.06)


def test_forty_starts_are_drawn_and_the_students_jumps_land_on_the_exact_path(stage):
    panel = stage(toy(steps=4))
    exact = points(panel.find(".kit-student .kit-exact").get_attribute("d"))
    jumps = points(panel.find(".kit-student .kit-paths").get_attribute("d"))
    ddim = points(panel.find(".kit-ddim .kit-paths").get_attribute("d"))
    assert len(exact) == len(jumps) == len(ddim) == 40 and {len(line) for line in jumps} == {5}
    for line, jump, other in zip(exact, jumps, ddim, strict=True):
        np.testing.assert_allclose(jump, line[:: (len(line) - 1) // 4], atol=0.11)
        np.testing.assert_allclose(other[0], line[0], atol=0.11)
    assert np.abs(np.array(ddim)[:, -1] - np.array(exact)[:, -1]).max() > 3  # of the plot's pixels


def test_ddims_lines_are_where_python_says(stage):
    made = toy(steps=8)
    panel = stage(made)
    lines = np.array(points(panel.find(".kit-ddim .kit-paths").get_attribute("d")))
    states = made.path(8)[:, 5::10].T
    y = lines[..., 1]
    scale, offset = np.polyfit(states.ravel(), y.ravel(), 1)
    np.testing.assert_allclose(y, scale * states + offset, atol=0.11)
    assert scale < 0  # up is more


def test_the_density_of_the_data_stands_at_its_end(stage):
    made = toy()
    panel = stage(made)
    [outline] = points(panel.find(".kit-ddim .kit-data").get_attribute("d"))
    lines = np.array(points(panel.find(".kit-ddim .kit-exact").get_attribute("d")))
    scale, offset = np.polyfit(lines[:, 0, 1], np.array(made.starts)[5::10], 1)
    x, y = outline[1:-1, 0] - outline[0, 0], scale * outline[1:-1, 1] + offset
    means, stds = np.array(made.mixture["means"]), np.array(made.mixture["stds"])
    density = (0.5 / stds * np.exp(-((y[:, None] - means) ** 2) / (2 * stds**2))).sum(1)
    np.testing.assert_allclose(x / x.max(), density / density.max(), atol=0.02)


def test_the_dial_goes_by_powers_of_two_and_tells_the_kernel(stage):
    panel = stage(toy())
    dial = panel.find(".kit-dial").first
    dial.focus()
    for key, steps in [
        ("ArrowRight", 8),
        ("ArrowLeft", 4),
        ("ArrowLeft", 2),
        ("End", 64),
        ("Home", 1),
        ("ArrowLeft", 1),
    ]:
        panel.page.keyboard.press(key)
        expect(dial).to_have_attribute("aria-valuenow", str(steps))
    assert panel.saved("steps")[-1] == 1
    box = dial.bounding_box()
    panel.page.mouse.click(box["x"] + 5 / 6 * box["width"] + 7, box["y"] + 16)
    expect(dial).to_have_attribute("aria-valuenow", "32")


def test_the_pointer_picks_the_nearest_start(stage):
    made = toy()
    panel = stage(made)
    svg = panel.find(".kit-ddim svg")
    lines = points(panel.find(".kit-ddim .kit-exact").get_attribute("d"))
    for number in (3, 36):
        x, y = lines[number][len(lines[number]) // 2]
        svg.click(position={"x": float(x), "y": float(y)})
        panel.rest()
        assert panel.saved("start")[-1] == number
        expect(panel.find(".kit-read")).to_contain_text(
            f"From x = {made.starts[5 + 10 * number]:.2f}".replace("-", "−")
        )
        ends = [f"{made.path(n)[-1][5 + 10 * number]:.2f}".replace("-", "−") for n in (4, 256)]
        expect(panel.find(".kit-read")).to_contain_text(
            f"DDIM ends at {ends[0]}, the student and the exact flow at {ends[1]}."
        )


def test_the_toys_exported_page_computes_without_a_kernel(browser, tmp_path):
    path = toy().export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(path.as_uri())
        dial = page.locator(".kit-dial").first
        dial.focus()
        page.keyboard.press("End")
        expect(page.locator(".kit-ddim strong")).to_have_text("DDIM, 64 steps")
        assert errors == []
