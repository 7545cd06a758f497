"""The dialogue manager: a turn goes in, events come out. `respond` is the only door to the rest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from assistant import perception
from assistant.answer import AnswerRecord, Stopwatch, answer_events
from assistant.config import Settings
from assistant.conversation import ConversationMemory
from assistant.events import Event, Progress, SpeechChunk, TranscriptReady
from assistant.grounding import asks_about_a_picture, no_picture_answer
from assistant.perception import Heard, OpenedTurn
from assistant.sentences import speakable
from assistant.speaker import Speaker
from assistant.store import Attachment, ConversationStore, StoredMessage
from assistant.turn import UserTurn
from models.engines import Engines
from models.errors import AssistantError, BadInput, Cancelled, EngineFailure, StoreError
from models.interfaces import SpeechOptions, TextDelta
from models.media import load_sound
from models.streaming import CancelScope, CancelToken
from models.types import Message, TextPart, Transcript

log = logging.getLogger(__name__)

TITLE_LENGTH = 48


class DialogueManager:
    """Runs turns against the engines and keeps them in the store.

    Args:
        engines: what hears, sees and speaks.
        store: where conversations are kept.
        settings: the owner's.
    """

    def __init__(self, engines: Engines, store: ConversationStore, settings: Settings) -> None:
        self.engines = engines
        self.store = store
        self.settings = settings
        self._memory = ConversationMemory(store, settings)
        self._scopes: dict[str, CancelScope] = {}
        self._lock = threading.Lock()

    def scope(self, conversation_id: str) -> CancelScope:
        """The conversation's cancel scope: `begin()` gives a turn its token and ends the turn before it."""
        with self._lock:
            return self._scopes.setdefault(conversation_id, CancelScope())

    def respond(self, turn: UserTurn, cancel: CancelToken) -> Iterator[Event]:
        """Answers one turn. Ends with exactly one `TurnEnded` or `TurnFailed`; never raises for the owner's input.

        `TurnStarted` says that the turn is kept. Before it, a refused turn leaves no trace; after it, a failure is
        kept with the turn. Closing the iterator early counts as stopping.
        """
        record = AnswerRecord(self.store, Stopwatch(), cancel)
        try:
            yield from self._answered(turn, cancel, record)
        except Cancelled:
            yield record.finish(stopped=True)
        except BadInput as error:
            yield record.fail(error, bad_input=True)
        except AssistantError as error:
            yield record.fail(error)
        except GeneratorExit:
            record.finish(stopped=True)
            raise
        except Exception as error:
            log.exception("a turn failed")
            failure = EngineFailure(
                f"Something went wrong inside Lucid ({type(error).__name__}: {error}).",
                "Ask again; if it stays, start Lucid with --log-level debug and look at the terminal.",
            )
            yield record.fail(failure)

    def turn_of(self, user_message_id: str, **changes: Any) -> UserTurn:
        """The turn that asks an earlier question again, to regenerate its answer or, with `text=`, to edit it.

        Args:
            user_message_id: the message to replace; it and everything after it go once the new turn has started.
            changes: fields of `UserTurn` to set.
        """
        message = self.store.message(user_message_id)
        files = [(a, self.store.file_of(a)) for a in message.attachments]  # the same picture may be there twice
        turn = UserTurn(
            conversation_id=message.conversation_id,
            text=message.text,
            images=tuple(f for a, f in files if a.kind == "image"),
            audio=tuple(f for a, f in files if a.kind == "audio"),
            videos=tuple(f for a, f in files if a.kind == "video"),
            names={f: a.name for a, f in files},
            replaces=user_message_id,
        )
        return replace(turn, **changes)

    def read_aloud(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[SpeechChunk]:
        """Speaks a text that is already there (Markdown allowed), sentence by sentence."""
        speaker = Speaker(self.engines.speaking(), options, cancel)
        for sentence in speakable(text):
            speaker.say(sentence)
        speaker.close()
        yield from speaker.chunks()

    def dictate(self, file: Path, cancel: CancelToken) -> Transcript:
        """What is said in a recording. Raises `BadInput` for a file that cannot be read."""
        clip = load_sound(file, file.name, max_seconds=self.settings.max_media_s)
        return self.engines.hearing().transcribe(clip, cancel=cancel)

    def _answered(self, turn: UserTurn, cancel: CancelToken, record: AnswerRecord) -> Iterator[Event]:
        conversation = self.store.conversation(turn.conversation_id)
        opened = perception.open_turn(turn, self.settings)
        cancel.raise_if_cancelled()
        user = self._keep(turn)
        yield record.start(user, self.engines.serving("seeing"))
        if not conversation.title:
            self.store.rename(conversation.id, _title(turn))

        heard = yield from self._hear(turn, opened, cancel, record)
        question = perception.question_of(turn, heard)
        if heard or opened.notes:
            user = self.store.update(user.id, text=question, details=_details(turn, user, opened, heard))
        if not conversation.title and question:
            self.store.rename(conversation.id, _title(replace(turn, text=question)))
        message = Message("user", (*perception.parts_of(turn, opened, heard), TextPart(question)))

        if not self.engines.ready("seeing"):
            yield Progress(f"Loading {self.engines.name('seeing')}")
        model = self.engines.vision_language()
        system = conversation.system or self.settings.system  # without either, the engine's own suits it best
        reserve = min(turn.generation.max_new_tokens, model.context_tokens // 2)
        earlier = self._memory.messages(turn.conversation_id, message, system, model, reserve)
        cancel.raise_if_cancelled()

        record.notes += list(opened.notes)
        if asks_about_a_picture(question) and not any(m.pictures for m in earlier):
            text: Iterator[TextDelta] = iter((TextDelta(no_picture_answer(question), tokens=0),))
        else:
            record.seen = model.look([message])
            text = model.stream(earlier, turn.generation, cancel)
        speaker = self._speaker(turn, cancel, record)
        yield from answer_events(text, speaker, record)
        yield record.finish(stopped=cancel.cancelled)

    def _hear(
        self, turn: UserTurn, opened: OpenedTurn, cancel: CancelToken, record: AnswerRecord
    ) -> Generator[Event, None, tuple[Heard, ...]]:
        """Yields what was heard as events, and returns it."""
        if opened.sounds or any(v.audio for v in opened.videos):
            yield Progress("Listening" if self.engines.ready("hearing") else f"Loading {self.engines.name('hearing')}")
        heard: list[Heard] = []
        begun = record.clock.seconds()
        for item in perception.hear(turn, opened, self.engines, cancel):
            heard.append(item)
            yield TranscriptReady(item.transcript, item.source)
        if heard:
            record.asr_s = record.clock.seconds() - begun
        return tuple(heard)

    def _speaker(self, turn: UserTurn, cancel: CancelToken, record: AnswerRecord) -> Speaker | None:
        if not turn.speak:
            return None
        try:
            return Speaker(self.engines.speaking(), turn.speech, cancel)
        except AssistantError as error:
            record.notes.append(str(error))  # the answer can still be read
            return None

    def _keep(self, turn: UserTurn) -> StoredMessage:
        """Stores the turn's files and its message; from here on, a crash does not lose it."""
        attachments: list[Attachment] = []
        try:
            for kind, files in (("image", turn.images), ("audio", turn.audio), ("video", turn.videos)):
                for file in files:
                    attachments.append(self.store.add_file(file, turn.names.get(file, file.name), kind))
            return self.store.append(
                turn.conversation_id, "user", turn.text.strip(), attachments, replaces=turn.replaces
            )
        except StoreError:
            with suppress(StoreError):  # the first one is what the owner needs to hear
                self.store.release(attachments)
            raise


def _details(turn: UserTurn, user: StoredMessage, opened: OpenedTurn, heard: tuple[Heard, ...]) -> dict[str, Any]:
    """What is kept with the owner's message."""
    # The message's attachments lie in the order in which `_keep` took the turn's files.
    files = (*turn.images, *turn.audio, *turn.videos)
    digests = {file: a.digest for file, a in zip(files, user.attachments, strict=True)}
    transcripts = [
        {
            "source": h.source,
            "digest": digests[h.file],
            "text": h.transcript.text,
            "language": h.transcript.language,
            "confidence": round(h.transcript.confidence, 3),
            "words": [asdict(w) for w in h.transcript.words],
        }
        for h in heard
    ]
    return {"transcripts": transcripts, "notes": list(opened.notes)}


def _title(turn: UserTurn) -> str:
    """A conversation's first title: how its first question begins, or what was attached."""
    text = " ".join(turn.text.split())
    if not text:
        files = [*turn.images, *turn.videos, *turn.audio]
        text = ", ".join(turn.names.get(f, f.name) for f in files)
    return text if len(text) <= TITLE_LENGTH else text[: TITLE_LENGTH - 1].rstrip() + "…"
