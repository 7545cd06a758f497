"""A transcript in the formats that programs ask for: JSON, plain text, and subtitles (SRT, WebVTT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from models.types import Transcript, Word

# A cue that can be read while it stands: two lines of 42 characters, seven seconds, and no longer pause in it.
LONGEST_CUE = 84
LONGEST_CUE_S = 7.0
PAUSE_S = 1.0
_ENDS = (".", "!", "?", "。", "！", "？", "…")
_WIDE = 2  # a Chinese character is as wide as two letters


@dataclass(frozen=True)
class Cue:
    """A piece of the transcript, in seconds from the start."""

    start: float
    end: float
    text: str


def cues(transcript: Transcript) -> tuple[Cue, ...]:
    """The transcript in readable pieces, cut after sentences and in pauses."""
    if not transcript.words:
        return (Cue(0.0, transcript.seconds, transcript.text),) if transcript.text else ()
    found: list[Cue] = []
    begun = 0
    places = _places(transcript)
    for index, word in enumerate(transcript.words):
        last = index + 1 == len(transcript.words)
        if last or _cut(transcript.words[begun : index + 1], transcript.words[index + 1]):
            text = transcript.text[places[begun][0] : places[index][1]].strip()
            found.append(Cue(transcript.words[begun].start, word.end, text))
            begun = index + 1
    return tuple(found)


def _cut(words: Sequence[Word], following: Word) -> bool:
    """Whether a cue of `words` should end before `following`."""
    last = words[-1]
    letters = sum(_width(w.text) + 1 for w in (*words, following))
    return (
        last.text.endswith(_ENDS)
        or following.start - last.end > PAUSE_S
        or following.end - words[0].start > LONGEST_CUE_S
        or letters > LONGEST_CUE
    )


def _width(text: str) -> int:
    return sum(_WIDE if c > "\u2e7f" else 1 for c in text)


def _places(transcript: Transcript) -> list[tuple[int, int]]:
    """Where each word stands in the text: languages differ in what is between words. One that is not found (a number
    that was written out otherwise) has no width."""
    places: list[tuple[int, int]] = []
    position = 0
    for word in transcript.words:
        at = transcript.text.find(word.text, position)
        if word.text and at >= 0:
            places.append((at, at + len(word.text)))
            position = at + len(word.text)
        else:
            places.append((position, position))
    if places:  # nothing of the text is lost before the first word or after the last
        places[0] = (0, places[0][1])
        places[-1] = (places[-1][0], len(transcript.text))
    return places


def srt(transcript: Transcript) -> str:
    """SubRip."""
    pieces = enumerate(cues(transcript), 1)
    return "".join(f"{n}\n{clock(c.start, ',')} --> {clock(c.end, ',')}\n{c.text}\n\n" for n, c in pieces)


def vtt(transcript: Transcript) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/"""
    return "WEBVTT\n\n" + "".join(
        f"{clock(c.start, '.')} --> {clock(c.end, '.')}\n{_cue_text(c.text)}\n\n" for c in cues(transcript)
    )


def clock(seconds: float, point: str) -> str:
    """63.25 → "00:01:03.250"."""
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _cue_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def json_of(transcript: Transcript) -> dict[str, Any]:
    """The short form."""
    return {"text": transcript.text, "usage": _usage(transcript)}


def verbose_json_of(transcript: Transcript, granularities: Sequence[str]) -> dict[str, Any]:
    """The long form, with what the recogniser knows and no more (`confidence` of a word is not in OpenAI's)."""
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if "segment" in granularities:
        found["segments"] = [
            {"id": n, "start": round(c.start, 3), "end": round(c.end, 3), "text": c.text}
            for n, c in enumerate(cues(transcript))
        ]
    if "word" in granularities:
        found["words"] = list(_words(transcript))
    return found


def _words(transcript: Transcript) -> Iterator[dict[str, Any]]:
    for w in transcript.words:
        confidence = round(w.probability, 3)
        yield {"word": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": confidence}


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(transcript.seconds, 3)}
