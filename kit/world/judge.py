"""Pictures to what they show: an independent reader that scores edits, and a likeness of pictures to words.

The judge never sees the generator: it is trained on renders alone, by the same `make world`. `Likeness` holds the image
tower that the text tower was trained against, as CLIP's was, so that a CLIP score exists in this world too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kit.world import WEIGHTS
from kit.world.scene import ATTRIBUTES

SIDE = 128  # pixels a side: what the judge was trained on


@dataclass(frozen=True)
class Verdict:
    """What the judge reads in n pictures: a word an attribute in `species`, `pose`, `place` and `style` (tuples of n);
    `probabilities`, (n, choices) an attribute, in the order of `ATTRIBUTES`; `features` (n, d), for distances."""

    species: tuple[str, ...]
    pose: tuple[str, ...]
    place: tuple[str, ...]
    style: tuple[str, ...]
    probabilities: dict[str, Tensor]
    features: Tensor

    def agrees(self, name: str, words) -> Tensor:
        """(n,) bool: where the attribute is read as the given word, or as each of the n given words."""
        words = (words,) * len(self.species) if isinstance(words, str) else words
        return torch.tensor([a == b for a, b in zip(getattr(self, name), words, strict=True)])


class Judge(nn.Module):
    """A small convolutional network with one head an attribute."""

    def __init__(self, width: int = 32, features: int = 128):
        super().__init__()
        layers, channels = [], 3
        for out in (width, 2 * width, 3 * width, 4 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.SiLU()]
            channels = out
            if out > 2 * width:
                layers += [nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(8, out), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (SIDE // 32) ** 2, features), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(features, len(words)) for name, words in ATTRIBUTES.items()})

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Pictures (n, 3, 128, 128) in [0, 1] to logits an attribute, (n, choices), and features (n, d)."""
        features = self.trunk(pictures * 2 - 1)
        return {name: head(features) for name, head in self.heads.items()}, features

    @torch.inference_mode()
    def read(self, pictures: Tensor) -> Verdict:
        """What n pictures show. Raises ValueError unless they are (n, 3, 128, 128)."""
        if pictures.ndim != 4 or pictures.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(f"judge: got pictures of shape {tuple(pictures.shape)}, wanted (n, 3, {SIDE}, {SIDE})")
        weight = next(self.parameters())
        parts = [self(part.to(weight)) for part in pictures.split(64)]
        features = torch.cat([f for _, f in parts]).cpu()
        probabilities = {
            name: torch.cat([logits[name] for logits, _ in parts]).softmax(-1).cpu() for name in ATTRIBUTES
        }
        words = {name: tuple(ATTRIBUTES[name][i] for i in p.argmax(-1).tolist()) for name, p in probabilities.items()}
        return Verdict(**words, probabilities=probabilities, features=features)


class Likeness(nn.Module):
    """The image tower of the world's CLIP: `score(pictures, pooled)` is the cosine between pictures and the text
    tower's pooled outputs (`text_encoder(ids).pooler_output`)."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in [0, 1], s a multiple of the tower's 64 pixels, to unit vectors (n, d)."""
        small = F.avg_pool2d(pictures, pictures.shape[-1] // self.tower.config.image_size)
        return F.normalize(self.tower(pixel_values=small * 2 - 1).image_embeds.float(), dim=-1)

    @torch.inference_mode()
    def score(self, pictures: Tensor, pooled: Tensor) -> Tensor:
        """(n,) cosines in [-1, 1] between n pictures and n pooled texts."""
        return (self(pictures) * F.normalize(pooled.float(), dim=-1)).sum(-1)


def load_judge(folder: str | Path = WEIGHTS) -> Judge:
    """The trained judge of a weights folder. Raises FileNotFoundError with the mend when it is not there."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict(load_file(_present(Path(folder) / "judge" / "model.safetensors")))
    return judge.float().eval().requires_grad_(False)


def load_likeness(folder: str | Path = WEIGHTS) -> Likeness:
    """The trained image tower of a weights folder. Raises FileNotFoundError with the mend when it is not there."""
    from transformers import CLIPVisionModelWithProjection

    path = _present(Path(folder) / "image_encoder" / "model.safetensors").parent
    with without_bar():
        tower = CLIPVisionModelWithProjection.from_pretrained(path)
    return Likeness(tower.float().eval().requires_grad_(False))


@contextmanager
def without_bar():
    """Keeps the bar that transformers draws for a second's work out of a notebook; as it was, afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _present(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; restore them with git, or remake them with `make world`")
    return path


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between two sets of features, (n, d) and (m, d), taken as Gaussians (arXiv 1706.08500):
    |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). Raises ValueError for fewer than two rows or other d."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"frechet_distance: got features {tuple(a.shape)} and {tuple(b.shape)}, "
            "wanted (n, d) and (m, d) with n, m >= 2"
        )
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    # The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2): real and not negative.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float(apart + cov_a.trace() + cov_b.trace() - 2 * cross)
