"""Imagic (2210.09276): one picture and the words for another; the embedding, the network, and the way between.

    here                  paper            meaning
    x0                    x                the picture's latents (1, c, h, w)
    cond                  e_tgt            the embedding (1, L, d) of the words for the edited picture
    fitted, `State.cond`  e_opt            the embedding near it under which the network draws the picture best
    network               f_theta          a module (x, t, cond) -> what it was trained to say, eps or v
    eta                   eta              0: the picture; 1: the words
    between(...)          e_bar, Eq. 3     (1 - eta) e_opt + eta e_tgt

The loss of both stages is the network's own, on this one picture (Eq. 2). The caller's network is never changed.
"""

import contextlib
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from kit.diffusion import checks, lora, training
from kit.diffusion.denoising import frozen

# What the paper says for Stable Diffusion (section 4): Adam at constant rates. It does not name a batch size.
EMBEDDING = training.Plan(steps=1000, lr=2e-3, warmup=0, floor=1, decay=0, average=0, clip=math.inf)
NETWORK = training.Plan(steps=1500, lr=5e-7, warmup=0, floor=1, decay=0, average=0, clip=math.inf)

# For the small world's network, whose weights are fewer and whose pictures are simpler: chosen on pictures of their own
# by `python -m tests.bench imagic_sweep`, with draws=4.
SMALL_WORLD_EMBEDDING = replace(EMBEDDING, steps=100, lr=3e-2)
SMALL_WORLD_NETWORK = replace(NETWORK, steps=100, lr=1e-4)

STAGES = ("embedding", "network")


class State(NamedTuple):
    """How far a fit is: `step` of `steps` of the stage "embedding" or "network", and the loss there.

    cond: e_opt (1, L, d) as it is now, a copy. network: the fitted one, itself and no copy, which the next step
    changes; in the first stage the caller's.
    """

    stage: str
    step: int
    steps: int
    loss: float
    cond: torch.Tensor
    network: nn.Module


def fit(network, denoising, x0, cond, *, embedding=EMBEDDING, model=NETWORK, draws=4, rank=None, folder=None):
    """Both stages, A and B: a generator of States, the last being the result. It may be left at any of them.

    embedding, model: a `Plan` for each stage. folder: where each stage keeps its checkpoint and goes on from it.
    The rest as for `fit_network`.
    """
    paths = [None, None] if folder is None else [Path(folder) / f"{name}.safetensors" for name in STAGES]
    first = fit_embedding(network, denoising, x0, cond, plan=embedding, draws=draws, checkpoint=paths[0])
    with contextlib.closing(first):
        for state in first:
            yield state
    settings = dict(plan=model, draws=draws, rank=rank, checkpoint=paths[1])
    yield from fit_network(network, denoising, x0, state.cond, **settings)


def fit_embedding(network, denoising, x0, cond, *, plan=EMBEDDING, draws=4, checkpoint=None):
    """Stage A: the embedding moves from e_tgt to where the frozen network draws x0 best. A generator of States.

    denoising: the `Denoising` that the network was trained by. draws: noises and timesteps a step, in one batch.
    plan, checkpoint: as for `training.Run`.
    """
    _check(x0, cond)
    moving = nn.Parameter(cond.detach().clone())
    run = _run(frozen(network), denoising, x0, moving, plan, draws, checkpoint)
    with contextlib.closing(iter(run)) as steps:
        for step, loss in steps:
            yield State("embedding", step, plan.steps, loss, moving.detach().clone(), network)
    yield State("embedding", plan.steps, plan.steps, run.losses[-1], moving.detach().clone(), network)


def fit_network(network, denoising, x0, cond, *, plan=NETWORK, draws=4, rank=None, checkpoint=None):
    """Stage B: a copy of the network learns to draw x0 for e_opt, which is `cond` and stays. A generator of States.

    rank: None to train all weights, or the rank of changes to the attention's projections (`lora`). The rest as for
    `fit_embedding`.
    """
    _check(x0, cond)
    with lora.trainable(network, rank, plan.seed) as fitted:
        run = _run(fitted, denoising, x0, cond.detach(), plan, draws, checkpoint)
        with contextlib.closing(iter(run)) as steps:
            for step, loss in steps:
                yield State("network", step, plan.steps, loss, cond, fitted)
    yield State("network", plan.steps, plan.steps, run.losses[-1], cond, fitted)


def between(fitted, cond, eta):
    """e_bar (n, L, d): (1 - eta) e_opt + eta e_tgt, Eq. 3, for an eta or a sequence of n of them.

    0 gives `fitted` and 1 gives `cond`, to the last bit; beyond 1 leads away from the picture. Raises ValueError where
    the two are the same, as of prompts that tokenise alike.
    """
    checks.like("cond", cond, "fitted", checks.floating("fitted", fitted))
    if fitted.ndim != 3 or len(fitted) != 1:
        raise ValueError(f"fitted: got shape {tuple(fitted.shape)}, wanted (1, L, d)")
    if torch.equal(fitted, cond):
        raise ValueError("fitted, cond: got the same embedding twice, so that every eta would give it, too; wanted two")
    etas = [checks.real("eta", value) for value in (eta if isinstance(eta, (list, tuple, torch.Tensor)) else [eta])]
    return torch.cat([(1 - value) * fitted + value * cond for value in etas])


class _Objective(nn.Module):
    """Eq. 2: the mean error of what the network says of x0 under one embedding, each noised by its own draw."""

    def __init__(self, network, denoising, cond):
        super().__init__()
        self.network, self.denoising, self.cond = network, denoising, cond

    def forward(self, x0, t, eps):
        return self.denoising.errors(self.network, x0, t, eps, self.cond.expand(len(x0), -1, -1)).mean()


def _run(network, denoising, x0, cond, plan, draws, checkpoint):
    objective = _Objective(network, denoising, cond)
    return training.Run(objective, partial(denoising.draw, x0, draws), plan, checkpoint)


def _check(x0, cond):
    checks.finite("x0", checks.latents("x0", x0))
    checks.finite("cond", checks.floating("cond", cond))
    if len(x0) != 1:
        raise ValueError(f"x0: got {len(x0)} pictures, wanted 1")
    if cond.ndim != 3 or len(cond) != 1:
        raise ValueError(f"cond: got shape {tuple(cond.shape)}, wanted (1, L, d), one prompt's embedding")
