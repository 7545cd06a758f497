"""How a picture or a frame has to be turned to stand upright."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from av import VideoFrame

Turn = Image.Transpose

SIDEWAYS = (Turn.ROTATE_90, Turn.ROTATE_270, Turn.TRANSPOSE, Turn.TRANSVERSE)
"""The turns that exchange width and height."""

EXIF_ORIENTATION = 0x0112
EXIF_TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
"""EXIF 2.32, tag Orientation → what makes the picture upright."""

_MATRIX_TURNS = {
    (-1, 0, 0, 1): Turn.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Turn.ROTATE_180,
    (1, 0, 0, -1): Turn.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Turn.TRANSPOSE,
    (0, 1, -1, 0): Turn.ROTATE_270,
    (0, -1, -1, 0): Turn.TRANSVERSE,
    (0, -1, 1, 0): Turn.ROTATE_90,
}
"""Signs of (a, b, c, d) in the display matrix of ISO/IEC 14496-12, which maps (x, y) to (ax + cy, bx + dy)."""


def exif_turn(image: Image.Image) -> Turn | None:
    """What makes the picture upright by its EXIF data; None where there is none, or where it is damaged."""
    try:
        return EXIF_TURNS.get(int(image.getexif().get(EXIF_ORIENTATION, 1)))
    except Exception:  # EXIF is a TIFF file of its own: anything in it can be wrong, and the picture is good without it
        return None


def display_turn(frame: VideoFrame) -> Turn | None:
    """What makes the frame upright by the display matrix that comes with it; None where it is upright."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data  # PyAV's own type hints take it for something else
    matrix = next((bytes(data) for data in side_data if data.type == Type.DISPLAYMATRIX), b"")
    if len(matrix) < 20:
        return None
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    return _MATRIX_TURNS.get((_sign(a), _sign(b), _sign(c), _sign(d)))


def _sign(value: int) -> int:
    """-1, 0 or 1 for a 16.16 fixed-point number; what is nearly 0 counts as 0."""
    return 0 if abs(value) < 1 << 15 else (1 if value > 0 else -1)
