"""Scripted engines that record their calls: they drive the fast tests and `--model scripted`, with no weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.interfaces import Evidence, GenerationOptions, SeenPicture, SpeechOptions, TextDelta, Voice
from models.streaming import CancelToken
from models.types import AudioClip, Message, Transcript, Word


@dataclass(frozen=True)
class ModelCall:
    """One call of `ScriptedModel.stream`."""

    messages: tuple[Message, ...]
    options: GenerationOptions


class ScriptedModel:
    """Answers with a given text, word by word.

    Args:
        script: the answers, taken in turn and then from the start; by default the question comes back.
        delay_s: pause before each word.
        fail_after: raises `error` after so many words.
    """

    name = "scripted"
    context_tokens = 8192

    def __init__(
        self,
        script: Sequence[str] = (),
        *,
        delay_s: float = 0.0,
        fail_after: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.script = tuple(script)
        self.delay_s = delay_s
        self.fail_after = fail_after
        self.error = error or RuntimeError("scripted failure")
        self.calls: list[ModelCall] = []
        self.words_made = 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m.text.split()) + 4 + 64 * len(m.pictures) for m in messages)

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        return tuple(
            SeenPicture(
                p.source,
                p.digest,
                p.original_size,
                (288, 288),
                p.time,
                p.notes,
                (Evidence("colour", "#" + p.image.resize((1, 1)).tobytes().hex(), 1.0),),
            )
            for m in messages
            for p in m.pictures
        )

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        answer = self._answer(messages)
        self.calls.append(ModelCall(tuple(messages), options))
        words = answer.split(" ")
        for index, word in enumerate(words[: options.max_new_tokens]):
            if cancel.cancelled:
                return
            if self.fail_after is not None and index >= self.fail_after:
                raise self.error
            if self.delay_s:
                time.sleep(self.delay_s)
            self.words_made += 1
            yield TextDelta(word if index == 0 else f" {word}")

    def _answer(self, messages: Sequence[Message]) -> str:
        if self.script:
            return self.script[len(self.calls) % len(self.script)]
        question, pictures = messages[-1].text, len(messages[-1].pictures)
        seen = f" I was given {pictures} picture{'s' * (pictures != 1)}." if pictures else ""
        return f"You said: {question}.{seen}"


class ScriptedRecognizer:
    """Hears a given sentence in any sound that is not silent."""

    name = "scripted"

    def __init__(self, text: str = "What is the capital of France?") -> None:
        self.text = text
        self.calls: list[AudioClip] = []

    def transcribe(
        self, clip: AudioClip, *, language: str | None = None, cancel: CancelToken | None = None
    ) -> Transcript:
        self.calls.append(clip)
        if cancel is not None:
            cancel.raise_if_cancelled()
        if not len(clip.samples) or float(np.abs(clip.samples).max()) < 1e-3:
            return Transcript("", seconds=clip.seconds)
        words = self.text.split()
        step = clip.seconds / max(1, len(words))
        timed = tuple(Word(w, i * step, (i + 1) * step, 0.99) for i, w in enumerate(words))
        return Transcript(self.text, language or "en", 0.99, timed, clip.seconds)


class ScriptedSynthesizer:
    """Speaks every text as a tone of 50 ms a word."""

    name = "scripted"
    rate = 16000

    def __init__(self, *, delay_s: float = 0.0, error: Exception | None = None) -> None:
        self.delay_s = delay_s
        self.error = error
        self.calls: list[tuple[str, SpeechOptions]] = []

    @property
    def voices(self) -> tuple[Voice, ...]:
        return (Voice("tone", "en", "A tone"), Voice("hum", "en", "A lower tone"))

    def stream(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        self.calls.append((text, options))
        if self.error is not None:
            raise self.error
        pitch = 220.0 if options.voice == "hum" else 440.0
        time.sleep(self.delay_s)
        if cancel.cancelled:
            return
        seconds = 0.05 * max(1, len(text.split())) / options.speed
        t = np.arange(int(seconds * self.rate), dtype=np.float32) / self.rate
        yield AudioClip((0.2 * np.sin(2 * np.pi * pitch * t)).astype(np.float32), self.rate)
