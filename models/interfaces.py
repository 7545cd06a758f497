"""The three interfaces that every engine stands behind. Streaming is the primitive: a whole reply is a join over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from models.streaming import CancelToken
from models.types import AudioClip, Message, Transcript


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is sampled.

    Attributes:
        max_new_tokens: upper bound of the answer's length.
        temperature: 0 takes the likeliest token every time, so that the same question gives the same answer.
        top_p: nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751); used where temperature > 0.
        top_k: only the so many likeliest tokens are drawn from (Fan et al. 2018, arXiv:1805.04833); 0: all.
        min_p: only tokens at least so likely as this share of the likeliest one (Nguyen et al. 2024, arXiv:2407.01082).
        repetition_penalty: > 1 makes repeated tokens less likely (CTRL, Keskar et al. 2019, arXiv:1909.05858).
        seed: makes sampling repeatable; None draws a fresh one.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 0.9
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.1
    seed: int | None = None


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer.

    Attributes:
        text: may be empty.
        tokens: how many tokens of the model it took.
        notice: a sentence for the owner about how the answer is being made ("The GPU ran out of memory: …"), or "".
    """

    text: str
    tokens: int = 1
    notice: str = ""


@dataclass(frozen=True)
class Evidence:
    """One thing that an engine noticed in a picture.

    Attributes:
        kind: "object" (recognised), "word" (fits the picture, says the model), "text" (read), "colour" (main colours).
        text: the name, the words, the colour.
        confidence: 0 … 1.
        box: (left, top, right, bottom) as fractions of width and height, or None for the whole picture.
    """

    kind: Literal["object", "word", "text", "colour"]
    text: str
    confidence: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class SeenPicture:
    """A picture as the model really saw it.

    Attributes:
        source: the file's name as the owner knows it.
        digest: the `Picture.digest` it was made from.
        original_size, model_size: (width, height) in the file, and as the vision encoder took it.
        time: seconds into the video; None for a still picture.
        notes: what was done to it on the way.
        evidence: what the engine noticed.
    """

    source: str
    digest: str
    original_size: tuple[int, int]
    model_size: tuple[int, int]
    time: float | None = None
    notes: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, eq=False)
class TokenAttention:
    """Where the model looked while it wrote one token.

    Attributes:
        text: the token's text.
        digest: of the picture.
        cells: (rows, columns), how much of the attention to this picture fell on each cell; sums to one.
    """

    text: str
    digest: str
    cells: np.ndarray


@dataclass(frozen=True)
class Voice:
    """A voice that a synthesizer offers. `language` is ISO 639-1."""

    name: str
    language: str
    description: str = ""


@dataclass(frozen=True)
class SpeechOptions:
    """How a sentence is spoken. `voice` "" takes the engine's first; `speed` 1.0 is the voice's own pace."""

    voice: str = ""
    speed: float = 1.0


class SpeechRecognizer(Protocol):
    """Hears."""

    name: str

    def transcribe(
        self, clip: AudioClip, *, language: str | None = None, cancel: CancelToken | None = None
    ) -> Transcript:
        """What is said in `clip` (any rate). Silence and noise give an empty transcript.

        Raises `EngineFailure` when the engine breaks, `Cancelled` when `cancel` became stale.
        """
        ...


class VisionLanguageModel(Protocol):
    """Sees and says."""

    name: str

    @property
    def context_tokens(self) -> int:
        """The longest prompt and answer together that it takes."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that `messages` take as a prompt, pictures included."""
        ...

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """What the model sees of every picture in `messages`, in order; cached by picture."""
        ...

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """The answer to the last message, as it is made. Ends within one token of `cancel` becoming stale.

        Raises `EngineFailure` when the engine breaks (also in mid-answer), `BadInput` when the messages do not fit.
        """
        ...


class SpeechSynthesizer(Protocol):
    """Speaks."""

    name: str

    @property
    def voices(self) -> tuple[Voice, ...]: ...

    def stream(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        """`text` as sound, in order, in pieces as soon as they are made. Raises `BadInput` for an unknown voice."""
        ...
