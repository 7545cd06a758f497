"""Cutting a recording into windows of speech that Whisper can take, and finding the way back to the original times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.hearing.voice_activity import RATE, SpeechSpan

WINDOW_S = 29.0
"""Whisper sees 30 s at a time; a little less leaves room for rounding."""

KEPT_PAUSE_S = 0.6
"""Longer pauses are shortened to this: Whisper invents words in silence."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording inside a window: `start` … `end` in the recording, from `offset` in the window (s)."""

    start: float
    end: float
    offset: float


@dataclass(frozen=True, eq=False)
class Window:
    """Sound for one pass of the recogniser.

    Attributes:
        samples: float32 at 16 kHz, shape (n,): the pieces, joined.
        pieces: where they came from, in order.
        speech_probability: the voice activity detector's, averaged over the window's speech.
    """

    samples: np.ndarray
    pieces: tuple[Piece, ...]
    speech_probability: float

    def original_time(self, seconds: float) -> float:
        """The moment in the recording that is `seconds` into the window."""
        piece = next((p for p in reversed(self.pieces) if p.offset <= seconds), self.pieces[0])
        return min(piece.end, piece.start + max(0.0, seconds - piece.offset))


def windows(samples: np.ndarray, speech: Sequence[SpeechSpan], limit: float = WINDOW_S) -> tuple[Window, ...]:
    """The speech of a recording in windows of at most `limit` seconds, cut in pauses where there are any.

    Args:
        samples: the recording, float32 at 16 kHz, shape (n,).
        speech: the spans in which somebody speaks, in order.
        limit: seconds.
    """
    groups: list[list[SpeechSpan]] = []
    length = 0.0
    for span in _no_longer_than(speech, limit):
        taken = span.end - span.start
        pause = min(KEPT_PAUSE_S, span.start - groups[-1][-1].end) if groups else 0.0
        if not groups or length + pause + taken > limit:
            groups.append([])
            length, pause = 0.0, 0.0
        groups[-1].append(span)
        length += pause + taken
    return tuple(_joined(samples, group) for group in groups)


def _no_longer_than(speech: Sequence[SpeechSpan], limit: float) -> list[SpeechSpan]:
    """Speech without a pause for longer than `limit` is cut into equal parts; there is nowhere better to cut."""
    parts: list[SpeechSpan] = []
    for span in speech:
        count = max(1, int(np.ceil((span.end - span.start) / limit)))
        edges = np.linspace(span.start, span.end, count + 1)
        parts.extend(
            SpeechSpan(float(a), float(b), span.probability) for a, b in zip(edges[:-1], edges[1:], strict=True)
        )
    return parts


def _joined(samples: np.ndarray, group: Sequence[SpeechSpan]) -> Window:
    pieces: list[Piece] = []
    cuts: list[np.ndarray] = []
    offset = 0.0
    for index, span in enumerate(group):
        start, end = span.start, span.end
        if index:
            start -= min(KEPT_PAUSE_S, span.start - group[index - 1].end)
        cut = samples[round(start * RATE) : round(end * RATE)]
        pieces.append(Piece(start, end, offset))
        cuts.append(cut)
        offset += len(cut) / RATE
    lengths = np.array([span.end - span.start for span in group])
    weights = np.array([span.probability for span in group])
    return Window(np.concatenate(cuts), tuple(pieces), float(np.average(weights, weights=lengths)))
