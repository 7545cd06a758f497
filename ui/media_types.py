"""Which content type an attachment is served with, by how it begins. Only types that a browser shows or plays."""

from __future__ import annotations

import io
from pathlib import Path

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)


def media_type(path: Path) -> str | None:
    """The file's type, or None where browsers need a picture in another format (TIFF, HEIC …) or know no such thing."""
    with path.open("rb") as file:
        start = file.read(16)
    for signature, found in _STARTS:
        if start.startswith(signature):
            return found
    if start[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(start[8:12])
    if start[4:8] == b"ftyp":
        if start[8:12] in (b"avif", b"avis"):
            return "image/avif"
        if start[8:12] in (b"M4A ", b"M4B "):
            return "audio/mp4"
        return None if start[8:11] in (b"hei", b"hev", b"mif", b"msf") else "video/mp4"
    if start[:1] == b"\xff" and len(start) > 1 and start[1] & 0xE0 == 0xE0:
        return "audio/mpeg"
    return None


def picture_for_browsers(path: Path) -> bytes:
    """A picture as JPEG. Raises `BadInput` when it is none."""
    from models.media import load_picture

    made = io.BytesIO()
    load_picture(path, path.name).image.save(made, "JPEG", quality=88)
    return made.getvalue()
