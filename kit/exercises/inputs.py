"""What the checkers hand to an answer: seeded shapes, numbers and a made-up network.

Shapes come small first, so that a message can show the numbers; the second has all its axes equal, because there a
factor for each picture that lines up with another axis goes through without an error.
"""

import random

import torch
from torch import Tensor

TINY = (1, 1, 1, 2)
SQUARE = (3, 3, 3, 3)


def shapes(count: int) -> list[tuple[int, ...]]:
    """The smallest shape (n, c, h, w), the treacherous one, then random ones of 1 to 5 on every axis."""
    luck = random.Random(0)
    return [TINY, SQUARE, *(tuple(luck.randint(1, 5) for _ in range(4)) for _ in range(count - 2))]


def dtype(i: int) -> torch.dtype:
    """float64 for every third input, else float32."""
    return torch.float64 if i % 3 == 2 else torch.float32


def normal(shape, seed: int, dtype=torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def levels(n: int, seed: int, dtype=torch.float32) -> Tensor:
    """alpha_bar for each of n pictures, (n,), from 0.05 to 0.95."""
    share = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (share * 0.9 + 0.05).to(dtype)


def per_picture(level: Tensor, x: Tensor) -> Tensor:
    """A level (n,) so that it multiplies x (n, ...)."""
    return level.view(-1, *[1] * (x.ndim - 1))


class Network:
    """A made-up predictor, different for every row of x and cond, that counts its calls and the rows it was shown."""

    __name__ = "a made-up predict(x, t, cond)"

    def __init__(self):
        self.calls, self.rows = 0, 0

    def __call__(self, x, t, cond):
        if len(x) != len(cond):
            raise ValueError(f"predict: got {len(x)} pictures with {len(cond)} conditions, wanted as many of each")
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        return torch.tanh(x + per_picture(cond.sum((1, 2)), x)) + t / 1000
