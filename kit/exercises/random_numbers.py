"""The exercises of walkthroughs/random-numbers.ipynb, each with a right answer and the mistakes one makes.

x, y, z         whole numbers     the state of Wichmann-Hill, 0 < x < 30269, 0 < y < 30307, 0 < z < 30323
u               tensor (n,)       uniform numbers, 0 <= u < 1
multipliers     a_1, a_2, ...     of generators x -> a_i x mod m_i
moduli          m_1, m_2, ...     different primes; small ones in the inputs, so that slow answers end, too
"""

from __future__ import annotations

import math
import random
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from kit.diffusion import seeds
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype
from kit.exercises.layouts import twice

# wichmann_hill

MULTIPLIERS, MODULI = (171, 172, 170), (30269, 30307, 30323)


def _wichmann_hill(x, y, z, n):
    numbers = []
    for _ in range(n):
        x, y, z = 171 * x % 30269, 172 * y % 30307, 170 * z % 30323
        numbers.append((x / 30269 + y / 30307 + z / 30323) % 1)
    return numbers


def _states() -> list[dict]:
    luck = random.Random(0)
    given = [(1, 2, 3, 2), (4976, 20238, 499, 4), (1, 30306, 1, 5), (30268, 1, 30322, 3)]
    given += [(*(luck.randint(1, m - 1) for m in MODULI), luck.randint(1, 50)) for _ in range(4)]
    return [dict(zip(("x", "y", "z", "n"), state, strict=True)) for state in given]


def _observe_list(function, arguments: dict) -> dict:
    """A list of numbers as a tensor, so that the last bit of a sum does not matter."""
    result = function(*arguments.values())
    return {"result": torch.tensor(result, dtype=torch.float64) if isinstance(result, list) else result}


def _from_states(number, late=False, multipliers=MULTIPLIERS):
    """An answer that makes its numbers of the three fractions in another way, or before the first step."""

    def answer(x, y, z, n):
        state, numbers = [x, y, z], []
        for _ in range(n):
            before = state
            state = [a * s % m for a, s, m in zip(multipliers, state, MODULI, strict=True)]
            numbers.append(number([s / m for s, m in zip(before if late else state, MODULI, strict=True)]))
        return numbers

    return answer


wichmann_hill = Exercise(
    name="wichmann_hill",
    asks="wichmann_hill(x, y, z, n), which returns the n numbers that follow the state (x, y, z), as a list.",
    answer=_wichmann_hill,
    inputs=_states,
    observe=_observe_list,
    mistakes={
        "the sum of three fractions may be more than 1: keep only what is behind the point, by % 1.": _from_states(sum),
        "the first number is made of the given state: step first, then make the number.": (
            _from_states(lambda shares: sum(shares) % 1, late=True)
        ),
        "the multipliers have changed places: 171 is x's, 172 y's, 170 z's.": (
            _from_states(lambda shares: sum(shares) % 1, multipliers=(170, 171, 172))
        ),
        "the mean of the three is not uniform, it prefers the middle; their sum % 1 is.": (
            _from_states(lambda shares: sum(shares) / 3)
        ),
    },
)


# period


def _order(multiplier, modulus):
    value, steps = multiplier % modulus, 1
    while value != 1:
        value, steps = value * multiplier % modulus, steps + 1
    return steps


def _orders(multipliers, moduli):
    return [_order(a, m) for a, m in zip(multipliers, moduli, strict=True)]


def _small_generators() -> list[dict]:
    given = [((3,), (7,)), ((2,), (7,)), ((2, 3), (5, 7)), ((4, 2), (5, 7)), ((1, 2), (3, 11))]
    given += [((2, 5, 2), (101, 103, 107)), ((5, 4, 6), (61, 67, 71)), ((10, 10), (37, 41))]
    return [{"multipliers": multipliers, "moduli": moduli} for multipliers, moduli in given]


period = Exercise(
    name="period",
    asks=(
        "period(multipliers, moduli), which returns after how many steps all the states x -> a x mod m, stepped "
        "together, are first back where they began."
    ),
    answer=lambda multipliers, moduli: math.lcm(*_orders(multipliers, moduli)),
    inputs=_small_generators,
    mistakes={
        "the product counts too many: two states with the periods 4 and 6 are both back after 12 steps.": (
            lambda multipliers, moduli: math.prod(_orders(multipliers, moduli))
        ),
        "m - 1 steps are the most that a state can take; some multipliers are back sooner, 2 mod 7 after 3.": (
            lambda multipliers, moduli: math.lcm(*(m - 1 for m in moduli))
        ),
        "only the slowest state is back then: all of them must be.": (
            lambda multipliers, moduli: max(_orders(multipliers, moduli))
        ),
    },
)


# one_lcg


def _one_lcg(multipliers, moduli):
    m = math.prod(moduli)
    parts = [(a, m // own, own) for a, own in zip(multipliers, moduli, strict=True)]
    return sum(a * others * pow(others, -1, own) for a, others, own in parts) % m, m


def _one_unreduced(multipliers, moduli):
    m = math.prod(moduli)
    parts = [(a, m // own, own) for a, own in zip(multipliers, moduli, strict=True)]
    return sum(a * others * pow(others, -1, own) for a, others, own in parts), m


one_lcg = Exercise(
    name="one_lcg",
    asks=(
        "one_lcg(multipliers, moduli), which returns (a, m): m the product of the moduli, and a from 0 to m - 1 with "
        "the remainder a_i modulo each m_i."
    ),
    answer=_one_lcg,
    inputs=_small_generators,
    mistakes={
        "the product of the multipliers has other remainders: modulo m_i it must be a_i.": (
            lambda multipliers, moduli: (math.prod(multipliers) % math.prod(moduli), math.prod(moduli))
        ),
        "each a_i is multiplied by the other moduli, but that product is not 1 modulo m_i yet: times its inverse, "
        "pow(others, -1, m_i).": lambda multipliers, moduli: (
            sum(a * (math.prod(moduli) // m) for a, m in zip(multipliers, moduli, strict=True)) % math.prod(moduli),
            math.prod(moduli),
        ),
        "the remainders are right; take the whole modulo m.": _one_unreduced,
    },
)


# chi_square


def _chi_square(u, bins):
    counts = [0] * bins
    for value in u.tolist():
        counts[int(value * bins)] += 1
    expected = len(u) / bins
    return sum((count - expected) ** 2 / expected for count in counts)


def _uniform(n: int, seed: int, dtype=torch.float64) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _samples() -> list[dict]:
    sizes = [(4, 2), (6, 3), (60, 4), (100, 10), (1000, 20), (500, 7)]
    return [{"u": 0.05 + 0.8 * _uniform(n, i, dtype(i)), "bins": bins} for i, (n, bins) in enumerate(sizes)]


def _number(value):
    """A float or a tensor without axes, as the latter."""
    right_kind = isinstance(value, float | int) or (isinstance(value, Tensor) and value.ndim == 0)
    return torch.tensor(float(value), dtype=torch.float64) if right_kind else value


def _observe_number(function, arguments: dict) -> dict:
    return {name: _number(value) for name, value in twice(function, arguments).items()}


def _counts(u, bins, low=0.0, high=1.0):
    return torch.histc(u, bins, low, high).double()


chi_square = Exercise(
    name="chi_square",
    asks=(
        "chi_square(u, bins), which returns the sum over equal bins of [0, 1) of (count - expected)^2 / expected, "
        "a number."
    ),
    answer=_chi_square,
    inputs=_samples,
    observe=_observe_number,
    mistakes={
        "the bins reach from the smallest number to the largest; they must reach from 0 to 1, or what is missing at "
        "the ends is not seen. (torch.histc does this if no ends are given.)": lambda u, bins: (
            (torch.histc(u, bins) - len(u) / bins).square().sum() / (len(u) / bins)
        ),
        "each square is still to be divided by the count that was expected.": (
            lambda u, bins: (_counts(u, bins) - len(u) / bins).square().sum()
        ),
        "this divides by the number of numbers; wanted the count expected in one bin, n / bins.": (
            lambda u, bins: (_counts(u, bins) - len(u) / bins).square().sum() / len(u)
        ),
        "the squares are missing: what is too many in one bin is too few in another, and they cancel.": (
            lambda u, bins: (_counts(u, bins) - len(u) / bins).sum()
        ),
    },
)


# autocorrelation


def _autocorrelation(u, k):
    numbers = u.double().tolist()
    mean = sum(numbers) / len(numbers)
    together = sum((a - mean) * (b - mean) for a, b in zip(numbers, numbers[k:], strict=False))
    return together / sum((a - mean) ** 2 for a in numbers)


def _series() -> list[dict]:
    sizes = [(4, 1), (5, 2), (30, 1), (100, 7), (60, 59), (200, 3)]
    return [{"u": _uniform(n, 20 + i, dtype(i)) ** 2 + 1, "k": k} for i, (n, k) in enumerate(sizes)]


def _centred(u):
    return u - u.mean()


autocorrelation = Exercise(
    name="autocorrelation",
    asks=(
        "autocorrelation(u, k), which returns the sum of (u_i - mean) (u_i+k - mean) over all pairs, divided by the "
        "sum of (u_i - mean)^2; mean is that of all of u."
    ),
    answer=_autocorrelation,
    inputs=_series,
    observe=_observe_number,
    mistakes={
        "the mean is not subtracted: numbers that are all above 0 then seem to go together.": (
            lambda u, k: (u[:-k] * u[k:]).sum() / u.square().sum()
        ),
        "the end is joined to the beginning here (roll does it); a pair must be k apart in the row.": (
            lambda u, k: (_centred(u) * _centred(u).roll(k)).sum() / _centred(u).square().sum()
        ),
        "the sums have different lengths, but no mean is to be taken of either.": (
            lambda u, k: (_centred(u)[:-k] * _centred(u)[k:]).mean() / _centred(u).square().mean()
        ),
        "each piece has its own mean subtracted; wanted that of all of u, in both.": (
            lambda u, k: (_centred(u[:-k]) * _centred(u[k:])).sum() / _centred(u).square().sum()
        ),
    },
)


# box_muller


def _box_muller(u, v):
    pairs = zip(u.tolist(), v.tolist(), strict=True)
    return torch.tensor([math.sqrt(-2 * math.log(a)) * math.cos(2 * math.pi * b) for a, b in pairs], dtype=u.dtype)


def _pairs_of_numbers() -> list[dict]:
    return [
        {"u": 1 - 0.98 * _uniform(n, 40 + 2 * i, dtype(i)), "v": _uniform(n, 41 + 2 * i, dtype(i))}
        for i, n in enumerate([2, 3, 5, 8, 20, 100])
    ]


box_muller = Exercise(
    name="box_muller",
    asks=(
        "box_muller(u, v), which returns sqrt(-2 ln u) cos(2 pi v), a standard normal number for each pair of uniform "
        "ones."
    ),
    answer=_box_muller,
    inputs=_pairs_of_numbers,
    observe=twice,
    mistakes={
        "u and v have changed places: u makes the radius, v the angle.": lambda u, v: (
            (-2 * v.log()).sqrt() * (2 * math.pi * u).cos()
        ),
        "the logarithm must be the natural one: torch.log.": lambda u, v: (
            (-2 * u.log10()).sqrt() * (2 * math.pi * v).cos()
        ),
        "the angle must go once round, from 0 to 2 pi.": lambda u, v: (-2 * u.log()).sqrt() * v.cos(),
        "this has the right distribution, too: the sine makes the other one of the two. Wanted the cosine.": (
            lambda u, v: (-2 * u.log()).sqrt() * (2 * math.pi * v).sin()
        ),
        "the radius is the root of -2 ln u.": lambda u, v: -2 * u.log() * (2 * math.pi * v).cos(),
    },
)


# noise_per_picture


def _shapes_of_noise() -> list[dict]:
    given = [(0, (1, 2)), (7, (3, 2, 2)), (2, (2, 4, 4, 4)), (100, (4, 1, 3)), (8, (2, 2, 2))]
    return [{"seed": seed, "shape": shape} for seed, shape in given]


def _observe_apart(function, arguments: dict) -> dict:
    """What is returned, and whether torch's global state is another one after it."""
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        result = function(*arguments.values())
        return {"result": result, "global state changed": not torch.equal(before, torch.get_rng_state())}


def _by_global_state(seed, shape):
    rows = []
    for i in range(shape[0]):
        torch.manual_seed(seed + i)
        rows.append(torch.randn(shape[1:]))
    return torch.stack(rows)


def _drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


noise_per_picture = Exercise(
    name="noise_per_picture",
    asks=(
        "noise_per_picture(seed, shape), which returns normal noise (n, ...) whose row i is drawn from a "
        "torch.Generator of its own, with the seed `seed + i`."
    ),
    answer=lambda seed, shape: seeds.randn(shape, seed),
    inputs=_shapes_of_noise,
    observe=_observe_apart,
    mistakes={
        "one generator draws the whole batch: a picture then depends on its place among the others.": (
            lambda seed, shape: _drawn(shape, seed)
        ),
        "right numbers, but torch.manual_seed changes what everyone else will draw: use a torch.Generator.": (
            _by_global_state
        ),
        "every picture has the same seed, and so the same noise.": (
            lambda seed, shape: torch.stack([_drawn(shape[1:], seed)] * shape[0])
        ),
    },
)


# own_generators


def _own_generators(seed, n):
    children = np.random.SeedSequence(seed).spawn(n)
    return [torch.Generator().manual_seed(int(child.generate_state(1, np.uint64)[0] >> 1)) for child in children]


def _observe_generators(function, arguments: dict) -> dict:
    """What must hold of the generators, whatever numbers they draw."""
    seed, n = arguments.values()
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        made = function(seed, n)
        if not isinstance(made, list) or not all(isinstance(g, torch.Generator) for g in made) or len(made) != n:
            return {"result": f"a list of {len(made)}" if isinstance(made, list) else made}
        streams = _streams(made)
        return {
            "result": "generators",
            "different ones": len(set(map(id, made))),
            "two workers draw alike": any(torch.equal(a, b) for a, b in combinations(streams, 2)),
            "the same again": _alike(streams, _streams(function(seed, n))),
            "the same with one more worker": _alike(streams, _streams(function(seed, n + 1))),
            "a worker of the next seed draws alike": any(
                torch.equal(a, b) for a, b in product(streams, _streams(function(seed + 1, n)))
            ),
            "global state changed": not torch.equal(before, torch.get_rng_state()),
        }


def _streams(generators):
    return [torch.rand(4, generator=generator) for generator in generators]


def _alike(streams, others):
    return all(torch.equal(a, b) for a, b in zip(streams, others, strict=False))


def _seeded(seed_of):
    return lambda seed, n: [torch.Generator().manual_seed(seed_of(seed, n, i)) for i in range(n)]


own_generators = Exercise(
    name="own_generators",
    asks=(
        "own_generators(seed, n), which returns a list of n torch.Generators, one for each worker: no two draw alike, "
        "no worker of seed + 1 draws like one of seed, and worker i is the same whatever n is."
    ),
    answer=_own_generators,
    inputs=lambda: [{"seed": seed, "n": n} for seed, n in ((0, 2), (1, 3), (7, 4), (123456, 5))],
    observe=_observe_generators,
    mistakes={
        "worker 1 of seed 0 is worker 0 of seed 1: mix the two numbers, as SeedSequence does, not add them.": (
            _seeded(lambda seed, n, i: seed + i)
        ),
        "this is one generator n times: its numbers then depend on who draws first.": (
            lambda seed, n: [torch.Generator().manual_seed(seed)] * n
        ),
        "all workers have the same seed.": _seeded(lambda seed, n, i: seed),
        "worker i depends on how many workers there are.": _seeded(lambda seed, n, i: seed * n + i),
        "a new torch.Generator() always begins with the same seed, and not with yours.": (
            lambda seed, n: [torch.Generator() for _ in range(n)]
        ),
    },
)


EXERCISES = (
    *(wichmann_hill, period, one_lcg, chi_square, autocorrelation, box_muller),
    *(noise_per_picture, own_generators),
)
