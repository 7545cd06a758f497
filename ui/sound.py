"""The sound of answers on its way to the page: channels of speech, sent as one endless WAV file of 16-bit PCM."""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import numpy as np

from assistant.events import SpeechChunk
from models.types import AudioClip

OPEN_CHANNELS = 8
# A page that waits for the first sound of an answer may have to wait for a model to load.
IDLE_S = 300.0


def wav_header(rate: int) -> bytes:
    """44 bytes: mono 16-bit PCM of unknown length (sizes 0xFFFFFFFF, as ffmpeg writes to a pipe)."""
    unknown = 0xFFFFFFFF
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", unknown, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", unknown
    )


def pcm16(clip: AudioClip) -> bytes:
    """The clip's samples as little-endian 16-bit integers."""
    return (np.clip(clip.samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def wav_stream(chunks: Iterable[SpeechChunk]) -> Iterator[bytes]:
    """Speech as the bytes of a WAV file, chunk by chunk; nothing at all where there is no speech."""
    headed = False
    for chunk in chunks:
        if not headed:
            yield wav_header(chunk.clip.rate)
            headed = True
        yield pcm16(chunk.clip)


class SoundChannel:
    """One answer's speech: the turn puts, one page reads. Unread speech is bounded by the length of an answer."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[SpeechChunk | None] = queue.Queue()
        self._closed = threading.Event()

    def put(self, chunk: SpeechChunk) -> None:
        if not self._closed.is_set():
            self._chunks.put(chunk)

    def close(self) -> None:
        """No more will come. What was put is still read."""
        if not self._closed.is_set():
            self._closed.set()
            self._chunks.put(None)

    def read(self) -> Iterator[SpeechChunk]:
        """What was put, in order, until the channel is closed (or nothing came for `IDLE_S`)."""
        waited = time.monotonic()
        while time.monotonic() - waited < IDLE_S:
            try:
                chunk = self._chunks.get(timeout=1.0)
            except queue.Empty:
                continue
            if chunk is None:
                return
            waited = time.monotonic()
            yield chunk


class Sounds:
    """The channels that are open. Page and turn name one by an id of the page's making, whoever comes first."""

    def __init__(self) -> None:
        self._channels: OrderedDict[str, SoundChannel] = OrderedDict()
        self._lock = threading.Lock()

    def channel(self, sound_id: str) -> SoundChannel:
        """The channel of that id, made where it is new; the oldest go when there are too many."""
        with self._lock:
            channel = self._channels.setdefault(sound_id, SoundChannel())
            while len(self._channels) > OPEN_CHANNELS:
                self._channels.popitem(last=False)[1].close()
            return channel

    def forget(self, sound_id: str) -> None:
        """Closes a channel and drops it."""
        with self._lock:
            channel = self._channels.pop(sound_id, None)
        if channel is not None:
            channel.close()
