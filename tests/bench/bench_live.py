"""A hand on a live guidance slider for four seconds, in JupyterLab: pictures painted a second, and from hand to eye."""

from tests.bench.labs import on_either_thread, row
from tests.browser.lab import Notebook

SECONDS = 4
BARS = {2: ">= 15 a second", 4: ">= 8 a second"}
SETUP = """
import functools
import torch
import kit
from kit.diffusion import randn
from kit.diffusion.graphed import Graphed
from kit.diffusion.training import computes_bf16
from kit.panels import GuidanceSlider

models = kit.load("world")
embed = functools.lru_cache(lambda prompt: models.embed([prompt]))

def opened(steps):
    student = models.student(steps)
    student.network.to(memory_format=torch.channels_last)

    def picture(z, cond, w):
        z = student.sample(z, cond, w)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=computes_bf16(z.device)):  # of 256 shades, 0.4 off
            return models.decode(z).float()

    graphed = Graphed(picture, threads=1)

    @torch.inference_mode()
    def draw(prompt, seed, w):
        return graphed(randn((1, *models.latent_shape), seed), embed(prompt), torch.tensor([w]))[0]

    return GuidanceSlider.live(draw, prompt="a horse in the snow", title=f"{steps} steps")
"""


def drag(page, panel, seconds):
    """Move the knob to and fro at 60 Hz with the mouse itself."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".kit-dial").bounding_box()
    y = box["y"] + 16
    page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.mouse.down()
    page.evaluate(MOVES, [box["x"], y, box["width"], seconds])
    page.mouse.up()


# The moves are made in the page, for the mouse of the driver needs a round trip for each. They are as fast at the ends
# of the scale as between: a slow hand stays on one w for longer than a picture takes, and has nothing to ask for.
MOVES = """async ([left, top, width, seconds]) => {
  const dial = document.elementFromPoint(left + width / 2, top).closest(".kit-dial"), since = performance.now();
  for (let now = since; now - since < 1000 * seconds; now = performance.now()) {
    const clientX = left + width * (0.5 + 0.28 * Math.asin(Math.sin((now - since) / 400)));
    dial.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX, clientY: top }));
    await new Promise(done => setTimeout(done, 1000 / 60));
  }
}"""


def measured(page, lab, threads):
    notebook = Notebook(
        page, lab, lab.write("live.ipynb", SETUP, *(f"p{steps} = opened({steps}); p{steps}" for steps in BARS))
    )
    notebook.run()
    for number, (steps, bar) in enumerate(BARS.items()):
        panel = notebook.panel(number)
        page.wait_for_timeout(2000)
        drag(page, panel, SECONDS)
        while notebook.ask(f"p{steps}.status") == "running":
            page.wait_for_timeout(200)
        stats = notebook.ask(f"p{steps}.stats()")
        rate = f"{stats['per_second']:.1f} a second of {stats['pictures']}"
        yield row(f"pictures at {steps} steps", threads, rate, bar)
        times = f"p50 {stats['p50_ms']:.0f}, p95 {stats['p95_ms']:.0f} ms; drawn in {stats['draw_ms']['']:.0f} ms"
        yield row(f"from hand to eye at {steps} steps", threads, times)
    notebook.close()


def run():
    """Measure all on one page, in JupyterLab with comms on subshells' threads and on the main one."""
    return on_either_thread(measured, width=1200, height=1100)
