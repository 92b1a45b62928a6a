"""The small world: pictures drawn a second, a U-Net pass, a finished picture; median and best of seven."""

import statistics
import time

import torch

import kit

SCENES = 256


def timed(call, repeats=7):
    """Seconds of each of some calls, after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call().cpu()  # a GPU is done when its numbers are here
        taken.append(time.perf_counter() - started)
    return taken


def run():
    models = kit.load("world")
    scenes = kit.sample_scenes(SCENES, 0)
    x = torch.randn(2, *models.latent_shape, device=models.device)
    cond = models.embed(["", "a horse in the snow"])

    def draw():
        return kit.render(scenes, 128, models.device)[0]

    def predict():
        with torch.inference_mode():
            return models.predict(x, 500, cond)

    def generate():
        return kit.generate(models, "a horse in the snow", guidance=5.0, steps=20)

    rows = []
    for what, call in {
        f"draw {SCENES} scenes at 128 px": draw,
        "a U-Net pass, batch 2": predict,
        "a guided picture, 20 steps": generate,
    }.items():
        taken = timed(call)
        rows.append({"what": what, "median s": f"{statistics.median(taken):.4f}", "best s": f"{min(taken):.4f}"})
        if call is draw:
            rows[-1]["what"] += f" ({SCENES / statistics.median(taken):.0f} a second)"
    return rows
