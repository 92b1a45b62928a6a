"""Editing a picture by partial noise: image-to-image (SDEdit, 2108.01073) and inpainting (RePaint, 2201.09865).

here        SDEdit             RePaint                meaning
x0          x^(g), the guide   x_0                    the clean latents to start from
strength    t_0                                       share of the path that is walked, 0 to 1
mask                           1 - m                  1: to be painted; 0: known, and kept
"""

from itertools import pairwise

import torch

from kit.diffusion import checks, ddim, ddpm, seeds
from kit.diffusion.ddim import State


def image_to_image(predict, schedule, x0, cond=None, *, strength, steps, seed=0):
    """Latents like x0 that follow cond: noise x0 part of the way, then denoise it.

    x0: clean latents (n, c, h, w).
    strength: 0 gives x0 back; 1 is sampling from pure noise, whatever x0 holds; between, the last
        int(steps * strength) of the steps are walked, with one call of predict each.
    seed: as for `randn`.
    """
    states = image_to_image_path(predict, schedule, x0, cond, strength=strength, steps=steps, seed=seed)
    return checks.finite("image_to_image, after its last step", ddim.last(states).x)


def image_to_image_path(predict, schedule, x0, cond=None, *, strength, steps, seed=0):
    """The states of `image_to_image`, from the noised x0 to the clean end; a generator, as `ddim.path`."""
    checks.finite("x0", checks.latents("x0", x0))
    checks.batch("cond", cond, len(x0))
    timesteps = schedule.timesteps(steps)
    noise = seeds.randn(x0.shape, seed, x0.device, x0.dtype)

    walked = int(len(timesteps) * checks.real("strength", strength, 0, 1))
    if walked == 0:
        return iter([State(-1, x0)])
    timesteps = timesteps[len(timesteps) - walked :]
    # The noisiest level of most schedules still holds some of x0, and strength 1 promises none of it.
    x = noise if strength == 1 else schedule.add_noise(x0, noise, timesteps[0])
    return ddim.path(predict, schedule, x, timesteps, cond)


def inpaint(predict, schedule, x0, mask, cond=None, *, steps, seed=0):
    """Latents like x0, painted anew where mask is 1 and unchanged where it is 0: DDIM with latent blending.

    x0: clean latents (n, c, h, w).
    mask: float (n, 1, h, w), or (1, 1, h, w) for every picture, in [0, 1]; between, the two are mixed.
    seed: as for `randn`.

    After every step the known part is put back at that step's noise (2206.02779), always of the same draw;
    at the clean end it is x0 itself. With a mask of 1 this is `ddim.sample` from `randn(x0.shape, seed)`.
    """
    states = inpaint_path(predict, schedule, x0, mask, cond, steps=steps, seed=seed)
    return checks.finite("inpaint, after its last step", ddim.last(states).x)


def inpaint_path(predict, schedule, x0, mask, cond=None, *, steps, seed=0):
    """The states of `inpaint`, from noise alone to the clean end; a generator."""
    mask = _checked(x0, mask, cond)
    stops = ddim.levels(schedule, schedule.timesteps(steps))
    noise = seeds.randn(x0.shape, seed, x0.device, x0.dtype)
    return _blended(predict, schedule, x0, mask, cond, stops, noise)


def repaint(predict, schedule, x0, mask, cond=None, *, steps=250, jump_length=10, resamples=10, seed=0):
    """Latents like x0, painted anew where mask is 1 and unchanged where it is 0: RePaint, Algorithm 1.

    x0, mask: as for `inpaint`. steps, jump_length, resamples: as for `repaint_schedule`; the paper's, which
    are the defaults, take 2,410 calls of predict, and resamples = 1 never goes back up. seed: as for `randn`.

    Down by `ddpm.step`, after which the known part is put back at that step's noise; up by `ddpm.renoise`. Each
    move takes one draw: where a pixel is known or not, what is painted and what is put back share none of it.
    The algorithm's line 5 multiplies the known part's noise by its variance; here, as its Eq. 8a says, by the
    root of that.
    """
    states = repaint_path(
        predict, schedule, x0, mask, cond, steps=steps, jump_length=jump_length, resamples=resamples, seed=seed
    )
    return checks.finite("repaint, after its last step", ddim.last(states).x)


def repaint_path(predict, schedule, x0, mask, cond=None, *, steps=250, jump_length=10, resamples=10, seed=0):
    """The states of `repaint`, from noise alone to the clean end; a generator. x0 and eps are None after a move up."""
    mask = _checked(x0, mask, cond)
    rising = [*schedule.timesteps(steps, "linspace").tolist()[::-1], -1]
    stops = [rising[i] for i in repaint_schedule(steps, jump_length, resamples)]
    return _resampled(predict, schedule, x0, mask, cond, stops, seeds.stream(x0.shape, seed, x0.device, x0.dtype))


def repaint_schedule(steps=250, jump_length=10, resamples=10):
    """RePaint's walk: the steps it stops at, from steps - 1, the noisiest, to -1, the clean end.

    At each multiple of jump_length, but for the last before the noisy end, the walk goes jump_length steps up
    and down again, resamples - 1 times. All three are whole numbers from 1.
    """
    steps = checks.whole("steps", steps, 1, 1_000_000)
    jump_length = checks.whole("jump_length", jump_length, 1, 1_000_000)
    resamples = checks.whole("resamples", resamples, 1, 1_000_000)
    stops = []
    for i in range(steps - 1, -1, -1):
        stops.append(i)
        if i % jump_length == 0 and i < steps - jump_length:
            up = range(i + 1, i + jump_length + 1)
            stops += (resamples - 1) * [*up, *reversed(up[:-1]), i]
    return [*stops, -1]


@torch.no_grad()
def _blended(predict, schedule, x0, mask, cond, stops, noise):
    x = noise
    yield State(stops[0], x)
    for t, t_next in pairwise(stops):
        eps = ddim.predicted(predict, x, t, cond)
        x, said = ddim.step(schedule, x, eps, t, t_next)
        x = _put_back(x, x0, mask, schedule, noise, t_next)
        yield State(t_next, x, said, eps)


@torch.no_grad()
def _resampled(predict, schedule, x0, mask, cond, stops, noises):
    x = next(noises)
    yield State(stops[0], x)
    for t, t_next in pairwise(stops):
        noise = next(noises)
        if t_next > t:
            x = ddpm.renoise(schedule, x, t, t_next, noise)
            yield State(t_next, x)
            continue
        eps = ddim.predicted(predict, x, t, cond)
        x, said = ddpm.step(schedule, x, eps, t, t_next, noise=noise)
        x = _put_back(x, x0, mask, schedule, noise, t_next)
        yield State(t_next, x, said, eps)


def _put_back(x, x0, mask, schedule, noise, t):
    """x with its known part replaced by that of x0 at timestep t."""
    known = x0 if t < 0 else schedule.add_noise(x0, noise, t)
    return mask * x + (1 - mask) * known


def _checked(x0, mask, cond):
    """The mask like x0, once everything is known to fit."""
    checks.finite("x0", checks.latents("x0", x0))
    checks.batch("cond", cond, len(x0))
    return checks.mask("mask", mask, x0).to(x0.device, x0.dtype)
