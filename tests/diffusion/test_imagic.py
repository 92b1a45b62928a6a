import hashlib
import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kit.diffusion import Schedule, ddim, imagic
from kit.diffusion.denoising import Denoising
from kit.diffusion.training import Plan

SCHEDULE = Schedule.stable_diffusion(1.0)
NOISE = Denoising(SCHEDULE)
CONSTANT = {"warmup": 0, "floor": 1, "decay": 0, "average": 0, "clip": math.inf}
PLAN = Plan(steps=400, lr=0.05, **CONSTANT)
SPREAD = 0.3
ROOT = Path(__file__).parents[2]


class Linear(nn.Module):
    """The perfect prediction for x0 | e ~ N(B e + c, SPREAD^2), pictures (n, 6, 1, 1), embeddings (n, 2, 2)."""

    def __init__(self, says="epsilon"):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.map = nn.Linear(4, 6)
        self.map.weight.data = torch.randn(6, 4, generator=generator)
        self.map.bias.data.zero_()
        self.says = says

    def forward(self, x, t, cond):
        mean = self.map(cond.flatten(1))[:, :, None, None]
        ab = SCHEDULE.at(t)
        ab = ab.to(x).view(-1, 1, 1, 1) if isinstance(ab, torch.Tensor) else ab
        gain = ab**0.5 * SPREAD**2 / (ab * SPREAD**2 + 1 - ab)
        x0 = mean + gain * (x - ab**0.5 * mean)
        eps = (x - ab**0.5 * x0) / (1 - ab) ** 0.5
        return eps if self.says == "epsilon" else ab**0.5 * eps - (1 - ab) ** 0.5 * x0


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 6, 1, 1, generator=generator), torch.randn(1, 2, 2, generator=generator)


def digest(network):
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.state_dict().values())).hexdigest()


def last(states):
    *_, end = states
    return end


@pytest.mark.parametrize("says", ["epsilon", "v_prediction"])
def test_the_embedding_goes_to_the_least_squares_solution(says):
    """In a linear world the loss is quadratic in e, and its minimiser is pinv(B) x0 at every level of noise."""
    network, (x0, cond) = Linear(says), problem()
    wanted = torch.linalg.lstsq(network.map.weight, x0.flatten()).solution
    plan = Plan(steps=1000, lr=0.05, **{**CONSTANT, "floor": 0})
    end = last(imagic.fit_embedding(network, Denoising(SCHEDULE, says), x0, cond, plan=plan, draws=128))
    begun = (cond.flatten() - wanted).norm()
    assert (end.cond.flatten() - wanted).norm() < 0.01 * begun
    assert end.cond.shape == cond.shape and not end.cond.requires_grad


def test_the_first_stage_moves_the_embedding_and_nothing_else():
    network, (x0, cond) = Linear(), problem()
    before, given, modes = digest(network), cond.clone(), network.training
    end = last(imagic.fit_embedding(network, NOISE, x0, cond, plan=PLAN))
    assert digest(network) == before and torch.equal(cond, given) and network.training == modes
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert end.network is network and not torch.equal(end.cond, cond)


def test_the_second_stage_moves_a_copy_of_the_network_and_nothing_else():
    network, (x0, cond) = Linear(), problem()
    before, given = digest(network), cond.clone()
    end = last(imagic.fit_network(network, NOISE, x0, cond, plan=PLAN))
    assert digest(network) == before and digest(end.network) != before
    assert torch.equal(end.cond, given) and torch.equal(cond, given)
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in end.network.parameters()) and not end.network.training


class Free(nn.Module):
    """A network that can learn one picture by heart: eps = (x - a (m + B e)) / b, which has no spread."""

    def __init__(self):
        super().__init__()
        self.map = Linear().map

    def forward(self, x, t, cond):
        mean, ab = self.map(cond.flatten(1))[:, :, None, None], SCHEDULE.at(t)
        ab = ab.to(x).view(-1, 1, 1, 1) if isinstance(ab, torch.Tensor) else ab
        return (x - ab**0.5 * mean) / (1 - ab) ** 0.5


def test_at_eta_zero_every_seed_ends_at_the_picture_and_only_after_the_second_stage():
    network, (x0, cond) = Linear(), problem()
    embedded = last(imagic.fit_embedding(network, NOISE, x0, cond, plan=Plan(1500, 0.05, **CONSTANT)))
    memory = Free()
    memory.load_state_dict(network.state_dict())
    fitted = last(imagic.fit_network(memory, NOISE, x0, embedded.cond, plan=Plan(2000, 0.02, warmup=0, decay=0)))

    def drawn(network, n=16):
        noise = torch.randn(n, 6, 1, 1, generator=torch.Generator().manual_seed(1))
        e = imagic.between(fitted.cond, cond, 0).expand(n, -1, -1)
        return ddim.sample(NOISE.predictor(network), SCHEDULE, noise, SCHEDULE.timesteps(50), e)

    def error(pictures):
        return (pictures - x0).square().mean().sqrt()

    before, after = drawn(network), drawn(fitted.network)
    assert error(after) < 0.02 * error(before)
    assert after.var(0).mean() < 1e-4 * before.var(0).mean()

    def loss(network, picture):
        _, t, eps = NOISE.draw(picture, 200, torch.Generator().manual_seed(2))
        return NOISE.errors(network, picture.expand(200, -1, -1, -1), t, eps, fitted.cond.expand(200, -1, -1)).mean()

    other = problem(7)[0]
    assert loss(fitted.network, x0) < 0.01 * loss(network, x0)
    assert loss(fitted.network, other) > loss(network, other) > loss(network, x0)


def test_between_is_affine_and_exact_at_its_ends():
    fitted, cond = torch.randn(1, 3, 5), torch.randn(1, 3, 5)
    assert torch.equal(imagic.between(fitted, cond, 0), fitted) and torch.equal(imagic.between(fitted, cond, 1), cond)
    etas = [0, 0.25, 0.5, 0.75, 1, 1.25]
    path = imagic.between(fitted, cond, etas)
    assert path.shape == (6, 3, 5)
    assert path.diff(dim=0).diff(dim=0).abs().max() < 1e-6
    assert torch.allclose(path[1], fitted[0] + (cond - fitted)[0] / 4, atol=1e-6)
    assert torch.equal(imagic.between(fitted, cond, torch.tensor(etas)), path)


def test_a_fit_is_the_same_for_the_same_seed_and_goes_on_where_it_was_left(tmp_path):
    network, (x0, cond) = Linear(), problem()
    plans = {"embedding": Plan(30, 0.05, **CONSTANT), "model": Plan(20, 0.05, **CONSTANT)}
    whole = list(imagic.fit(network, NOISE, x0, cond, **plans))
    assert [s.stage for s in whole] == ["embedding"] * 31 + ["network"] * 21
    assert [s.step for s in whole] == [*range(1, 31), 30, *range(1, 21), 20]
    for left_at, states_to_come in ((12, 40), (40, 13)):  # in stage A; in B, after A's last state once more
        folder = tmp_path / str(left_at)
        *_, state = itertools.islice(imagic.fit(network, NOISE, x0, cond, folder=folder, **plans), left_at)
        assert torch.isfinite(state.network(x0, 500, state.cond)).all()
        torch.randn(7)
        again = list(imagic.fit(network, NOISE, x0, cond, folder=folder, **plans))
        assert len(again) == states_to_come
        assert torch.equal(again[-1].cond, whole[-1].cond) and digest(again[-1].network) == digest(whole[-1].network)
    other = {**plans, "embedding": Plan(30, 0.05, seed=1, **CONSTANT)}
    assert not torch.equal(last(imagic.fit(network, NOISE, x0, cond, **other)).cond, whole[-1].cond)


def test_what_does_not_fit_is_refused_in_words():
    network, (x0, cond) = Linear(), problem()

    def fit(x0=x0, cond=cond, **settings):
        return last(imagic.fit_embedding(network, NOISE, x0, cond, plan=Plan(1, 0.1), **settings))

    with pytest.raises(ValueError, match="x0: got 2 pictures, wanted 1"):
        fit(x0.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match=r"cond: got shape \(2, 2\), wanted \(1, L, d\)"):
        fit(cond=cond[0])
    with pytest.raises(ValueError, match="x0: got 1 of 6 values NaN"):
        fit(torch.where(torch.arange(6).view(1, 6, 1, 1) == 2, torch.nan, x0))
    with pytest.raises(ValueError, match="prediction: got 'x0', wanted one of 'epsilon', 'v_prediction'"):
        Denoising(SCHEDULE, "x0")
    with pytest.raises(ValueError, match="draws: got 0"):
        fit(draws=0)
    with pytest.raises(ValueError, match="steps=0"):
        Plan(0, 0.1)
    for eta in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"eta: got {eta}, wanted a finite number"):
            imagic.between(2 * cond, cond, eta)
    with pytest.raises(ValueError, match="fitted, cond: got the same embedding twice"):
        imagic.between(cond.clone(), cond, 0.5)
    with pytest.raises(ValueError, match=r"cond: got shape .*wanted .* the shape of fitted"):
        imagic.between(cond, cond[:, :1], 0.5)


FULL = """
import resource, signal, sys
from pathlib import Path
from kit.diffusion import imagic
from tests.diffusion.test_imagic import NOISE, Linear, Plan, problem, CONSTANT

plans = {"embedding": Plan(30, 0.05, **CONSTANT), "model": Plan(20, 0.05, every=5, **CONSTANT)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
states = imagic.fit(Linear(), NOISE, *problem(), folder=sys.argv[1], **plans)
try:
    for state in states:
        if (state.stage, state.step) == ("network", 7):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
except Exception as error:
    print(type(error).__name__, error, *sorted(path.name for path in Path(sys.argv[1]).iterdir()), sep="|")
"""


def test_a_disk_that_takes_no_more_is_said_and_what_was_saved_before_stays(tmp_path):
    """The kernel itself refuses, in a process that may write no file longer than 100 bytes."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    _, message, *left = done.stdout.strip().split("|")
    assert "File too large" in message and left == ["embedding.safetensors", "network.safetensors"], done.stderr
    plans = {"embedding": Plan(30, 0.05, **CONSTANT), "model": Plan(20, 0.05, every=5, **CONSTANT)}
    again = list(imagic.fit(Linear(), NOISE, *problem(), folder=tmp_path, **plans))
    whole = last(imagic.fit(Linear(), NOISE, *problem(), **plans))
    assert [s.step for s in again if s.stage == "network"] == [*range(6, 21), 20]
    assert digest(again[-1].network) == digest(whole.network)
