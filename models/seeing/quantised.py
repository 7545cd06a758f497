"""Weights of a checkpoint in 8 or 4 bits: less memory, and on a processor less to read for every token.

Only the matrices inside the language model's layers are packed, and its head (in 8 bits at either precision: it decides
between tokens that are close). What sees stays as it is, because a picture is read once and a wrong colour is wrong for
good; so do embeddings, norms, routers and experts. `models.needs.packs` has the rule, `ModelNeeds.weight_bytes` counts
by it. Activations are never rounded.

- 8 bits: symmetric, one scale per output row. Largest error of a weight: 1/254 of its row's greatest.
- 4 bits: a scale and an offset for every 32 weights of a row, rounded to nearest, as in GGUF's Q4_1 (5 bits a weight).
  Largest error: 1/30 of the group's range.

Torch's own kernels multiply packed weights with bfloat16 rows. For more than a few rows (a prompt) they are slower than
a plain product, so there the weights are unpacked, a block at a time, and dropped again: the packed ones are the only
copy. torchao was tried and left: on a processor its 8-bit layers unpack the whole matrix for every token (27.7 ms where
the plain bfloat16 product takes 25.8 and torch's kernel 15.4: 115 M weights, one thread, torchao 0.18, torch 2.14), and
its 4-bit layers for processors are a prototype over the kernel that is used here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from models.errors import EngineUnavailable
from models.free_memory import trim
from models.needs import GROUP, Precision, packs
from models.runtime import RuntimeChoice, packed_precisions

# Up to so many rows the packed kernels are faster than unpacking (one thread of a Zen 4: 8 bits tie at about 8 rows, 4
# bits, which take longer to unpack, at about 64).
FEW_ROWS: dict[str, int] = {"int8": 8, "int4": 32}
BLOCK = 1 << 22  # weights that are unpacked at a time: 8 MB in bfloat16, so that they stay in a processor's cache
PACKING = 1 << 18  # weights that are packed at a time, several steps in float32
_TILES = 8  # inner tiles along the columns of the 4-bit layout on a GPU
_COLUMNS = 16 * _TILES  # columns must be a multiple of it there


class PackedLinear(nn.Module):
    """A `nn.Linear` whose weights are kept in few bits. It computes in bfloat16 and answers in its input's type.

    Args:
        bias: (out), or None.

    Attributes:
        in_features, out_features: as in `nn.Linear`.
        weight: (out, in) bfloat16, unpacked anew at every access, for code that looks at it.
    """

    few_rows = 0
    bias: torch.Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("bias", None if bias is None else bias.detach().to(torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x·weightᵀ + bias; x of shape (…, in)."""
        rows = x.reshape(-1, self.in_features)
        if rows.dtype != torch.bfloat16:
            rows = rows.to(torch.bfloat16)
        y = self._few(rows) if len(rows) <= self.few_rows else self._many(rows)
        if self.bias is not None:
            y = y.add_(self.bias)
        y = y.view(*x.shape[:-1], self.out_features)
        return y if y.dtype == x.dtype else y.to(x.dtype)

    @property
    def weight(self) -> torch.Tensor:
        return self.unpacked(0, self.out_features)

    def unpacked(self, start: int, end: int) -> torch.Tensor:
        """Rows `start` to `end` of the weight, bfloat16."""
        raise NotImplementedError

    def _few(self, rows: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _many(self, rows: torch.Tensor) -> torch.Tensor:
        blocks = [F.linear(rows, self.unpacked(start, end)) for start, end in self._unpacking()]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -1)

    def _unpacking(self) -> Iterator[tuple[int, int]]:
        return _blocks((self.out_features, self.in_features), BLOCK)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class EightBitLinear(PackedLinear):
    """`PackedLinear` with 8-bit rows. `weight` of any floating type and shape (out, in); `in` a multiple of 32."""

    packed: torch.Tensor
    scales: torch.Tensor
    few_rows = FEW_ROWS["int8"]

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias)
        packed = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scales = torch.empty(weight.shape[0], dtype=torch.bfloat16, device=weight.device)
        for start, end in _blocks(weight.shape, PACKING):
            rows = weight[start:end].to(torch.float32, copy=True)
            least, most = rows.aminmax(dim=1)
            # Rounded to bfloat16 first, so that the scale that was divided by is the one that is multiplied with.
            scales[start:end] = (torch.maximum(most, -least) / 127.0).clamp_min(1e-12)
            packed[start:end] = rows.div_(scales[start:end, None].float()).round_().clamp_(-127, 127)
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)

    def unpacked(self, start: int, end: int) -> torch.Tensor:
        return self.packed[start:end].to(torch.bfloat16) * self.scales[start:end, None]

    def _few(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._weight_int8pack_mm(rows.contiguous(), self.packed, self.scales)

    def _many(self, rows: torch.Tensor) -> torch.Tensor:
        """The scales are multiplied into the product, which is smaller than the weights."""
        blocks = [F.linear(rows, self.packed[start:end].to(torch.bfloat16)) for start, end in self._unpacking()]
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks, -1)).mul_(self.scales)


class FourBitLinear(PackedLinear):
    """`PackedLinear` with 4-bit groups, in the layout that the processor's kernel wants.

    Args:
        weight: floating, (out, in); `out` a multiple of 16, `in` of 32.
    """

    packed: torch.Tensor
    steps: torch.Tensor
    few_rows = FEW_ROWS["int4"]

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias)
        places, step, least = _nibbles(weight)
        self.register_buffer("packed", _packed_places(places))
        # Shape (in / 32, out, 2); the kernels compute (place - 8) · scale + zero.
        self.register_buffer("steps", torch.stack([step, least + 8 * step], -1).transpose(0, 1).contiguous())

    def unpacked(self, start: int, end: int) -> torch.Tensor:
        """Rows of the weight; from the kernel itself where its layout is not known (see `_known_layout`)."""
        if not _known_layout() or start % 64 or end % 64:
            unit = torch.eye(self.in_features, dtype=torch.bfloat16, device=self.packed.device)
            return self._few(unit)[:, start:end].t().contiguous()
        bytes_ = self.packed.view(-1)[start * self.in_features // 2 : end * self.in_features // 2]
        places = _blocks_of_64(bytes_, self.in_features)
        scale, zero = self.steps[:, start:end].unbind(-1)  # each (groups, rows)
        groups = places.view(end - start, -1, GROUP).to(torch.bfloat16).sub_(8)
        return groups.mul_(scale.t()[..., None]).add_(zero.t()[..., None]).view(end - start, self.in_features)

    def _few(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(rows.contiguous(), self.packed, GROUP, self.steps)

    def _many(self, rows: torch.Tensor) -> torch.Tensor:
        if not _known_layout() or self.out_features % 64:
            return self._few(rows)
        return super()._many(rows)


class FourBitLinearOnGPU(FourBitLinear):
    """The same for a GPU, with its layout and kernel. It is packed on `device`, where the kernel is."""

    few_rows = 1 << 60  # its kernel takes any number of rows; unpacking would need its layout, which is the driver's

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, device: str) -> None:
        PackedLinear.__init__(self, weight.shape[1], weight.shape[0], bias)
        places, step, least = _nibbles(weight)
        pairs = (places[:, ::2] << 4 | places[:, 1::2]).to(torch.uint8).to(device)  # the first of two in the upper half
        self.register_buffer("packed", torch.ops.aten._convert_weight_to_int4pack(pairs, _TILES))
        steps = torch.stack([step, least + 8 * step], -1).transpose(0, 1).contiguous()
        self.register_buffer("steps", steps.to(device))
        if self.bias is not None:
            self.bias = self.bias.to(device)

    def unpacked(self, start: int, end: int) -> torch.Tensor:
        unit = torch.eye(self.in_features, dtype=torch.bfloat16, device=self.packed.device)
        return self._few(unit)[:, start:end].t().contiguous()

    def _few(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._weight_int4pack_mm(rows.contiguous(), self.packed, GROUP, self.steps)


def quantise(model: nn.Module, choice: RuntimeChoice) -> nn.Module:
    """Packs the weights of `model` (on the processor, loaded) in place, as `choice` says, and returns it.

    Layer by layer: at no time is there more than the whole model and one layer twice. Afterwards it can be moved to
    the chosen device, computed with, but not trained.

    Raises:
        EngineUnavailable: there are no kernels for it on that device, or nothing in the model can be packed.
    """
    if choice.precision not in ("int8", "int4"):
        return model
    if choice.precision not in packed_precisions(choice.device):
        raise EngineUnavailable(
            f"This torch has no {choice.precision} kernels for the device {choice.device}.",
            "Choose the precision auto or bfloat16.",
        )
    head = _head_name(model)
    linears = [(name, m) for name, m in model.named_modules(remove_duplicate=True) if isinstance(m, nn.Linear)]
    count = 0
    while linears:
        name, linear = linears.pop()  # nothing else may hold the old layer, or its memory would not go
        bits = packs(f"{name}.weight", *linear.weight.shape)
        if name == head and linear.in_features % GROUP == 0:
            bits = "int8"
        if bits is None:
            continue
        bits = "int8" if choice.precision == "int8" else bits
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, _packed(linear, bits, choice.device))
        count += 1
        del linear
    trim()
    if not count:
        raise EngineUnavailable(
            f"No weights of {type(model).__name__} can be kept in {choice.precision}.",
            "Choose the precision auto or bfloat16.",
        )
    return model


@torch.no_grad()
def _packed(linear: nn.Linear, bits: Precision, device: str) -> PackedLinear:
    if bits == "int4" and device == "cpu":
        return FourBitLinear(linear.weight, linear.bias)
    if bits == "int4" and linear.in_features % _COLUMNS == 0:
        return FourBitLinearOnGPU(linear.weight, linear.bias, device)
    return EightBitLinear(linear.weight, linear.bias)


def _blocks(shape: Sequence[int], numbers: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of blocks of about so many numbers, in whole 64 rows."""
    rows, columns = shape
    step = max(64, numbers // columns // 64 * 64)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _head_name(model: nn.Module) -> str:
    """The module that turns states into logits; "" where the model has none."""
    getter = getattr(model, "get_output_embeddings", None)
    head = getter() if getter else None
    return next((name for name, module in model.named_modules() if module is head), "")


def _nibbles(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(places 0 … 15, uint8 of shape (out, in), step and least of each group, bfloat16 of shape (out, in / 32))."""
    rows, columns = weight.shape
    places = torch.empty((rows, columns), dtype=torch.uint8)
    steps, leasts = torch.empty((2, rows, columns // GROUP), dtype=torch.bfloat16)
    for start, end in _blocks(weight.shape, PACKING):
        groups = weight[start:end].to(torch.float32, copy=True).view(end - start, -1, GROUP)
        least, most = groups.aminmax(dim=-1)
        steps[start:end] = ((most - least) / 15).clamp_min(1e-12)
        leasts[start:end] = least
        groups.sub_(leasts[start:end, :, None].float()).div_(steps[start:end, :, None].float())
        places[start:end] = groups.round_().clamp_(0, 15).view(end - start, columns)
    return places, steps, leasts


@functools.cache
def _known_layout() -> bool:
    """Whether this processor's 4-bit layout is the one that `_blocks_of_64` reads; other processors have others."""
    places = torch.arange(128 * GROUP, dtype=torch.int32).mul_(7).remainder_(16).view(128, GROUP)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(places, 1)
    return bool((_blocks_of_64(packed.view(-1), GROUP) == places).all())


def _blocks_of_64(packed: torch.Tensor, columns: int) -> torch.Tensor:
    """uint8 (out, in) from blocks of 64 rows, in which a byte holds one column of row r (lower half) and row r + 32."""
    bytes_ = packed.view(-1, columns, 32)
    return torch.cat([bytes_ & 15, bytes_ >> 4], -1).transpose(1, 2).reshape(-1, columns)


def _packed_places(places: torch.Tensor) -> torch.Tensor:
    """Places (out, in) in the layout of the processor's kernel: what its own packing gives, in a third of the time."""
    rows, columns = places.shape
    if rows % 64 or not _known_layout():
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(places.to(torch.int32), 1)
    halves = places.view(rows // 64, 2, 32, columns)
    return (halves[:, 0] | halves[:, 1] << 4).transpose(1, 2).reshape(rows, columns // 2).contiguous()
