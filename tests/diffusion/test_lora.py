import pytest
import torch
from torch import nn

from kit.diffusion import Schedule, imagic, lora
from kit.diffusion.denoising import Denoising
from kit.diffusion.training import Plan
from tests.diffusion.test_imagic import CONSTANT, Linear, last

NOISE = Denoising(Schedule.stable_diffusion(1.0))


class Attentive(nn.Module):
    """One layer of attention of the picture to the words, its projections named as in diffusers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attn = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("to_q", "to_k", "to_v")})
        self.attn["to_out"] = nn.ModuleList([nn.Linear(4, 4), nn.Dropout(0.0)])
        self.other = nn.Linear(4, 4)

    def forward(self, x, t, cond):
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.attn["to_q"](tokens), self.attn["to_k"](cond), self.attn["to_v"](cond)
        said = self.other(self.attn["to_out"][0](nn.functional.scaled_dot_product_attention(q, k, v)) + tokens)
        return said.transpose(1, 2).view_as(x)


def test_low_rank_changes_have_their_rank_and_are_folded_in():
    network = Attentive()
    x0, cond = torch.randn(1, 4, 2, 2), torch.randn(1, 3, 4)
    states = imagic.fit_network(network, NOISE, x0, cond, plan=Plan(60, 0.01, **CONSTANT), rank=2)
    end = last(states)
    assert end.network.state_dict().keys() == network.state_dict().keys()
    for name, weight in end.network.state_dict().items():
        change = weight - network.state_dict()[name]
        if name.endswith("weight") and "to_" in name:
            values = torch.linalg.svdvals(change)
            assert values[1] > 1e-4 and values[2] < 1e-6
        else:
            assert not change.any(), name


def test_low_rank_changes_change_nothing_at_first_and_are_folded_when_left():
    network = Attentive()
    x, cond = torch.randn(2, 4, 2, 2), torch.randn(2, 3, 4)
    said = network(x, 5, cond)
    lora.attach(network, 2)
    assert torch.equal(network(x, 5, cond), said)
    assert {name.rsplit(".", 1)[1] for name, p in network.named_parameters() if p.requires_grad} == {"a", "b"}
    for left in imagic.fit_network(Attentive(), NOISE, x[:1], cond[:1], plan=Plan(9, 0.05, **CONSTANT), rank=1):
        if left.step == 3:
            break
    assert left.network.state_dict().keys() == Attentive().state_dict().keys()
    with pytest.raises(ValueError, match=r"none of the layers to_q, .* wanted a network with attention"):
        lora.attach(Linear(), 2)


def test_a_rank_of_nothing_is_refused():
    for rank, kind in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(kind, match=f"rank: got {rank}"), lora.trainable(Attentive(), rank):
            pass


def test_a_copy_is_trainable_within_the_block_and_frozen_after():
    network = Attentive()
    with lora.trainable(network) as copy:
        assert all(p.requires_grad for p in copy.parameters()) and copy is not network
        with torch.no_grad():
            copy.other.weight.zero_()
    assert not any(p.requires_grad for p in copy.parameters()) and network.other.weight.any()
