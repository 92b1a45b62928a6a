"""Imagic at eta = 0.8 less each other way, picture by picture, and what fine-tuning does to the curves.

Means of paired differences with their 95 % bootstrap intervals, over the pictures, ways and scores of `imagic`; and the
same with the first eta at which the judge reads the new pose in place of 0.8 (the last where it reads it at none), as
the paper's authors choose one for each picture by eye; likewise the first strength of image-to-image. From the answer:
the other's distance less Imagic's, above 0 where Imagic is closer; then over those pictures alone on which both read as
the new pose. Outside: Imagic's PSNR less the other's. Success, %: likewise. Leaves the input at: the eta at which
the distance to the input crosses half of what it rises to, with fine-tuning less without. Rank correlations: of eta
with the distance to the input, and with the judge's probability of the new pose, of the means over the pictures.
"""

import torch

from tests.bench.bench_diffedit import interval
from tests.bench.bench_imagic import BEST, ETAS, STRENGTHS, all_scores

SCORES = "success", "from the answer", "outside"


def leaves(way):
    """(pictures,): the eta at which the distance to the input crosses half of what it rises to."""
    far = torch.stack([all_scores()[way, eta]["from the input"] for eta in ETAS])
    half, crossed = (far[0] + far[-1]) / 2, []
    for curve, level in zip(far.T.tolist(), half.tolist(), strict=True):
        i = next(i for i, value in enumerate(curve) if value >= level)
        share = 0 if i == 0 else (level - curve[i - 1]) / (curve[i] - curve[i - 1])
        crossed.append(ETAS[i] if i == 0 else ETAS[i - 1] + share * (ETAS[i] - ETAS[i - 1]))
    return torch.tensor(crossed)


def rank_correlation(way, score):
    """Spearman's, of eta and a score's means."""
    means = torch.stack([all_scores()[way, eta][score].mean() for eta in ETAS])
    ranks = torch.stack([torch.arange(len(ETAS)).double(), means.argsort().argsort().double()])
    return torch.corrcoef(ranks)[0, 1].item()


def first_success(way_of, settings):
    """{score: (pictures,)} at the first of some settings that reads as the new pose, or else at the last."""
    by_setting = [all_scores()[way_of(setting)] for setting in settings]
    success = torch.stack([of["success"] for of in by_setting])
    success[-1] = 1
    which = success.argmax(0, keepdim=True)
    return {name: torch.stack([of[name] for of in by_setting]).gather(0, which)[0] for name in SCORES}


def against(name, ours, other):
    """The line of the table that holds one way against another."""
    both = (ours["success"] * other["success"]).bool()
    closer = other["from the answer"] - ours["from the answer"]
    return {
        "": name,
        "success, %": interval(100 * (ours["success"] - other["success"])),
        "from the answer": interval(closer, 1),
        "where both succeed": f"{interval(closer[both], 1)} of {both.sum()}" if both.any() else "none",
        "outside, dB": interval(ours["outside"] - other["outside"], 1),
    }


def run():
    scores = all_scores()
    ours, noisy = scores["Imagic", BEST], [f"image-to-image, {s:.0%}" for s in STRENGTHS]
    best = first_success(lambda eta: ("Imagic", eta), ETAS)
    others = {way: of for (way, eta), of in scores.items() if eta in ("", BEST) and way != "Imagic"}
    rows = [against(f"eta = {BEST} against {way}", ours, of) for way, of in others.items()]
    others |= {"image-to-image, first": first_success(lambda way: (way, ""), noisy)}
    rows += [against(f"first eta against {way}", best, of) for way, of in others.items() if way not in noisy]
    for name, text in {
        "leaves the input at": interval(leaves("Imagic") - leaves("without fine-tuning"), 2),
        "rank correlation, from the input": f"{rank_correlation('Imagic', 'from the input'):.2f}",
        "rank correlation, pose": f"{rank_correlation('Imagic', 'pose'):.2f}",
    }.items():
        rows.append({**dict.fromkeys(rows[0], ""), "": name, "success, %": text})
    return rows
