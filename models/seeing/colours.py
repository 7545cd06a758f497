"""The main colours of a picture, by the eleven basic colour terms (Berlin & Kay 1969)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 96  # pixels of the longer side that are looked at
LEAST_SHARE = 0.08

# Hue in degrees from which each saturated colour begins; red closes the circle.
_HUES = (
    (0, "red"),
    (16, "orange"),
    (45, "yellow"),
    (70, "green"),
    (170, "blue"),
    (255, "purple"),
    (295, "pink"),
    (342, "red"),
)


@dataclass(frozen=True)
class ColourShare:
    """A colour's name and the share of the picture that it covers, 0 … 1."""

    name: str
    share: float


def main_colours(image: Image.Image, most: int = 3) -> tuple[ColourShare, ...]:
    """The colours that cover at least 8 % of an RGB image, the largest first."""
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.NEAREST) if scale < 1 else image
    hsv = np.asarray(small.convert("HSV"), dtype=np.float32).reshape(-1, 3)
    names, counts = np.unique(_named(hsv[:, 0] * (360 / 255), hsv[:, 1] / 255, hsv[:, 2] / 255), return_counts=True)
    shares = [ColourShare(str(n), float(c) / len(hsv)) for n, c in zip(names, counts, strict=True)]
    return tuple(sorted((s for s in shares if s.share >= LEAST_SHARE), key=lambda s: -s.share)[:most])


def _named(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A colour name per pixel. Hue in degrees, saturation and value 0 … 1."""
    name = np.full(hue.shape, "red", dtype="<U8")
    for start, colour in _HUES:
        name[hue >= start] = colour
    name[(hue >= 295) & (hue < 320) & (value < 0.7)] = "purple"
    name[(hue < 45) & (saturation < 0.85) & (value < 0.7)] = "brown"
    name[(hue >= 16) & (hue < 45) & (saturation >= 0.85) & (value < 0.6)] = "brown"
    name[((hue < 16) | (hue >= 320)) & (saturation < 0.55) & (value > 0.75)] = "pink"
    grey = saturation < np.where(value > 0.6, 0.13, 0.2)
    name[grey] = "grey"
    name[grey & (value > 0.82)] = "white"
    name[value < 0.18] = "black"
    return name
