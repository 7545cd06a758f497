"""Files become values here: pictures, sound and video, decoded defensively.

Whatever a file says of itself is checked before memory or time is spent on it, and whatever a decoder raises reaches
the caller as `BadInput` with a sentence for the owner. The decoding libraries are imported at the first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.media.kinds import Kind
    from models.types import AudioClip, Picture, VideoClip

__all__ = ["kind_of", "load_picture", "load_sound", "load_video"]


def kind_of(path: Path, name: str = "") -> Kind:
    """ "image", "audio" or "video", by the file's content. See `models.media.kinds.kind_of`."""
    from models.media import kinds

    return kinds.kind_of(path, name)


def load_picture(path: Path, name: str = "") -> Picture:
    """An upright RGB picture of at most 2048 pixels a side. See `models.media.pictures.load_picture`."""
    from models.media import pictures

    return pictures.load_picture(path, name)


def load_sound(path: Path, name: str = "", max_seconds: float = 1800) -> AudioClip:
    """Mono sound at 16 kHz. See `models.media.sound.load_sound`."""
    from models.media import sound

    return sound.load_sound(path, name, max_seconds)


def load_video(path: Path, name: str = "", frames: int = 8, max_seconds: float = 1800) -> VideoClip:
    """A few timed frames and the sound. See `models.media.video.load_video`."""
    from models.media import video

    return video.load_video(path, name, frames, max_seconds)
