"""Where and how a model runs: device, precision and memory, each choice with its reason as a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from models.errors import EngineUnavailable
from models.free_memory import GIGABYTE, available_memory
from models.needs import FLOATS, ModelNeeds, Precision, needs_of

__all__ = [
    "GIGABYTE", "DeviceName", "Machine", "ModelNeeds", "Precision", "RuntimeChoice", "available_memory", "choose",
    "demand_fit", "free_memory", "needs_of", "packed_precisions",
    "plans", "this_machine", "usable_cores",
]  # fmt: skip

DeviceName = Literal["cuda", "xpu", "mps", "cpu"]

# A model needs its weights, and about a fifth more for caches and activations of a conversation.
HEADROOM = 1.2
# Of a checkpoint more is known: its cache is counted for a conversation of so many tokens, and beside it room is left
# for what is computed on the way, a share of the weights and at least a quarter of a gigabyte (pictures take most).
CONVERSATION = 4096
WORKSPACE, LEAST_WORKSPACE = 0.08, GIGABYTE // 4


@dataclass(frozen=True)
class Machine:
    """What this computer offers.

    Attributes:
        device: the best kind of device that torch can use; "cuda" is also AMD's ROCm.
        device_name: as the driver calls it.
        free_bytes: memory free on that device.
        fast_bfloat16: the device multiplies bfloat16 matrices in hardware.
        cores: processor cores this process may use.
        packed: the precisions below 16 bits that this torch has kernels for on that device.
        others: the same of the computer's other devices, the better first; the processor is always the last.
    """

    device: DeviceName
    device_name: str
    free_bytes: int
    fast_bfloat16: bool
    cores: int
    packed: tuple[Precision, ...] = ()
    others: tuple[Machine, ...] = ()


@dataclass(frozen=True)
class RuntimeChoice:
    """Where and how to run, and why.

    Attributes:
        fits: whether the free memory is enough.
        reason: a sentence for the owner.
        needed_bytes, free_bytes: what `fits` compares; 0 where it was not counted.
    """

    device: DeviceName
    precision: Precision
    fits: bool
    reason: str
    needed_bytes: int = 0
    free_bytes: int = 0


def this_machine() -> Machine:
    """Looks at the computer (imports torch)."""
    import torch

    cores = usable_cores()
    found: list[Machine] = []

    def add(device: DeviceName, name: str, fast_bfloat16: bool) -> None:
        found.append(Machine(device, name, free_memory(device), fast_bfloat16, cores, packed_precisions(device)))

    if torch.cuda.is_available():
        add("cuda", torch.cuda.get_device_name(), torch.cuda.is_bf16_supported(False))
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        add("xpu", torch.xpu.get_device_name(), torch.xpu.is_bf16_supported())
    if torch.backends.mps.is_available():
        add("mps", "Apple GPU", torch.backends.mps.is_macos_or_newer(14, 0))
    add("cpu", torch.backends.cpu.get_cpu_capability(), _cpu_has_bfloat16())
    best, *others = found
    return Machine(
        best.device, best.device_name, best.free_bytes, best.fast_bfloat16, cores, best.packed, tuple(others)
    )


def free_memory(device: DeviceName) -> int:
    """Bytes free on `device` for this process, what torch holds and no longer uses included."""
    import torch

    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    if device == "xpu":
        total = torch.xpu.get_device_properties().total_memory
        free = torch.xpu.mem_get_info()[0] if hasattr(torch.xpu, "mem_get_info") else total
        return min(free + torch.xpu.memory_reserved(), total) - torch.xpu.memory_allocated()
    if device == "mps":  # it shares the computer's memory, of which the system lets it have a part
        room = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return max(0, min(room, available_memory()))
    return available_memory()


def packed_precisions(device: DeviceName) -> tuple[Precision, ...]:
    """The precisions below 16 bits that `device`, which is there, can compute with: where this torch has kernels.

    | device | int8                 | int4                                                              |
    |-|-|-|
    | cpu    | torch's own kernel   | torch's own kernel                                                |
    | cuda   | torch's own kernel   | torch's own kernel ("tinygemm"), NVIDIA from compute capability 8 |
    | mps    | torch's own kernel   | torch's own kernel                                                |
    | xpu    | torch's, where built | no: its kernel wants another layout, which we cannot try here     |
    """
    import torch

    def has(operator: str) -> bool:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{operator}", device.upper()))

    found: list[Precision] = []
    if has("_weight_int8pack_mm"):
        found.append("int8")
    if device == "cpu" and has("_weight_int4pack_mm_for_cpu"):
        found.append("int4")
    elif device in ("cuda", "mps") and has("_weight_int4pack_mm") and has("_convert_weight_to_int4pack"):
        modern = device == "mps" or (torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 0))
        found += ["int4"] if modern else []
    return tuple(found)


def choose(machine: Machine, parameters: int, *, packed_kernels: bool = False) -> RuntimeChoice:
    """How to run a packaged model on `machine`; checkpoints of the owner's choice go by `plans`.

    Args:
        parameters: how many the model has.
        packed_kernels: it can run on packed weights on a processor (see `models.seeing.llama_decoder`).
    """
    precision, why = _precision(machine, packed_kernels)
    needed = int(parameters * BYTES[precision] * HEADROOM)
    return _choice(machine, precision, why, needed)


# Packed weights are kept beside bfloat16 ones, which prompts run on.
BYTES: dict[Precision, int] = {"int4": 3, "int8": 3, "bfloat16": 2, "float16": 2, "float32": 4}
_WHERE: dict[DeviceName, str] = {
    "cuda": "On the GPU", "xpu": "On the Intel GPU", "mps": "On the Apple GPU", "cpu": "On the processor",
}  # fmt: skip


def _choice(machine: Machine, precision: Precision, why: str, needed: int) -> RuntimeChoice:
    room = f"it needs about {_gigabytes(needed)} of {_gigabytes(machine.free_bytes)} free"
    reason = f"{_WHERE[machine.device]} ({machine.device_name}) in {precision}, because {why}; {room}."
    fits = needed <= machine.free_bytes
    return RuntimeChoice(machine.device, precision, fits, reason, needed, machine.free_bytes)


def _precision(machine: Machine, packed_kernels: bool) -> tuple[Precision, str]:
    if machine.device == "cpu" and packed_kernels:
        return "int4", "reading the weights takes most of the time of a token, and these were published in 4 bits"
    if machine.fast_bfloat16:
        return "bfloat16", "it computes bfloat16 in hardware"
    if machine.device != "cpu":
        return "float16", "this GPU has no bfloat16 arithmetic"
    return "float32", "this processor has no bfloat16 arithmetic"


_READ_LESS = "reading the weights takes most of the time of a token, and in 8 bits it takes half of that"


def plans(
    machine: Machine, needs: ModelNeeds, *, device: str = "auto", precision: str = "auto"
) -> tuple[RuntimeChoice, ...]:
    """Every way to run a checkpoint on this computer, the best first.

    First comes what the owner wished, of that what fits, of that the better device and the higher precision. The rest
    follows: it is what `models.seeing.ladder` goes on with when memory runs out. On a processor "auto" means 8 bits,
    then 4, as the weights' bytes are its time; on a GPU 16 bits, then 8, then 4.

    Args:
        device, precision: as in the settings; "auto" has no wish.

    Raises:
        EngineUnavailable: the device is not there, or nothing here computes with such weights.
    """
    devices = (machine, *machine.others)
    if device != "auto" and device not in {m.device for m in devices}:
        raise EngineUnavailable(
            f"torch finds no device {device!r} on this computer.",
            f"Choose the device auto, or one of: {', '.join(m.device for m in devices)}.",
        )
    found = [c for m in devices for c in _choices(m, needs, devices, precision)]

    def wished(choice: RuntimeChoice) -> bool:
        return device in ("auto", choice.device) and precision in ("auto", choice.precision)

    if not any(map(wished, found)):
        there = "" if device == "auto" else f" on the device {device}"
        raise EngineUnavailable(
            f"This computer cannot compute with {precision} weights{there}.",
            "Choose the precision auto, bfloat16 or float32.",
        )
    return tuple(sorted(found, key=lambda c: (not wished(c), not c.fits)))


def _choices(
    machine: Machine, needs: ModelNeeds, devices: Sequence[Machine], precision: str
) -> Iterator[RuntimeChoice]:
    """The ways to run on one device, the best first; `precision` is the owner's wish."""
    host = next((m.free_bytes for m in devices if m.device == "cpu"), machine.free_bytes)
    reasons: dict[Precision, str] = {}
    plain, why = _precision(machine, False)
    if machine.device == "cpu":
        reasons |= {"int8": _READ_LESS} if "int8" in machine.packed else {}
        reasons |= {"int4": "4 bits take the least memory"} if "int4" in machine.packed else {}
        reasons |= {} if reasons else {plain: why}
    else:
        reasons[plain] = why
        reasons |= {"int8": "8 bits take half the memory of 16"} if "int8" in machine.packed else {}
        reasons |= {"int4": "4 bits take the least memory"} if "int4" in machine.packed else {}
    for each in ("float32", "bfloat16", "float16", "int8", "int4"):
        if each == precision and (each in FLOATS or each in machine.packed):
            reasons = {each: "you chose it"} | {p: w for p, w in reasons.items() if p != each}
    for kind, reason in reasons.items():
        needed = _needed(needs, kind)
        choice = _choice(machine, kind, reason, needed)
        if kind == "int8" and machine.device != "cpu" and needs.weight_bytes("int8") > host:
            continue  # they are packed in the computer's own memory first (files are only mapped into it)
        yield choice


def _needed(needs: ModelNeeds, precision: Precision) -> int:
    """Bytes that the model takes while it answers: weights, a conversation's cache, what is computed on the way."""
    weights = needs.weight_bytes(precision)
    cache = needs.cache_bytes(min(CONVERSATION, needs.context_tokens)) * (2 if precision == "float32" else 1)
    return weights + cache + max(LEAST_WORKSPACE, int(WORKSPACE * weights))


def demand_fit(plans: Sequence[RuntimeChoice], name: str, offers: Sequence[str] = ()) -> None:
    """Raises `EngineUnavailable` when the owner's wish does not fit, and says what will.

    Args:
        plans: of `plans`.
        name: of the model.
        offers: names of other models that fit here.
    """
    first = plans[0]
    if first.fits:
        return
    same = [c for c in plans if c.device == first.device and not c.fits]
    least = min(same, key=lambda c: c.needed_bytes) if not any(c.fits for c in plans) else first
    instead = [f"{name} with --device {c.device} --precision {c.precision}" for c in plans if c.fits]
    fitting = [*instead[:1], *offers]
    raise EngineUnavailable(
        f"{name} does not fit: with {least.precision} weights it needs about {_gigabytes(least.needed_bytes)}, and "
        f"{_gigabytes(least.free_bytes)} are free {_ON[least.device]}.",
        f"These fit: {', '.join(fitting)}." if fitting else "Close other programs, or choose a smaller model.",
    )


_ON: dict[DeviceName, str] = {
    "cuda": "on the GPU", "xpu": "on the Intel GPU", "mps": "on the Apple GPU", "cpu": "in this computer's memory",
}  # fmt: skip


def usable_cores() -> int:
    """Cores that this process may use, which containers and affinity can limit."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _cpu_has_bfloat16() -> bool:
    """AVX-512 BF16 or AMX, as the kernel lists them; Apple's and other ARM processors with the bf16 extension."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"
