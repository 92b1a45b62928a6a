"""Low-rank changes of a network's attention (LoRA, 2106.09685): W + B A in place of W, W frozen."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from kit.diffusion import checks

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")  # diffusers' names


class LowRank(nn.Module):
    """W -> W + B A, with A (rank, in) random and B (out, rank) zero at first, so that nothing changes yet."""

    def __init__(self, weight, rank, generator):
        super().__init__()
        out, inward = weight.shape
        self.a = nn.Parameter((torch.randn(rank, inward, generator=generator) / rank).to(weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))

    def forward(self, weight):
        return weight + (self.b @ self.a).to(weight.dtype)


def attach(network, rank, seed=0):
    """Puts a low-rank change on each attention projection of the network, in place: its only trainable parameters.

    rank: from 1. seed: an int, of the A. Raises ValueError where the network has no such projections.
    """
    rank = checks.whole("rank", rank, 1, 4096)
    projections = _projections(network)
    if not projections:
        raise ValueError(f"network: got none of the layers {', '.join(PROJECTIONS)}, wanted a network with attention")
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in projections:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, generator))


def fold(network):
    """Adds the changes to the weights, in place; the network is then an ordinary one."""
    for layer in _projections(network):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _projections(network):
    return [
        layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear) and name.endswith(PROJECTIONS)
    ]
