"""Glimpse on the lean 8-bit Llama decoder: the same blocks between the same layers, fewer bytes per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from models.glimpse.fusion import GatedCrossAttention
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.pointer import Candidates
from models.seeing.llama_decoder import LlamaDecoder, Precision


class GlimpseDecoder(LlamaDecoder):
    """A `Decoder`. Its `inputs`: a prompt's `picture_keys_values`, `picture_names` and `picture_starts`, or nothing.

    Args:
        model: gives the language model's weights and the blocks; its language model is not run.
        precision: of the language model's weights for single tokens; see `LlamaDecoder`.
    """

    def __init__(self, model: GlimpseForConditionalGeneration, precision: Precision = "int8") -> None:
        language_model = model.language_model
        self._model = model
        self._blocks = {
            layer: (number, cast(GatedCrossAttention, block))
            for number, (layer, block) in enumerate(
                zip(model.config.cross_attention_layers, cast("list[Any]", model.blocks), strict=False)
            )
        }
        self._pictures: torch.Tensor | None = None
        self._candidates: Candidates | None = None
        self._starts: torch.Tensor | None = None
        self._visible: torch.Tensor | None = None
        super().__init__(language_model.config.to_dict(), language_model.state_dict(), precision)

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        super().begin(keep, {})
        self._pictures = inputs.get("picture_keys_values")
        names = inputs.get("picture_names")
        with torch.inference_mode():
            self._candidates = self._model.candidates(names) if names is not None and names.shape[1] else None
        self._starts = inputs.get("picture_starts")

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        if self._starts is not None:
            positions = torch.arange(self._length, self._length + len(tokens))
            self._visible = self._model.visible_memory(self._starts, positions)
        return super().forward(tokens)

    def _before_layer(self, index: int, x: torch.Tensor) -> None:
        if self._pictures is None or index not in self._blocks:
            return
        number, block = self._blocks[index]
        kind = block.query.weight.dtype
        update, _ = block.attend(x[None].to(kind), self._pictures[:, number], self._visible)
        x += update[0]
        x += block.think(x[None].to(kind), self._visible)[0]

    def _logits(self, tokens: Sequence[int], x: torch.Tensor) -> torch.Tensor:
        logits = super()._logits(tokens, x)
        if self._candidates is None or self._starts is None:
            return logits
        language_model = self._model.language_model
        kind = language_model.model.norm.weight.dtype
        hidden = language_model.model.norm(x[None, -1:].to(kind))
        last = language_model.model.embed_tokens(torch.tensor([[tokens[-1]]]))
        position = torch.tensor([self._length - 1])
        extra, ids = self._model.point(hidden, last, self._candidates, self._starts, position)
        return logits.scatter_add(0, ids[0], extra[0, 0])
