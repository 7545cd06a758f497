"""A lean decoder for Llama-type models on a CPU: fewer bytes per token, fewer operations per layer.

On a CPU a token costs what it takes to read the weights once. So the weights for single tokens are kept packed, which
torch multiplies with bfloat16 activations directly: in 4 bits (a scale and an offset for every 32) where that loses
nothing, because they were published so, else in 8 bits (symmetric, one scale per output row). Prompts, where arithmetic
rules instead, run on the bfloat16 weights. The rest saves operations, which dominate in a small model:

- query, key and value projections are one matrix, gate and up another;
- the rotary embedding turns queries, keys and values in one go (for values by the angle 0), so that one copy fills
  the cache;
- query heads that share a key head are laid out as rows of one attention call, so that keys are not repeated.

References: Llama (Touvron et al. 2023, arXiv:2302.13971), RoPE (Su et al. 2021, arXiv:2104.09864), grouped queries
(Ainslie et al. 2023, arXiv:2305.13245), RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

Precision = Literal["int4", "int8", "bfloat16", "float32"]
Product = Callable[[torch.Tensor], torch.Tensor]

FIRST_CAPACITY = 512  # tokens the cache has room for at first; it doubles when full
# Up to this many rows the packed kernels are faster than unpacked weights (measured on AVX-512: 8 bits tie at 16).
FEW_ROWS = 8
GROUP = 32  # weights that share a scale and an offset in 4 bits, as in GGUF's Q4_0 and Q4_1
ROWS_AT_ONCE = 256  # while packing: few enough for the processor's cache
# Weights that were in 4 bits and came here by way of bfloat16 are within this share of a step from where they were.
LOSSLESS = 0.2


@dataclass(frozen=True)
class _Layer:
    """Norm weights of one layer (see `_normalised`) and its products, each for few and for many rows."""

    attention_norm: torch.Tensor
    ffn_norm: torch.Tensor
    qkv: tuple[Product, Product]
    out: tuple[Product, Product]
    gate_up: tuple[Product, Product]
    down: tuple[Product, Product]


def supports(config: Mapping[str, Any]) -> bool:
    """Whether a model with this configuration (`config.json`) is of the plain Llama form computed here."""
    return (
        config.get("model_type") == "llama"
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and _rope(config).get("rope_type", "default") == "default"
    )


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary embedding's settings, which older configurations keep at the top."""
    return config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0)}


class LlamaDecoder:
    """Decodes with the weights of a `LlamaForCausalLM`.

    Args:
        config: its configuration, as in `config.json`; see `supports`.
        weights: its state dict.
        precision: of the weights for single tokens. "int4" takes 4 bits where they hold the weights without loss,
            else 8. "float32" computes everything in float32; the others in bfloat16 with the residual stream in
            float32.
    """

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], precision: Precision = "int4"
    ) -> None:
        if not supports(config):
            raise ValueError(f"not a plain Llama model: {config.get('model_type')}")
        self.context_tokens = int(config["max_position_embeddings"])
        self.device = torch.device("cpu")
        self.precision = precision
        self._dtype = torch.float32 if precision == "float32" else torch.bfloat16
        width = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._kv_heads = int(config["num_key_value_heads"])
        self._head_dim = int(config.get("head_dim") or width // self._heads)
        self._norm_floor = torch.tensor(math.sqrt(width * config["rms_norm_eps"]))
        self._middle = int(config["intermediate_size"])
        self._theta = float(_rope(config)["rope_theta"])
        with torch.inference_mode():
            self._embedding = weights["model.embed_tokens.weight"].to(self._dtype)
            self._layers = tuple(self._layer(weights, i) for i in range(int(config["num_hidden_layers"])))
            head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])  # absent where tied
            self._norm = self._norm_weight(weights["model.norm.weight"])
            self._head = self._product(head.float())[0]
        self._cache = torch.empty(0)
        self._length = 0
        self.release()

    @classmethod
    def from_folder(cls, folder: Path, precision: Precision = "int4") -> LlamaDecoder:
        """From a folder with `config.json` and `model.safetensors`, without importing transformers (seconds)."""
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, load_file(folder / "model.safetensors"), precision)

    def _layer(self, weights: Mapping[str, torch.Tensor], index: int) -> _Layer:
        def of(*names: str) -> torch.Tensor:
            return torch.cat([weights[f"model.layers.{index}.{name}.weight"] for name in names])

        qkv = of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        return _Layer(
            self._norm_weight(of("input_layernorm")),
            self._norm_weight(of("post_attention_layernorm")),
            self._product(qkv.float()),
            self._product(of("self_attn.o_proj").float()),
            self._product(of("mlp.gate_proj", "mlp.up_proj").float()),
            self._product(of("mlp.down_proj").float()),
        )

    @staticmethod
    def _norm_weight(weight: torch.Tensor) -> torch.Tensor:
        """A norm's weight with the √width that `_normalised` leaves out."""
        return weight.float() * math.sqrt(len(weight))

    def _product(self, weight: torch.Tensor) -> tuple[Product, Product]:
        """x ↦ x·weightᵀ for few rows and for many; `weight` in float32."""
        plain = weight.to(self._dtype)

        def many(x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, plain)

        if self.precision in ("bfloat16", "float32"):
            return many, many
        if self.precision == "int4" and (nibbles := four_bits(weight)) is not None:
            return nibbles, many
        packed, scales = quantised(weight)
        multiply = torch.ops.aten._weight_int8pack_mm

        def few(x: torch.Tensor) -> torch.Tensor:
            return multiply(x, packed, scales)

        return few, many

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        if inputs:
            raise ValueError(f"LlamaDecoder reads text only, not {', '.join(inputs)}")
        self._length = min(keep, self._length)

    def release(self) -> None:
        self._length = 0
        self._capacity = 0
        self._grow(min(FIRST_CAPACITY, self.context_tokens))

    def _grow(self, capacity: int) -> None:
        """Makes room for `capacity` tokens: keys and values, and the rotary angles of their positions."""
        shape = (len(self._layers), 2 * self._kv_heads, capacity, self._head_dim)
        cache = torch.zeros(shape, dtype=self._dtype)
        if self._length:
            cache[:, :, : self._length] = self._cache[:, :, : self._length]
        self._cache = cache
        self._capacity = capacity
        half = torch.arange(0, self._head_dim, 2, dtype=torch.float32) / self._head_dim
        angles = torch.outer(torch.arange(capacity, dtype=torch.float32), 1.0 / self._theta**half)
        heads = self._heads + 2 * self._kv_heads
        cos = torch.ones(capacity, heads, self._head_dim)
        sin = torch.zeros(capacity, heads, self._head_dim)
        turned = self._heads + self._kv_heads  # values stay as they are: cos 1, sin 0
        cos[:, :turned] = torch.cat([angles.cos(), angles.cos()], dim=-1)[:, None]
        # `roll` by half a head gives (second half, first half); the sign makes it (-second, first).
        sin[:, :turned] = torch.cat([-angles.sin(), angles.sin()], dim=-1)[:, None]
        self._cos, self._sin = cos.to(self._dtype), sin.to(self._dtype)

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        count = len(tokens)
        end = self._length + count
        if end > self.context_tokens:
            raise ValueError(f"{end} tokens do not fit into {self.context_tokens}")
        if end > self._capacity:
            self._grow(min(self.context_tokens, max(2 * self._capacity, end)))
        many = int(count > FEW_ROWS)
        cos, sin = self._cos[self._length : end], self._sin[self._length : end]
        mask = self._mask(count, end) if count > 1 else None
        x = F.embedding(torch.tensor(tokens), self._embedding).float()
        for index, (layer, cache) in enumerate(zip(self._layers, self._cache, strict=True)):
            self._before_layer(index, x)
            turned = layer.qkv[many](self._normalised(x, layer.attention_norm)).view(count, -1, self._head_dim)
            turned = torch.addcmul(turned * cos, turned.roll(self._head_dim // 2, -1), sin)
            cache[:, self._length : end] = turned[:, self._heads :].transpose(0, 1)
            x += layer.out[many](self._attention(turned[:, : self._heads], cache[:, :end], mask))
            gate, up = layer.gate_up[many](self._normalised(x, layer.ffn_norm)).split(self._middle, dim=-1)
            x += layer.down[many](F.silu(gate).mul_(up))
        self._length = end
        return self._logits(tokens, x)

    def _logits(self, tokens: Sequence[int], x: torch.Tensor) -> torch.Tensor:
        """The last token's logits from the residual stream (count, width) after all layers. Glimpse adds to them."""
        return self._head(self._normalised(x[-1:], self._norm))[0].float()

    def _before_layer(self, index: int, x: torch.Tensor) -> None:
        """Room for a model that adds something to the residual stream `x` (count, width), in place (Glimpse)."""

    def _normalised(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """RMSNorm of (count, width); `weight` from `_norm_weight`."""
        norm = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._norm_floor)
        return (x / norm).mul_(weight).to(self._dtype)

    def _attention(self, queries: torch.Tensor, cache: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attends from (count, heads, dim) to the cache (2·kv_heads, length, dim); gives (count, heads·dim)."""
        count, group = queries.shape[0], self._heads // self._kv_heads
        rows = queries.view(count, self._kv_heads, group, self._head_dim).permute(1, 2, 0, 3)
        rows = rows.reshape(1, self._kv_heads, group * count, self._head_dim)
        keys, values = cache[None, : self._kv_heads], cache[None, self._kv_heads :]
        mixed = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
        mixed = mixed.view(self._heads, count, self._head_dim).transpose(0, 1)
        return mixed.reshape(count, self._heads * self._head_dim)

    def _mask(self, count: int, end: int) -> torch.Tensor:
        """Causal mask for the last `count` of `end` positions, once per query head of a group."""
        allowed = torch.ones(count, end, dtype=torch.bool).tril(end - count)
        mask = torch.zeros(count, end, dtype=self._dtype).masked_fill_(~allowed, -torch.inf)
        return mask.repeat(self._heads // self._kv_heads, 1)


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric 8-bit rows: (int8 of shape (out, in), bfloat16 scale per row), weight ≈ packed · scale."""
    scales = (weight.abs().amax(dim=1) / 127.0).clamp_min(1e-12).to(torch.bfloat16)
    packed = (weight / scales.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)
    return packed, scales


def four_bits(weight: torch.Tensor) -> Product | None:
    """x ↦ x·weightᵀ with `weight`, float32 of shape (out, in), in 4 bits; None where these would lose something.

    A group of 32 weights that was published in 4 bits holds at most 16 different, evenly spaced values, and its least
    and its greatest are among them: so they are found again, whatever the format was.
    """
    rows, columns = weight.shape
    if columns % GROUP or rows % 16:  # what the kernel takes
        return None
    places = torch.empty(rows, columns, dtype=torch.int32)
    steps = torch.empty(rows, columns // GROUP, 2, dtype=torch.bfloat16)
    for start in range(0, rows, ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        groups = weight[here].view(-1, columns // GROUP, GROUP)
        least, most = groups.aminmax(dim=-1, keepdim=True)
        step = ((most - least) / 15).clamp_min_(1e-12)
        place = (groups - least).div_(step)
        whole = place.round()
        if float(place.sub_(whole).abs_().max()) > LOSSLESS:
            return None
        places[here] = whole.view(-1, columns)
        # The kernel computes (place - 8) · scale + zero.
        steps[here] = torch.cat([step, least + 8 * step], -1)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(places, 1)
    steps = steps.transpose(0, 1).contiguous()
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu

    def product(x: torch.Tensor) -> torch.Tensor:
        return multiply(x, packed, GROUP, steps)

    return product
