"""The animals' anatomy: every species in every pose as tapered capsules in layers.

A capsule is a segment from (ax, ay) to (bx, by) with a radius at either end. A `Rig` holds the capsules of one animal
that looks right, in units of its own width: x from -0.5 to 0.5, the ground at y = 0. Layers are painted back to front:

    far     the far legs or wing                 outlined
    tail    tail, and what hangs behind          outlined
    coat    one smooth body that carries the pattern of the species, near legs included
    over    mane, ears, horns, near wing         outlined
    face    eye, nose, beak, hooves, collar      bare
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import radians
from typing import NamedTuple

import torch
from torch import Tensor

from kit.world.scene import POSES, SPECIES, poses_of

# Capsules a layer can hold; a rig with fewer is padded with capsules that cover nothing.
LAYERS = {"far": 6, "tail": 3, "coat": 10, "over": 6, "face": 8}
INK = (0.12, 0.10, 0.12)
WHITE = (0.97, 0.96, 0.94)
HOOF = (0.22, 0.17, 0.16)
HORN = (0.93, 0.86, 0.68)
RED = (0.86, 0.14, 0.16)
BLUE, SKY, DEEP, BEAK = (0.20, 0.50, 0.86), (0.16, 0.39, 0.73), (0.11, 0.30, 0.62), (1.0, 0.62, 0.08)

SHADE = 0.65  # of a coat on the far legs


@dataclass(frozen=True)
class Look:
    """Proportions of a four-legged animal, in units of its hip-to-shoulder length, and its colours."""

    leg: float  # height of hip and shoulder
    chest: float  # radii of the trunk at the shoulder and at the hip
    rump: float
    thick: float  # radius of a leg at the top
    neck: float  # length, and degrees above the horizontal when standing
    rise: float
    throat: float  # radius of the neck at its top
    head: float  # length from the poll to the muzzle, and the two radii
    skull: float
    muzzle: float
    tail: float  # length
    coat: tuple
    dark: tuple  # mane, tail tuft
    snout: tuple
    shade: tuple  # far legs
    droop: float = -38.0  # degrees of the head below the horizontal


# fmt: off
LOOKS = {
    "horse": Look(
        leg=0.86, chest=0.26, rump=0.25, thick=0.105, neck=0.62, rise=52,
        throat=0.125, head=0.4, skull=0.125, muzzle=0.085, tail=0.62,
        coat=(0.62, 0.34, 0.17), dark=(0.20, 0.11, 0.08), snout=(0.42, 0.22, 0.12), shade=(0.44, 0.23, 0.11),
    ),
    "zebra": Look(
        leg=0.78, chest=0.28, rump=0.28, thick=0.105, neck=0.54, rise=50,
        throat=0.14, head=0.38, skull=0.13, muzzle=0.09, tail=0.5,
        coat=(0.97, 0.96, 0.93), dark=(0.10, 0.09, 0.11), snout=(0.20, 0.17, 0.18), shade=(0.62, 0.60, 0.60),
    ),
    "giraffe": Look(
        leg=1.05, chest=0.25, rump=0.22, thick=0.095, neck=1.28, rise=63,
        throat=0.1, head=0.36, skull=0.105, muzzle=0.075, tail=0.5, droop=-28.0,
        coat=(0.96, 0.76, 0.36), dark=(0.50, 0.25, 0.10), snout=(0.80, 0.58, 0.30), shade=(0.74, 0.55, 0.24),
    ),
    "cow": Look(
        leg=0.7, chest=0.31, rump=0.31, thick=0.115, neck=0.36, rise=28,
        throat=0.18, head=0.38, skull=0.165, muzzle=0.125, tail=0.58, droop=-32.0,
        coat=(0.97, 0.96, 0.94), dark=(0.14, 0.12, 0.13), snout=(0.95, 0.66, 0.64), shade=(0.66, 0.63, 0.63),
    ),
    "dog": Look(
        leg=0.64, chest=0.27, rump=0.215, thick=0.115, neck=0.36, rise=64,
        throat=0.165, head=0.37, skull=0.205, muzzle=0.115, tail=0.42, droop=-12.0,
        coat=(0.93, 0.70, 0.42), dark=(0.56, 0.31, 0.13), snout=(0.97, 0.88, 0.74), shade=(0.72, 0.50, 0.27),
    ),
}
# fmt: on


class Coat(NamedTuple):
    """The colours of one individual, RGB in [0, 1], in place of its species' own."""

    ground: tuple  # trunk, neck, head and legs, the far ones in its shade
    pattern: tuple  # stripes, patches, blotches, a bird's breast; a horse and a dog have none
    hair: tuple  # mane and tail, a giraffe's, a cow's and a dog's dark parts, a bird's wings


class Capsule(NamedTuple):
    """A segment between two points of the plane (complex numbers), its radius at either end, its colour."""

    a: complex
    b: complex
    ra: float
    rb: float
    colour: tuple


NOTHING = Capsule(0j, 0j, -9.0, -9.0, INK)


class Animal(NamedTuple):
    """Capsules by layer, and the two lines, (from, to), along which the coat's pattern runs."""

    far: list[Capsule]
    tail: list[Capsule]
    coat: list[Capsule]
    over: list[Capsule]
    face: list[Capsule]
    trunk: tuple[complex, complex]
    neck: tuple[complex, complex]


class Stance(NamedTuple):
    """What a pose decides of a four-legged animal: joints, legs as (top, knee, foot), and angles in degrees."""

    hip: complex
    shoulder: complex
    hind: tuple[complex, ...]
    fore: tuple[complex, ...]
    far_hind: tuple[complex, ...]
    far_fore: tuple[complex, ...]
    rise: float  # of the neck
    droop: float  # of the head
    tail: tuple[float, float]  # of the tail and of its tuft
    wag: float  # of a dog's tail
    trail: float = 1.0  # the tail's length, of that when standing


@dataclass(frozen=True)
class Rig:
    """One animal: capsules (P, 6) as (ax, ay, bx, by, ra, rb) and colours (P, 3), in the order of `LAYERS`; `height`
    in units of its width; `lift` of its feet above the ground; `axes` (6,): the trunk's and the neck's origin and
    direction, along which the pattern runs: (x, y, angle) twice."""

    capsules: Tensor
    colours: Tensor
    height: float
    lift: float
    axes: Tensor


def _polar(origin: complex, length: float, degrees: float) -> complex:
    return origin + cmath.rect(length, radians(degrees))


def _dot(at: complex, radius: float, colour: tuple) -> Capsule:
    return Capsule(at, at, radius, radius, colour)


def _ray(origin: complex, length: float, degrees: float, ra: float, rb: float, colour: tuple) -> Capsule:
    return Capsule(origin, _polar(origin, length, degrees), ra, rb, colour)


def _limb(points: tuple[complex, ...], radius: float, tip: float, colour: tuple) -> list[Capsule]:
    """A jointed limb through three points as two capsules that taper from `radius` to `tip`."""
    a, b, c = points
    middle = 0.45 * radius + 0.55 * tip
    return [Capsule(a, b, radius, middle, colour), Capsule(b, c, middle, tip, colour)]


# Four legs


def _standing(k: Look) -> Stance:
    top, knee = (k.leg - 0.05) * 1j, 0.48j * k.leg
    return Stance(
        hip=-0.5 + k.leg * 1j,
        shoulder=0.5 + k.leg * 1j,
        hind=(-0.52 + top, -0.47 + 0.50j * k.leg, -0.53 + 0.05j),
        fore=(0.47 + top, 0.50 + knee, 0.49 + 0.05j),
        far_hind=(-0.36 + top, -0.27 + knee, -0.33 + 0.08j),
        far_fore=(0.30 + top, 0.29 + knee, 0.27 + 0.08j),
        rise=k.rise,
        droop=k.droop,
        tail=(-112, -96),
        wag=122,
    )


def _sitting(k: Look) -> Stance:
    hip = -0.34 + (k.rump + 0.02) * 1j
    shoulder = _polar(hip, 0.94, 50)
    x, y = shoulder.real, shoulder.imag
    return Stance(
        hip,
        shoulder,
        hind=(hip + 0.06 + 0.02j, hip.real + 0.34 + 0.30j, hip.real + 0.42 + 0.05j),
        fore=(shoulder - 0.10j, x + 0.06 + 0.48j * y, x + 0.08 + 0.05j),
        far_hind=(hip + 0.10, hip.real + 0.44 + 0.25j, hip.real + 0.52 + 0.08j),
        far_fore=(shoulder + 0.08 - 0.10j, x + 0.20 + 0.46j * y, x + 0.24 + 0.08j),
        rise=min(k.rise + 20, 84),
        droop=k.droop + 8,
        tail=(196, 172),
        wag=166,
        trail=0.6,
    )


def _jumping(k: Look) -> Stance:
    hip = -0.46 + (k.leg + 0.02) * 1j
    shoulder = _polar(hip, 1.0, 24)
    fore, far_fore = _polar(shoulder, 0.50 * k.leg, -18), _polar(shoulder, 0.50 * k.leg, 8)
    hind, far_hind = _polar(hip, 0.50 * k.leg, 236), _polar(hip, 0.50 * k.leg, 262)
    return Stance(
        hip,
        shoulder,
        hind=(hip, hind, _polar(hind, 0.50 * k.leg, 208)),
        fore=(shoulder - 0.08j, fore, _polar(fore, 0.40 * k.leg, -98)),
        far_hind=(hip, far_hind, _polar(far_hind, 0.50 * k.leg, 226)),
        far_fore=(shoulder - 0.06j, far_fore, _polar(far_fore, 0.40 * k.leg, -72)),
        rise=k.rise - 2,
        droop=k.droop + 16,
        tail=(150, 172),
        wag=150,
    )


def _quadruped(species: str, pose: str) -> Animal:
    k = LOOKS[species]
    stance = {"standing": _standing, "sitting": _sitting, "jumping": _jumping}[pose](k)
    tip = 0.62 * k.thick  # the radius of a foot
    base = stance.shoulder + 0.02 + 0.25j * k.chest
    poll = _polar(base, k.neck, stance.rise)
    nose = _polar(poll, k.head, stance.droop)
    belly = (stance.hip + stance.shoulder) / 2 - 0.05j
    waist = 0.5 * (k.rump + k.chest)
    over, face = _head(species, k, base, poll, nose, stance)
    if species != "dog":
        face += [Capsule(f, f - 0.02j, 1.12 * tip, 1.12 * tip, HOOF) for f in (stance.hind[2], stance.fore[2])]
    return Animal(
        far=[c for leg in (stance.far_hind, stance.far_fore) for c in _limb(leg, 0.95 * k.thick, tip, k.shade)],
        tail=_tail(species, k, stance),
        coat=[
            Capsule(stance.hip, belly, k.rump, waist, k.coat),
            Capsule(belly, stance.shoulder, waist, k.chest, k.coat),
            Capsule(base, poll, 0.5 * (k.chest + k.throat), k.throat, k.coat),
            Capsule(poll, nose, k.skull, k.muzzle, k.coat),
            *_limb(stance.hind, 1.5 * k.thick, tip, k.coat),
            *_limb(stance.fore, 1.12 * k.thick, tip, k.coat),
        ],
        over=over,
        face=face,
        trunk=(stance.hip, stance.shoulder),
        neck=(base, poll),
    )


def _tail(species: str, k: Look, stance: Stance) -> list[Capsule]:
    start = stance.hip - 0.75 * k.rump + 0.45j * k.rump
    if species == "dog":
        return [_ray(start, k.tail, stance.wag, 0.07, 0.045, k.coat)]
    end = _polar(start + 0.15 * k.rump, k.tail * stance.trail, stance.tail[0])
    if species == "horse":  # long hair all the way
        return [Capsule(start, end, 0.078, 0.09, k.dark), _ray(end, 0.16, stance.tail[1], 0.09, 0.03, k.dark)]
    return [Capsule(start, end, 0.052, 0.06, k.shade), _ray(end, 0.16, stance.tail[1], 0.075, 0.03, k.dark)]


def _head(species: str, k: Look, base: complex, poll: complex, nose: complex, stance: Stance):
    """What lies over the coat (mane, ears, horns), and the bare face."""
    droop, up = stance.droop, stance.droop + 90
    crown, back = _polar(poll, 0.75 * k.skull, up), _polar(poll, 0.6 * k.skull, up + 50)
    eye = _polar(_polar(poll, 0.36 * k.head, droop), 0.38 * k.skull, up)
    face = [_dot(_polar(nose, 0.2 * k.muzzle, droop), 1.02 * k.muzzle, k.snout)]
    if species == "dog":
        ear = _polar(poll, 0.62 * k.skull, up + 52)
        over = [_ray(ear, 0.25, -96, 0.075, 0.095, k.dark)]
        throat = _polar(base, 0.62 * k.neck, stance.rise)
        collar = [_polar(throat, d * k.throat, stance.rise + turn) for d, turn in ((0.92, 90), (1.02, -90))]
        face += [_dot(_polar(nose, 0.9 * k.muzzle, droop + 25), 0.055, INK), Capsule(*collar, 0.045, 0.045, RED)]
    else:
        over = _mane(species, k, base, poll, stance)
        over += {
            "horse": [_ray(crown, 0.13, up + 12, 0.06, 0.015, k.coat)],
            "zebra": [_ray(crown, 0.13, up + 12, 0.06, 0.015, k.coat)],
            "giraffe": [
                _ray(crown, 0.15, up - 4, 0.022, 0.045, k.dark),
                _ray(back, 0.15, up + 14, 0.022, 0.045, k.dark),
                _ray(back, 0.14, up + 84, 0.05, 0.02, k.coat),
            ],
            "cow": [
                _ray(crown, 0.17, up - 16, 0.045, 0.012, HORN),
                _ray(back, 0.18, up + 22, 0.045, 0.012, HORN),
                _ray(back, 0.17, up + 78, 0.065, 0.035, k.dark),
            ],
        }[species]
        face.append(_dot(_polar(_polar(nose, 0.45 * k.muzzle, droop), 0.35 * k.muzzle, up), 0.022, INK))
    return over, [*face, _dot(eye, 0.042, INK)]


def _mane(species: str, k: Look, base: complex, poll: complex, stance: Stance) -> list[Capsule]:
    if species == "cow":
        return []
    lift, width = {"horse": (0.95, 0.085), "zebra": (0.9, 0.075), "giraffe": (0.98, 0.04)}[species]
    low = _polar(base, 0.46 * (k.chest + k.throat), stance.rise + 90)
    high = _polar(poll, k.throat * lift, stance.rise + 90)
    mane = [Capsule(low + 0.22 * (high - low), high, width * 0.7, width, k.dark)]
    forelock = [_ray(high, 0.16, stance.droop + 10, 0.07, 0.04, k.dark)]
    return mane + forelock if species == "horse" else mane


# Two legs and wings


def _bird(pose: str) -> Animal:
    """A round blue bird with an orange breast. Its coat is the body and head; the near wing lies over it."""
    floor, pitch = {
        "standing": (0.34, 22),
        "sitting": (0.02, 8),
        "jumping": (0.30, 30),
        "spreading its wings": (0.34, 34),
    }[pose]
    rear = -0.22 + (floor + 0.344) * 1j
    front = _polar(rear, 0.42, pitch)
    head = _polar(front, 0.40, 40 if pose == "sitting" else 58)
    eye = _polar(head, 0.12, 28)
    rump = _polar(rear, 0.24, 180 + pitch * 0.4)
    far, near = _wings(pose, front - 0.10 + 0.10j)
    return Animal(
        far=far + _bird_legs(pose, floor),
        tail=[_ray(rump, 0.52, 180 + pitch * 0.55 - (14 if pose == "sitting" else 0), 0.13, 0.09, DEEP)],
        coat=[
            Capsule(rear, front, 0.344, 0.38, BLUE),
            Capsule(front, head, 0.288, 0.27, BLUE),
            _dot(head, 0.28, BLUE),
        ],
        over=near,
        face=[
            _ray(_polar(head, 0.24, -4), 0.19, -8, 0.085, 0.012, BEAK),
            _dot(eye, 0.072, WHITE),
            _dot(eye + 0.015, 0.048, INK),
        ],
        trunk=(rear, front),
        neck=(front, head),
    )


def _wings(pose: str, shoulder: complex) -> tuple[list[Capsule], list[Capsule]]:
    """The far wing and the near one: two fans of feathers when spread, else one wing folded."""
    if pose == "spreading its wings":
        near = ((0.86, 112), (0.90, 130), (0.86, 148), (0.70, 166))
        far = ((0.80, 82), (0.80, 66), (0.70, 50))
        behind = shoulder + 0.10 + 0.08j
        return [_ray(behind, r, a, 0.14, 0.07, SKY) for r, a in far], [
            _ray(shoulder, r, a, 0.15, 0.075, DEEP) for r, a in near
        ]
    angle = {"standing": 200, "sitting": 186, "jumping": 206}[pose]
    quill, end = _polar(shoulder, 0.30, angle), _polar(shoulder, 0.66, angle + 4)
    return [], [_ray(shoulder, 0.46, angle, 0.20, 0.10, DEEP), Capsule(quill, end, 0.11, 0.04, DEEP)]


def _bird_legs(pose: str, floor: float) -> list[Capsule]:
    """Two thin legs: under the bird, tucked behind it in a jump, out of sight when it sits."""
    if pose == "sitting":
        return []
    legs = []
    for x in (-0.16, 0.02) if pose == "jumping" else (-0.04, 0.16):
        if pose == "jumping":
            knee = x - 0.10 + (floor - 0.08) * 1j
            legs += [Capsule(x + (floor + 0.12) * 1j, knee, 0.035, 0.035, BEAK)]
            legs += [Capsule(knee, knee - 0.15 + 0.01j, 0.035, 0.03, BEAK)]
        else:
            foot = x + 0.02 + 0.04j
            legs += [Capsule(x + (floor + 0.10) * 1j, foot, 0.035, 0.035, BEAK)]
            legs += [Capsule(foot, foot + 0.14 - 0.01j, 0.035, 0.035, BEAK)]
    # Spread feathers fill the layer: the fourth capsule, the far foot, is left out.
    return legs[:3] if pose == "spreading its wings" else legs


# Animals as tensors


@cache
def rig(species: str, pose: str) -> Rig:
    """The rig of a species in a pose, scaled to unit width with its lowest point at y = 0 (`lift` is kept apart)."""
    animal = _bird(pose) if species == "bird" else _quadruped(species, pose)
    parts = [c for layer, room in LAYERS.items() for c in _padded(getattr(animal, layer), room)]
    capsules = torch.tensor([(c.a.real, c.a.imag, c.b.real, c.b.imag, c.ra, c.rb) for c in parts], dtype=torch.float64)
    left, right, bottom, top = _extent(capsules[capsules[:, 4] > 0])
    width, corner = right - left, complex((left + right) / 2, bottom)
    shift = torch.tensor([corner.real, corner.imag] * 2 + [0, 0])
    axes = [v for a, b in (animal.trunk, animal.neck) for v in ((a - corner) / width, cmath.phase(b - a))]
    return Rig(
        ((capsules - shift) / width).float(),
        torch.tensor([c.colour for c in parts]),
        (top - bottom) / width,
        0.20 if pose == "jumping" else 0.0,
        torch.tensor([axes[0].real, axes[0].imag, axes[1], axes[2].real, axes[2].imag, axes[3]]),
    )


def _padded(parts: list[Capsule], room: int) -> list[Capsule]:
    if len(parts) > room:
        raise AssertionError(f"got {len(parts)} capsules in a layer with room for {room}")
    return parts + [NOTHING] * (room - len(parts))


def _extent(capsules: Tensor) -> list[float]:
    """Left, right, bottom and top of some capsules (P, 6)."""
    x, y = capsules[:, 0:4:2], capsules[:, 1:4:2]
    radii = capsules[:, 4:]
    return [v.item() for v in ((x - radii).min(), (x + radii).max(), (y - radii).min(), (y + radii).max())]


@cache
def all_rigs() -> tuple[dict[tuple[str, str], int], Rig]:
    """Every rig stacked, fields with a leading axis, and the row of each (species, pose)."""
    names = [(species, pose) for species in SPECIES for pose in POSES if pose in poses_of(species)]
    rigs = [rig(*name) for name in names]
    stacked = Rig(
        torch.stack([r.capsules for r in rigs]),
        torch.stack([r.colours for r in rigs]),
        torch.tensor([r.height for r in rigs]),
        torch.tensor([r.lift for r in rigs]),
        torch.stack([r.axes for r in rigs]),
    )
    return {name: row for row, name in enumerate(names)}, stacked


def dyed(colours: Tensor, species: Sequence[str], coat: Coat) -> Tensor:
    """The colours (n, P, 3) of n rigs in a coat; eyes, snouts, beaks, hooves, horns and collars keep theirs."""
    colours, shade = colours.clone(), tuple(SHADE * part for part in coat.ground)
    for one, word in zip(colours, species, strict=True):
        k = LOOKS.get(word)
        own = (k.coat, k.dark, k.shade) if k else (BLUE, DEEP, SKY)
        for old, new in zip(own, (coat.ground, coat.hair, shade), strict=True):
            one[(one == torch.tensor(old)).all(1)] = torch.tensor(new)
    return colours
