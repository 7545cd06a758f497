"""Attachment files, named after their content: data_dir/attachments/ab/cdef… for SHA-256 abcdef…

This is the disk half. Which files are wanted, and by whom, is written in the database (store.py), whose write lock also
orders `publish` and `remove` among processes.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Incoming:
    """A copy that is complete and on the disk, but not yet in its place."""

    file: Path
    digest: str
    size_bytes: int


class AttachmentFolder:
    """The files below `folder`. `token` marks the copies in progress of this process."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder
        self._token = token
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / _INCOMING).mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the file of `digest` lies. Raises `ValueError` for anything but 64 hexadecimal digits."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256 digest")
        return self._folder / digest[:2] / digest[2:]

    def take(self, source: Path) -> Incoming:
        """Copies `source`, hashing what is copied; on the disk when it returns."""
        file = self._folder / _INCOMING / f"{self._token}.{secrets.token_hex(8)}"
        digest, size = hashlib.sha256(), 0
        try:
            with (
                open(source, "rb") as reader,
                open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy,
            ):
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    copy.write(chunk)
                copy.flush()
                os.fsync(copy.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        return Incoming(file, digest.hexdigest(), size)

    def publish(self, incoming: Incoming) -> None:
        """Moves a copy into its place, durably. One that lies there already is replaced: that mends a damaged one."""
        place = self.path(incoming.digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(incoming.file, place)
        _sync_folder(place.parent)
        _sync_folder(self._folder)

    def discard(self, incoming: Incoming) -> None:
        """Drops a copy that is not wanted after all."""
        incoming.file.unlink(missing_ok=True)

    def remove(self, digest: str) -> None:
        """Deletes the file of `digest`, if it is there."""
        place = self.path(digest)
        place.unlink(missing_ok=True)
        with suppress(OSError):  # other files of the same first two digits keep their folder
            place.parent.rmdir()

    def digests(self) -> Iterator[str]:
        """Every file that is there."""
        for folder in list(self._folder.iterdir()):
            if len(folder.name) == 2 and folder.is_dir():
                yield from (
                    digest for file in list(folder.iterdir()) if _DIGEST.fullmatch(digest := folder.name + file.name)
                )

    def forget_copies_of_the_dead(self, living: frozenset[str]) -> None:
        """Removes the unfinished copies of processes that are gone."""
        for file in list((self._folder / _INCOMING).iterdir()):
            if file.name.partition(".")[0] not in living:
                file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders; NTFS journals the rename itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
