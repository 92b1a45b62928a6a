"""Imagic's embedding steps on the small world: 10, 100 and 1000 at the constant rate; means, 95 % intervals.

The first of the pictures of `imagic`, IMAGIC_STEPS_PICTURES of them (4; the walkthrough's table is of all 60), and its
settings. At a constant rate the first 10 and 100 steps of 1000 are runs of 10 and 100. Moved: |e_opt - e_tgt| as a
share of |e_tgt|. Farther: from the answer, picture by picture.
"""

import os
from dataclasses import replace

import torch

from kit.diffusion import imagic
from tests.bench.bench_diffedit import Kept, interval
from tests.bench.bench_imagic import BEST, ETAS, Edit, drawn, plans, scores_file, world

COUNTS = (10, 100, 1000)
AT = ETAS.index(BEST)
PICTURES = int(os.environ.get("IMAGIC_STEPS_PICTURES", 4))


def work(number):
    """{steps: {score: numbers for each eta}} of a picture."""
    edit, models, (embedding, network) = Edit(number), world(), plans()
    given = models.network, models.denoising, edit.x0
    states = imagic.fit_embedding(*given, edit.target, plan=replace(embedding, steps=max(COUNTS)))
    found = {}
    for cond in {state.step: state.cond for state in states if state.step in COUNTS}.values():
        *_, state = imagic.fit_network(*given, cond, plan=network)
        moved = ((cond - edit.target).norm() / edit.target.norm()).item()
        made = drawn(state.network, imagic.between(cond, edit.target, ETAS), 0)
        found[COUNTS[len(found)]] = edit.scores(made) | {"moved": [moved] * len(ETAS)}
    return found


def run():
    kept, found = Kept(scores_file("imagic-steps", ETAS, COUNTS, plans())), {}
    for number in range(PICTURES):
        for steps, scores in kept.take(f"picture {number}", lambda number=number: work(number)).items():
            found.setdefault(int(steps), []).append({name: torch.tensor(values) for name, values in scores.items()})
    whole = {steps: {name: torch.stack([each[name] for each in of]) for name in of[0]} for steps, of in found.items()}
    usual = whole[100]["from the answer"][:, AT]
    rows = []
    for steps, of in whole.items():
        mean = {name: values.mean(0) for name, values in of.items()}
        row = {"steps": steps, "moved, %": f"{100 * mean['moved'][0]:.0f}", "RMSE at 0": f"{mean['rmse'][0]:.3f}"}
        row |= {f"pose at {eta}": f"{mean['pose'][i]:.2f}" for i, eta in enumerate(ETAS) if eta >= 0.4}
        row |= {f"from the answer at {BEST}": interval(of["from the answer"][:, AT], 1)}
        rows.append(row | {"farther than after 100": interval(of["from the answer"][:, AT] - usual, 1)})
    return rows
