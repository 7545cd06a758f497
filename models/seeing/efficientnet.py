"""EfficientNet-Lite2, trained on ImageNet: what is recognised in a picture, and its features."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.errors import EngineFailure, EngineUnavailable
from models.weights import efficientnet_lite2_file

SIDE = 260  # pixels; the size it was trained at


@dataclass(frozen=True)
class Recognised:
    """A class of ImageNet and its probability, 0 … 1."""

    name: str
    probability: float


class EfficientNetLite2:
    """The packaged classifier.

    Args:
        file: its state dict; the packaged one by default.

    Raises `EngineUnavailable` when its package or its weights are missing.
    """

    def __init__(self, file: Path | None = None) -> None:
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise EngineUnavailable("EfficientNet-Lite is not installed.", "Run: python3 launch.py") from error
        self._network = EfficientNet.from_name("efficientnet-lite2")
        weights = torch.load(file or efficientnet_lite2_file(), map_location="cpu", weights_only=True)
        self._network.load_state_dict(weights)
        self._network.eval()
        self._names = class_names()
        self._busy = threading.Lock()

    def classify(self, images: Sequence[Image.Image], most: int = 5) -> list[tuple[Recognised, ...]]:
        """The likeliest classes of each RGB image, the likeliest first. Raises `EngineFailure`."""
        if not images:
            return []
        try:
            with self._busy, torch.inference_mode():
                logits = self._network(preprocessed(images))
                top = torch.softmax(logits, dim=-1).topk(most)
        except Exception as error:
            raise EngineFailure(f"Recognising the picture failed: {error}.") from error
        return [
            tuple(Recognised(self._names[i], p) for i, p in zip(indices, values, strict=True))
            for indices, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]


def preprocessed(images: Sequence[Image.Image]) -> torch.Tensor:
    """Squares of `SIDE` pixels, (x - 127) / 128: float32 of shape (n, 3, SIDE, SIDE).

    Pictures are squeezed, not cropped, so that what stands at the edge is seen too.
    """
    arrays = [np.asarray(i.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32) for i in images]
    return (torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) - 127.0) / 128.0


def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes in the order of the logits (no weights are fetched for it)."""
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
