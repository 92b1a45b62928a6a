"""How good the small world's weights are: `python -m kit.world.measure` prints the table that the card holds.

Scenes and prompts come from seeds that training never draws from. Nothing here was used to choose anything.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from kit.diffusion import ddim
from kit.diffusion.guidance import guided
from kit.diffusion.schedule import Schedule
from kit.diffusion.seeds import randn
from kit.world import WEIGHTS
from kit.world.caption import CONTEXT, captions
from kit.world.judge import frechet_distance, load_judge, load_likeness
from kit.world.rendering import render
from kit.world.scene import ATTRIBUTES, SPECIES, sample_scenes

HELD_OUT = 1 << 41
GUIDANCE, STEPS = 3.0, 25


class World:
    """The parts of a weights folder, as far as measuring needs them."""

    def __init__(self, folder: Path):
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        self.device = "cuda" if torch.cuda.is_available() else "cpu"

        def network(kind, part):
            return kind.from_pretrained(folder / part).float().eval().requires_grad_(False).to(self.device)

        self.vae, self.unet = network(AutoencoderKL, "vae"), network(UNet2DConditionModel, "unet")
        self.text_encoder = network(CLIPTextModel, "text_encoder")
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.judge, self.likeness = load_judge(folder), load_likeness(folder)
        self.schedule = Schedule.stable_diffusion()
        self.scale = self.vae.config.scaling_factor

    def tokens(self, texts: list[str]) -> Tensor:
        padded = self.tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        return padded.input_ids.to(self.device)

    def predict(self, x: Tensor, t, cond: Tensor) -> Tensor:
        return self.unet(x, torch.as_tensor(t).to(x.device), cond).sample

    def pictures(self, texts: list[str], seeds: list[int], guidance=GUIDANCE, steps=STEPS) -> Tensor:
        """Pictures from words (n, 3, 128, 128), guided DDIM from seeded noise."""
        cond, empty = (self.text_encoder(self.tokens(t)).last_hidden_state for t in (texts, [""] * len(texts)))
        x = randn((len(texts), 4, 16, 16), seeds, self.device)
        timesteps = self.schedule.timesteps(steps)
        x = ddim.sample(guided(self.predict, empty, guidance), self.schedule, x, timesteps, cond)
        return (self.vae.decode(x / self.scale).sample / 2 + 0.5).clamp(0, 1).cpu()


@torch.inference_mode()
def measure(folder: Path = WEIGHTS, pictures: int = 2000, judged: int = 600) -> dict:
    """The table: a dictionary of numbers, each named with its unit. About ten minutes on two cores for the defaults;
    `pictures` are generated for the Fréchet distance, the first `judged` of them are held against their prompts."""
    world = World(Path(folder))
    table = {"guidance": GUIDANCE, "steps": STEPS, "pictures": pictures, "judged": judged}
    table |= _judging(world, pictures)
    table |= _reconstruction(world)
    table |= _generation(world, pictures, judged)
    table |= _speed(world)
    return table


def _judging(world: World, n: int) -> dict:
    """The judge on renders it has never seen, and how often CLIP's species is the true one."""
    scenes = sample_scenes(n, HELD_OUT)
    renders, _ = render(scenes)
    verdict = world.judge.read(renders)
    table = {f"judge_{name}": verdict.agrees(name, getattr(scenes, name)).float().mean().item() for name in ATTRIBUTES}
    words = world.text_encoder(world.tokens([f"a {word}" for word in SPECIES])).pooler_output.cpu()
    nearest = (world.likeness(renders) @ torch.nn.functional.normalize(words, dim=-1).T).argmax(-1).tolist()
    table["clip_species"] = sum(SPECIES[i] == s for i, s in zip(nearest, scenes.species, strict=True)) / n
    return table


def _reconstruction(world: World, n: int = 500) -> dict:
    """The autoencoder's mean peak signal-to-noise ratio, and over the animal alone."""
    renders, masks = render(sample_scenes(n, HELD_OUT + 1))
    errors = []
    for part in renders.to(world.device).split(50):
        latents = world.vae.encode(part * 2 - 1).latent_dist.mean
        errors.append(((world.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1) - part).square().cpu())
    errors = torch.cat(errors)
    animal = (errors * masks).sum((1, 2, 3)) / (3 * masks.sum((1, 2, 3)))

    def decibels(squares):
        return (-10 * squares.log10()).mean().item()

    return {"vae_psnr_db": decibels(errors.mean((1, 2, 3))), "vae_psnr_animal_db": decibels(animal)}


def _generation(world: World, n: int, judged: int) -> dict:
    """Pictures from full captions against their words, and against as many renders in the judge's features."""
    scenes = sample_scenes(n, HELD_OUT + 2)
    texts = captions(scenes, HELD_OUT + 3, mention=tuple(ATTRIBUTES))
    made = []
    for i in range(0, n, 100):
        made.append(world.pictures(texts[i : i + 100], list(range(HELD_OUT + i, HELD_OUT + min(i + 100, n)))))
        print(f"generated {min(i + 100, n)}/{n}", end="\r", file=sys.stderr, flush=True)
    verdict = world.judge.read(torch.cat(made))
    right = {name: verdict.agrees(name, getattr(scenes, name))[:judged] for name in ATTRIBUTES}
    table = {name: right[name].float().mean().item() for name in ATTRIBUTES}
    table["all"] = torch.stack(list(right.values())).all(0).float().mean().item()
    first, second = (world.judge.read(render(sample_scenes(n, HELD_OUT + k))[0]).features for k in (4, 5))
    table["frechet"] = frechet_distance(verdict.features, first)
    table["frechet_floor"] = frechet_distance(first, second)
    return table


def _speed(world: World) -> dict:
    """Medians: one U-Net pass at batch 2, and one guided picture of 20 steps, on this machine."""

    def median(call, times):
        call()
        spent = []
        for _ in range(times):
            begun = time.perf_counter()
            call()
            if world.device == "cuda":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - begun)
        return sorted(spent)[times // 2]

    x = torch.randn(2, 4, 16, 16, device=world.device)
    cond = world.text_encoder(world.tokens(["", "a horse"])).last_hidden_state
    return {
        "unet_pass_ms": 1000 * median(lambda: world.predict(x, 500, cond), 30),
        "picture_20_steps_s": median(lambda: world.pictures(["a horse in the snow"], [0], steps=20), 5),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kit.world.measure", description="Measures the small world's weights."
    )
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--judged", type=int, default=600)
    given = parser.parse_args(arguments)
    table = measure(given.folder, given.pictures, given.judged)
    print(json.dumps({name: round(value, 4) for name, value in table.items()}, indent=1))


if __name__ == "__main__":
    main()
