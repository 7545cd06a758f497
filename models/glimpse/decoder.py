"""Glimpse on the lean Llama decoder with packed weights: the same blocks, fewer bytes per token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from models.glimpse.fusion import GatedCrossAttention
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.pointer import Candidates
from models.seeing.llama_decoder import FEW_ROWS, LlamaDecoder, Precision, Product


@dataclass(frozen=True)
class _Block:
    """Products of one cross-attention block, each for few and for many rows; gates and scales are in them."""

    number: int
    attention_norm: Tensor
    ffn_norm: Tensor
    query: tuple[Product, Product]
    out: tuple[Product, Product]
    ffn_in: tuple[Product, Product]
    ffn_out: tuple[Product, Product]


@dataclass(frozen=True)
class _Sight:
    """What the rows of one pass may look at.

    Attributes:
        mask: added to the scores, (rows, memory tokens); None: every row sees everything.
        sighted: (rows, 1), 0 for a row that sees nothing and must pass unchanged; None: all see something.
        nothing: no row sees anything.
    """

    mask: Tensor | None
    sighted: Tensor | None
    nothing: bool = False


class GlimpseDecoder(LlamaDecoder):
    """A `Decoder`. Its `inputs`: a prompt's `picture_keys_values`, `picture_names` and `picture_starts`, or nothing.

    Args:
        model: gives the language model's weights and the blocks; its language model is not run.
        precision: of the weights for single tokens; see `LlamaDecoder`.
    """

    def __init__(self, model: GlimpseForConditionalGeneration, precision: Precision = "int4") -> None:
        language_model = model.language_model
        self._model = model
        self._pictures: Tensor | None = None
        self._candidates: Candidates | None = None
        self._starts: Tensor | None = None
        self._last_start = 0
        self._sight = _Sight(None, None, nothing=True)
        self._settled: _Sight | None = None
        super().__init__(language_model.config.to_dict(), language_model.state_dict(), precision)
        blocks = zip(model.config.cross_attention_layers, cast("list[Any]", model.blocks), strict=False)
        with torch.inference_mode():
            self._blocks = {layer: self._block(number, block) for number, (layer, block) in enumerate(blocks)}

    def _block(self, number: int, block: GatedCrossAttention) -> _Block:
        looks = block.scale * torch.tanh(block.attention_gate.float())
        thinks = block.scale * torch.tanh(block.ffn_gate.float())
        return _Block(
            number,
            self._norm_weight(block.attention_norm.weight),
            self._norm_weight(block.ffn_norm.weight),
            self._product(block.query.weight.float()),
            self._product(block.attention_out.weight.float() * looks),
            self._product(block.ffn_in.weight.float()),
            self._product(block.ffn_out.weight.float() * thinks),
        )

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        super().begin(keep, {})
        pictures = inputs.get("picture_keys_values")
        self._pictures = None if pictures is None else pictures[0].to(self._dtype)
        names = inputs.get("picture_names")
        with torch.inference_mode():
            self._candidates = self._model.candidates(names) if names is not None and names.shape[1] else None
        self._starts = inputs.get("picture_starts")
        self._last_start = 0 if self._starts is None else int(self._starts.max())
        self._settled = None

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int]) -> Tensor:
        if self._pictures is not None:
            self._sight = self._sight_of(len(tokens))
        return super().forward(tokens)

    def _sight_of(self, count: int) -> _Sight:
        """What the next `count` tokens see. Behind the last picture that is the same for every single token."""
        settled = count == 1 and self._length >= self._last_start
        if settled and self._settled is not None:
            return self._settled
        positions = torch.arange(self._length, self._length + count)
        visible = self._model.visible_memory(cast(Tensor, self._starts), positions)[0]
        some = visible.any(-1, keepdim=True)
        mask = None
        if not visible.all():
            # A row that sees nothing would divide by zero; what it finds is thrown away below.
            mask = torch.zeros(visible.shape, dtype=self._dtype).masked_fill_(~(visible | ~some), -torch.inf)
        sight = _Sight(mask, None if some.all() else some.to(self._dtype), nothing=not some.any())
        if settled:
            self._settled = sight
        return sight

    def _before_layer(self, index: int, x: Tensor) -> None:
        if self._pictures is None or index not in self._blocks or self._sight.nothing:
            return
        block, sight, many = self._blocks[index], self._sight, int(x.shape[0] > FEW_ROWS)
        keys, values = self._pictures[block.number].unbind(0)  # (heads, memory tokens, head size) each
        query = (
            block.query[many](self._normalised(x, block.attention_norm))
            .view(x.shape[0], keys.shape[0], -1)
            .transpose(0, 1)
        )
        scale = 1 / math.sqrt(keys.shape[-1])
        found = F.scaled_dot_product_attention(query[None], keys[None], values[None], sight.mask, scale=scale)[0]
        x += _where_sighted(block.out[many](found.transpose(0, 1).reshape(x.shape[0], -1)), sight)
        thought = F.gelu(block.ffn_in[many](self._normalised(x, block.ffn_norm)))
        x += _where_sighted(block.ffn_out[many](thought), sight)

    def _logits(self, tokens: Sequence[int], x: Tensor) -> Tensor:
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


def _where_sighted(update: Tensor, sight: _Sight) -> Tensor:
    return update if sight.sighted is None else update * sight.sighted
