"""Reaching single frames of a video without decoding all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.media.limits import MAX_PIXELS, Deadline

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

DAMAGED_PACKETS = 200
"""Packets in a row that may fail to decode before the rest of a video is given up."""

BLIND_SEEK_SECONDS = 2.0
"""Without an index of key frames, a seek is tried when the next frame wanted is further away than this."""

NEAR_SECONDS = 0.5
"""So close to the wanted time every frame is decoded."""

SEEK_TOLERANCE_SECONDS = 1.0
"""A seek that lands later than the wanted time by more than this shows that the file cannot be sought in."""

FFMPEG_ERRORS = (OSError, ValueError, ArithmeticError, RuntimeError, NotImplementedError, EOFError, LookupError)
"""What PyAV raises: its FFmpegError subclasses derive from these, and so do its own complaints."""


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A decoded frame and its time in seconds from the start of the video."""

    frame: VideoFrame
    time: float


class FrameReader:
    """Finds the frame that is on screen at a given time. Ask for times in ascending order.

    The reader seeks to the last key frame before the time and decodes forward from there; it only seeks where that
    skips something, so that a short clip is simply decoded once from start to end.

    Args:
        container, stream: an open video.
        exact: once this has passed, `at` returns key frames instead of exact frames.
        give_up: once this has passed, nothing more is decoded.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, exact: Deadline, give_up: Deadline) -> None:
        self._container = container
        self._stream = stream
        self._exact = exact
        self._give_up = give_up
        self._start = _start_of(stream)
        self._seekable = True
        self._sought = False
        self.ended = False
        self._failures = 0
        self._wanted = 0.0
        self._shown: TimedFrame | None = None
        self._ahead: TimedFrame | None = None
        self._decoder = self._decoded()

    def at(self, seconds: float, tolerance: float = 0.0) -> TimedFrame | None:
        """The frame shown at `seconds` (or, before the first frame, that one); None if there is none.

        Args:
            seconds: from the start of the video.
            tolerance: a key frame that is earlier by at most so much will do; it is the cheapest to reach.
        """
        self._wanted = seconds
        in_haste = self._exact.passed and self._seekable
        if in_haste or self._skips_something(seconds):
            self._seek(seconds)
            if in_haste:
                self._advance()
                return self._ahead or self._shown
            self._advance()
            if self._ahead and self._ahead.time > seconds + SEEK_TOLERANCE_SECONDS:
                self._seekable = False
                self._seek(0.0)
            elif self._ahead and seconds - tolerance <= self._ahead.time <= seconds:
                return self._ahead
        while not self.ended and (self._ahead is None or self._ahead.time <= seconds):
            self._advance()
        return self._shown or self._ahead

    def _advance(self) -> None:
        if self._ahead is not None:
            self._shown = self._ahead
        self._ahead = next(self._decoder, None)
        self.ended = self._ahead is None

    def _skips_something(self, seconds: float) -> bool:
        """Whether a seek to `seconds` would land after the frames that were decoded already."""
        if not self._seekable:
            return False
        last = self._ahead or self._shown
        position = last.time if last else 0.0
        key = self._key_frame_before(seconds)
        return seconds - position > BLIND_SEEK_SECONDS if key is None else key > position

    def _key_frame_before(self, seconds: float) -> float | None:
        """The time of the last key frame up to `seconds` by the file's index, None where it has no complete one."""
        kind = self._container.format.name
        complete = "mov" in kind or kind == "avi" or ("matroska" in kind and self._sought)
        entries = self._stream.index_entries
        if not complete or not len(entries):
            return None
        found = entries.search_timestamp(self._pts(seconds), backward=True)
        return self._seconds(entries[found].timestamp) if 0 <= found < len(entries) else None

    def _seek(self, seconds: float) -> None:
        self._shown = self._ahead = None
        self.ended = False
        try:
            self._container.seek(self._pts(seconds), stream=self._stream, backward=True)
            self._sought = True
        except FFMPEG_ERRORS:
            self._seekable = False
        self._decoder = self._decoded()

    def _pts(self, seconds: float) -> int:
        return int((seconds + self._start) / float(self._stream.time_base or 1))

    def _seconds(self, pts: int) -> float:
        return pts * float(self._stream.time_base or 1) - self._start

    def _decoded(self) -> Iterator[TimedFrame]:
        """The frames from here on. Damaged packets are passed over; a break in the container ends it."""
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        count = 0
        for packet in _packets(self._container, self._stream, self._give_up):
            try:
                # On the way to a frame, only those are decoded that others are predicted from.
                far = packet.pts is not None and self._seconds(packet.pts) < self._wanted - NEAR_SECONDS
                self._stream.codec_context.skip_frame = "NONREF" if far else "DEFAULT"
                frames = packet.decode()
            except FFMPEG_ERRORS:
                self._failures += 1
                if self._failures > DAMAGED_PACKETS:
                    return
                continue
            for frame in frames:
                if frame.width * frame.height > MAX_PIXELS:
                    continue
                self._failures = 0
                if frame.pts is None:  # a bare stream without times: count them, and never seek
                    self._seekable = False
                    yield TimedFrame(frame, count / rate)
                else:
                    yield TimedFrame(frame, max(0.0, self._seconds(frame.pts)))
                count += 1


def last_time(container: InputContainer, stream: VideoStream, deadline: Deadline) -> float:
    """When the last packet that can be read ends, in seconds from the start; nothing is decoded.

    For files whose headers do not say how long they are, or lie. Leaves the container at its start.
    """
    start = _start_of(stream)
    base = float(stream.time_base or 1)
    rewind(container, stream)
    end, count = 0.0, 0
    for packet in _packets(container, stream, deadline):
        if packet.size:
            count += 1
        if packet.pts is not None and packet.size:
            end = max(end, (packet.pts + (packet.duration or 0)) * base - start)
    rewind(container, stream)
    return end or count / float(stream.average_rate or 25)


def rewind(container: InputContainer, stream: VideoStream) -> None:
    """Back to the start, where the container can be sought in at all."""
    try:
        container.seek(stream.start_time or 0, stream=stream, backward=True)
    except FFMPEG_ERRORS:
        with suppress(*FFMPEG_ERRORS):  # some demuxers can only seek by bytes, some not at all
            container.seek(0, any_frame=True)


def _start_of(stream: VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _packets(container: InputContainer, stream: VideoStream, deadline: Deadline) -> Iterator[Packet]:
    packets = container.demux(stream)
    while not deadline.passed:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFMPEG_ERRORS:
            return
        yield packet
