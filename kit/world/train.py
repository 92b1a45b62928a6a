"""Remakes the small world's weights from nothing: `python -m kit.world.train`, on any number of processes.

Five stages, each a run of `kit.diffusion.training.train` with a checkpoint of its own, so that a killed run goes on
where it stopped: the autoencoder; the text tower against an image tower, as CLIP is trained; the judge; the latents,
encoded once; the U-Net. Then the parts are gathered in the diffusers layout, measured, and moved into place whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kit.diffusion.training import Plan, train
from kit.world.render import render
from kit.world.scene import sample_scenes

# Scenes are drawn from seeds; these ranges never meet, so nothing measured was ever trained on.
TRAINING, LATENTS, HELD_OUT = 0, 1 << 40, 1 << 41


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths of every stage. The defaults make the committed weights; tests use a tiny one."""

    size: int = 128  # pixels a side
    vae_channels: tuple[int, ...] = (16, 32, 64, 96)  # four levels: latents an eighth of the side
    vae_batch: int = 8
    vae: Plan = Plan(steps=5000, lr=1.5e-3, precision="bf16")


def autoencoder(recipe: Recipe):
    """An untrained `AutoencoderKL` of the recipe's size."""
    from diffusers import AutoencoderKL

    levels = len(recipe.vae_channels)
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=recipe.vae_channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=recipe.size,
    )


class Reconstruction(nn.Module):
    """The autoencoder's objective: squared error and error of the edges, the animal counting three times, and a
    little pull of the latents towards N(0, I)."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor, masks: Tensor, noise: Tensor) -> Tensor:
        target = pictures * 2 - 1
        latents = self.vae.encode(target).latent_dist
        mean, deviation = latents.mean.float(), latents.std.float()
        error = self.vae.decode(mean + deviation * noise).sample.float() - target
        weight = 1 + 2 * masks
        across = (error.diff(dim=-1) * weight[..., 1:]).abs().mean()
        down = (error.diff(dim=-2) * weight[..., 1:, :]).abs().mean()
        pull = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).mean()
        return (weight * error.square()).mean() + 0.1 * (across + down) + 1e-4 * pull


def train_autoencoder(recipe: Recipe, folder: Path):
    """Stage 1: pictures drawn as they are needed, each seen once."""
    torch.manual_seed(recipe.vae.seed)
    vae = autoencoder(recipe)
    side = recipe.size >> (len(recipe.vae_channels) - 1)

    def batch(random: torch.Generator):
        pictures, masks = render(sample_scenes(_share(recipe.vae_batch), _seed(random, TRAINING)), recipe.size)
        return pictures, masks, torch.randn(len(pictures), 4, side, side, generator=random)

    train(Reconstruction(vae), batch, recipe.vae, folder / "vae.safetensors")
    return vae


def _seed(random: torch.Generator, base: int) -> int:
    return base + int(torch.randint(1 << 40, (1,), generator=random))


def _share(batch: int) -> int:
    """This process's part of a batch."""
    return max(1, batch // int(os.environ.get("WORLD_SIZE", 1)))


if __name__ == "__main__":
    train_autoencoder(Recipe(), Path("kit/world/.training"))
