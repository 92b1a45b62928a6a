"""Small random checkpoints in the diffusers layout: Stable Diffusion's anatomy, with nothing downloaded."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast

START, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"
WORDS = "a horse zebra dog bird standing sitting in the meadow snow at night".split()
CONTEXT = 16  # tokens
SCHEDULE = dict(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1
)


def clip_tokenizer(pad=END):
    """CLIP's byte-pair tokenizer with merges for a few words; it spells all others, and refuses none."""
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary += [letter + "</w>" for letter in vocabulary]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocabulary.append(pieces[0])
    ids = {token: i for i, token in enumerate([*dict.fromkeys(vocabulary), START, END])}
    return CLIPTokenizer(ids, [*dict.fromkeys(merges)], pad_token=pad, model_max_length=CONTEXT)


def word_tokenizer():
    """A closed vocabulary, as the small world's: every other word becomes the unknown token."""
    ids = {token: i for i, token in enumerate([*WORDS, UNKNOWN, START, END])}
    words = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=CONTEXT,
    )


def text_encoder(tokenizer, **settings):
    """A two-layer CLIP text model for the tokenizer's words."""
    return CLIPTextModel(
        CLIPTextConfig(
            **dict(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            | settings
        )
    )


def unet(**settings):
    """A two-level U-Net on 8x8 latents."""
    return UNet2DConditionModel(
        **dict(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        | settings
    )


def vae(**settings):
    """A two-level autoencoder, f = 2: pictures of 16x16."""
    return AutoencoderKL(
        **dict(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=16,
        )
        | settings
    )


def save_checkpoint(
    folder,
    *,
    pipeline=StableDiffusionPipeline,
    tokenizer=None,
    scheduler=None,
    text=None,
    unet_settings=None,
    vae_settings=None,
):
    """Saves a random checkpoint (the same one every time) in `folder` and returns the folder."""
    torch.manual_seed(0)
    tokenizer = tokenizer or clip_tokenizer()
    pipeline(
        vae=vae(**(vae_settings or {})),
        text_encoder=text_encoder(tokenizer, **(text or {})),
        tokenizer=tokenizer,
        unet=unet(**(unet_settings or {})),
        scheduler=scheduler or DDIMScheduler(**SCHEDULE, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_variant(folder, variant):
    """Saves one of the named kinds of checkpoint that `kit.load` must read."""
    return save_checkpoint(folder, **VARIANTS[variant]())


TEXT_TO_IMAGE = {
    # Stable Diffusion 1.x: eps, PNDM's settings file
    "epsilon": lambda: dict(scheduler=PNDMScheduler(**SCHEDULE, skip_prk_steps=True)),
    # Stable Diffusion 2.x: v, a text tower with GELU and "!" for padding
    "v": lambda: dict(
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type="v_prediction"),
        tokenizer=clip_tokenizer(pad="!"),
        text=dict(hidden_act="gelu", num_hidden_layers=3),
        unet_settings=dict(use_linear_projection=True, attention_head_dim=(4, 8)),
    ),
    # as finetuned for a terminal signal of zero
    "v, zero signal": lambda: dict(
        scheduler=DDIMScheduler(
            **SCHEDULE,
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        )
    ),
    # as the small world: its own words, another scale of latents
    "words": lambda: dict(tokenizer=word_tokenizer(), vae_settings=dict(scaling_factor=0.7, force_upcast=False)),
    "trained betas": lambda: dict(
        scheduler=DDIMScheduler(
            trained_betas=[0.001 + 0.00002 * i for i in range(500)],
            num_train_timesteps=500,
            set_alpha_to_one=True,
            clip_sample=False,
            steps_offset=1,
        )
    ),
}

VARIANTS = TEXT_TO_IMAGE | {
    # Stable Diffusion's inpainting checkpoints: a mask and the known part's latents beside x
    "inpainting": lambda: dict(pipeline=StableDiffusionInpaintPipeline, unet_settings=dict(in_channels=9)),
}
