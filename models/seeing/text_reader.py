"""Text in pictures, read by RapidOCR with the PP-OCR models that its package carries."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from models.errors import EngineFailure, EngineUnavailable

LEAST_CONFIDENCE = 0.6
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ReadText:
    """One line of text. `box`: (left, top, right, bottom) as fractions of the picture's width and height."""

    text: str
    confidence: float
    box: Box


class TextReader:
    """Reads text. One picture at a time; calls from several threads wait for each other.

    Raises `EngineUnavailable` when RapidOCR is not installed.
    """

    def __init__(self, threads: int = 2) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise EngineUnavailable("RapidOCR is not installed.", "Run: python3 launch.py") from error
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        self._engine: Any = RapidOCR(
            params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads}
        )
        self._busy = threading.Lock()

    def read(self, image: Image.Image) -> tuple[ReadText, ...]:
        """The lines of text in an RGB image, in reading order. Raises `EngineFailure`."""
        pixels = np.asarray(image)[:, :, ::-1]  # OpenCV's channel order
        try:
            with self._busy:
                found = self._engine(np.ascontiguousarray(pixels))
        except Exception as error:
            raise EngineFailure(f"Reading the text in the picture failed: {error}.") from error
        if found.boxes is None or found.txts is None:
            return ()
        lines = [
            ReadText(text.strip(), float(score), _fractions(np.asarray(corners), image))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if text.strip() and score >= LEAST_CONFIDENCE
        ]
        return tuple(in_reading_order(lines))


def _fractions(corners: np.ndarray, image: Image.Image) -> Box:
    """The upright box around four corners of shape (4, 2), in pixels."""
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return (
        float(max(0.0, left / image.width)),
        float(max(0.0, top / image.height)),
        float(min(1.0, right / image.width)),
        float(min(1.0, bottom / image.height)),
    )


def in_reading_order(lines: list[ReadText]) -> list[ReadText]:
    """Rows from top to bottom, each from left to right. Boxes share a row when one's middle lies within the other."""
    rows: list[list[ReadText]] = []
    for line in sorted(lines, key=lambda found: (found.box[1] + found.box[3]) / 2):
        middle = (line.box[1] + line.box[3]) / 2
        if rows and rows[-1][0].box[1] <= middle <= rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda found: found.box[0])]
