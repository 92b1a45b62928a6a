"""Noise that belongs to a picture: each picture of a batch draws from its own seed.

So a picture is the same alone, in a batch of two or in a batch of a hundred, and the same on every device,
because the numbers are always drawn on the CPU in float32.
"""

import torch

from kit.diffusion import checks

_LAST = 2**63 - 1


def randn(shape, seed, device=None, dtype=None):
    """Standard normal noise (n, ...), float32 unless `dtype` says otherwise.

    seed: an int from 0 to 2**63 - n, and picture i gets seed + i; or n ints, one for each picture. Batches
    whose pictures must all differ therefore have ints at least n apart.
    """
    return next(stream(shape, seed, device, dtype))


def stream(shape, seed, device=None, dtype=None):
    """One draw of noise (n, ...) after another, without end; the first is `randn` of the same arguments."""
    shape = _shape_of(shape)
    generators = [torch.Generator("cpu").manual_seed(s) for s in _seeds(seed, shape[0])]
    return _draws(shape[1:], generators, device, dtype or torch.float32)


def _draws(shape, generators, device, dtype):
    while True:
        yield torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device, dtype)


def _shape_of(shape):
    shape = tuple(checks.whole("shape", size, 0, _LAST) for size in shape)
    if not shape or 0 in shape:
        raise ValueError(f"shape: got {shape}, wanted (n, ...) with no axis empty")
    return shape


def _seeds(seed, n):
    """One seed for each of n pictures."""
    if not isinstance(seed, (list, tuple)):
        first = checks.whole("seed", seed, 0, _LAST - n + 1)
        return range(first, first + n)
    if len(seed) != n:
        raise ValueError(f"seed: got {len(seed)} seeds, wanted {n}, one for each picture")
    return [checks.whole("seed", s, 0, _LAST) for s in seed]
