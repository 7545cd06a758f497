"""What comes out of a turn: one small union. A turn ends with exactly one `TurnEnded` or `TurnFailed`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from models.interfaces import SeenPicture, TextDelta
from models.types import AudioClip, Transcript


@dataclass(frozen=True)
class TurnStarted:
    """The turn's message is kept: from here on, a crash does not lose it."""

    user_message_id: str
    answer_message_id: str
    model: str


@dataclass(frozen=True)
class Progress:
    """Something that takes a while. `fraction` 0 … 1, or None when unknown."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class TranscriptReady:
    """What was heard in the recording (or in the video's sound) named `source`."""

    transcript: Transcript
    source: str = ""


@dataclass(frozen=True, eq=False)
class SpeechChunk:
    """A piece of the spoken answer. `sentence`: which one it belongs to, from 0; `text`: its words."""

    clip: AudioClip
    sentence: int
    text: str


@dataclass(frozen=True)
class Timings:
    """Seconds since the turn began; None where the turn had no such step."""

    asr_s: float | None = None
    first_token_s: float | None = None
    first_audio_s: float | None = None
    total_s: float = 0.0


@dataclass(frozen=True)
class TurnEnded:
    """The whole answer. `stopped`: the owner stopped it, and `text` is what was said until then."""

    text: str
    stopped: bool = False
    tokens: int = 0
    seen: tuple[SeenPicture, ...] = ()
    notes: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True)
class TurnFailed:
    """The turn could not be finished. `message` and `remedy` are sentences for the owner.

    Attributes:
        bad_input: the owner's input was at fault (exit code 2), not the program (exit code 1).
        text: what had been answered until then.
    """

    message: str
    remedy: str = ""
    bad_input: bool = False
    text: str = ""


Event = Union[TurnStarted, Progress, TranscriptReady, TextDelta, SpeechChunk, TurnEnded, TurnFailed]
