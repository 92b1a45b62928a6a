import pytest
import torch
from torch import nn

from kit.diffusion import Schedule, ddim
from kit.diffusion.denoising import Denoising, frozen

SCHEDULE = Schedule.stable_diffusion(1.0)


def says_nothing(x, t, cond):
    return torch.zeros_like(x)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_error_of_each_picture_is_that_of_its_own_target(prediction):
    """A network that says 0 is wrong by the mean square of eps, or of v = sqrt(ab) eps - sqrt(1 - ab) x0."""
    x0, eps, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([10, 500, 990])
    ab = SCHEDULE.alpha_bar[t].float().view(3, 1, 1, 1)
    target = eps if prediction == "epsilon" else ab**0.5 * eps - (1 - ab) ** 0.5 * x0
    got = Denoising(SCHEDULE, prediction).errors(says_nothing, x0, t, eps, None)
    assert got.shape == (3,) and torch.allclose(got, (target**2).mean((1, 2, 3)), atol=1e-6)


def test_the_network_is_asked_at_the_noised_picture():
    asked = []

    def network(x, t, cond):
        asked.append((x, t, cond))
        return x

    x0, eps, t, cond = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2), torch.tensor([0, 999]), torch.randn(2, 3, 4)
    Denoising(SCHEDULE).errors(network, x0, t, eps, cond)
    ab = SCHEDULE.alpha_bar[t].float().view(2, 1, 1, 1)
    [(x, at, said)] = asked
    assert torch.allclose(x, ab**0.5 * x0 + (1 - ab) ** 0.5 * eps, atol=1e-6)
    assert torch.equal(at, t) and said is cond


def test_draws_are_of_all_pictures_and_timesteps_and_the_generators_alone():
    x0 = torch.arange(4.0).view(4, 1, 1, 1)
    x, t, eps = Denoising(SCHEDULE).draw(x0, 4000, torch.Generator().manual_seed(0))
    assert x.shape == eps.shape == (4000, 1, 1, 1) and t.dtype == torch.int64
    assert torch.bincount(x.flatten().int()).sub(1000).abs().max() < 120  # four standard deviations of 27
    assert (t.min() <= 3, t.max() >= 996) == (True, True) and abs(t.float().mean() - 499.5) < 19
    assert abs(eps.mean()) < 0.07 and abs(eps.var() - 1) < 0.1
    torch.randn(3)
    again = Denoising(SCHEDULE).draw(x0, 4000, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip((x, t, eps), again, strict=True))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_predictor_of_a_perfect_network_leads_back_to_the_picture(prediction):
    """For data at one point the truth is known, as eps and as v, and sampling ends at the point."""
    point = torch.tensor([0.7, -0.2]).view(1, 2, 1, 1)

    def network(x, t, cond):
        ab = SCHEDULE.at(t)
        eps = (x - ab**0.5 * point) / (1 - ab) ** 0.5
        return eps if prediction == "epsilon" else ab**0.5 * eps - (1 - ab) ** 0.5 * point

    predict = Denoising(SCHEDULE, prediction).predictor(network)
    end = ddim.sample(predict, SCHEDULE, torch.randn(5, 2, 1, 1), SCHEDULE.timesteps(10))
    assert torch.allclose(end, point.expand(5, -1, -1, -1), atol=1e-4)


def test_a_frozen_network_says_the_same_and_only_its_inputs_get_gradients():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 4)

        def forward(self, x, t, cond):
            return self.map(x) * cond

    network, x, cond = Network(), torch.randn(2, 4), torch.randn(2, 4, requires_grad=True)
    said = frozen(network)(x, 0, cond)
    assert torch.equal(said, network(x, 0, cond))
    said.sum().backward()
    assert cond.grad.any() and network.map.weight.grad is None and network.training
