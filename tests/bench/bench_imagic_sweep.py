"""Imagic's rates and steps on the small world, by pictures that `imagic` does not measure."""

import math
import statistics
from functools import partial
from itertools import product

from kit.diffusion import imagic
from kit.diffusion.training import Plan
from tests.bench.bench_diffedit import Kept
from tests.bench.bench_imagic import SEED, Edit, drawn, scores_file, world

CONSTANT = dict(warmup=0, floor=1, decay=0, average=0, clip=math.inf, precision="bf16")
DRAWS, NUMBERS = 4, range(3)
ETAS = (0, 0.6, 0.7, 0.8, 1)
EMBEDDING = 100
LENGTHS = (50, 100)
GRID = {0.03: (1e-4, 3e-4), 0.01: (1e-4, 3e-4, 1e-3)}  # the embedding's rate: the network's


def work(number, rate, rates):
    edit, models, found = Edit(number, SEED + 10_000), world(), {}
    plan = Plan(EMBEDDING, rate, **CONSTANT)
    *_, state = imagic.fit_embedding(models.network, models.denoising, edit.x0, edit.target, plan=plan, draws=DRAWS)
    conds = imagic.between(state.cond, edit.target, ETAS)
    moved = ((state.cond - edit.target).norm() / edit.target.norm()).item()
    found["none|0"] = edit.scores(drawn(models.network, conds, 0)) | {"moved": moved, "loss": state.loss}
    for lr in rates:
        plan = Plan(max(LENGTHS), lr, **CONSTANT)
        steps = imagic.fit_network(models.network, models.denoising, edit.x0, state.cond, plan=plan, draws=DRAWS)
        for now in steps:
            if now.step in LENGTHS and f"{lr}|{now.step}" not in found:
                found[f"{lr}|{now.step}"] = edit.scores(drawn(now.network, conds, 0))
    return found


def run():
    kept, points = Kept(scores_file("imagic-sweep", ETAS, EMBEDDING, LENGTHS, GRID)), {}
    for (rate, rates), number in product(GRID.items(), NUMBERS):
        work_here = partial(work, number, rate, rates)
        for key, scores in kept.take(f"{number}, {rate}", work_here).items():
            points.setdefault((rate, *key.split("|")), []).append(scores)
    return [row(*setting, found) for setting, found in points.items()]


def row(rate, lr, steps, found):
    """A setting's line of the table, of its pictures' scores."""

    def means(score, which):
        return [statistics.mean(scores[score][i] for scores in found) for i in which]

    line = {"rate A": rate, "rate B": lr, "steps B": steps, "RMSE at 0": f"{means('rmse', [0])[0]:.3f}"}
    for name, score, digits in (
        ("pose", "pose", 2),
        ("from the answer", "from the answer", 0),
        ("outside", "outside", 1),
    ):
        for eta, value in zip(ETAS[1:], means(score, range(1, len(ETAS))), strict=True):
            line[f"{name} at {eta}"] = f"{value:.{digits}f}"
    return line
