"""Which Lucid processes are alive on one data folder.

The page and a command line may be open together, so nothing may be tidied up that another living process is still
writing. Each process keeps a lock on a file of its own; the operating system drops the lock when the process ends,
however it ends. (A process id alone would not do: ids are used again.)
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.05)

else:
    import fcntl

    def _lock(descriptor: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            return False


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Holds the one lock on `file`, waiting for it as long as another process has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


class Presence:
    """This process's sign of life in `folder`. Make one, and ask `living()`, only under the same `exclusive` lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.token = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._folder = folder
        self._file = folder / self.token
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(self._descriptor, wait=True)

    def living(self) -> frozenset[str]:
        """Tokens of all living processes, this one included. Forgets the dead."""
        alive = {self.token}
        for file in self._folder.iterdir():
            if file.name != self.token and _is_held(file):
                alive.add(file.name)
        return frozenset(alive)

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def close(self) -> None:
        """Takes the sign of life away."""
        if not self.closed:
            os.close(self._descriptor)
            self._descriptor = -1
            self._file.unlink(missing_ok=True)


def _is_held(file: Path) -> bool:
    """Whether a living process holds `file`; removes it if not."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False  # its process closed just now
    try:
        held = not _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)
    if not held:
        file.unlink(missing_ok=True)
    return held
