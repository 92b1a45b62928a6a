"""The guidance slider in Chromium, on a bare page without a kernel: what the hand does, what the eye sees."""

import base64

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from kit.diffusion import combine
from kit.panels import GuidanceSlider
from kit.panels._panel import source
from kit.panels._pictures import as_picture, encode
from kit.panels.guidance import VARIANTS
from tests.browser.pages import opened
from tests.browser.stage import Stage, pixels
from tests.browser.test_noise import luminance

pytestmark = pytest.mark.browser

SHAPE, STEPS = (4, 8, 8), [900, 500, 100]
RGB = (np.random.default_rng(1).normal(size=(3, 4)) * 0.1, [0.5, 0.45, 0.55])
KNEE = 0.36  # of the slider's length lies below w = 2


def slider(samples=(), seed=0, **settings):
    """A slider over random predictions at t = 900, 500 and 100, open on 500."""
    rng = np.random.default_rng(seed)
    x, u, c, negative = rng.normal(size=(4, 3, *SHAPE)).astype(np.float32)
    given = {w: np.full((3, 16, 16), abs(w) / 20) for w in samples}
    settings = {"negative": negative, "sample": lambda w: None, "title": "Guidance of a test", **settings}
    return GuidanceSlider(x, u, 0.3 * c + u, STEPS, [0.3, 0.6, 0.9], RGB, samples=given, **settings)


class Slider(Stage):
    """A stage, and the places and pictures of this panel."""

    def __init__(self, page, panel):
        super().__init__(page, panel)
        self.panel = panel

    @property
    def dial(self):
        return self.find(".kit-card > .kit-dial")

    def at(self, w, scale="w"):
        """Where on the page the slider's place for a value is."""
        box = self.dial.bounding_box()
        share = w if scale == "g" else (w + 2) / 4 * KNEE if w <= 2 else KNEE + (w - 2) / 18 * (1 - KNEE)
        return box["x"] + share * box["width"], box["y"] + 16

    def now(self):
        self.rest()
        return float(self.dial.get_attribute("aria-valuenow"))

    def image(self, number=0):
        """The bytes of a figure's canvas, (h, w, 3)."""
        return pixels(self.find(".kit-frame canvas").nth(number))[..., :3].astype(int)

    def previews(self, negative=False):
        """Wait until a preview is what Python says it is, within a grey level."""
        want = np.rint(self.panel.preview(negative).clip(0, 1) * 255)
        for _ in range(50):
            if (away := np.abs(self.image(int(negative)) - want).max()) <= 1:
                return True
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the preview is {away} grey levels away")

    def caption(self, number=-1):
        return self.find("figcaption").all()[number].inner_text().split("\n")

    def say(self, kind, key, picture, **content):
        """Deliver a picture as the kernel does."""
        coded = base64.b64encode(encode(as_picture(np.full((3, 16, 16), picture), "picture"))).decode()
        self.page.evaluate("c => kernel.say(c)", {"kind": kind, "key": key, "base64": coded, **content})

    def set(self, name, value):
        self.page.evaluate("([name, value]) => kernel.set(name, value)", [name, value])


@pytest.fixture
def stage(staged):
    return staged(Slider)


# The mathematics in the browser


MODULE = """async ([text, u, c, cases]) => {
  const whole = text + "\\nexport { products, effect };";
  const { products, effect } = await import(URL.createObjectURL(new Blob([whole], { type: "text/javascript" })));
  const made = products(Float32Array.from(u), Float32Array.from(c));
  return cases.map(([variant, dial, phi]) => effect(variant, dial, phi, made));
}"""


@pytest.mark.parametrize("seed", range(4))
def test_every_rescaling_is_k_u_plus_v_c_minus_u_as_the_kits_combine(browser, seed):
    rng = np.random.default_rng(seed)
    size = (4, 5, 3)
    u = (rng.normal(size=size) * 10.0**seed).astype(np.float32)
    c = (u * [0, 1, 1, 1][seed] + rng.normal(size=size) * 0.05 + [0.3, 0, 0, 0][seed]).astype(np.float32)
    cases = [[variant, dial, phi] for variant in VARIANTS for dial in (0, 0.25, 1) for phi in (0, 0.7, 1)]
    cases += [[variant, dial, 0.7] for variant in ("none", "pred_norm", "std") for dial in (-2, 7.5, 20)]
    with opened(browser) as (page, errors):
        text = source("_guided.js")
        got = page.evaluate(MODULE, [text, u.ravel().tolist(), c.ravel().tolist(), cases])
        assert errors == []
    exact = u.astype(float), c.astype(float)
    for (variant, dial, phi), (k, v) in zip(cases, got, strict=True):
        want = combine(*(torch.tensor(a)[None] for a in exact), dial, variant, g=np.clip(dial, 0, 1), phi=phi)[
            0
        ].numpy()
        np.testing.assert_allclose(k * (exact[0] + v * (exact[1] - exact[0])), want, rtol=1e-8, atol=1e-9 * 10**seed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_no_length_is_left_as_it_is(browser, variant):
    u, zero = np.arange(1.0, 7), np.zeros(6)
    pairs = [(u, u, 0.5), (zero, zero, 0.5), (zero, u, 0.5), (u, zero, 1.0)]
    with opened(browser) as (page, _):
        for a, b, dial in pairs:
            [[k, v]] = page.evaluate(MODULE, [source("_guided.js"), a.tolist(), b.tolist(), [[variant, dial, 0.7]]])
            want = combine(*(torch.tensor(x)[None] for x in (a, b)), dial, variant, g=dial)[0].numpy()
            np.testing.assert_allclose(k * (a + v * (b - a)), want, atol=1e-12)


CHOICES = [dict(w=7.5), dict(w=-2), dict(w=0), dict(w=1), dict(w=20), dict(variant="pred_norm", w=12),
           dict(variant="t_norm", g=0.3), dict(variant="full_norm", g=0.9), dict(variant="std", phi=0.4, w=15),
           dict(w=9, interval=[100, 500]), dict(w=9, interval=[501, 900]), dict(at=0), dict(at=2)]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_previews_are_pixel_by_pixel_those_of_python(stage, choice):
    panel = stage(slider(**choice))
    assert panel.previews() and panel.previews(negative=True)
    assert (np.abs(panel.image(0) - panel.image(1)).max() > 2) == (
        choice not in (dict(w=1), dict(w=9, interval=[501, 900]))
    )


def readings(panel, column=0):
    rows = panel.find(".kit-measures dl > div").all()
    texts = {row.locator("dt").inner_text(): row.locator("dd").nth(column).inner_text() for row in rows}
    return {name: float(text.replace("−", "-").removesuffix(" %")) for name, text in texts.items()}


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("choice", [dict(w=7.5), dict(variant="std", w=11), dict(variant="t_norm", g=0.4)], ids=str)
def test_the_readings_are_those_of_numpy(stage, column, choice):
    panel = stage(slider(**choice))
    given = panel.panel
    u, c = (given._arrays[name][1].astype(float).ravel() for name in (["u", "negative"][column], "c"))
    out = combine(torch.tensor(u)[None], torch.tensor(c)[None], given.w, given.variant, g=given.g, phi=given.phi)[
        0
    ].numpy()
    picture = given.preview(bool(column))
    read, size = readings(panel, column), np.linalg.norm
    angle = lambda a, b: a @ b / size(a) / size(b)  # noqa: E731
    wanted = {
        "‖u‖": (size(u), 0.006),
        "‖c‖": (size(c), 0.006),
        "‖c − u‖": (size(c - u), 0.006),
        "‖guided‖": (size(out), 0.006),
        "cos(u, c)": (angle(u, c), 6e-5),
        "cos(u, c − u)": (angle(u, c - u), 6e-5),
        "clipped pixels": (100 * ((picture < 0) | (picture > 1)).any(-1).mean(), 0.06),
    }
    assert read.keys() == wanted.keys() | {"w in effect", "scale k"}
    for name, (want, within) in wanted.items():
        assert abs(read[name] - want) <= within, name
    np.testing.assert_allclose(read["scale k"] * (u + read["w in effect"] * (c - u)), out, atol=0.03)


# The hand


def test_dragging_shows_each_w_under_the_pointer_and_says_nothing_until_release(stage):
    panel = stage(slider())
    panel.page.mouse.move(*panel.at(5))
    panel.page.mouse.down()
    for w in (-1.0, 0.0, 1.0, 3.0, 12.0, 19.0):
        panel.page.mouse.move(*panel.at(w), steps=5)
        assert abs(panel.now() - w) <= 0.1
        panel.panel.w = panel.now()
        assert panel.previews() and panel.previews(negative=True)
    assert panel.log() == []
    panel.page.mouse.up()
    assert panel.log()[-1]["kind"] == "save" and panel.saved("w") == [panel.now()] and len(panel.log()) == 1


def test_a_drag_beyond_the_ends_stays_there(stage):
    panel = stage(slider())
    panel.page.mouse.move(*panel.at(5))
    panel.page.mouse.down()
    panel.page.mouse.move(2000, 5)
    assert panel.now() == 20
    panel.page.mouse.move(-50, 5)
    assert panel.now() == -2


def test_shift_drags_in_whole_steps_and_alt_a_tenth_of_the_way(stage):
    panel = stage(slider(w=5))
    panel.page.mouse.move(*panel.at(5))
    panel.page.mouse.down()
    panel.page.keyboard.down("Shift")
    panel.page.mouse.move(*panel.at(8.4))
    assert panel.now() == 8
    panel.page.keyboard.up("Shift")
    panel.page.keyboard.down("Alt")
    panel.page.mouse.move(*panel.at(8.4))
    before = panel.now()
    panel.page.mouse.move(*panel.at(10.4))
    assert abs(panel.now() - before - 0.2) <= 0.03
    panel.page.mouse.up()


KEYS = [("ArrowRight", 5.1), ("ArrowUp", 5.1), ("ArrowLeft", 4.9), ("ArrowDown", 4.9), ("Shift+ArrowRight", 6),
        ("Shift+ArrowLeft", 4), ("Alt+ArrowRight", 5.01), ("Alt+ArrowLeft", 4.99), ("PageUp", 6), ("PageDown", 4),
        ("Home", -2), ("End", 20)]  # fmt: skip


@pytest.mark.parametrize(("key", "w"), KEYS, ids=[key for key, _ in KEYS])
def test_keys_move_and_commit(stage, key, w):
    panel = stage(slider())
    panel.dial.focus()
    panel.page.keyboard.press(key)
    assert panel.now() == w and panel.saved("w") == [w]
    panel.panel.w = w
    assert panel.previews()


def test_a_press_near_a_finished_sample_means_exactly_that(stage):
    panel = stage(slider(samples=[7.25]))
    x, y = panel.at(7.25)
    panel.page.mouse.click(x + 2, y)
    assert panel.now() == 7.25 and panel.saved("w") == [7.25]


@pytest.mark.parametrize(("label", "text", "w"), [("w", "3.25", 3.25), ("w", "−1,5", -1.5), ("w′", "3", 4)])
def test_typed_values_are_taken_in_either_convention(stage, label, text, w):
    panel = stage(slider())
    field = panel.page.get_by_label(label, exact=True).first
    field.fill(text)
    field.press("Enter")
    assert panel.now() == w and panel.saved("w") == [w]
    shown = [panel.page.get_by_label(name, exact=True).first.input_value() for name in ("w", "w′")]
    assert [float(value.replace("−", "-").replace(",", ".")) for value in shown] == [w, w - 1]


@pytest.mark.parametrize("text", ["five", "", "Infinity", "1e999", "20.5", "NaN"])
def test_a_typed_value_that_is_none_is_said_in_words(stage, text):
    panel = stage(slider())
    field = panel.page.get_by_label("w", exact=True).first
    place = panel.dial.bounding_box()
    field.fill(text)
    field.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text(f"w: got {text or 'nothing'}, wanted a number from −2 to 20")
    assert panel.now() == 5 and panel.log() == [] and panel.dial.bounding_box() == place
    field.fill("6")
    field.press("Enter")
    expect(panel.find(".kit-wrong")).to_have_text("")


def test_every_rescaling_is_chosen_by_a_click_and_shown_at_once(stage):
    panel = stage(slider(w=9))
    for variant in ("pred_norm", "std", "t_norm", "full_norm", "none"):
        panel.page.get_by_role("button", name=variant, exact=True).click()
        panel.panel.variant = variant
        assert panel.previews() and panel.saved("variant")[-1] == variant
        expect(panel.page.get_by_role("button", name=variant, exact=True)).to_have_attribute("aria-pressed", "true")


def test_with_t_norm_the_slider_turns_g_and_says_which_w_that_is(stage):
    panel = stage(slider(variant="t_norm"))
    assert panel.dial.get_attribute("aria-valuemax") == "1" and panel.now() == 0.2
    panel.page.mouse.click(*panel.at(0.6, "g"))
    assert panel.saved("g") == [0.6] and panel.saved("w") == []
    u, c = (panel.panel._arrays[name][1] for name in "uc")
    acting = 0.6 * np.linalg.norm(u) / np.linalg.norm(c - u)
    expect(panel.page.get_by_text(f"acts here as w = {acting:.2f}")).to_be_visible()


def test_phi_is_dragged_beside_std(stage):
    panel = stage(slider(variant="std", w=15))
    phi = panel.page.get_by_role("slider", name="φ")
    phi.focus()
    panel.page.keyboard.press("Shift+ArrowRight")
    assert panel.saved("phi") == [0.8]
    panel.panel.phi = 0.8
    assert panel.previews()
    panel.page.get_by_role("button", name="none", exact=True).click()
    expect(phi).to_be_hidden()


# The pad of w and t


def pad_at(panel, t, w):
    box = panel.find(".kit-plot").bounding_box()
    share = (w + 2) / 4 * KNEE if w <= 2 else KNEE + (w - 2) / 18 * (1 - KNEE)
    return box["x"] + (1 - t / 999) * box["width"], box["y"] + (1 - share) * box["height"]


def drag(panel, start, end):
    panel.page.mouse.move(*start)
    panel.page.mouse.down()
    panel.page.mouse.move(*end, steps=6)


def test_a_rectangle_on_the_pad_sets_w_and_the_interval_and_the_preview_follows(stage):
    panel = stage(slider(), viewport={"width": 1100, "height": 1100})
    drag(panel, pad_at(panel, 800, 12), pad_at(panel, 300, 8))
    assert panel.log() == []
    panel.page.mouse.up()
    [(low, high)], [w] = panel.saved("interval"), panel.saved("w")
    assert abs(low - 300) < 6 and abs(high - 800) < 6 and abs(w - 8) < 0.3
    panel.panel.w, panel.panel.interval = w, [low, high]
    assert panel.previews()
    expect(panel.find(".kit-pad h4 span").first).to_have_text(f"Guidance at t from {high} to {low}")
    panel.page.get_by_role("button", name="all t").click()
    assert panel.saved("interval")[-1] == []


def test_the_edges_and_the_top_of_the_rectangle_are_dragged(stage):
    panel = stage(slider(w=10, interval=[200, 800]), viewport={"width": 1100, "height": 1100})
    drag(panel, pad_at(panel, 800, 5), pad_at(panel, 600, 5))
    panel.page.mouse.up()
    drag(panel, pad_at(panel, 200, 5), pad_at(panel, 400, 5))
    panel.page.mouse.up()
    low, high = panel.saved("interval")[-1]
    assert abs(low - 400) < 6 and abs(high - 600) < 6 and panel.saved("w") == []
    drag(panel, pad_at(panel, 450, 10), pad_at(panel, 450, 15))
    panel.page.mouse.up()
    assert abs(panel.saved("w")[-1] - 15) < 0.3 and panel.saved("interval")[-1] == [low, high]


def test_the_shown_step_is_dragged_below_the_pad_and_moved_by_keys(stage):
    panel = stage(slider(), viewport={"width": 1100, "height": 1100})
    head = panel.page.get_by_role("slider", name="Step shown")
    head.focus()
    panel.page.keyboard.press("ArrowLeft")
    assert panel.saved("at") == [0]
    panel.panel.at = 0
    assert panel.previews()
    box = panel.find(".kit-axis").bounding_box()
    drag(panel, (box["x"] + 0.1 * box["width"], box["y"] + 6), (box["x"] + 0.85 * box["width"], box["y"] + 6))
    panel.page.mouse.up()
    assert panel.saved("at") == [0, 2]
    panel.panel.at = 2
    assert panel.previews()


def test_the_edges_are_moved_by_keys(stage):
    panel = stage(slider(interval=[200, 800]))
    panel.page.get_by_role("slider", name="Guidance begins at t").focus()
    panel.page.keyboard.press("ArrowRight")
    assert panel.saved("interval")[-1] == [200, 790]
    panel.page.get_by_role("slider", name="Guidance ends at t").focus()
    panel.page.keyboard.press("Shift+ArrowLeft")
    assert panel.saved("interval")[-1] == [300, 790]


# Finished samples and re-runs


def test_the_nearest_finished_sample_is_shown_for_what_it_is(stage):
    panel = stage(slider(samples=[2, 10]))
    assert panel.find(".kit-found i").count() == 2
    assert panel.caption() == ["2Nearest finished sample", "w = 2; you are at w = 5"]
    assert (panel.image(-1) == round(0.1 * 255)).all()
    panel.page.mouse.click(*panel.at(8))
    expect(panel.find(".kit-said").last).to_contain_text("w = 10; ")
    panel.page.wait_for_function("[...document.querySelectorAll('.kit-frame canvas')].at(-1).width === 16")
    panel.page.wait_for_timeout(100)
    assert (panel.image(-1) == round(0.5 * 255)).all()
    panel.page.mouse.click(*panel.at(10))
    expect(panel.find(".kit-said").last).to_have_text("w = 10, exactly")
    expect(panel.find("figcaption strong").last).to_have_text("Finished sample")


def test_ticks_are_of_samples_with_the_same_settings_only(stage):
    panel = stage(slider(samples=[2, 10]))
    panel.page.get_by_role("button", name="pred_norm", exact=True).click()
    expect(panel.find(".kit-found i")).to_have_count(0)
    expect(panel.find(".kit-frame").last).to_have_class("kit-frame kit-missing")


def test_a_re_run_streams_in_and_leaves_a_tick(stage):
    panel = stage(slider(samples=[2]))
    panel.page.mouse.click(*panel.at(8))
    expect(panel.find(".kit-said").last).to_contain_text("asked for, not begun")
    key = ["none", panel.now(), None, None, False]
    panel.set("status", "running")
    for step, grey in [(1, 0.2), (2, 0.4)]:
        panel.say("step", key, grey, step=step)
        expect(panel.find(".kit-said").last).to_have_text(f"w = {panel.now():g}: step {step}")
        panel.page.wait_for_timeout(60)
        assert (panel.image(-1) == round(grey * 255)).all()
    expect(panel.find("figcaption strong").last).to_have_text("True re-run")
    expect(panel.find(".kit-stop")).to_be_visible()
    expect(panel.find(".kit-state")).to_have_text("running")
    panel.find(".kit-stop").click()
    assert panel.log()[-1] == {"kind": "send", "content": {"kind": "stop"}}
    expect(panel.find(".kit-state")).to_have_text("stopping")
    panel.say("sample", key, 0.6)
    panel.set("status", "done")
    expect(panel.find("figcaption strong").last).to_have_text("True re-run, finished")
    expect(panel.find(".kit-found i")).to_have_count(2)
    panel.page.wait_for_timeout(60)
    assert (panel.image(-1) == round(0.6 * 255)).all()
    expect(panel.find(".kit-stop")).to_be_hidden()
    expect(panel.find(".kit-run")).to_be_hidden()


def test_stopped_the_nearest_sample_is_back_and_a_button_runs_again(stage):
    panel = stage(slider(samples=[2], w=8))
    panel.set("status", "running")
    panel.say("step", ["none", 8, None, None, False], 0.9, step=1)
    panel.page.wait_for_timeout(60)
    panel.set("status", "cancelled")
    expect(panel.find(".kit-state")).to_have_text("stopped")
    expect(panel.find("figcaption strong").last).to_have_text("Nearest finished sample")
    panel.page.wait_for_timeout(60)
    assert (panel.image(-1) == round(0.1 * 255)).all()
    assert panel.page.evaluate("alive()") == 1
    panel.find(".kit-run").click()
    assert panel.log()[-1] == {"kind": "send", "content": {"kind": "run"}}


def test_where_no_kernel_answers_that_is_said(stage):
    panel = stage(slider(samples=[2]))
    panel.page.mouse.click(*panel.at(8))
    expect(panel.find(".kit-said").last).to_contain_text(
        "no answer: the kernel is busy, or there is none", timeout=5000
    )


def test_an_error_is_shown_with_its_traceback_folded(stage):
    panel = stage(slider())
    panel.set("traceback", "Traceback: line 7 <b>in</b> sample")
    panel.set("error", "ValueError: <i>bad</i>")
    expect(panel.find(".kit-error strong")).to_have_text("ValueError: <i>bad</i>")
    expect(panel.find(".kit-error pre")).to_be_hidden()
    panel.find(".kit-error summary").click()
    expect(panel.find(".kit-error pre")).to_have_text("Traceback: line 7 <b>in</b> sample")
    panel.page.mouse.click(*panel.at(9))
    assert abs(panel.now() - 9) < 0.11


def test_the_code_on_screen_is_that_of_python(stage):
    choices = [*CHOICES, dict(w=2.25, with_negative=True, variant="std", interval=[10, 20])]
    for choice in choices:
        panel = stage(slider(**choice))
        panel.find("summary").last.click()
        given = panel.panel
        assert panel.find(".kit-code pre").text_content() == given.to_code(1) + "\n" + given.to_code(3)


# The eye


def test_everything_focusable_keeps_jupyterlab_from_taking_its_keys(stage):
    broken = slider(variant="std")
    broken.status, broken.error, broken.traceback = "running", "RuntimeError: no", "Traceback ..."
    panel = stage(broken)
    focusable = panel.page.evaluate("focusable()")
    assert len(focusable) >= 20 and {value for _, value in focusable} == {"true"}


def test_the_panel_tells_assistive_technology_what_it_is(stage):
    tree = stage(slider(variant="std")).find(".kit-panel").aria_snapshot()
    for what in (
        'slider "Guidance"',
        'slider "Guidance begins at t"',
        'slider "Guidance ends at t"',
        'slider "Step shown"',
        'slider "Share of the rescaled prediction, φ"',
        'textbox "w"',
        'textbox "w′"',
        'button "std" [pressed]',
        'img "One step, exact, empty prompt"',
        'img "Nearest finished sample"',
    ):
        assert what in tree, what


@pytest.mark.parametrize("width", [320, 600, 960, 1600])
@pytest.mark.parametrize("negative", [True, False])
def test_it_fits_any_width_and_enlarges_by_whole_pixels(stage, width, negative):
    settings = {} if negative else {"negative": None}
    panel = stage(slider(samples=[2], **settings), viewport={"width": width, "height": 1200}, device_scale_factor=2)
    assert panel.page.evaluate("beyondTheEdge()") == []
    side = panel.find(".kit-frame").first.bounding_box()["width"]
    assert side * 2 % 8 == 0 and side >= 130


def test_nothing_moves_while_dragging(stage):
    panel = stage(slider(samples=[2, 10]))
    places = "() => [...document.querySelectorAll('.kit-panel :is(figure, section, dt, input, .kit-dial, details)')]" \
             ".map(el => el.getBoundingClientRect()).map(({ x, y, height }) => [x, y, height]).join()"  # fmt: skip
    layouts = set()
    panel.page.mouse.move(*panel.at(-2))
    panel.page.mouse.down()
    for w in (-2, -1, 0, 1, 5, 9.9, 15, 20):
        panel.page.mouse.move(*panel.at(w))
        panel.page.wait_for_timeout(40)
        layouts.add(panel.page.evaluate(places))
    assert len(layouts) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(stage, scheme):
    broken = slider(samples=[2], variant="std")
    broken.status, broken.error, broken.traceback = "running", "RuntimeError: no", "Traceback ..."
    panel = stage(broken, color_scheme=scheme)
    ground = luminance(panel.find(".kit-panel").evaluate("el => getComputedStyle(el).backgroundColor"))
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    texts = (
        "figcaption strong, .kit-said, .kit-numbers span, input, .kit-scale span, .kit-scale em, .kit-group > span, "
    )
    texts += ".kit-group button, [aria-pressed=true], .kit-formula, h4, dt, dd, .kit-levels span, "
    texts += ".kit-axis span, .kit-hint, .kit-keys, "
    for selector in f"{texts}.kit-corner, .kit-code summary, .kit-error strong".split(", "):
        ink = luminance(panel.find(selector).first.evaluate("el => getComputedStyle(el).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.4, selector


def test_each_picture_says_what_it_is(stage):
    panel = stage(slider(samples=[2]))
    assert panel.caption(0) == ["1One step, exact", "x̂₀ at t\u00a0=\u00a0500, decoded linearly; empty prompt"]
    assert panel.caption(1)[1].endswith("; negative prompt")
    panel.set("interval", [600, 900])
    expect(panel.find(".kit-said").first).to_have_text("x̂₀ at t\u00a0=\u00a0500, without guidance; empty prompt")
    assert len(panel.find("figcaption").all()) == 3


def test_without_any_sample_there_is_no_empty_frame_for_one(stage):
    for settings, figures in (({"sample": None}, 2), ({"sample": None, "samples": [2]}, 3), ({}, 3)):
        assert stage(slider(**settings)).find("figure").count() == figures


def test_reduced_motion_is_respected(stage):
    animation = "el => getComputedStyle(el).animationName"
    for motion, name in (("no-preference", "kit-pulse"), ("reduce", "none")):
        running = slider()
        running.status = "running"
        panel = stage(running, reduced_motion=motion)
        panel.say("step", ["none", 5, None, None, False], 0.9, step=1)
        expect(panel.find(".kit-bar")).to_be_visible()
        assert panel.find(".kit-bar > div").evaluate(animation) == name


def test_two_views_move_together_and_an_ended_one_listens_no_more(stage):
    panel = stage(slider())
    alone = panel.page.evaluate("listening()")
    second = panel.open()
    panel.page.evaluate("scrollTo(0, 0)")
    panel.page.mouse.click(*panel.at(11))
    expect(panel.find(".kit-dial", second).first).to_have_attribute(
        "aria-valuenow", str(panel.now()).removesuffix(".0")
    )
    panel.page.evaluate("n => views[n].remove()", second)
    assert panel.page.evaluate("listening()") == alone
    panel.page.mouse.click(*panel.at(3))
    assert abs(panel.now() - 3) < 0.11


def test_the_kernel_does_not_move_a_slider_held_in_the_hand(stage):
    panel = stage(slider())
    panel.page.mouse.move(*panel.at(3))
    panel.page.mouse.down()
    panel.set("w", 15)
    panel.page.wait_for_timeout(60)
    assert abs(panel.now() - 3) < 0.11
    panel.page.mouse.up()
    panel.set("w", 12)
    panel.page.wait_for_timeout(60)
    assert panel.now() == 12


def test_decoded_samples_are_few_and_end_with_the_model(stage):
    panel = stage(slider(samples=np.linspace(-2, 20, 40)))
    panel.dial.focus()
    panel.page.keyboard.press("Home")
    for _ in range(22):
        panel.page.keyboard.press("PageUp")
        panel.page.wait_for_timeout(30)
    assert 1 <= panel.page.evaluate("alive()") <= 17
    panel.page.evaluate("end()")
    panel.page.wait_for_timeout(100)
    assert panel.page.evaluate("alive()") == 0


def test_the_exported_page_works_without_a_kernel(browser, tmp_path):
    page_of = slider(samples=[2, 10], title="</script><b>w</b> & w′").export_html(tmp_path / "page.html")
    with opened(browser, offline=True) as (page, errors):
        page.goto(page_of.as_uri())
        page.locator("dd").first.wait_for()
        dial = page.locator(".kit-card > .kit-dial")
        dial.focus()
        before = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
        page.keyboard.press("End")
        page.wait_for_timeout(100)
        assert page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != before
        expect(dial).to_have_attribute("aria-valuenow", "20")
        assert page.locator(".kit-title").inner_text() == "</script><b>w</b> & w′" and errors == []
