"""Any causal model of `transformers` as a `Decoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel


class TransformersDecoder:
    """Runs a model's own `forward` with a `DynamicCache`, computing logits for the last position only.

    Args:
        model: a causal language model or vision-language model, in eval mode, on its device.
        context_tokens: how many tokens it reads; None takes the configuration's.
        every_step: whether the prompt's `inputs` go with every forward (cross-attention to pictures, as in Glimpse)
            or with the first one only (picture tokens in the prompt, as in LLaVA, Qwen-VL and their kin).
    """

    def __init__(self, model: PreTrainedModel, *, context_tokens: int | None = None, every_step: bool = False) -> None:
        config = model.config.get_text_config()
        self.context_tokens = context_tokens or int(getattr(config, "max_position_embeddings", 2048))
        self.device = model.device
        self._model = model
        self._every_step = every_step
        self._cache = DynamicCache(config=config)
        self._inputs: dict[str, Any] = {}

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        surplus = int(self._cache.get_seq_length()) - keep
        if keep and surplus > 0:
            self._cache.crop(-surplus)
        elif keep == 0 or surplus < 0:
            self.release()
        self._inputs = dict(inputs)

    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([list(tokens)], device=self.device)
        output = self._model(input_ids=ids, cache=self._cache, use_cache=True, logits_to_keep=1, **self._inputs)
        if not self._every_step:
            self._inputs = {}
        return output.logits[0, -1].float()

    def release(self) -> None:
        self._cache = DynamicCache(config=self._model.config.get_text_config())
