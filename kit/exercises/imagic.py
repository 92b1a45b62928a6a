"""The exercises of walkthroughs/imagic-2210.09276.ipynb, each with a right answer and the mistakes one makes.

x0                 a tensor (1, c, h, w)     the picture's latents
e, e_opt, e_tgt    tensors (1, L, d)         embeddings of words: any, the fitted one, that of the words wanted
alpha_bar          a tensor (n,)             the share of signal in the variance, 0 < alpha_bar < 1
eps                a tensor (n, c, h, w)     noise
network            a module (x, alpha_bar, e) -> as x, for n pictures, n levels and n embeddings
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from kit.diffusion import imagic
from kit.exercises.checking import Exercise
from kit.exercises.inputs import dtype, levels, normal, per_picture, shapes


class _Predictor:
    """A made-up predict(x, alpha_bar, e), different for every row, that refuses what is not n of each."""

    __name__ = "a made-up predict(x, alpha_bar, e)"

    def __call__(self, x, alpha_bar, e):
        if not len(x) == len(alpha_bar) == len(e):
            given = f"{len(x)} pictures, {len(alpha_bar)} levels and {len(e)} embeddings"
            raise ValueError(f"predict: got {given}, wanted as many of each")
        return torch.tanh(x + per_picture(e.sum((1, 2)), x)) * per_picture(1 + alpha_bar, x)


def _noised(x0, eps, alpha_bar):
    return per_picture(alpha_bar, eps) ** 0.5 * x0 + per_picture(1 - alpha_bar, eps) ** 0.5 * eps


# picture_loss


def _loss(target=lambda x0, eps, x: eps, noised=_noised, size=lambda error: error.square().mean()):
    """picture_loss with another target, noised picture or size of the error."""

    def picture_loss(predict, x0, e, eps, alpha_bar):
        x = noised(x0, eps, alpha_bar)
        return size(predict(x, alpha_bar, e.expand(len(x), -1, -1)) - target(x0, eps, x))

    return picture_loss


def _draws() -> list[dict]:
    def given(i, shape):
        return {
            "predict": _Predictor(),
            "x0": normal((1, *shape[1:]), 3 * i, dtype(i)),
            "e": normal((1, 2, 3), 3 * i + 1, dtype(i)),
            "eps": normal(shape, 3 * i + 2, dtype(i)),
            "alpha_bar": levels(shape[0], i, dtype(i)),
        }

    return [given(i, shape) for i, shape in enumerate(shapes(8))]


picture_loss = Exercise(
    name="picture_loss",
    asks=(
        "picture_loss(predict, x0, e, eps, alpha_bar), which returns Eq. 2 as a tensor with no axes: the mean squared "
        "error of predict(x, alpha_bar, e), with n rows in each argument, for the one picture x0 noised by each eps."
    ),
    answer=_loss(),
    inputs=_draws,
    mistakes={
        "alpha_bar is a share of the variance: signal and noise are its roots, and that of 1 - alpha_bar.": _loss(
            noised=lambda x0, eps, ab: per_picture(ab, eps) * x0 + per_picture(1 - ab, eps) * eps
        ),
        "signal and noise are exchanged: alpha_bar belongs to the picture.": _loss(
            noised=lambda x0, eps, ab: _noised(x0, eps, 1 - ab)
        ),
        "the network says the noise, so the noise is what it is held against; this is the picture.": _loss(
            lambda x0, eps, x: x0
        ),
        "the network says the noise, and this holds it against the noised picture.": _loss(lambda x0, eps, x: x),
        "this is the sum of the squares; wanted their mean.": _loss(size=lambda error: error.square().sum()),
        "these are absolute values; wanted squares.": _loss(size=lambda error: error.abs().mean()),
        "this is one number for each draw; wanted the mean over them, too.": _loss(
            size=lambda error: error.square().mean((1, 2, 3))
        ),
        "the root was taken; wanted the mean of the squares.": _loss(size=lambda error: error.square().mean().sqrt()),
    },
)


# learners


def _learners(embedding=("e",), network=("weight", "bias"), listed=None):
    """learners by the names of what learns in each stage, and of what Adam gets if that is something else."""

    def learners(network_, e, stage):
        tensors = {"e": e, **dict(network_.named_parameters())}
        names = {"embedding": embedding, "network": network}[stage]
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in names)
        return [tensors[name] for name in (names if listed is None else listed)]

    return learners


def _observe_learners(function, arguments: dict) -> dict:
    """What Adam gets and what requires grad, by name; before, all and only the wrong tensors do."""
    with torch.random.fork_rng(devices=[]):
        stage, network = arguments["stage"], nn.Linear(2, 2)
    e = arguments["e"].requires_grad_(stage == "network")
    network.requires_grad_(stage == "embedding")
    named = {"e": e, **dict(network.named_parameters())}
    names = {id(tensor): name for name, tensor in named.items()}
    given = function(network, e, stage)
    if given is None:
        return {"result": None}
    flags = {f"{name} requires grad": tensor.requires_grad for name, tensor in named.items()}
    return {"result": sorted(names.get(id(tensor), "something else") for tensor in given), **flags}


learners = Exercise(
    name="learners",
    asks=(
        "learners(network, e, stage), which returns the list of tensors that Adam gets in stage 'embedding' or "
        "'network', and sets requires_grad of e and of the network's parameters so that just these learn."
    ),
    answer=_learners(),
    inputs=lambda: [{"network": "a torch.nn.Linear", "e": normal((1, 2, 3), 1), "stage": s} for s in imagic.STAGES],
    observe=_observe_learners,
    mistakes={
        "the stages are exchanged: the embedding comes first, under a network that stays.": _learners(
            ("weight", "bias"), ("e",)
        ),
        "in the second stage e_opt stays: only the network learns.": _learners(network=("e", "weight", "bias")),
        "in the first stage the network stays: only e learns.": _learners(embedding=("e", "weight", "bias")),
        "both learn in both stages; each stage has one of them.": _learners(
            ("e", "weight", "bias"), ("e", "weight", "bias")
        ),
    },
)


# memory


def _memory(x, x0, alpha_bar, *, a=lambda ab: ab**0.5, b=lambda ab: (1 - ab) ** 0.5, sign=1):
    ab = per_picture(alpha_bar, x)
    return sign * (x - a(ab) * x0) / b(ab)


memory = Exercise(
    name="memory",
    asks=(
        "memory(x, x0, alpha_bar), which returns the noise (n, c, h, w) in the noisy x (n, c, h, w), as a network says "
        "it that knows that the picture is x0, whatever it sees."
    ),
    answer=_memory,
    inputs=lambda: [
        {key: value for key, value in given.items() if key in ("x", "x0", "alpha_bar")}
        for given in ({"x": one["eps"], **one} for one in _draws())
    ],
    mistakes={
        "the picture is in x with sqrt(alpha_bar): take as much out.": lambda x, x0, ab: _memory(
            x, x0, ab, a=lambda ab: 1
        ),
        "what is left is sqrt(1 - alpha_bar) times the noise: divide by it.": lambda x, x0, ab: _memory(
            x, x0, ab, b=lambda ab: 1
        ),
        "alpha_bar is a share of the variance: take its root.": lambda x, x0, ab: _memory(x, x0, ab, a=lambda ab: ab),
        "1 - alpha_bar is a share of the variance: take its root.": lambda x, x0, ab: _memory(
            x, x0, ab, b=lambda ab: 1 - ab
        ),
        "both are shares of the variance: take their roots.": lambda x, x0, ab: _memory(
            x, x0, ab, a=lambda ab: ab, b=lambda ab: 1 - ab
        ),
        "this is the other way round, the noise with its sign turned.": lambda x, x0, ab: _memory(x, x0, ab, sign=-1),
    },
)


# interpolate


def _between(e_opt, e_tgt, eta):
    share = eta.view(-1, 1, 1)
    return (1 - share) * e_opt + share * e_tgt


def _ends() -> list[dict]:
    sizes = [(1, 1, 1), (3, 3, 3), (2, 4, 3), (5, 2, 6), (4, 4, 2), (6, 3, 6)]

    def given(i, size):
        n, *shape = size
        eta = torch.linspace(0.3, 1.3, n, dtype=torch.float64).to(dtype(i))
        ends = {name: normal((1, *shape), 2 * i + k, dtype(i)) for k, name in enumerate(("e_opt", "e_tgt"))}
        return ends | {"eta": eta}

    return [given(i, size) for i, size in enumerate(sizes)]


interpolate = Exercise(
    name="interpolate",
    asks=(
        "interpolate(e_opt, e_tgt, eta), which returns Eq. 3 for each of n numbers eta (n,): embeddings (n, L, d) from "
        "e_opt at eta = 0 to e_tgt at eta = 1, and on beyond."
    ),
    answer=_between,
    inputs=_ends,
    mistakes={
        "the ends are exchanged: eta = 1 is what the words say, e_tgt.": lambda e_opt, e_tgt, eta: _between(
            e_tgt, e_opt, eta
        ),
        "(n,) lines up with the last axis, the embedding's numbers: make it (n, 1, 1), one eta for each row.": (
            lambda e_opt, e_tgt, eta: (1 - eta) * e_opt + eta * e_tgt
        ),
        "eta was cut off at 1; the paper's Eq. 3 goes on, and so do those who need more of an edit.": (
            lambda e_opt, e_tgt, eta: _between(e_opt, e_tgt, eta.clamp(0, 1))
        ),
        "the shares must add up to 1: e_opt counts for 1 - eta.": lambda e_opt, e_tgt, eta: (
            e_opt + eta.view(-1, 1, 1) * e_tgt
        ),
    },
)


# steps_needed

steps_needed = Exercise(
    name="steps_needed",
    asks=(
        "steps_needed(distance, lr), which returns the least whole number of Adam's steps, none of which moves a "
        "number by more than the constant rate lr, in which a number may get as far as distance."
    ),
    answer=lambda distance, lr: math.ceil(distance / lr),
    inputs=lambda: [
        {"distance": distance, "lr": lr}
        for distance, lr in ((1.0, 0.5), (0.3, 0.02), (0.7, 0.0015), (0.1, 0.03), (2.0, 0.007))
    ],
    mistakes={
        "rounded down, which leaves it a step short.": lambda distance, lr: int(distance / lr),
        "a step more than needed, where the number comes out whole.": lambda distance, lr: int(distance / lr) + 1,
        "steps add up where gradients agree, since Adam divides each by its size; this is a random walk's square.": (
            lambda distance, lr: math.ceil((distance / lr) ** 2)
        ),
        "that is the distance times the rate: ask how many rates make up the distance.": lambda distance, lr: math.ceil(
            distance * lr
        ),
        "rounded to the nearest; wanted as many as it takes.": lambda distance, lr: round(distance / lr),
    },
)


# tuned


class _Net(nn.Module):
    """Four weights (c, 1, 1) over pictures of c channels, on x, the embedding, the level, and by themselves."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(normal((4, channels, 1, 1), 8) / 3)

    def forward(self, x, alpha_bar, e):
        on_x, on_e, on_level, bias = self.weight
        e, level = per_picture(e.mean((1, 2)), x), per_picture(alpha_bar, x)
        return x * on_x + e * on_e + level * on_level + bias


def _v_target(x0, eps, a, b):
    return a * eps - b * x0


def _tuned(v_target=_v_target, *, copied=copy.deepcopy, fresh=True, seeded=True, zeroed=True, step=1.0):
    """tuned, with what is wrong in the community's file as switches, and some more."""

    def tuned(network, x0, e, alpha_bar, lr, says, generator):
        fitted, noise = copied(network), None
        for level in alpha_bar.split(1):
            if fresh or noise is None:
                noise = torch.randn(x0.shape, generator=generator if seeded else None)
            a, b = level.sqrt(), (1 - level).sqrt()
            target = noise if says == "epsilon" else v_target(x0, noise, a, b)
            (fitted(a * x0 + b * noise, level, e) - target).square().mean().backward()
            with torch.no_grad():
                for weight in fitted.parameters():
                    weight -= step * lr * weight.grad
                    if zeroed:
                        weight.grad = None
        return fitted

    return tuned


@torch.enable_grad()
def _observe_tuning(function, arguments: dict) -> dict:
    """The weights that come back, and those that were handed in; the global luck is the same for everyone."""
    network = _Net(arguments["x0"].shape[1])
    given = {**arguments, "network": network, "generator": torch.Generator().manual_seed(3)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made = function(*given.values())
    if made is None:
        return {"result": None}
    weights = made.weight.detach() if isinstance(made, _Net) else made
    return {"result": weights, "the network that was given": network.weight.detach()}


tuned = Exercise(
    name="tuned",
    asks=(
        "tuned(network, x0, e, alpha_bar, lr, says, generator), which returns a copy of the network after one step of "
        "plain gradient descent at rate lr for each alpha_bar in turn, each with a new noise "
        "torch.randn(x0.shape, generator=generator). The loss is the mean squared error of "
        "network(x, alpha_bar, e) against what it says: 'epsilon' or 'v_prediction'."
    ),
    answer=_tuned(),
    inputs=lambda: [
        {
            "network": "a module of 4 weights for each channel",
            "x0": normal((1, c, h, w), i),
            "e": normal((1, 2, 3), i + 1),
            "alpha_bar": levels(n, i),
            "lr": 0.1,
            "says": says,
            "generator": "torch.Generator",
        }
        for i, (n, c, h, w, says) in enumerate(
            [
                (1, 1, 1, 2, "epsilon"),
                (2, 2, 2, 2, "v_prediction"),
                (3, 3, 3, 3, "epsilon"),
                (4, 2, 3, 1, "v_prediction"),
            ]
        )
    ],
    observe=_observe_tuning,
    mistakes={
        "a network that says v is held against the noise: its target is sqrt(ab) eps - sqrt(1 - ab) x0.": _tuned(
            lambda x0, eps, a, b: eps
        ),
        "the network that was handed over has changed: tune a copy (copy.deepcopy).": _tuned(copied=lambda n: n),
        "the noise ignores the generator, so that no run can be repeated.": _tuned(seeded=False),
        "v has its parts exchanged: v = sqrt(ab) eps - sqrt(1 - ab) x0.": _tuned(
            lambda x0, eps, a, b: b * eps - a * x0
        ),
        "v has a wrong sign: v = sqrt(ab) eps - sqrt(1 - ab) x0.": _tuned(lambda x0, eps, a, b: a * eps + b * x0),
        "the target is the picture; a network that says v says sqrt(ab) eps - sqrt(1 - ab) x0.": _tuned(
            lambda x0, eps, a, b: x0
        ),
        "one noise served for all steps; each has its own.": _tuned(fresh=False),
        "gradients of earlier steps are still there: set them to zero before each step.": _tuned(zeroed=False),
        "this goes uphill: the gradient is subtracted.": _tuned(step=-1.0),
    },
)


EXERCISES = (picture_loss, learners, memory, interpolate, steps_needed, tuned)
