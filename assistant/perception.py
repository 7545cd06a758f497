"""From a turn's files to the parts of a message: everything is opened before anything is kept, then heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.config import Settings
from assistant.turn import UserTurn
from models.engines import Engines
from models.errors import BadInput
from models.media import load_picture, load_sound, load_video
from models.streaming import CancelToken
from models.types import AudioClip, AudioPart, ImagePart, Part, Picture, Transcript, VideoClip, VideoPart


@dataclass(frozen=True, eq=False)
class OpenedTurn:
    """A turn whose files were all readable, decoded, in the order in which the turn gives them."""

    pictures: tuple[Picture, ...]
    sounds: tuple[AudioClip, ...]
    videos: tuple[VideoClip, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the files on the way, for the owner."""
        stills = [f"{p.source}: {note}" for p in self.pictures for note in p.notes]
        return (*stills, *(f"{v.source}: {note}" for v in self.videos for note in v.notes))


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard in one of the turn's files: `file` is its path in the turn."""

    file: Path
    source: str
    transcript: Transcript


def open_turn(turn: UserTurn, settings: Settings) -> OpenedTurn:
    """Decodes every file of the turn.

    Raises:
        BadInput: for the first file that cannot be used, or when the turn says nothing at all.
    """
    if not turn.text.strip() and not (turn.images or turn.audio or turn.videos):
        raise BadInput("There is nothing to answer.", "Type a question, or attach a picture, a recording or a video.")
    name = {file: turn.names.get(file, file.name) for file in (*turn.images, *turn.audio, *turn.videos)}
    return OpenedTurn(
        tuple(load_picture(file, name[file]) for file in turn.images),
        tuple(load_sound(file, name[file], max_seconds=settings.max_media_s) for file in turn.audio),
        tuple(
            load_video(file, name[file], frames=settings.video_frames, max_seconds=settings.max_media_s)
            for file in turn.videos
        ),
    )


def hear(turn: UserTurn, opened: OpenedTurn, engines: Engines, cancel: CancelToken) -> Iterator[Heard]:
    """Transcribes the turn's recordings and the sound of its videos, one after another."""
    clips = [*zip(turn.audio, opened.sounds, strict=True)]
    clips += [(f, v.audio) for f, v in zip(turn.videos, opened.videos, strict=True) if v.audio is not None]
    for file, clip in clips:
        cancel.raise_if_cancelled()
        transcript = engines.hearing().transcribe(clip, cancel=cancel)
        yield Heard(file, clip.source or turn.names.get(file, file.name), transcript)


def parts_of(turn: UserTurn, opened: OpenedTurn, heard: tuple[Heard, ...]) -> tuple[Part, ...]:
    """The parts of the message, text excepted: pictures, recordings with their transcripts, videos."""
    transcripts = {h.file: h.transcript for h in heard}
    sounds = zip(turn.audio, opened.sounds, strict=True)
    return (
        *(ImagePart(picture) for picture in opened.pictures),
        *(AudioPart(clip.source, transcripts[file]) for file, clip in sounds if not is_question(turn)),
        *(VideoPart(v, transcripts.get(f)) for f, v in zip(turn.videos, opened.videos, strict=True)),
    )


def is_question(turn: UserTurn) -> bool:
    """Whether the recordings are the question itself, because nothing was typed."""
    return bool(turn.audio) and not turn.text.strip()


def question_of(turn: UserTurn, heard: tuple[Heard, ...]) -> str:
    """What the owner asks: the typed text, or what was said in the recordings.

    Raises:
        BadInput: when the recordings are the question and no speech was heard in them.
    """
    if not is_question(turn):
        return turn.text.strip()
    said = " ".join(h.transcript.text for h in heard if h.file in turn.audio and h.transcript.text).strip()
    if not said:
        raise BadInput("I heard no speech in the recording.", "Record it again closer to the microphone, or type.")
    return said
