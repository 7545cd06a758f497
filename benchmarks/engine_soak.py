"""What the engine leaves behind after a thousand cancelled answers, and how it gets over running out of memory."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine_checkpoint import REAL, Size, checkpoint_folder
from models.errors import OutOfMemory
from models.interfaces import GenerationOptions, TextDelta
from models.runtime import RuntimeChoice
from models.seeing.ladder import ResilientModel
from models.streaming import CancelScope, CancelToken, Outlet, iterate_in_threads, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart, VideoClip, VideoPart

Rows = list[tuple[str, str, str]]

CYCLES = 1000
TOKENS = GenerationOptions(max_new_tokens=32, repetition_penalty=1.0)
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True)
class Held:
    """What the process holds at one moment."""

    threads: int
    files: int
    megabytes: float


def leaks(load: Callable[[], Any]) -> Rows:
    """Starts and cancels a thousand answers, each in a thread as in a turn; slopes over the second half."""
    engine = load()
    held: list[Held] = []
    for number in range(CYCLES):
        _start_and_cancel(engine, number)
        if number % 10 == 9:
            gc.collect()
            held.append(_held())
    engine.close()
    late = held[len(held) // 2 :]
    threads, files, memory = (
        slope([getattr(h, name) for h in late]) * CYCLES / 10 for name in ("threads", "files", "megabytes")
    )
    what = f"{CYCLES} started and stopped answers, slope per {CYCLES}"
    return [
        (f"{what}: threads, open files", f"{threads:+.2f}, {files:+.2f}", "0"),
        (f"{what}: memory", f"{memory:+.1f} MB", "≤ 5 MB"),
    ]


def _start_and_cancel(engine: Any, number: int) -> None:
    scope = CancelScope()
    token = scope.begin()
    picture = _picture(56, number % 7)
    asked = [Message("user", (ImagePart(picture), TextPart(f"What is this, for the {number}th time?")))]

    def say(outlet: Outlet[TextDelta]) -> None:
        for delta in engine.stream(asked, TOKENS, token):
            outlet.put(delta)

    for heard, _ in enumerate(iterate_in_threads(say)):
        if heard == number % 4:
            scope.cancel()


def _held() -> Held:
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    return Held(threading.active_count(), files, pages * PAGE / 2**20)


def slope(values: Sequence[float]) -> float:
    """Growth per step, by least squares."""
    return float(statistics.linear_regression(range(len(values)), values).slope)


def _picture(side: int, seed: int, time_s: float | None = None) -> Picture:
    import numpy as np
    from PIL import Image

    shades = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Picture.of(Image.fromarray(shades), f"{seed}.png", time=time_s)


# -- out of memory -------------------------------------------------------------------------------------------------


class _Scarce:
    """An engine that runs out of memory in mid-answer, as often as `left` says; its times are noted."""

    def __init__(self, engine: Any, left: list[int], failed: list[float]) -> None:
        self._engine, self._left, self._failed = engine, left, failed

    def stream(self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken) -> Iterator[Any]:
        for number, delta in enumerate(self._engine.stream(messages, options, cancel)):
            if number == 2 and self._left[0]:
                self._left[0] -= 1
                self._failed.append(time.perf_counter())
                raise OutOfMemory("injected")
            yield delta

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def recoveries(size: Size) -> Rows:
    """From the failure to the next piece of the answer, for every step of the ladder; and of a real size, reported."""
    ways = (("cuda", "float32"), ("cuda", "bfloat16"), ("cpu", "int8"))
    steps = _recoveries(size, ways, frames=4, side=300)
    row = f"recovery from running out of memory, {len(steps)} steps, worst"
    slowest = max(steps, key=lambda s: s[1])
    rows: Rows = [(row, f"{slowest[1]:.2f} s", "≤ 2 s")]
    rows += [(f"  {notice}", f"{took:.2f} s", "") for notice, took in steps]
    real = _recoveries(REAL, (("cpu", "int8"), ("cpu", "int4")), frames=0, side=0)
    return [*rows, (f"  lower precision with {REAL.name}, loaded anew", f"{real[-1][1]:.2f} s", "")]


def _recoveries(size: Size, ways: Sequence[tuple[str, str]], *, frames: int, side: int) -> list[tuple[str, float]]:
    """(what was done, seconds) of every step that there is, in one answer.

    The plans name a GPU, so that leaving it is tried too; everything is loaded on the processor.
    """
    from models.seeing.checkpoint import load_checkpoint

    folder = checkpoint_folder(size)
    plans = [RuntimeChoice(device, precision, True, "") for device, precision in ways]  # type: ignore[arg-type]
    left, failed = [0], list[float]()

    def load(choice: RuntimeChoice) -> Any:
        here = RuntimeChoice("cpu", choice.precision, True, "")
        return _Scarce(load_checkpoint(folder, here, name=size.name), left, failed)

    model = ResilientModel(load, plans, size.name, free=lambda device: 0)
    shots = tuple(_picture(side, number, float(number)) for number in range(frames))
    video = (VideoPart(VideoClip(shots, None, 4.0, "v.mp4")),) if frames else ()
    asked = [Message("user", (*video, TextPart("What happens here?")))]
    list(model.stream(asked, TOKENS, never_cancelled()))  # once undisturbed
    left[0] = 1 + (frames > 2) + (side > 224) + len(plans) - 1
    notices, done = list[str](), list[float]()
    for delta in model.stream(asked, TOKENS, never_cancelled()):
        if delta.notice:
            notices.append(delta.notice)
        elif len(done) < len(notices):
            done.append(time.perf_counter())
    model.close()
    assert len(done) == len(failed) == len(notices), (notices, failed, done)
    kinds = [_kind(n) for n in notices]
    return [(kind, end - begin) for kind, begin, end in zip(kinds, failed, done, strict=True)]


def _kind(notice: str) -> str:
    kinds = {
        "dropped": "caches dropped",
        "frames": "fewer frames",
        "pixels": "smaller pictures",
        "processor": "processor",
    }
    return next((kind for word, kind in kinds.items() if word in notice), "lower precision")
