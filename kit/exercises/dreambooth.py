"""The exercises of walkthroughs/dreambooth-2208.12242.ipynb, each with a right answer and the mistakes one makes.

said, eps       tensors (n + m, c, h, w)    the noise as the network has it, and as it is: first of the thing's pictures
weight          a number from 0             lambda, how much the prior counts
grad, prior     tensors of one shape        the gradients of the thing's loss and of the prior's
before, after   tensors (n, d) and (m, d)   features of what the bare noun draws, before training and after it
"""

from __future__ import annotations

import torch

from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, normal

WEIGHTS = (0.5, 2.0, 0.0, 1.5, 0.3)

# dreambooth_loss


def _halves() -> list[dict]:
    sizes = [(1, 1, 1, 1, 2), (2, 3, 3, 3, 3), (3, 1, 2, 4, 2), (1, 4, 3, 2, 5), (2, 2, 4, 3, 3)]
    return [
        {
            "said": normal((n + m, c, h, w), 2 * i, dtype(i))
            * (1 + torch.arange(n + m).view(-1, 1, 1, 1)).to(dtype(i)),
            "eps": normal((n + m, c, h, w), 2 * i + 1, dtype(i)),
            "n": n,
            "weight": WEIGHTS[i],
        }
        for i, (n, m, c, h, w) in enumerate(sizes)
    ]


def _terms(said, eps, n):
    squares = (said - eps).square()
    return squares[:n].mean(), squares[n:].mean()


def _weighted(combine):
    return lambda said, eps, n, weight: combine(*_terms(said, eps, n), weight)


dreambooth_loss = Exercise(
    name="dreambooth_loss",
    asks=(
        "dreambooth_loss(said, eps, n, weight), which returns one number: the mean square error of the first n "
        "pictures, plus weight times that of the rest, which are the prior's."
    ),
    answer=_weighted(lambda own, prior, weight: own + weight * prior),
    inputs=_halves,
    mistakes={
        "the weight went to the thing's own pictures: it is the prior that it weighs.": _weighted(
            lambda own, prior, weight: weight * own + prior
        ),
        "both terms were weighed: only the prior's is.": _weighted(lambda own, prior, weight: weight * (own + prior)),
        "the weight was left out.": _weighted(lambda own, prior, weight: own + prior),
        "this is a mean of both terms: wanted their sum.": _weighted(
            lambda own, prior, weight: (own + weight * prior) / (1 + weight)
        ),
        "the prior's term is missing.": _weighted(lambda own, prior, weight: own),
        "one mean was taken over all pictures: each of the two terms has its own, however many pictures it has.": (
            lambda said, eps, n, weight: torch.cat([(said - eps)[:n], weight**0.5 * (said - eps)[n:]]).square().mean()
        ),
        "these are sums of squares; wanted means.": (
            lambda said, eps, n, weight: (said - eps)[:n].square().sum() + weight * (said - eps)[n:].square().sum()
        ),
    },
)


# descended


def _steps() -> list[dict]:
    return [
        {
            "theta": normal(shape, 3 * i, dtype(i)),
            "grad": normal(shape, 3 * i + 1, dtype(i)),
            "prior": normal(shape, 3 * i + 2, dtype(i)),
            "weight": WEIGHTS[i],
            "lr": 0.1 * (i + 1),
        }
        for i, shape in enumerate([(2,), (3, 3), (4, 2), (1, 5), (2, 3, 2)])
    ]


descended = Exercise(
    name="descended",
    asks=(
        "descended(theta, grad, prior, weight, lr), which returns the weights theta after one plain gradient step of "
        "size lr on both terms of the loss, whose gradients are grad and prior."
    ),
    answer=lambda theta, grad, prior, weight, lr: theta - lr * (grad + weight * prior),
    inputs=_steps,
    mistakes={
        "this goes uphill: a step goes against the gradient.": (
            lambda theta, grad, prior, weight, lr: theta + lr * (grad + weight * prior)
        ),
        "the prior was taken off: its gradient adds to the thing's.": (
            lambda theta, grad, prior, weight, lr: theta - lr * (grad - weight * prior)
        ),
        "the weight was left out.": lambda theta, grad, prior, weight, lr: theta - lr * (grad + prior),
        "the prior's gradient is missing.": lambda theta, grad, prior, weight, lr: theta - lr * grad,
        "the step's size was left out.": lambda theta, grad, prior, weight, lr: theta - (grad + weight * prior),
        "this is the step; wanted the weights after it.": (
            lambda theta, grad, prior, weight, lr: -lr * (grad + weight * prior)
        ),
    },
)


# prior_passes


def _runs() -> list[dict]:
    names = "steps", "draws", "prior", "sampling"
    rows = [(1, 1, 1, 1), (2, 3, 4, 5), (1000, 1, 200, 50), (150, 4, 40, 20), (800, 2, 100, 25)]
    return [dict(zip(names, row, strict=True)) for row in rows]


prior_passes = Exercise(
    name="prior_passes",
    asks=(
        "prior_passes(steps, draws, prior, sampling), which returns how many pictures the network is shown, an int: "
        "prior pictures are drawn first, each in sampling guided steps; then come steps of training, each on draws "
        "pictures of the thing and as many of the prior."
    ),
    answer=lambda steps, draws, prior, sampling: 2 * prior * sampling + 2 * steps * draws,
    inputs=_runs,
    mistakes={
        "guidance asks the network twice for each step of a sample.": (
            lambda steps, draws, prior, sampling: prior * sampling + 2 * steps * draws
        ),
        "a step of training shows it the prior's pictures too.": (
            lambda steps, draws, prior, sampling: 2 * prior * sampling + steps * draws
        ),
        "the prior's pictures must be drawn first, and that costs passes too.": (
            lambda steps, draws, prior, sampling: 2 * steps * draws
        ),
        "a picture of the prior is drawn in many steps, not in one.": (
            lambda steps, draws, prior, sampling: 2 * prior + 2 * steps * draws
        ),
        "the prior's pictures are drawn once, not for every step.": (
            lambda steps, draws, prior, sampling: steps * (2 * prior * sampling + 2 * draws)
        ),
    },
)


# drift


def _features() -> list[dict]:
    sizes = [(2, 3, 1), (3, 3, 3), (5, 4, 2), (4, 7, 3), (6, 6, 4)]
    return [
        {"before": 2 * normal((n, d), 2 * i, dtype(i)), "after": normal((m, d), 2 * i + 1, dtype(i)) + 0.5}
        for i, (n, m, d) in enumerate(sizes)
    ]


def _apart(before, after):
    return (before.mean(0) - after.mean(0)).square()


drift = Exercise(
    name="drift",
    asks=(
        "drift(before, after), which returns one number: for features (n, d) and (m, d), the square of the difference "
        "of their means plus that of their standard deviations, summed over the d features."
    ),
    answer=lambda before, after: (_apart(before, after) + (before.std(0) - after.std(0)).square()).sum(),
    inputs=_features,
    mistakes={
        "the spreads were compared by their variances: it is the standard deviations that are subtracted.": (
            lambda before, after: (_apart(before, after) + (before.var(0) - after.var(0)).square()).sum()
        ),
        "only the means were compared: a set that has become all alike has drifted too.": (
            lambda before, after: _apart(before, after).sum()
        ),
        "only the spreads were compared.": lambda before, after: (before.std(0) - after.std(0)).square().sum(),
        "the features were averaged; wanted their sum.": (
            lambda before, after: (_apart(before, after) + (before.std(0) - after.std(0)).square()).mean()
        ),
        "mean and spread were taken over all features at once: each has its own.": (
            lambda before, after: (before.mean() - after.mean()).square() + (before.std() - after.std()).square()
        ),
        "this is the root; wanted the sum of squares.": (
            lambda before, after: (_apart(before, after) + (before.std(0) - after.std(0)).square()).sum().sqrt()
        ),
    },
)


EXERCISES = (dreambooth_loss, descended, prior_passes, drift)
