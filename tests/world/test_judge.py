import pytest
import torch

from kit.world import frechet_distance, load_judge, load_likeness


def with_moments(n, mean, covariance, seed):
    """n rows whose sample mean and covariance are exactly the given ones."""
    x = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_distance_is_the_closed_form_for_axes_in_common():
    """(m - n)^2 + (s - t)^2 in every direction, turned by one rotation."""
    m, n = torch.tensor([1.0, -2, 0.5]).double(), torch.tensor([0.0, 1, 0.5]).double()
    s, t = torch.tensor([1.0, 2, 0.3]).double(), torch.tensor([0.5, 2, 1.3]).double()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    a = with_moments(50, m, torch.diag(s**2), 2) @ turn
    b = with_moments(70, n, torch.diag(t**2), 3) @ turn
    assert frechet_distance(a, b) == pytest.approx(float(((m - n) ** 2 + (s - t) ** 2).sum()), abs=1e-9)


def test_frechet_distance_is_symmetric_and_the_trace_of_the_product_root_in_general():
    """Against the eigenvalues of C_a C_b themselves, for covariances that do not commute."""
    random = torch.Generator().manual_seed(4)
    a = torch.randn(200, 5, generator=random) @ torch.randn(5, 5, generator=random)
    b = torch.randn(300, 5, generator=random) @ torch.randn(5, 5, generator=random) + 1
    x, y = torch.cov(a.T.double()), torch.cov(b.T.double())
    root = torch.linalg.eigvals(x @ y).real.sqrt().sum()
    wanted = (a.double().mean(0) - b.double().mean(0)).square().sum() + x.trace() + y.trace() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(float(wanted), rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_features_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match="frechet_distance: got features"):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("load", [load_judge, load_likeness])
def test_missing_weights_name_the_mend(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="make world"):
        load(tmp_path)


def test_the_judge_refuses_other_sizes():
    with pytest.raises(ValueError, match=r"got pictures of shape \(1, 3, 64, 64\), wanted \(n, 3, 128, 128\)"):
        load_judge().read(torch.zeros(1, 3, 64, 64))


def test_loading_the_image_tower_says_nothing_and_leaves_other_peoples_settings_alone(capfd):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    load_likeness()
    assert capfd.readouterr() == ("", "") and logging.is_progress_bar_enabled() == before
