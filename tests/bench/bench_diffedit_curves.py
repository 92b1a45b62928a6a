"""DiffEdit's curves on the small world: the encoding ratio r, the threshold, the noises n, the noise's strength.

Scenes, scores and what is not varied as in `bench_diffedit`; means over the edits of a species, and over all edits.
"""

import torch

from kit.diffusion import diffedit
from tests.bench.bench_diffedit import (
    BATCH,
    edited,
    encoded,
    image_to_image_of,
    of_kind,
    scores,
    timesteps,
    world,
)  # fmt: skip

RATIOS = (0.2, 0.4, 0.6, 0.8, 1.0)
THRESHOLDS = (0.25, 0.5, 0.75)
NOISES = (1, 2, 5, 10, 20, 30)
STRENGTHS = (0.1, 0.3, 0.5, 0.7, 0.9)


def differences(case, **settings):
    pair = case.reference, case.query
    return diffedit.differences(world().predict, world().schedule, case.x0, *pair, batch=BATCH, **settings)


def lowest(levels, ratio):
    """What a lower ratio would have given: the first of the levels."""
    return {t: levels[t] for t in sorted(levels)[: round(ratio * len(timesteps())) + 1]}


# What is varied, each a call (part) -> {(curve, value): scores}


def ratios(part):
    case = part.case
    mask, ones = diffedit.to_mask(differences(case)).mask, torch.ones_like(case.truth)
    up, noised = encoded(case, 1.0), diffedit.noised(world().schedule, case.x0, timesteps(), ratio=1.0)
    ways = {
        "image-to-image": lambda r: image_to_image_of(case, r)[0],
        "encode, decode, no mask": lambda r: edited(lowest(up, r), ones, case.query),
        "DiffEdit without encoding": lambda r: edited(lowest(noised, r), mask, case.query),
        "DiffEdit": lambda r: edited(lowest(up, r), mask, case.query),
    }
    return {(f"r of {name}", r): part.of_edit(way(r)) for name, way in ways.items() for r in RATIOS}


def thresholds(part):
    found, up = differences(part.case), encoded(part.case)
    masks = {threshold: diffedit.to_mask(found, threshold=threshold).mask for threshold in THRESHOLDS}
    return {
        ("threshold", value): part.of_mask(mask) | part.of_edit(edited(up, mask, part.case.query))
        for value, mask in masks.items()
    }


def noises(part):
    found = differences(part.case, samples=max(NOISES))
    return {("n", n): part.of_mask(diffedit.to_mask(found[:, :n]).mask) for n in NOISES}


def strengths(part):
    masks = {s: diffedit.to_mask(differences(part.case, strength=s)).mask for s in STRENGTHS}
    return {("strength", s): part.of_mask(mask) for s, mask in masks.items()}


def flat(curves):
    """With names that a file can hold: "curve|value|score"."""
    return {f"{c}|{value}|{score}": values for (c, value), found in curves.items() for score, values in found.items()}


SHOWN = {"success": (100, 0), "outside": (1, 1), "features": (1, 1), "IoU": (1, 2), "covers": (100, 0)}


@torch.inference_mode()
def run():
    points = {}
    for curve in (ratios, thresholds, noises, strengths):
        for name, values in scores(f"curve of {curve.__name__}", lambda part, curve=curve: flat(curve(part))).items():
            label, value, score = name.split("|")
            points.setdefault((label, value), {})[score] = values
    rows = []
    for (label, value), found in points.items():
        row = {"varied": label, "to": value}
        for which, of in {"species": of_kind("species"), "all": slice(None)}.items():
            for score, (scale, digits) in SHOWN.items():
                mean = f"{scale * found[score][of].nanmean():.{digits}f}" if score in found else ""
                row[f"{which}: {score}{', %' if scale == 100 else ', dB' if score == 'outside' else ''}"] = mean
        rows.append(row)
    return rows
