"""Each picture's noise is its own: against torch's generators, diffusers' and the size of the batch."""

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from kit.diffusion.seeds import randn, stream

SHAPE = (5, 4, 8, 8)


def test_picture_i_is_drawn_from_seed_plus_i():
    noise = randn(SHAPE, 7)
    for i in range(5):
        alone = torch.randn(SHAPE[1:], generator=torch.Generator().manual_seed(7 + i))
        assert torch.equal(noise[i], alone)


def test_a_picture_does_not_depend_on_the_size_of_its_batch():
    many = randn((20, 4, 8, 8), 3)
    for n in (1, 2, 19):
        assert torch.equal(randn((n, 4, 8, 8), 3), many[:n])


def test_listed_seeds_choose_the_pictures():
    noise = randn(SHAPE, 0)
    assert torch.equal(randn((3, 4, 8, 8), [4, 0, 2]), noise[[4, 0, 2]])


def test_the_same_seeds_give_what_diffusers_draws_from_one_generator_each():
    generators = [torch.Generator().manual_seed(s) for s in range(5)]
    draws = stream(SHAPE, 0)
    for _ in range(3):
        assert torch.equal(next(draws), randn_tensor(SHAPE, generator=generators))


def test_a_stream_begins_with_randn_and_goes_on_with_new_noise():
    draws = stream(SHAPE, 11)
    first, second, third = next(draws), next(draws), next(draws)
    assert torch.equal(first, randn(SHAPE, 11))
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_pictures_and_draws_are_uncorrelated_standard_normal():
    """1.3 million numbers: mean, variance and correlations within four standard errors."""
    draws = stream((2, 4, 400, 400), 5)
    a, b = torch.cat([next(draws), next(draws)]).double().view(2, 2, -1)
    rows = torch.cat([a, b])
    d = rows.shape[1]
    covariance = rows @ rows.T / d
    assert (rows.mean(1).abs() < 4 / d**0.5).all()
    assert ((covariance.diag() - 1).abs() < 4 * (2 / d) ** 0.5).all()
    assert ((covariance - covariance.diag().diag()).abs() < 4 / d**0.5).all()


def test_other_dtypes_are_the_same_noise_rounded():
    noise = randn(SHAPE, 0)
    assert noise.dtype == torch.float32
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert torch.equal(randn(SHAPE, 0, dtype=dtype), noise.to(dtype))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    randn(SHAPE, 0)
    assert torch.equal(torch.rand(3), expected)


def test_the_last_seed_is_usable():
    assert torch.equal(randn((2, 3), 2**63 - 2)[1], randn((1, 3), 2**63 - 1)[0])


@pytest.mark.parametrize(
    ("shape", "seed", "message"),
    [
        (SHAPE, -1, f"seed: got -1, wanted a whole number from 0 to {2**63 - 5}"),
        (
            SHAPE,
            2**63 - 4,
            f"seed: got {2**63 - 4}, wanted a whole number from 0 to {2**63 - 5}",
        ),
        (
            SHAPE,
            [0, 1, 2, 3, 2**63],
            f"seed: got {2**63}, wanted a whole number from 0 to {2**63 - 1}",
        ),
        (SHAPE, [0, 1, 2, 3, -1], "seed: got -1, wanted a whole number"),
        (SHAPE, 0.5, "seed: got 0.5, wanted a whole number"),
        (SHAPE, None, "seed: got None, wanted a whole number"),
        (SHAPE, True, "seed: got True, wanted a whole number"),
        (SHAPE, [1, 2], "seed: got 2 seeds, wanted 5, one for each picture"),
        ((), 0, r"shape: got \(\), wanted \(n, \.\.\.\)"),
        ((0, 4, 8, 8), 0, r"shape: got \(0, 4, 8, 8\), wanted \(n, \.\.\.\) with no axis empty"),
        ((2, -4), 0, "shape: got -4, wanted a whole number from 0"),
        ((2, 4.0), 0, "shape: got 4.0, wanted a whole number"),
    ],
)
def test_randn_refuses(shape, seed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        randn(shape, seed)
