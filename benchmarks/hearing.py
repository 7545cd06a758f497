"""How well and how fast speech is heard, over a folder of recordings with a manifest.

    python -m benchmarks.hearing DATA/speech [--engine whisper-base] [--show] [--json OUT]

`manifest.json` is a list of objects with `file`, `text` (null: unknown, "": nobody speaks), `lang` and `condition`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.hearing import load_recognizer
from models.interfaces import SpeechRecognizer
from models.media import load_sound
from models.types import AudioClip

SILENT_PEAK = 1e-3
"""A "recording" of speech whose largest sample is below this (-60 dB) was lost when it was converted."""


@dataclass(frozen=True)
class Heard:
    """One recording: what is said by its manifest, what was heard, and how long that took."""

    file: str
    language: str
    condition: str
    reference: str | None
    text: str
    heard_language: str
    confidence: float
    errors: int
    units: int
    seconds: float
    took: float
    silent: bool


def normalised(text: str, language: str) -> str:
    """Text as error rates compare it: Whisper's own normalisers (numbers, contractions, case, punctuation).

    Chinese and Japanese become single characters, since they have no spaces to tell words by.
    """
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

    if language == "en":
        # "five five" becomes "55" there and "5, 5" becomes "5 5": digits are compared one by one.
        return " ".join(re.sub(r"(\d)", r" \1 ", EnglishTextNormalizer()(text)).split())
    plain = BasicTextNormalizer()(text)
    return " ".join("".join(plain.split())) if language in ("zh", "ja") else plain.strip()


def count_errors(reference: str, text: str, language: str) -> tuple[int, int]:
    """(word or character errors, words or characters in the reference)."""
    import jiwer

    expected, heard = normalised(reference, language), normalised(text, language)
    if not expected:
        return len(heard.split()), 0
    measured = jiwer.process_words(expected, heard or "")
    return measured.substitutions + measured.deletions + measured.insertions, len(expected.split())


def hear(recognizer: SpeechRecognizer, record: dict[str, str], clip: AudioClip) -> Heard:
    """One recording, timed."""
    began = time.perf_counter()
    transcript = recognizer.transcribe(clip)
    took = time.perf_counter() - began
    reference, language = record["text"], record["lang"]
    errors, units = count_errors(reference, transcript.text, language) if reference is not None else (0, 0)
    silent = bool(reference) and float(np.abs(clip.samples).max(initial=0.0)) < SILENT_PEAK
    return Heard(
        record["file"], language, record["condition"], reference, transcript.text, transcript.language,
        transcript.confidence, errors, units, clip.seconds, took, silent,
    )  # fmt: skip


def group(heard: Heard) -> str:
    """The row of the table that a recording belongs to."""
    if heard.silent:
        return "(silent file: not counted)"
    if heard.reference is None:
        return "(no reference: not counted)"
    if heard.reference == "":
        return "no speech"
    if heard.file.startswith("digits"):
        return "single digits"
    return f"{heard.language} {heard.condition}"


def report(results: list[Heard]) -> str:
    """The table: errors by condition, false transcripts, speed."""
    rows: dict[str, list[Heard]] = defaultdict(list)
    for heard in results:
        rows[group(heard)].append(heard)
    lines = [f"{'condition':34} {'clips':>5} {'errors':>11} {'rate':>7} {'empty':>5}"]
    for name, members in sorted(rows.items()):
        errors, units = sum(h.errors for h in members), sum(h.units for h in members)
        empty = sum(not h.text for h in members)
        rate = f"{100 * errors / units:6.1f}%" if units and not name.startswith("(") else "      -"
        lines.append(f"{name[:34]:34} {len(members):5} {f'{errors}/{units}':>11} {rate} {empty:5}")
    english = [h for h in results if h.language == "en" and h.reference and not h.silent]
    for name, members in (
        ("English, digits included", english),
        ("English, without single digits", [h for h in english if not h.file.startswith("digits")]),
    ):
        errors, units = sum(h.errors for h in members), sum(h.units for h in members)
        lines.append(
            f"{name}: {100 * errors / max(1, units):.1f} % word errors ({errors}/{units}, {len(members)} clips)"
        )
    invented = [h for h in results if h.reference == "" and h.text]
    lines.append(f"transcripts where nobody speaks: {len(invented)} of {sum(h.reference == '' for h in results)}")
    lines.extend(f"    {h.file}: {h.text!r}" for h in invented)
    speech = [h for h in results if h.text]
    factor = sum(h.took for h in speech) / max(1e-9, sum(h.seconds for h in speech))
    lines.append(f"real-time factor, clips with speech: {factor:.3f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", default="whisper-base")
    parser.add_argument("--only", default="", help="files whose names begin so")
    parser.add_argument("--show", action="store_true", help="every transcript beside its reference")
    parser.add_argument("--json", type=Path, help="where to keep the results")
    options = parser.parse_args()
    began = time.perf_counter()
    recognizer = load_recognizer(options.engine, offline=True)
    loaded = time.perf_counter() - began
    results = []
    for record in json.loads((options.folder / "manifest.json").read_text(encoding="utf-8")):
        if record["file"].startswith(options.only):
            results.append(hear(recognizer, record, load_sound(options.folder / record["file"])))
            if options.show:
                last = results[-1]
                sys.stdout.write(
                    f"{last.file}  [{last.heard_language} {last.confidence:.2f}, {last.errors}/{last.units},"
                    f" {last.took:.2f} s]\n    {last.reference}\n    {last.text}\n"
                )
    sys.stdout.write(f"{report(results)}\nload: {loaded:.2f} s\n")
    if options.json:
        options.json.write_text(
            json.dumps([asdict(h) for h in results], ensure_ascii=False, indent=1), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
