"""The keys and values of a conversation, kept so that they can go back to the end of any chunk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionCacheLayerMixin

# Room for so many tokens more than asked for: each token of an answer would else copy all keys of the conversation.
ROOM = 256
# Copies of states that can't be cropped. The last chunk's serves the next question, the others an edit or two.
KEPT_STATES = 4


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` that writes into memory with room to spare, instead of joining two tensors for each token."""

    def __init__(self) -> None:
        super().__init__()
        self._key_room: torch.Tensor | None = None
        self._value_room: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends; returns all keys and values, (batch, heads, tokens, head size) each, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        self.keys, self._key_room = _appended(self.keys, self._key_room, key_states, held)
        self.values, self._value_room = _appended(self.values, self._value_room, value_states, held)
        return self.keys, self.values

    def reset(self) -> None:
        super().reset()
        self._key_room = self._value_room = None


def _appended(
    kept: torch.Tensor | None, room: torch.Tensor | None, new: torch.Tensor, held: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the first `held` tokens of `kept`, which lie in `room`, and `new`; where they lie)."""
    length = held + new.shape[-2]
    if room is None or room.shape[-2] < length:
        room = new.new_empty((*new.shape[:-2], length + length // 4 + ROOM, new.shape[-1]))
        if held and kept is not None:
            room[..., :held, :] = kept
    room[..., held:length, :] = new
    return room[..., :length, :], room


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

    def take_over(self, other: KeptConversation, tokens: int) -> None:
        """Becomes a copy of another conversation, to `go_back_to(tokens, …)` next; the other one must reach there."""
        self.clear()
        self._side_tokens = other._side_tokens
        self._states = OrderedDict((at, state) for at, state in other._states.items() if at <= tokens)
        running = other._running()
        pairs: Iterable[tuple[Any, Any]] = zip(self.cache.layers, other.cache.layers, strict=True)
        for number, (own, theirs) in enumerate(pairs):
            if number in running:
                self.cache.layers[number] = deepcopy(theirs)
            elif theirs.is_initialized:
                length = None if number in self._beside else tokens
                own.update(theirs.keys[..., :length, :], theirs.values[..., :length, :])

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
        plain = (DynamicLayer, DynamicSlidingWindowLayer)
        cache.layers = [GrowingLayer() if type(layer) in plain else layer for layer in cache.layers]
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
