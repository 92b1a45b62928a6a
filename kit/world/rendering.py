"""Scenes to pictures, by signed distance functions in plain torch.

Everything is a function of continuous coordinates (u to the right, v up, both 0 to 1 over the picture), so a scene
looks the same at every size; edges are one pixel soft. The mask is the animal's silhouette, without its shadow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kit.world.rigs import INK, LAYERS, Coat, all_rigs, dyed
from kit.world.scene import PLACES, SPECIES, STYLES, Scenes

CHUNK = 8  # pictures drawn at once: their planes stay in the processor's cache
OUTLINE = 0.008  # half the width of an ink line, as a fraction of the picture's side
TALLEST = 0.86  # an animal taller than this fraction of the picture is drawn narrower than its scene says

#         sky above, at the horizon, far hill, ground, sun, plant
PALETTES = {
    "meadow": "#5ca8f0 #c7e8fc #66ad61 #85c757 #ffe673 #338042",
    "desert": "#faa86b #ffdea3 #d98c4f #edbf75 #ff7338 #5c8f54",
    "snow": "#99b8d6 #dbe8f5 #bdd1e8 #f0f7ff #fff7db #42706b",
    "night": "#0a0f33 #29306b #1a2945 #263d4a #f7f5d6 #0f212e",
}
PAPER = (0.98, 0.965, 0.93)


def render(scenes: Scenes, size: int = 128, device=None, coat: Coat | None = None) -> tuple[Tensor, Tensor]:
    """Draws n scenes: pictures float32 (n, 3, size, size) in [0, 1] and masks (n, 1, size, size) in [0, 1], the
    fraction of each pixel that the animal covers. `coat` colours all the animals as no words of the world can: one
    individual, wherever it is. Raises ValueError for a size outside 8 to 2048, an empty batch or a colour that is none.
    """
    if not 8 <= size <= 2048:
        raise ValueError(f"render: got size={size}, wanted 8 to 2048 pixels")
    if len(scenes) == 0:
        raise ValueError("render: got no scenes, wanted at least one")
    if coat is not None and not all(len(part) == 3 and min(part) >= 0 and max(part) <= 1 for part in coat):
        raise ValueError(f"render: got {coat}, wanted colours of three numbers from 0 to 1")
    pictures = torch.empty(len(scenes), 3, size, size, device=device)
    masks = torch.empty(len(scenes), 1, size, size, device=device)
    with torch.inference_mode():
        # Like with like: a chunk of one species skips the capsules and patterns of the others.
        alike = sorted(range(len(scenes)), key=lambda i: (scenes.species[i], scenes.style[i], scenes.pose[i]))
        for i in range(0, len(scenes), CHUNK):
            rows = alike[i : i + CHUNK]
            pictures[rows], masks[rows] = _Painter(scenes[rows], size, device, coat).paint()
    return pictures, masks


def _uniforms(seed: Tensor, count: int) -> Tensor:
    """(n, count) numbers in [0, 1) from integer seeds: the same on every device (a multiplicative hash)."""
    x = seed[:, None] * 747796405 + torch.arange(1, count + 1, device=seed.device) * 2891336453
    for shift, factor in ((15, 739768061), (13, 1274126177), (16, 668265263)):
        x = (x & 0x7FFFFFFF) ^ ((x & 0x7FFFFFFF) >> shift)
        x = x * factor
    x = x & 0x7FFFFFFF
    return (((x >> 16) ^ x) & 0xFFFFFF).float() / 2**24


def _colours(hexes: str) -> list[list[float]]:
    return [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in hexes.split()]


class _Painter:
    """One chunk of pictures under way. Planes are (n, size, size); numbers per picture are (n, 1, 1)."""

    def __init__(self, scenes: Scenes, size: int, device, coat: Coat | None):
        self.n, self.size, self.pixel, self.coat = len(scenes), size, 1.0 / size, coat
        rows, rigs = all_rigs()
        which = torch.tensor([rows[pair] for pair in zip(scenes.species, scenes.pose, strict=True)])

        def column(values):
            return torch.as_tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)

        self.luck = _uniforms(scenes.seed.to(device), 24)
        self.palette = torch.tensor([_colours(PALETTES[place]) for place in scenes.place], device=device)  # (n, 6, 3)
        self.species = column([SPECIES.index(w) for w in scenes.species])
        self.place = column([PLACES.index(w) for w in scenes.place])
        self.style = column([STYLES.index(w) for w in scenes.style])
        colours = rigs.colours[which] if coat is None else dyed(rigs.colours[which], scenes.species, coat)
        self.capsules, self.colours = rigs.capsules[which].to(device), colours.to(device)
        self.axes = rigs.axes[which].to(device)
        height, lift = column(rigs.height[which]), column(rigs.lift[which])
        self.width = torch.minimum(column(scenes.size), TALLEST / (height + lift))
        half = self.width / 2 + 0.026  # an outline, and what watercolour bends
        self.x = torch.minimum(torch.maximum(column(scenes.x), half), 1 - half)
        room = 0.97 - (height + lift) * self.width
        self.ground = torch.minimum(column(scenes.y), room)
        self.lift, self.facing = lift, column(scenes.facing)
        self.horizon, self.sun = column(scenes.horizon), column(scenes.sun)

        axis = (torch.arange(size, device=device) + 0.5) / size
        self.u = axis.view(1, 1, -1).expand(self.n, size, size)
        self.v = axis.flip(0).view(1, -1, 1).expand(self.n, size, size)
        if (self.style == STYLES.index("watercolour")).any():
            self._run_the_edges()
        self.canvas = torch.empty(self.n, 3, size, size, device=device)

    # Layers of the picture, back to front.

    def paint(self) -> tuple[Tensor, Tensor]:
        self._sky()
        self._land()
        self._plants()
        mask = self._animal()
        self._finish()
        return self.canvas.clamp_(0, 1), mask

    def _run_the_edges(self):
        """Watercolour runs: its shapes are drawn in slightly bent coordinates."""
        wet = (self.style == STYLES.index("watercolour")).float() * 0.007
        a, b = self._phase(20), self._phase(21)
        u, v = self.u, self.v
        self.u = u + wet * (torch.sin(23 * v + a) + torch.sin(41 * u + b))
        self.v = v + wet * (torch.sin(19 * u + b) + torch.sin(37 * v + a))

    def _sky(self):
        height = ((self.v - self.horizon) / (1 - self.horizon)).clamp_(0, 1)
        top, low = self.palette[:, 0], self.palette[:, 1]
        self.canvas[:] = low[:, :, None, None] + height[:, None] * (top - low)[:, :, None, None]
        self._stars()
        rise = 0.80 + 0.10 * self._luck(0)
        distance = self._circle(self.sun, rise, 0.075)
        glow = (1 - distance / 0.16).clamp_(0, 1).square_() * 0.35
        self._blend(self.palette[:, 4], glow)
        self._blend(self.palette[:, 4], self._cover(distance))

    def _stars(self):
        night = (self.place == PLACES.index("night")).float()
        if night.any():
            nearest = torch.full_like(self.canvas[:, 0], 9.0)
            for i in range(5):
                x = (i + 0.15 + 0.7 * self._luck(8 + i)) / 5
                nearest = torch.minimum(nearest, self._circle(x, 0.62 + 0.34 * self._luck(13 + i), 0.011))
            self._blend(self.palette[:, 4], self._cover(nearest) * night)

    def _land(self):
        far = self.horizon + 0.035 * torch.sin(self._wave(5.0, 3.0) * self.u + self._phase(1))
        far = far + 0.015 * torch.sin(13 * self.u + self._phase(2))
        near = self.horizon - 0.10 + 0.025 * torch.sin(self._wave(4.0, 4.0) * self.u + self._phase(3))
        self._fill(self.v - far, self.palette[:, 2])
        self.hills = (self.v - near).abs().minimum((self.v - far).abs())
        self._fill(self.v - near, self.palette[:, 3])
        depth = ((near - self.v) / near).clamp_(0, 1)  # the ground darkens towards the reader
        self.canvas.mul_((1 - 0.16 * depth)[:, None])

    def _plants(self):
        """One plant of the place on the far hill: a round tree, a cactus, a fir, and by night a dark tree."""
        left = (self._luck(4) < 0.5).float()
        x = left * (0.06 + 0.14 * self._luck(5)) + (1 - left) * (0.80 + 0.14 * self._luck(5))
        tall = 0.15 + 0.05 * self._luck(6)
        px, py = (self.u - x) / tall, (self.v - (self.horizon - 0.04)) / tall
        in_desert, in_snow = self.place == PLACES.index("desert"), self.place == PLACES.index("snow")
        tree = _length(px, py - 0.85) - 0.42
        fir = torch.maximum(px.abs() * 0.9 + (py - 1.35) * 0.38, 0.18 - py)
        self.plant = torch.where(in_desert, _cactus(px, py), torch.where(in_snow, fir, tree)) * tall
        trunk = _capsule(px, py, 0, 0, 0, 0.6, 0.07, 0.05) * tall
        wood = torch.tensor([0.40, 0.27, 0.18], device=px.device) * self._dim()
        self._fill(trunk, wood, ~in_desert)
        self._fill(self.plant, self.palette[:, 5])

    def _dim(self):
        return (1 - 0.6 * (self.place == PLACES.index("night")).float()).view(-1, 1)

    def _animal(self) -> Tensor:
        # Shadow on the ground, fainter under a jump.
        dx = (self.u - self.x) / (0.46 * self.width)
        dy = (self.v - self.ground) / 0.028
        shadow = (1.25 - _length(dx, dy)).clamp_(0, 0.5) * 2
        self.canvas.mul_((1 - shadow * (0.34 - 0.5 * self.lift))[:, None])

        # The animal's own coordinates, in units of its width.
        px = (self.u - self.x) * self.facing / self.width
        py = (self.v - self.ground) / self.width - self.lift
        silhouette, first = None, 0
        for layer, room in LAYERS.items():
            capsules, colours = self.capsules[:, first : first + room], self.colours[:, first : first + room]
            first += room
            if layer == "coat":
                distance = self._coat(px, py, capsules, colours)
            else:
                distance = self._parts(px, py, capsules, colours, outline=layer != "face")
            silhouette = distance if silhouette is None else torch.minimum(silhouette, distance)
        self.outline = silhouette
        return self._cover(silhouette - OUTLINE)[:, None]

    def _parts(self, px, py, capsules, colours, outline: bool) -> Tensor:
        """Paints capsules of one layer, each in its colour, over one outline; returns their distance in the picture."""
        used = [j for j in range(capsules.shape[1]) if (capsules[:, j, 4] > 0).any()]
        if not used:
            return torch.full_like(px, 9.0)
        distances = [self._distance(px, py, capsules[:, j]) for j in used]
        union = torch.stack(distances).amin(0) if len(distances) > 1 else distances[0]
        if outline:
            self._blend(self._ink(), self._cover(union - OUTLINE))
        for j, distance in zip(used, distances, strict=True):
            self._blend(colours[:, j], self._cover(distance))
        return union

    def _coat(self, px, py, capsules, colours) -> Tensor:
        """The body as one smooth union, in the pattern of the species, lit from above."""
        soft = 0.028
        used = [j for j in range(capsules.shape[1]) if (capsules[:, j, 4] > 0).any()]
        body, trunk = None, None
        for j in used:
            distance = self._distance(px, py, capsules[:, j]) / self.width
            if j not in (2, 3):  # all but neck and head: there the pattern runs along the trunk
                trunk = distance if trunk is None else torch.minimum(trunk, distance)
            if body is None:
                body = distance
            else:  # polynomial smooth minimum
                mix = (soft - (body - distance).abs()).clamp_(min=0).div_(soft)
                body = torch.minimum(body, distance).sub_(mix.square_().mul_(soft / 4))
        self._blend(self._ink(), self._cover(body * self.width - OUTLINE))
        colour = self._pattern(px, py, trunk, colours[:, 0])
        top = (py / 0.9).clamp_(0, 1)
        light = 0.80 + 0.28 * top - 0.10 * (1 + body / 0.06).clamp_(0, 1)
        cover = self._cover(body * self.width)
        for c in range(3):
            self.canvas[:, c].lerp_((colour[c] * light).clamp_(max=1), cover)
        return body * self.width

    def _pattern(self, px, py, trunk, base) -> list[Tensor]:
        """The coat's three colour planes: plain, stripes, patches, blotches, an orange breast."""
        planes = [base[:, c].view(-1, 1, 1).expand_as(px) for c in range(3)]

        def paint(where, species, colour):
            amount = where * (self.species == SPECIES.index(species)).float()
            colour = self.coat.pattern if self.coat else colour
            return [plane + amount * (c - plane) for plane, c in zip(planes, colour, strict=True)]

        present = {SPECIES[int(i)] for i in self.species.flatten().tolist()}
        pixel = self.pixel / self.width  # of the picture, in the animal's units
        if present & {"zebra", "giraffe", "cow"}:
            on_neck = trunk > 0.014  # beyond the fillets of the smooth union
            tx, ty = (
                torch.where(on_neck, neck, body)
                for neck, body in zip(self._along(px, py, 3), self._along(px, py, 0), strict=True)
            )
        if "zebra" in present:
            stripe = torch.sin(2 * math.pi * (tx + 0.10 * ty) / 0.15 + self._phase(16))
            planes = paint((stripe * 0.024 / pixel + 0.5).clamp_(0, 1), "zebra", (0.10, 0.09, 0.11))
        if "giraffe" in present:
            gx, gy = 38 * tx + self._phase(17), 38 * ty + self._phase(18)
            cell = torch.cos(gx) + torch.cos(0.5 * gx + 0.866 * gy) + torch.cos(0.5 * gx - 0.866 * gy)
            planes = paint(((cell - 0.05) * 0.025 / pixel + 0.5).clamp_(0, 1), "giraffe", (0.66, 0.36, 0.14))
        if "cow" in present:
            blot = torch.sin(11 * tx + self._phase(16)) + torch.sin(13 * ty + 7 * tx + self._phase(17))
            blot = blot + torch.sin(9 * tx - 12 * ty + self._phase(18))
            planes = paint(((blot - 0.55) * 0.09 / pixel + 0.5).clamp_(0, 1), "cow", (0.13, 0.11, 0.12))
        if "bird" in present:
            tx, ty = self._along(px, py, 0)
            breast = ((0.30 - _length(tx - 0.30, ty + 0.20)) / pixel).clamp_(0, 1)
            planes = paint(breast, "bird", (0.99, 0.62, 0.26))
        return planes

    def _along(self, px, py, first):
        """Coordinates along and across the trunk (first = 0) or the neck (first = 3), from its origin."""
        ox, oy, angle = (self.axes[:, first + i].view(-1, 1, 1) for i in range(3))
        cos, sin = torch.cos(angle), torch.sin(angle)
        dx, dy = px - ox, py - oy
        return dx * cos + dy * sin, dy * cos - dx * sin

    def _finish(self):
        """Style, over the finished picture."""
        for style, draw in (("sketch", self._sketch), ("watercolour", self._watercolour)):
            chosen = (self.style == STYLES.index(style)).float()
            if chosen.any():
                draw(chosen)

    def _sketch(self, chosen):
        """Ink lines over a faint wash on paper."""
        grey = self.canvas.mean(1, keepdim=True)
        wash = self._paper() * (0.52 + 0.48 * (0.5 * self.canvas + 0.5 * grey))
        self.canvas.lerp_(wash, chosen[:, None])
        animal = self.outline.abs() - 0.004
        lines = torch.minimum(animal, torch.minimum(self.hills, self.plant.abs()) - 0.001)
        lines = torch.where(self.outline < -0.004, animal, lines)  # no hill shines through the animal
        self._blend((0.17, 0.16, 0.20), self._cover(lines - 0.003) * chosen)

    def _watercolour(self, chosen):
        """Thin pigment that pools here and there, and fades to paper at a ragged edge."""
        border = torch.minimum(torch.minimum(self.u, 1 - self.u), torch.minimum(self.v, 1 - self.v))
        ragged = border - 0.05 + 0.018 * torch.sin(17 * self.u + 11 * self.v + self._phase(22))
        pool = torch.sin(9 * self.u + self._phase(19)) + torch.sin(8 * self.v - 5 * self.u + self._phase(23))
        thin = 0.26 + 0.22 * (0.5 + 0.25 * pool)
        paper = self._paper()
        pigment = self.canvas + thin[:, None] * (paper - self.canvas)
        pigment = paper + (ragged / 0.05).clamp_(0, 1)[:, None] * (pigment - paper)
        self.canvas.lerp_(pigment, chosen[:, None])

    # Small tools.

    def _luck(self, i):
        return self.luck[:, i].view(-1, 1, 1)

    def _phase(self, i):
        return 2 * math.pi * self._luck(i)

    def _wave(self, low, spread):
        return low + spread * self._luck(7)

    def _circle(self, x, y, radius):
        return _length(self.u - x, self.v - y) - radius

    def _distance(self, px, py, capsule):
        """Signed distance to one capsule per picture, in the picture's units."""
        ax, ay, bx, by, ra, rb = (capsule[:, i].view(-1, 1, 1) for i in range(6))
        return _capsule(px, py, ax, ay, bx, by, ra, rb) * self.width

    def _cover(self, distance):
        """The fraction of a pixel inside a shape whose edge is at this signed distance."""
        return (0.5 - distance / self.pixel).clamp_(0, 1)

    def _paper(self):
        return torch.tensor(PAPER, device=self.canvas.device).view(1, 3, 1, 1)

    def _ink(self):
        return torch.tensor(INK, device=self.canvas.device).expand(self.n, 3)

    def _fill(self, distance, colour, where=1.0):
        self._blend(colour, self._cover(distance) * where)

    def _blend(self, colour, cover):
        """Mixes a colour, (3,) or (n, 3), into the canvas by a plane of coverage."""
        colour = torch.as_tensor(colour, device=self.canvas.device).expand(self.n, 3)
        for c in range(3):
            self.canvas[:, c].lerp_(colour[:, c].view(-1, 1, 1).expand_as(cover), cover)


def _capsule(px, py, ax, ay, bx, by, ra, rb):
    """Distance to a segment less a radius that runs from ra to rb along it (exact for ra = rb)."""
    dx, dy = bx - ax, by - ay
    x, y = px - ax, py - ay
    scale = 1 / (dx * dx + dy * dy + 1e-9)
    along = (x * (dx * scale)).add_(y * (dy * scale)).clamp_(0, 1)
    return _length(x - along * dx, y - along * dy).sub_(along.mul_(rb - ra)).sub_(ra)


def _cactus(px, py):
    """A stem with two bent arms."""
    parts = [
        _capsule(px, py, 0, 0, 0, 1.05, 0.13, 0.12),
        _capsule(px, py, 0.3, 0.5, 0.3, 0.85, 0.085, 0.08),
        _capsule(px, py, 0, 0.45, 0.3, 0.5, 0.08, 0.08),
        _capsule(px, py, -0.3, 0.62, -0.3, 0.95, 0.08, 0.075),
        _capsule(px, py, 0, 0.58, -0.3, 0.62, 0.075, 0.075),
    ]
    return torch.stack(parts).amin(0)


def _length(x, y):
    return (x * x).addcmul_(y, y).sqrt_()  # twice as fast as torch.hypot, and these numbers cannot overflow
