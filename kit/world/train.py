"""Remakes the small world's weights from nothing: `python -m kit.world.train`, on any number of processes.

Stages, each a run of `kit.diffusion.training.train` with a checkpoint of its own, so that a killed run goes on where
it stopped: the autoencoder; its decoder alone, once more; the text tower against an image tower, as CLIP is trained;
the judge; the latents, encoded once; the U-Net. Then the parts are gathered in the diffusers layout, measured, and
moved into place whole: until that moment the weights that are there stay as they are.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import operator
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kit.diffusion.schedule import Schedule
from kit.diffusion.training import Plan, atomic, computes_bf16, hours, progress, train
from kit.world import WEIGHTS
from kit.world.caption import CONTEXT, captions, matches, parse, save_tokenizer
from kit.world.judge import Judge, Likeness
from kit.world.rendering import render
from kit.world.scene import ATTRIBUTES, sample_scenes

# Scenes are drawn from seeds in ranges that never meet, so that nothing measured was ever trained on.
TRAINING, LATENTS = 0, 1 << 40  # measure.py begins at 1 << 41
WORK = WEIGHTS.parent / ".training"
SHARD = 20_000  # scenes in one file of latents
SIDE = 128  # pixels a side of a picture
EMPTY = 0.12  # of the U-Net's captions are left out, for guidance


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths of every stage; batches are shared among processes. The defaults made the committed weights."""

    vae_channels: tuple[int, ...] = (16, 32, 64, 96)  # four levels: latents an eighth of the side
    vae_batch: int = 8
    vae: Plan = Plan(steps=5000, lr=1.5e-3, precision="bf16")
    decoder: Plan = Plan(steps=1000, lr=6e-4, seed=1, precision="bf16")
    text_width: int = 96  # of the text tower and of what the U-Net attends to
    text_layers: int = 3
    words_batch: int = 96
    words: Plan = Plan(steps=1000, lr=1e-3, decay=0.1, precision="bf16")
    judge_batch: int = 48
    judge: Plan = Plan(steps=1500, lr=2e-3, decay=0.05, precision="bf16")
    unet_channels: tuple[int, ...] = (64, 128, 192)
    unet_batch: int = 64
    unet: Plan = Plan(steps=6000, lr=1e-3, average=0.999, precision="bf16")
    latents: int = 40_000
    pictures: int = 2000  # generated to measure the finished weights


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
        sample_size=SIDE,
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
    losses = train(Reconstruction(vae), _drawn(recipe), recipe.vae, folder / "vae.safetensors")
    return vae, losses


def train_decoder(recipe: Recipe, folder: Path, vae) -> list[float]:
    """Stage 2: the decoder alone, so that latents stay what they are; as Stable Diffusion's own was finished."""
    decoder = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    vae.requires_grad_(False)
    for parameter in decoder:
        parameter.requires_grad_(True)
    return train(Reconstruction(vae), _drawn(recipe), recipe.decoder, folder / "decoder.safetensors")


def _drawn(recipe: Recipe):
    """Batches of fresh renders, masks and noise for `Reconstruction`."""
    side = SIDE >> (len(recipe.vae_channels) - 1)

    def batch(random: torch.Generator):
        scenes = sample_scenes(_share(recipe.vae_batch), _seed(random, TRAINING))
        return *render(scenes, SIDE), torch.randn(len(scenes), 4, side, side, generator=random)

    return batch


class Contrast(nn.Module):
    """CLIP's objective with its true targets: a caption that leaves something open fits several pictures of a batch,
    and the renderer knows which."""

    def __init__(self, text_encoder, tower):
        super().__init__()
        self.text_encoder, self.likeness = text_encoder, Likeness(tower)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, pictures: Tensor, ids: Tensor, match: Tensor) -> Tensor:
        texts = F.normalize(self.text_encoder(ids).pooler_output.float(), dim=-1)
        logits = self.log_scale.exp().clamp(max=100) * self.likeness(pictures) @ texts.T
        to_texts = F.cross_entropy(logits, match / match.sum(1, keepdim=True))
        to_pictures = F.cross_entropy(logits.T, match.T / match.T.sum(1, keepdim=True))
        return (to_texts + to_pictures) / 2


def towers(recipe: Recipe, tokenizer):
    """Untrained text and image towers: `CLIPTextModel` and `CLIPVisionModelWithProjection`."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    width = recipe.text_width
    shape = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": 4,
        "projection_dim": width,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        num_hidden_layers=recipe.text_layers,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    image = CLIPVisionConfig(image_size=64, patch_size=8, num_hidden_layers=4, **shape)
    return CLIPTextModel(text), CLIPVisionModelWithProjection(image)


def train_words(recipe: Recipe, folder: Path, tokenizer):
    """Stage 3: the text tower against the pictures."""
    torch.manual_seed(recipe.words.seed)
    text_encoder, tower = towers(recipe, tokenizer)

    def batch(random: torch.Generator):
        scenes = sample_scenes(_share(recipe.words_batch), _seed(random, TRAINING))
        texts = captions(scenes, _seed(random, 0))
        match = torch.stack([matches(parse(text), scenes) for text in texts], dim=1).float()
        return render(scenes, 64)[0], token_ids(tokenizer, texts), match

    losses = train(Contrast(text_encoder, tower), batch, recipe.words, folder / "words.safetensors")
    return text_encoder, tower, losses


class Reading(nn.Module):
    """The judge's objective, on pictures as a generator might blur or speckle them."""

    def __init__(self, judge: Judge):
        super().__init__()
        self.judge = judge

    def forward(self, pictures: Tensor, grain: Tensor, words: Tensor) -> Tensor:
        half = len(pictures) // 2
        soft = F.interpolate(F.avg_pool2d(pictures[:half], 2), scale_factor=2.0, mode="bilinear")
        logits, _ = self.judge(torch.cat([soft, pictures[half:]]) + grain)
        return sum(F.cross_entropy(logits[name], words[:, i]) for i, name in enumerate(ATTRIBUTES))


def train_judge(recipe: Recipe, folder: Path):
    """Stage 4: the judge, on renders alone."""
    torch.manual_seed(recipe.judge.seed)
    judge = Judge()

    def batch(random: torch.Generator):
        scenes = sample_scenes(_share(recipe.judge_batch), _seed(random, TRAINING))
        pictures, _ = render(scenes, SIDE)
        strength = 0.06 * torch.rand(len(scenes), 1, 1, 1, generator=random)
        grain = strength * torch.randn(pictures.shape, generator=random)
        words = [[ATTRIBUTES[name].index(word) for word in getattr(scenes, name)] for name in ATTRIBUTES]
        return pictures, grain, torch.tensor(words).T

    losses = train(Reading(judge), batch, recipe.judge, folder / "judge.safetensors")
    return judge, losses


def encode_latents(recipe: Recipe, folder: Path, vae) -> tuple:
    """Stage 5: this process's scenes and their latents (n, 4, side, side), scaled to unit variance."""
    scenes, latents = encoded(recipe.latents, folder, vae)
    # Every process scales alike: by the spread of scenes that all of them can draw.
    sample, _ = render(sample_scenes(256, LATENTS), SIDE, vae.device)
    with torch.inference_mode():
        spread = vae.encode(sample * 2 - 1).latent_dist.mean.float().std().item()
    vae.register_to_config(scaling_factor=round(1 / spread, 5))
    return scenes, latents * vae.config.scaling_factor


def encoded(n: int, folder: Path, vae) -> tuple:
    """This process's share of n scenes and their latents, not yet scaled. They are encoded once, in float16, a file for
    every `SHARD` scenes."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    shards = max(processes, math.ceil(n / SHARD))
    mine = range(rank, shards, processes)
    scenes = [sample_scenes(n // shards, LATENTS + shard) for shard in mine]
    latents = [_shard(folder / f"latents-{k}.safetensors", vae, some) for k, some in zip(mine, scenes, strict=True)]
    return functools.reduce(operator.add, scenes), torch.cat(latents)


def _shard(path: Path, vae, scenes) -> Tensor:
    """The latents of these scenes: from the file if it is there, else drawn, encoded and written to it."""
    if not path.exists():
        latents, report = [], progress(len(scenes), "encoded")
        with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16, enabled=computes_bf16(vae.device)):
            for i in range(0, len(scenes), 64):
                pictures, _ = render(scenes[i : i + 64], SIDE, vae.device)
                latents.append(vae.encode(pictures * 2 - 1).latent_dist.mean.half().cpu())
                report(min(i + 64, len(scenes)))
        with atomic(path) as temporary:
            save_file({"latents": torch.cat(latents).contiguous()}, temporary)
    return load_file(path)["latents"]


def unet_of(recipe: Recipe):
    """An untrained `UNet2DConditionModel`: words are attended to below the first level."""
    from diffusers import UNet2DConditionModel

    levels = len(recipe.unet_channels)
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=recipe.unet_channels,
        layers_per_block=1,
        down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * (levels - 1),
        up_block_types=["CrossAttnUpBlock2D"] * (levels - 1) + ["UpBlock2D"],
        cross_attention_dim=recipe.text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


class NoisePrediction(nn.Module):
    """DDPM's simple loss (arXiv 2006.11239, eq. 14): |eps - eps_theta(x_t, t, cond)|^2."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, cond: Tensor, eps: Tensor) -> Tensor:
        return F.mse_loss(self.unet(x, t, cond).sample.float(), eps)


def train_unet(recipe: Recipe, folder: Path, vae, text_encoder, tokenizer):
    """Stage 6: the U-Net, with the text tower frozen."""
    from diffusers.models.attention_processor import AttnProcessor

    torch.manual_seed(recipe.unet.seed)
    unet = unet_of(recipe)
    if not torch.cuda.is_available():
        unet.set_attn_processor(AttnProcessor())  # on a CPU the fused attention's backward pass is twice as slow
    draw = captioned(*encode_latents(recipe, folder, vae), text_encoder, tokenizer)
    schedule = Schedule.stable_diffusion()

    def batch(random: torch.Generator):
        x0, cond, eps = draw(recipe.unet_batch, random)
        t = torch.randint(1000, (len(x0),), generator=random)
        return schedule.add_noise(x0, eps, t), t, cond, eps

    losses = train(NoisePrediction(unet), batch, recipe.unet, folder / "unet.safetensors")
    return unet, losses


def captioned(scenes, latents: Tensor, text_encoder, tokenizer):
    """draw(n, random): this process's share of n latents, the embeddings of words for them, and noise like them."""
    text_encoder.requires_grad_(False)

    def draw(n: int, random: torch.Generator):
        rows = torch.randint(len(latents), (_share(n),), generator=random)
        ids = token_ids(tokenizer, left_out(captions(scenes[rows], _seed(random, 0)), random))
        with torch.no_grad():
            cond = text_encoder(ids.to(text_encoder.device)).last_hidden_state
        x0 = latents[rows].float()
        return x0, cond, torch.randn(x0.shape, generator=random)

    return draw


def left_out(texts: list[str], random: torch.Generator) -> list[str]:
    """The texts, each of them empty with probability `EMPTY`, whatever the others are (2207.12598, Algorithm 1)."""
    empty = (torch.rand(len(texts), generator=random) < EMPTY).tolist()
    return ["" if e else text for e, text in zip(empty, texts, strict=True)]


def token_ids(tokenizer, texts: list[str]) -> Tensor:
    """(n, 16) token ids, padded as Stable Diffusion pads."""
    return tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids


def gather(folder: Path, vae, text_encoder, tower, tokenizer, unet, judge) -> None:
    """Writes all parts to `folder` as a `StableDiffusionPipeline` saves them, with the judge and the image tower beside
    them. The large parts are rounded to float16; the towers are small, and transformers would load them in half
    precision if they were stored so."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae.cpu().half(),
        text_encoder=text_encoder.cpu(),
        tokenizer=tokenizer,
        unet=unet.cpu().half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)
    tower.cpu().save_pretrained(folder / "image_encoder")
    (folder / "judge").mkdir()
    judged = {name: value.half().contiguous() for name, value in judge.cpu().state_dict().items()}
    save_file(judged, folder / "judge" / "model.safetensors")


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file of a weights folder but the card itself, by its path in the folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "card.json")
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def put_in_place(staged: Path, out: Path) -> None:
    """Replaces `out` by `staged` in two renames."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    staged.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def make_world(recipe: Recipe, work: Path, out: Path, replace_better: bool = False) -> dict | None:
    """All stages in order; returns the card, or None on processes other than the first.

    Raises FileExistsError, leaving `out` as it was and the new weights in `work`, when `out` holds weights that
    measured better and `replace_better` is not given."""
    from transformers import CLIPTokenizer

    work.mkdir(parents=True, exist_ok=True)
    curves = {}
    vae, curves["vae"] = train_autoencoder(recipe, work)
    curves["decoder"] = train_decoder(recipe, work, vae)
    tokens = work / f"tokenizer-{os.environ.get('RANK', 0)}"
    save_tokenizer(tokens)
    tokenizer = CLIPTokenizer.from_pretrained(tokens)
    text_encoder, tower, curves["words"] = train_words(recipe, work, tokenizer)
    judge, curves["judge"] = train_judge(recipe, work)
    unet, curves["unet"] = train_unet(recipe, work, vae, text_encoder, tokenizer)
    if int(os.environ.get("RANK", 0)) != 0:
        return None

    from kit.world.measure import measure

    if "WORLD_SIZE" in os.environ:
        torch.set_num_threads(os.cpu_count())  # the other processes are done
    staged = work / "weights"
    gather(staged, vae, text_encoder, tower, tokenizer, unet, judge)
    card = {
        "recipe": asdict(recipe),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "machine": machine(),
        "hours": {name: round(hours(work / f"{name}.safetensors"), 3) for name in curves},
        "losses": {name: thin(losses) for name, losses in curves.items()},
        "measured": measure(staged, recipe.pictures),
        "command": "python -m kit.world.measure",
        "files": checksums(staged),
    }
    with atomic(staged / "card.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")
    there = json.loads((out / "card.json").read_text())["measured"] if (out / "card.json").exists() else None
    if there and there["all"] > card["measured"]["all"] and not replace_better:
        raise FileExistsError(
            f"make_world: {out} holds better weights; got {card['measured']['all']:.3f} of prompts right, "
            f"wanted at least {there['all']:.3f}. The new ones are in {staged}; "
            "--replace puts them in place all the same"
        )
    put_in_place(staged, out)
    return card


def machine() -> str:
    """What the weights were trained on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} cores of {platform.machine()}, no GPU"


def thin(losses: list[float], points: int = 100) -> list[float]:
    """A loss curve as at most `points` means of equal stretches."""
    stretch = max(1, len(losses) // points)
    return [
        round(sum(part) / len(part), 5) for i in range(0, len(losses), stretch) for part in (losses[i : i + stretch],)
    ]


def _seed(random: torch.Generator, base: int) -> int:
    return base + int(torch.randint(1 << 40, (1,), generator=random))


def _share(batch: int) -> int:
    """This process's part of a batch."""
    return max(1, batch // int(os.environ.get("WORLD_SIZE", 1)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m kit.world.train", description="Remakes the small world's weights.")
    parser.add_argument("--work", type=Path, default=WORK, help="where the run keeps its checkpoints")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the finished weights go")
    parser.add_argument("--replace", action="store_true", help="also replace weights that measured better")
    parser.add_argument("--steps", type=int, help="steps of the U-Net's training")
    given = parser.parse_args(arguments)
    recipe = Recipe()
    if given.steps:
        recipe = replace(recipe, unet=replace(recipe.unet, steps=given.steps))
    try:
        card = make_world(recipe, given.work, given.out, given.replace)
    except FileExistsError as error:
        sys.exit(str(error))
    if card:
        print(f"weights in {given.out}")


if __name__ == "__main__":
    main()
