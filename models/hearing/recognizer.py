"""Hearing, whichever Whisper decodes: speech is found first, then cut into windows, decoded, and doubted."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.errors import AssistantError, Cancelled, EngineFailure
from models.hearing.chinese import simplified
from models.hearing.gate import Gate, spoken_letters
from models.hearing.passages import Segment, WhisperDecoder
from models.hearing.voice_activity import Sensitivity, VoiceActivityDetector
from models.hearing.windows import Window, windows
from models.media.sound import resampled
from models.streaming import CancelToken, never_cancelled
from models.types import AudioClip, Transcript, Word

log = logging.getLogger(__name__)

SURE_LANGUAGE = 0.6
"""A language that is likelier than this is taken at once."""

LANGUAGES_TRIED = 3
POSSIBLE_LANGUAGE = 0.05
"""Otherwise the (at most three) languages likelier than this are all decoded, and the most probable text wins."""

LANGUAGE_WEIGHT = 0.2
"""How much the language's log-probability counts beside the text's (a mean over tokens), when texts are compared."""


@dataclass(frozen=True)
class _Passage:
    """What is believed of one window."""

    segments: tuple[Segment, ...] = ()
    language: str = ""
    probability: float = 0.0

    @property
    def score(self) -> float:
        """Mean log-probability of the text, weighted by how much is said, with a part of the language's own.

        The worst possible when nothing is believed.
        """
        weights = [spoken_letters(s.text) for s in self.segments]
        if not sum(weights):
            return float("-inf")
        total = sum(s.average_log_probability * w for s, w in zip(self.segments, weights, strict=True))
        return total / sum(weights) + LANGUAGE_WEIGHT * math.log(max(self.probability, 1e-6))


class WhisperRecognizer:
    """A `SpeechRecognizer` over any Whisper implementation. May be used from several threads; they take turns.

    Args:
        name: as in the catalogue.
        decoder: the implementation.
        sensitivity: what counts as speech before Whisper is asked.
        gate: what is believed of its answer.
    """

    def __init__(
        self,
        name: str,
        decoder: WhisperDecoder,
        *,
        sensitivity: Sensitivity | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.name = name
        self._decoder = decoder
        self._voice = VoiceActivityDetector()
        self._sensitivity = sensitivity or Sensitivity()
        self._gate = gate or Gate()
        self._turn = threading.Lock()

    def transcribe(
        self, clip: AudioClip, *, language: str | None = None, cancel: CancelToken | None = None
    ) -> Transcript:
        """What is said in `clip`; an empty transcript where nobody speaks.

        Args:
            clip: any rate, any length.
            language: ISO 639-1 code when it is known; otherwise it is detected where the speech begins.
            cancel: asked before each window and between segments.

        Raises:
            Cancelled: `cancel` became stale.
            EngineFailure: the engine broke.
        """
        token = cancel or never_cancelled()
        try:
            return self._transcribe(clip, language, token)
        except (AssistantError, Cancelled):
            raise
        except MemoryError as error:
            raise EngineFailure(
                "There is not enough memory to transcribe this.", "Send a shorter recording."
            ) from error
        except Exception as error:  # whatever the engine raises: RuntimeError from CTranslate2 or torch, ValueError, …
            log.exception("%s failed", self.name)
            raise EngineFailure(
                f"The speech recogniser {self.name} broke while it listened ({type(error).__name__}).",
                "Try again, or choose another one with --hearing.",
            ) from error

    def _transcribe(self, clip: AudioClip, language: str | None, cancel: CancelToken) -> Transcript:
        samples = resampled(clip.samples, clip.rate)
        speech = self._voice.speech(samples, self._sensitivity)
        segments: list[tuple[Window, Segment]] = []
        probability = 1.0 if language else 0.0
        known = language
        for window in windows(samples, speech):
            cancel.raise_if_cancelled()
            with self._turn:
                passage = self._hear(window, known, cancel)
            if passage.segments and known is None:
                known, probability = passage.language, passage.probability
            segments.extend((window, segment) for segment in passage.segments)
        written = simplified if known == "zh" else str
        text = written(_joined([segment.text for _, segment in segments]))
        words = tuple(_placed(window, word, written) for window, segment in segments for word in segment.words)
        if not text:
            return Transcript("", seconds=clip.seconds)
        return Transcript(text, known or "", probability, words, clip.seconds)

    def _hear(self, window: Window, language: str | None, cancel: CancelToken) -> _Passage:
        """The most probable text that passes the gate, over the languages that the window may be in."""
        seconds = sum(piece.end - piece.start for piece in window.pieces)
        best = _Passage()
        for candidate, probability in [(language, 1.0)] if language else self._candidates(window):
            decoded = self._decoder.decode(window.samples, candidate, cancel)
            passage = _Passage(self._gate.believed(decoded, seconds), candidate, probability)
            if passage.score > best.score or not best.language:
                best = passage
        return best

    def _candidates(self, window: Window) -> Sequence[tuple[str, float]]:
        ranked = self._decoder.languages(window.samples)
        if ranked[0][1] >= SURE_LANGUAGE:
            return ranked[:1]
        return [r for r in ranked[:LANGUAGES_TRIED] if r[1] >= POSSIBLE_LANGUAGE] or ranked[:1]


def _joined(texts: Sequence[str]) -> str:
    """Segments as one text. Whisper puts a space before each, except in languages that write none."""
    return " ".join("".join(texts).split())


def _placed(window: Window, word: Word, written: Callable[[str], str]) -> Word:
    """The word with its times in the recording, and without the space before it."""
    return Word(
        written(word.text.strip()), window.original_time(word.start), window.original_time(word.end), word.probability
    )
