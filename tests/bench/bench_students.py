"""Students of few steps against the samplers of their teacher, on held-out prompts, the same noise for all.

Each prompt says species, pose, place and style, and is drawn from two seeds. Frechet: the distance of the pictures
from renders, in the judge's features; its bias falls with the number of pictures, so rows compare only with each other
(what as many renders have is the last row). Right: how often the judge reads all four words (with a 95 % bootstrap
interval). Apart: the distance of a prompt's two pictures in the judge's features, its mean (variety). More: than of
the teacher in 32 steps, prompt by prompt. Off: the RMSE of latents against the teacher's own 256 steps of DDIM, over
the first prompts only. Passes: latents through the U-Net for a picture. Seconds: one picture from noise to pixels,
median of five.

Every sampler begins at timestep 999 and ends at the clean end ("trailing" spacing). DPM-Solver++ and UniPC are those of
diffusers, of second order.

`python -m tests.bench students` prints this table. What was measured is kept in the user's cache for these settings,
weights and algorithms, so that a broken run goes on where it was; STUDENTS_PROMPTS=200 takes more prompts,
STUDENTS_NEAR=40 holds more of them against 256 steps.
"""

import hashlib
import inspect
import os
import statistics
import sys
import time
from functools import cache, lru_cache
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

import kit
from kit.diffusion import ddim, distill, guidance, seeds
from kit.diffusion.guidance import guided
from kit.world import STUDENTS, WEIGHTS, load_judge, students
from kit.world.caption import captions
from kit.world.judge import frechet_distance
from kit.world.scene import ATTRIBUTES
from tests.bench.bench_diffedit import Kept, interval

PROMPTS = int(os.environ.get("STUDENTS_PROMPTS", 50))
NEAR = int(os.environ.get("STUDENTS_NEAR", 16))
SEED, BATCH, RENDERS = (1 << 43) + 7, 20, 2000
GUIDANCE = (1.0, 2.0, 4.0, 7.5)
FEW, TEACHER, EXACT = (8, 4, 2, 1), 32, 256
RIVALS = {"DPM-Solver++": DPMSolverMultistepScheduler, "UniPC": UniPCMultistepScheduler}
ROWS = [
    ("DDIM", TEACHER),
    *((name, steps) for steps in FEW for name in ("DDIM", *RIVALS)),
    *(("student", steps) for steps in students.shipped()),
]


@cache
def world():
    return kit.load("world")


@cache
def judge():
    return load_judge()


@cache
def student(steps):
    return world().student(steps)


@lru_cache
def drawn(part):
    """(scenes, cond, z) of `BATCH` pictures: half as many prompts, twice each."""
    scenes = kit.sample_scenes(PROMPTS, SEED)
    texts = captions(scenes, SEED, mention=tuple(ATTRIBUTES))
    rows = [row for row in range(PROMPTS) for _ in range(2)][part * BATCH : (part + 1) * BATCH]
    numbers = range(SEED + part * BATCH, SEED + part * BATCH + len(rows))
    cond = world().embed([texts[row] for row in rows])
    return scenes[torch.tensor(rows)], cond, seeds.randn((len(rows), *world().latent_shape), list(numbers))


# The samplers


def sampled(name, steps, w, z, cond):
    """Clean latents of one of ROWS."""
    if name == "student":
        return student(steps).sample(z, cond, w)
    predict = guided(world().predict, world().embed(""), w) if w != 1 else world().predict
    if name == "DDIM":
        times = distill.discrete(world().schedule, steps).times.flip(0)[:-1]
        return ddim.sample(predict, world().schedule, z, times, cond)
    scheduler = RIVALS[name](
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        z = scheduler.step(predict(z, t, cond), t, z).prev_sample
    return z


def passes(name, steps, w):
    return steps * (1 if name == "student" or w == 1 else 2)


# What is measured


def scored(name, steps, w, part):
    """Of a part's pictures: whether the judge reads the prompt, its features, the latents of the prompts that are
    held against 256 steps."""
    scenes, cond, z = drawn(part)
    latents = sampled(name, steps, w, z, cond)
    verdict = judge().read(world().decode(latents).cpu())
    right = torch.stack([verdict.agrees(attribute, getattr(scenes, attribute)) for attribute in ATTRIBUTES]).all(0)
    near = max(0, min(len(z), 2 * NEAR - part * BATCH))
    off = [] if not near or steps == EXACT else _off(latents[:near], exact(w, part)[:near])
    return {"right": right.float().tolist(), "features": verdict.features.tolist(), "off": off}


def exact(w, part):
    """The teacher's latents in 256 steps."""

    def work():
        _, cond, z = drawn(part)
        near = max(0, min(len(z), 2 * NEAR - part * BATCH))
        return sampled("DDIM", EXACT, w, z[:near], cond[:near]).tolist()

    return torch.tensor(kept().take(f"256 steps, w = {w}, {NEAR} prompts, part {part}", work))


def _off(latents, wanted):
    return (latents.cpu() - wanted).square().flatten(1).mean(1).sqrt().tolist()


@cache
def kept():
    """Named by what the numbers depend on, but for the students."""
    sources = [inspect.getsource(module) for module in (ddim, distill, guidance, seeds, sys.modules[__name__])]
    card = (WEIGHTS / "card.json").read_text(encoding="utf-8")
    name = hashlib.sha256("".join([*sources, card, str(PROMPTS)]).encode()).hexdigest()[:16]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Kept(cache_home / "walkthrough-kit" / f"students-{name}.json")


@cache
def which():
    """Which students these are, in a few letters."""
    return hashlib.sha256((STUDENTS / "card.json").read_bytes()).hexdigest()[:8]


@torch.inference_mode()
def scores(name, steps, w):
    """{right (n,), features (n, 128), off (2 NEAR,)} of all pictures of a row."""
    job = f"{name}{' ' + which() if name == 'student' else ''}, {steps} steps, w = {w}, near {NEAR}"
    taken = [
        kept().take(f"{job}, part {part}", lambda part=part: scored(name, steps, w, part))
        for part in range(-(-2 * PROMPTS // BATCH))
    ]
    return {key: torch.tensor([value for each in taken for value in each[key]]) for key in taken[0]}


@cache
def renders(n, seed):
    """The judge's features (n, 128) of fresh renders."""
    scenes = kit.sample_scenes(n, seed)
    parts = [scenes[i : i + 100] for i in range(0, n, 100)]
    return torch.cat([judge().read(kit.render(part)[0]).features for part in parts])


@torch.inference_mode()
def seconds(name, steps, w):
    """One picture, from noise to pixels."""
    _, cond, z = drawn(0)
    taken = []
    for _ in range(6):
        begun = time.perf_counter()
        world().decode(sampled(name, steps, w, z[:1], cond[:1])).cpu()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def apart(features):
    return (features[::2] - features[1::2]).norm(dim=1)


def row(name, steps, w, spent):
    got, best = scores(name, steps, w), scores("DDIM", TEACHER, w)
    return {
        "sampler": name,
        "steps": steps,
        "w": f"{w:g}",
        "Frechet": f"{frechet_distance(got['features'], renders(RENDERS, SEED + 1)):.0f}",
        "right, %": interval(100 * got["right"]),
        "more right": interval(100 * (got["right"] - best["right"])),
        "apart": f"{apart(got['features']).mean():.1f}",
        "more apart": interval(apart(got["features"]) - apart(best["features"]), 1),
        "off": f"{got['off'].mean():.3f}",
        "passes": passes(name, steps, w),
        "s": f"{spent:.2f}",
    }


def run():
    measured = [(name, steps, w) for name, steps in ROWS for w in GUIDANCE]
    for each in measured:
        scores(*each)
    rows = [row(*each, seconds(*each)) for each in measured]
    floor = frechet_distance(renders(2 * PROMPTS, SEED + 2), renders(RENDERS, SEED + 1))
    return [*rows, dict.fromkeys(rows[0], "") | {"sampler": "renders", "Frechet": f"{floor:.0f}"}]
