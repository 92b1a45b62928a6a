import pytest
import torch

import kit
from kit.diffusion.graphed import Graphed
from kit.diffusion.seeds import randn


def test_a_students_pictures_by_graphs_are_those_without():
    """Parts of the way as graphs, and all of it as one."""
    models = kit.load("world", device="cpu")
    student = models.student(2)
    network, decode = Graphed(student.network, threads=1), Graphed(models.decode, threads=1)
    whole = Graphed(lambda z, cond, w: models.decode(student.sample(z, cond, w)), threads=1)
    for n, words, seed, w in ((1, "a horse", 0, 4.0), (1, "a zebra at night", 7, 1.5), (2, "a cow", 3, 7.5)):
        z, cond, w = randn((n, *models.latent_shape), seed), models.embed([words] * n), torch.full((n,), w)
        wanted = models.decode(student.sample(z, cond, w))
        assert torch.allclose(decode(student._replace(network=network).sample(z, cond, w)), wanted, atol=1e-5)
        assert torch.allclose(whole(z, cond, w), wanted, atol=1e-5)


def test_a_modules_weights_are_shared():
    module = torch.nn.Linear(2, 2).requires_grad_(False)
    graphed, x = Graphed(module), torch.ones(1, 2)
    graphed(x)
    module.weight.mul_(3)
    assert torch.allclose(graphed(x), module(x))


def test_another_shape_or_dtype_is_another_graph():
    """What the function does by its argument's size and dtype is folded into each."""
    graphed = Graphed(lambda x: x * len(x) + x.element_size())
    for x in (torch.ones(2), torch.ones(3), torch.ones(3, dtype=torch.float64), torch.zeros(2)):
        assert torch.equal(graphed(x), x * len(x) + x.element_size())


def test_it_runs_on_the_threads_it_is_told_and_leaves_those_of_others():
    before, seen = torch.get_num_threads(), []

    def function(x):
        seen.append(torch.get_num_threads())
        if x.sum() > 5:
            raise ValueError("too much")
        return x + 1

    try:
        torch.set_num_threads(2)
        Graphed(function, threads=1)(torch.ones(1))
        Graphed(function)(torch.ones(1))
        with pytest.raises(ValueError, match="too much"):
            Graphed(function, threads=1)(torch.ones(6))
        assert seen == [1, 2, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_gradient_goes_through_it():
    weight = torch.ones(3, requires_grad=True)
    assert not Graphed(lambda x: 2 * x)(weight).requires_grad
