"""`launch.py ask`: one question, one answer, in the terminal."""

from __future__ import annotations

import json
import sys
import wave
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assistant.config import Settings, generation_options
from assistant.dialogue import DialogueManager
from assistant.events import Progress, SpeechChunk, TranscriptReady, TurnEnded, TurnFailed, TurnStarted
from assistant.session import open_dialogue
from assistant.turn import UserTurn
from models.errors import BadInput
from models.interfaces import SeenPicture, SpeechOptions, TextDelta
from models.streaming import CancelScope

ERASE_LINE, BACK = "\r\033[K", "\r"


@dataclass(frozen=True)
class AskOptions:
    """What the command line said. Files are paths as typed."""

    question: str
    images: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    speak: str | None = None
    as_json: bool = False


@dataclass
class _Outcome:
    model: str = ""
    transcripts: list[str] = field(default_factory=list)
    speech: list[SpeechChunk] = field(default_factory=list)
    ended: TurnEnded | None = None
    failed: TurnFailed | None = None


def ask(options: AskOptions, settings: Settings) -> int:
    """Answers one question on standard output; nothing of it is kept.

    Returns:
        0; 2 when the input was at fault; 1 for any other failure. The reason goes to standard error.
    """
    for file in (*options.images, *options.audio, *options.videos):
        if not Path(file).expanduser().is_file():
            raise BadInput(f"There is no file {file}.", "Check the path.")
    speech_file = _speech_file(options.speak)
    with open_dialogue(settings, ephemeral=True) as dialogue:
        turn = UserTurn(
            conversation_id=dialogue.store.create().id,
            text=options.question,
            images=_paths(options.images),
            audio=_paths(options.audio),
            videos=_paths(options.videos),
            speak=speech_file is not None,
            speech=SpeechOptions(settings.voice, settings.speed),
            generation=generation_options(settings),
        )
        outcome = _follow(dialogue, turn, quiet=options.as_json)
    if outcome.failed is not None:
        print(f"lucid: {outcome.failed.message} {outcome.failed.remedy}".strip(), file=sys.stderr)
        return 2 if outcome.failed.bad_input else 1
    assert outcome.ended is not None
    if not options.as_json:
        _name_frames(outcome.ended)
    for note in outcome.ended.notes:
        print(f"lucid: {note}", file=sys.stderr)
    if speech_file is not None:
        if not outcome.speech:
            print("lucid: Nothing in the answer could be spoken.", file=sys.stderr)
            return 1
        write_wav(speech_file, outcome.speech)
    if options.as_json:
        print(json.dumps(_report(outcome, outcome.ended), ensure_ascii=False), flush=True)
    return 0


def _follow(dialogue: DialogueManager, turn: UserTurn, *, quiet: bool) -> _Outcome:
    """Runs the turn; text goes to standard output as it comes, unless `quiet`."""
    outcome, began = _Outcome(), False
    for event in dialogue.respond(turn, CancelScope().begin()):
        if isinstance(event, TurnStarted):
            outcome.model = event.model
        elif isinstance(event, Progress) and not quiet and sys.stderr.isatty():
            print(f"{ERASE_LINE}{event.text} …", end=BACK, file=sys.stderr, flush=True)
        elif isinstance(event, TranscriptReady):
            outcome.transcripts.append(event.transcript.text)
            if not quiet:
                print(f"heard: {event.transcript.text or '(no speech)'}", file=sys.stderr)
        elif isinstance(event, TextDelta) and not quiet:
            if not began and sys.stderr.isatty():
                print(ERASE_LINE, end="", file=sys.stderr, flush=True)  # the answer is not to stand on the progress
            began = True
            print(event.text, end="", flush=True)
        elif isinstance(event, SpeechChunk):
            outcome.speech.append(event)
        elif isinstance(event, TurnEnded):
            outcome.ended = event
        elif isinstance(event, TurnFailed):
            outcome.failed = event
    ending = outcome.ended or outcome.failed
    if not quiet and ending is not None and ending.text:
        print()
    return outcome


def _name_frames(ended: TurnEnded) -> None:
    """Says under the answer which frames of which video it rests on."""
    times: dict[str, list[str]] = {}
    for seen in ended.seen:
        if seen.time is not None:
            times.setdefault(seen.source, []).append(f"{seen.time:.1f}")
    for source, at in times.items():
        print(f"[looked at {source} at {', '.join(at)} s]")


def _report(outcome: _Outcome, ended: TurnEnded) -> dict[str, Any]:
    return {
        "answer": ended.text,
        "transcript": " ".join(t for t in outcome.transcripts if t) or None,
        "model": outcome.model,
        "images": [_image(s) for s in ended.seen],
        "tokens": ended.tokens,
        "timings": {k: None if v is None else round(v, 4) for k, v in asdict(ended.timings).items()},
    }


def _image(seen: SeenPicture) -> dict[str, Any]:
    return {
        "source": seen.source,
        "size": list(seen.model_size),
        "original_size": list(seen.original_size),
        "time": None if seen.time is None else round(seen.time, 3),
        "notes": list(seen.notes),
        "evidence": [asdict(e) for e in seen.evidence],
    }


def _paths(files: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(f).expanduser() for f in files)


def _speech_file(name: str | None) -> Path | None:
    """Where the speech goes, checked before a minute of work is done for nothing."""
    if name is None:
        return None
    file = Path(name).expanduser()
    if file.suffix.lower() != ".wav":
        raise BadInput(f"--speak writes WAV files, and {name} does not end in .wav.", "Example: --speak answer.wav")
    if not file.parent.is_dir():
        raise BadInput(f"There is no folder {file.parent} to write {file.name} into.", "Make it first.")
    return file


def write_wav(file: Path, speech: list[SpeechChunk]) -> None:
    """Writes the chunks as one 16-bit mono WAV file. Raises `BadInput` when the file cannot be written."""
    samples = np.concatenate([chunk.clip.samples for chunk in speech])
    try:
        with wave.open(str(file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(speech[0].clip.rate)
            out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    except OSError as error:
        raise BadInput(f"{file} could not be written: {error.strerror}.", "Choose another file.") from error
