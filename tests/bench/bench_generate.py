"""Text to picture: `kit.generate` against stock StableDiffusionPipeline, the small world's weights, one DDIM.

Both draw from the same latents, and must draw the same pictures; they take turns, the first turn unmeasured.
"""

import statistics
import time

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import kit
from kit.diffusion.seeds import randn
from kit.world import WEIGHTS

PROMPT, STEPS, GUIDANCE, SEED = "a horse in the snow", 20, 5.0, 0


def stock_pipeline(folder, models):
    """The stock pipeline with the kit's sampler, device and dtype."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=models.dtype)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(models.device)


def contestants(folder, n):
    """name -> a call that makes n pictures (n, 3, h, w)."""
    models = kit.load("world" if folder == WEIGHTS else folder)
    pipe = stock_pipeline(folder, models)
    latents = randn((n, *models.latent_shape), SEED, models.device, models.dtype)

    def stock():
        return pipe(
            [PROMPT] * n,
            latents=latents,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            output_type="pt",
        ).images

    def ours():
        return kit.generate(models, [PROMPT] * n, guidance=GUIDANCE, steps=STEPS, seed=SEED)

    return {"kit": ours, "stock": stock}


def compared(folder, n, repeats=7):
    """The row of n pictures a call: seconds, their ratio, and how far apart the two sets of pictures are."""
    calls = contestants(folder, n)
    made = {name: call().float().cpu() for name, call in calls.items()}
    taken = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call().cpu()  # a GPU is done when its pictures are here
            taken[name].append(time.perf_counter() - started)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {
        "pictures": n,
        **{f"{name}: median s (best)": f"{median[name]:.3f} ({min(taken[name]):.3f})" for name in calls},
        "kit / stock": f"{median['kit'] / median['stock']:.2f}",
        "largest difference": f"{(made['kit'] - made['stock']).abs().max():.1e}",
    }


def run(folder=WEIGHTS):
    with torch.no_grad():
        return [compared(folder, n) for n in (1, 4)]
