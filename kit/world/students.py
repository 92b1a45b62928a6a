"""Students of the small world's U-Net, which make a picture in 8, 4, 2 or 1 steps and take the guidance w as an input.

`kit.world.distilling` remakes them. A student's file holds what its weights differ by from the U-Net's: of a matrix a
byte an entry and a scale a row, of a vector float16.
"""

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kit.diffusion.denoising import Denoising
from kit.diffusion.distill import Distilled, discrete, fourier, upward
from kit.diffusion.schedule import Schedule
from kit.diffusion.seeds import randn
from kit.diffusion.training import atomic
from kit.world import STUDENTS, WEIGHTS

WIDTH = 256  # of what a student is told of w
HEARD = 0.07  # the size of the weights that a student first hears it with


class Student(nn.Module):
    """A U-Net with `time_cond_proj_dim` as a module (z, t, cond, w) -> v, in z's dtype; t and w (n,).

    prediction: what the U-Net says, "epsilon" or "v_prediction". Of eps, v = (eps - sigma z) / alpha is read, at Stable
    Diffusion's levels, none of which is without signal: so no U-Net need learn to say v, and one begins as its teacher.
    """

    def __init__(self, unet, prediction="epsilon"):
        super().__init__()
        self.unet, self.denoising = unet, Denoising(Schedule.stable_diffusion(), prediction)

    def forward(self, z, t, cond, w):
        dtype = self.unet.dtype
        told = (fourier(w.to(z.device), self.unet.config.time_cond_proj_dim) * _slow(z.device)).to(dtype)
        said = self.unet(z.to(dtype), t.to(z.device), cond.to(dtype), timestep_cond=told).sample.to(z.dtype)
        eps_said = self.denoising.prediction == "epsilon"
        return self.denoising.schedule.v_from_eps(z, said, t.cpu()) if eps_said else said


def hearing(unet):
    """A copy of a U-Net that takes w besides: a little of its slow waves, at random, none of the fast ones."""
    copy = type(unet).from_config({**unet.config, "time_cond_proj_dim": WIDTH})
    copy.load_state_dict(unet.state_dict(), strict=False)
    weight = copy.time_embedding.cond_proj.weight
    with torch.no_grad():
        weight.copy_(HEARD * randn(tuple(weight.shape), 0, "cpu") * _slow("cpu"))
    return nn.Module.to(copy, unet.device, unet.dtype)


def _slow(device):
    """(WIDTH,): 1 for the waves that turn at most once while w goes from 1 to 8, which a network learns from; else 0.

    The fast ones, up to a thousand turns, tell it no more than noise would; their weights stay zero, so a network
    that is told them all the same, as by a pipeline of diffusers, says the same.
    """
    turns = 1000 * 7 / (2 * math.pi) * torch.exp(torch.linspace(0, -math.log(10_000), WIDTH // 2, device=device))
    return (turns <= 1).float().repeat(2)


def shipped(folder=STUDENTS):
    """The numbers of steps there are students for, the most first."""
    return sorted((int(path.stem) for path in Path(folder).glob("[0-9]*.safetensors")), reverse=True)


def load(unet, steps, folder=STUDENTS):
    """The student of so many steps as a `Distilled`, like `unet`, the small world's, in its dtype and on its device.

    Raises FileNotFoundError where there are no students at all, ValueError where there is none of so many steps, or its
    file is damaged.
    """
    there = _some(folder)
    if steps not in there:
        wanted = " or ".join(map(str, there))
        raise ValueError(f"steps: got {steps!r}, wanted {wanted}, the steps that a student was trained for")
    return _read(unet, Path(folder) / f"{steps}.safetensors", _base(), discrete(Schedule.stable_diffusion(), steps))


def load_encoder(unet, folder=STUDENTS):
    """The student that walks up, from clean latents to noise, in as many steps as the first student walks down."""
    first = load(unet, _some(folder)[0], folder)
    base = {name: value.float().cpu() for name, value in first.network.unet.state_dict().items()}
    return _read(unet, Path(folder) / "encoder.safetensors", base, upward(first.levels))


def _some(folder):
    """As `shipped`, of which there must be one."""
    there = shipped(folder)
    if not there:
        raise FileNotFoundError(
            f"students: there are none in {folder}; train them with `make students`, which takes hours"
        )
    return there


def _read(unet, path, base, levels):
    student = hearing(unet)
    try:
        with safe_open(path, "pt") as file:
            guidance = tuple(json.loads(file.metadata()["guidance"]))
        student.load_state_dict(unpacked(load_file(path), base))
    except Exception as error:
        raise ValueError(f"{path}: is damaged ({error}); wanted a student as `make students` writes it") from error
    return Distilled(Student(student.eval().requires_grad_(False)), levels, guidance)


def save(student, guidance, path, base=None):
    """Writes a `Student`, atomically, as its differences from the small world's U-Net, or from another one, `base`."""
    beside = _base() if base is None else base.unet.state_dict()
    with atomic(path) as temporary:
        save_file(packed(student.unet.state_dict(), beside), temporary, {"guidance": json.dumps(guidance)})


def packed(weights, base):
    """What `weights` differ by from `base`, both by name; a name that is not in `base` differs from zero."""
    tensors = {}
    for name, value in weights.items():
        change = value.detach().float().cpu() - base.get(name, torch.zeros(())).float().cpu()
        if change.ndim > 1 and change.any():
            scale = change.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            tensors[name] = (change / _by_row(scale, change)).round().to(torch.int8)
            tensors[f"{name}.scale"] = scale
        elif change.any():
            tensors[name] = change.half()
    return tensors


def unpacked(tensors, base):
    """The weights by name, float32, of what `packed` gave."""
    weights = dict(base)
    for name, change in tensors.items():
        if not name.endswith(".scale"):
            scale = tensors.get(f"{name}.scale", torch.ones(()))
            weights[name] = base.get(name, 0) + change.float() * _by_row(scale, change)
    return weights


def _by_row(scale, matrix):
    return scale.view(-1, *[1] * (matrix.ndim - 1)) if scale.ndim else scale


def _base():
    stored = load_file(WEIGHTS / "unet" / "diffusion_pytorch_model.safetensors")
    return {name: value.float() for name, value in stored.items()}
