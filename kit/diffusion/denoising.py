"""The loss that a diffusion model is trained with (DDPM, Eq. 14), for the papers that train on.

A network is a module (x, t, cond) -> what it was trained to say: "epsilon", the noise, or "v_prediction",
v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (2202.00512).
"""

import torch
from torch.func import functional_call

from kit.diffusion import checks
from kit.diffusion.schedule import Schedule

PREDICTIONS = ("epsilon", "v_prediction")


class Denoising:
    """What all objectives share: a schedule, and what a network was trained to say."""

    def __init__(self, schedule: Schedule, prediction="epsilon"):
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction: got {prediction!r}, wanted one of {', '.join(map(repr, PREDICTIONS))}")
        self.schedule, self.prediction = schedule, prediction

    def errors(self, network, x0, t, eps, cond):
        """The mean squared error (n,) of what the network says of each x0 noised to its t, (n,) ints, by eps."""
        t = t.cpu()  # where a schedule reads its levels, whatever device the pictures are on
        x = self.schedule.add_noise(x0, eps, t)
        target = eps if self.prediction == "epsilon" else self.schedule.v_from_x0_eps(x0, eps, t)
        said = checks.like("network(x, t, cond)", network(x, t, cond), "x", x)
        return (said - target).square().flatten(1).mean(1)

    def draw(self, x0, n, generator):
        """n of the pictures x0, each with a timestep and a noise: (x0, t, eps), by the generator's luck."""
        n = checks.whole("draws", n, 1, 4096)
        which = torch.randint(len(x0), (n,), generator=generator)
        t = torch.randint(len(self.schedule), (n,), generator=generator)
        eps = torch.randn((n, *x0.shape[1:]), generator=generator)
        return x0[which.to(x0.device)], t, eps.to(x0)

    def predictor(self, network):
        """`predict(x, t, cond) -> eps` of a network."""

        def predict(x, t, cond):
            said = network(x, t, cond)
            return said if self.prediction == "epsilon" else self.schedule.eps_from_v(x, said, t)

        return predict


def frozen(network):
    """The network as a function whose weights get no gradients, though its inputs may; its mode stays as it is."""
    weights = {name: p.detach() for name, p in network.named_parameters()}
    return lambda x, t, cond: functional_call(network, weights, (x, t, cond))
