"""`launch.py talk`: hands-free. You speak, Lucid answers aloud; speak over it and it stops and listens."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import wave
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from assistant.config import Settings, generation_options
from assistant.dialogue import DialogueManager
from assistant.events import SpeechChunk, TranscriptReady, TurnEnded, TurnFailed
from assistant.turn import UserTurn
from assistant.turn_taking import RATE, Finished, Interrupted, TurnTaker
from models.interfaces import SpeechOptions, TextDelta
from models.streaming import CancelToken
from models.types import AudioClip

log = logging.getLogger(__name__)

# The voice activity network remembers; so much of the past (about 0.5 s) makes its judgement of a frame settle.
CONTEXT_FRAMES = 16

Tell = Callable[[str], object]
SpeechProbability = Callable[[np.ndarray], float]


class Devices(Protocol):
    """What the conversation needs of microphone and speaker (see `assistant.sound_devices.SoundDevices`)."""

    def frames(self) -> Iterator[np.ndarray]: ...

    def play(self, clip: AudioClip) -> None: ...

    def stop(self) -> None: ...

    @property
    def playing(self) -> bool: ...

    @property
    def level(self) -> float: ...


def run_talk(dialogue: DialogueManager, settings: Settings) -> int:
    """Talks until Ctrl-C. Returns 0.

    Raises:
        EngineUnavailable: no PortAudio, no microphone, no speaker, or an engine that cannot be loaded.
    """
    from assistant.sound_devices import SoundDevices

    devices = SoundDevices()  # before the engines are loaded: without devices there is no use in waiting for them
    with devices:
        _tell("Loading the engines …\n")
        dialogue.engines.hearing()
        dialogue.engines.speaking()
        dialogue.engines.vision_language()
        _tell("Speak whenever you like; speak over an answer to stop it. Ctrl-C ends.\n")
        conversation = TalkLoop(dialogue, settings, devices, speech_probability(), _tell)
        try:
            conversation.run()
        except KeyboardInterrupt:
            _tell("\nGoodbye.\n")
        finally:
            conversation.close()
    return 0


def speech_probability() -> SpeechProbability:
    """Silero VAD over a sliding window: a frame goes in, its probability of speech comes out."""
    from models.hearing.voice_activity import VoiceActivityDetector

    detector = VoiceActivityDetector()
    window: deque[np.ndarray] = deque(maxlen=CONTEXT_FRAMES)

    def probability(frame: np.ndarray) -> float:
        window.append(frame)
        return float(detector.probabilities(np.concatenate(window))[-1])

    return probability


class TalkLoop:
    """One spoken conversation: listens on the thread that calls `run`, answers on another.

    Args:
        dialogue: answers the turns.
        settings: the owner's; voice, speed and the folder for temporary recordings are taken from it.
        devices: microphone and speaker.
        probability: that a frame holds speech.
        tell: writes to the terminal.
    """

    def __init__(
        self,
        dialogue: DialogueManager,
        settings: Settings,
        devices: Devices,
        probability: SpeechProbability,
        tell: Tell,
    ) -> None:
        self._dialogue = dialogue
        self._settings = settings
        self._devices = devices
        self._probability = probability
        self._tell = tell
        self._taker = TurnTaker()
        self._conversation = dialogue.store.create().id
        self._scope = dialogue.scope(self._conversation)
        self._answer: threading.Thread | None = None

    def run(self) -> None:
        """Listens for as long as the microphone gives frames."""
        for frame in self._devices.frames():
            action = self._taker.take(
                frame, self._probability(frame), answering=self.answering, played=self._devices.level
            )
            if isinstance(action, Interrupted):
                self._stop_answer()
            elif isinstance(action, Finished):
                self._start_answer(action.samples)

    def close(self) -> None:
        """Stops the answer under way and waits until nothing of it runs."""
        self._stop_answer()
        if self._answer is not None:
            self._answer.join(10)

    @property
    def answering(self) -> bool:
        """An answer is being made or spoken."""
        return self._devices.playing or (self._answer is not None and self._answer.is_alive())

    def _stop_answer(self) -> None:
        self._scope.cancel()
        self._devices.stop()

    def _start_answer(self, samples: np.ndarray) -> None:
        if self._answer is not None:
            self._stop_answer()
            self._answer.join()  # a conversation has one writer
        self._answer = threading.Thread(
            target=self._respond, args=(samples, self._scope.begin()), name="lucid-talk", daemon=True
        )
        self._answer.start()

    def _respond(self, samples: np.ndarray, cancel: CancelToken) -> None:
        try:
            recording = _recording(samples, self._settings.data_dir / "tmp")
        except OSError as error:
            self._tell(f"The recording cannot be written to {self._settings.data_dir}: {error}.\n")
            return
        turn = UserTurn(
            self._conversation,
            audio=(recording,),
            names={recording: "speech.wav"},
            speak=True,
            speech=SpeechOptions(self._settings.voice, self._settings.speed),
            generation=generation_options(self._settings),
        )
        try:
            for event in self._dialogue.respond(turn, cancel):
                if isinstance(event, TranscriptReady):
                    self._tell(f"\nYou:   {event.transcript.text or '(nothing understood)'}\nLucid: ")
                elif isinstance(event, TextDelta):
                    self._tell(event.text)
                elif isinstance(event, SpeechChunk) and not cancel.cancelled:
                    self._devices.play(event.clip)
                    if cancel.cancelled:  # stopped between the question and the playing
                        self._devices.stop()
                elif isinstance(event, TurnEnded):
                    self._tell("".join([" [stopped]" * event.stopped, "\n", *(f"({note})\n" for note in event.notes)]))
                elif isinstance(event, TurnFailed):
                    self._tell(f"{event.message} {event.remedy}".rstrip() + "\n")
        finally:
            recording.unlink(missing_ok=True)


def _recording(samples: np.ndarray, folder: Path) -> Path:
    """Writes `samples` (float32, 16 kHz) as a WAV file that only the owner can read."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix="speech-", suffix=".wav", dir=folder)
    with os.fdopen(handle, "wb") as file, wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return Path(name)


def _tell(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
