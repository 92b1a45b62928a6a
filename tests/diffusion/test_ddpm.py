"""Ancestral sampling against Bayes' rule, diffusers' scheduler, DDIM at eta = 1 and worlds with an exact answer."""

import torch

from kit.diffusion import ddim, ddpm
from kit.diffusion.schedule import Schedule
from tests.diffusion.worlds import normal, three_classes

SD = Schedule.stable_diffusion()


def test_with_the_small_variance_the_path_is_ddims_at_eta_1():
    world, x, timesteps = three_classes(SD), normal(2), SD.timesteps(20)
    ours = list(ddpm.path(world.predict, SD, x, timesteps, seed=3))
    theirs = list(ddim.path(world.predict, SD, x, timesteps, eta=1.0, seed=3))
    for a, b in zip(ours, theirs, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-12)
