"""Opening sound and video files with PyAV, with the doors shut that FFmpeg leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import BadInput, EngineUnavailable
from models.media.limits import MAX_PIXELS

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEMUXERS = (
    # sound
    "aac,ac3,aiff,amr,ape,asf,au,caf,dsf,dts,eac3,flac,iff,mp3,mpc,mpc8,ogg,sox,spx,tta,voc,w64,wav,wv,"
    # video (most carry sound too)
    "avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,rm,webm,yuv4mpegpipe"
)
"""What FFmpeg may take a file for. Playlists and scripts (hls, dash, concat, sdp, image2 …) are left out on purpose:
a file sent by somebody else must not make FFmpeg open other files or addresses."""

OPTIONS = {
    "format_whitelist": DEMUXERS,
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_PIXELS),
}
OPEN_TIMEOUT_S = 8.0


def check_file(path: Path, name: str) -> None:
    """Raises `BadInput` when `path` is no file with something in it."""
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise BadInput(f"“{name}” cannot be read: {error.strerror or error}.") from error
    if size is None:
        raise BadInput(f"“{name}” is not there, or is not a file.")
    if size == 0:
        raise BadInput(f"“{name}” is empty.", "Send the file again; it may not have been saved completely.")


@contextmanager
def open_container(path: Path, name: str) -> Iterator[InputContainer]:
    """The file as a PyAV container, closed again at the end.

    Raises:
        BadInput: it is missing, empty, or no sound or video that FFmpeg knows.
        EngineUnavailable: PyAV is not installed.
    """
    check_file(path, name)
    try:
        import av
    except ImportError as error:
        raise EngineUnavailable("PyAV, which reads sound and video, is missing.", "Run: pip install av") from error
    try:
        # "file:" keeps a path from being read as an address; metadata in unknown encodings must not matter.
        container = av.open(
            f"file:{path.resolve()}",
            options=dict(OPTIONS),
            metadata_errors="replace",
            timeout=(OPEN_TIMEOUT_S, OPEN_TIMEOUT_S),
        )
    except Exception as error:  # FFmpegError, but also ValueError or UnicodeError from a mad header
        raise BadInput(
            f"“{name}” is not a sound or video file that can be read; it may be damaged or of another kind.",
            "Send it as WAV, MP3, FLAC, MP4 or WebM.",
        ) from error
    try:
        yield container
    finally:
        container.close()


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first sound track that has a decoder, or None."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first moving picture, or None. Cover art (an attached picture) is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    return None
