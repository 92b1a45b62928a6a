"""The exercises on random numbers: right answers written apart, and wrong ones that must be told why."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from kit.exercises import EXERCISES

MODULI = (30269, 30307, 30323)

# Right answers as a reader may write them: by other means than the checker's own.


def wichmann_hill(x, y, z, n):
    """Exactly, in fractions; step k by a power of the multipliers."""
    numbers = []
    for k in range(1, n + 1):
        shares = zip((171, 172, 170), (x, y, z), MODULI, strict=True)
        numbers.append(float(sum(Fraction(pow(a, k, m) * s % m, m) for a, s, m in shares) % 1))
    return numbers


def period(multipliers, moduli):
    """By walking all states together."""
    state, steps = [1] * len(moduli), 0
    while True:
        state = [a * s % m for a, s, m in zip(multipliers, state, moduli, strict=True)]
        steps += 1
        if state == [1] * len(moduli):
            return steps


def one_lcg(multipliers, moduli):
    """By trying."""
    m = math.prod(moduli)
    wanted = list(zip(multipliers, moduli, strict=True))
    return next(a for a in range(m) if all(a % own == remainder % own for remainder, own in wanted)), m


def chi_square(u, bins):
    counts, _ = np.histogram(u.numpy(), bins, (0, 1))
    return (np.square(counts).sum() * bins / len(u) - len(u)).item()  # the square multiplied out


def autocorrelation(u, k):
    centred = (u - u.mean()).double()
    return centred[k:] @ centred[: len(u) - k] / (centred @ centred)


def box_muller(u, v):
    return torch.polar(torch.sqrt(-2 * torch.log(u)), 2 * torch.pi * v).real


def noise_per_picture(seed, shape):
    noise = torch.empty(shape)
    for i, row in enumerate(noise):
        row.normal_(generator=torch.Generator().manual_seed(seed + i))
    return noise


def own_generators(seed, n):
    return [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(n)]


RIGHT = [
    *(wichmann_hill, period, one_lcg, chi_square, autocorrelation, box_muller),
    *(noise_per_picture, own_generators),
]

# Mistakes as a reader makes them, and what the message must name.


def walked(number, multipliers=(171, 172, 170), late=False):
    def answer(x, y, z, n):
        state, numbers = np.array([x, y, z]), []
        for _ in range(n):
            before = state
            state = state * multipliers % MODULI
            numbers.append(float(number((before if late else state) / MODULI)))
        return numbers

    return answer


def wrapped(shares):
    return shares.sum() % 1


def orders(multipliers, moduli):
    return [period((a,), (m,)) for a, m in zip(multipliers, moduli, strict=True)]


def crossed(multipliers, moduli):
    m = math.prod(moduli)
    return sum(a * (m // own) for a, own in zip(multipliers, moduli, strict=True)) % m, m


def unreduced(multipliers, moduli):
    m, total = math.prod(moduli), 0
    for a, own in zip(multipliers, moduli, strict=True):
        total += a * (m // own) * pow(m // own, own - 2, own)
    return total, m


def squares(u, bins, *ends):
    return (torch.histc(u, bins, *ends) - len(u) / bins) ** 2


def seeded_globally(seed, n):
    torch.manual_seed(seed)
    return [torch.Generator().manual_seed(torch.randint(2**60, ()).item()) for _ in range(n)]


def globally(seed, shape):
    return torch.stack([torch.randn(shape[1:], generator=torch.manual_seed(seed + i)) for i in range(shape[0])])


def generator(seed):
    return torch.Generator().manual_seed(seed)


WRONG = [
    ("wichmann_hill", walked(np.sum), "what is behind the point"),
    ("wichmann_hill", walked(wrapped, late=True), "step first"),
    ("wichmann_hill", walked(wrapped, multipliers=(170, 171, 172)), "changed places"),
    ("wichmann_hill", walked(np.mean), "prefers the middle"),
    ("wichmann_hill", lambda x, y, z, n: wichmann_hill(x, y, z, n)[:-1], "got     "),
    ("wichmann_hill", lambda x, y, z, n: (u for u in wichmann_hill(x, y, z, n)), "got     generator"),
    ("period", lambda multipliers, moduli: math.prod(orders(multipliers, moduli)), "counts too many"),
    ("period", lambda multipliers, moduli: math.lcm(*[m - 1 for m in moduli]), "some multipliers are back sooner"),
    ("period", lambda multipliers, moduli: max(orders(multipliers, moduli)), "only the slowest"),
    ("period", lambda multipliers, moduli: float(period(multipliers, moduli)), "got     6\n    wanted  6"),
    ("period", lambda multipliers, moduli: period(multipliers, moduli) - 1, "got     5"),
    (
        "one_lcg",
        lambda multipliers, moduli: (math.prod(multipliers) % math.prod(moduli), math.prod(moduli)),
        "must be a_i",
    ),
    ("one_lcg", crossed, "times its inverse"),
    ("one_lcg", unreduced, "take the whole modulo m"),
    ("one_lcg", lambda multipliers, moduli: one_lcg(multipliers, moduli)[::-1], "got     (7, 3)"),
    ("chi_square", lambda u, bins: (squares(u, bins) * bins / len(u)).sum(), "from the smallest number"),
    ("chi_square", lambda u, bins: squares(u, bins, 0, 1).sum(), "still to be divided"),
    ("chi_square", lambda u, bins: squares(u, bins, 0, 1).sum() / len(u), "expected in one bin"),
    ("chi_square", lambda u, bins: (torch.histc(u, bins, 0, 1) - len(u) / bins).sum(), "the squares are missing"),
    ("chi_square", lambda u, bins: squares(u, bins, 0, 1) * bins / len(u), "got     tensor (2,)"),
    ("autocorrelation", lambda u, k: u[k:] @ u[:-k] / (u @ u), "the mean is not subtracted"),
    (
        "autocorrelation",
        lambda u, k: (lambda c: (c * torch.cat([c[k:], c[:k]])).sum() / (c * c).sum())(u - u.mean()),
        "joined to the beginning",
    ),
    (
        "autocorrelation",
        lambda u, k: autocorrelation(u, k) * len(u) / (len(u) - k),
        "no mean is to be taken",
    ),
    (
        "autocorrelation",
        lambda u, k: ((u[:-k] - u[:-k].mean()) * (u[k:] - u[k:].mean())).sum() / ((u - u.mean()) ** 2).sum(),
        "each piece has its own mean",
    ),
    ("autocorrelation", lambda u, k: torch.corrcoef(torch.stack([u[:-k], u[k:]]))[0, 1], "got     "),
    ("box_muller", lambda u, v: box_muller(v, u), "changed places"),
    ("box_muller", lambda u, v: box_muller(u, v) / math.log(10) ** 0.5, "the natural one"),
    ("box_muller", lambda u, v: box_muller(u, v / (2 * math.pi)), "once round"),
    ("box_muller", lambda u, v: (-2 * u.log()) ** 0.5 * (2 * math.pi * v).sin(), "the right distribution, too"),
    ("box_muller", lambda u, v: box_muller(u, v) * (-2 * u.log()).sqrt(), "root of -2 ln u"),
    ("box_muller", lambda u, v: torch.erfinv(2 * u - 1) * 2**0.5, "got     "),
    (
        "noise_per_picture",
        lambda seed, shape: torch.randn(shape, generator=generator(seed)),
        "its place among the others",
    ),
    ("noise_per_picture", globally, "what everyone else will draw"),
    (
        "noise_per_picture",
        lambda seed, shape: torch.randn(shape[1:], generator=generator(seed)).expand(shape),
        "every picture has the same seed",
    ),
    ("noise_per_picture", lambda seed, shape: noise_per_picture(seed, shape)[0], "got     "),
    ("own_generators", lambda seed, n: [generator(seed + i) for i in range(n)], "worker 1 of seed 0"),
    ("own_generators", lambda seed, n: [generator(seed)] * n, "who draws first"),
    ("own_generators", lambda seed, n: [generator(seed) for _ in range(n)], "all workers have the same seed"),
    ("own_generators", lambda seed, n: [generator(n * seed + i) for i in range(n)], "how many workers"),
    ("own_generators", lambda seed, n: [torch.Generator() for i in range(n)], "not with yours"),
    ("own_generators", seeded_globally, "global state changed: True"),
    (
        "own_generators",
        lambda seed, n: [(g := torch.Generator(), g.seed())[0] for _ in range(n)],
        "the same again: False",
    ),
    ("own_generators", lambda seed, n: own_generators(seed, n)[1:], "got     'a list of 1'"),
    ("own_generators", lambda seed, n: list(range(n)), "got     'a list of 2'"),
]


# The kit's answers, against what others have published.


def test_wichmann_hill_is_the_published_sequence():
    """The state and the numbers that the course's notebook shows for the seed 457428938475."""
    given = EXERCISES["wichmann_hill"].answer(4976, 20238, 499, 4)
    wanted = [0.7645251082582081, 0.7920889799553945, 0.06912886811267205, 0.9559050644103264]
    assert given == pytest.approx(wanted, abs=1e-15)


def test_one_lcg_and_the_period_are_the_published_ones():
    """Zeisel, A remark on algorithm AS 183 (1986): the single generator; the period is a quarter of the product."""
    generators = (171, 172, 170), MODULI
    assert EXERCISES["one_lcg"].answer(*generators) == (16555425264690, 27817185604309)
    assert EXERCISES["period"].answer(*generators) == 6953607871644 == 30268 * 30306 * 30322 // 4


def test_box_muller_gives_normal_numbers():
    """The mean, the variance and the share within one standard deviation, of 100,000."""
    uniform = torch.rand(2, 100_000, generator=generator(0), dtype=torch.float64)
    x = EXERCISES["box_muller"].answer(1 - uniform[0], uniform[1])
    error = 4 / len(x) ** 0.5
    assert abs(x.mean()) < error and abs(x.var() - 1) < 2**0.5 * error
    assert abs((x.abs() < 1).double().mean() - math.erf(0.5**0.5)) < error / 2
