"""One file from the hub to the disk: goes on where an earlier attempt was cut off, checks what arrived, can be stopped.

`huggingface_hub` (2.x) downloads into a file with a random name and deletes it when it fails, so that a cut download
of gigabytes starts anew. Here the part that arrived stays, and the next attempt asks for the rest (RFC 9110, Range).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import Cancelled

CHUNK_BYTES = 1 << 20
# Without a byte for so long, a connection counts as dead.
STALLED_S = 20.0
# Attempts without a single new byte before a download is given up, and the pause before each.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
PARTIAL = ".partial"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: below the repository's root, with "/" between folders.
        size: in bytes.
        sha256: of the content, for large files; "" where the hub gives none.
        git_blob: SHA-1 of the content as Git counts it (with a header), for small files; "" where the hub gives none.
    """

    path: str
    size: int
    sha256: str = ""
    git_blob: str = ""


class DamagedFile(Exception):
    """What arrived is not what the hub announced."""


class StopSwitch:
    """Ends a download from another thread, even one that waits for the next byte."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def pull(self) -> None:
        self._pulled.set()
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(OSError):  # it has just been closed by itself
                    # A TLS socket's own `shutdown` would also take its state away from whoever reads from it.
                    socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    @property
    def pulled(self) -> bool:
        return self._pulled.is_set()

    def check(self) -> None:
        """Raises `Cancelled` once the switch was pulled."""
        if self._pulled.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """A pause. Raises `Cancelled` as soon as the switch is pulled."""
        self._pulled.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def holding(self, connection: socket.socket | None) -> Iterator[None]:
        """While the block runs, `pull` shuts this connection, which wakes whoever reads from it."""
        with self._lock:
            self._connection = connection
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._connection = None


def network_errors() -> tuple[type[BaseException], ...]:
    """What a request raises. The hub's library has changed the HTTP library below it between releases; the first base
    of its own error is always that library's."""
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], OSError)


def download_file(
    file: RemoteFile,
    url: str,
    headers: dict[str, str],
    target: Path,
    stop: StopSwitch,
    on_bytes: Callable[[int], None],
) -> None:
    """Brings `file` to `target`.

    Args:
        url: where it is fetched from; redirects are followed.
        headers: sent along (who asks, the owner's token).
        target: its final place. While it is not whole it lies beside it, with ".partial" at its name.
        stop: ends it.
        on_bytes: told how many bytes came, negative when what was there had to be thrown away; what an earlier attempt
            left is told at first.

    Raises:
        Cancelled: `stop` was pulled. What arrived is kept.
        DamagedFile: size or checksum are wrong. What arrived is deleted.
        OSError, and the HTTP library's errors: the network, the hub or the disk failed. What arrived is kept.
    """
    partial = target.with_name(target.name + PARTIAL)
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.exists() else 0
    on_bytes(have)
    failures = 0
    while have < file.size or not partial.exists():
        stop.check()
        before, trouble = have, None
        try:
            have = _receive(file, url, headers, partial, stop, on_bytes)
        except network_errors() as error:
            stop.check()  # the error is our own doing: the connection was shut
            have, trouble = partial.stat().st_size if partial.exists() else 0, error
        if have >= file.size and trouble is None:
            break
        failures = 0 if have > before else failures + 1
        if trouble is not None and not _may_pass(trouble):
            raise trouble
        if failures > len(PAUSES_S):
            raise trouble or ConnectionError(f"the connection closed before {file.path} was whole")
        if failures:
            stop.wait(PAUSES_S[failures - 1])
    try:
        _check(file, partial, stop)
    except DamagedFile:
        partial.unlink(missing_ok=True)
        on_bytes(-have)
        raise
    os.replace(partial, target)


def _may_pass(error: BaseException) -> bool:
    """Whether it is worth trying again: not when the hub refuses, nor when the disk does."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in (408, 429) or response.status_code >= 500
    return not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError))


def _receive(
    file: RemoteFile,
    url: str,
    headers: dict[str, str],
    partial: Path,
    stop: StopSwitch,
    on_bytes: Callable[[int], None],
) -> int:
    """One request for what is missing. Returns how much is there now."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    have = partial.stat().st_size if partial.exists() else 0
    asked = {**headers, "Accept-Encoding": "identity"}
    if have:
        asked["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=asked, timeout=STALLED_S, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if have and response.status_code != 206:  # it sends the whole file whatever is asked
            on_bytes(-have)
            have = 0
        with stop.holding(_socket_of(response)), open(partial, "ab" if have else "wb") as out:
            for piece in response.iter_raw():  # as it comes: what is held back is lost in a cut
                stop.check()
                have += len(piece)
                if have > file.size:
                    break
                out.write(piece)
                on_bytes(len(piece))
    if have > file.size:
        partial.unlink()
        raise DamagedFile(f"{file.path} is longer than the {file.size} bytes announced")
    return have


def _socket_of(response: Any) -> socket.socket | None:
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    return found if isinstance(found, socket.socket) else None


def _check(file: RemoteFile, there: Path, stop: StopSwitch) -> None:
    size = there.stat().st_size
    if size != file.size:
        raise DamagedFile(f"{file.path} has {size} bytes in place of {file.size}")
    if not file.sha256 and not file.git_blob:
        return
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(there, "rb") as content:
        while piece := content.read(CHUNK_BYTES):
            stop.check()
            digest.update(piece)
    if digest.hexdigest() != (file.sha256 or file.git_blob):
        raise DamagedFile(f"the checksum of {file.path} is wrong")
