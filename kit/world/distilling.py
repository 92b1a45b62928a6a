"""Remakes the small world's students: `python -m kit.world.distilling`, or `make students`.

Stages, each a run of `kit.diffusion.training.train` with a checkpoint of its own, so that a killed run goes on where
it stopped: one network learns what the U-Net says under guidance, for every w of a range (2210.03142, stage 1); then
halving after halving of its steps (stage 2; 2202.00512, Algorithm 2); last an encoder, which walks up as the U-Net
does, in half the steps, and differs from a student in its attention only.
"""

import argparse
import json
import os
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from kit.diffusion import ddim, lora
from kit.diffusion.distill import Halving, Matching, discrete, halved, upward
from kit.diffusion.guidance import guided
from kit.diffusion.seeds import randn
from kit.diffusion.training import Plan, atomic, hours, train
from kit.world import STUDENTS, WEIGHTS, students
from kit.world import train as world
from kit.world.caption import captions
from kit.world.measure import HELD_OUT, World
from kit.world.scene import ATTRIBUTES, sample_scenes
from kit.world.students import Student, hearing

GUIDANCE = (1.0, 2.0, 4.0, 7.5)  # the w that students are measured at


def halving(steps, lr):
    """As the paper anneals: from a rate down a line, without an average of the weights."""
    return Plan(steps, lr, warmup=0.02, decay=0, average=0, every=100, precision="bf16", fall="line", muon="block")


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains; batches are shared among processes."""

    batch: int = 64
    guidance: tuple[float, float] = (1.0, 8.0)  # w is drawn from here, 1 / sqrt(w) evenly: errors grow with it
    weight: str = "truncated_snr"  # of `distill.WEIGHTS`
    guided: Plan = Plan(steps=3000, lr=3e-4, every=100, precision="bf16", average=0.99, muon="block")
    first: int = 16  # steps of the guided network, before any halving
    halvings: tuple[Plan, ...] = (  # the later, the farther a student has to go
        halving(600, 3e-4),
        halving(800, 3e-4),
        halving(1200, 3e-4),
        halving(1600, 3e-4),
    )
    shipped: tuple[int, ...] = (8, 4, 2, 1)
    encoder: Plan = replace(halving(150, 4e-4), muon=None)  # of as many steps as the first that is shipped
    rank: int = 32  # of the encoder's changes
    latents: int = 12_000
    prompts: int = 100  # held out, to measure the finished students
    exact: int = 64  # steps of the teacher's own, that they are measured against


def distilled(recipe: Recipe, work: Path, teacher: World):
    """(name, student, losses) of every stage with a w: "guided", then its steps for each halving.

    The checkpoints are in `work` / students, the latents of the small world's own training in `work`.
    """
    folder, draw = work / "students", drawn(recipe, work, teacher)
    student, losses = _guided(recipe, folder, teacher, draw)
    yield "guided", student, losses
    levels = discrete(teacher.schedule, recipe.first)
    for plan in recipe.halvings:
        master, student = student, Student(deepcopy(student.unet)).requires_grad_(True)
        objective = Halving(student, master.requires_grad_(False), levels, recipe.weight)
        levels = halved(levels)
        losses = train(objective, _batches(recipe, draw, levels), plan, folder / f"{levels.steps}.safetensors")
        yield str(levels.steps), student, losses


class Unguided(nn.Module):
    """The small world's own U-Net as a module (z, t, cond, w) -> v; it does not heed w."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def forward(self, z, t, cond, w):
        return self.teacher.schedule.v_from_eps(z, self.teacher.predict(z, t, cond), t.cpu())


def encoder(recipe: Recipe, work: Path, teacher: World, student):
    """(student, losses): how the U-Net walks up without guidance, in half the steps.

    student: the first that is shipped, as it is shipped: a `Distilled`, whose copy the encoder begins as.
    """
    levels = upward(discrete(teacher.schedule, 2 * student.levels.steps))
    draw = _batches(replace(recipe, guidance=(1.0, 1.0)), drawn(recipe, work, teacher), halved(levels))
    with lora.trainable(student.network, recipe.rank, recipe.encoder.seed) as fitted:
        objective = Halving(fitted, Unguided(teacher), levels, recipe.weight)
        losses = train(objective, draw, recipe.encoder, work / "students" / "encoder.safetensors")
    return fitted, losses


def drawn(recipe, work, teacher):
    """As the U-Net was trained: latents of rendered scenes, their captions' embeddings, noise."""
    work.mkdir(parents=True, exist_ok=True)
    scenes, latents = world.encoded(recipe.latents, work, teacher.vae)
    return world.captioned(scenes, latents * teacher.scale, teacher.text_encoder, teacher.tokenizer)


def _guided(recipe, folder, teacher, draw):
    student = Student(_trainable(hearing(teacher.unet)))
    levels = discrete(teacher.schedule, recipe.first)
    uncond = teacher.text_encoder(teacher.tokens([""])).last_hidden_state
    objective = Matching(student, teacher.predict, levels, uncond, recipe.weight)
    one = _batches(replace(recipe, batch=recipe.batch // 2), draw, levels)

    def batch(random):
        """Half as many latents, each under two w that mirror each other: what differs is what w does."""
        *given, w = one(random)
        return *given, torch.cat([w, (sum(end**-0.5 for end in recipe.guidance) - w**-0.5) ** -2])

    losses = train(objective, batch, recipe.guided, folder / "guided.safetensors")
    return student, losses


def _batches(recipe, draw, levels):
    small, large = (end**-0.5 for end in reversed(recipe.guidance))

    def batch(random):
        x0, cond, eps = draw(recipe.batch, random)
        i = torch.randint(1, levels.steps + 1, (len(x0),), generator=random)
        return x0, i, eps, cond, (small + (large - small) * torch.rand(len(x0), generator=random)) ** -2

    return batch


def _trainable(unet):
    from diffusers.models.attention_processor import AttnProcessor

    if not torch.cuda.is_available():
        unet.set_attn_processor(AttnProcessor())  # on a CPU the fused attention's backward pass is twice as slow
    return unet.requires_grad_(True)


@torch.inference_mode()
def errors(teacher: World, networks, n: int, exact: int) -> dict:
    """steps -> {w: the mean squared error of latents}, against the teacher's guided DDIM of `exact` steps.

    networks: steps -> `Distilled`. n: held-out prompts, each with a seed of its own.
    """
    texts = captions(sample_scenes(n, HELD_OUT + 20), HELD_OUT + 21, mention=tuple(ATTRIBUTES))
    cond, empty = (teacher.text_encoder(teacher.tokens(t)).last_hidden_state for t in (texts, [""] * n))
    z = randn((n, 4, 16, 16), list(range(n)), teacher.device)
    table = {steps: {} for steps in networks}
    for w in GUIDANCE:
        predict = guided(teacher.predict, empty, w)
        times = discrete(teacher.schedule, exact).times.flip(0)[:-1]
        wanted = ddim.sample(predict, teacher.schedule, z, times, cond)
        for student, network in networks.items():
            table[student][w] = round((network.sample(z, cond, w) - wanted).square().mean().item(), 5)
    return table


def make_students(recipe: Recipe, work: Path, out: Path, replace_better: bool = False) -> dict | None:
    """All stages in order; returns the card, or None on processes other than the first.

    Raises FileExistsError, leaving `out` as it was and the new students in `work`, when `out` holds students nearer to
    the teacher and `replace_better` is not given."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())  # before the teacher, for it chooses the process's GPU
    teacher = World(WEIGHTS)
    staged = work / "students" / "finished"
    curves, first = {}, int(os.environ.get("RANK", 0)) == 0
    for name, student, curves[name] in distilled(recipe, work, teacher):
        if first and name in map(str, recipe.shipped):
            students.save(student, recipe.guidance, staged / f"{name}.safetensors")
    accelerator.wait_for_everyone()
    networks = {steps: students.load(teacher.unet, steps, staged) for steps in recipe.shipped}
    down = networks[recipe.shipped[0]]
    up, curves["encoder"] = encoder(recipe, work, teacher, down)
    if not first:
        return None
    students.save(up, (1.0, 1.0), staged / "encoder.safetensors", base=down.network)
    measured = errors(teacher, networks, recipe.prompts, recipe.exact)
    card = {
        "recipe": asdict(recipe),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "machine": world.machine(),
        "hours": {name: round(hours(work / "students" / f"{name}.safetensors"), 3) for name in curves},
        "losses": {name: world.thin(losses) for name, losses in curves.items()},
        "measured": {str(steps): row for steps, row in measured.items()},
        "files": world.checksums(staged),
    }
    with atomic(staged / "card.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")
    if (out / "card.json").exists() and not replace_better:
        _refuse_worse(json.loads((out / "card.json").read_text())["measured"], card["measured"], staged, out)
    world.put_in_place(staged, out)
    return card


def _refuse_worse(there, now, staged, out):
    for steps in sorted(set(there) & set(now), key=int):
        old, new = (sum(table[steps].values()) / len(table[steps]) for table in (there, now))
        if new > old:
            raise FileExistsError(
                f"make_students: {out} holds a better student of {steps} steps; got an error of {new:.4f}, wanted at "
                f"most {old:.4f}. The new ones are in {staged}; --replace puts them in place all the same"
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m kit.world.distilling", description="Remakes the students.")
    parser.add_argument("--work", type=Path, default=world.WORK, help="where the run keeps its checkpoints")
    parser.add_argument("--out", type=Path, default=STUDENTS, help="where the finished students go")
    parser.add_argument("--replace", action="store_true", help="also replace students that measured better")
    given = parser.parse_args(arguments)
    try:
        card = make_students(Recipe(), given.work, given.out, given.replace)
    except FileExistsError as error:
        sys.exit(str(error))
    if card:
        print(f"students in {given.out}")


if __name__ == "__main__":
    main()
