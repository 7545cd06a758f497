"""Medians and percentiles of interleaved runs, and the machine that they were taken on."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def machine() -> str:
    """One line that names the machine: processor, cores, memory, system."""
    processor, memory = platform.processor() or platform.machine(), ""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = f"{names[0]}, {len(names)} cores" if names else processor
    if meminfo.exists():
        kilobytes = int(meminfo.read_text().split()[1])
        memory = f", {kilobytes / 2**20:.0f} GiB"
    return f"{processor}{memory}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 … 1) of the values lie, by nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(share * len(ranked)) - 1))]


def interleaved(sides: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """Each side's median over `runs` rounds; every round runs every side once, so that noise falls on all alike.

    Args:
        sides: name → a function that does the work and returns its figure.
    """
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            figures[name].append(side())
    return {name: statistics.median(values) for name, values in figures.items()}


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
