"""Which learning rate and how many steps textual inversion and DreamBooth need in the small world.

Scores as in `bench_personalize`. Textual inversion has the answer that the world knows: the word of an ordinary animal
from five of its pictures, beginning at another animal's. DreamBooth, with its prior, has the first individual; its
weights on the way are those of the moment, at the end their moving average. Only the last steps of a run have seen the
learning rate fall to 0.
"""

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
RATES = {"textual inversion": (5e-3, 2e-2, 6e-2), "DreamBooth": (1e-4, 3e-4, 1e-3)}
LENGTHS = {"textual inversion": (60, 250), "DreamBooth": (60, 200)}
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


def dreambooth(lr, steps):
    one = case(next(iter(INDIVIDUALS)))
    *_, end = one.dreambooth(Plan(steps, lr, precision="bf16", **FALLING), 1.0, one.prior())
    return one.scores(world().with_network(end.network), f"{RARE} {one.kind}")


WAYS = {"textual inversion": inversion, "DreamBooth": dreambooth}
SHOWN = {"identity": (1, 2), "pose and place": (100, 0), "kind": (100, 0), "leak": (1, 2), "drift": (1, 1)}


def scores(method, lr, steps):
    return kept().take(f"{method} at {lr}, {steps} steps", lambda: WAYS[method](lr, steps))


def shown(found, score):
    times, digits = SHOWN[score]
    return f"{times * torch.tensor(found[score]).mean():.{digits}f}" if score in found else ""


def run():
    rows = []
    for method, rates in RATES.items():
        for lr in rates:
            for steps in LENGTHS[method]:
                found = scores(method, lr, steps)
                rows.append({"method": method, "lr": f"{lr:g}", "steps": steps, **{s: shown(found, s) for s in SHOWN}})
    return rows
