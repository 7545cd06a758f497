"""This machine's microphone and speaker, through PortAudio. A thin layer: it decides nothing."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from assistant.turn_taking import FRAME, RATE
from models.errors import EngineUnavailable
from models.types import AudioClip

log = logging.getLogger(__name__)

_NO_PORTAUDIO = (
    "On Debian or Ubuntu run: sudo apt install libportaudio2 (Fedora: sudo dnf install portaudio; macOS and Windows "
    "have it in the sounddevice package)."
)
_NO_DEVICE = "Connect one, or allow this program to use it, and run: python3 launch.py doctor"
WAITING_FRAMES = 300  # about 10 s: more than that the reader will never catch up with


def sounddevice() -> ModuleType:
    """The library. Raises `EngineUnavailable` when it or PortAudio is not installed."""
    try:
        import sounddevice as library
    except ImportError as error:
        raise EngineUnavailable("The package sounddevice is not installed.", "Run: python3 launch.py") from error
    except OSError as error:
        raise EngineUnavailable(
            "PortAudio, which reaches microphone and speaker, is missing.", _NO_PORTAUDIO
        ) from error
    return library


class SoundDevices:
    """The default microphone and speaker, open between `with` and its end.

    Raises:
        EngineUnavailable: on entering, when one of them is not there.
    """

    def __init__(self) -> None:
        self._library = sounddevice()
        self._heard: queue.Queue[np.ndarray] = queue.Queue(WAITING_FRAMES)
        self._lock = threading.Lock()
        self._waiting: deque[np.ndarray] = deque()
        self._level = 0.0
        self._streams: list[Any] = []
        self._in_rate = self._out_rate = RATE

    def __enter__(self) -> SoundDevices:
        self._in_rate = self._rate_of("input", RATE)
        self._out_rate = self._rate_of("output", 48_000)
        block = FRAME * self._in_rate // RATE
        try:
            microphone = self._library.InputStream(
                samplerate=self._in_rate, channels=1, dtype="float32", blocksize=block, callback=self._on_heard
            )
            self._streams.append(microphone)
            speaker = self._library.OutputStream(
                samplerate=self._out_rate, channels=1, dtype="float32", callback=self._on_wanted
            )
            self._streams.append(speaker)
            for stream in self._streams:
                stream.start()
        except self._library.PortAudioError as error:
            self.__exit__(None, None, None)
            raise EngineUnavailable(f"The sound devices cannot be opened ({error}).", _NO_DEVICE) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._streams:
            self._streams.pop().close()

    def frames(self) -> Iterator[np.ndarray]:
        """What the microphone hears: float32 at 16 kHz, shape (512,), for ever."""
        while True:
            try:
                block = self._heard.get(timeout=0.5)  # a timeout keeps Ctrl-C alive on every system
            except queue.Empty:
                continue
            yield _fitted(_resampled(block, self._in_rate, RATE))

    def play(self, clip: AudioClip) -> None:
        """Puts `clip` at the end of what is to be played; returns at once."""
        samples = _resampled(clip.samples, clip.rate, self._out_rate)
        with self._lock:
            self._waiting.append(samples)

    def stop(self) -> None:
        """Silence, now."""
        with self._lock:
            self._waiting.clear()

    @property
    def playing(self) -> bool:
        return bool(self._waiting) or self._level > 0

    @property
    def level(self) -> float:
        """Loudness (root mean square) of what was handed to the speaker last."""
        return self._level

    def _rate_of(self, kind: str, wanted: int) -> int:
        """`wanted` if the device takes that rate, else its own."""
        check = getattr(self._library, f"check_{kind}_settings")
        try:
            own = int(self._library.query_devices(kind=kind)["default_samplerate"])
        except (self._library.PortAudioError, ValueError) as error:
            name = "microphone" if kind == "input" else "speaker"
            raise EngineUnavailable(f"There is no {name}.", _NO_DEVICE) from error
        try:
            check(samplerate=wanted, channels=1, dtype="float32")
        except self._library.PortAudioError:
            return own
        return wanted

    def _on_heard(self, block: np.ndarray, count: int, when: Any, status: Any) -> None:
        try:
            self._heard.put_nowait(block[:, 0].copy())
        except queue.Full:
            log.warning("sound from the microphone is lost: this machine is too slow")

    def _on_wanted(self, out: np.ndarray, count: int, when: Any, status: Any) -> None:
        out.fill(0)
        at = 0
        with self._lock:
            while at < count and self._waiting:
                piece = self._waiting.popleft()
                part = piece[: count - at]
                out[at : at + len(part), 0] = part
                at += len(part)
                if len(part) < len(piece):
                    self._waiting.appendleft(piece[len(part) :])
        self._level = float(np.sqrt(np.mean(np.square(out)))) if at else 0.0


def _fitted(frame: np.ndarray) -> np.ndarray:
    """Exactly one frame: devices with odd rates give a sample more or less."""
    return np.pad(frame[:FRAME], (0, max(0, FRAME - len(frame)))).astype(np.float32)


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """`samples` at another rate, by straight lines; downwards a moving average goes before, against aliasing."""
    if rate == wanted or not len(samples):
        return samples
    if rate > wanted:
        width = max(1, round(rate / wanted))
        samples = np.convolve(samples, np.full(width, 1 / width, dtype=np.float32), mode="same")
    at = np.arange(len(samples) * wanted // rate) * (rate / wanted)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
