"""Files that the owner has added to the composer and not sent yet: private, limited in size, gone afterwards."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.errors import BadInput

NAME_LENGTH = 120
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A file in the inbox. `token` is all that the page ever sees of where it lies."""

    token: str
    path: Path
    name: str
    kind: str


class Inbox:
    """The files in one folder.

    Args:
        folder: private, and emptied when Lucid ends (see `ui.temporary`).
        max_megabytes: upper limit of one file.
    """

    def __init__(self, folder: Path, max_megabytes: int) -> None:
        self.folder = folder
        self._max_megabytes = max_megabytes
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def receive(self, file: BinaryIO, name: str) -> Path:
        """Copies what was uploaded to a private file.

        Raises:
            BadInput: when it is too large or empty; nothing is left of it.
        """
        path = self.folder / secrets.token_hex(16)
        size = 0
        try:
            with path.open("xb") as copy:
                while piece := file.read(_CHUNK):
                    size += len(piece)
                    if size > self._max_megabytes << 20:
                        raise BadInput(f"{name} is larger than {self._max_megabytes} MB.", "Send a smaller file.")
                    copy.write(piece)
            if not size:
                raise BadInput(f"{name} is empty.", "Send another file.")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def keep(self, path: Path, name: str) -> Upload:
        """Registers a received file under a new token. Raises `BadInput` when it is no picture, sound or video."""
        from models.media import kind_of

        try:
            kind = kind_of(path, name)
        except BadInput:
            path.unlink(missing_ok=True)
            raise
        upload = Upload(secrets.token_urlsafe(16), path, name, kind)
        with self._lock:
            self._uploads[upload.token] = upload
        return upload

    def find(self, token: str) -> Upload:
        """Raises `BadInput` for a token that is not (or no longer) known."""
        with self._lock:
            upload = self._uploads.get(token)
        if upload is None:
            raise BadInput("An attachment is no longer here.", "Add it once more.")
        return upload

    def discard(self, token: str) -> None:
        """Removes a file, if it is still there."""
        with self._lock:
            upload = self._uploads.pop(token, None)
        if upload is not None:
            upload.path.unlink(missing_ok=True)


def clean_name(name: str) -> str:
    """A file's own name: no folders, no control signs, not endless."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c.isprintable()).strip()
    return shown[-NAME_LENGTH:] or "file"
