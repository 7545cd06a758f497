"""Single tokens through a compiled `forward` over a cache of fixed size, for accelerators.

An eager step of a vision-language model is hundreds of small kernels, each started from Python; on an accelerator that
takes longer than the arithmetic. Compiling is slow, so it is done in a background thread behind the load, on a small
chat of its own; until it is done, and where it fails, steps are eager. A prompt is always computed eagerly: what is
kept of a conversation is the same bit by bit, whether its answers were compiled or not.

CUDA graphs ("reduce-overhead") are left out: torch keeps them by thread, and every answer has a thread of its own. On a
processor it is left out as a whole: steps there wait for memory, not for Python.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from models.seeing.checkpoint.kept import GrowingLayer

log = logging.getLogger(__name__)

# Every step reads a whole fixed cache, so a short conversation gets a short one. Longer ones are eager.
LENGTHS = (2048, 8192)


def suits(model: Any, cache: DynamicCache) -> bool:
    """Whether the model declares that it compiles whole, and its cache holds keys and values by tokens only."""
    text = model.config.get_text_config(decoder=True)
    declared = bool(getattr(model, "_can_compile_fullgraph", False))
    beside = getattr(text, "cross_attention_layers", None)
    return declared and not beside and all(type(layer) is GrowingLayer for layer in cache.layers)


@dataclass(frozen=True, eq=False)
class FixedRun:
    """One answer's conversation in a fixed cache: `capacity` tokens, of which `before` were copied into it."""

    cache: StaticCache
    capacity: int
    before: int


class CompiledSteps:
    """A compiled `forward` and its fixed caches.

    Args:
        model: in eval mode, on its device.
        backend: of `torch.compile`.
        lengths: of the fixed caches, ascending.
    """

    def __init__(self, model: Any, *, backend: str = "inductor", lengths: tuple[int, ...] = LENGTHS) -> None:
        self._config = model.config
        self._lengths = lengths
        self._caches: dict[int, StaticCache] = {}
        self._trying = 0
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._compiled = torch.compile(model.forward, backend=backend, dynamic=False)

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def warm(self, trial: Callable[[], None]) -> threading.Thread:
        """Starts the thread that compiles; `trial` answers a small chat through this object, once for each length."""

        def work() -> None:
            try:
                with torch.inference_mode():
                    for length in self._lengths:
                        if self._ended.is_set():
                            return
                        self._caches[length] = self._fixed(length)
                        self._trying = length
                        trial()
            except Exception as error:  # no compiler, no room, or a model that does not compile: eager steps remain
                self._caches = {}
                log.info("answers are not compiled: %s", error)
                return
            finally:
                self._trying = 0
            if not self._ended.is_set():
                self._ready.set()

        thread = threading.Thread(target=work, name="compile", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Ends the warming after the length that it is at, and drops the caches and what was compiled."""
        self._ended.set()
        self._ready.clear()
        self._caches = {}
        torch.compiler.reset()  # what it compiled holds on to the model

    def begin(self, kept: DynamicCache, length: int, *, trial: bool = False) -> FixedRun | None:
        """The conversation of `length` tokens in the shortest fixed cache with room for more; None: go on eagerly."""
        if not (trial or self.ready):
            return None
        fitting = (self._trying,) if trial else self._lengths
        capacity = next((size for size in fitting if size > length), 0)
        cache = self._caches.get(capacity)
        if cache is None:
            return None
        for fixed, layer in _pairs(cache, kept):
            if fixed.is_initialized:
                fixed.cumulative_length.zero_()
            fixed.update(layer.keys, layer.values)
        return FixedRun(cache, capacity, length)

    @staticmethod
    def end(run: FixedRun, kept: DynamicCache, length: int) -> None:
        """Brings what the run appended back to `kept`, for when its cache is full."""
        for fixed, layer in _pairs(run.cache, kept):
            layer.update(fixed.keys[..., run.before : length, :], fixed.values[..., run.before : length, :])

    def __call__(self, step: Mapping[str, Any]) -> Any:
        """`forward` of one token. What was compiled for other shapes is never compiled anew in mid-answer."""
        if not self.ready:
            return self._compiled(**step, return_dict=True)
        with torch.compiler.set_stance("eager_on_recompile"):
            return self._compiled(**step, return_dict=True)

    def _fixed(self, length: int) -> StaticCache:
        cache = StaticCache(config=self._config, max_cache_len=length)
        cache.layers = [
            StaticLayer(max_cache_len=length) if type(layer) is StaticSlidingWindowLayer else layer
            for layer in cache.layers
        ]
        return cache


def _pairs(fixed: StaticCache, kept: DynamicCache) -> list[tuple[Any, Any]]:
    """Their layers, side by side."""
    return list(zip(fixed.layers, kept.layers, strict=True))


def affordable(model: Any, free_bytes: int) -> tuple[int, ...]:
    """The lengths of which a fixed cache takes an eighth of the free memory at most."""
    text = model.config.get_text_config(decoder=True)
    heads = int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
    size = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    per_token = 2 * int(text.num_hidden_layers) * heads * size * torch.empty(0, dtype=model.dtype).element_size()
    return tuple(length for length in LENGTHS if length * per_token * 8 <= free_bytes)
