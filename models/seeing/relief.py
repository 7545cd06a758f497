"""Less to look at, for when memory is short: fewer frames of videos, smaller pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from PIL import Image

from models.types import ImagePart, Message, Part, Picture, VideoPart

OfPicture = TypeVar("OfPicture", bound=Any)  # a dataclass with the `digest` of a picture


@dataclass(frozen=True)
class Relief:
    """What is taken off the pictures of a conversation. None: nothing.

    Attributes:
        frames: most frames of a video.
        side: longest side of a picture in pixels.
    """

    frames: int | None = None
    side: int | None = None

    def of(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """`messages` with fewer frames and smaller pictures."""
        if self == Relief():
            return tuple(messages)
        return tuple(replace(m, parts=tuple(map(self._part, m.parts))) if m.pictures else m for m in messages)

    def _part(self, part: Part) -> Part:
        if isinstance(part, ImagePart):
            return ImagePart(self.picture(part.picture))
        if isinstance(part, VideoPart):
            frames = tuple(map(self.picture, self._spread(part.clip.frames)))
            return replace(part, clip=replace(part.clip, frames=frames))
        return part

    def _spread(self, frames: tuple[Picture, ...]) -> tuple[Picture, ...]:
        """At most `frames` of them, evenly spread, the first and the last among them."""
        if self.frames is None or len(frames) <= self.frames:
            return frames
        step = (len(frames) - 1) / max(1, self.frames - 1)
        return tuple(frames[round(i * step)] for i in range(self.frames))

    def picture(self, picture: Picture) -> Picture:
        longest = max(picture.image.size)
        if self.side is None or longest <= self.side:
            return picture
        width, height = (max(1, round(n * self.side / longest)) for n in picture.image.size)
        image = picture.image.resize((width, height), Image.Resampling.LANCZOS)
        return Picture.of(
            image, picture.source, original_size=picture.original_size, time=picture.time, notes=picture.notes
        )

    def undone(self, seen: Sequence[OfPicture], messages: Sequence[Message]) -> tuple[OfPicture, ...]:
        """What is known of the smaller pictures (by their `digest`), as of the owner's own in `messages`."""
        own = {self.picture(p).digest: p.digest for m in messages for p in m.pictures} if self.side else {}
        return tuple(replace(s, digest=own.get(s.digest, s.digest)) for s in seen)
