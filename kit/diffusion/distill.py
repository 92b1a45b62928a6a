"""Distillation: Progressive Distillation (2202.00512) and On Distillation of Guided Diffusion Models (2210.03142).

    here                     paper              meaning
    z                        z_t                noisy latents (n, c, h, w)
    Levels, i                t = i / N          the N + 1 levels of noise of N steps; 0 the clean end, N the noisiest
    ab                       alpha_t^2          alpha_bar; the noise's variance is 1 - ab
    network(z, t, cond, w)   v_theta            a module that says v = alpha eps - sigma x0; w only where it takes one
    w                        w + 1              the guidance, 1 meaning none; the papers count from 0
    target(...)              x-tilde            Algorithm 2's: where one step ends where the teacher's two end

A student's level i is its teacher's level 2 i: the levels of N steps lie among those of 2 N.
"""

import math
import warnings
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from kit.diffusion import checks
from kit.diffusion.ddim import State
from kit.diffusion.schedule import shaped

WEIGHTS = ("snr", "truncated_snr", "snr_plus_one")


class Levels(NamedTuple):
    """The levels of noise that N steps stop at: `times`, what the network is told at each, and alpha_bar, float64.

    Both (N + 1,), from the clean end to the noisiest; at the clean end no network is asked.
    """

    times: torch.Tensor
    alpha_bar: torch.Tensor

    @property
    def steps(self):
        return len(self.times) - 1


def discrete(schedule, steps):
    """Levels of a schedule's own timesteps: T i / steps, less one, rounded; the clean end is timestep -1."""
    T = len(schedule)
    steps = checks.whole("steps", steps, 1, T)
    times = (torch.arange(steps + 1, dtype=torch.float64) * T / steps).round().long() - 1
    return Levels(times, torch.as_tensor([schedule.at(int(t)) for t in times], dtype=torch.float64))


def cosine(steps):
    """Levels in continuous time t = i / steps, told to the network as it is: alpha_bar = cos(pi t / 2)^2."""
    times = torch.arange(checks.whole("steps", steps, 1, 2**24) + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos(torch.pi / 2 * times) ** 2
    alpha_bar[-1] = 0  # which cos rounds to 4e-33
    return Levels(times, alpha_bar)


def halved(levels):
    """Every second level. Raises ValueError for an odd number of steps."""
    if levels.steps % 2:
        raise ValueError(f"levels: got {levels.steps} steps, wanted an even number, to be halved")
    return Levels(levels.times[::2], levels.alpha_bar[::2])


def upward(levels):
    """The levels for encoding (2210.03142, section 4): from the clean end, which is level `steps` now, to the noisiest.

    At the clean end, where a schedule has no timestep, the network is told the first one. Raises ValueError for levels
    whose clean end has no noise at all, as no step can begin there.
    """
    if levels.alpha_bar[0] >= 1:
        raise ValueError(f"levels: got alpha_bar {float(levels.alpha_bar[0])} at the clean end, wanted less than 1")
    return Levels(levels.times.clamp(min=0).flip(0), levels.alpha_bar.flip(0))


# One step and what it is made of; i, j: (n,) levels, one a picture, or ints


def x0_from_v(z, v, ab):
    """The clean latents that z and v imply: alpha z - sigma v."""
    return _root(ab, z) * z - _root(1 - ab, z) * v


def step(z, x0, ab, ab_next):
    """z taken to another level of noise along the predicted x0. 2202.00512, Eq. 7."""
    of_x0, of_z = (shaped(share, z) for share in _shares(ab, ab_next))
    return of_x0 * x0 + of_z * z


def _shares(ab, ab_next):
    """What a step takes of x0 and of z."""
    of_z = ((1 - ab_next) / (1 - ab)) ** 0.5
    return ab_next**0.5 - of_z * ab**0.5, of_z


def said(network, levels, z, i, *given):
    """What the network takes the clean latents for, at levels i; `given`: cond, and w where it takes one."""
    v = network(z, levels.times[i], *given)
    return x0_from_v(z, checks.like("network(z, t, ...)", v, "z", z), levels.alpha_bar[i])


def target(teacher, levels, z, i, *given):
    """x-tilde (n, c, h, w): with it one step from the teacher's level i to i - 2 ends where its two steps end.

    levels: the teacher's. i: (n,) even levels from 2. Algorithm 2; at a clean end without noise this is the
    teacher's x0 at the level between, which its code writes as a case of its own.
    """
    ab, ab_mid, ab_end = (levels.alpha_bar[i - k] for k in (0, 1, 2))
    z_mid = step(z, said(teacher, levels, z, i, *given), ab, ab_mid)
    z_end = step(z_mid, said(teacher, levels, z_mid, i - 1, *given), ab_mid, ab_end)
    of_x0, of_z = (shaped(share, z) for share in _shares(ab, ab_end))
    return (z_end - of_z * z) / of_x0


def weight(ab, kind="truncated_snr"):
    """What the squared error of x0 counts at a level: SNR, max(SNR, 1) or SNR + 1 (section 4).

    The first is the squared error of eps, the last that of v.
    """
    if kind not in WEIGHTS:
        raise ValueError(f"weight: got {kind!r}, wanted one of {', '.join(map(repr, WEIGHTS))}")
    snr = ab / (1 - ab)
    return {"snr": snr, "truncated_snr": snr.clamp(min=1), "snr_plus_one": snr + 1}[kind]


def fourier(w, width):
    """What a network is told of w (n,): sines, then cosines, of 1000 (w - 1) at `width` / 2 falling frequencies.

    (n, width), as diffusers' pipelines tell it to a U-Net with `time_cond_proj_dim`.
    """
    frequencies = torch.exp(torch.linspace(0, -math.log(10_000), width // 2, device=w.device))
    angles = 1000 * (w.float() - 1)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def _root(variance, z):
    return shaped(variance**0.5, z)


# What is trained


class Halving(nn.Module):
    """Algorithm 2: forward(x0, i, eps, cond[, w]), the weighted error of the student against two steps of its teacher.

    teacher, levels: a network and its levels, of an even number of steps. i: (n,) levels of the student, from 1.
    """

    def __init__(self, student, teacher, levels, kind="truncated_snr"):
        super().__init__()
        self.student, self.teacher, self.kind = student, [teacher.eval()], kind  # the list keeps it out of training
        self.levels, self.own = levels, halved(levels)

    def forward(self, x0, i, eps, *given):
        i = i.cpu()
        ab = self.own.alpha_bar[i]
        z = _root(ab, x0) * x0 + _root(1 - ab, x0) * eps
        with torch.no_grad():
            wanted = target(self.teacher[0], self.levels, z, 2 * i, *given)
        error = (said(self.student, self.own, z, i, *given) - wanted).square().flatten(1).mean(1)
        return (weight(ab, self.kind).to(error) * error).mean()


class Matching(nn.Module):
    """2210.03142, stage 1: forward(x0, i, eps, cond, w) is the weighted error of one network against the guided two.

    teacher: a `predict(z, t, cond) -> eps` per half of the guidance, the same for both. uncond (1, L, d).
    i: (n,) levels from 1. w: (k n,), k for each latent, from one call of the teacher: what is guided is affine in w.
    """

    def __init__(self, student, teacher, levels, uncond, kind="truncated_snr"):
        super().__init__()
        self.student, self.teacher, self.levels, self.uncond, self.kind = student, teacher, levels, uncond, kind

    def forward(self, x0, i, eps, cond, w):
        i = i.cpu()
        ab = self.levels.alpha_bar[i]
        z = _root(ab, x0) * x0 + _root(1 - ab, x0) * eps
        # In full precision: x0 = (z - sigma eps) / alpha magnifies what eps is rounded by, at the last level 15 times.
        with torch.no_grad(), torch.autocast(x0.device.type, enabled=False):
            wanted = self.guided(z, i, cond, w)
        z, i, cond, ab = (_tiled(x, len(w)) for x in (z, i, cond, ab))
        error = (said(self.student, self.levels, z, i, cond, w) - wanted).square().flatten(1).mean(1)
        return (weight(ab, self.kind).to(error) * error).mean()

    def guided(self, z, i, cond, w):
        """x0 (k n, c, h, w) of the guided prediction u + w (c - u), from one call of the teacher."""
        t, ab = self.levels.times[i], self.levels.alpha_bar[i]
        both = torch.cat([self.uncond.expand_as(cond), cond])
        eps = self.teacher(torch.cat([z, z]), torch.cat([t, t]), both)
        u, c = ((z - _root(1 - ab, z) * half) / _root(ab, z) for half in eps.chunk(2))
        u, apart = (_tiled(x, len(w)) for x in (u, c - u))
        return u + shaped(w, u) * apart


def _tiled(x, n):
    """x (m, ...), n / m times over: (n, ...)."""
    return x.repeat(n // len(x), *[1] * (x.ndim - 1))


# Samplers


@torch.no_grad()
def path(network, levels, z, *given):
    """The states from z at the noisiest level down to the clean end, DDIM: a generator of steps + 1 States."""
    yield State(_time(levels, levels.steps), z)
    for i, j in pairwise(range(levels.steps, -1, -1)):
        z, x0 = _walk(network, levels, z, i, j, *given)
        yield State(_time(levels, j), z, x0)


@torch.no_grad()
def stochastic_path(network, levels, z, noises, *given):
    """As `path`, with new noise: from each level two steps in one, then one level back up (2210.03142, section 4).

    noises: draws like z, one a step but the last; as from `seeds.stream`. The network is to be one whose targets
    were double steps.
    """
    yield State(_time(levels, levels.steps), z)
    for i in range(levels.steps, 1, -1):
        z, x0 = _walk(network, levels, z, i, i - 2, *given)
        z = renoised(z, levels.alpha_bar[i - 2], levels.alpha_bar[i - 1], next(noises))
        yield State(_time(levels, i - 1), z, x0)
    z, x0 = _walk(network, levels, z, 1, 0, *given)
    yield State(_time(levels, 0), z, x0)


class Distilled(NamedTuple):
    """A student that takes w: its network (z, t, cond, w) -> v, the levels it steps on, the w it was trained for."""

    network: nn.Module
    levels: Levels
    guidance: tuple[float, float]

    def path(self, z, cond, w):
        """The states (`steps` + 1) of a picture from pure noise z (n, c, h, w); cond (n, L, d); w, one or (n,).

        A w outside `guidance` is taken, with a warning.
        """
        checks.finite("z", checks.latents("z", z))
        checks.batch("cond", checks.floating("cond", cond), len(z))
        return path(self.network, self.levels, z, cond, self._told(w, z))

    def sample(self, z, cond, w):
        """The clean latents (n, c, h, w) at the end of `path`."""
        *_, end = self.path(z, cond, w)
        return end.x

    def _told(self, w, z):
        low, high = self.guidance
        ws = torch.as_tensor(w, dtype=torch.float32)
        if ws.shape not in ((), (len(z),)):
            raise ValueError(f"w: got shape {tuple(ws.shape)}, wanted a number or {len(z)}, one for each picture")
        ws = checks.finite("w", ws).expand(len(z))
        outside = ws[(ws < low) | (ws > high)].unique()
        if len(outside):
            warnings.warn(f"w: got {outside.tolist()}, the student was trained from {low} to {high}", stacklevel=3)
        return ws.to(z.device)


def renoised(z, ab, ab_next, noise):
    """z taken up to a noisier level by one draw: alpha_s / alpha_k z + sigma_{s|k} noise."""
    kept = ab_next / ab
    return _root(kept, z) * z + _root(1 - kept, z) * noise


def _walk(network, levels, z, i, j, *given):
    at = torch.full((len(z),), i)
    x0 = said(network, levels, z, at, *given)
    return step(z, x0, levels.alpha_bar[at], levels.alpha_bar[torch.full_like(at, j)]), x0


def _time(levels, i):
    return levels.times[i].item()
