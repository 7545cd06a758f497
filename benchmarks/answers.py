"""What the owner waits for with the embedded models: first words, first sound, hearing; all through the dialogue."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.events import SpeechChunk, TurnEnded
from assistant.sentences import SentenceSplitter
from assistant.session import open_dialogue
from assistant.turn import UserTurn
from benchmarks.statistics import interleaved
from models.interfaces import GenerationOptions, TextDelta
from models.media import load_sound

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "tests" / "fixtures" / "speech" / "jfk.flac"


def measure(runs: int) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, aim). Models are loaded and warmed first; the sides of each row take turns."""
    with _dialogue() as (dialogue, folder):
        _answer(dialogue, folder, picture=True, speak=True)
        return [*_first_tokens(dialogue, folder, runs), _first_audio(dialogue, folder, runs), _hearing(dialogue, runs)]


@contextlib.contextmanager
def _dialogue() -> Iterator[tuple[DialogueManager, Path]]:
    with tempfile.TemporaryDirectory(prefix="lucid-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", offline=True)
        with open_dialogue(settings) as dialogue:
            dialogue.engines.warm().join()
            yield dialogue, Path(folder)


def _first_tokens(dialogue: DialogueManager, folder: Path, runs: int) -> list[tuple[str, str, str]]:
    medians = interleaved(
        {
            "text": lambda: _answer(dialogue, folder).first_token,
            "text + new picture": lambda: _answer(dialogue, folder, picture=True).first_token,
        },
        runs,
    )
    return [(f"first token, {name}", f"{1e3 * seconds:.0f} ms", "") for name, seconds in medians.items()]


def _first_audio(dialogue: DialogueManager, folder: Path, runs: int) -> tuple[str, str, str]:
    waits = [_answer(dialogue, folder, speak=True).first_audio_after_sentence for _ in range(runs)]
    return ("first audio after the first sentence", f"{1e3 * median(waits):.0f} ms", "")


def _hearing(dialogue: DialogueManager, runs: int) -> tuple[str, str, str]:
    clip = load_sound(SPEECH)
    recognizer = dialogue.engines.hearing()

    def once() -> float:
        begun = time.perf_counter()
        if not recognizer.transcribe(clip).text:
            raise RuntimeError("the recogniser heard nothing in a clear recording")
        return time.perf_counter() - begun

    took = median(once() for _ in range(runs))
    return (f"hearing {clip.seconds:.0f} s of speech", f"{took:.2f} s ({took / clip.seconds:.2f}× real time)", "")


class _Answer:
    """The times of one answer, in seconds."""

    def __init__(self) -> None:
        self.first_token = 0.0
        self.first_audio_after_sentence = 0.0


def _answer(dialogue: DialogueManager, folder: Path, *, picture: bool = False, speak: bool = False) -> _Answer:
    """One turn in a conversation of its own; its picture is new, so that nothing seen before helps."""
    conversation = dialogue.store.create().id
    images = (_new_picture(folder),) if picture else ()
    question = (
        "What is in the picture?" if picture else f"Tell me two facts about the number {random.randrange(10**6)}."
    )
    turn = UserTurn(conversation, question, images=images, speak=speak, generation=GenerationOptions(max_new_tokens=48))
    times, splitter = _Answer(), SentenceSplitter()
    begun, sentence_at = time.perf_counter(), None
    event = None
    for event in dialogue.respond(turn, dialogue.scope(conversation).begin()):
        now = time.perf_counter()
        if isinstance(event, TextDelta):
            times.first_token = times.first_token or now - begun
            if sentence_at is None and splitter.feed(event.text):
                sentence_at = now
        elif isinstance(event, SpeechChunk) and not times.first_audio_after_sentence:
            times.first_audio_after_sentence = now - (sentence_at or now)
    if not isinstance(event, TurnEnded):
        raise RuntimeError(f"the turn failed: {event}")
    return times


def _new_picture(folder: Path) -> Path:
    """A drawn scene that no earlier run has seen."""
    image = Image.new("RGB", (640, 480), tuple(random.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = random.randrange(560), random.randrange(400), random.randrange(20, 160)
        draw.ellipse((x, y, x + size, y + size), fill=tuple(random.randrange(256) for _ in range(3)))
    file = folder / f"scene-{random.randrange(10**9)}.png"
    image.save(file)
    return file
