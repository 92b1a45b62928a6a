import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import kit
from kit.diffusion import Schedule, ddim, personalize
from kit.diffusion.denoising import Denoising
from kit.diffusion.training import Plan
from tests.diffusion.test_imagic import CONSTANT, Free, Linear, digest, last

SCHEDULE = Schedule.stable_diffusion(1.0)
NOISE = Denoising(SCHEDULE)
PROMPTS = ["a photo of {}", "a drawing of {}"]


def embed(prompts, vector):
    """Two tokens of two numbers: the first says which prompt it is, the second is the word."""
    first = torch.tensor([[0.3, -0.2] if "photo" in prompt else [-0.4, 0.1] for prompt in prompts])
    return torch.stack([first, vector.expand(len(prompts), 2)], 1)


def things(n=3, seed=0):
    return torch.randn(n, 6, 1, 1, generator=torch.Generator().manual_seed(seed))


def test_the_vector_goes_to_the_least_squares_solution_over_pictures_and_prompts():
    """x0 ~ N(B [prompt, v], s^2): the mean over pictures and prompts is what v must explain."""
    network, x0 = Linear(), things()
    fixed, free = network.map.weight.detach()[:, :2], network.map.weight.detach()[:, 2:]
    prompt = torch.tensor([[0.3, -0.2], [-0.4, 0.1]]).mean(0)
    wanted = torch.linalg.lstsq(free, x0.mean(0).flatten() - fixed @ prompt).solution
    plan = Plan(steps=1000, lr=0.05, **{**CONSTANT, "floor": 0})
    begin = torch.tensor([2.0, -2.0])
    end = last(personalize.invert(network, NOISE, embed, x0, PROMPTS, begin, plan=plan, draws=128))
    assert (end.vector - wanted).norm() < 0.02 * (begin - wanted).norm()
    assert torch.equal(begin, torch.tensor([2.0, -2.0]))


def test_inversion_leaves_the_network_as_it_was_and_the_states_are_copies():
    network, x0 = Linear(), things()
    before = digest(network)
    states = list(personalize.invert(network, NOISE, embed, x0, PROMPTS, torch.zeros(2), plan=Plan(5, 0.1, **CONSTANT)))
    assert digest(network) == before and all(p.grad is None for p in network.parameters())
    assert [s.step for s in states] == [1, 2, 3, 4, 5, 5]
    assert not torch.equal(states[0].vector, states[1].vector) and torch.equal(states[-1].vector, states[-2].vector)


def test_an_inversion_goes_on_where_it_was_left(tmp_path):
    settings = dict(plan=Plan(12, 0.1, **CONSTANT))
    given = Linear(), NOISE, embed, things(), PROMPTS, torch.zeros(2)
    whole = last(personalize.invert(*given, **settings))
    for state in personalize.invert(*given, checkpoint=tmp_path / "word.safetensors", **settings):
        if state.step == 5:
            break
    again = list(personalize.invert(*given, checkpoint=tmp_path / "word.safetensors", **settings))
    assert [s.step for s in again] == [6, 7, 8, 9, 10, 11, 12, 12] and torch.equal(again[-1].vector, whole.vector)


def words(seed):
    return torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_the_gradient_is_the_sum_of_both_terms():
    """Against the two terms worked out one after the other, the prior's times its weight."""
    network, x0, prior = Linear(), things(), things(4, 9)
    objective = personalize._WithPrior(network, NOISE, words(1), words(2), 0.3)
    luck = torch.Generator().manual_seed(0)
    draws = *NOISE.draw(x0, 5, luck), *NOISE.draw(prior, 5, luck)
    objective(*draws).backward()
    got = network.map.weight.grad.clone()
    network.zero_grad()

    def term(x0, t, eps, cond):
        ab = SCHEDULE.at(t).to(x0).view(-1, 1, 1, 1)
        said = network(ab**0.5 * x0 + (1 - ab) ** 0.5 * eps, t, cond.expand(5, -1, -1))
        return ((said - eps) ** 2).mean()

    (term(*draws[:3], words(1)) + 0.3 * term(*draws[3:], words(2))).backward()
    assert torch.allclose(got, network.map.weight.grad, atol=1e-6)
    assert got.abs().max() > 1e-3


def test_without_the_prior_it_is_plain_fine_tuning_step_for_step():
    """At prior_weight 0, against AdamW on the thing's own loss, written out, with the same luck."""
    network, x0, plan = Linear(), things(), Plan(6, 0.02, **{**CONSTANT, "decay": 0.1}, seed=3)
    plain = Linear()
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.02, betas=(0.9, 0.99), weight_decay=0.1)
    states = personalize.dreambooth(network, NOISE, x0, words(1), things(4, 9), words(2), plan=plan, prior_weight=0)
    for step in range(6):
        tuned = next(states).network
        x, t, eps = NOISE.draw(x0, 4, torch.Generator().manual_seed((3 * 1_000_003 + step) * 64))
        optimiser.zero_grad()
        ab = SCHEDULE.at(t).to(x).view(-1, 1, 1, 1)
        noisy = ab**0.5 * x + (1 - ab) ** 0.5 * eps
        ((plain(noisy, t, words(1).expand(4, -1, -1)) - eps) ** 2).mean().backward()
        optimiser.step()
        for mine, theirs in zip(tuned.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6), step
    assert (plain.map.weight - network.map.weight).abs().max() > 0.05


def test_the_prior_keeps_the_kind_and_without_it_the_kind_becomes_the_thing():
    """A bias can only learn the thing for all words at once; the prior holds it back, and the words then differ."""

    def mean_of(network, cond):
        noise = torch.randn(64, 6, 1, 1, generator=torch.Generator().manual_seed(3))
        drawn = ddim.sample(NOISE.predictor(network), SCHEDULE, noise, SCHEDULE.timesteps(20), cond.expand(64, -1, -1))
        return drawn.mean(0)

    network, thing, kind = Free(), words(1), words(2)
    x0, usual = things(1), network.map(kind.flatten(1)).detach()[:, :, None, None]
    plan, away = Plan(600, 0.02, warmup=0, decay=0), {}
    for weight in (0.0, 1.0):
        tuned = last(personalize.dreambooth(network, NOISE, x0, thing, usual, kind, plan=plan, prior_weight=weight))
        assert (mean_of(tuned.network, thing) - x0).norm() < 0.1
        away[weight] = (mean_of(tuned.network, kind) - usual).norm()
    assert away[1.0] < 0.02 and away[0.0] > 0.3


def test_dreambooth_trains_a_copy_in_full_or_in_low_rank_and_goes_on(tmp_path):
    network = Linear()
    before, settings = digest(network), dict(plan=Plan(8, 0.01, **CONSTANT))
    given = network, NOISE, things(), words(1), things(4, 9), words(2)
    whole = last(personalize.dreambooth(*given, **settings))
    assert digest(network) == before and digest(whole.network) != before
    for state in personalize.dreambooth(*given, checkpoint=tmp_path / "run.safetensors", **settings):
        if state.step == 3:
            break
    again = list(personalize.dreambooth(*given, checkpoint=tmp_path / "run.safetensors", **settings))
    assert again[0].step == 4 and digest(again[-1].network) == digest(whole.network)
    with pytest.raises(ValueError, match="wanted a network with attention"):
        last(personalize.dreambooth(*given, rank=2, **settings))


def test_a_saved_word_is_one_row_under_its_name(tmp_path):
    vector = torch.randn(4, requires_grad=True)
    personalize.save_word(tmp_path / "new" / "word.safetensors", "<mine>", vector)
    saved = load_file(tmp_path / "new" / "word.safetensors")
    assert saved.keys() == {"<mine>"} and torch.equal(saved["<mine>"], vector.detach()[None])
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_full_disk_leaves_the_word_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "word.safetensors"
    personalize.save_word(path, "<mine>", torch.ones(3))

    def full(tensors, path):
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(personalize, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        personalize.save_word(path, "<mine>", torch.zeros(3))
    assert torch.equal(load_file(path)["<mine>"], torch.ones(1, 3)) and [*tmp_path.iterdir()] == [path]


@pytest.fixture(scope="module")
def models():
    return kit.load("world", device="cpu")


def test_two_places_of_a_word_share_its_vector(models):
    """The gradient is the sum of those of either place alone, the other held by a second word of equal vector."""
    weight = torch.randn(models.embed("a").shape[1:], generator=torch.Generator().manual_seed(0))

    def gradient(teller, prompt):
        vector = models.word_vector("zebra").requires_grad_()
        (teller.new_word("<it>")([prompt], vector)[0] * weight).sum().backward()
        return vector.grad

    other = models.with_word("<other>", models.word_vector("zebra"))
    either = gradient(other, "a <it> by a <other>") + gradient(other, "a <other> by a <it>")
    assert torch.allclose(gradient(models, "a <it> by a <it>"), either, atol=1e-4 * either.abs().max())


def test_an_inversion_in_the_small_world_moves_the_vector_and_nothing_else(models):
    parts = models.unet, models.text_encoder, models.vae
    before, words = [digest(part) for part in parts], len(models.tokenizer)
    plan = Plan(2, 0.01, **{**CONSTANT, "decay": 0.5})
    begin, x0 = models.word_vector("zebra"), torch.randn(1, *models.latent_shape)
    embed = models.new_word("<it>")
    end = last(personalize.invert(models.network, models.denoising, embed, x0, ["a <it>"], begin, plan=plan, draws=1))
    assert [digest(part) for part in parts] == before and len(models.tokenizer) == words
    assert all(p.grad is None for part in parts for p in part.parameters())
    assert end.vector.shape == begin.shape and not torch.equal(end.vector, begin)
    with pytest.raises(ValueError, match="wanted '<it>' in each"):
        last(personalize.invert(models.network, models.denoising, embed, x0, ["a zebra"], begin, plan=plan))


@pytest.mark.parametrize("plan", [personalize.SMALL_INVERSION, personalize.SMALL_DREAMBOOTH])
def test_no_steps_are_refused(plan):
    with pytest.raises(ValueError, match="got steps=0, wanted at least 1"):
        replace(plan, steps=0)


def test_an_inversion_of_nonsense_is_refused():
    def invert(x0=None, prompts=PROMPTS, vector=None, **settings):
        x0 = things() if x0 is None else x0
        vector = torch.zeros(2) if vector is None else vector
        return last(personalize.invert(Linear(), NOISE, embed, x0, prompts, vector, plan=Plan(1, 0.1), **settings))

    with pytest.raises(ValueError, match=r"vector: got shape \(1, 2\), wanted \(d,\)"):
        invert(vector=torch.zeros(1, 2))
    with pytest.raises(ValueError, match="vector: got 2 of 2 values NaN"):
        invert(vector=torch.full((2,), math.nan))
    for prompts in ([], "a photo of {}"):
        with pytest.raises(ValueError, match=r"prompts: got .*wanted a list of at least one"):
            invert(prompts=prompts)
    with pytest.raises(ValueError, match="draws: got 0"):
        invert(draws=0)
    with pytest.raises(ValueError, match=r"x0: got shape \(6, 1, 1\)"):
        invert(x0=things()[0])


def test_a_dreambooth_of_nonsense_is_refused():
    def tune(x0=None, cond=None, prior_x0=None, prior_cond=None, **settings):
        given = [
            things() if x0 is None else x0,
            words(1) if cond is None else cond,
            things(2) if prior_x0 is None else prior_x0,
            words(2) if prior_cond is None else prior_cond,
        ]
        return last(personalize.dreambooth(Linear(), NOISE, *given, plan=Plan(1, 0.1), **settings))

    with pytest.raises(ValueError, match=r"prior_x0: got shape \(2, 3, 1, 1\), wanted \(n, 6, 1, 1\)"):
        tune(prior_x0=torch.zeros(2, 3, 1, 1))
    with pytest.raises(ValueError, match="cond: got the same embedding as prior_cond"):
        tune(cond=words(2))
    with pytest.raises(ValueError, match=r"prior_cond: got shape \(2, 2\), wanted \(1, L, d\)"):
        tune(prior_cond=words(2)[0])
    with pytest.raises(ValueError, match="prior_weight: got -1"):
        tune(prior_weight=-1)
    with pytest.raises(ValueError, match="draws: got 0"):
        tune(draws=0)


class Two(nn.Module):
    """A network that is no `Linear`: what is said has the wrong shape."""

    def forward(self, x, t, cond):
        return x[:, :2]


def test_a_network_that_says_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"network\(x, t, cond\): got shape .* wanted .* the shape of x"):
        last(personalize.invert(Two(), NOISE, embed, things(), PROMPTS, torch.zeros(2), plan=Plan(1, 0.1)))
