"""What a Whisper decoder says about a window of sound, before anybody decides whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.streaming import CancelToken
from models.types import Word


@dataclass(frozen=True)
class Segment:
    """A stretch of text with what the decoder thinks of it.

    Attributes:
        text: as decoded, spaces included.
        words: times in seconds from the start of the window.
        average_log_probability: mean over the tokens, natural logarithm.
        no_speech_probability: of Whisper's token for "nothing is said".
        compression_ratio: length over zlib-compressed length; high where the text repeats itself.
    """

    text: str
    words: tuple[Word, ...]
    average_log_probability: float
    no_speech_probability: float
    compression_ratio: float


class WhisperDecoder(Protocol):
    """One implementation of Whisper. Windows are float32 at 16 kHz, shape (n,), at most 30 s."""

    def languages(self, samples: np.ndarray) -> Sequence[tuple[str, float]]:
        """ISO 639-1 codes with their probabilities, the likeliest first."""
        ...

    def decode(self, samples: np.ndarray, language: str, cancel: CancelToken) -> tuple[Segment, ...]:
        """The text in `language`. Raises `Cancelled` between segments once `cancel` is stale."""
        ...


def token_limit(seconds: float) -> int:
    """More tokens than anybody can say in so long a time: a decoder that loops is stopped early.

    Twenty tokens a second is twice what fast Chinese, the densest language for Whisper's tokenizer, takes.
    """
    return min(200, 16 + int(20 * seconds))
