"""Draws the contact sheet of the world's page: `python -m kit.world.sheet`."""

from __future__ import annotations

from pathlib import Path

from kit.world.rendering import render
from kit.world.scene import SPECIES, poses_of, sample_scenes

SHEET = Path(__file__).with_name("sheet.png")


def contact_sheet(columns: int = 12, rows: int = 4, size: int = 96):
    """A PIL image of columns x rows pictures: every species in every pose first, then more of them at random."""
    from PIL import Image

    scenes = sample_scenes(columns * rows, 7)
    rigs = [(species, pose) for species in SPECIES for pose in poses_of(species)]
    species = [s for s, _ in rigs] + list(scenes.species[len(rigs) :])
    pose = [p for _, p in rigs] + list(scenes.pose[len(rigs) :])
    pictures, _ = render(scenes.replace(species=species, pose=pose), size)
    grid = pictures.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * size, columns * size, 3)
    return Image.fromarray((grid * 255).round().byte().numpy())


if __name__ == "__main__":
    contact_sheet().save(SHEET, optimize=True)
    print(SHEET)
