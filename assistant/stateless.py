"""What other programs ask of Lucid: answers, transcripts and speech, of which nothing is kept.

It has the dialogue's habits (recordings are heard before the model is asked, a question about a picture that nobody
sent is not answered from nothing) and none of its memory: the program sends the whole conversation every time.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Union

from assistant.config import Settings
from assistant.grounding import asks_about_a_picture, no_picture_answer
from assistant.sentences import speakable
from assistant.stop_strings import StopStrings
from models.engines import Engines
from models.errors import BadInput
from models.interfaces import GenerationOptions, SpeechOptions, TextDelta, VisionLanguageModel
from models.media import load_picture, load_sound
from models.streaming import CancelToken
from models.types import AudioClip, AudioPart, ImagePart, Message, Part, Role, TextPart, Transcript

# A longer one is a program's template with texts of others in it, which may speak of pictures without asking for one.
LONGEST_QUESTION_WORDS = 40
# No tokenizer puts so many characters into one token on average: a text beyond that need not be counted to be refused.
MOST_CHARACTERS_A_TOKEN = 64


class UnknownVoice(BadInput):
    """A voice that the engine does not have; the remedy names those that it has."""


@dataclass(frozen=True, eq=False)
class SentFile:
    """A picture or a recording as it came with a request; not decoded yet. `name` is what sentences call it."""

    kind: Literal["picture", "sound"]
    data: bytes = field(repr=False)
    name: str


@dataclass(frozen=True, eq=False)
class SentMessage:
    """One message of a request: texts and files in the program's order."""

    role: Role
    parts: tuple[Union[str, SentFile], ...]


@dataclass(frozen=True, eq=False)
class CompletionRequest:
    """A conversation to be continued.

    Attributes:
        messages: the last one is the user's.
        options: how to sample.
        stop: the answer ends before the first of these strings; none is empty.
    """

    messages: tuple[SentMessage, ...]
    options: GenerationOptions
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompletionEnd:
    """How an answer ended: "length" when it was cut off by the limit on its tokens or the model's context."""

    finish: Literal["stop", "length"]
    prompt_tokens: int
    answer_tokens: int


class StatelessAssistant:
    """Answers without remembering.

    Args:
        engines: what hears, sees and speaks.
        settings: the owner's limits on media.
        folder: a private folder for files while they are decoded.
    """

    def __init__(self, engines: Engines, settings: Settings, folder: Path) -> None:
        self.engines = engines
        self._settings = settings
        self._folder = folder

    def complete(self, request: CompletionRequest, cancel: CancelToken) -> Iterator[TextDelta | CompletionEnd]:
        """The answer as it is made, and last how it ended (left out when it was cancelled).

        Raises:
            BadInput: a file that cannot be read, nothing to answer, or more than the model's context holds.
            EngineUnavailable, EngineFailure: as the engines do, the latter also in mid-answer.
            Cancelled: before the answer has begun.
        """
        messages = self._opened(request.messages, cancel)
        model = self.engines.vision_language()
        cancel.raise_if_cancelled()
        prompt_tokens = _counted(model, messages)
        question = messages[-1].text
        if _about_no_picture(question, messages):
            yield TextDelta(no_picture_answer(question), tokens=0)
            yield CompletionEnd("stop", prompt_tokens, 0)
            return
        limit = min(request.options.max_new_tokens, model.context_tokens - prompt_tokens)
        stop = StopStrings(request.stop)
        stream = model.stream(messages, request.options, cancel)
        made = 0
        try:
            for delta in stream:
                made += delta.tokens
                yield TextDelta(stop.feed(delta.text), delta.tokens, delta.notice)
                if stop.reached:
                    break
        finally:
            if isinstance(stream, Generator):
                stream.close()  # now: an engine answers one at a time, and keeps others out until then
        if cancel.cancelled:
            return
        if rest := stop.finish():
            yield TextDelta(rest, tokens=0)
        yield CompletionEnd("length" if made >= limit and not stop.reached else "stop", prompt_tokens, made)

    def transcribe(self, file: Path, name: str, language: str | None, cancel: CancelToken) -> Transcript:
        """What is said in a recording or a video. Raises `BadInput` for a file that cannot be read."""
        clip = load_sound(file, name, max_seconds=self._settings.max_media_s)
        cancel.raise_if_cancelled()
        return self.engines.hearing().transcribe(clip, language=language, cancel=cancel)

    def speak(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        """`text` (Markdown allowed) as sound, piece by piece.

        Raises:
            UnknownVoice: the engine has no such voice.
            BadInput: nothing in the text that could be said.
            Unspeakable: the text is mostly in a script that the voice does not know; the lesser part is left out.
            EngineFailure: the synthesis broke.
        """
        words = " ".join(speakable(text))
        synthesizer = self.engines.speaking()
        known = [voice.name for voice in synthesizer.voices]
        if options.voice and options.voice not in known and "@" not in options.voice:
            raise UnknownVoice(f"There is no voice named {options.voice!r}.", f"Voices are: {', '.join(known[:12])}.")
        spoken = False
        if words:
            for clip in synthesizer.stream(words, options, cancel):
                spoken = True
                yield clip
        if not spoken and not cancel.cancelled:
            raise BadInput("There is nothing in this text that could be said aloud.", "Send words.")

    def _opened(self, messages: Sequence[SentMessage], cancel: CancelToken) -> tuple[Message, ...]:
        """The messages as the engines take them: the system's first and in one, then user and assistant by turns.

        Programs put several messages of one role in a row, and system messages anywhere; chat templates refuse both.
        """
        system = "\n\n".join(p for m in messages if m.role == "system" for p in m.parts if isinstance(p, str))
        opened = [Message.of_text("system", system)] if system.strip() else []
        for message in messages:
            if message.role == "system":
                continue
            parts = self._parts(message, cancel)
            if opened and opened[-1].role == message.role:
                parts = (*opened.pop().parts, *parts)
            opened.append(Message(message.role, parts))
        if not opened[-1].text.strip() and all(isinstance(p, TextPart) for p in opened[-1].parts):
            raise BadInput(
                "There is nothing to answer.", "Type a question, or attach a picture, a recording or a video."
            )
        return tuple(opened)

    def _parts(self, message: SentMessage, cancel: CancelToken) -> tuple[Part, ...]:
        """As in a turn on the page: where nothing was written, what is said in the recordings is the message."""
        written = any(isinstance(p, str) and p.strip() for p in message.parts)
        parts: list[Part] = []
        for part in message.parts:
            cancel.raise_if_cancelled()
            if isinstance(part, str):
                parts.append(TextPart(part))
            elif part.kind == "picture":
                with _on_disk(part, self._folder) as path:
                    parts.append(ImagePart(load_picture(path, part.name)))
            else:
                parts.append(self._heard(part, written, cancel))
        return tuple(parts)

    def _heard(self, sound: SentFile, written: bool, cancel: CancelToken) -> Part:
        with _on_disk(sound, self._folder) as path:
            transcript = self.transcribe(path, sound.name, None, cancel)
        if written:
            return AudioPart(sound.name, transcript)
        if not transcript.text:
            raise BadInput("I heard no speech in the recording.", "Record it again closer to the microphone, or type.")
        return TextPart(transcript.text)


@contextlib.contextmanager
def _on_disk(sent: SentFile, folder: Path) -> Iterator[Path]:
    """A sent file as the decoders need it, as long as the block lasts."""
    path = folder / secrets.token_hex(16)
    try:
        with path.open("xb") as file:
            file.write(sent.data)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _counted(model: VisionLanguageModel, messages: Sequence[Message]) -> int:
    """The prompt's tokens. Raises `BadInput` when they leave no room for an answer: nothing is left out silently."""
    characters = sum(len(m.text) for m in messages)
    counted = 0
    if characters <= MOST_CHARACTERS_A_TOKEN * model.context_tokens:
        counted = model.count_tokens(messages)
        if counted < model.context_tokens:
            return counted
    raise BadInput(
        f"This question is longer than {model.name} can take in ({model.context_tokens} tokens).",
        "Shorten it, attach less, or choose a model with a longer context.",
    )


def _about_no_picture(question: str, messages: Sequence[Message]) -> bool:
    """Whether a person's question needs a picture, and none came with any of the messages."""
    return (
        len(question.split()) <= LONGEST_QUESTION_WORDS
        and asks_about_a_picture(question)
        and not any(m.pictures for m in messages)
    )
