"""The live guidance slider in Chromium, on a bare page: what it asks for, what it paints, what is said."""

import base64

import numpy as np
import pytest
from playwright.sync_api import expect

from kit.panels import GuidanceSlider
from kit.panels._pictures import as_picture, encode
from tests.browser.pages import opened
from tests.browser.stage import Stage
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

NO_ANSWER = "no answer: the kernel is busy, or there is none"


def shade(value):
    return np.full((3, 16, 16), value)


def live(draw=lambda prompt, seed, w: shade(w / 10), **settings):
    return GuidanceSlider.live(draw, **{"prompt": "a horse", "title": "Live", **settings})


def both(**settings):
    return live(
        {"2 steps": lambda prompt, seed, w: shade(0.2), "4 steps": lambda prompt, seed, w: shade(0.4)}, **settings
    )


class Live(Stage):
    """A stage, and a kernel's answers."""

    @property
    def dial(self):
        return self.find(".kit-dial")

    def at(self, w):
        """Where on the page the dial's place for w is."""
        box = self.dial.bounding_box()
        return box["x"] + (w - 1) / 7 * box["width"], box["y"] + 16

    def press(self, key, times):
        """A key so often, a frame each."""
        for _ in range(times):
            self.page.keyboard.press(key)
            self.rest()

    def now(self):
        self.rest()
        return float(self.dial.get_attribute("aria-valuenow"))

    @property
    def wanted(self):
        """The wishes sent to the kernel, oldest first."""
        self.rest()
        return [entry["content"] for entry in self.log() if entry["kind"] == "send"]

    def answer(self, wish, value, rung="", ms=30.0):
        """Deliver the picture of a wish as the kernel does; how many wishes were sent by then, in the same call."""
        coded = base64.b64encode(encode(as_picture(shade(value), "picture"))).decode()
        content = {**wish, "kind": "picture", "rung": rung, "ms": ms, "base64": coded}
        deliver = "content => { kernel.say(content); return log.filter(entry => entry.kind === 'send').length; }"
        return self.page.evaluate(deliver, content)

    def grey(self, number=0):
        read = "canvas => colourAt(canvas, 0.5)[0]"
        return self.find(".kit-frame canvas").nth(number).evaluate(read)

    def shows(self, value, number=0):
        for _ in range(100):
            if self.grey(number) == round(255 * value):
                return True
            self.page.wait_for_timeout(20)
        raise AssertionError(f"picture {number} is {self.grey(number)}, wanted {round(255 * value)}")

    def set(self, name, value):
        self.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


@pytest.fixture
def stage(staged):
    return staged(Live)


def drawn(**settings):
    """A panel that has drawn what it opens on."""
    panel = live(**settings)
    panel.draw()
    panel.wait(5)
    return panel


# What is asked for


def test_it_asks_for_its_first_picture_and_not_when_it_has_one(stage):
    fresh = stage(live(seed=3, w=2.5))
    assert fresh.wanted == [{"kind": "want", "n": 1, "prompt": "a horse", "seed": 3, "w": 2.5}]
    again = stage(drawn(w=5.0))
    assert again.wanted == [] and again.shows(0.5)


def test_moves_in_one_frame_are_one_wish_the_last(stage):
    panel = stage(drawn())
    panel.page.evaluate("""() => {
      const dial = document.querySelector(".kit-dial"), box = dial.getBoundingClientRect();
      dial.setPointerCapture = () => {};  // no pointer is really down
      const at = (type, share) => dial.dispatchEvent(new PointerEvent(type, { bubbles: true,
        clientX: box.left + share * box.width, clientY: box.top + 16 }));
      at("pointerdown", 0);
      for (let i = 1; i <= 10; i++) at("pointermove", i / 10);
    }""")
    assert [wish["w"] for wish in panel.wanted] == [8]


def test_at_most_two_are_asked_for_unanswered_and_an_answer_asks_for_the_newest(stage):
    panel = stage(drawn())
    panel.dial.focus()
    panel.press("ArrowRight", 10)
    wishes = panel.wanted
    assert [wish["n"] for wish in wishes] == [1, 2] and panel.now() == 5
    panel.answer(wishes[0], 0.1)
    assert [wish["n"] for wish in panel.wanted] == [1, 2, 3] and panel.wanted[-1]["w"] == 5
    panel.answer(panel.wanted[2], 0.2)  # answers the second, too
    panel.press("ArrowLeft", 10)
    assert [wish["n"] for wish in panel.wanted] == [1, 2, 3, 4, 5]


def test_an_answer_asks_at_once_and_waits_for_no_frame(stage):
    panel = stage(drawn())
    panel.dial.focus()
    panel.press("ArrowRight", 4)
    assert panel.answer(panel.wanted[0], 0.1) == 3  # two had been under way before


def test_an_end_without_a_picture_is_an_answer(stage):
    panel = stage(drawn())
    panel.dial.focus()
    panel.press("ArrowRight", 6)
    assert len(panel.wanted) == 2
    panel.page.evaluate("kernel.say({ kind: 'ended' })")
    assert len(panel.wanted) == 3


def test_the_kernel_may_choose_and_the_hand_is_not_moved_by_it(stage):
    panel = stage(drawn())
    for name, value in [("w", 3), ("prompt", "a cow"), ("seed", 9)]:
        panel.set(name, value)
    assert panel.now() == 3 and panel.wanted == []
    expect(panel.find(".kit-prompt")).to_have_value("a cow")
    expect(panel.find("input[aria-label=Seed]")).to_have_value("9")
    panel.page.mouse.move(*panel.at(6))
    panel.page.mouse.down()
    panel.set("w", 2)
    assert abs(panel.now() - 6) < 0.06


def test_traits_follow_when_the_hand_lets_go(stage):
    panel = stage(drawn())
    panel.page.mouse.move(*panel.at(3))
    panel.page.mouse.down()
    panel.page.mouse.move(*panel.at(7), steps=8)
    panel.rest()
    assert panel.saved("w") == []
    panel.page.mouse.up()
    assert panel.saved("w") == [panel.now()]
    panel.answer(panel.wanted[-1], 0.5)
    prompt = panel.find(".kit-prompt")
    prompt.press("End")
    prompt.press_sequentially("s")
    assert panel.wanted[-1]["prompt"] == "a horses" and panel.saved("prompt") == []
    prompt.press("Enter")
    assert panel.saved("prompt") == ["a horses"]


def test_the_seed_is_typed_counted_or_another(stage):
    panel = stage(drawn())
    seed = panel.find("input[aria-label=Seed]")
    seed.fill("12")
    assert panel.wanted[-1]["seed"] == 12
    seed.press("ArrowUp")
    seed.press("Shift+ArrowUp")
    panel.answer(panel.wanted[-1], 0.1)
    expect(seed).to_have_value("23")
    assert panel.wanted[-1]["seed"] == 23 and panel.saved("seed")[-1] == 23
    for bad in ("-1", "1.5", "x", "2147483648", ""):
        seed.fill(bad)
        expect(panel.find(".kit-wrong")).to_have_text(
            f"Seed: got {bad or 'nothing'}, wanted a whole number from 0 to 2147483647"
        )
    assert panel.wanted[-1]["seed"] == 23
    panel.find(".kit-button").click()
    expect(seed).to_have_value(str(panel.wanted[-1]["seed"]))
    expect(panel.find(".kit-wrong")).to_be_empty()


def test_w_is_typed_and_what_is_outside_the_range_is_refused(stage):
    panel = stage(drawn(w_range=(0.5, 6.0)))
    w = panel.find("input[aria-label=w]")
    w.fill("2,25")
    w.press("Enter")
    assert panel.wanted[-1]["w"] == 2.25 and panel.saved("w") == [2.25]
    w.fill("7")
    w.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text("w: got 7, wanted a number from 0.5 to 6")
    assert panel.now() == 2.25


@pytest.mark.parametrize(
    ("w_range", "marks"),
    [
        ((1, 8), "1 2 3 4 5 6 7 8"),
        ((0, 1), "0 0.2 0.4 0.6 0.8 1"),
        ((-2, 20), "0 5 10 15 20"),
        ((1.5, 2.5), "1.6 1.8 2 2.2 2.4"),
    ],
)
def test_the_scale_has_round_marks_over_the_whole_range(stage, w_range, marks):
    low, high = w_range
    panel = stage(drawn(w=low, w_range=w_range))
    texts = panel.find(".kit-scale span").all_inner_texts()
    assert texts == marks.split()
    panel.dial.focus()
    panel.page.keyboard.press("End")
    assert panel.now() == high
    panel.page.keyboard.press("Home")
    assert panel.now() == low
    lefts = panel.find(".kit-scale i").evaluate_all("all => all.map(i => parseFloat(i.style.left))")
    np.testing.assert_allclose(lefts, [100 * (float(mark) - low) / (high - low) for mark in texts], atol=1e-3)


# What is painted and said


def test_a_picture_is_painted_with_what_it_was_drawn_for(stage):
    panel = stage(both())
    [wish] = panel.wanted
    panel.answer(wish, 0.3, "2 steps", 31.4)
    panel.answer(wish, 0.6, "4 steps", 58.0)
    assert panel.shows(0.3, 0) and panel.shows(0.6, 1)
    assert panel.find("figcaption").all_inner_texts() == ["2 steps\nw = 4, 31 ms", "4 steps\nw = 4, 58 ms"]
    labels = [canvas.get_attribute("aria-label") for canvas in panel.find(".kit-frame canvas").all()]
    assert labels == [f"{steps} steps: a horse, seed 0, w 4" for steps in (2, 4)]
    expect(panel.find("dd").last).to_have_text("31 ms and 58 ms")


def test_a_picture_that_is_decoded_late_does_not_replace_a_later_one(stage):
    panel = stage(drawn())
    panel.page.evaluate("""() => {
      const make = createImageBitmap;
      let slow = true;
      window.createImageBitmap = async blob => {
        if (slow) { slow = false; await new Promise(done => setTimeout(done, 300)); }
        return make(blob);
      };
    }""")
    wish = {"prompt": "a horse", "seed": 0, "w": 2.0, "n": 0}
    panel.answer(wish, 0.9)
    panel.answer({**wish, "w": 3.0}, 0.3)
    assert panel.shows(0.3)
    panel.page.wait_for_timeout(500)
    assert panel.shows(0.3) and panel.page.evaluate("alive()") == 1


def test_readings_change_a_few_times_a_second_however_fast_pictures_come(stage):
    panel = stage(drawn())
    panel.page.evaluate("""() => {
      window.changes = 0;
      new MutationObserver(records => { window.changes += records.length > 0; })
        .observe(document.querySelector(".kit-readings div:last-child dd"),
          { childList: true, characterData: true, subtree: true });
    }""")
    begun = panel.page.evaluate("performance.now()")
    wish = {"prompt": "a horse", "seed": 0, "w": 4.0, "n": 0}
    for n in range(30):
        panel.answer(wish, n / 30, ms=100.0 + n)
        panel.rest()
    seconds = (panel.page.evaluate("performance.now()") - begun) / 1000
    expect(panel.find(".kit-readings div:last-child dd")).to_have_text("129 ms")  # the last is not swallowed
    assert 1 <= panel.page.evaluate("window.changes") <= 4 * seconds + 2
    assert 4 * seconds + 2 < 30, "pictures came too slowly to tell"


def test_the_time_from_the_hand_to_the_eye_and_the_rate_are_measured(stage):
    panel = stage(drawn())
    panel.dial.focus()
    for n in range(1, 9):
        panel.page.keyboard.press("ArrowRight")
        panel.rest()
        panel.page.wait_for_timeout(100)
        panel.answer(panel.wanted[-1], n / 10)
        panel.shows(n / 10)
    panel.page.wait_for_timeout(400)
    timing = panel.page.evaluate("log.filter(entry => entry.state?._timing).at(-1).state._timing")
    assert timing["pictures"] == 8 and 100 <= timing["p50_ms"] <= timing["p95_ms"] < 2000
    assert 1 < timing["per_second"] < 10
    assert panel.reading("pictures a second") == f"{timing['per_second']:.1f}"


def test_the_wait_for_the_hand_is_not_counted_into_the_rate(stage):
    panel = stage(live())
    panel.answer(panel.wanted[0], 0.1)
    assert panel.shows(0.1)
    panel.page.wait_for_timeout(2000)
    panel.dial.focus()
    for n in range(1, 4):
        panel.page.keyboard.press("ArrowRight")
        panel.answer(panel.wanted[-1], n / 5)
        assert panel.shows(n / 5)
    panel.page.wait_for_timeout(400)
    timing = panel.page.evaluate("log.filter(entry => entry.state?._timing).at(-1).state._timing")
    assert timing["pictures"] == 3 and timing["per_second"] > 2


def test_silence_is_told_after_three_seconds_and_an_answer_takes_it_back(stage):
    panel = stage(live())
    expect(panel.find(".kit-state")).to_have_text("")
    panel.page.wait_for_timeout(3200)
    expect(panel.find(".kit-state")).to_have_text(NO_ANSWER)
    panel.dial.focus()
    panel.press("ArrowRight", 6)
    assert [wish["n"] for wish in panel.wanted] == [1, 2, 3]
    panel.answer(panel.wanted[0], 0.4)
    expect(panel.find(".kit-state")).to_have_text("")


def test_a_slow_model_is_not_called_silent(stage):
    panel = stage(live())
    panel.set("status", "running")
    panel.page.wait_for_timeout(3200)
    expect(panel.find(".kit-state")).to_have_text("still drawing")


def test_an_error_stands_below_and_moves_nothing(stage):
    panel = stage(drawn())
    places = "() => [...document.querySelectorAll('.kit-panel :is(figure, dt, input, .kit-dial)')]" \
             ".map(el => el.getBoundingClientRect()).map(({ x, y, height }) => [x, y, height]).join()"  # fmt: skip
    panel.find(".kit-prompt").fill("a gryphon")
    panel.rest()
    before = panel.page.evaluate(places)
    panel.set("error", "ValueError: no word: gryphon")
    panel.set("traceback", "Traceback ...")
    expect(panel.find(".kit-error strong")).to_have_text("ValueError: no word: gryphon")
    expect(panel.find(".kit-frame")).to_have_class("kit-frame kit-stale")
    assert panel.page.evaluate(places) == before
    panel.set("error", "")
    expect(panel.find(".kit-error")).to_be_hidden()
    expect(panel.find(".kit-frame")).to_have_class("kit-frame")


# The eye, the end


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    panel = stage(drawn())
    panel.set("traceback", "Traceback ...")
    panel.set("error", "no")
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) == 3 + 1 + 1 + 2  # fields, button, dial, the traceback and its summary
    assert {value for _, value in focusable} == {"true"}


def test_assistive_technology_is_told_what_there_is(stage):
    tree = stage(drawn(), viewport={"width": 900, "height": 900}).find(".kit-panel").aria_snapshot()
    for words in ('textbox "Prompt"', 'textbox "Seed"', 'button "Another"', 'textbox "w"', 'slider "Guidance w"',
                  'img "a horse, seed 0, w 4"'):  # fmt: skip
        assert words in tree


@pytest.mark.parametrize("width", [320, 600, 1100, 1600])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_fits_any_width(stage, width, count):
    draws = {f"{2**k} steps": lambda prompt, seed, w: shade(0.5) for k in range(count)}
    made = live(draws)
    made.draw()
    made.wait(5)
    panel = stage(made, viewport={"width": width, "height": 900}, device_scale_factor=2)
    panel.shows(0.5)
    assert panel.page.evaluate("beyondTheEdge()") == []
    assert panel.find(".kit-frame").first.bounding_box()["width"] >= 130


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    panel = stage(both(), color_scheme=scheme)
    panel.answer(panel.wanted[0], 0.3, "2 steps")
    panel.set("error", "no")
    panel.find("input[aria-label=Seed]").fill("x")
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    texts = "figcaption strong, .kit-said, label, input, .kit-numbers span, .kit-scale span, .kit-scale em, dt, dd, "
    for selector in f"{texts}.kit-button, .kit-wrong, .kit-error strong".split(", "):
        ink = luminance(panel.find(selector).first.evaluate("el => getComputedStyle(el).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.4, selector


def test_two_views_move_together_and_an_ended_one_listens_no_more(stage):
    panel = stage(drawn())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.mouse.click(*panel.at(7))
    expect(panel.find(".kit-dial", second)).to_have_attribute("aria-valuenow", str(panel.now()).removesuffix(".0"))
    assert len(panel.wanted) == 1
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone


def test_bitmaps_end_with_the_model(stage):
    panel = stage(drawn())
    panel.shows(0.4)
    for value in (0.1, 0.2, 0.3):
        panel.answer({"prompt": "", "seed": 0, "w": 1.0, "n": 0}, value)
        panel.shows(value)
    assert panel.page.evaluate("alive()") == 1
    panel.page.evaluate("end()")
    assert panel.page.evaluate("alive()") == 0


def test_the_exported_page_says_that_there_is_no_kernel_and_shows_the_last_pictures(browser, tmp_path):
    path = live(w=5.0, title="</script><b>w</b>").export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(path.as_uri())
        expect(page.locator(".kit-state")).to_have_text("no kernel behind this page: the last pictures")
        expect(page.locator(".kit-said")).to_contain_text("w = 5")
        assert (
            page.locator(".kit-frame canvas").evaluate("c => c.getContext('2d').getImageData(1, 1, 1, 1).data[0]")
            == 128
        )
        page.locator(".kit-dial").focus()
        page.keyboard.press("End")
        expect(page.locator(".kit-dial")).to_have_attribute("aria-valuenow", "8")
        page.wait_for_timeout(3300)
        expect(page.locator(".kit-state")).to_have_text("no kernel behind this page: the last pictures")
        assert page.locator(".kit-title").inner_text() == "</script><b>w</b>" and errors == []
