"""What a file is, by its content; its name and ending are not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from models.errors import BadInput
from models.media.container import check_file, open_container, sound_stream, video_stream

Kind = Literal["image", "audio", "video"]

_PICTURE_STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",  # TIFF, little-endian
    b"MM\x00*",
    b"qoif",
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # JPEG 2000 codestream
    b"\x00\x00\x01\x00",  # icon
    b"\x00\x00\x02\x00",  # cursor
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")


def looks_like_picture(start: bytes) -> bool:
    """Whether the first bytes (32 suffice) are those of a still or animated picture."""
    if start.startswith(_PICTURE_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return True
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return True  # PBM, PGM, PPM
    return is_heif(start)


def is_heif(start: bytes) -> bool:
    """Whether the first bytes are those of an ISO media file that holds pictures (HEIC, AVIF)."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


def kind_of(path: Path, name: str = "") -> Kind:
    """What the file holds. Animated pictures (GIF, WebP, PNG, AVIF) are images.

    Raises:
        BadInput: it is none of the three.
    """
    path = Path(path)
    name = name or path.name
    check_file(path, name)
    with open(path, "rb") as file:
        start = file.read(32)
    if looks_like_picture(start):
        return "image"
    try:
        with open_container(path, name) as container:
            if video_stream(container):
                return "video"
            if sound_stream(container):
                return "audio"
    except BadInput:
        pass  # TGA pictures have no signature to look for, so Pillow is asked before giving up
    from models.media.pictures import is_readable_picture

    if is_readable_picture(path):
        return "image"
    raise BadInput(f"“{name}” is neither a picture nor sound nor a video.", "Send JPEG, PNG, MP3, WAV, MP4 …")
