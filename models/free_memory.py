"""How much memory is free, as the system and the container that this runs in say; and giving it back."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

GIGABYTE = 1 << 30


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that can be used without swapping and without the container's end.

    Where the system does not say, half of all there is. `root` holds `proc` and `sys` (tests name another).
    """
    free = _system_memory(root)
    return min([free, *container_room(root)])


def _system_memory(root: Path) -> int:
    try:
        with open(root / "proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * GIGABYTE  # Windows has no sysconf: what any machine that runs torch has


def container_room(root: Path = Path("/")) -> Iterator[int]:
    """Bytes that each control group around this process still allows (Linux, versions 1 and 2).

    What a group uses includes files read lately, which the kernel drops when memory is asked for: they count as free.
    """
    for folder, limit, used, cached in _groups(root):
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            yield max(0, most - now + _in_stat(folder / "memory.stat", cached))


def _groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """(folder, file of the limit, file of the usage, key of cached files) of every group that holds this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            top, names = base, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = base / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / path.lstrip("/")
        # Inside a container the path may be the host's, of which only the top is to be seen.
        while folder != top and top in folder.parents:
            yield (folder, *names)
            folder = folder.parent
        yield (top, *names)


def _number(file: Path) -> int | None:
    """The number in `file`; None where there is none, or it says that there is no limit."""
    try:
        text = file.read_text(encoding="ascii").strip()
        number = int(text)
    except (OSError, ValueError):  # no such file; "max"
        return None
    return number if number < 1 << 60 else None


def _in_stat(file: Path, key: str) -> int:
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass  # without it, less counts as free
    return 0


def give_back() -> None:
    """Frees what only waits for Python's garbage collector (0.3 s with everything imported), then `trim`s."""
    gc.collect()
    trim()


def trim() -> None:
    """Returns what this process has freed to the system: torch's caches on every device, and the C library's.

    glibc keeps freed blocks for later; after a model went that can be hundreds of megabytes.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if hasattr(torch, "xpu") and torch.xpu.is_available():
            torch.xpu.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:  # musl has none
        malloc_trim(0)
