"""Draws the README's picture of two panels in Chromium: `python -m tests.portraits`."""

import io
import tempfile
from pathlib import Path

import torch
from PIL import Image

import kit
from kit.__main__ import chromium
from kit.diffusion import Schedule, guided, path, randn, sample
from kit.panels import GuidanceSlider, NoiseScrubber, fit_rgb
from tests.browser.pages import launched, opened

PICTURE = Path(kit.__file__).parent / "panels" / "portraits.png"
PROMPT = "a plain picture of a giraffe standing in the snow"


def guidance_slider(models):
    """The slider on one path of twelve steps, with four finished samples."""
    cond, uncond, steps = models.embed(PROMPT), models.embed(""), models.timesteps(12)
    noise = randn((1, *models.latent_shape), 10)

    def guide(w):
        return guided(models.predict, uncond, w)

    states = list(path(guide(4.0), models.schedule, noise, steps, cond))[:-1]
    x, t = torch.cat([state.x for state in states]), [state.t for state in states]
    u, c = (torch.cat([models.predict(s.x, s.t, text) for s in states]) for text in (uncond, cond))
    pictures, _ = kit.render(kit.sample_scenes(64, 1), models.size)
    ends = {w: sample(guide(w), models.schedule, noise, steps, cond) for w in (0.0, 1.0, 4.0, 12.0)}
    return GuidanceSlider(
        *(x, u, c, t, models.schedule.at(torch.tensor(t)), fit_rgb(models.encode(pictures), pictures)),
        samples={w: models.decode(z)[0] for w, z in ends.items()},
        w=4.0,
        title=PROMPT,
    )


def noise_scrubber(models):
    """The forward process of one rendered horse under four schedules."""
    scene = kit.sample_scenes(1, 3, species="horse", pose="standing", place="meadow", style="plain")
    x0 = kit.render(scene, models.size)[0][0]
    schedules = {
        "Stable Diffusion": models.schedule,
        "linear": Schedule.linear(),
        "cosine": Schedule.cosine(),
        "zero terminal SNR": models.schedule.zero_terminal_snr(),
    }
    levels = {name: schedule.alpha_bar for name, schedule in schedules.items()}
    return NoiseScrubber.forward(x0, randn((1, *x0.shape), 0)[0], levels, title="The forward process", index=350)


def portrait(browser, panel):
    """The panel on its own exported page, 960 pixels wide."""
    with tempfile.TemporaryDirectory() as folder, opened(browser, color_scheme="light") as (page, _):
        page.set_viewport_size({"width": 960, "height": 700})
        page.goto(panel.export_html(Path(folder) / "panel.html").as_uri())
        page.wait_for_timeout(1000)
        return Image.open(io.BytesIO(page.locator("main").screenshot())).convert("RGB")


@torch.no_grad()
def main():
    models = kit.load("world")
    with launched(chromium()) as browser:
        left = portrait(browser, guidance_slider(models))
        right = portrait(browser, noise_scrubber(models))
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    both.quantize(256).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {both.width} x {both.height} pixels, {PICTURE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
