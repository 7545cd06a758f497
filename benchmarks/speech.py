"""How soon and how well Lucid speaks: first audio, speed, and whether a recogniser understands what was said.

    python -m benchmarks.speech [--runs 5] [--show] [--json OUT]

The round trip speaks 20 answers as the assistant would (sentence by sentence), hears them with Whisper base and counts
word errors against the spoken text.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from assistant.sentences import SentenceSplitter, speakable
from assistant.speaker import Speaker
from benchmarks.hearing import count_errors
from benchmarks.statistics import machine, percentile
from models.hearing import load_recognizer
from models.interfaces import SpeechOptions, SpeechSynthesizer
from models.speaking import load_synthesizer
from models.streaming import never_cancelled
from models.types import AudioClip
from models.weights import PIPER_JOE

ENGINE = f"piper:{PIPER_JOE}"

ANSWERS = (
    "The capital of France is Paris.",
    "Yes, you can freeze bread. Wrap it well, and it keeps for about three months.",
    "Water boils at 100 degrees Celsius at sea level. On a high mountain it boils sooner.",
    "I see two dogs running through a field. One of them is brown, and the other is white.",
    "The sign says: no parking between eight in the morning and six in the evening.",
    "To make tea, boil fresh water, pour it over the leaves, and wait for four minutes.",
    "Photosynthesis is how plants turn sunlight, water and carbon dioxide into sugar and oxygen.",
    "There are three apples on the table, next to a glass of milk.",
    "I am not sure. The picture is too dark to tell what colour the car is.",
    "The recording is about the weather tomorrow: rain in the north, and sunshine in the south.",
    "A triangle has three sides. If all of them are equal, every angle is 60 degrees.",
    "# Packing list\n\n- **Warm** jacket\n- Two pairs of shoes\n- A map of the city",
    "Shakespeare wrote Hamlet around the year 1600. It is his longest play.",
    "Call `len(items)` to count them:\n\n```python\nlen([1, 2, 3])\n```\n\nThe answer is three.",
    "The train leaves at half past seven from platform four, and it arrives before noon.",
    "Dr. Brown said that you should drink more water and sleep at least eight hours.",
    "The moon is about 384 thousand kilometres away from the Earth.",
    "You could visit the [science museum](https://example.com), walk along the river, or simply rest.",
    "In the first frame a man opens the door. Ten seconds later he sits down and reads a newspaper.",
    "I'm sorry to hear that. Would you like me to find the phone number of a doctor nearby?",
)


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        load_s: from nothing to a loaded voice, libraries included.
        first_audio_s: median time from the end of the first sentence to its first sound.
        first_audio_p95_s: the same, 95th percentile.
        real_time_factor: seconds of work for a second of speech; below 1 keeps up.
        splitter_us: microseconds a character that the sentence splitter takes.
        word_error_rate: of the round trip, 0 … 1.
        worst: the answer with most errors: (rate, spoken, heard).
    """

    load_s: float
    first_audio_s: float
    first_audio_p95_s: float
    real_time_factor: float
    splitter_us: float
    word_error_rate: float
    worst: tuple[float, str, str]


def first_audio(engine: SpeechSynthesizer, answer: str) -> float:
    """Seconds from the character that ends the first sentence to the first sound, through the whole speaking path."""
    speaker = Speaker(engine, SpeechOptions(), never_cancelled())
    splitter = SentenceSplitter()
    text = f"{answer}\n"
    for character in text:
        begun = time.perf_counter()
        speaker.feed(character)
        if splitter.feed(character):
            break
    next(iter(speaker.chunks()))
    return time.perf_counter() - begun


def spoken(engine: SpeechSynthesizer, answer: str) -> AudioClip:
    """The whole answer as one clip."""
    speaker = Speaker(engine, SpeechOptions(), never_cancelled())
    speaker.feed(answer)
    speaker.close()
    clips = [chunk.clip for chunk in speaker.chunks()]
    return AudioClip(np.concatenate([c.samples for c in clips]), clips[0].rate)


def measure(runs: int = 5, *, show: bool = False) -> Figures:
    """Speaks every answer `runs` times for the first audio, once for the round trip."""
    begun = time.perf_counter()
    engine = load_synthesizer(ENGINE, offline=True)
    load_s = time.perf_counter() - begun
    spoken(engine, "One sentence to warm up.")
    latencies = [first_audio(engine, answer) for _ in range(runs) for answer in ANSWERS]

    begun = time.perf_counter()
    clips = [spoken(engine, answer) for answer in ANSWERS]
    factor = (time.perf_counter() - begun) / sum(clip.seconds for clip in clips)

    long_text = "\n".join(ANSWERS) * 20
    begun = time.perf_counter()
    speakable(long_text)
    splitter_us = (time.perf_counter() - begun) / len(long_text) * 1e6

    rate, worst = _round_trip(clips, show)
    return Figures(
        load_s,
        percentile(latencies, 0.5),
        percentile(latencies, 0.95),
        factor,
        splitter_us,
        rate,
        worst,
    )


def _round_trip(clips: list[AudioClip], show: bool) -> tuple[float, tuple[float, str, str]]:
    recognizer = load_recognizer("whisper-base", offline=True)
    all_errors = all_words = 0
    worst = (-1.0, "", "")
    for answer, clip in zip(ANSWERS, clips, strict=True):
        said = " ".join(speakable(answer))
        heard = recognizer.transcribe(clip).text
        errors, words = count_errors(said, heard, "en")
        all_errors, all_words = all_errors + errors, all_words + words
        worst = max(worst, (errors / words, said, heard))
        if show:
            sys.stdout.write(f"{errors:2d}/{words:<3d} {said}\n       {heard}\n")
    return all_errors / all_words, worst


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often each answer is begun")
    parser.add_argument("--show", action="store_true", help="print what was said and what was heard")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = measure(options.runs, show=options.show)
    write = sys.stdout.write
    write(f"{machine()}\n")
    write(f"voice loaded in                    {figures.load_s:.2f} s\n")
    write(f"first audio after the sentence     {figures.first_audio_s * 1e3:.0f} ms (p95 ")
    write(f"{figures.first_audio_p95_s * 1e3:.0f} ms)\n")
    write(f"real-time factor                   {figures.real_time_factor:.3f}\n")
    write(f"sentence splitter                  {figures.splitter_us:.1f} µs a character\n")
    write(f"round trip, word error rate        {figures.word_error_rate:.1%} (aim ≤ 15 %)\n")
    write(f"  worst answer {figures.worst[0]:.0%}: said  {figures.worst[1]}\n")
    write(f"                    heard {figures.worst[2]}\n")
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2, ensure_ascii=False), encoding="utf-8")
    return 0 if figures.word_error_rate <= 0.15 else 1


if __name__ == "__main__":
    sys.exit(main())
