"""The keys and values of a conversation, kept so that they can go back to the end of any chunk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionCacheLayerMixin

# Copies of states that can't be cropped. The last chunk's serves the next question, the others an edit or two.
KEPT_STATES = 4


@dataclass(frozen=True, eq=False)
class _State:
    """Copies of one layer's states: number of the state → tensor."""

    convolution: dict[int, torch.Tensor]
    recurrent: dict[int, torch.Tensor]


class KeptConversation:
    """A `DynamicCache` that can be cut back, whatever its layers are.

    Sliding windows keep everything, as what has left the window could not be brought back after a cut; the model's
    mask hides it all the same. Layers that look at pictures from the side hold keys by pictures, not by tokens. Layers
    with a running state are copied at the end of each chunk.

    Args:
        config: of the model.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        text = config.get_text_config(decoder=True)
        self._beside = frozenset(getattr(text, "cross_attention_layers", None) or ())
        self._side_tokens = 0  # keys per picture in those layers
        self._states: OrderedDict[int, dict[int, _State]] = OrderedDict()
        self.cache = self._fresh()

    def go_back_to(self, tokens: int, pictures: int) -> None:
        """Forgets all but the first `tokens` tokens and, beside them, `pictures` pictures."""
        if tokens == 0:
            self.clear()
            return
        for number, layer in enumerate(self.cache.layers):
            if number in self._beside:
                self._cut(layer, pictures * self._side_tokens)
            elif isinstance(layer, DynamicLayer):
                self._cut(layer, tokens)
            if number in self._states.get(tokens, {}):
                self._restore(layer, self._states[tokens][number])
        for later in [at for at in self._states if at > tokens]:
            del self._states[later]

    def reachable(self, tokens: int) -> bool:
        """Whether `go_back_to(tokens, …)` can."""
        return not self._running() or tokens in self._states

    def remember(self, tokens: int) -> None:
        """Called when a chunk that ends behind `tokens` was computed."""
        for number in self._beside:
            if not self._side_tokens and number < len(self.cache.layers) and self.cache.layers[number].is_initialized:
                self._side_tokens = int(self.cache.layers[number].keys.shape[-2])  # a chunk brings one picture at most
        running = self._running()
        if running:
            self._states[tokens] = {number: _copied(self.cache.layers[number]) for number in running}
            while len(self._states) > KEPT_STATES:
                self._states.popitem(last=False)

    def clear(self) -> None:
        self._states.clear()
        self._side_tokens = 0
        self.cache = self._fresh()

    def _fresh(self) -> DynamicCache:
        cache = DynamicCache(config=self._config)
        cache.layers = [DynamicLayer() if type(x) is DynamicSlidingWindowLayer else x for x in cache.layers]
        return cache

    def _running(self) -> list[int]:
        return [n for n, layer in enumerate(self.cache.layers) if isinstance(layer, LinearAttentionCacheLayerMixin)]

    @staticmethod
    def _cut(layer: Any, length: int) -> None:
        if not layer.is_initialized:
            return
        surplus = layer.get_seq_length() - length
        if surplus > 0:
            DynamicLayer.crop(layer, -surplus)

    @staticmethod
    def _restore(layer: Any, state: _State) -> None:
        for number, tensor in state.convolution.items():
            layer.conv_states[number].copy_(tensor)
        for number, tensor in state.recurrent.items():
            layer.recurrent_states[number].copy_(tensor)


def _copied(layer: Any) -> _State:
    def copies(held: dict[int, torch.Tensor | None]) -> dict[int, torch.Tensor]:
        return {number: tensor.clone() for number, tensor in held.items() if tensor is not None}

    return _State(copies(layer.conv_states), copies(layer.recurrent_states))
