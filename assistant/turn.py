"""What goes in: one turn of the owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.interfaces import GenerationOptions, SpeechOptions


@dataclass(frozen=True)
class UserTurn:
    """One thing that the owner says, with what they attach.

    Attributes:
        conversation_id: which conversation it belongs to.
        text: what was typed; with sound attached and no text, the recording is the question.
        images, audio, videos: files, decoded (and refused, where they are bad) by perception.
        names: file → the name that the owner knows it by, where that differs from the file's own.
        replaces: the id of an earlier user message that this turn takes the place of; it and everything after it go.
        speak: say the answer too.
    """

    conversation_id: str
    text: str = ""
    images: tuple[Path, ...] = ()
    audio: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    names: dict[Path, str] = field(default_factory=dict)
    replaces: str | None = None
    speak: bool = False
    speech: SpeechOptions = SpeechOptions()
    generation: GenerationOptions = GenerationOptions()
