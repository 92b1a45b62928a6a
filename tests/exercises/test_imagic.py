"""The Imagic walkthrough's exercises: right answers written apart, and wrong ones that must be told why."""

import math

import torch
from torch.func import functional_call

from kit.diffusion import Schedule, imagic
from kit.diffusion.denoising import Denoising
from kit.diffusion.training import Plan
from kit.exercises import EXERCISES

# Right answers as a reader may write them: by loops, or in another form than the checker's own.


def picture_loss(predict, x0, e, eps, alpha_bar):
    n, losses = len(eps), []
    x = torch.stack([math.sqrt(a) * x0[0] + math.sqrt(1 - a) * noise for noise, a in zip(eps, alpha_bar, strict=True)])
    for said, noise in zip(predict(x, alpha_bar, e.repeat(n, 1, 1)), eps, strict=True):
        losses.append(((noise - said) ** 2).mean())
    return sum(losses) / n


def learners(network, e, stage):
    first = stage == "embedding"
    e.requires_grad = first
    network.requires_grad_(not first)
    return [e] if first else list(network.parameters())


def memory(x, x0, alpha_bar):
    pairs = zip(x, alpha_bar.tolist(), strict=True)
    return torch.stack([(row - math.sqrt(a) * x0[0]) / math.sqrt(1 - a) for row, a in pairs])


def interpolate(e_opt, e_tgt, eta):
    return torch.stack([e_opt[0] + share * (e_tgt - e_opt)[0] for share in eta.tolist()])


def steps_needed(distance, lr):
    return next(steps for steps in range(1, 10_000) if steps * lr >= distance - 1e-12)


def tuned(network, x0, e, alpha_bar, lr, says, generator):
    """The copy is a dictionary of weights, which gets its gradients from torch.autograd.grad."""
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    for a in alpha_bar.tolist():
        eps = torch.randn(x0.shape, generator=generator)
        x = math.sqrt(a) * x0 + math.sqrt(1 - a) * eps
        target = eps if says == "epsilon" else (math.sqrt(a) * x - x0) / math.sqrt(1 - a)
        error = functional_call(network, weights, (x, torch.tensor([a]), e)) - target
        slopes = torch.autograd.grad(error.pow(2).mean(), list(weights.values()))
        weights = {k: (w - lr * g).detach().requires_grad_() for (k, w), g in zip(weights.items(), slopes, strict=True)}
    made = type(network)(x0.shape[1])
    made.load_state_dict(weights)
    return made


RIGHT = [picture_loss, learners, memory, interpolate, steps_needed, tuned]

# Mistakes as a reader makes them, and what the message must name.


def per(level):
    return level[:, None, None, None]


def loss(
    signal=torch.sqrt, noise=lambda ab: (1 - ab).sqrt(), against=lambda x0, eps, x: eps, of=lambda d: (d * d).mean()
):
    def answer(predict, x0, e, eps, ab):
        x = per(signal(ab)) * x0 + per(noise(ab)) * eps
        return of(predict(x, ab, e.repeat(len(eps), 1, 1)) - against(x0, eps, x))

    return answer


def learn(first, second):
    """learners with what learns in each stage: "e", "network" or both."""

    def answer(network, e, stage):
        what = first if stage == "embedding" else second
        e.requires_grad_("e" in what)
        network.requires_grad_("network" in what)
        return [*([e] if "e" in what else []), *(network.parameters() if "network" in what else [])]

    return answer


def flags_forgotten(network, e, stage):
    return [e] if stage == "embedding" else [*network.parameters()]


def in_place(x, x0, alpha_bar):
    result = memory(x, x0, alpha_bar)
    x.zero_()
    return result


def tune(target=None, *, same=False, unseeded=False, once=False, piled=False, sign=-1):
    """tuned with torch.optim.SGD, and slips."""

    def answer(network, x0, e, alpha_bar, lr, says, generator):
        made = network if same else type(network)(x0.shape[1])
        made.load_state_dict(network.state_dict())
        sgd, kept = torch.optim.SGD(made.parameters(), lr=lr, maximize=sign > 0), None
        for a in alpha_bar:
            eps = torch.randn(x0.shape) if unseeded else torch.randn(x0.shape, generator=generator)
            kept = eps if kept is None else kept
            eps = kept if once else eps
            v = a.sqrt() * eps - (1 - a).sqrt() * x0
            wanted = eps if says == "epsilon" else v if target is None else target(x0, eps, a)
            off = made(a.sqrt() * x0 + (1 - a).sqrt() * eps, a[None], e) - wanted
            if not piled:
                sgd.zero_grad()
            (off * off).mean().backward()
            sgd.step()
        return made

    return answer


def clean(x0, eps, a):
    return x0


def picture_for_both(network, x0, e, alpha_bar, lr, says, generator):
    return tune(clean)(network, x0, e, alpha_bar, lr, "v_prediction", generator)


WRONG = [
    ("picture_loss", loss(lambda ab: ab, lambda ab: 1 - ab), "are its roots"),
    ("picture_loss", loss(lambda ab: (1 - ab).sqrt(), torch.sqrt), "exchanged"),
    ("picture_loss", loss(against=lambda x0, eps, x: x0), "this is the picture"),
    ("picture_loss", loss(against=lambda x0, eps, x: x), "against the noised picture"),
    ("picture_loss", loss(of=lambda d: (d * d).sum()), "the sum of the squares"),
    ("picture_loss", loss(of=lambda d: d.abs().mean()), "absolute values"),
    ("picture_loss", loss(of=lambda d: (d * d).flatten(1).mean(1)), "one number for each draw"),
    ("picture_loss", loss(of=lambda d: (d * d).mean() ** 0.5), "the root was taken"),
    ("picture_loss", lambda *a: float(picture_loss(*a)), "got     float"),
    ("learners", learn(["network"], ["e"]), "stages are exchanged"),
    ("learners", learn(["e"], ["e", "network"]), "in the second stage e_opt stays"),
    ("learners", learn(["e", "network"], ["network"]), "in the first stage the network stays"),
    ("learners", learn(["e", "network"], ["e", "network"]), "both learn in both"),
    ("learners", flags_forgotten, "got     e requires grad: False"),
    ("memory", lambda x, x0, ab: (x - x0) / (1 - per(ab)).sqrt(), "take as much out"),
    ("memory", lambda x, x0, ab: x - per(ab).sqrt() * x0, "divide by it"),
    ("memory", lambda x, x0, ab: (x - per(ab) * x0) / (1 - per(ab)).sqrt(), "\n    perhaps alpha_bar is a share"),
    ("memory", lambda x, x0, ab: (x - per(ab).sqrt() * x0) / (1 - per(ab)), "perhaps 1 - alpha_bar is a share"),
    ("memory", lambda x, x0, ab: (x - per(ab) * x0) / (1 - per(ab)), "both are shares"),
    ("memory", lambda x, x0, ab: (per(ab).sqrt() * x0 - x) / (1 - per(ab)).sqrt(), "its sign turned"),
    ("memory", in_place, "changed x in place"),
    ("interpolate", lambda a, b, eta: b + eta[:, None, None] * (a - b), "ends are exchanged"),
    ("interpolate", lambda a, b, eta: a + eta * (b - a), "lines up with the last axis"),
    ("interpolate", lambda a, b, eta: a + eta[:, None, None].clamp(max=1) * (b - a), "cut off at 1"),
    ("interpolate", lambda a, b, eta: eta[:, None, None] * b + a, "must add up to 1"),
    ("interpolate", lambda a, b, eta: interpolate(a, b, eta)[0], "got     tensor (1, 1)"),
    ("steps_needed", lambda distance, lr: math.floor(distance / lr), "a step short"),
    ("steps_needed", lambda distance, lr: 1 + math.floor(distance / lr), "a step more"),
    ("steps_needed", lambda distance, lr: math.ceil(distance * distance / (lr * lr)), "random walk"),
    ("steps_needed", lambda distance, lr: math.ceil(lr * distance), "how many rates"),
    ("steps_needed", lambda distance, lr: math.floor(distance / lr + 0.5), "rounded to the nearest"),
    ("tuned", tune(lambda x0, eps, a: eps), "held against the noise"),
    ("tuned", tune(same=True), "tune a copy"),
    ("tuned", tune(unseeded=True), "ignores the generator"),
    ("tuned", tune(lambda x0, eps, a: (1 - a).sqrt() * eps - a.sqrt() * x0), "parts exchanged"),
    ("tuned", tune(lambda x0, eps, a: (1 - a).sqrt() * x0 + a.sqrt() * eps), "wrong sign"),
    ("tuned", tune(clean), "the target is the picture"),
    ("tuned", tune(once=True), "one noise served"),
    ("tuned", tune(piled=True), "gradients of earlier steps"),
    ("tuned", tune(sign=1), "uphill"),
    ("tuned", picture_for_both, "not yet"),
]


# The exercises ask for what the kit does.


def test_the_loss_of_the_exercise_is_the_kits():
    schedule, random = Schedule.stable_diffusion(), torch.Generator().manual_seed(0)
    x0, e = torch.randn(1, 2, 3, 3, generator=random), torch.randn(1, 2, 4, generator=random)
    t, eps = torch.tensor([3, 400, 999]), torch.randn(3, 2, 3, 3, generator=random)

    def network(x, level, cond):
        return torch.tanh(x + cond.mean((1, 2))[:, None, None, None])

    kits = Denoising(schedule).errors(network, x0.expand(3, -1, -1, -1), t, eps, e.expand(3, -1, -1)).mean()
    ab = torch.tensor([schedule.at(level) for level in t.tolist()])
    torch.testing.assert_close(EXERCISES["picture_loss"].answer(network, x0, e, eps, ab), kits)


def test_the_interpolation_of_the_exercise_is_the_kits():
    a, b = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    etas = [-0.2, 0, 0.4, 1, 1.2]
    torch.testing.assert_close(EXERCISES["interpolate"].answer(a, b, torch.tensor(etas)), imagic.between(a, b, etas))


def test_the_kits_steps_never_go_further_than_the_exercise_says():
    schedule, start = Schedule.stable_diffusion(), torch.zeros(1, 1, 2)
    network = torch.nn.Module()
    network.forward = lambda x, t, cond: x * 0 + cond.sum((1, 2)).view(-1, 1, 1, 1)
    plan = Plan(steps=20, lr=0.03, warmup=0, floor=1, decay=0, average=0, clip=math.inf)
    states = imagic.fit_embedding(network, Denoising(schedule), torch.ones(1, 1, 2, 2), start, plan=plan)
    for state in states:
        gone = (state.cond - start).abs().max().item()
        assert EXERCISES["steps_needed"].answer(gone - 1e-6, plan.lr) <= state.step
