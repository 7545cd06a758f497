"""How much of the owner's time and memory one file may cost."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from models.errors import BadInput

T = TypeVar("T")

MAX_PIXELS = 40_000_000
"""Larger pictures are refused from their header: 40 megapixels are 160 MB once decoded (4 bytes a pixel)."""

MAX_SIDE = 2048
"""Pictures and frames are shrunk to this: more than any vision encoder here takes."""

MAX_SECONDS = 1800.0
"""Longer sound and video is refused: half an hour of 16 kHz float32 is 115 MB."""

DECODE_SECONDS = 10.0
"""No file may keep the owner waiting longer than this for nothing."""


class Deadline:
    """A moment after which a decoder is not worth waiting for.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._end

    def extend(self, seconds: float) -> None:
        """Allows more time, because the decoder has shown something for it."""
        self._end += seconds


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """What `work` returns (or raises), or `BadInput` when it takes longer than `seconds`.

    Decoders written in C cannot be interrupted, so `work` runs in a daemon thread that is left to finish by itself when
    the time is up: the owner stops waiting, and the limits on size bound what it still uses.
    """
    results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((True, work()))
        except BaseException as error:  # raised again in the caller's thread
            results.put((False, error))

    threading.Thread(target=run, name="lucid-decode", daemon=True).start()
    try:
        succeeded, value = results.get(timeout=seconds)
    except queue.Empty:
        raise BadInput(
            f"“{name}” takes longer than {seconds:.0f} seconds to decode, so it was given up.",
            "Save it again in a common format, or smaller, and send that.",
        ) from None
    if succeeded:
        return value
    raise value
