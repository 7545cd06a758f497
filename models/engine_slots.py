"""One loaded engine and who uses it: given back to memory once nobody does."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

log = logging.getLogger(__name__)

LOOKED_AFTER_S = 0.05
COLLECTED_AFTER_S = 0.5


class Borrowed:
    """An engine as one user of it sees it. As long as this object is held, or an answer from it runs, it stays loaded.

    Every attribute is the engine's own.
    """

    def __init__(self, engine: Any) -> None:
        self._lucid_engine = engine

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._lucid_engine, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            return self._lucid_held(result) if isinstance(result, Iterator) else result

        return call

    def _lucid_held(self, pieces: Iterator[Any]) -> Iterator[Any]:
        """A generator keeps its `self`, and with it the engine."""
        try:
            yield from pieces
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()


class Keeper:
    """Holds an engine that can be closed, and closes it when nobody uses it: once retired, or idle for too long.

    Args:
        engine: has `close()`.
        idle_s: seconds without a user after which it is closed; 0: never.
        on_idle: called after it was closed for being idle.
    """

    def __init__(self, engine: Any, idle_s: float, on_idle: Callable[[], None]) -> None:
        self._engine: Any = engine
        self._idle_s = idle_s
        self._on_idle = on_idle
        self._users: weakref.WeakSet[Borrowed] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._retired = threading.Event()
        self._closed = threading.Event()
        self._used = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="lucid-keeper", daemon=True)
        self._thread.start()

    def borrow(self) -> Borrowed | None:
        """The engine; None when it is closed or about to be."""
        with self._lock:
            if self._engine is None or self._retired.is_set():
                return None
            user = Borrowed(self._engine)
            self._users.add(user)
            self._used = time.monotonic()
            return user

    @property
    def reason(self) -> str:
        """Where and how the engine runs now and why, "" if it does not say so (see `models.runtime.RuntimeChoice`)."""
        return str(getattr(getattr(self._engine, "choice", None), "reason", ""))

    def retire(self) -> None:
        """Closes the engine as soon as nobody uses it."""
        self._retired.set()

    def wait_closed(self, seconds: float) -> bool:
        """Whether it is closed, after at most so many seconds."""
        return self._closed.wait(seconds)

    def _watch(self) -> None:
        # A user that is gone says nothing: finalizers may run in the middle of anything, and must not take locks.
        waited, collect_at = 0.0, COLLECTED_AFTER_S
        while not self._close_if_unused():
            if self._retired.is_set():
                time.sleep(LOOKED_AFTER_S)
                waited += LOOKED_AFTER_S
                if waited >= collect_at:  # a user may be gone but for a cycle, an error's traceback for example
                    gc.collect()
                    collect_at *= 4
            else:
                self._retired.wait(min(5.0, self._idle_s / 8) if self._idle_s else None)

    def _close_if_unused(self) -> bool:
        with self._lock:
            if len(self._users):
                self._used = time.monotonic()
                return False
            retired = self._retired.is_set()
            idle = bool(self._idle_s) and time.monotonic() - self._used >= self._idle_s
            if not retired and not idle:
                return False
            engine, self._engine = self._engine, None
        try:
            engine.close()
        except Exception:
            log.exception("closing an engine failed")
        del engine
        release_memory()
        self._closed.set()
        if not retired:
            self._on_idle()
        return True


def release_memory() -> None:
    """Gives back what is free, to the system and to the device: Python's cycles first, then torch's own pools."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():  # ROCm included
        torch.cuda.empty_cache()
    if torch.xpu.is_available():
        torch.xpu.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
