"""The frozen vision encoder: EfficientNet-Lite, read at three depths so that colours and small things are not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

# What EfficientNet-Lite was trained with: (pixel - 127) / 128.
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0
RGB_PER_CELL = 4  # colours are averaged over a 4 x 4 raster inside each cell


def picture_tensor(image: Image.Image, side: int) -> Tensor:
    """`image` squeezed to a square of `side` pixels: uint8, shape (3, side, side).

    The whole picture is kept and its shape is not: the training pictures were squeezed in the same way.
    """
    square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


class VisionEncoder(nn.Module):
    """EfficientNet-Lite as a map of cells, 32 x 32 pixels each.

    A cell's numbers, in order: the last layer's channels (1280), the channels of the last stride-16 block at its four
    sub-cells, the mean channels of the last stride-8 block, and its colours on a 4 x 4 raster. ImageNet training makes
    the last layer forget colour and place; the lower ones still have them.

    Args:
        network: an `efficientnet_lite_pytorch.EfficientNet`.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        strides = self._block_strides()
        self._stride8 = max(i for i, s in enumerate(strides) if s == 8)
        self._stride16 = max(i for i, s in enumerate(strides) if s == 16)
        self.eval().requires_grad_(False)

    @classmethod
    def pretrained(cls, name: str, weights: Path) -> VisionEncoder:
        """The encoder with its ImageNet weights, from the packaged state dict."""
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name(name)
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        return cls(network)

    def _block_strides(self) -> list[int]:
        stride, strides = 2, []
        for block in self.network._blocks:
            step = block._depthwise_conv.stride
            stride *= step if isinstance(step, int) else step[0]
            strides.append(stride)
        return strides

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Looks at pictures.

        Args:
            pixels: uint8 or float in 0 … 255, shape (pictures, 3, side, side); side divisible by 32.

        Returns:
            features (pictures, (side/32)², feature size), row by row, and label logits (pictures, labels).
        """
        network, kind = self.network, self.network._conv_stem.weight.dtype
        x = ((pixels.float() - PIXEL_MEAN) / PIXEL_STD).to(kind).contiguous(memory_format=torch.channels_last)
        side = x.shape[-1] // 32
        cells = [functional.avg_pool2d(x, 32 // RGB_PER_CELL)]
        x = network._swish(network._bn0(network._conv_stem(x)))
        for i, block in enumerate(network._blocks):
            x = block(x)
            if i == self._stride8:
                cells.append(functional.avg_pool2d(x, 4))
            elif i == self._stride16:
                cells.append(x)
        x = network._swish(network._bn1(network._conv_head(x)))
        logits = network._fc(x.mean((2, 3)))
        cells.append(x)
        maps = [functional.pixel_unshuffle(c, c.shape[-1] // side) for c in reversed(cells)]
        # reversed: head, stride 16, stride 8, colours
        return torch.cat([m.flatten(2) for m in maps], 1).transpose(1, 2), logits
