"""Imagic on the small world against the true answers: poses changed, eta from 0 to 1.2; means over the pictures."""

import hashlib
import os
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor

import kit
from kit.diffusion import ddim, denoising, diffedit, guidance, image_to_image, imagic, schedule, seeds
from kit.diffusion.guidance import guided
from kit.world import WEIGHTS, load_judge, load_likeness
from kit.world.caption import say
from kit.world.scene import POSES
from tests.bench.bench_diffedit import Kept, interval

STEPS, GUIDANCE, SEED = 25, 3.0, (1 << 42) + (1 << 20)
ETAS, BEST = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 1, 1.2), 0.8  # the best by the sweep's pictures
STRENGTHS = (0.4, 0.6, 0.8)
PICTURES = int(os.environ.get("IMAGIC_PICTURES", 60))
MODULES = ddim, denoising, guidance, imagic, schedule, seeds  # what the ways are made of
WINGS = "spreading its wings"
EDITS = (  # species, the pose it has, the pose it should have
    ("dog", "standing", "sitting"), ("bird", "standing", WINGS), ("horse", "standing", "jumping"),
    ("cow", "sitting", "standing"), ("giraffe", "standing", "sitting"), ("zebra", "jumping", "sitting"),
    ("dog", "jumping", "standing"), ("bird", "sitting", WINGS), ("horse", "sitting", "jumping"),
    ("cow", "standing", "jumping"), ("giraffe", "jumping", "standing"), ("zebra", "sitting", "standing"),
)  # fmt: skip


@cache
def world():
    """The weights, with the attention whose backward pass is the faster on a CPU."""
    models = kit.load("world", device="cpu")
    models.unet.set_attn_processor(AttnProcessor())
    return models


@cache
def readers():
    return load_judge(), load_likeness()


class Edit:
    """One picture, the words for what it should become, and the right answer."""

    def __init__(self, number, seed=SEED):
        self.species, before, self.pose = EDITS[number % len(EDITS)]
        scene = kit.sample_scenes(1, seed + number, species=self.species, pose=before)
        (self.input, _), (self.answer, _) = kit.render(scene), kit.render(scene.replace(pose=self.pose))
        self.changed = (self.input - self.answer).abs().amax(1, keepdim=True) > 0.02
        self.before, self.words = (say({"species": self.species, "pose": pose}) for pose in (before, self.pose))
        models, (judge, _) = world(), readers()
        self.x0, self.target = models.encode(self.input), models.embed(self.words)
        tokens = models.tokenizer(self.words, padding="max_length", max_length=16, return_tensors="pt")
        self.pooled = models.text_encoder(tokens.input_ids).pooler_output
        self.held = models.decode(self.x0)  # the most that any edit in latents can keep
        self.seen = judge.read(torch.cat([self.input, self.answer])).features

    @torch.no_grad()
    def scores(self, x):
        """{score: a number for each} of edited latents (n, c, h, w)."""
        judge, likeness = readers()
        made = world().decode(x)
        verdict, kept = judge.read(made), (~self.changed).float()
        error = ((made - self.answer).square() * kept).sum((1, 2, 3)) / (3 * kept.sum())
        scores = {
            "pose": verdict.probabilities["pose"][:, POSES.index(self.pose)],
            "success": verdict.agrees("pose", self.pose).float(),
            "species": verdict.agrees("species", self.species).float(),
            "outside": -10 * error.log10(),
            "from the input": (verdict.features - self.seen[0]).norm(dim=1),
            "from the answer": (verdict.features - self.seen[1]).norm(dim=1),
            "rmse": (made - self.held).square().mean((1, 2, 3)).sqrt(),
            "clip": likeness.score(made, self.pooled),
        }
        return {name: [round(v, 5) for v in values.tolist()] for name, values in scores.items()}


@torch.no_grad()
def drawn(network, conds, seed):
    """Latents from the same noise under each of conds (n, L, d)."""
    models = world().with_network(network)
    x = seeds.randn((1, *models.latent_shape), seed).expand(len(conds), -1, -1, -1)
    guide = guided(models.predict, models.embed("").expand(len(conds), -1, -1), GUIDANCE)
    return ddim.sample(guide, models.schedule, x.contiguous(), models.timesteps(STEPS), conds)


def scores_file(name, *settings):
    """Where scores are kept: a file of these settings, weights and algorithms, so that others are not mixed in."""
    if "IMAGIC_SCORES" in os.environ:
        return Path(os.environ["IMAGIC_SCORES"])
    made = hashlib.sha256(repr((STEPS, GUIDANCE, SEED, EDITS, settings)).encode())
    for source in (WEIGHTS / "card.json", *(Path(module.__file__) for module in MODULES)):
        made.update(source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "walkthrough-kit" / "bench" / f"{name}-{made.hexdigest()[:12]}.json"


def plans():
    """The settings for the small world, in bfloat16."""
    both = imagic.SMALL_WORLD_EMBEDDING, imagic.SMALL_WORLD_NETWORK
    return [replace(plan, precision="bf16") for plan in both]


def fitted(edit):
    """(e_opt, the fitted network)."""
    models, (embedding, network) = world(), plans()
    given = models.network, models.denoising, edit.x0, edit.target
    *_, state = imagic.fit(*given, embedding=embedding, model=network)
    return state.cond, state.network


def timed(way):
    """(what a call gives, the seconds that its thread worked)."""
    begun = time.thread_time()
    return way(), time.thread_time() - begun


# The other ways, each a call (edit) -> edited latents


def strong(models):
    return guided(models.predict, models.embed(""), 5.0)


@torch.no_grad()
def noised(edit, strength):
    models = world()
    return image_to_image(strong(models), models.schedule, edit.x0, edit.target, strength=strength, steps=STEPS)


@torch.no_grad()
def inverted(edit, masked=False):
    """DiffEdit, or what is left of it without a mask: plain DDIM inversion, decoded under the words."""
    models, words = world(), world().embed(edit.before)
    empty, ones = models.embed(""), torch.ones(models.latent_shape[1:])
    if masked:
        settings = dict(ratio=0.8, guidance=5.0)
        texts = words, edit.target, empty
        return diffedit.masked_edit(
            models.predict, models.schedule, edit.x0, models.timesteps(STEPS), *texts, **settings
        ).x
    up = diffedit.encode(models.predict, models.schedule, edit.x0, models.timesteps(STEPS), empty, ratio=0.8)
    return diffedit.edit(strong(models), models.schedule, up, ones, edit.target)


OTHERS = {f"image-to-image, {s:.0%}": lambda edit, s=s: noised(edit, s) for s in STRENGTHS}
OTHERS |= {"encode, decode": inverted, "DiffEdit": lambda edit: inverted(edit, masked=True)}


def work(number):
    """{way: {score: numbers}} of a picture; the numbers of Imagic are one for each of ETAS."""
    edit, found = Edit(number), {}
    (cond, network), seconds = timed(lambda: fitted(edit))
    conds = imagic.between(cond, edit.target, ETAS)
    one, drawing = timed(lambda: drawn(network, conds, 0))
    found["Imagic"] = edit.scores(one) | {"seconds": [seconds + drawing / len(ETAS)] * len(ETAS)}
    found["without fine-tuning"] = edit.scores(drawn(world().network, conds, 0))
    found["the input, not edited"] = edit.scores(edit.x0)
    for name, way in OTHERS.items():
        made, seconds = timed(lambda way=way: way(edit))
        found[name] = edit.scores(made) | {"seconds": [seconds]}
    return found


@cache
def all_scores():
    """{(way, eta or ""): {score: (pictures,)}}."""
    kept, found = Kept(scores_file("imagic", ETAS, plans())), {}
    for number in range(PICTURES):
        for way, scores in kept.take(f"picture {number}", lambda number=number: work(number)).items():
            etas = ETAS if len(scores["pose"]) == len(ETAS) else [""]
            for score, values in scores.items():
                for eta, value in zip(etas, values, strict=True):
                    found.setdefault((way, eta), {}).setdefault(score, []).append(value)
    return {key: {score: torch.tensor(values) for score, values in of.items()} for key, of in found.items()}


def run():
    rows = []
    for (way, eta), of in all_scores().items():
        row = {"way": way, "eta": eta, "success, %": interval(100 * of["success"]), "pose": f"{of['pose'].mean():.2f}"}
        row |= {"species, %": f"{100 * of['species'].mean():.0f}", "outside, dB": f"{of['outside'].mean():.1f}"}
        row |= {f"{name}": f"{of[name].mean():.1f}" for name in ("from the input", "from the answer")}
        row |= {"RMSE": f"{of['rmse'].mean():.3f}", "CLIP": f"{of['clip'].mean():.3f}"}
        rows.append(row | {"s": f"{of['seconds'].median():.1f}" if "seconds" in of else ""})
    return rows
