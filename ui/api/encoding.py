"""Speech as the bytes of a sound file, while it is being made: WAV and raw samples by hand, the rest by FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from models.types import AudioClip
from ui.api.errors import RequestRefused
from ui.sound import pcm16, wav_header

if TYPE_CHECKING:
    from av import AudioFrame

# Format → its media type.
FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# Samples a second of raw samples, which cannot say it themselves (so it is OpenAI's), and of what is compressed: a rate
# that MP3, AAC and Opus all know.
RATE = 24_000


@dataclass(frozen=True)
class _Container:
    """How FFmpeg calls a format. `bits`: a second; 0 leaves it to the encoder."""

    muxer: str
    codec: str
    bits: int = 0
    options: dict[str, str] = field(default_factory=dict)


# MP3 without the Xing frame and FLAC's total are written by going back, which a stream cannot.
_CONTAINERS = {
    "mp3": _Container("mp3", "libmp3lame", 64_000, {"write_xing": "0"}),
    "opus": _Container("ogg", "libopus", 48_000, {"page_duration": "200000"}),
    "aac": _Container("adts", "aac", 64_000),
    "flac": _Container("flac", "flac"),
}


def encoded(clips: Iterator[AudioClip], kind: str) -> Iterator[bytes]:
    """The bytes of a mono sound file, clip by clip; what `clips` raises passes through.

    Args:
        kind: one of `FORMATS`.

    Raises:
        RequestRefused: FFmpeg was built without the encoder.
    """
    if kind == "wav":
        yield from _wav(clips)
    elif kind == "pcm":
        resampler = _Resampler()
        for clip in clips:
            yield from map(_bytes_of, resampler.feed(clip))
        yield from map(_bytes_of, resampler.finish())
    else:
        yield from _compressed(clips, _CONTAINERS[kind], kind)


def _wav(clips: Iterator[AudioClip]) -> Iterator[bytes]:
    headed = False
    for clip in clips:
        yield (b"" if headed else wav_header(clip.rate)) + pcm16(clip)
        headed = True


def _compressed(clips: Iterator[AudioClip], container: _Container, kind: str) -> Iterator[bytes]:
    import av

    first = next(clips, None)  # before the encoder writes its header: nothing may be sent of what cannot be spoken
    if first is None:
        return
    sink = _Sink()
    resampler = _Resampler()
    try:
        options = {"flush_packets": "1", **container.options}
        with av.open(sink, "w", format=container.muxer, options=options) as output:
            stream: Any = output.add_stream(container.codec, rate=RATE, layout="mono")
            if container.bits:
                stream.bit_rate = container.bits
            for frame in resampler.feed(first):
                output.mux(stream.encode(frame))
            yield sink.take()
            for clip in clips:
                for frame in resampler.feed(clip):
                    output.mux(stream.encode(frame))
                yield sink.take()
            for frame in resampler.finish():
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise RequestRefused(f"The sound could not be written as {kind} ({error}). Ask for wav.", status=500) from error
    yield sink.take()


class _Sink:
    """What FFmpeg writes into; it has no `seek`, so that nothing is written by going back."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


class _Resampler:
    """Clips → 16-bit frames at `RATE`, without a seam between clips."""

    def __init__(self) -> None:
        import av

        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def feed(self, clip: AudioClip) -> list[AudioFrame]:
        import av

        if not len(clip.samples):
            return []
        samples = np.frombuffer(pcm16(clip), dtype=np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = clip.rate
        return self._resampler.resample(frame)

    def finish(self) -> list[AudioFrame]:
        return self._resampler.resample(None)


def _bytes_of(frame: AudioFrame) -> bytes:
    return frame.to_ndarray().astype("<i2").tobytes()
