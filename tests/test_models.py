"""kit.models against stock diffusers: one checkpoint, the same embeddings, latents, eps and pictures."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from copy import deepcopy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from safetensors.torch import load_file, save_file

import kit
from kit import models
from kit.diffusion import ddim
from kit.diffusion.edit import inpaint
from kit.diffusion.guidance import guided
from kit.diffusion.personalize import save_word
from kit.diffusion.seeds import randn
from kit.world import WEIGHTS
from tests.checkpoints import CONTEXT, TEXT_TO_IMAGE, clip_tokenizer, save_variant

KINDS = [*TEXT_TO_IMAGE, "world"]
PROMPTS = ["a horse in the snow", "a dog", ""]
STEPS = 10  # divides the number of timesteps, without which diffusers' trailing steps do not line up


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """kind -> the folder of that checkpoint."""
    made = {"world": WEIGHTS}

    def find(kind):
        if kind not in made:
            made[kind] = save_variant(tmp_path_factory.mktemp("checkpoint"), kind)
        return made[kind]

    return find


@pytest.fixture(scope="module")
def loaded(folder):
    """kind -> its Models, on the CPU in float32."""
    made = {}

    def find(kind):
        if kind not in made:
            made[kind] = kit.load("world" if kind == "world" else folder(kind), device="cpu")
        return made[kind]

    return find


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the plain checkpoint, to be spoilt."""
    return Path(shutil.copytree(folder("epsilon"), tmp_path / "copy"))


def stock(folder):
    """The stock pipeline with a DDIM scheduler, in float32."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pictures(n=2, side=16, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def one_line(raised):
    """The message of an error, once it is seen to be one line that is no dump."""
    text = str(raised.value)
    assert "\n" not in text and len(text) < 600
    return text


# The same as stock diffusers


@pytest.mark.parametrize("kind", KINDS)
def test_the_stock_pipeline_makes_the_same_pictures(kind, folder, loaded):
    m = loaded(kind)
    seeds = [3, 11, 12]
    latents = torch.stack([torch.randn(m.latent_shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
    with torch.no_grad():
        theirs = stock(folder(kind))(
            PROMPTS,
            negative_prompt=["a bird", "", "night"],
            latents=latents,
            guidance_scale=4.0,
            num_inference_steps=STEPS,
            output_type="pt",
        ).images
    ours = kit.generate(m, PROMPTS, negative=["a bird", "", "night"], guidance=4.0, steps=STEPS, seed=seeds)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_the_stock_pipelines(kind, folder, loaded):
    with torch.no_grad():
        theirs, _ = stock(folder(kind)).encode_prompt(PROMPTS, "cpu", 1, False)
    torch.testing.assert_close(loaded(kind).embed(PROMPTS), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_are_the_mode_of_the_vae_times_its_scale(kind, folder, loaded):
    m = loaded(kind)
    vae = AutoencoderKL.from_pretrained(folder(kind) / "vae", dtype=torch.float32)
    x = pictures(side=m.size)
    with torch.no_grad():
        z = vae.encode(x * 2 - 1).latent_dist.mean * vae.config.scaling_factor
        back = vae.decode(z / vae.config.scaling_factor).sample.add(1).div(2).clamp(0, 1)
    torch.testing.assert_close(m.encode(x), z)
    torch.testing.assert_close(m.decode(z), back)
    assert m.encode(x).shape == (2, *m.latent_shape)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_eps_whatever_the_network_says(kind, folder, loaded):
    """x and eps together must imply the x0 that diffusers' scheduler reads from the network's own words."""
    m = loaded(kind)
    unet = UNet2DConditionModel.from_pretrained(folder(kind) / "unet", dtype=torch.float32)
    scheduler = DDIMScheduler.from_pretrained(folder(kind) / "scheduler", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    x, cond = randn((2, *m.latent_shape), 0), m.embed(PROMPTS[:2])
    for t in (0, 123, 456):
        with torch.no_grad():
            said = unet(x, t, encoder_hidden_states=cond).sample
        x0 = scheduler.step(said, t, x).pred_original_sample
        ab = scheduler.alphas_cumprod[t]
        torch.testing.assert_close(m.predict(x, t, cond), (x - ab**0.5 * x0) / (1 - ab) ** 0.5, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_each_picture_may_have_its_own_timestep(kind, loaded):
    m = loaded(kind)
    x, cond = randn((2, *m.latent_shape), 0), m.embed(PROMPTS[:2])
    both = m.predict(x, torch.tensor([900, 10]), cond)
    torch.testing.assert_close(both[:1], m.predict(x[:1], 900, cond[:1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[1:], m.predict(x[1:], 10, cond[1:]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_levels_and_timesteps_are_the_schedulers(kind, folder, loaded):
    m = loaded(kind)
    scheduler = DDIMScheduler.from_pretrained(folder(kind) / "scheduler")
    torch.testing.assert_close(m.schedule.alpha_bar.float(), scheduler.alphas_cumprod, atol=1e-6, rtol=1e-4)
    assert m.schedule.at(-1) == pytest.approx(float(scheduler.final_alpha_cumprod), abs=1e-6)
    scheduler.set_timesteps(STEPS)
    assert torch.equal(m.timesteps(STEPS), scheduler.timesteps)


# Inpainting with a U-Net of nine channels

WHERE = torch.zeros(2, 1, 16, 16)
WHERE[0, :, 4:10, 2:] = 1
WHERE[1] = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(5))  # soft: halves are decided


def painted(m, where, x, steps=STEPS, w=4.0):
    predict = guided(m.inpainting_predict(pictures(), where), m.embed(""), w)
    return m.decode(ddim.sample(predict, m.schedule, x, m.timesteps(steps), m.embed(PROMPTS[:2])))


def stock_inpainting(folder, where, x):
    """What the stock inpainting pipeline paints of `pictures()`, starting from x."""
    pipe = StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    # Theirs draws latents from the VAE's posterior; without its variance, they are the mode.
    pipe.vae.quant_conv.weight.data[4:] = 0
    pipe.vae.quant_conv.bias.data[4:] = -30
    with torch.no_grad():
        made = pipe(
            PROMPTS[:2],
            image=pictures(),
            mask_image=where,
            latents=x,
            strength=1.0,
            guidance_scale=4.0,
            num_inference_steps=STEPS,
            height=16,
            width=16,
            output_type="pt",
        ).images
    assert made.std() > 0.01
    return made


@pytest.mark.parametrize("where", [WHERE, WHERE[:1], WHERE[1:]])
def test_the_stock_inpainting_pipeline_paints_the_same_pictures(where, folder, loaded):
    m = loaded("inpainting")
    x = randn((2, *m.latent_shape), 3)
    assert (painted(m, where, x) - stock_inpainting(folder("inpainting"), where, x)).abs().max() < 1e-4


def test_with_four_channels_the_stock_inpainting_pipeline_blends_the_same_pictures(folder, loaded):
    m = loaded("epsilon")
    theirs = stock_inpainting(folder("epsilon"), WHERE, randn((2, *m.latent_shape), 3))
    small = torch.nn.functional.interpolate((WHERE >= 0.5).float(), m.latent_shape[1:])
    predict = guided(m.predict, m.embed(""), 4.0)
    x0, cond = m.encode(pictures()), m.embed(PROMPTS[:2])
    ours = m.decode(inpaint(predict, m.schedule, x0, small, cond, steps=STEPS, seed=3))
    assert (ours - theirs).abs().max() < 1e-4


def test_an_inpainting_checkpoint_has_the_latents_of_its_vae(loaded):
    m = loaded("inpainting")
    assert m.unet.config.in_channels == 9
    assert m.latent_shape == (4, 8, 8) and m.size == 16
    assert m.encode(pictures()).shape == (2, *m.latent_shape)


def test_what_is_masked_is_hidden_from_the_inpainting_unet(loaded):
    m, x = loaded("inpainting"), randn((2, 4, 8, 8), 3)
    other = torch.where(WHERE < 0.5, pictures(), pictures(seed=9))
    cond = m.embed(PROMPTS[:2])
    eps = m.inpainting_predict(pictures(), WHERE)(x, 500, cond)
    assert torch.equal(m.inpainting_predict(other, WHERE)(x, 500, cond), eps)
    assert not torch.equal(m.inpainting_predict(other, 1 - WHERE)(x, 500, cond), eps)


def test_an_inpainting_unet_with_new_channels_of_zero_predicts_as_before(loaded):
    """As such a network is made from a text-to-image one: to begin with, nothing has changed."""
    before, m = loaded("epsilon"), loaded("inpainting")
    unet = UNet2DConditionModel.from_config(m.unet.config)
    weights = before.unet.state_dict()
    weights["conv_in.weight"] = torch.cat([weights["conv_in.weight"], torch.zeros(32, 5, 3, 3)], 1)
    unet.load_state_dict(weights)
    wider = dataclasses.replace(before, unet=unet.eval().requires_grad_(False))
    x, cond = randn((2, 4, 8, 8), 3), before.embed(PROMPTS[:2])
    found = wider.inpainting_predict(pictures(), WHERE)(x, 500, cond)
    torch.testing.assert_close(found, before.predict(x, 500, cond), rtol=0, atol=1e-6)


def test_an_inpainting_unet_is_not_asked_without_a_mask(loaded):
    m = loaded("inpainting")
    for ask in (
        lambda: m.predict(torch.zeros(2, 4, 8, 8), 5, torch.zeros(2, 16, 32)),
        lambda: kit.generate(m, "a horse", steps=2),
    ):
        with pytest.raises(
            ValueError, match=r"has an inpainting U-Net; wanted inpainting_predict\(pictures, mask\)"
        ) as raised:
            ask()
        assert m.name in one_line(raised)


def test_a_unet_of_four_channels_is_not_asked_to_inpaint(loaded):
    with pytest.raises(ValueError, match=r"got a U-Net of 4 channels, .*use kit\.diffusion\.inpaint") as raised:
        loaded("epsilon").inpainting_predict(pictures(), WHERE)
    assert loaded("epsilon").name in one_line(raised)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (dict(pictures=2 * pictures()), ValueError, "pictures: got values from"),
        (dict(mask=WHERE[:, 0]), ValueError, r"mask: got shape \(2, 16, 16\), wanted \(2, 1, 16, 16\) or \(1, 1"),
        (dict(mask=torch.zeros(3, 1, 16, 16)), ValueError, r"mask: got shape \(3, 1, 16, 16\)"),
        (dict(mask=torch.zeros(2, 1, 8, 8)), ValueError, r"mask: got shape \(2, 1, 8, 8\)"),
        (dict(mask=WHERE > 0.5), TypeError, "mask: got dtype torch.bool, wanted a floating-point tensor"),
        (dict(mask=255 * WHERE), ValueError, "mask: got values from 0 to 255, wanted them in"),
        (dict(mask=WHERE / 0), ValueError, "mask: got .* values NaN or infinite"),
        (dict(x=torch.zeros(3, 4, 8, 8)), ValueError, r"x: got shape \(3, 4, 8, 8\), wanted \(2, 4, 8, 8\), or"),
        (dict(x=torch.zeros(1, 4, 8, 8)), ValueError, r"x: got shape \(1, 4, 8, 8\), wanted \(2, 4, 8, 8\), or"),
        (dict(x=torch.zeros(2, 4, 16, 16)), ValueError, r"x: got shape \(2, 4, 16, 16\)"),
        (dict(x=torch.zeros(2, 9, 8, 8)), ValueError, r"x: got shape \(2, 9, 8, 8\)"),
        (dict(cond=None), TypeError, "cond: got NoneType"),
    ],
)
def test_inpainting_of_nonsense_is_refused(change, kind, says, loaded):
    good = dict(pictures=pictures(), mask=WHERE, x=torch.zeros(2, 4, 8, 8), cond=torch.zeros(2, 16, 32)) | change
    with pytest.raises(kind, match=says) as raised:
        loaded("inpainting").inpainting_predict(good["pictures"], good["mask"])(good["x"], 5, good["cond"])
    one_line(raised)


# What every reader relies on


def test_a_picture_depends_on_its_own_seed_alone(loaded):
    m = loaded("epsilon")
    go = partial(kit.generate, m, steps=4, eta=0.5)
    together = go(PROMPTS, seed=7)
    torch.testing.assert_close(go(PROMPTS, seed=7, batch=2), together, atol=1e-4, rtol=0)
    torch.testing.assert_close(go(PROMPTS[1], seed=8), together[1:2], atol=1e-4, rtol=0)
    torch.testing.assert_close(go(PROMPTS[::-1], seed=[9, 8, 7]), together.flip(0), atol=1e-4, rtol=0)
    assert (go(PROMPTS[1], seed=9) - together[1:2]).abs().max() > 0.01


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_pictures_come_back_ready_for_use(loaded, batch):
    made = kit.generate(loaded("words"), ["a dog", "a bird", "a horse"], steps=2, batch=batch)
    assert made.shape == (3, 3, 16, 16) and made.dtype == torch.float32
    assert made.min() >= 0 and made.max() <= 1
    made.requires_grad_().mean().backward()  # which an inference tensor would refuse


def test_the_guidance_halves_share_one_call(loaded):
    m, sizes = loaded("epsilon"), []
    hook = m.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    kit.generate(m, PROMPTS, steps=3)
    kit.generate(m, PROMPTS, steps=1, guidance=1)
    hook.remove()
    assert sizes == [6, 6, 6, 3]


def test_weights_are_frozen_and_gradients_reach_the_words(loaded):
    m = loaded("v")
    parts = (m.unet, m.vae, m.text_encoder)
    assert not any(part.training for part in parts)
    assert not any(p.requires_grad for part in parts for p in part.parameters())
    cond = m.embed("a horse").clone().requires_grad_()
    m.predict(randn((1, *m.latent_shape), 0), 500, cond).square().mean().backward()
    assert cond.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_run_in_the_dtype_asked_for(folder, loaded, dtype):
    m, reference = kit.load(folder("epsilon"), device="cpu", dtype=dtype), loaded("epsilon")
    assert {p.dtype for part in (m.unet, m.text_encoder) for p in part.parameters()} == {dtype}
    overflows = dtype == torch.float16
    assert m.vae.dtype == (torch.float32 if overflows else dtype)
    made = kit.generate(m, PROMPTS, steps=4)
    assert made.dtype == torch.float32
    assert (made - kit.generate(reference, PROMPTS, steps=4)).abs().max() < 0.05
    x = pictures()
    assert m.encode(x).dtype == m.decode(m.encode(x)).dtype == torch.float32
    eps = m.predict(m.encode(x), 500, m.embed(PROMPTS[:2]))
    assert eps.dtype == torch.float32


def test_a_vae_that_stands_half_precision_gets_it(folder):
    assert kit.load(folder("words"), device="cpu", dtype=torch.float16).vae.dtype == torch.float16


def test_the_gpu_is_the_default_where_there_is_one(folder):
    m = kit.load(folder("epsilon"))
    gpu = torch.cuda.is_available()
    assert m.device.type == ("cuda" if gpu else "cpu")
    assert m.dtype == (torch.float16 if gpu else torch.float32)
    made = kit.generate(m, "a horse", steps=3)
    assert made.device.type == m.device.type and made.isfinite().all()


def test_loading_says_nothing_and_leaves_other_peoples_settings_alone(folder, capfd):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kit.load(folder("v"), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == before


def test_models_print_as_one_short_line(loaded):
    assert "\n" not in repr(loaded("v")) and len(repr(loaded("v"))) < 400


# Words


def test_unknown_words_are_named(loaded):
    with pytest.warns(UserWarning, match="does not know 'elephant', 'Paris'$"):
        loaded("words").embed(["a dog", "A elephant in Paris"])


def test_words_past_the_end_are_named(loaded):
    with pytest.warns(UserWarning, match="longer than 14 tokens, cut off: 'bird at night'"):
        loaded("words").embed("a dog " * 7 + "bird at night")


def test_words_outside_the_small_world_are_named(folder, tmp_path):
    """Its tokenizer spells what it does not know, as CLIP's does, but a letter means nothing to its model."""
    copy = shutil.copytree(folder("epsilon"), tmp_path / "copy")
    (copy / "card.json").write_text("{}")
    m = kit.load(copy, device="cpu")
    with pytest.warns(UserWarning, match="does not know 'x', 'elephant'$"):
        m.embed("a dog, x, elephant")


@pytest.mark.parametrize("kind", ["epsilon", "words"])
def test_known_words_that_fit_are_no_cause_for_a_warning(kind, loaded):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded(kind).embed(["", "a Horse standing in the SNOW", " ".join(["dog"] * (CONTEXT - 2))])


def test_the_small_world_names_words_it_does_not_know(loaded):
    with pytest.warns(UserWarning, match="world does not know 'elephant'$"):
        loaded("world").embed("an elephant in the snow")


# Checkpoints as others have saved them


def generated(folder):
    return kit.generate(kit.load(folder, device="cpu"), PROMPTS, steps=3)


@pytest.fixture(scope="module")
def reference(loaded):
    return kit.generate(loaded("epsilon"), PROMPTS, steps=3)


# What the papers that train on need


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_says_what_it_was_trained_to_say(kind, loaded):
    models, prompts = loaded(kind), PROMPTS[:2]
    x, cond = randn((2, *models.latent_shape), 0), models.embed(prompts)
    says = models.network(x, torch.tensor([400, 20]), cond)
    want = models.unet(x, torch.tensor([400, 20]), cond).sample
    assert torch.equal(says, want)
    eps = models.denoising.predictor(models.network)(x, 400, cond)
    assert torch.allclose(eps, models.predict(x, 400, cond), atol=1e-6)


def test_another_network_takes_the_place_of_the_unet(loaded):
    models = loaded("epsilon")
    other = deepcopy(models.network)
    other.unet.conv_out.weight.data.zero_()
    other.unet.conv_out.bias.data.zero_()
    x, cond = randn((1, *models.latent_shape), 0), models.embed("a dog")
    assert not models.with_network(other).predict(x, 500, cond).any()
    assert models.predict(x, 500, cond).any()


@pytest.mark.parametrize("kind", ["epsilon", "world"])
def test_a_new_word_with_the_vector_of_an_old_one_means_the_same(kind, loaded):
    models = loaded(kind)
    vector = models.word_vector("horse")
    want = models.embed(["a horse in the snow", "a horse"])
    embed = models.new_word("<mine>")
    assert torch.equal(embed(["a <mine> in the snow", "a <mine>"], vector), want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(models.with_word("<mine>", vector).embed(["a <mine> in the snow", "a <mine>"]), want)


def test_a_new_word_changes_nothing_but_a_copy_and_one_row(loaded):
    models, vector = loaded("epsilon"), torch.randn(loaded("epsilon").word_vector("dog").shape)
    before = {name: weight.clone() for name, weight in models.text_encoder.state_dict().items()}
    words, known = len(models.tokenizer), models.embed("a dog")
    taught = models.with_word("<mine>", vector)
    for name, weight in models.text_encoder.state_dict().items():
        assert torch.equal(weight, before[name])
    assert len(models.tokenizer) == words and torch.equal(models.embed("a dog"), known)
    assert torch.equal(taught.embed("a dog"), known)
    for name, weight in taught.text_encoder.state_dict().items():
        if "token_embedding" in name:
            assert len(weight) == len(before[name]) + 1 and torch.equal(weight[-1], vector)
        assert torch.equal(weight[: len(before[name])], before[name])


def test_gradients_reach_the_vector_of_a_new_word_and_nothing_else(loaded):
    models = loaded("epsilon")
    vector = models.word_vector("dog").requires_grad_()
    models.new_word("<mine>")(["a <mine>"], vector)[..., 0].sum().backward()
    assert vector.grad.any() and all(p.grad is None for p in models.text_encoder.parameters())
    assert not models.text_encoder.get_input_embeddings()._forward_hooks


def test_the_stock_pipeline_reads_a_saved_word(loaded, folder, tmp_path):
    models = loaded("epsilon")
    vector = torch.randn(models.word_vector("dog").shape, generator=torch.Generator().manual_seed(0))
    save_word(tmp_path / "word.safetensors", "<mine>", vector)
    pipe = stock(folder("epsilon"))
    pipe.load_textual_inversion(tmp_path / "word.safetensors")
    theirs = pipe.encode_prompt("a <mine> in the snow", "cpu", 1, False)[0]
    assert torch.allclose(models.with_word("<mine>", vector).embed("a <mine> in the snow"), theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "words", "world"])
@pytest.mark.parametrize("token", ["horse", "two words", "", 5])
def test_a_token_that_is_no_new_word_is_refused(token, kind, loaded):
    with pytest.raises(ValueError, match=rf"token: got {token!r}.* wanted a new word"):
        loaded(kind).new_word(token)
    with pytest.raises(ValueError, match=rf"token: got {token!r}.* wanted a new word"):
        loaded(kind).with_word(token, torch.zeros(4))


def test_a_new_word_that_is_missing_or_of_the_wrong_size_is_said(loaded):
    models = loaded("epsilon")
    with pytest.raises(ValueError, match=r"prompts: got .*wanted '<mine>' in each"):
        models.new_word("<mine>")(["a <mine>", "a dog"], models.word_vector("dog"))
    with pytest.raises(ValueError, match=r"vector: got shape \(3,\), wanted"):
        models.with_word("<mine>", torch.zeros(3))
    with pytest.raises(ValueError, match="word: got 'zorgblat', wanted a word that the tokenizer knows"):
        models.word_vector("zorgblat")


def test_names_from_before_are_understood(copy, reference):
    """Stable Diffusion 1.x names its tensors, and keeps its words, as was done when it was published."""
    file = copy / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{key}": value for key, value in load_file(file).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    save_file(weights, file, {"format": "pt"})

    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in load_file(file).items():
        for new, before in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[key] = value
    assert any("proj_attn" in key for key in renamed)
    save_file(renamed, file, {"format": "pt"})

    words = json.loads((copy / "tokenizer" / "tokenizer.json").read_text())["model"]
    (copy / "tokenizer" / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = [" ".join(pair) for pair in words["merges"]]
    (copy / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (copy / "tokenizer" / "tokenizer.json").unlink()
    edit_json(copy / "tokenizer" / "tokenizer_config.json", tokenizer_class="CLIPTokenizer")

    torch.testing.assert_close(generated(copy), reference)


def test_half_precision_copies_are_read(copy, reference):
    for file in list(copy.glob("*/*.safetensors")):
        halves = {key: value.half() for key, value in load_file(file).items()}
        save_file(halves, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
        file.unlink()
    torch.testing.assert_close(generated(copy), reference, atol=0.02, rtol=0)


def test_a_text_encoder_that_masks_its_padding_is_obeyed(copy):
    edit_json(copy / "text_encoder" / "config.json", use_attention_mask=True)
    pipe = stock(copy)
    pipe.text_encoder.config.use_attention_mask = True
    with torch.no_grad():
        theirs, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
    torch.testing.assert_close(kit.load(copy, device="cpu").embed(PROMPTS), theirs)


# The hub, stood in for by a server on this machine that speaks its protocol


class Hub(BaseHTTPRequestHandler):
    """Serves one checkpoint folder as the model "ann/small"; `seen` are the files that were fetched."""

    folder, seen, COMMIT = None, None, "a" * 40

    def do_GET(self):
        path = self.path.split("?")[0]
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        if path in ("/api/models/ann/small", "/api/models/ann/small/revision/main"):
            siblings = [{"rfilename": file} for file in files]
            self.answer(json.dumps({"id": "ann/small", "sha": self.COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/api/models/ann/small/tree/{self.COMMIT}"):
            tree = [
                {"type": "file", "path": f, "size": (self.folder / f).stat().st_size, "oid": f"{i:040x}"}
                for i, f in enumerate(files)
            ]
            self.answer(json.dumps(tree).encode())
        elif path.startswith(f"/ann/small/resolve/{self.COMMIT}/"):
            file = path.split(self.COMMIT + "/")[1]
            if self.command == "GET":
                self.seen.append(file)
            self.answer((self.folder / file).read_bytes(), ETag=f'"{files.index(file):040x}"')
        else:
            self.answer(b"{}", 404, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for key, value in {"X-Repo-Commit": self.COMMIT, "Content-Length": len(body), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub_at(monkeypatch, tmp_path):
    """address -> makes that address the hub's, with nothing downloaded yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()

    def put(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.split("/", 3)[3]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{template}")

    yield put
    close_session()


@pytest.fixture
def hub(hub_at, copy):
    """A hub with one model, ann/small, whose folder and fetched files it hands out; `stop` unplugs it."""
    handler = type("Handler", (Hub,), {"folder": copy, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_at(f"http://127.0.0.1:{server.server_port}")

    def stop():
        server.shutdown()
        server.server_close()

    handler.stop = staticmethod(stop)
    yield handler
    stop()


def test_a_hub_checkpoint_is_fetched_once_and_only_what_is_needed(hub, reference):
    for useless in (
        "v1-5-pruned.ckpt",
        "unet/diffusion_pytorch_model.bin",
        "safety_checker/model.safetensors",
    ):
        (hub.folder / useless).parent.mkdir(exist_ok=True)
        (hub.folder / useless).write_bytes(b"gigabytes")
    torch.testing.assert_close(generated("ann/small"), reference)
    assert {file for file in hub.seen if file.endswith((".safetensors", ".bin", ".ckpt"))} == {
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    }
    fetched = len(hub.seen)
    torch.testing.assert_close(generated("ann/small"), reference)
    assert len(hub.seen) == fetched
    hub.stop()
    torch.testing.assert_close(generated("ann/small"), reference)


def test_a_wrong_hub_checkpoint_is_refused_before_its_weights_are_fetched(hub):
    edit_json(hub.folder / "model_index.json", _class_name="StableDiffusionXLPipeline")
    with pytest.raises(ValueError, match="got a StableDiffusionXLPipeline"):
        kit.load("ann/small")
    assert not [file for file in hub.seen if file.endswith(".safetensors")]


def test_an_unknown_hub_name_is_said_to_be_unknown(hub):
    with pytest.raises(OSError, match="ann/typo: neither a folder here nor open to you on the hub; check") as e:
        kit.load("ann/typo")
    one_line(e)


def test_a_hub_that_refuses_to_be_reached_fails_at_once(hub_at):
    hub_at("http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(OSError, match=r"ann/small: .* the hub cannot be reached .* load\('world'\)") as e:
        kit.load("ann/small")
    one_line(e)
    assert time.monotonic() - started < 2


def test_a_hub_that_never_answers_does_not_hang(hub_at, monkeypatch):
    assert models._PATIENCE <= 10
    monkeypatch.setattr(models, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(OSError, match="the hub cannot be reached"):
            kit.load("ann/small")
        assert time.monotonic() - started < 3


def test_offline_mode_is_obeyed_at_once(tmp_path):
    code = "import kit, time; kit.models; s = time.time()\ntry: kit.load('ann/small')\n"
    code += "except OSError as e: print(e); assert time.time() - s < 1"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "the hub cannot be reached (OfflineModeIsEnabled" in said.stdout
    assert said.stdout.count("\n") == 1


# Checkpoints that cannot be read


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def pickled(copy):
    for file in list(copy.glob("*/*.safetensors")):
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-1000])


def lacks_a_tensor(file):
    weights = load_file(file)
    weights.pop(sorted(weights)[3])
    save_file(weights, file, {"format": "pt"})


def of_another_size(file):
    weights = load_file(file)
    key = sorted(weights)[3]
    weights[key] = torch.zeros(7)
    save_file(weights, file, {"format": "pt"})


UNET, VAE, TEXT = (
    f"{part}.safetensors"
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
)
SPOILT = {
    "empty": (lambda c: [remove(p) for p in c.iterdir()], FileNotFoundError, "has no model_index.json"),
    "broken json": (
        lambda c: (c / "model_index.json").write_text("{"),
        OSError,
        "model_index.json is damaged",
    ),
    "json of a list": (
        lambda c: (c / "model_index.json").write_text("[1]"),
        OSError,
        "model_index.json is damaged",
    ),
    "SDXL": (
        lambda c: edit_json(c / "model_index.json", _class_name="StableDiffusionXLPipeline"),
        ValueError,
        "got a StableDiffusionXLPipeline, .*wanted a Stable Diffusion 1.x or 2.x",
    ),
    "another pipeline": (
        lambda c: edit_json(c / "model_index.json", _class_name="DDPMPipeline"),
        ValueError,
        "got a DDPMPipeline",
    ),
    "an editing U-Net": (
        lambda c: edit_json(c / "unet" / "config.json", in_channels=8),
        ValueError,
        "a U-Net of another kind, not supported: got in_channels 8, wanted 4",
    ),
    "another VAE": (
        lambda c: edit_json(c / "model_index.json", vae=["diffusers", "AutoencoderTiny"]),
        ValueError,
        "got AutoencoderTiny as vae, .*wanted AutoencoderKL",
    ),
    "no VAE": (
        lambda c: edit_json(c / "model_index.json", vae=[None, None]),
        ValueError,
        "got None as vae",
    ),
    "another prediction": (
        lambda c: edit_json(c / "scheduler" / "scheduler_config.json", prediction_type="sample"),
        ValueError,
        "got prediction_type sample, wanted epsilon or v_prediction",
    ),
    "another beta schedule": (
        lambda c: edit_json(c / "scheduler" / "scheduler_config.json", beta_schedule="zigzag"),
        OSError,
        "scheduler/ cannot be read .*zigzag",
    ),
    "distilled guidance": (
        lambda c: edit_json(c / "unet" / "config.json", time_cond_proj_dim=256),
        ValueError,
        "got time_cond_proj_dim 256",
    ),
    "another width of words": (
        lambda c: edit_json(c / "unet" / "config.json", cross_attention_dim=768),
        ValueError,
        "got cross_attention_dim 768, wanted 32",
    ),
    "no size": (
        lambda c: edit_json(c / "unet" / "config.json", sample_size=None),
        ValueError,
        "got a U-Net of sample_size None",
    ),
    "pickles": (pickled, ValueError, "unet/.*bin is a pickle, .*convert it"),
    "no weights": (lambda c: remove(c / VAE), FileNotFoundError, "has no vae/diffusion_pytorch_model.safe"),
    "no scheduler settings": (
        lambda c: remove(c / "scheduler" / "scheduler_config.json"),
        OSError,
        "scheduler/ cannot be read",
    ),
    "no words": (
        lambda c: remove(c / "tokenizer" / "tokenizer.json"),
        FileNotFoundError,
        "tokenizer/ holds neither",
    ),
    "broken words": (
        lambda c: (c / "tokenizer" / "tokenizer.json").write_text("{"),
        OSError,
        "tokenizer/ cannot be read",
    ),
    "no config": (lambda c: remove(c / "unet" / "config.json"), FileNotFoundError, "has no unet/config.json"),
    **{f"no {part}": (lambda c, part=part: remove(c / part), FileNotFoundError, f"no folder {part}/")
       for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")},
    **{f"{spoil.__name__}: {file}": (lambda c, file=file, spoil=spoil: spoil(c / file), OSError, says)
       for file in (UNET, VAE, TEXT)
       for spoil, says in ((cut_short, "cannot be read"), (lacks_a_tensor, "lacks 1 weights|cannot be read"),
                           (of_another_size, "cannot be read"))},
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_checkpoint_is_named_with_its_mend(fault, copy):
    spoil, kind, says = SPOILT[fault]
    spoil(copy)
    with pytest.raises(kind, match=says) as raised:
        kit.load(copy, device="cpu")
    assert str(copy) in one_line(raised)


def test_words_of_another_text_encoder_are_refused(copy):
    edit_json(copy / "text_encoder" / "config.json", vocab_size=300)
    file = copy / TEXT
    weights = load_file(file)
    weights["embeddings.token_embedding.weight"] = weights["embeddings.token_embedding.weight"][:300].clone()
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{len(clip_tokenizer())} words, .*300"):
        kit.load(copy)


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("./nowhere", FileNotFoundError, "'./nowhere': no such folder; wanted 'world', a folder or a hub id"),
        ("wrold", FileNotFoundError, "'wrold': no such folder"),
        ("/nowhere/at/all", FileNotFoundError, "no such folder"),
        ("", FileNotFoundError, "no such folder"),
        (None, TypeError, "name: got None, wanted"),
        (3, TypeError, "name: got 3, wanted"),
    ],
)
def test_a_name_of_nothing_is_refused_without_asking_the_hub(name, kind, says, hub_at):
    hub_at("no address at all")
    with pytest.raises(kind, match=says) as raised:
        kit.load(name)
    one_line(raised)


def test_a_single_file_is_refused_with_the_way_to_a_folder(copy):
    with pytest.raises(ValueError, match=r"got a file, wanted a folder .*from_single_file"):
        kit.load(copy / UNET)


def test_missing_weights_of_the_small_world_say_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match=r"world: no weights in .*make world"):
        kit.load()


@pytest.mark.parametrize("device", ["cuda:99", "gpu", 1.5])
def test_a_device_that_is_not_there_is_refused(device, folder):
    with pytest.raises(ValueError, match=f"device: got {device!r}, .*try 'cpu'") as raised:
        kit.load(folder("epsilon"), device=device)
    one_line(raised)


@pytest.mark.parametrize("dtype", [torch.int64, "float16", torch.float8_e4m3fn])
def test_a_dtype_that_cannot_be_run_is_refused(dtype, folder):
    with pytest.raises(ValueError, match=r"dtype: got .*, wanted torch.float32"):
        kit.load(folder("epsilon"), device="cpu", dtype=dtype)


# Bad input


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (pictures().numpy(), TypeError, "got ndarray, wanted float"),
        ((pictures() * 255).byte(), TypeError, "got torch.uint8, .*divide 0..255 by 255"),
        (pictures() * 255, ValueError, r"got values from .* to 25\d.*divide 0..255 by 255"),
        (pictures() * 2 - 1, ValueError, "got values from -.*add 1 to -1..1 and halve"),
        (pictures() + 0.1, ValueError, "got values from 0.1.* to 1.*wanted float"),
        (pictures().index_fill(0, torch.tensor([1]), torch.nan), ValueError, "got 768 of 1536 values NaN"),
        (pictures(0), ValueError, r"got shape \(0, 3, 16, 16\)"),
        (pictures()[0], ValueError, r"got shape \(3, 16, 16\), wanted float \(n, 3, h, w\)"),
        (pictures()[:, :1], ValueError, r"got shape \(2, 1, 16, 16\)"),
        (torch.rand(2, 4, 16, 16), ValueError, r"got shape \(2, 4, 16, 16\)"),
        (torch.rand(2, 16, 16, 3), ValueError, r"got shape \(2, 16, 16, 3\)"),
        (pictures(side=15), ValueError, "got 15 x 15 pixels, wanted multiples of 2 up to 2048"),
        (torch.zeros(1, 3, 2, 4096), ValueError, "got 2 x 4096 pixels"),
    ],
)
def test_pictures_that_are_none_are_refused(bad, kind, says, loaded):
    with pytest.raises(kind, match="pictures: " + says) as raised:
        loaded("epsilon").encode(bad)
    one_line(raised)


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        ([1.0], TypeError, "got list"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.long), TypeError, "got dtype torch.int64"),
        (torch.zeros(1, 3, 8, 8), ValueError, r"got shape \(1, 3, 8, 8\), wanted \(n, 4, h, w\)"),
        (torch.zeros(4, 8, 8), ValueError, r"got shape \(4, 8, 8\)"),
        (torch.zeros(0, 4, 8, 8), ValueError, r"got shape \(0, 4, 8, 8\)"),
        (torch.full((1, 4, 8, 8), torch.inf), ValueError, "got 256 of 256 values NaN or infinite"),
    ],
)
def test_latents_that_are_none_are_refused(bad, kind, says, loaded):
    with pytest.raises(kind, match="latents: " + says) as raised:
        loaded("epsilon").decode(bad)
    one_line(raised)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (dict(x=torch.zeros(2, 3, 8, 8)), ValueError, "x: got shape"),
        (dict(t=1000), ValueError, "t: got 1000"),
        (dict(t=-1), ValueError, "t: got -1, wanted"),
        (dict(t=0.5), TypeError, "t: got 0.5"),
        (dict(t=torch.tensor([1, 2, 3])), ValueError, r"t: got \[1, 2, 3\], wanted 2 timesteps"),
        (dict(t=torch.tensor([1, -1])), ValueError, r"t: got \[1, -1\], wanted 2 timesteps from 0 to 999"),
        (dict(t=torch.tensor([1.0, 2.0])), TypeError, "t: got torch.float32"),
        (dict(cond=torch.zeros(1, 16, 32)), ValueError, "cond: got shape .*wanted 2 rows"),
        (dict(cond=torch.zeros(2, 32)), ValueError, r"cond: got shape \(2, 32\), wanted \(n, L, 32\)"),
        (dict(cond=torch.zeros(2, 16, 8)), ValueError, r"cond: got shape \(2, 16, 8\)"),
        (dict(cond=None), TypeError, "cond: got NoneType"),
    ],
)
@pytest.mark.parametrize("kind_of_model", ["epsilon", "v"])
def test_a_prediction_of_nonsense_is_refused(kind_of_model, change, kind, says, loaded):
    good = dict(x=torch.zeros(2, 4, 8, 8), t=5, cond=torch.zeros(2, 16, 32))
    with pytest.raises(kind, match=says) as raised:
        loaded(kind_of_model).predict(**good | change)
    one_line(raised)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (dict(prompts=[]), ValueError, "prompts: got an empty list, wanted at least one text"),
        (dict(prompts=3), TypeError, "prompts: got 3, wanted a text or a list of texts"),
        (dict(prompts=["a", None]), TypeError, "prompts: got .*None"),
        (dict(negative=None), TypeError, "negative: got None"),
        (dict(negative=["a", "b", "c"]), ValueError, "negative: got 3 texts for 2 prompts"),
        (dict(steps=0), ValueError, "steps: got 0, wanted a whole number from 1 to 1000"),
        (dict(steps=-3), ValueError, "steps: got -3"),
        (dict(steps=1001), ValueError, "steps: got 1001"),
        (dict(steps=2.5), TypeError, "steps: got 2.5"),
        (dict(seed=-1), ValueError, "seed: got -1"),
        (dict(seed=2**63), ValueError, "seed: got 9223372036854775808"),
        (dict(seed=[1]), ValueError, "seed: got 1 seeds, wanted 2"),
        (dict(seed="x"), TypeError, "seed: got 'x'"),
        (dict(guidance=float("nan")), ValueError, "guidance: got nan"),
        (dict(guidance="strong"), TypeError, "guidance: got 'strong'"),
        (dict(eta=-0.1), ValueError, "eta: got -0.1"),
        (dict(eta=1.5), ValueError, "eta: got 1.5"),
        (dict(batch=0), ValueError, "batch: got 0"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(change, kind, says, loaded):
    good = dict(prompts=["a horse", "a dog"], steps=2)
    with pytest.raises(kind, match=says) as raised:
        kit.generate(loaded("epsilon"), **good | change)
    one_line(raised)
