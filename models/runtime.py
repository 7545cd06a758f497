"""Where and how a model runs: device, precision and memory, each choice with its reason as a sentence."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

DeviceName = Literal["cuda", "mps", "cpu"]
Precision = Literal["int8", "bfloat16", "float16", "float32"]

GIGABYTE = 1 << 30
# A model needs its weights, and about a fifth more for caches and activations of a conversation.
HEADROOM = 1.2


@dataclass(frozen=True)
class Machine:
    """What this computer offers.

    Attributes:
        device: the best kind of device that torch can use.
        device_name: as the driver calls it.
        free_bytes: memory free on that device.
        fast_bfloat16: the device multiplies bfloat16 matrices in hardware.
        cores: processor cores this process may use.
    """

    device: DeviceName
    device_name: str
    free_bytes: int
    fast_bfloat16: bool
    cores: int


@dataclass(frozen=True)
class RuntimeChoice:
    """Where and how to run, and why. `fits`: whether the free memory is enough."""

    device: DeviceName
    precision: Precision
    fits: bool
    reason: str


def this_machine() -> Machine:
    """Looks at the computer (imports torch)."""
    import torch

    cores = usable_cores()
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine("cuda", torch.cuda.get_device_name(), free, torch.cuda.is_bf16_supported(False), cores)
    if torch.backends.mps.is_available():
        return Machine("mps", "Apple GPU", available_memory(), True, cores)
    return Machine("cpu", torch.backends.cpu.get_cpu_capability(), available_memory(), _cpu_has_bfloat16(), cores)


def choose(machine: Machine, parameters: int, *, packed_kernels: bool = False) -> RuntimeChoice:
    """How to run a model on `machine`.

    Args:
        parameters: how many the model has.
        packed_kernels: it can run on 8-bit weights on a processor (see `models.seeing.llama_decoder`).
    """
    precision, why = _precision(machine, packed_kernels)
    needed = int(parameters * BYTES[precision] * HEADROOM)
    fits = needed <= machine.free_bytes
    room = f"it needs about {_gigabytes(needed)} of {_gigabytes(machine.free_bytes)} free"
    reason = f"{_WHERE[machine.device]} ({machine.device_name}) in {precision}, because {why}; {room}."
    return RuntimeChoice(machine.device, precision, fits, reason)


# Packed weights are kept beside bfloat16 ones, which prompts run on.
BYTES: dict[Precision, int] = {"int8": 3, "bfloat16": 2, "float16": 2, "float32": 4}
_WHERE: dict[DeviceName, str] = {"cuda": "On the GPU", "mps": "On the Apple GPU", "cpu": "On the processor"}


def _precision(machine: Machine, packed_kernels: bool) -> tuple[Precision, str]:
    if machine.device == "cpu" and packed_kernels:
        return "int8", "reading the weights takes most of the time of a token, and 8 bits are the fewest to read"
    if machine.fast_bfloat16:
        return "bfloat16", "it computes bfloat16 in hardware"
    if machine.device == "cuda":
        return "float16", "this GPU has no bfloat16 arithmetic"
    return "float32", "this processor has no bfloat16 arithmetic"


def usable_cores() -> int:
    """Cores that this process may use, which containers and affinity can limit."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that can be used without swapping; where the system does not say, half of all."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * GIGABYTE  # Windows has no sysconf: what any machine that runs torch has


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
