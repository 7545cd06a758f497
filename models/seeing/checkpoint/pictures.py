"""Each picture by itself: what the checkpoint's processor makes of it, and what its vision encoder sees in it, once.

Both are kept by the picture's digest: small facts of many pictures, pixels only until they are encoded, and features as
long as they fit into a bound in bytes. The processor's settings need no place in the key: they never change while an
engine lives.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from models.seeing.checkpoint.capabilities import Capabilities
from models.types import Picture

MEGABYTE = 1 << 20
FEATURE_BYTES = 512 * MEGABYTE
PIXEL_BYTES = 256 * MEGABYTE
KEPT_FACTS = 1024
# Outputs of a vision encoder that no model reads once it has `pooler_output`.
_DEAD_WEIGHT = ("last_hidden_state", "hidden_states", "attentions")

V = TypeVar("V")


class ByteBoundedStore(Generic[V]):
    """The values used last whose sizes together stay below a bound; one that is larger by itself is kept alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self.bytes = 0

    def get(self, key: str) -> V | None:
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: str, value: V, size: int) -> None:
        self.drop(key)
        self._held[key] = (value, size)
        self.bytes += size
        while self.bytes > self._limit and len(self._held) > 1:
            self.drop(next(iter(self._held)))

    def drop(self, key: str) -> None:
        found = self._held.pop(key, None)
        self.bytes -= found[1] if found else 0

    def clear(self) -> None:
        self._held.clear()
        self.bytes = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureFacts:
    """What the processor tells of a picture; small, and kept of many.

    Attributes:
        key: tells its features from all others: the digest, and whether it is one of several.
        replacement: the text that stands for it in the prompt; "" where the processor does not say.
        placeholders: how many placeholder tokens it takes.
        facts: the processor's small tensors (grids, sizes), which positions are computed from.
        size: (width, height) in pixels as the vision encoder takes it; (0, 0) unknown.
        tiles: how many tiles it was cut into, where the processor says so (Mllama); else 1.
    """

    key: str
    replacement: str
    placeholders: int
    facts: Mapping[str, torch.Tensor]
    size: tuple[int, int]
    tiles: int


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedPicture(PictureFacts):
    """A picture with its facts, ready to be encoded."""

    picture: Picture


class PictureShelf:
    """Prepares and encodes the pictures of one checkpoint.

    Args:
        model: in eval mode, on its device.
        processor: its processor.
        capabilities: of the model.
        image_token: the text of a placeholder token in a chat.
        placeholder: the id of a placeholder token in a prompt.
    """

    def __init__(
        self, model: Any, processor: Any, capabilities: Capabilities, image_token: str, placeholder: int
    ) -> None:
        self._model = model
        self._processor = processor
        self._route = capabilities.route
        self._image_token = image_token
        self._placeholder = placeholder
        self._lock = threading.Lock()  # of facts and pixels
        self._encoding = threading.Lock()  # of features
        self._facts: OrderedDict[str, PictureFacts] = OrderedDict()
        self._pixels: ByteBoundedStore[dict[str, Any]] = ByteBoundedStore(PIXEL_BYTES)
        self._features: ByteBoundedStore[Any] = ByteBoundedStore(FEATURE_BYTES)
        self.by_parts = hasattr(processor, "_process_images") and hasattr(processor, "get_text_with_replacements")
        self.counts_companions = False
        self.encoder_calls = 0

    def prepare(self, picture: Picture, several: bool = False) -> PreparedPicture:
        """What the processor makes of `picture`, kept; `several`: it is not the only one of its prompt."""
        pair = several and self.counts_companions
        key = f"{picture.digest}+" if pair else picture.digest
        with self._lock:
            found = self._facts.get(key)
            if found is None:
                replacement, inputs = self._process(picture, 2 if pair else 1)
                if "batch_num_images" in inputs and not self.counts_companions:
                    self.counts_companions = True
                    if several:
                        key = f"{picture.digest}+"
                        replacement, inputs = self._process(picture, 2)
                found = self._facts[key] = self._facts_of(key, replacement, inputs)
                self._keep_pixels(key, inputs)
            self._facts.move_to_end(key)
            while len(self._facts) > KEPT_FACTS:
                self._facts.popitem(last=False)
            return PreparedPicture(**vars(found), picture=picture)

    @torch.inference_mode()
    def features(self, prepared: PreparedPicture) -> Any:
        """What the vision encoder sees in a picture, in the form that the model's `forward` takes; kept."""
        with self._encoding:
            kept = self._features.get(prepared.key)
            if kept is None:
                kept = self._encode(self._pixels_of(prepared))
                self.encoder_calls += 1
                self._features.put(prepared.key, kept, byte_count(kept))
            return kept

    def _pixels_of(self, prepared: PreparedPicture) -> dict[str, Any]:
        with self._lock:
            inputs = self._pixels.get(prepared.key)
            self._pixels.drop(prepared.key)
        return inputs or self._process(prepared.picture, 2 if prepared.key.endswith("+") else 1)[1]

    def forget(self) -> None:
        """Drops all features and pixels."""
        with self._lock, self._encoding:
            self._features.clear()
            self._pixels.clear()

    # -- the processor ---------------------------------------------------------------------------------------------

    def _process(self, picture: Picture, copies: int) -> tuple[str, dict[str, Any]]:
        """(the text that stands for the picture, the model's inputs for it), without the text of a chat."""
        images, text = [[picture.image] * copies], [self._image_token * copies]
        if not self.by_parts:
            made = dict(self._processor(images=images, text=text, return_tensors="pt"))
            ids = made.pop("input_ids")
            own = {k: v for k, v in made.items() if getattr(v, "shape", None) != ids.shape and k != "labels"}
            return "", {**own, "placeholders": int((ids == self._placeholder).sum())}
        laid_out, *_ = self._processor.prepare_inputs_layout(images=images, text=text)
        settings = processing_settings(self._processor)
        takes = inspect.signature(self._processor._process_images).parameters
        extra = {k: v for k, v in settings.items() if k in takes and k not in ("images", "kwargs")}
        processed, replacements = self._processor._process_images(laid_out, **extra, **settings["images_kwargs"])
        inputs = {name: _first_of(value, copies) for name, value in dict(processed).items()}
        return str(replacements[0]), inputs

    def _facts_of(self, key: str, replacement: str, inputs: dict[str, Any]) -> PictureFacts:
        count = inputs.pop("placeholders", None)
        if count is None:
            ids = self._processor.tokenizer(replacement, add_special_tokens=False)["input_ids"]
            count = sum(token == self._placeholder for token in ids)
        facts = {
            name: value
            for name, value in inputs.items()
            if isinstance(value, torch.Tensor) and value.numel() <= 64 and not name.startswith("pixel")
        }
        size, tiles = _size_seen(self._model, inputs), _number(inputs.get("num_tiles"))
        return PictureFacts(
            key=key, replacement=replacement, placeholders=int(count), facts=facts, size=size, tiles=tiles
        )

    def _keep_pixels(self, key: str, inputs: dict[str, Any]) -> None:
        if self._route != "raw":
            self._pixels.put(key, inputs, byte_count(inputs))

    # -- the encoder -----------------------------------------------------------------------------------------------

    def _encode(self, inputs: Mapping[str, Any]) -> Any:
        base = self._model.base_model
        encoder = base.get_image_features if self._route == "placed" else base.vision_model
        takes = inspect.signature(encoder if self._route == "placed" else encoder.forward).parameters
        mine = {k: self._moved(v) for k, v in inputs.items() if k in takes}
        if self._route == "placed":
            return _lean(encoder(**mine, return_dict=True))
        seen = encoder(**mine).last_hidden_state
        projected = base.multi_modal_projector(seen)
        return projected.reshape(-1, seen.shape[-2], base.hidden_size)

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        floating = value.is_floating_point()
        return value.to(self._model.device, self._model.dtype) if floating else value.to(self._model.device)


def processing_settings(processor: Any) -> dict[str, Any]:
    """The processor's own settings by modality, as its `__call__` merges them."""
    merged = processor._merge_kwargs(tokenizer_init_kwargs=processor.tokenizer.init_kwargs, return_tensors="pt")
    return dict(merged)


def byte_count(value: Any) -> int:
    """Bytes of all tensors in nested mappings and sequences."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(byte_count(v) for v in value.values())
    return sum(byte_count(v) for v in value) if isinstance(value, (list, tuple)) else 0


def joined(outputs: Sequence[Any]) -> Any:
    """The encoder outputs of several pictures as one output, for prompts that go through in one piece."""
    if len(outputs) == 1:
        return outputs[0]
    return type(outputs[0])(**{name: _together([o[name] for o in outputs]) for name in outputs[0]})


def _together(values: Sequence[Any]) -> Any:
    """Tensors joined along the pictures; lists by layer (their items are lists) by layer, others one behind another."""
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    if values[0] and not isinstance(values[0][0], torch.Tensor):
        return [_together(layer) for layer in zip(*values, strict=True)]
    return [item for value in values for item in value]


def _lean(output: Any) -> Any:
    if output.get("pooler_output") is None:
        return output
    return type(output)(**{k: v for k, v in output.items() if k not in _DEAD_WEIGHT})


def _first_of(value: Any, copies: int) -> Any:
    """What belongs to the first of two copies."""
    if copies > 1 and isinstance(value, torch.Tensor) and value.shape[:1] == (copies,):
        return value[: value.shape[0] // copies]
    return value


def _size_seen(model: Any, inputs: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) in pixels of what the encoder takes; of several tiles, what they cover; (0, 0) if unknown."""
    vision = getattr(model.config, "vision_config", None)
    patch = getattr(vision, "patch_size", 0)
    patch = patch if isinstance(patch, int) else 0
    rows, columns = (_number(inputs.get(a, inputs.get(b))) for a, b in (("rows", "image_rows"), ("cols", "image_cols")))
    grid, shapes = inputs.get("image_grid_thw"), inputs.get("spatial_shapes")
    places, targets = inputs.get("image_position_ids"), inputs.get("target_sizes")
    pixels = inputs.get("pixel_values")
    tile = (0, 0)  # (height, width)
    if patch and isinstance(grid, torch.Tensor):  # Qwen's: time, rows and columns of patches
        tile = (int(grid[0, 1]) * patch, int(grid[0, 2]) * patch)
    elif patch and isinstance(shapes, torch.Tensor):  # LFM2: rows and columns of patches of each tile
        tile = (int(shapes[0, 0]) * patch, int(shapes[0, 1]) * patch)
    elif patch and isinstance(places, torch.Tensor):  # Gemma 4: column and row of each patch
        furthest = places.reshape(-1, 2).max(0).values
        tile = (int(furthest[1] + 1) * patch, int(furthest[0] + 1) * patch)
    elif patch and isinstance(targets, torch.Tensor):  # MiniCPM: the whole first, then the tiles of a grid
        tile = (int(targets[-1, 0]) * patch, int(targets[-1, 1]) * patch)
        rows, columns = (max(1, int(n)) for n in np.asarray(inputs.get("grids", [[1, 1]])).reshape(-1, 2)[0])
    elif isinstance(pixels, torch.Tensor) and pixels.dim() >= 4:
        tile = (pixels.shape[-2], pixels.shape[-1])
    return max(1, columns) * tile[1], max(1, rows) * tile[0]


def _number(value: Any) -> int:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return int(value) if isinstance(value, (int, torch.Tensor)) else 1
