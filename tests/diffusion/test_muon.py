import pytest
import torch
from torch import nn

from kit.diffusion.muon import Muon, orthogonal


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def walked(optimiser, p, steps=6):
    """Where p is after so many steps along gradients that depend on nothing."""
    for step in range(steps):
        p.grad = draw(*p.shape, seed=step + 1)
        optimiser.step()
    return p.detach()


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (16, 16)])
def test_on_a_matrix_it_walks_as_torchs(shape):
    mine, its = nn.Parameter(draw(*shape)), nn.Parameter(draw(*shape))
    theirs = torch.optim.Muon([its], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    got, wanted = walked(Muon([mine], lr=0.1, weight_decay=0.3), mine), walked(theirs, its)
    assert (got - wanted).abs().max() < 0.02 * (wanted - draw(*shape)).abs().max()  # of products in bfloat16


def test_a_convolution_is_a_matrix_with_a_filter_a_row():
    conv, matrix = nn.Parameter(draw(6, 4, 3, 3)), nn.Parameter(draw(6, 36))
    with torch.no_grad():
        matrix.copy_(conv.flatten(1))
    optimisers = Muon([conv], 0.1), Muon([matrix], 0.1)
    for step in range(4):
        conv.grad = draw(6, 4, 3, 3, seed=step)
        matrix.grad = conv.grad.flatten(1)
        for optimiser in optimisers:
            optimiser.step()
    assert torch.equal(conv.flatten(1), matrix)


def test_all_directions_are_walked_about_equally_far():
    """Against the singular vectors by another algorithm."""
    gradient = draw(12, 30) * torch.logspace(0, 2, 12)[:, None]
    u, s, vh = torch.linalg.svd(gradient, full_matrices=False)
    along = u.T @ orthogonal(gradient) @ vh.T
    assert s[0] > 50 * s[-1] and ((along.diag() > 0.5) & (along.diag() < 1.5)).all()
    assert (along - along.diag().diag()).abs().max() < 1e-3


def test_what_has_no_gradient_stays():
    """A column of zeros is a column of zeros, as of inputs that a network is never given; no gradient is no step."""
    p, still = nn.Parameter(draw(5, 7)), nn.Parameter(draw(5, 7))
    p.grad = draw(5, 7, seed=1)
    p.grad[:, 2] = 0
    Muon([p, still], 0.1).step()
    assert torch.equal(p[:, 2], draw(5, 7)[:, 2]) and torch.equal(still, draw(5, 7))
    assert (p - draw(5, 7))[:, [0, 1, 3, 4, 5, 6]].abs().min() > 0


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match=r"Muon: got a parameter of shape \(3,\), wanted two dimensions"):
        Muon([nn.Parameter(torch.zeros(3))], 0.1)
