"""Sentences in, speech out: in order, while the text that they come from is still being written."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from assistant.events import SpeechChunk
from assistant.sentences import SentenceSplitter
from models.errors import Unspeakable
from models.interfaces import SpeechOptions, SpeechSynthesizer
from models.streaming import CancelToken

# How long a wait for the next sentence may last before the token is asked again.
POLL_S = 0.05


class Speaker:
    """Speaks one answer.

    One thread writes (`feed`, `say`, `close`; none of them blocks), another reads `chunks`. The writer must call
    `close` whatever happens, or the reader waits until its token is stale.

    Args:
        synthesizer: makes the sound.
        options: voice and speed.
        cancel: once stale, `chunks` ends; nothing that is not begun is begun any more.
    """

    def __init__(self, synthesizer: SpeechSynthesizer, options: SpeechOptions, cancel: CancelToken) -> None:
        self._synthesizer = synthesizer
        self._options = options
        self._cancel = cancel
        self._splitter = SentenceSplitter()
        self._sentences: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closed = False

    def feed(self, delta: str) -> None:
        """Takes the next piece of the answer (Markdown)."""
        for sentence in self._splitter.feed(delta):
            self._sentences.put(sentence)

    def say(self, sentence: str) -> None:
        """Takes a sentence that is speakable as it is."""
        self._sentences.put(sentence)

    def close(self) -> None:
        """Ends the answer: what is left of it is spoken, and then `chunks` ends. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        for sentence in self._splitter.finish():
            self._sentences.put(sentence)
        self._sentences.put(None)

    def chunks(self) -> Iterator[SpeechChunk]:
        """The speech, piece by piece, in order.

        A sentence that the voice cannot say is left out and the others are spoken; the first such `Unspeakable` is
        raised at the end. Any other failure of the synthesizer is raised where it happens.
        """
        left_out: Unspeakable | None = None
        for number, sentence in enumerate(self._waiting()):
            try:
                for clip in self._synthesizer.stream(sentence, self._options, self._cancel):
                    if self._cancel.cancelled:
                        return
                    yield SpeechChunk(clip, number, sentence)
            except Unspeakable as error:
                left_out = left_out or error
        if left_out is not None and not self._cancel.cancelled:
            raise left_out

    def _waiting(self) -> Iterator[str]:
        """The sentences as they come, until the answer ends or is cancelled."""
        while not self._cancel.cancelled:
            try:
                sentence = self._sentences.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if sentence is None:
                return
            if not self._cancel.cancelled:
                yield sentence
