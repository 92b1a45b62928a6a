"""What can be in a picture: a batch of scenes as plain values, before anything is drawn.

A scene has four attributes that words can name (species, pose, place, style) and some that they cannot (where
the animal stands, how large it is, which way it faces, the horizon, the sun, the seed of the texture). Changing one
attribute and keeping the rest gives the counterfactual: `scenes.replace(species="zebra")` is the same picture with a
zebra in it, and so the right answer to an edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

SPECIES = ("horse", "zebra", "giraffe", "cow", "dog", "bird")
POSES = ("standing", "sitting", "jumping", "spreading its wings")
PLACES = ("meadow", "desert", "snow", "night")
STYLES = ("plain", "sketch", "watercolour")
ATTRIBUTES = {"species": SPECIES, "pose": POSES, "place": PLACES, "style": STYLES}

# Ranges of the attributes that words do not name, as fractions of the picture's side.
RANGES = {
    "x": (0.30, 0.70),  # the animal's middle; kept inside the picture whatever its width
    "y": (0.07, 0.16),  # where its feet stand, from the bottom
    "size": (0.46, 0.73),  # its width
    "horizon": (0.40, 0.56),
    "sun": (0.12, 0.88),
}


@dataclass(frozen=True, eq=False)
class Scenes:
    """A batch of n scenes.

    species, pose, place, style: tuples of n words (`ATTRIBUTES` lists them); only a bird can be spreading its wings.
    x, y, size, horizon, sun: float32 (n,), fractions of the picture's side, y and horizon counted from the bottom.
    facing: float32 (n,), +1 looks right and -1 left.  seed: int64 (n,), of hills, plants, patches and pigment.

    Raises ValueError naming the field when a word is unknown, a pose does not fit a species, or lengths differ.
    """

    species: tuple[str, ...]
    pose: tuple[str, ...]
    place: tuple[str, ...]
    style: tuple[str, ...]
    x: Tensor
    y: Tensor
    size: Tensor
    facing: Tensor
    horizon: Tensor
    sun: Tensor
    seed: Tensor

    def __post_init__(self):
        for name, known in ATTRIBUTES.items():
            for word in getattr(self, name):
                if word not in known:
                    raise ValueError(f"{name}: got {word!r}, wanted one of {', '.join(known)}")
        for species, pose in zip(self.species, self.pose, strict=False):
            if pose not in poses_of(species):
                raise ValueError(f"pose: got a {species} {pose}, wanted a {species} {', '.join(poses_of(species))}")
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"scenes: got fields of different lengths {lengths}, wanted one length")

    def __len__(self) -> int:
        return len(self.species)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Scenes):
            return NotImplemented
        return all(
            torch.equal(a, b) if isinstance(a, Tensor) else a == b
            for a, b in ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        )

    def __getitem__(self, index) -> Scenes:
        """The scenes at an int, a slice, a list or tensor of ints, or a boolean mask; always a batch."""
        rows = torch.arange(len(self))[index].reshape(-1)
        return Scenes(
            **{
                f.name: value[rows] if isinstance(value, Tensor) else tuple(value[i] for i in rows.tolist())
                for f in fields(self)
                for value in (getattr(self, f.name),)
            }
        )

    def __add__(self, other: Scenes) -> Scenes:
        """The scenes of both batches, one after the other."""
        return Scenes(
            **{
                f.name: torch.cat([a, b]) if isinstance(a, Tensor) else a + b
                for f in fields(self)
                for a, b in ((getattr(self, f.name), getattr(other, f.name)),)
            }
        )

    def replace(self, **changes) -> Scenes:
        """The same scenes with some fields changed: a word or number for all, or a sequence with one for each.

        Where the changed species cannot keep its pose (only a bird spreads its wings), it stands.
        """
        unknown = set(changes) - {f.name for f in fields(self)}
        if unknown:
            names = ", ".join(f.name for f in fields(self))
            raise ValueError(f"replace: got {', '.join(sorted(unknown))}, wanted fields of a scene: {names}")
        changes = {name: self._column(name, value) for name, value in changes.items()}
        if "species" in changes and "pose" not in changes:
            changes["pose"] = tuple(
                pose if pose in poses_of(species) else "standing"
                for species, pose in zip(changes["species"], self.pose, strict=False)
            )
        return replace(self, **changes)

    def _column(self, name: str, value):
        column = getattr(self, name)
        if not isinstance(column, Tensor):
            return (value,) * len(self) if isinstance(value, str) else tuple(value)
        return torch.as_tensor(value, dtype=column.dtype).expand(len(self)).clone()


def poses_of(species: str) -> tuple[str, ...]:
    """The poses that a species can take: only a bird spreads its wings."""
    return POSES if species == "bird" else POSES[:3]


def sample_scenes(n: int, seed: int, **fixed: str | Sequence[str]) -> Scenes:
    """n scenes drawn at random; scene i depends on (seed, n) alone. Words given by name are fixed:
    `sample_scenes(8, 0, species="horse")`. Raises ValueError for n < 1, a negative seed or an unknown word."""
    if n < 1:
        raise ValueError(f"sample_scenes: got n={n}, wanted at least 1")
    if not 0 <= seed < 2**63:
        raise ValueError(f"sample_scenes: got seed={seed}, wanted 0 <= seed < 2**63")
    random = torch.Generator().manual_seed(seed)

    def words(options):
        return tuple(options[i] for i in torch.randint(len(options), (n,), generator=random).tolist())

    def uniform(name):
        low, high = RANGES[name]
        return low + (high - low) * torch.rand(n, generator=random)

    species, place, style = words(SPECIES), words(PLACES), words(STYLES)
    luck = torch.rand(n, generator=random).tolist()
    if "species" in fixed:
        given = fixed["species"]
        species = (given,) * n if isinstance(given, str) else tuple(given)
    pose = tuple(options[int(u * len(options))] for u, options in zip(luck, map(poses_of, species), strict=True))
    scenes = Scenes(
        species,
        pose,
        place,
        style,
        x=uniform("x"),
        y=uniform("y"),
        size=uniform("size"),
        facing=torch.randint(2, (n,), generator=random) * 2.0 - 1.0,
        horizon=uniform("horizon"),
        sun=uniform("sun"),
        seed=torch.randint(2**31, (n,), generator=random),
    )
    return scenes.replace(**fixed) if fixed else scenes
