"""Which learning rate and how many steps textual inversion and DreamBooth need in the small world.

Scores as in `bench_personalize`. Textual inversion has the answer that the world knows: the word of an ordinary animal
from five of its pictures, beginning at another animal's. DreamBooth has the first individual, and λ is its prior's
weight. All rates fall to 0 along a cosine.
"""

from itertools import product

import torch

from kit.diffusion import personalize
from kit.diffusion.training import Plan
from kit.world import render
from tests.bench.bench_personalize import (
    DRAWS,
    INDIVIDUALS,
    RARE,
    SEED,
    SEEN,
    TEMPLATES,
    UNSEEN,
    WORD,
    case,
    drawn,
    followed,
    inverted,
    kept,
    prompts,
    scenes,
    world,
)  # fmt: skip

KNOWN = {"zebra": "horse", "dog": "cow"}  # the word to find, and where to begin
INVERSIONS = list(product((5e-3, 1e-2, 3e-2), (50, 150, 300)))  # learning rate, steps
DREAMBOOTHS = [
    (4e-4, 200, 1.0),
    (4e-4, 200, 0.5),
    (4e-4, 200, 0.2),
    (4e-4, 80, 0.5),
    (1e-3, 200, 0.5),
    (2e-4, 200, 0.5),
]
FALLING = dict(floor=0, decay=0, average=0.98)


def inversion(lr, steps):
    """Means over KNOWN."""
    rows = []
    for kind, begin in KNOWN.items():
        x0 = world().encode(render(scenes(kind, SEEN, SEED))[0]).detach()
        texts = [text.format(WORD) for text in TEMPLATES]
        run = personalize.invert(
            world().network, world().denoising, world().new_word(WORD), x0, texts, world().word_vector(begin),
            plan=Plan(steps, lr, **FALLING), draws=DRAWS,
        )  # fmt: skip
        *_, end = run
        rows.append(followed(drawn(inverted(end.vector), prompts(WORD, UNSEEN), SEED + 300), kind, UNSEEN))
    return {score: [value for row in rows for value in row[score]] for score in rows[0]}


def dreambooth(lr, steps, weight):
    one = case(next(iter(INDIVIDUALS)))
    *_, end = one.dreambooth(Plan(steps, lr, precision="bf16", **FALLING), weight, one.prior)
    return one.scores(world().with_network(end.network), f"{RARE} {one.kind}")


SHOWN = {"identity": (1, 2), "pose and place": (100, 0), "kind": (100, 0), "leak": (1, 2), "drift": (1, 1)}


def row(found):
    """The means of the scores there are."""
    return {
        score: f"{times * torch.tensor(found[score]).mean():.{digits}f}" if score in found else ""
        for score, (times, digits) in SHOWN.items()
    }


def run():
    rows = []
    for lr, steps in INVERSIONS:
        found = kept().take(
            f"textual inversion at {lr}, {steps} steps", lambda lr=lr, steps=steps: inversion(lr, steps)
        )
        rows.append({"method": "textual inversion", "lr": f"{lr:g}", "steps": steps, "λ": ""} | row(found))
    for lr, steps, weight in DREAMBOOTHS:
        name = f"DreamBooth at {lr}, {steps} steps, {weight}, {RARE}"
        found = kept().take(name, lambda lr=lr, steps=steps, weight=weight: dreambooth(lr, steps, weight))
        rows.append({"method": "DreamBooth", "lr": f"{lr:g}", "steps": steps, "λ": f"{weight:g}"} | row(found))
    return rows
