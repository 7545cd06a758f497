"""Sound of any rate, channels and container becomes one mono clip at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.errors import BadInput
from models.media.container import open_container, sound_stream
from models.media.limits import DECODE_SECONDS, MAX_SECONDS, Deadline
from models.types import AudioClip

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

RATE = 16_000
"""Samples per second that every recogniser here takes."""

LOWEST_RATE, HIGHEST_RATE = 100, 3_000_000
"""Beyond these a header is lying; 2.8 MHz is DSD. The resampler's filter grows with the rate, so this bounds memory."""

DAMAGED_PACKETS = 200
"""Packets in a row that may fail to decode before the rest of a file is given up."""


def load_sound(path: Path, name: str = "", max_seconds: float = MAX_SECONDS) -> AudioClip:
    """The file's (first) sound track, also that of a video. A damaged file gives what could be read of it.

    Args:
        path: the file.
        name: what the owner calls it; "" takes the file's own name.
        max_seconds: longer sound is refused, as soon as so much has been decoded: headers are not believed.

    Returns:
        Mono float32 in [-1, 1] at 16 kHz; channels are averaged.

    Raises:
        BadInput: no sound in it, too long, too slow, or not decodable.
    """
    path = Path(path)
    name = name or path.name
    with open_container(path, name) as container:
        stream = sound_stream(container)
        if stream is None:
            raise BadInput(f"“{name}” has no sound.")
        _check_header(stream, name)
        return AudioClip(_decode(container, stream, name, max_seconds), RATE, name)


def _check_header(stream: AudioStream, name: str) -> None:
    context = stream.codec_context
    if context.channels < 1:
        raise BadInput(
            f"“{name}” says that it has no channels, so there is nothing to hear.", "Record or save it again."
        )
    _check_rate(context.sample_rate, name)


def _check_rate(rate: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BadInput(
            f"“{name}” says that it has {rate:,} samples per second, which no recording has.",
            "Record or save it again.",
        )


def _decode(container: InputContainer, stream: AudioStream, name: str, max_seconds: float) -> np.ndarray:
    """All of the stream's samples, shape (n,)."""
    deadline = Deadline(DECODE_SECONDS)
    limit = int(max_seconds * RATE)
    blocks: list[np.ndarray] = []
    decoded = 0
    resampler = _Resampler(name)
    for frame in _frames(container, stream, deadline, name):
        for block in resampler.feed(_mono(frame), frame.sample_rate):
            blocks.append(block)
            decoded += len(block)
            deadline.extend(len(block) / RATE * 0.1)  # a decoder that runs at ten times real time is not hanging
        if decoded > limit:
            raise BadInput(
                f"“{name}” is longer than {_minutes(max_seconds)}.", "Send a shorter part of it, or several parts."
            )
    blocks.extend(resampler.finish())
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not len(samples):
        raise BadInput(f"“{name}” holds no sound that can be decoded; it may be damaged.", "Record or save it again.")
    return np.clip(samples[:limit], -1.0, 1.0)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _frames(container: InputContainer, stream: AudioStream, deadline: Deadline, name: str) -> Iterator[AudioFrame]:
    """The decoded frames. Damaged packets are passed over; a break in the container ends it."""
    failures = 0
    packets = container.demux(stream)
    while failures < DAMAGED_PACKETS:
        if deadline.passed:
            raise BadInput(f"“{name}” takes too long to decode.", "Save it as WAV or MP3 and send that.")
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (OSError, ValueError, ArithmeticError, RuntimeError):  # FFmpegError is one of these
            return
        try:
            frames = packet.decode()
        except (OSError, ValueError, ArithmeticError, RuntimeError, NotImplementedError):
            failures += 1
            continue
        for frame in frames:
            if frame.samples:
                failures = 0
                yield frame


def _mono(frame: AudioFrame) -> np.ndarray:
    """The frame as float32, shape (samples,), channels averaged, what is not a number silenced."""
    values = frame.to_ndarray()
    if frame.format.is_packed:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        scaled = (values.astype(np.float32) - 128.0) / 128.0
    elif values.dtype.kind == "i":
        scaled = values.astype(np.float32) / float(2 ** (8 * values.dtype.itemsize - 1))
    else:
        # Clipped before averaging and filtering: one absurd value would otherwise drown everything around it.
        scaled = np.clip(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), -4.0, 4.0).astype(np.float32)
    return scaled.mean(axis=0, dtype=np.float32)


class _Resampler:
    """Brings blocks of any (even changing) rate to 16 kHz; gathers a second at a time, since frames are tiny."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rate = 0
        self._waiting: list[np.ndarray] = []
        self._resampler: object | None = None

    def feed(self, samples: np.ndarray, rate: int) -> list[np.ndarray]:
        """Takes samples, shape (n,); returns what is ready at 16 kHz. Raises `BadInput` for an impossible rate."""
        ready: list[np.ndarray] = []
        if rate != self._rate:
            ready = self.finish()
            _check_rate(rate, self._name)
            self._rate = rate
            self._resampler = self._make()
        self._waiting.append(samples)
        if sum(map(len, self._waiting)) >= min(rate, 1 << 18):
            ready.extend(self._convert())
        return ready

    def finish(self) -> list[np.ndarray]:
        """What is left, at the end or before the rate changes."""
        return self._convert(last=True) if self._rate else []

    def _make(self) -> object | None:
        import av

        return None if self._rate == RATE else av.AudioResampler(format="flt", layout="mono", rate=RATE)

    def _convert(self, last: bool = False) -> list[np.ndarray]:
        import av

        gathered = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        self._waiting = []
        if self._resampler is None:
            return [gathered] if len(gathered) else []
        converted = []
        if len(gathered):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(gathered[None]), format="flt", layout="mono")
            frame.sample_rate = self._rate
            converted = self._resampler.resample(frame)  # type: ignore[attr-defined]
        if last:
            converted = [*converted, *self._resampler.resample(None)]  # type: ignore[attr-defined]
        return [piece.to_ndarray().reshape(-1) for piece in converted if piece.samples]


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mono float32 samples of any rate at 16 kHz, shape (m,).

    Raises:
        BadInput: a rate that no recording has.
    """
    resampler = _Resampler("The recording")
    pieces = [*resampler.feed(samples, rate), *resampler.finish()]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
