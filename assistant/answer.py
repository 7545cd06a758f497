"""One answer while it is made: its text, its times, what is kept of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from typing import Any

from assistant.events import Event, Progress, SpeechChunk, Timings, TurnEnded, TurnFailed, TurnStarted
from assistant.speaker import Speaker
from assistant.store import ConversationStore, StoredMessage
from models.errors import AssistantError, StoreError
from models.interfaces import SeenPicture, TextDelta
from models.streaming import CancelToken, Outlet, iterate_in_threads

log = logging.getLogger(__name__)

# A partial answer is kept at least every second; half of that leaves room for a slow disk.
CHECKPOINT_S = 0.5


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()

    def seconds(self) -> float:
        return self._now() - self._begun


class AnswerRecord:
    """Collects what a turn produces and keeps it in the store.

    Attributes:
        seen: the pictures of the question, as the model saw them.
        notes: sentences for the owner about what was done or left out.
        asr_s: seconds spent listening, or None.
    """

    def __init__(self, store: ConversationStore, clock: Stopwatch, cancel: CancelToken) -> None:
        self.clock = clock
        self._cancel = cancel
        self.seen: tuple[SeenPicture, ...] = ()
        self.notes: list[str] = []
        self.asr_s: float | None = None
        self._store = store
        self._answer: StoredMessage | None = None
        self._model = ""
        self._pieces: list[str] = []
        self._tokens = 0
        self._first_token_s: float | None = None
        self._last_token_s: float | None = None
        self._first_audio_s: float | None = None
        self._kept_s = 0.0
        self._ended = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def start(self, user: StoredMessage, model: str) -> TurnStarted:
        """Opens the answer's row, so that a crash from here on leaves an interrupted answer, not none."""
        self._model = model
        self._answer = self._store.append(user.conversation_id, "assistant", "", status="partial")
        return TurnStarted(user.id, self._answer.id, model)

    def add(self, delta: TextDelta) -> None:
        """Takes a piece of the answer; keeps what is there every half second."""
        if self._first_token_s is None:
            self._first_token_s = self.clock.seconds()
        self._last_token_s = self.clock.seconds()
        self._pieces.append(delta.text)
        self._tokens += delta.tokens
        if self._answer is not None and self.clock.seconds() - self._kept_s >= CHECKPOINT_S:
            self._kept_s = self.clock.seconds()
            self._write(text=self.text)

    def spoken(self) -> None:
        """Marks that a piece of speech is ready."""
        if self._first_audio_s is None:
            self._first_audio_s = self.clock.seconds()

    def finish(self, *, stopped: bool) -> TurnEnded:
        """Keeps the whole answer."""
        self._keep("stopped" if stopped else "complete")
        return TurnEnded(self.text, stopped, self._tokens, self.seen, tuple(self.notes), self._timings())

    def fail(self, error: AssistantError, *, bad_input: bool = False) -> TurnFailed:
        """Keeps what there is of the answer, with the reason why there is no more."""
        try:
            self._keep("failed", {"error": error.message, "remedy": error.remedy})
        except StoreError as second:
            log.error("the failure could not be kept: %s", second)  # the first one is what the owner needs to hear
        return TurnFailed(error.message, error.remedy, bad_input, self.text)

    def _timings(self) -> Timings:
        return Timings(self.asr_s, self._first_token_s, self._first_audio_s, self.clock.seconds())

    def _writing_s(self) -> float | None:
        """Seconds from the first to the last piece of text; a spoken turn lasts longer."""
        if self._first_token_s is None or self._last_token_s is None:
            return None
        return self._last_token_s - self._first_token_s

    def _keep(self, status: str, more: dict[str, Any] | None = None) -> None:
        if self._answer is None or self._ended:
            return  # refused before it was kept, or closed by its reader after it had ended
        self._ended = True
        details = {
            "model": self._model,
            "tokens": self._tokens,
            "seen": [asdict(s) for s in self.seen],
            "notes": list(self.notes),
            "timings": asdict(self._timings()),
            "writing_s": self._writing_s(),
            **(more or {}),
        }
        self._write(text=self.text, status=status, details=details)

    def _write(self, **changes: Any) -> None:
        assert self._answer is not None
        try:
            self._store.update(self._answer.id, **changes)
        except StoreError:
            if not self._cancel.cancelled:
                raise
            # The turn that took this one's place has deleted its row already: there is nothing to keep any more.
            log.info("a stopped answer was replaced before it ended")


def answer_events(text: Iterator[TextDelta], speaker: Speaker | None, record: AnswerRecord) -> Iterator[Event]:
    """The answer's text and, with a `speaker`, its speech while the text still comes.

    Text and speech run in threads of their own. A failure of the text ends the answer; a failure of the speech is
    noted, and the text goes on.
    """

    def say(outlet: Outlet[Event]) -> None:
        try:
            for delta in text:
                if speaker is not None:
                    speaker.feed(delta.text)
                outlet.put(delta)
        finally:
            if isinstance(text, Generator):
                text.close()  # now, not when the last traceback that holds it goes: an engine answers one at a time
            if speaker is not None:
                speaker.close()

    def speak(outlet: Outlet[Event]) -> None:
        assert speaker is not None
        try:
            for chunk in speaker.chunks():
                outlet.put(chunk)
        except AssistantError as error:
            record.notes.append(str(error))

    producers = (say,) if speaker is None else (say, speak)
    for event in iterate_in_threads(*producers):
        if isinstance(event, TextDelta):
            if event.notice:
                record.notes.append(event.notice)
                yield Progress(event.notice)
            if not event.text and not event.tokens:
                continue
            record.add(event)
        elif isinstance(event, SpeechChunk):
            record.spoken()
        yield event
