"""DreamBooth's exercises: right answers written apart, and wrong ones that must be told why."""

import torch

from kit.diffusion import Schedule, personalize
from kit.diffusion.denoising import Denoising
from kit.exercises import EXERCISES
from kit.world import frechet_distance

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def dreambooth_loss(said, eps, n, weight):
    own = [((a - b) ** 2).mean() for a, b in zip(said[:n], eps[:n], strict=True)]
    prior = [((a - b) ** 2).mean() for a, b in zip(said[n:], eps[n:], strict=True)]
    return sum(own) / len(own) + weight * sum(prior) / len(prior)


def descended(theta, grad, prior, weight, lr):
    return theta - lr * grad - lr * weight * prior


def prior_passes(steps, draws, prior, sampling):
    drawn = sum(2 for _ in range(prior * sampling))
    return drawn + sum(draws + draws for _ in range(steps))


def drift(before, after):
    total = 0
    for a, b in zip(before.T, after.T, strict=True):
        spread = [((x - x.mean()) ** 2).sum().div(len(x) - 1).sqrt() for x in (a, b)]
        total = total + (a.mean() - b.mean()) ** 2 + (spread[0] - spread[1]) ** 2
    return total


RIGHT = [dreambooth_loss, descended, prior_passes, drift]

# Mistakes as a reader makes them, and what the message must name.


def loss(combine):
    def wrong(said, eps, n, weight):
        own, prior = (((said - eps)[part] ** 2).mean() for part in (slice(n), slice(n, None)))
        return combine(own, prior, weight)

    return wrong


def one_mean(said, eps, n, weight):
    squares = (said - eps) ** 2
    squares[n:] *= weight
    return squares.mean()


def sums(said, eps, n, weight):
    squares = (said - eps) ** 2
    return squares[:n].sum() + weight * squares[n:].sum()


def spread_by(power, means=1, spreads=1, reduce=torch.sum):
    def wrong(before, after):
        apart = means * (after.mean(0) - before.mean(0)) ** 2
        return reduce(apart + spreads * (after.var(0) ** power - before.var(0) ** power) ** 2)

    return wrong


WRONG = [
    ("dreambooth_loss", loss(lambda own, prior, weight: prior + weight * own), "it is the prior that it weighs"),
    ("dreambooth_loss", loss(lambda own, prior, weight: weight * own + weight * prior), "both terms were weighed"),
    ("dreambooth_loss", loss(lambda own, prior, weight: prior + own), "the weight was left out"),
    ("dreambooth_loss", loss(lambda own, prior, weight: (own + weight * prior) / (1 + weight)), "wanted their sum"),
    ("dreambooth_loss", loss(lambda own, prior, weight: 1 * own), "prior's term is missing"),
    ("dreambooth_loss", one_mean, "each of the two terms has its own"),
    ("dreambooth_loss", sums, "these are sums"),
    ("descended", lambda theta, grad, prior, weight, lr: theta + lr * grad + lr * weight * prior, "uphill"),
    (
        "descended",
        lambda theta, grad, prior, weight, lr: theta - lr * grad + lr * weight * prior,
        "prior was taken off",
    ),
    ("descended", lambda theta, grad, prior, weight, lr: theta - lr * prior - lr * grad, "the weight was left out"),
    ("descended", lambda theta, grad, prior, weight, lr: -lr * grad + theta, "prior's gradient is missing"),
    ("descended", lambda theta, grad, prior, weight, lr: theta - grad - weight * prior, "step's size"),
    ("descended", lambda theta, grad, prior, weight, lr: -lr * grad - lr * weight * prior, "this is the step"),
    ("prior_passes", lambda steps, draws, prior, sampling: prior * sampling + 2 * steps * draws, "guidance asks"),
    (
        "prior_passes",
        lambda steps, draws, prior, sampling: draws * steps + 2 * sampling * prior,
        "the prior's pictures too",
    ),
    ("prior_passes", lambda steps, draws, prior, sampling: draws * steps * 2, "must be drawn first"),
    ("prior_passes", lambda steps, draws, prior, sampling: 2 * (prior + steps * draws), "not in one"),
    ("prior_passes", lambda steps, draws, prior, sampling: 2 * steps * (draws + prior * sampling), "drawn once"),
    ("prior_passes", lambda steps, draws, prior, sampling: 2.0 * (steps * draws + prior * sampling), "got"),
    ("drift", spread_by(1), "standard deviations that are subtracted"),
    ("drift", spread_by(0.5, spreads=0), "only the means"),
    ("drift", spread_by(0.5, means=0), "only the spreads"),
    ("drift", spread_by(0.5, reduce=torch.mean), "wanted their sum"),
    ("drift", lambda before, after: drift(before.flatten()[:, None], after.flatten()[:, None]), "each has its own"),
    ("drift", lambda before, after: drift(before, after).sqrt(), "this is the root"),
]


def test_the_kits_objective_is_the_exercises_loss():
    """The network says the exercise's `said`, of as many pictures as it is shown."""
    for given in EXERCISES["dreambooth_loss"].inputs():
        said, eps, n, weight = given.values()
        m, t = len(said) - n, torch.arange(len(said))
        cond = torch.zeros(1, 1, 1)
        objective = personalize._WithPrior(
            lambda x, t, cond, said=said: said[: len(x)], Denoising(Schedule.stable_diffusion()), cond, cond + 1, weight
        )
        x0 = torch.zeros_like(eps)
        got = objective(x0[:n], t[:n], eps[:n], x0[:m], t[n:], eps[n:])
        assert torch.allclose(got, EXERCISES["dreambooth_loss"].answer(**given))


def test_the_drift_is_the_frechet_distance_of_uncorrelated_features():
    """With features that are exactly uncorrelated the covariances are diagonal, and the two agree."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    before, after = signs * torch.tensor([1.0, 2, 3]) + 1, signs * torch.tensor([2.0, 0.5, 3]) - 1
    wanted = frechet_distance(before, after)
    assert abs(EXERCISES["drift"].answer(before, after).item() - wanted) < 1e-9 * wanted
