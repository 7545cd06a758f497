"""Drawn scenes: coloured shapes at known places, for questions whose answers are certain."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw

SIDE = 288
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
COLOURS = {
    "red": (214, 40, 40),
    "blue": (38, 84, 200),
    "green": (42, 150, 62),
    "yellow": (245, 208, 40),
    "black": (25, 25, 25),
    "orange": (245, 132, 31),
    "purple": (128, 54, 160),
    "pink": (246, 140, 180),
    "brown": (120, 72, 38),
    "white": (250, 250, 250),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "grey": (150, 150, 150),
    "black": (18, 18, 18),
    "light blue": (186, 218, 240),
    "beige": (232, 222, 200),
}


@dataclass(frozen=True)
class Shape:
    """One drawn thing; `box` is (left, top, right, bottom) as fractions of the side."""

    shape: str
    colour: str
    box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> float:
        return self.box[2] - self.box[0]


def coverage(box: tuple[float, float, float, float], side: int) -> list[float]:
    """How much of each of side · side equal cells, row by row, a box covers; the box in fractions of the side."""
    left, top, right, bottom = (v * side for v in box)
    across = [max(0.0, min(right, i + 1) - max(left, i)) for i in range(side)]
    down = [max(0.0, min(bottom, i + 1) - max(top, i)) for i in range(side)]
    return [d * a for d in down for a in across]


@dataclass(frozen=True)
class Scene:
    """What was drawn."""

    background: str
    shapes: tuple[Shape, ...]

    def mirrored(self) -> Scene:
        """The scene as it looks in a mirror."""
        turned = tuple(Shape(s.shape, s.colour, (1 - s.box[2], s.box[1], 1 - s.box[0], s.box[3])) for s in self.shapes)
        return Scene(self.background, turned)


def draw_scene(seed: int) -> tuple[Image.Image, Scene]:
    """A scene of one to five shapes; the same seed gives the same picture.

    A third shows one shape, a third several alike (to be counted), a third a mixture.
    """
    scene, rng = _planned(seed)
    return render(scene, rng), scene


@lru_cache(maxsize=10_000)
def scene_of(seed: int) -> Scene:
    """The scene that `draw_scene` draws, without drawing it."""
    return _planned(seed)[0]


def _planned(seed: int) -> tuple[Scene, random.Random]:
    rng = random.Random(f"scene {seed}")
    background = rng.choice(list(BACKGROUNDS))
    colours = [c for c in COLOURS if c != background]
    mode = rng.choice(("one", "alike", "mixed"))
    count = 1 if mode == "one" else rng.randint(2, 5)
    alike = (rng.choice(SHAPES), rng.choice(colours))
    shapes: list[Shape] = []
    for _ in range(count):
        shape, colour = alike if mode == "alike" else (rng.choice(SHAPES), rng.choice(colours))
        box = _free_box(rng, [s.box for s in shapes], count)
        if box is not None:
            shapes.append(Shape(shape, colour, box))
    return Scene(background, tuple(shapes)), rng


def _free_box(
    rng: random.Random, taken: list[tuple[float, float, float, float]], count: int
) -> tuple[float, float, float, float] | None:
    largest = 0.5 if count == 1 else 0.36 if count <= 3 else 0.27
    for _ in range(200):
        size = rng.uniform(0.14, largest)
        left, top = rng.uniform(0.02, 0.98 - size), rng.uniform(0.02, 0.98 - size)
        box = (left, top, left + size, top + size)
        if all(
            box[2] + 0.02 < o[0] or o[2] + 0.02 < box[0] or box[3] + 0.02 < o[1] or o[3] + 0.02 < box[1] for o in taken
        ):
            return box
    return None


def render(scene: Scene, rng: random.Random) -> Image.Image:
    """The scene as pixels, drawn at twice the size and shrunk so that edges are smooth; colours vary a little."""
    big = 2 * SIDE
    image = Image.new("RGB", (big, big), _varied(BACKGROUNDS[scene.background], rng))
    draw = ImageDraw.Draw(image)
    for item in scene.shapes:
        left, top, right, bottom = (v * big for v in item.box)
        colour = _varied(COLOURS[item.colour], rng)
        if item.shape == "circle":
            draw.ellipse((left, top, right, bottom), fill=colour)
        else:
            points = [(left + x * (right - left), top + y * (bottom - top)) for x, y in outline(item.shape)]
            draw.polygon(points, fill=colour)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _varied(colour: tuple[int, int, int], rng: random.Random) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, c + rng.randint(-12, 12))) for c in colour)
    return red, green, blue


def outline(shape: str) -> list[tuple[float, float]]:
    """The corner points of a shape in the unit square."""
    if shape == "square":
        return [(0, 0), (1, 0), (1, 1), (0, 1)]
    if shape == "triangle":
        return [(0.5, 0), (1, 1), (0, 1)]
    if shape == "cross":
        a, b = 0.33, 0.67
        return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b), (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]
    if shape == "star":
        spokes = [(0.5 if i % 2 == 0 else 0.21, math.pi * i / 5) for i in range(10)]
        return [(0.5 + r * math.sin(t), 0.5 - r * math.cos(t)) for r, t in spokes]
    if shape == "heart":  # x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled into the square
        turn = [2 * math.pi * i / 60 for i in range(60)]
        y = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turn]
        return [(0.5 + math.sin(t) ** 3 / 2, (12 - v) / 29) for t, v in zip(turn, y, strict=True)]
    raise ValueError(f"unknown shape {shape!r}")
