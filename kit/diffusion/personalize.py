"""Teaching a model a thing that words cannot describe: textual inversion (2208.01618) and DreamBooth (2208.12242).

    here            paper                        meaning
    x0              x                            latents (n, c, h, w) of the thing's few pictures
    vector          v* (2208.01618, section 4)   the embedding (d,) of a new word, all that is learnt
    prompts         "a photo of S*"              texts with the new word, one drawn for each picture of a step
    network         eps_theta                    a module (x, t, cond) -> what it was trained to say, eps or v
    prior_x0        x_pr (2208.12242, Eq. 2)     latents that the frozen network drew of the thing's kind
    prior_weight    lambda                       how much these count

The caller's network is never changed.
"""

import contextlib
import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn

from kit.diffusion import checks, lora, training
from kit.diffusion.denoising import frozen

# The papers' settings for Stable Diffusion (its ancestor in the first), at constant rates. Textual inversion's is its
# base rate, which the authors' own script multiplies by the pictures of a step on all GPUs.
INVERSION = training.Plan(steps=5000, lr=5e-3, warmup=0, floor=1, decay=0, average=0, clip=math.inf)
DREAMBOOTH = training.Plan(steps=1000, lr=5e-6, warmup=0, floor=1, average=0, clip=math.inf)
# For the small world. By `python -m tests.bench personalize_sweep` 300 steps find the words of known animals, and these
# settings of DreamBooth are as good as others.
SMALL_INVERSION = training.Plan(steps=300, lr=5e-3, floor=0, decay=0, average=0.98, clip=math.inf)
SMALL_DREAMBOOTH = training.Plan(steps=150, lr=4e-4, floor=0, decay=0, average=0.98, clip=math.inf, precision="bf16")
SMALL_PRIOR_WEIGHT = 0.5


class Inverted(NamedTuple):
    """How far a textual inversion is: `step` of `steps`, the loss there, and the vector (d,) as it is now, a copy."""

    step: int
    steps: int
    loss: float
    vector: torch.Tensor


class Tuned(NamedTuple):
    """How far DreamBooth is; the network itself and no copy, which the next step changes."""

    step: int
    steps: int
    loss: float
    network: nn.Module


def invert(network, denoising, embed, x0, prompts, vector, *, plan=INVERSION, draws=4, checkpoint=None):
    """Textual inversion: the vector of a new word under which the frozen network draws x0. A generator of Inverted.

    denoising: the `Denoising` that the network was trained by. embed: (list of prompts, vector) -> cond (n, L, d),
    through which gradients reach the vector, as from `Models.new_word`. prompts: texts that hold the word. vector:
    (d,), where to begin, as the embedding of a coarse word. draws: pictures, noises and timesteps a step, in one
    batch. plan, checkpoint: as for `training.Run`. The last of the generator is the result.
    """
    checks.finite("x0", checks.latents("x0", x0))
    if checks.finite("vector", checks.floating("vector", vector)).ndim != 1:
        raise ValueError(f"vector: got shape {tuple(vector.shape)}, wanted (d,), the embedding of one word")
    if not prompts or isinstance(prompts, str):
        raise ValueError(f"prompts: got {prompts!r}, wanted a list of at least one")
    moving = nn.Parameter(vector.detach().clone())

    def batch(generator):
        which = torch.randint(len(prompts), (draws,), generator=generator).tolist()
        return *denoising.draw(x0, draws, generator), [prompts[i] for i in which]

    objective = _Inversion(frozen(network), denoising, embed, moving)
    run = training.Run(objective, batch, plan, checkpoint, parameters=[moving])
    with contextlib.closing(iter(run)) as steps:
        for step, loss in steps:
            yield Inverted(step, plan.steps, loss, moving.detach().clone())
    yield Inverted(plan.steps, plan.steps, run.losses[-1], moving.detach().clone())


def dreambooth(
    network,
    denoising,
    x0,
    cond,
    prior_x0,
    prior_cond,
    *,
    plan=DREAMBOOTH,
    prior_weight=1.0,
    draws=4,
    rank=None,
    checkpoint=None,
):
    """DreamBooth: a copy of the network learns the thing by a rare word and keeps what it knew of its kind.

    x0, cond: the thing's pictures, and (1, L, d) of "a [rare word] [kind]". prior_x0, prior_cond: what the network
    itself draws for "a [kind]", and (1, L, d) of that. prior_weight: from 0, which leaves the prior out. draws: of
    each of the two, in one batch. rank: None to train all weights, or as for `lora.trainable`. The rest as for
    `invert`. A generator of Tuned; the last is the result.
    """
    for name, value in (("x0", x0), ("prior_x0", prior_x0)):
        checks.finite(name, checks.latents(name, value))
    if prior_x0.shape[1:] != x0.shape[1:]:
        raise ValueError(
            f"prior_x0: got shape {tuple(prior_x0.shape)}, wanted (n, {', '.join(map(str, x0.shape[1:]))})"
        )
    for name, value in (("cond", cond), ("prior_cond", prior_cond)):
        if checks.floating(name, value).ndim != 3 or len(value) != 1:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, wanted (1, L, d), one prompt's embedding")
    if torch.equal(cond, prior_cond):
        raise ValueError("cond: got the same embedding as prior_cond, wanted one whose prompt has a word more")
    checks.real("prior_weight", prior_weight, 0)

    def batch(generator):
        return *denoising.draw(x0, draws, generator), *denoising.draw(prior_x0, draws, generator)

    with lora.trainable(network, rank, plan.seed) as tuned:
        objective = _WithPrior(tuned, denoising, cond, prior_cond, prior_weight)
        run = training.Run(objective, batch, plan, checkpoint)
        with contextlib.closing(iter(run)) as steps:
            for step, loss in steps:
                yield Tuned(step, plan.steps, loss, tuned)
    yield Tuned(plan.steps, plan.steps, run.losses[-1], tuned)


def save_word(path, token, vector):
    """Writes the vector (d,) of a word to a .safetensors file that diffusers' load_textual_inversion reads."""
    with training.atomic(Path(path)) as temporary:
        save_file({token: vector.detach().cpu()[None].contiguous()}, temporary)


class _Inversion(nn.Module):
    """2208.01618, Eq. 2."""

    def __init__(self, network, denoising, embed, vector):
        super().__init__()
        self.network, self.denoising, self.embed, self.vector = network, denoising, embed, vector

    def forward(self, x0, t, eps, prompts):
        return self.denoising.errors(self.network, x0, t, eps, self.embed(prompts, self.vector)).mean()


class _WithPrior(nn.Module):
    """2208.12242, Eq. 2, both of its terms from one call of the network; a weight of 0 leaves the second out."""

    def __init__(self, network, denoising, cond, prior_cond, prior_weight):
        super().__init__()
        self.network, self.denoising = network, denoising
        self.cond, self.prior_cond, self.prior_weight = cond.detach(), prior_cond.detach(), prior_weight

    def forward(self, x0, t, eps, prior_x0, prior_t, prior_eps):
        if not self.prior_weight:
            return self.denoising.errors(self.network, x0, t, eps, self.cond.expand(len(x0), -1, -1)).mean()
        n, pairs = len(x0), ((x0, prior_x0), (t, prior_t), (eps, prior_eps))
        both = [torch.cat(pair) for pair in pairs]
        cond = torch.cat([self.cond.expand(n, -1, -1), self.prior_cond.expand(len(prior_x0), -1, -1)])
        errors = self.denoising.errors(self.network, *both, cond)
        return errors[:n].mean() + self.prior_weight * errors[n:].mean()
