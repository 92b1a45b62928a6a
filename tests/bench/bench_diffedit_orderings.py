"""DiffEdit less each other way, scene by scene: how far each ordering that the paper claims holds here.

Means of paired differences with their 95 % bootstrap intervals, over the scenes, ways and scores of `bench_diffedit`.
Features: the other's distance to the right answer less DiffEdit's, above 0 where DiffEdit is closer. Outside: its
PSNR less the other's, above 0 where DiffEdit keeps more. Success, %: likewise. The paper (Figure 6)
has DiffEdit best, image-to-image worst, and those with only the mask or only the encoding between.
"""

import torch

from tests.bench.bench_diffedit import KINDS, WAYS, interval, of_kind, scores_of


@torch.inference_mode()
def run():
    ours, rows = scores_of("DiffEdit"), []
    for name in WAYS:
        other = scores_of(name)
        for kind in KINDS if name != "DiffEdit" else ():
            of = of_kind(kind)
            rows.append(
                {
                    "DiffEdit against": name,
                    "edits of": kind,
                    "features": interval((other["features"] - ours["features"])[of], 1),
                    "outside, dB": interval((ours["outside"] - other["outside"])[of], 1),
                    "success, %": interval(100 * (ours["success"] - other["success"])[of]),
                }
            )
    return rows
