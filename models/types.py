"""The frozen values that travel through Lucid: sound, pictures, video, parts of a message, messages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Union

import numpy as np
from PIL import Image

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, eq=False)
class AudioClip:
    """Mono sound.

    Attributes:
        samples: float32 in [-1, 1], shape (n,).
        rate: samples per second.
        source: the file's name as the owner knows it, or "".
    """

    samples: np.ndarray
    rate: int
    source: str = ""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"samples must be float32 of shape (n,), not {self.samples.dtype} {self.samples.shape}")
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, not {self.rate}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright RGB picture.

    Attributes:
        image: mode "RGB", EXIF orientation already applied.
        source: the file's name as the owner knows it, or "".
        digest: SHA-256 of size and pixels, hexadecimal: the key for everything computed from the picture.
        original_size: (width, height) as stored in the file, after turning, before any shrinking.
        time: seconds from the start of the video that it is a frame of; None for a still picture.
        notes: sentences about what was done to it ("animated: only its first frame is used").
    """

    image: Image.Image
    source: str
    digest: str
    original_size: tuple[int, int]
    time: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        image: Image.Image,
        source: str = "",
        *,
        original_size: tuple[int, int] | None = None,
        time: float | None = None,
        notes: tuple[str, ...] = (),
    ) -> Picture:
        """Wraps an image, computing its digest."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()
        return cls(rgb, source, digest, original_size or rgb.size, time, notes)


@dataclass(frozen=True, eq=False)
class VideoClip:
    """A video as a few timed frames and its sound.

    Attributes:
        frames: in order of time; each one's `time` is set.
        audio: the sound track, or None.
        seconds: length of the video.
        source: the file's name as the owner knows it.
        notes: sentences about what was done to it.
    """

    frames: tuple[Picture, ...]
    audio: AudioClip | None
    seconds: float
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Word:
    """One heard word: seconds from the start of the clip, and the recogniser's probability for it."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Transcript:
    """What was heard. An empty `text` means that there was no speech.

    Attributes:
        language: ISO 639-1 code, or "" when nothing was heard.
        language_probability: the recogniser's probability for that language.
        seconds: length of the clip.
    """

    text: str
    language: str = ""
    language_probability: float = 0.0
    words: tuple[Word, ...] = ()
    seconds: float = 0.0

    @property
    def confidence(self) -> float:
        """Mean word probability; 0.0 when there are no words."""
        return sum(w.probability for w in self.words) / len(self.words) if self.words else 0.0


@dataclass(frozen=True)
class TextPart:
    text: str


@dataclass(frozen=True, eq=False)
class ImagePart:
    picture: Picture


@dataclass(frozen=True, eq=False)
class AudioPart:
    """Sound that the owner attached, and what was heard in it."""

    source: str
    transcript: Transcript


@dataclass(frozen=True, eq=False)
class VideoPart:
    """A video that the owner attached, and what was heard in it (None: it has no sound)."""

    clip: VideoClip
    transcript: Transcript | None = None


Part = Union[TextPart, ImagePart, AudioPart, VideoPart]


@dataclass(frozen=True, eq=False)
class Message:
    """One message of a conversation, as the engines see it."""

    role: Role
    parts: tuple[Part, ...] = field(default=())

    @classmethod
    def of_text(cls, role: Role, text: str) -> Message:
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        """The text parts, joined by newlines."""
        return "\n".join(p.text for p in self.parts if isinstance(p, TextPart))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every picture of the message, frames of videos included, in order."""
        found: list[Picture] = []
        for part in self.parts:
            if isinstance(part, ImagePart):
                found.append(part.picture)
            elif isinstance(part, VideoPart):
                found.extend(part.clip.frames)
        return tuple(found)

    def with_text(self, text: str) -> Message:
        """The same message with its text parts replaced by one, placed last."""
        kept = tuple(p for p in self.parts if not isinstance(p, TextPart))
        return replace(self, parts=(*kept, TextPart(text)))
