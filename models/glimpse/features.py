"""Frozen features on disk: what the vision encoder sees in every training picture, computed once per view."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.glimpse.data import PictureFolder, Record
from models.glimpse.vision import VisionEncoder, picture_tensor

log = logging.getLogger(__name__)

PLAIN, FLIP = "plain", "flip"
CHUNK = 16


def view_of(image: Image.Image, view: str, name: str) -> Image.Image:
    """`image` as a view shows it: "plain", "flip" (mirrored), "crop1", "crop2" … (80 to 95 %; even ones mirrored)."""
    if view == PLAIN:
        return image
    if view == FLIP:
        return ImageOps.mirror(image)
    rng = random.Random(f"{view} {name}")
    width, height = (round(side * rng.uniform(0.8, 0.95)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    cut = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cut) if is_mirrored(view) else cut


def is_mirrored(view: str) -> bool:
    """Whether left and right are exchanged in `view`."""
    return view == FLIP or (view.startswith("crop") and int(view[4:]) % 2 == 0)


@dataclass(frozen=True)
class Looked:
    """The frozen encoder's view of one picture: features (cells, feature size), label ids and probabilities (top)."""

    features: Tensor
    labels: Tensor
    probabilities: Tensor


class FeatureStore:
    """Features of pictures, in one file per set and view.

    Args:
        folder: where the files are.
        cells: cells of one feature map.
        size: numbers per cell.
        top: labels kept per picture.
    """

    def __init__(self, folder: Path, cells: int = 81, size: int = 1856, top: int = 5) -> None:
        self.folder = folder
        self.cells, self.size, self.top = cells, size, top
        self._maps: dict[str, np.ndarray] = {}
        self._heads: dict[str, dict[str, object]] = {}
        # By file and picture: one picture can be in several splits, on lines of their own.
        self._rows: dict[tuple[str, str], int] = {}
        self._ready: set[tuple[str, str]] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob("*.json")):
            self._open(file.stem)

    def _open(self, key: str) -> None:
        head = json.loads((self.folder / f"{key}.json").read_text())
        view = key.rsplit("@", 1)[1]
        shape = (head["pictures"], self.cells, self.size)
        self._maps[key] = np.memmap(self.folder / f"{key}.bf16", dtype=np.int16, mode="r", shape=shape)
        self._heads[key] = head
        self._rows.update({(key, name): i for i, name in enumerate(head["names"])})
        self._ready.update((name, view) for name in head["names"])

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether (picture's name, view) is ready."""
        return key in self._ready

    def views(self, record: Record) -> list[str]:
        """The views that are ready for this picture."""
        prefix = f"{record.source}+{record.split}@"
        known = [key.removeprefix(prefix) for key in self._maps if key.startswith(prefix)]
        return [v for v in sorted(known) if (prefix + v, record.name) in self._rows]

    def get(self, record: Record, view: str = PLAIN) -> Looked:
        """What was seen. Raises `KeyError` when this view has not been computed."""
        key = f"{record.source}+{record.split}@{view}"
        row = self._rows[key, record.name]
        head = self._heads[key]
        features = torch.from_numpy(np.array(self._maps[key][row])).view(torch.bfloat16)
        return Looked(features, torch.tensor(head["labels"][row]), torch.tensor(head["probabilities"][row]))  # type: ignore[index]

    def add(
        self, records: Sequence[Record], view: str, pictures: PictureFolder, encoder: VisionEncoder, side: int
    ) -> None:
        """Computes `view` for every record of one set and split, unless it is there already; can be interrupted."""
        if not records:
            return
        key = f"{records[0].source}+{records[0].split}@{view}"
        names = [r.name for r in records]
        if key in self._heads and self._heads[key]["names"] == names:
            return
        shape = (len(records), self.cells, self.size)
        values = np.memmap(self.folder / f"{key}.bf16", dtype=np.int16, mode="w+", shape=shape)
        labels: list[list[int]] = []
        probabilities: list[list[float]] = []
        began = time.monotonic()
        for start in range(0, len(records), CHUNK):
            chunk = records[start : start + CHUNK]
            pixels = torch.stack([picture_tensor(view_of(pictures.open(r), view, r.name), side) for r in chunk])
            features, logits = encoder(pixels)
            likeliest = logits.float().softmax(-1).topk(self.top, -1)
            values[start : start + len(chunk)] = features.to(torch.bfloat16).contiguous().view(torch.int16).numpy()
            labels += likeliest.indices.tolist()
            probabilities += likeliest.values.tolist()
        values.flush()
        head = {"pictures": len(records), "names": names, "labels": labels, "probabilities": probabilities}
        (self.folder / f"{key}.json").write_text(json.dumps(head))
        self._open(key)
        log.info("%s: %d pictures in %.0f s", key, len(records), time.monotonic() - began)
