"""DiffEdit on the small world against the true answers: edits of one word, 25 steps, r = 0.8, w = 5; medians.

Each held-out scene has one of its words changed (species, pose, place, style, in turn), and the renderer draws the
right answer. Success: the judge reads the new word (with its 95 % bootstrap interval). Outside: PSNR to the right
answer where it equals the input. Features: distance to the right answer in the judge's eyes. IoU: of the mask with
the latents under which a tenth of the pixels or more change; in pixels: with those pixels themselves, for which the
true mask's is the most that latents can have. The true difference is that of the two pictures' latents, and takes the
place of the predicted one. Passes: pictures through the U-Net for one edit. Seconds: one edit at a
time from picture to picture, median of five rounds, each of which does every way once.

`python -m tests.bench diffedit` prints this table, `diffedit_orderings` the differences to DiffEdit, `diffedit_curves`
the curves. Scores are kept in the user's cache for these settings, weights and algorithms, so that a broken
run goes on where it was; DIFFEDIT_SCENES=400 takes more scenes and DIFFEDIT_SCORES another file. (Whoever changes a way
below gives it another name, or deletes the file.)
"""

import hashlib
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline

import kit
from kit.diffusion import ddim, diffedit, edit, guidance, image_to_image, schedule, seeds
from kit.diffusion.guidance import guided
from kit.world import ATTRIBUTES, WEIGHTS, load_judge, poses_of
from kit.world.caption import say

STEPS, RATIO, GUIDANCE, SEED = 25, 0.8, 5.0, 1 << 42
BATCH = 20  # scenes at a time, and noised copies in one call
SCENES = int(os.environ.get("DIFFEDIT_SCENES", 200))
MODULES = ddim, diffedit, edit, guidance, schedule, seeds  # what the ways are made of
KINDS = ("species", "pose", "place", "style")


# The scenes


def edits(n, seed):
    """n scenes, the same scenes with one word changed, which attribute that was, and the two captions of each."""
    scenes = kit.sample_scenes(n, seed)
    random = torch.Generator().manual_seed(seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(n)]
    wanted, texts = [], []
    for i, kind in enumerate(kinds):
        has = getattr(scenes, kind)[i]
        words = poses_of(scenes.species[i]) if kind == "pose" else ATTRIBUTES[kind]
        others = [word for word in words if word != has]
        new = others[int(torch.randint(len(others), (), generator=random))]
        wanted.append(scenes[i].replace(**{kind: new}))
        texts.append([say({"species": s.species[0], kind: getattr(s, kind)[0]}) for s in (scenes[i], wanted[-1])])
    return scenes, sum(wanted[1:], wanted[0]), kinds, texts


@cache
def world():
    """The weights."""
    return kit.load("world", device="cpu")


@cache
def judge():
    return load_judge()


@dataclass
class Case:
    """Some scenes, as latents and texts, and the latents under which they should change."""

    x0: torch.Tensor
    reference: torch.Tensor
    query: torch.Tensor
    truth: torch.Tensor
    answer: torch.Tensor  # the true answer's latents

    def __getitem__(self, rows):
        return Case(*(getattr(self, field.name)[rows] for field in fields(self)))


class Part:
    """BATCH scenes, the same whatever the number of parts, with all that is known of them."""

    def __init__(self, number):
        before, after, self.kinds, texts = edits(BATCH, SEED + number)
        (input, _), (self.answer, _) = kit.render(before), kit.render(after)
        self.words = [getattr(after, kind)[i] for i, kind in enumerate(self.kinds)]
        self.changed = (input - self.answer).abs().amax(1, keepdim=True) > 0.02
        truth = F.avg_pool2d(self.changed.float(), world().factor) >= 0.1
        reference, query = (world().embed(list(column)) for column in zip(*texts, strict=True))
        self.case = Case(world().encode(input), reference, query, truth, world().encode(self.answer))
        self.seen = judge().read(self.answer)

    def of_edit(self, x):
        """{score: a number for each scene, None where there is none} of edited latents."""
        made = world().decode(x)
        verdict, kept = judge().read(made), (~self.changed).float()
        words = zip(self.kinds, self.words, strict=True)
        error = ((made - self.answer).square() * kept).sum((1, 2, 3)) / (3 * kept.sum((1, 2, 3)))
        return {
            "success": [float(getattr(verdict, kind)[i] == word) for i, (kind, word) in enumerate(words)],
            "outside": [None if db != db else db for db in (-10 * error.log10()).tolist()],
            "features": (verdict.features - self.seen.features).norm(dim=1).tolist(),
        }

    def of_mask(self, mask):
        """The same of a mask, (n, 1, h, w) bool."""
        f = world().factor
        pixels = mask.repeat_interleave(f, 2).repeat_interleave(f, 3)
        return {
            "IoU": overlap(mask, self.case.truth).tolist(),
            "in pixels": overlap(pixels, self.changed).tolist(),
            "covers": mask.flatten(1).float().mean(1).tolist(),
        }


@cache
def part(number):
    return Part(number)


def overlap(a, b):
    """Intersection over union of bool masks, (n,)."""
    return (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1).clamp(min=1)


# The ways, each a call (case) -> (edited latents, the mask used or None)


def timesteps():
    return world().timesteps(STEPS)


@cache
def guide():
    return guided(world().predict, world().embed(""), GUIDANCE)


def encoded(case, ratio=RATIO):
    empty = world().embed("")
    return diffedit.encode(world().predict, world().schedule, case.x0, timesteps(), empty, ratio=ratio)


def edited(levels, mask, query):
    return diffedit.edit(guide(), world().schedule, levels, mask, query)


def image_to_image_of(case, ratio=RATIO):
    return image_to_image(guide(), world().schedule, case.x0, case.query, strength=ratio, steps=STEPS), None


def without_mask(case):
    return edited(encoded(case), torch.ones_like(case.truth), case.query), None


def with_true_mask(case):
    return edited(encoded(case), case.truth, case.query), case.truth


def with_true_difference(case):
    """The mask that step 1's arithmetic makes of what truly changes in the latents, as if the network knew."""
    mask = diffedit.to_mask((case.answer - case.x0)[:, None]).mask
    return edited(encoded(case), mask, case.query), mask


def masked(*deviations, **of_mask):
    """The way of `masked_edit`, with these settings of its mask."""

    def way(case):
        made = diffedit.masked_edit(
            world().predict, world().schedule, case.x0, timesteps(), case.reference, case.query, world().embed(""),
            ratio=RATIO, guidance=GUIDANCE, batch=BATCH, deviations=deviations, **of_mask,
        )  # fmt: skip
        return made.x, made.mask.mask

    return way


@cache
def their_pipeline():
    models = world()
    config = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                  set_alpha_to_one=False, steps_offset=1)  # fmt: skip
    pipe = StableDiffusionDiffEditPipeline(
        models.vae, models.text_encoder, models.tokenizer, models.unet, DDIMScheduler(**config), None, None,
        DDIMInverseScheduler(**config), requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def theirs(case):
    """diffusers' three calls; the first on one picture at a time, as its batches share a scale."""
    pipe, empty = their_pipeline(), world().embed("")
    settings = dict(num_inference_steps=STEPS, guidance_scale=GUIDANCE)

    def mask_of(one):
        return pipe.generate_mask(
            one.x0, target_prompt_embeds=one.query, target_negative_prompt_embeds=empty,
            source_prompt_embeds=one.reference, source_negative_prompt_embeds=empty,
            generator=torch.Generator().manual_seed(0), **settings,
        )  # fmt: skip

    masks = [mask_of(case[i : i + 1]) for i in range(len(case.x0))]
    mask = torch.from_numpy(np.concatenate(masks)).float()[:, None]
    part = dict(inpaint_strength=RATIO, negative_prompt_embeds=empty.expand_as(case.query))
    levels = pipe.invert(image=case.x0, prompt_embeds=case.reference, **part, **settings).latents
    made = pipe(None, mask, levels, prompt_embeds=case.query, output_type="latent", **part, **settings).images
    return made, mask.bool()


WAYS = {
    "the input, not edited": lambda case: (case.x0, None),
    "image-to-image": image_to_image_of,
    "encode, decode, no mask": without_mask,
    "DiffEdit without encoding": masked("noise in place of encoding"),
    "DiffEdit": masked(),
    "DiffEdit, mask of the true difference": with_true_difference,
    "DiffEdit, true mask": with_true_mask,
    "diffusers 0.42": theirs,
}


# What is measured, and kept


def file():
    """Where scores are kept: a file of these settings, weights and algorithms, so that others are not mixed in."""
    if "DIFFEDIT_SCORES" in os.environ:
        return Path(os.environ["DIFFEDIT_SCORES"])
    made = hashlib.sha256(repr((STEPS, RATIO, GUIDANCE, SEED, BATCH)).encode())
    for source in (WEIGHTS / "card.json", *(Path(module.__file__) for module in MODULES)):
        made.update(source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "walkthrough-kit" / "bench" / f"diffedit-{made.hexdigest()[:12]}.json"


class Kept:
    """Scores by job, in a file that is never half written."""

    def __init__(self, path):
        self.path = path
        self.scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def take(self, job, work):
        """The scores of a job: those kept, or else those that `work` makes now."""
        if job not in self.scores:
            print(f"{time.strftime('%H:%M:%S')} {job}", file=sys.stderr, flush=True)
            self.scores[job] = work()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self.path.with_suffix(f".{os.getpid()}")
            whole.write_text(json.dumps(self.scores), encoding="utf-8")
            whole.replace(self.path)
        return self.scores[job]


@cache
def kept():
    return Kept(file())


def scores(name, work):
    """{score: (scenes,)} of a way: `work` makes {score: numbers} of a part, unless that is kept."""
    parts = [kept().take(f"{name}, part {i}", lambda i=i: work(part(i))) for i in range(-(-SCENES // BATCH))]
    return {
        score: torch.tensor([math.nan if v is None else v for scored in parts for v in scored[score]])
        for score in parts[0]
    }


def scores_of(way):
    """The same of one of WAYS."""

    def work(part):
        x, mask = WAYS[way](part.case)
        return part.of_edit(x) | ({} if mask is None else part.of_mask(mask))

    return scores(way, work)


def of_kind(kind):
    """(scenes,) bool."""
    return torch.tensor([KINDS[i % BATCH % len(KINDS)] == kind for i in range(-(-SCENES // BATCH) * BATCH)])


# The table


def interval(values, digits=0):
    """The mean and its 95 % bootstrap interval."""
    values = values[~values.isnan()].double()
    draws = torch.randint(len(values), (2000, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = values[draws].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return "{:.{d}f} ({:.{d}f}…{:.{d}f})".format(values.mean(), low, high, d=digits)


def passes(way):
    """Pictures through the U-Net for one edit."""
    seen = []
    hook = world().unet.register_forward_hook(lambda unet, given, out: seen.append(len(given[0])))
    WAYS[way](part(0).case[:1])
    hook.remove()
    return sum(seen)


def seconds():
    """{way: seconds from one picture to its edit}."""
    one, picture = part(0).case[:1], world().decode(part(0).case.x0[:1])
    taken = {name: [] for name in WAYS}
    for _ in range(6):
        for name, way in WAYS.items():
            started = time.perf_counter()
            world().decode(way(replace(one, x0=world().encode(picture)))[0])
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


@torch.inference_mode()
def run():
    rows, all_scores, taken = [], {name: scores_of(name) for name in WAYS}, seconds()
    for name, found in all_scores.items():
        row = {"way": name, **{kind: interval(100 * found["success"][of_kind(kind)]) for kind in KINDS}}
        row |= {"outside, dB": f"{found['outside'].nanmedian():.1f}", "features": f"{found['features'].median():.1f}"}
        row |= {score: f"{found[score].median():.2f}" if score in found else "" for score in ("IoU", "in pixels")}
        rows.append(row | {"passes": passes(name), "s": f"{taken[name]:.2f}"})
    return rows
