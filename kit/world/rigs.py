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

from dataclasses import dataclass
from functools import cache
from math import cos, radians, sin

import torch
from torch import Tensor

from kit.world.scene import POSES, SPECIES, poses_of

# Capsules a layer can hold; a rig with fewer is padded with capsules that cover nothing.
LAYERS = {"far": 6, "tail": 3, "coat": 10, "over": 6, "face": 8}
NOTHING = (0.0, 0.0, 0.0, 0.0, -9.0, -9.0)

INK = (0.12, 0.10, 0.12)
WHITE = (0.97, 0.96, 0.94)
HOOF = (0.22, 0.17, 0.16)


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


LOOKS = {
    "horse": Look(
        leg=0.86,
        chest=0.26,
        rump=0.25,
        thick=0.105,
        neck=0.62,
        rise=52,
        throat=0.125,
        head=0.40,
        skull=0.125,
        muzzle=0.085,
        tail=0.62,
        coat=(0.62, 0.34, 0.17),
        dark=(0.20, 0.11, 0.08),
        snout=(0.42, 0.22, 0.12),
        shade=(0.44, 0.23, 0.11),
    ),
    "zebra": Look(
        leg=0.78,
        chest=0.28,
        rump=0.28,
        thick=0.105,
        neck=0.54,
        rise=50,
        throat=0.14,
        head=0.38,
        skull=0.13,
        muzzle=0.09,
        tail=0.50,
        coat=(0.97, 0.96, 0.93),
        dark=(0.10, 0.09, 0.11),
        snout=(0.20, 0.17, 0.18),
        shade=(0.62, 0.60, 0.60),
    ),
    "giraffe": Look(
        leg=1.05,
        chest=0.25,
        rump=0.22,
        thick=0.095,
        neck=1.28,
        rise=63,
        throat=0.10,
        head=0.36,
        skull=0.105,
        muzzle=0.075,
        tail=0.50,
        coat=(0.96, 0.76, 0.36),
        dark=(0.50, 0.25, 0.10),
        snout=(0.80, 0.58, 0.30),
        shade=(0.74, 0.55, 0.24),
        droop=-28.0,
    ),
    "cow": Look(
        leg=0.70,
        chest=0.31,
        rump=0.31,
        thick=0.115,
        neck=0.36,
        rise=28,
        throat=0.18,
        head=0.38,
        skull=0.165,
        muzzle=0.125,
        tail=0.58,
        coat=(0.97, 0.96, 0.94),
        dark=(0.14, 0.12, 0.13),
        snout=(0.95, 0.66, 0.64),
        shade=(0.66, 0.63, 0.63),
        droop=-32.0,
    ),
    "dog": Look(
        leg=0.64,
        chest=0.27,
        rump=0.215,
        thick=0.115,
        neck=0.36,
        rise=64,
        throat=0.165,
        head=0.37,
        skull=0.205,
        muzzle=0.115,
        tail=0.42,
        coat=(0.93, 0.70, 0.42),
        dark=(0.56, 0.31, 0.13),
        snout=(0.97, 0.88, 0.74),
        shade=(0.72, 0.50, 0.27),
        droop=-12.0,
    ),
}


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


def _polar(origin, length, degrees):
    return origin[0] + length * cos(radians(degrees)), origin[1] + length * sin(radians(degrees))


def _limb(points, radius, tip, colour):
    """A jointed limb through three points as two capsules that taper from `radius` to `tip`."""
    a, b, c = points
    middle = 0.45 * radius + 0.55 * tip
    return [((*a, *b, radius, middle), colour), ((*b, *c, middle, tip), colour)]


def _quadruped(species: str, pose: str) -> dict[str, list]:
    k = LOOKS[species]
    foot, tip = 0.05, 0.62 * k.thick
    if pose == "standing":
        hip, shoulder = (-0.5, k.leg), (0.5, k.leg)
        legs = {
            "hind": [(-0.52, k.leg - 0.05), (-0.47, 0.50 * k.leg), (-0.53, foot)],
            "fore": [(0.47, k.leg - 0.05), (0.50, 0.48 * k.leg), (0.49, foot)],
            "far hind": [(-0.36, k.leg - 0.05), (-0.27, 0.48 * k.leg), (-0.33, foot + 0.03)],
            "far fore": [(0.30, k.leg - 0.05), (0.29, 0.48 * k.leg), (0.27, foot + 0.03)],
        }
        rise, droop, tail = k.rise, k.droop, (-112, -96)
    elif pose == "sitting":
        hip = (-0.34, 1.0 * k.rump + 0.02)
        shoulder = _polar(hip, 0.94, 50)
        knee = (hip[0] + 0.34, 0.30)
        legs = {
            "hind": [(hip[0] + 0.06, hip[1] + 0.02), knee, (hip[0] + 0.42, foot)],
            "fore": [
                (shoulder[0], shoulder[1] - 0.10),
                (shoulder[0] + 0.06, 0.48 * shoulder[1]),
                (shoulder[0] + 0.08, foot),
            ],
            "far hind": [(hip[0] + 0.10, hip[1]), (knee[0] + 0.10, knee[1] - 0.05), (hip[0] + 0.52, foot + 0.03)],
            "far fore": [
                (shoulder[0] + 0.08, shoulder[1] - 0.10),
                (shoulder[0] + 0.20, 0.46 * shoulder[1]),
                (shoulder[0] + 0.24, foot + 0.03),
            ],
        }
        rise, droop, tail = min(k.rise + 20, 84), k.droop + 8, (196, 172)
    else:
        pitch = 24
        hip = (-0.46, k.leg + 0.02)
        shoulder = _polar(hip, 1.0, pitch)
        reach = k.leg
        fore = _polar(shoulder, 0.50 * reach, -18)
        far_fore = _polar(shoulder, 0.50 * reach, 8)
        hind = _polar(hip, 0.50 * reach, 236)
        far_hind = _polar(hip, 0.50 * reach, 262)
        legs = {
            "hind": [hip, hind, _polar(hind, 0.50 * reach, 208)],
            "fore": [(shoulder[0], shoulder[1] - 0.08), fore, _polar(fore, 0.40 * reach, -98)],
            "far hind": [hip, far_hind, _polar(far_hind, 0.50 * reach, 226)],
            "far fore": [(shoulder[0], shoulder[1] - 0.06), far_fore, _polar(far_fore, 0.40 * reach, -72)],
        }
        rise, droop, tail = k.rise - 2, k.droop + 16, (150, 172)

    base = (shoulder[0] + 0.02, shoulder[1] + 0.25 * k.chest)
    poll = _polar(base, k.neck, rise)
    nose = _polar(poll, k.head, droop)
    belly = ((hip[0] + shoulder[0]) / 2, (hip[1] + shoulder[1]) / 2 - 0.05)
    end = _polar((hip[0] - 0.6 * k.rump, hip[1] + 0.45 * k.rump), k.tail * (0.6 if pose == "sitting" else 1.0), tail[0])
    start = (hip[0] - 0.75 * k.rump, hip[1] + 0.45 * k.rump)
    tuft = _polar(end, 0.16, tail[1])

    far = [part for name in ("far hind", "far fore") for part in _limb(legs[name], 0.95 * k.thick, tip, k.shade)]
    coat = [
        ((*hip, *belly, k.rump, 0.5 * (k.rump + k.chest)), k.coat),
        ((*belly, *shoulder, 0.5 * (k.rump + k.chest), k.chest), k.coat),
        ((*base, *poll, 0.5 * (k.chest + k.throat), k.throat), k.coat),
        ((*poll, *nose, k.skull, k.muzzle), k.coat),
        *_limb(legs["hind"], 1.5 * k.thick, tip, k.coat),
        *_limb(legs["fore"], 1.12 * k.thick, tip, k.coat),
    ]
    thin = 0.30 if species in ("horse",) else 0.20
    tails = [((*start, *end, thin * 0.26, thin * 0.30), k.dark if species == "horse" else k.shade)]
    tails.append(((*end, *tuft, thin * 0.30 if species == "horse" else 0.075, 0.03), k.dark))
    if species == "dog":
        tails = [
            (
                (
                    *start,
                    *_polar(start, k.tail, {"standing": 122, "sitting": 166, "jumping": 150}[pose]),
                    0.07,
                    0.045,
                ),
                k.coat,
            )
        ]

    over, face = _head(species, k, base, poll, nose, rise, droop)
    hooves = (
        []
        if species == "dog"
        else [
            ((*legs[name][2], *_polar(legs[name][2], 0.02, 270), tip * 1.12, tip * 1.12), HOOF)
            for name in ("hind", "fore")
        ]
    )
    return {
        "far": far,
        "tail": tails,
        "coat": coat,
        "over": over,
        "face": face + hooves,
        "trunk": (hip, shoulder),
        "neck": (base, poll),
    }


def _head(species, k, base, poll, nose, rise, droop):
    """Mane, ears and horns; then muzzle, eye and nostril (or collar)."""
    up = droop + 90
    crown = _polar(poll, 0.75 * k.skull, up)
    back = _polar(poll, 0.6 * k.skull, up + 50)
    eye = _polar(_polar(poll, 0.36 * k.head, droop), 0.38 * k.skull, up)
    tip = _polar(nose, 0.2 * k.muzzle, droop)
    nostril = _polar(_polar(nose, 0.45 * k.muzzle, droop), 0.35 * k.muzzle, up)
    over = []
    if species in ("horse", "zebra", "giraffe"):
        lift = {"horse": 0.95, "zebra": 0.9, "giraffe": 0.98}[species]
        low = _polar(base, 0.5 * (k.chest + k.throat) * 0.92, rise + 90)
        high = _polar(poll, k.throat * lift, rise + 90)
        low = (low[0] + 0.22 * (high[0] - low[0]), low[1] + 0.22 * (high[1] - low[1]))
        width = {"horse": 0.085, "zebra": 0.075, "giraffe": 0.04}[species]
        over.append(((*low, *high, width * 0.7, width), k.dark))
    if species == "horse":
        over.append(((*high, *_polar(high, 0.16, droop + 10), 0.07, 0.04), k.dark))
    if species in ("horse", "zebra"):
        over.append(((*crown, *_polar(crown, 0.13, up + 12), 0.06, 0.015), k.coat))
    if species == "giraffe":
        over.append(((*crown, *_polar(crown, 0.15, up - 4), 0.022, 0.045), k.dark))
        over.append(((*back, *_polar(back, 0.15, up + 14), 0.022, 0.045), k.dark))
        over.append(((*back, *_polar(back, 0.14, up + 84), 0.05, 0.02), k.coat))
    if species == "cow":
        over.append(((*crown, *_polar(crown, 0.17, up - 16), 0.045, 0.012), (0.93, 0.86, 0.68)))
        over.append(((*back, *_polar(back, 0.18, up + 22), 0.045, 0.012), (0.93, 0.86, 0.68)))
        over.append(((*back, *_polar(back, 0.17, up + 78), 0.065, 0.035), k.dark))
    if species == "dog":
        ear = _polar(poll, 0.62 * k.skull, up + 52)
        over.append(((*ear, *_polar(ear, 0.25, -96), 0.075, 0.095), k.dark))
    face = [((*tip, *tip, 1.02 * k.muzzle, 1.02 * k.muzzle), k.snout)]
    if species == "dog":
        front = _polar(nose, 0.9 * k.muzzle, droop + 25)
        face.append(((*front, *front, 0.055, 0.055), INK))
        a, b = _polar(base, 0.62 * k.neck, rise), _polar(base, 0.62 * k.neck, rise)
        a, b = _polar(a, k.throat * 0.92, rise + 90), _polar(b, k.throat * 1.02, rise - 90)
        face.append(((*a, *b, 0.045, 0.045), (0.86, 0.14, 0.16)))
    else:
        face.append(((*nostril, *nostril, 0.022, 0.022), INK))
    face.append(((*eye, *eye, 0.042, 0.042), INK))
    return over, face


BLUE, DEEP, CREAM, BEAK = (0.20, 0.50, 0.86), (0.11, 0.30, 0.62), (0.99, 0.72, 0.42), (1.0, 0.62, 0.08)


def _bird(pose: str) -> dict[str, list]:
    """A round blue bird with an orange breast. Its coat is the body and head; the near wing lies over it."""
    floor = {"standing": 0.34, "sitting": 0.02, "jumping": 0.30, "spreading its wings": 0.34}[pose]
    pitch = {"standing": 22, "sitting": 8, "jumping": 30, "spreading its wings": 34}[pose]
    radius = 0.40
    rear = (-0.22, floor + 0.86 * radius)
    front = _polar(rear, 0.42, pitch)
    head = _polar(front, 0.40, 58 if pose != "sitting" else 40)
    beak = _polar(head, 0.24, -4)
    eye = _polar(head, 0.12, 28)
    rump = _polar(rear, 0.24, 180 + pitch * 0.4)
    tail = _polar(rump, 0.52, 180 + pitch * 0.55 - (14 if pose == "sitting" else 0))
    coat = [
        ((*rear, *front, 0.86 * radius, radius * 0.95), BLUE),
        ((*front, *head, radius * 0.72, 0.27), BLUE),
        ((*head, *head, 0.28, 0.28), BLUE),
    ]
    tails = [((*rump, *tail, 0.13, 0.09), DEEP)]
    shoulder = (front[0] - 0.10, front[1] + 0.10)
    face = [
        ((*beak, *_polar(beak, 0.19, -8), 0.085, 0.012), BEAK),
        ((*eye, *eye, 0.072, 0.072), WHITE),
        ((*_polar(eye, 0.015, 0), *_polar(eye, 0.015, 0), 0.048, 0.048), INK),
    ]
    far, over = [], []
    if pose == "spreading its wings":
        over = [
            ((*shoulder, *_polar(shoulder, reach, angle), 0.15, 0.075), DEEP)
            for reach, angle in ((0.86, 112), (0.90, 130), (0.86, 148), (0.70, 166))
        ]
        other = (shoulder[0] + 0.10, shoulder[1] + 0.08)
        far = [
            ((*other, *_polar(other, reach, angle), 0.14, 0.07), (0.16, 0.39, 0.73))
            for reach, angle in ((0.80, 82), (0.80, 66), (0.70, 50))
        ]
    else:
        angle = {"standing": 200, "sitting": 186, "jumping": 206}[pose]
        over = [
            ((*shoulder, *_polar(shoulder, 0.46, angle), 0.20, 0.10), DEEP),
            ((*_polar(shoulder, 0.30, angle), *_polar(shoulder, 0.66, angle + 4), 0.11, 0.04), DEEP),
        ]
    if pose in ("standing", "spreading its wings"):
        for x in (-0.04, 0.16):
            leg = [(x, floor + 0.10), (x + 0.02, 0.04), (x + 0.16, 0.03)]
            far += [((*a, *b, 0.035, 0.035), BEAK) for a, b in (leg[:2], leg[1:])][: 6 - len(far)]
    if pose == "jumping":
        for x in (-0.16, 0.02):
            knee = (x - 0.10, floor - 0.08)
            far += [
                ((x, floor + 0.12, *knee, 0.035, 0.035), BEAK),
                ((*knee, knee[0] - 0.15, knee[1] + 0.01, 0.035, 0.03), BEAK),
            ]
    return {
        "far": far,
        "tail": tails,
        "coat": coat,
        "over": over,
        "face": face,
        "trunk": (rear, front),
        "neck": (front, head),
    }


@cache
def rig(species: str, pose: str) -> Rig:
    """The rig of a species in a pose, scaled to unit width with its lowest point at y = 0 (`lift` is kept apart)."""
    parts = _bird(pose) if species == "bird" else _quadruped(species, pose)
    capsules, colours = [], []
    for layer, room in LAYERS.items():
        layer_parts = parts[layer]
        if len(layer_parts) > room:
            raise AssertionError(f"{species} {pose}: {len(layer_parts)} capsules in {layer}, room for {room}")
        layer_parts = layer_parts + [(NOTHING, INK)] * (room - len(layer_parts))
        capsules += [capsule for capsule, _ in layer_parts]
        colours += [colour for _, colour in layer_parts]
    capsules = torch.tensor(capsules, dtype=torch.float64)
    seen = capsules[capsules[:, 4] > 0]
    reach = seen[:, 4:].repeat_interleave(2, dim=1).view(-1, 2, 2)  # (P, end, xy)
    ends = seen[:, :4].view(-1, 2, 2)
    low, high = (ends - reach).amin((0, 1)), (ends + reach).amax((0, 1))
    width, height = (high - low).tolist()
    shift = torch.tensor([(low[0] + high[0]) / 2, low[1]]).repeat(2)
    capsules = torch.cat([(capsules[:, :4] - shift) / width, capsules[:, 4:] / width], dim=1)

    def axis(name):
        (ax, ay), (bx, by) = (((x - shift[0]) / width, (y - shift[1]) / width) for x, y in parts[name])
        return [ax, ay, torch.atan2(torch.as_tensor(by - ay), torch.as_tensor(bx - ax))]

    lift = {"jumping": 0.20}.get(pose, 0.0)
    return Rig(
        capsules.float(),
        torch.tensor(colours),
        height / width,
        lift,
        torch.tensor([float(v) for v in axis("trunk") + axis("neck")]),
    )


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
