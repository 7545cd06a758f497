"""Memory: from stored messages to what the model is given, within the model's context."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from assistant.config import Settings
from assistant.store import Attachment, ConversationStore, StoredMessage
from models.errors import BadInput, StoreError
from models.interfaces import VisionLanguageModel
from models.media import load_picture, load_video
from models.types import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    Picture,
    Role,
    TextPart,
    Transcript,
    VideoClip,
    VideoPart,
)

log = logging.getLogger(__name__)

# Decoded pictures and videos of earlier turns that are kept at hand; a picture is 12 MB at most (2048 × 2048 × 3).
DECODED_AT_HAND = 16


class _Recent(OrderedDict[str, Any]):
    """A bounded cache: the entry that was not used for longest goes first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.Lock()

    def get_or(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self:
                self.move_to_end(key)
                return self[key]
        made = make()
        with self._lock:
            self[key] = made
            while len(self) > self._size:
                self.popitem(last=False)
        return made


class ConversationMemory:
    """Rebuilds a conversation's messages for the model and keeps them within its context.

    The window of messages starts at the same message for as long as it fits, and moves on by half a context when it
    no longer does: a start that moved every turn would make the engine's cached prefix useless every turn.
    """

    def __init__(self, store: ConversationStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._decoded = _Recent(DECODED_AT_HAND)
        self._tokens = _Recent(4096)
        self._starts: dict[str, str] = {}

    def messages(
        self, conversation_id: str, question: Message, system: str, model: VisionLanguageModel, reserve: int
    ) -> list[Message]:
        """The system prompt, the earlier turns that fit, and `question` last.

        Args:
            question: the turn being answered (not taken from the store).
            reserve: tokens to leave free for the answer.

        Raises:
            BadInput: when the question alone does not fit.
        """
        head = [Message.of_text("system", system)] if system else []
        budget = model.context_tokens - reserve - model.count_tokens([*head, question])
        if budget < 0:
            raise BadInput(
                f"This question is longer than {model.name} can take in ({model.context_tokens} tokens).",
                "Shorten it, attach less, or choose a model with a longer context.",
            )
        earlier = _answered(self._store.messages(conversation_id))
        window = self._window(conversation_id, earlier, model, budget)
        return [*head, *(self.message(stored) for stored in window), question]

    def message(self, stored: StoredMessage) -> Message:
        """A stored message as the engines see it."""
        heard = {t["digest"]: _transcript(t) for t in stored.details.get("transcripts", ())}
        parts = [self._part(a, heard.get(a.digest), stored.text) for a in stored.attachments]
        role: Role = "user" if stored.role == "user" else "assistant"
        return Message(role, (*(p for p in parts if p is not None), TextPart(stored.text)))

    def _window(
        self, conversation_id: str, earlier: Sequence[StoredMessage], model: VisionLanguageModel, budget: int
    ) -> Sequence[StoredMessage]:
        """The newest turns that fit into `budget` tokens, whole turns only."""
        started = self._starts.get(conversation_id)
        start = next((i for i, m in enumerate(earlier) if m.id == started), None)
        fitting = self._fitting(earlier, model, budget)
        if start is None or start < fitting:
            start = 0 if fitting == 0 else self._fitting(earlier, model, budget // 2)
        if start < len(earlier):
            self._starts[conversation_id] = earlier[start].id
        return earlier[start:]

    def _fitting(self, earlier: Sequence[StoredMessage], model: VisionLanguageModel, budget: int) -> int:
        """The smallest even index (a turn is two messages) from which everything fits into `budget` tokens."""
        start, used = len(earlier), 0
        for index in range(len(earlier) - 2, -1, -2):
            used += sum(self._count(model, m) for m in earlier[index : index + 2])
            if used > budget:
                break
            start = index
        return start

    def _count(self, model: VisionLanguageModel, stored: StoredMessage) -> int:
        key = f"{model.name}:{stored.id}:{len(stored.text)}"
        return int(self._tokens.get_or(key, lambda: model.count_tokens([self.message(stored)])))

    def _part(self, attachment: Attachment, heard: Transcript | None, text: str) -> Part | None:
        """An attachment of an earlier turn. One that cannot be opened any more is left out: the owner cannot attach it
        to that turn again, and without this could not go on with the conversation.
        """
        if attachment.kind == "audio":
            # A recording that was the question is the message's text already.
            return None if heard is None or heard.text == text else AudioPart(attachment.name, heard)
        try:
            # By name too: the same picture may be known by another one elsewhere.
            key = f"{attachment.kind}:{attachment.digest}:{attachment.name}"
            opened = self._decoded.get_or(key, lambda: self._open(attachment))
        except (StoreError, BadInput) as error:
            log.warning("an earlier attachment is left out: %s", error)
            return None
        return ImagePart(opened) if attachment.kind == "image" else VideoPart(opened, heard)

    def _open(self, attachment: Attachment) -> Picture | VideoClip:
        file = self._store.file_of(attachment)
        if attachment.kind == "image":
            return load_picture(file, attachment.name)
        settings = self._settings
        return load_video(file, attachment.name, frames=settings.video_frames, max_seconds=settings.max_media_s)


def _answered(stored: Sequence[StoredMessage]) -> list[StoredMessage]:
    """The turns that have an answer with words, as question, answer, question, answer …

    A question whose turn failed before it said anything is left out: a model that finds two questions in a row
    answers the wrong one.
    """
    turns: list[StoredMessage] = []
    for question, answer in zip(stored, stored[1:], strict=False):
        if question.role == "user" and answer.role == "assistant" and answer.text.strip():
            turns += [question, answer]
    return turns


def _transcript(record: dict[str, Any]) -> Transcript:
    return Transcript(record["text"], record.get("language", ""))
