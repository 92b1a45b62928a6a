"""Stable Diffusion as functions: words, pictures and latents in; embeddings, latents, pictures and eps out.

`load` reads the small world or any Stable Diffusion 1.x / 2.x checkpoint; `generate` is text to picture in
one call. Not here: how to sample, guide and edit (`kit.diffusion`), training (`kit.world.train`).

    name         shape, range                 meaning
    pictures     (n, 3, h, w) in [0, 1]       RGB
    latents      (n, 4, h / f, w / f)         the VAE's mode times its scaling factor: about unit variance
    mask         (n, 1, h, w) in [0, 1]       1: to be painted; 0: known
    cond         (n, L, d)                    the text encoder's last hidden states, one row a token
    t            0 to T-1                     the timestep, T-1 the noisiest
"""

import json
import re
import warnings
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers import CLIPTextModel

from kit.diffusion import checks, ddim, seeds
from kit.diffusion.denoising import Denoising
from kit.diffusion.guidance import guided
from kit.diffusion.schedule import Schedule, above_zero
from kit.world import WEIGHTS, students, unknown_words
from kit.world.judge import without_bar

_NETWORKS = {  # part -> its class, and the name of its weights' file
    "unet": (UNet2DConditionModel, "diffusion_pytorch_model"),
    "vae": (AutoencoderKL, "diffusion_pytorch_model"),
    "text_encoder": (CLIPTextModel, "model"),
}
_PARTS = (*_NETWORKS, "tokenizer", "scheduler")
_KINDS = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
_EXTRAS = (
    "class_embed_type",
    "addition_embed_type",
    "time_cond_proj_dim",
    "encoder_hid_dim",
)  # SDXL's, LCM's
_PATIENCE = 10  # seconds to wait for the hub's first answer
_NAMES = "wanted 'world', a folder or a hub id 'owner/name'"
_AGAIN = "download or copy the checkpoint again"
MAX_SIDE = 2048  # pixels; the VAE's attention costs memory with the fourth power of the side


class Network(torch.nn.Module):
    """A U-Net as a plain module: (x, t, cond) -> what it was trained to say, in x's dtype; t an int or (n,) ints."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, t, cond):
        levels = torch.as_tensor(t).to(x.device)
        return self.unet(x.to(self.unet.dtype), levels, cond.to(self.unet.dtype)).sample.to(x.dtype)


@dataclass(frozen=True, eq=False)
class Models:
    """A checkpoint's parts and what they do.

    The weights are frozen; gradients reach inputs that ask for them. The networks run in `dtype`; `encode`,
    `decode` and `predict` answer in the dtype they were asked in, so that a path is summed in float32.
    """

    name: str
    unet: UNet2DConditionModel = field(repr=False)
    vae: AutoencoderKL = field(repr=False)
    text_encoder: CLIPTextModel = field(repr=False)
    tokenizer: transformers.PreTrainedTokenizerBase = field(repr=False)
    schedule: Schedule
    spacing: str  # where the checkpoint's own scheduler puts its steps, as `Schedule.timesteps` takes it
    offset: int
    prediction: str  # what the U-Net was trained to say, "epsilon" or "v_prediction"; `predict` says eps anyway
    small_world: bool  # whether only the small world's words mean anything to it
    device: torch.device
    dtype: torch.dtype

    @property
    def factor(self):
        """f, the pixels a side that one latent stands for."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_shape(self):
        """(c, h, w) of one picture at the size the checkpoint was trained on."""
        return (self.unet.config.out_channels, *[self.unet.config.sample_size] * 2)

    @property
    def size(self):
        """The pixels a side of the pictures the checkpoint was trained on."""
        return self.unet.config.sample_size * self.factor

    def timesteps(self, steps):
        """The falling timesteps (steps,) that the checkpoint's own scheduler would take, 1 <= steps <= T."""
        return self.schedule.timesteps(steps, self.spacing, self.offset)

    @property
    def denoising(self):
        """What the U-Net was trained to do, for the papers that train on: `kit.diffusion.denoising`."""
        return Denoising(self.schedule, self.prediction)

    @property
    def network(self):
        """The U-Net as a module (x, t, cond) -> eps or v, as `denoising` says."""
        return Network(self.unet)

    def with_network(self, network):
        """The same checkpoint with another U-Net, as from `kit.diffusion.imagic`: a network of `network`'s kind."""
        return replace(self, unet=network.unet)

    def student(self, steps):
        """The student of so many steps that `make students` distilled: a `kit.diffusion.distill.Distilled`.

        The kit ships students of 8, 4, 2 and 1 steps. Raises ValueError for a checkpoint other than the small world,
        or steps that no student has; FileNotFoundError where there are none at all.
        """
        self._check_students()
        return students.load(self.unet, steps)

    def encoder_student(self):
        """The student whose `path` leads up, from clean latents to noise, for w = 1. Errors as for `student`."""
        self._check_students()
        return students.load_encoder(self.unet)

    def _check_students(self):
        if self.name != "world":
            raise ValueError(f"{self.name}: has no students; wanted 'world', or `kit.diffusion.distill` to make some")

    def embed(self, prompts):
        """cond (n, L, d) of one prompt or a list of n.

        Warns, naming them, of words that the tokenizer does not know and of words beyond the context's end.
        """
        prompts = _prompts("prompts", prompts)
        for prompt in dict.fromkeys(prompts):
            self._warn_of_lost_words(prompt)
        return self._encode_words(self._tokens(prompts, self.tokenizer))

    def new_word(self, token):
        """embed(prompts, vector) -> cond (n, L, d) of prompts in which `token` stands for the embedding `vector`.

        token: a text that the tokenizer does not know as one word. vector: (d,), which gradients reach. Nothing
        of the checkpoint changes; `with_word` gives one that knows the word.
        """
        tokenizer = self._tokenizer_with(token)
        word = tokenizer.convert_tokens_to_ids(token)
        table = self.text_encoder.get_input_embeddings()

        def embed(prompts, vector):
            ids = self._tokens(_prompts("prompts", prompts), tokenizer)
            here = ids.input_ids == word
            if not here.any(1).all():
                raise ValueError(f"prompts: got {prompts!r}, wanted {token!r} in each")
            ids["input_ids"] = ids.input_ids.masked_fill(here, 0)  # the table has no row for it
            hook = table.register_forward_hook(lambda *given: torch.where(here[..., None], vector, given[-1]))
            try:
                return self._encode_words(ids)
            finally:
                hook.remove()

        return embed

    def with_word(self, token, vector):
        """The same checkpoint with one more word, of embedding `vector` (d,): a copy of its tokenizer and text encoder.

        Every other row of the embedding keeps its bits.
        """
        tokenizer, text_encoder = self._tokenizer_with(token), deepcopy(self.text_encoder)
        old = text_encoder.get_input_embeddings().weight
        row = checks.like("vector", vector, "a row of the embedding", old[0]).to(old)
        new = torch.nn.Embedding.from_pretrained(torch.cat([old, row[None]]), padding_idx=None)
        text_encoder.set_input_embeddings(new)
        text_encoder.config.vocab_size = len(new.weight)
        return replace(self, tokenizer=tokenizer, text_encoder=text_encoder)

    def word_vector(self, word):
        """The embedding (d,) of a word that the tokenizer knows as one token, a copy."""
        row = self._id_of(word)
        if row is None:
            raise ValueError(f"word: got {word!r}, wanted a word that the tokenizer knows as one token")
        return self.text_encoder.get_input_embeddings().weight[row].detach().clone()

    def encode(self, pictures):
        """Latents (n, c, h / f, w / f) of pictures (n, 3, h, w) in [0, 1], h and w multiples of f."""
        x = _pictures(pictures, self.factor).to(self.device, self.vae.dtype)
        mode = self.vae.encode(2 * x - 1).latent_dist.mode()
        return (mode * self.vae.config.scaling_factor).to(pictures.dtype)

    def decode(self, latents):
        """Pictures (n, 3, h, w) of latents, what the VAE draws outside [0, 1] being cut off."""
        self._check_latents("latents", latents)
        z = checks.finite("latents", latents).to(self.device, self.vae.dtype)
        pictures = self.vae.decode(z / self.vae.config.scaling_factor).sample
        return (pictures / 2 + 0.5).clamp(0, 1).to(latents.dtype)

    def predict(self, x, t, cond):
        """eps (n, c, h, w), the noise in x at t for cond (n, L, d); t an int, or (n,) ints on the CPU."""
        if self._inpaints:
            raise ValueError(f"{self.name}: has an inpainting U-Net; wanted inpainting_predict(pictures, mask) for it")
        return self._predict(x, t, cond)

    def inpainting_predict(self, pictures, mask):
        """The predictor of an inpainting U-Net for these pictures, called as `predict` is.

        pictures: (n, 3, h, w) in [0, 1]. mask: float (n, 1, h, w), or (1, 1, h, w) for every picture; where it
        is 0.5 or more the picture is grey to the U-Net, and painted. x is sampled from pure noise, as for
        `generate`, and ends like the picture elsewhere, not equal to it. It may be the n pictures' latents
        several times over, as guidance asks for them.
        """
        if not self._inpaints:
            wanted = "wanted an inpainting U-Net; for this one, use kit.diffusion.inpaint"
            raise ValueError(f"{self.name}: got a U-Net of {self.unet.config.in_channels} channels, {wanted}")
        _pictures(pictures, self.factor)
        painted = checks.mask("mask", mask, pictures).to(pictures.device) >= 0.5
        known = self.encode(torch.where(painted, 0.5, pictures))
        small = torch.nn.functional.interpolate(painted.to(known), known.shape[2:])
        beside = torch.cat([small.expand(len(known), -1, -1, -1), known], 1)

        def inpainting_predict(x, t, cond):
            copies = len(checks.latents("x", x)) // len(beside)
            if x.shape != (copies * len(beside), *known.shape[1:]):
                wanted = f"wanted {tuple(known.shape)}, or several such batches in a row"
                raise ValueError(f"x: got shape {tuple(x.shape)}, {wanted}")
            return self._predict(x, t, cond, beside.repeat(copies, 1, 1, 1))

        return inpainting_predict

    def _tokens(self, prompts, tokenizer):
        return tokenizer(
            prompts, padding="max_length", max_length=self._context, truncation=True, return_tensors="pt"
        ).to(self.device)

    def _encode_words(self, tokens):
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        return self.text_encoder(tokens.input_ids, tokens.attention_mask if masked else None)[0]

    def _tokenizer_with(self, token):
        """A copy of the tokenizer that knows one token more."""
        wanted = "wanted a new word such as '<my-horse>'"
        if not isinstance(token, str) or len(token.split()) != 1:
            raise ValueError(f"token: got {token!r}, {wanted}")
        tokenizer = deepcopy(self.tokenizer)
        if self._id_of(token) is not None or tokenizer.add_tokens(token) != 1:
            raise ValueError(f"token: got {token!r}, which the vocabulary has, {wanted}")
        return tokenizer

    def _id_of(self, word):
        """The token that stands for the whole of a word, or None."""
        ids = self.tokenizer(word, add_special_tokens=False).input_ids
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id else None

    @property
    def _inpaints(self):
        """Whether the U-Net asks for a mask and the known part's latents beside x."""
        return self.unet.config.in_channels != self.unet.config.out_channels

    def _predict(self, x, t, cond, *beside):
        """eps for x, with more channels beside it if the U-Net wants them."""
        self._check_latents("x", x)
        levels = self._levels(t, x)
        checks.batch("cond", checks.floating("cond", cond), len(x))
        if cond.ndim != 3 or cond.shape[2] != self.unet.config.cross_attention_dim:
            wanted = f"(n, L, {self.unet.config.cross_attention_dim}), as from embed"
            raise ValueError(f"cond: got shape {tuple(cond.shape)}, wanted {wanted}")
        seen = torch.cat([x, *beside], 1).to(self.dtype)
        said = self.unet(seen, levels, cond.to(self.dtype)).sample.to(x.dtype)
        return said if self.prediction == "epsilon" else self.schedule.eps_from_v(x, said, t)

    @property
    def _context(self):
        """L, the tokens of one prompt."""
        return min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)

    def _warn_of_lost_words(self, prompt):
        tokens = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = tokens.offset_mapping
        lost = self._unknown_words(prompt) if self.small_world else self._words_without_token(prompt, tokens)
        if lost:
            names = ", ".join(map(repr, lost))
            warnings.warn(f"{prompt!r}: {self.name} does not know {names}", stacklevel=3)
        room = self._context - self.tokenizer.num_special_tokens_to_add()
        if len(spans) > room:
            cut = prompt[spans[room][0] :]
            warnings.warn(f"{prompt!r}: longer than {room} tokens, cut off: {cut!r}", stacklevel=3)

    def _unknown_words(self, prompt):
        """The words outside the small world's vocabulary, but for those taught by `with_word`."""
        for word in self.tokenizer.get_added_vocab():
            prompt = prompt.replace(word, "")
        return unknown_words(prompt)

    def _words_without_token(self, prompt, tokens):
        """The words that hold a tokenizer's token for whatever it does not know; CLIP's spells every word."""
        pairs = zip(tokens.offset_mapping, tokens.input_ids, strict=True)
        unknown = [span for span, id in pairs if id == self.tokenizer.unk_token_id]
        words = re.finditer(r"\w+|[^\w\s]+", prompt)
        return [w.group() for w in words if any(a < w.end() and b > w.start() for a, b in unknown)]

    def _levels(self, t, x):
        """t as (n,) integers beside x."""
        T = len(self.schedule)
        if not (isinstance(t, torch.Tensor) and t.ndim):
            return torch.full((len(x),), checks.whole("t", t, 0, T - 1), device=x.device)
        self.schedule.at(t)  # refuses what are no integers below T
        if len(t) != len(x) or int(t.min()) < 0:
            raise ValueError(f"t: got {t.tolist()}, wanted {len(x)} timesteps from 0 to {T - 1}")
        return t.to(x.device)

    def _check_latents(self, name, x):
        if checks.latents(name, x).shape[1] != self.latent_shape[0]:
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, wanted (n, {self.latent_shape[0]}, h, w)")


def generate(models, prompts, *, negative="", guidance=5.0, steps=25, seed=0, eta=0.0, batch=None):
    """Pictures (n, 3, size, size) in [0, 1], float32: one for a prompt, n for a list of n.

    negative: what to keep away from, one text or n. guidance: w in `u + w (c - u)`, 1 being none. steps: 1 to
    T. seed: an int, picture i drawing from seed + i, or n ints. eta: 0 (DDIM) to 1 (DDPM). batch: pictures at
    a time, by default all; the pictures do not depend on it.
    """
    prompts = _prompts("prompts", prompts)
    n = len(prompts)
    negative = _prompts("negative", negative)
    if len(negative) not in (1, n):
        raise ValueError(f"negative: got {len(negative)} texts for {n} prompts, wanted one, or one for each")
    timesteps = models.timesteps(steps)
    guidance = checks.real("guidance", guidance)
    batch = n if batch is None else checks.whole("batch", batch, 1, 2**31)
    noise = seeds.randn((n, *models.latent_shape), seed, models.device)
    each = seed if isinstance(seed, (list, tuple)) else [int(seed) + i for i in range(n)]
    with torch.inference_mode():
        cond, uncond = models.embed(prompts), models.embed(negative).expand(n, -1, -1)
        pictures = []
        for start in range(0, n, batch):
            some = slice(start, start + batch)
            predict = guided(models.predict, uncond[some], guidance)
            latents = ddim.sample(
                predict, models.schedule, noise[some], timesteps, cond[some], eta=eta, seed=each[some]
            )
            pictures.append(models.decode(latents))
    return torch.cat(pictures)


def load(name="world", device=None, dtype=None):
    """The Models of the small world, or of a Stable Diffusion 1.x / 2.x checkpoint in the diffusers layout.

    name: "world", a folder, or a hub id "owner/name", of which only the files needed are fetched, once.
    device: by default the GPU if CUDA finds one, else the CPU. dtype: of the networks, by default float16 on
    CUDA and float32 elsewhere; a VAE that says it overflows in float16 stays in float32. Only safetensors are
    read, because opening a pickle can run code. Raises FileNotFoundError (something is missing), OSError
    (unreachable or damaged) or ValueError (not Stable Diffusion), in one line with what to do.
    """
    device = _device(device)
    dtype = _dtype(dtype, device)
    folder, files = _find(name)
    index, configs = _anatomy(name, folder)
    weights = {part: _weights(name, part, files or _files(folder), dtype) for part in _NETWORKS}
    if files:
        _download(name, weights.values())
    overflows = dtype == torch.float16 and configs["vae"].get("force_upcast", True)
    dtypes = {part: torch.float32 if overflows and part == "vae" else dtype for part in _NETWORKS}
    return Models(
        name=str(name),
        **{part: _network(name, folder / file, dtypes[part], device) for part, file in weights.items()},
        tokenizer=_tokenizer(name, folder, index, configs["text_encoder"].get("vocab_size", 49408)),
        **_noise_levels(name, folder / "scheduler"),
        small_world=(folder / "card.json").is_file(),
        device=device,
        dtype=dtype,
    )


# What `load` is made of: find the files, see that they are Stable Diffusion's, read them


def _find(name):
    """The checkpoint's folder; and, if weights may have to be fetched, the names of all files on the hub."""
    if not isinstance(name, (str, Path)):
        raise TypeError(f"name: got {name!r}, {_NAMES}")
    folder = WEIGHTS if name == "world" else Path(name).expanduser()
    if str(name) and folder.is_dir():
        return folder, None
    if name == "world":
        raise FileNotFoundError(f"world: no weights in {folder}; run `make world`, or install the kit again")
    if folder.is_file():
        mend = "StableDiffusionPipeline.from_single_file(file).save_pretrained(folder)"
        raise ValueError(f"{name}: got a file, wanted a folder in the diffusers layout; make one with {mend}")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)):
        raise FileNotFoundError(f"{name!r}: no such folder; {_NAMES}")
    return _find_on_hub(name)


def _find_on_hub(name):
    try:
        # first, because the hub's other calls try again for 23 s or wait for ever when there is no network
        listed = HfApi().model_info(name, timeout=_PATIENCE)
    except (RepositoryNotFoundError, GatedRepoError):
        mend = "check the spelling, or run `hf auth login` if it is private"
        raise OSError(f"{name}: neither a folder here nor open to you on the hub; {mend}") from None
    except Exception as error:  # the hub's errors and its HTTP client's share no other base
        return _find_in_cache(name, error), None
    files = {file.rfilename for file in listed.siblings}
    settings = [f for f in files if PurePosixPath(f).suffix in (".json", ".txt") and f.count("/") < 2]
    return _download(name, settings), files


def _find_in_cache(name, error):
    """The folder of an earlier download, for when the hub is out of reach."""
    try:
        return Path(snapshot_download(name, allow_patterns="model_index.json", local_files_only=True))
    except Exception:
        why = f"no folder here, not downloaded before, and the hub cannot be reached ({_brief(error)})"
        raise OSError(f"{name}: {why}; connect and try again, or use load('world')") from None


def _download(name, files):
    try:
        return Path(snapshot_download(name, allow_patterns=[*files]))
    except Exception as error:
        mend = "accept its terms on the hub and run `hf auth login` if it is gated, or try again"
        raise OSError(f"{name}: the download failed ({_brief(error)}); {mend}") from None


def _files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.glob("*/*")}


def _anatomy(name, folder):
    """model_index.json and the networks' config.json, once they are known to be Stable Diffusion's."""
    index = _json(name, folder, "model_index.json")
    kind = index.get("_class_name")
    if kind not in _KINDS:
        wanted = f"wanted a Stable Diffusion 1.x or 2.x checkpoint ({', '.join(_KINDS)})"
        raise ValueError(f"{name}: got a {kind}, which is not supported, {wanted}")
    for part in _PARTS:
        if not (folder / part).is_dir():
            raise FileNotFoundError(f"{name}: has no folder {part}/; {_AGAIN}")
    if not any((folder / "tokenizer" / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        raise FileNotFoundError(f"{name}: tokenizer/ holds neither tokenizer.json nor vocab.json; {_AGAIN}")
    configs = {part: _json(name, folder, f"{part}/config.json") for part in _NETWORKS}
    for part, (cls, _) in _NETWORKS.items():
        got = (index.get(part) or [None, None])[1]
        if got != cls.__name__:
            raise ValueError(f"{name}: got {got} as {part}, which is not supported, wanted {cls.__name__}")
    _check_fit(name, **configs)
    return index, configs


def _check_fit(name, unet, vae, text_encoder):
    """That the networks fit each other, and that the U-Net asks for nothing but x, t and cond, or for what
    inpainting puts beside x: a mask and the known part's latents."""
    channels = vae.get("latent_channels", 4)
    inpaints = unet.get("in_channels") == 2 * channels + 1
    for key, wanted in {
        "in_channels": 2 * channels + 1 if inpaints else channels,
        "out_channels": channels,
        "cross_attention_dim": text_encoder.get("hidden_size", 512),
        **dict.fromkeys(_EXTRAS, None),
    }.items():
        got = unet.get(key, wanted)
        if got != wanted:
            raise ValueError(f"{name}: a U-Net of another kind, not supported: got {key} {got}, wanted {wanted}")
    size = unet.get("sample_size")
    if not isinstance(size, int):
        raise ValueError(f"{name}: got a U-Net of sample_size {size}, wanted one int (square latents)")


def _weights(name, part, files, dtype):
    """The file of a network's weights among `files`: its half-precision copy where that will do."""
    stem = f"{part}/{_NETWORKS[part][1]}"
    wanted = [f"{stem}.safetensors", f"{stem}.fp16.safetensors"]
    for file in reversed(wanted) if dtype == torch.float16 else wanted:
        if file in files:
            return file
    pickles = sorted(f for f in files if re.fullmatch(rf"{part}/.*\.(bin|ckpt|pth?)", f))
    if pickles:
        mend = "if you trust it, convert it: StableDiffusionPipeline.from_pretrained(old).save_pretrained(new)"
        raise ValueError(f"{name}: {pickles[0]} is a pickle, which can run code; wanted safetensors; {mend}")
    raise FileNotFoundError(f"{name}: has no {wanted[0]}; {_AGAIN}")


def _network(name, file, dtype, device):
    """The network whose weights are in `file`, frozen."""
    with without_bar():
        network, report = _read(
            name,
            file.parent,
            _NETWORKS[file.parent.name][0],
            dtype=dtype,
            use_safetensors=True,
            variant="fp16" if file.name.endswith(".fp16.safetensors") else None,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise OSError(f"{name}: {file.parent.name}/ lacks {len(missing)} weights ({missing[0]}, …); {_AGAIN}")
    return network.eval().requires_grad_(False).to(device)


def _tokenizer(name, folder, index, known):
    """The tokenizer of the class that the checkpoint names, whose words the text encoder knows."""
    tokenizer = _read(name, folder / "tokenizer", getattr(transformers, index["tokenizer"][1]))
    n = len(tokenizer)
    if n > known:
        raise ValueError(f"{name}: tokenizer/ has {n} words, text_encoder/ knows {known}; {_AGAIN}")
    return tokenizer


def _noise_levels(name, folder):
    """The schedule, the spacing of steps and the kind of prediction, from the scheduler's settings."""
    scheduler = _read(name, folder, DDIMScheduler)  # reads the settings of every scheduler with these levels
    config, said = scheduler.config, scheduler.config.prediction_type
    if said not in ("epsilon", "v_prediction"):
        raise ValueError(f"{name}: got prediction_type {said}, wanted epsilon or v_prediction")
    alpha_bar = above_zero((1 - scheduler.betas.double()).cumprod(0))
    return dict(
        schedule=Schedule(alpha_bar, 1.0 if config.set_alpha_to_one else None),
        spacing=config.timestep_spacing,
        offset=config.steps_offset,
        prediction=said,
    )


def _read(name, folder, cls, **settings):
    try:
        return cls.from_pretrained(folder, local_files_only=True, **settings)
    except Exception as error:  # three libraries' own kinds, and bare ones
        raise OSError(f"{name}: {folder.name}/ cannot be read ({_brief(error)}); {_AGAIN}") from None


def _json(name, folder, file):
    try:
        return dict(json.loads((folder / file).read_text(encoding="utf-8")))
    except FileNotFoundError:
        wanted = "wanted a checkpoint in the diffusers layout"
        raise FileNotFoundError(f"{name}: has no {file}, {wanted}; {_AGAIN}") from None
    except (TypeError, ValueError) as error:
        raise OSError(f"{name}: {file} is damaged ({_brief(error)}); {_AGAIN}") from None


def _device(device):
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        mend = f"which cannot be used here ({_brief(error)}); try 'cpu'"
        raise ValueError(f"device: got {device!r}, {mend}") from None


def _dtype(dtype, device):
    if dtype is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    if dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(f"dtype: got {dtype}, wanted torch.float32, float16, bfloat16 or float64")
    return dtype


def _prompts(name, prompts):
    """A list of at least one text."""
    texts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name}: got {prompts!r}, wanted a text or a list of texts")
    if not texts:
        raise ValueError(f"{name}: got an empty list, wanted at least one text")
    return list(texts)


def _pictures(pictures, factor):
    """`pictures`, once they are known to be pictures whose sides are multiples of `factor`."""
    wanted = "wanted float (n, 3, h, w) in [0, 1]"
    if not isinstance(pictures, torch.Tensor):
        raise TypeError(f"pictures: got {type(pictures).__name__}, {wanted}")
    if not pictures.is_floating_point():
        raise TypeError(f"pictures: got {pictures.dtype}, {wanted}: divide 0..255 by 255")
    if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"pictures: got shape {tuple(pictures.shape)}, {wanted}")
    h, w = pictures.shape[2:]
    if h % factor or w % factor or max(h, w) > MAX_SIDE:
        raise ValueError(f"pictures: got {h} x {w} pixels, wanted multiples of {factor} up to {MAX_SIDE}")
    low, high = map(float, checks.finite("pictures", pictures).aminmax())
    if low < 0 or high > 1:
        mend = "divide 0..255 by 255; add 1 to -1..1 and halve it"
        raise ValueError(f"pictures: got values from {low:.4g} to {high:.4g}, {wanted}: {mend}")
    return pictures


def _brief(error):
    """An error's kind and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
