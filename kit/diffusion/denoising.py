"""The loss that a diffusion model is trained with (DDPM, Eq. 14), where a paper trains on: its objective and batches.

A network is a module (x, t, cond) -> what it was trained to say: "epsilon", the noise, or "v_prediction",
v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (2202.00512).
"""

import torch
from torch import nn
from torch.func import functional_call

from kit.diffusion import checks

PREDICTIONS = ("epsilon", "v_prediction")


class Objective(nn.Module):
    """forward(x0, t, eps): the mean squared error of what the network says of x0 noised to t by eps.

    network: a module, which is then trained, or a function, as from `frozen`. cond (1, L, d): of every picture, a
    Parameter if it is to be trained.
    """

    def __init__(self, network, schedule, prediction, cond):
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction: got {prediction!r}, wanted one of {', '.join(map(repr, PREDICTIONS))}")
        self.network, self.schedule, self.prediction, self.cond = network, schedule, prediction, cond

    def forward(self, x0, t, eps):
        t = t.cpu()
        x = self.schedule.add_noise(x0, eps, t)
        target = eps if self.prediction == "epsilon" else self.schedule.v_from_x0_eps(x0, eps, t)
        said = self.network(x, t, self.cond.expand(len(x), -1, -1))
        return (checks.like("network(x, t, cond)", said, "x", x) - target).square().mean()


def batches(x0, schedule, draws):
    """batch(generator) -> (x0, t, eps) for `training.Run`: one picture's latents, `draws` timesteps and noises."""
    draws = checks.whole("draws", draws, 1, 4096)
    shape = (draws, *x0.shape[1:])

    def batch(generator):
        t = torch.randint(len(schedule), (draws,), generator=generator)
        eps = torch.randn(shape, generator=generator)
        return x0.expand(shape), t, eps.to(x0)

    return batch


def frozen(network):
    """The network as a function whose weights get no gradients, though its inputs may; its mode stays as it is."""
    weights = {name: p.detach() for name, p in network.named_parameters()}
    return lambda x, t, cond: functional_call(network, weights, (x, t, cond))


def predictor(network, schedule, prediction="epsilon"):
    """`predict(x, t, cond) -> eps` of a network that says eps or v."""

    def predict(x, t, cond):
        said = network(x, t, cond)
        return said if prediction == "epsilon" else schedule.eps_from_v(x, said, t)

    return predict
