"""Editing a picture by partial noise: image-to-image (SDEdit, 2108.01073).

here        SDEdit             Stable Diffusion's code     meaning
x0          x^(g), the guide   init_latents                the clean latents to start from
strength    t_0                strength                    share of the path that is walked, 0 to 1
"""

from kit.diffusion import checks, ddim, seeds
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
