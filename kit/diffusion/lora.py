"""A copy of a network to train on: all of its weights, or low-rank changes of its attention (LoRA, 2106.09685)."""

import copy
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize

from kit.diffusion import checks

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")  # diffusers' names


@contextmanager
def trainable(network, rank=None, seed=0):
    """A copy of the network whose weights may be trained within the block; after it they are frozen.

    rank: None for all weights; else the rank from 1 of the changes, which are added to the weights at the end.
    seed: an int, of the changes' first values.
    """
    fitted = copy.deepcopy(network).requires_grad_(rank is None)
    if rank is not None:
        attach(fitted, rank, seed)
    try:
        yield fitted
    finally:
        if rank is not None:
            fold(fitted)
        fitted.requires_grad_(False)


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
