"""Lucid's messages as chat messages: pictures as data URLs, sound and video in words; and how many tokens they take."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from models.seeing.prompt import clock
from models.types import AudioPart, ImagePart, Message, Picture, TextPart, VideoPart

# Every one of the servers takes pictures of this size, and most models look at no more of one. A frame of a video is
# one of many.
LARGEST_SIDE = 1280
LARGEST_FRAME_SIDE = 640
# Models that cut a picture into squares of 28 or 32 pixels refuse one that is smaller than a square, or a strip.
SMALLEST_SIDE = 56
LONGEST_TO_SHORTEST = 50
# A drawing or a screenshot has few colours: PNG is mostly smaller there, and exact. WebP would be smaller still, but
# llama.cpp's decoder does not read it.
FEW_COLOURS = 2048
JPEG_QUALITY = 90
CACHED_BYTES = 64 << 20

# A token of a current vocabulary is about four letters of English; three leaves room for names, numbers and code.
# Letters beyond Latin take up to a token each.
LETTERS_PER_TOKEN = 3.0
TOKENS_PER_MESSAGE = 8
# Qwen2.5-VL's count, one token for 28 × 28 pixels: more than most others take of a picture of that size.
PIXELS_PER_TOKEN = 28 * 28

GO_ON = "Go on exactly where your last message stopped. Do not repeat any of it and do not comment."


@dataclass(frozen=True)
class Chat:
    """What is sent.

    Attributes:
        messages: as the chat completions endpoint takes them.
        pictures: how many of them there are.
        left_out: how many earlier ones were replaced by a word.
    """

    messages: list[dict[str, Any]]
    pictures: int
    left_out: int


class DataUrls:
    """Pictures as data URLs, encoded once: the same picture is sent again with every further question about it."""

    def __init__(self, most_bytes: int = CACHED_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.encoded = 0  # for tests and benchmarks

    def of(self, picture: Picture, largest_side: int) -> str:
        """The data URL of `picture`, its longer side at most `largest_side` pixels."""
        key = (picture.digest, largest_side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        url = _encoded(picture, largest_side)
        with self._lock:
            self.encoded += 1
            if key not in self._kept:
                self._bytes += len(url)
            self._kept[key] = url
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return url


def side_for(picture: Picture, largest_side: int) -> int:
    """The longest side that a still picture, or a frame of a video, is sent with."""
    return largest_side if picture.time is None else min(largest_side, LARGEST_FRAME_SIDE)


def sent_size(picture: Picture, largest_side: int) -> tuple[int, int]:
    """(width, height) in pixels as it is sent: within `largest_side`, no smaller than a model can take."""
    width, height = picture.image.size
    scale = min(1.0, largest_side / max(width, height))
    width, height = round(width * scale), round(height * scale)
    least = max(SMALLEST_SIDE, max(width, height) // LONGEST_TO_SHORTEST)
    return max(width, least), max(height, least)


def _encoded(picture: Picture, largest_side: int) -> str:
    size = sent_size(picture, largest_side)
    image = picture.image if picture.image.size == size else picture.image.resize(size, Image.Resampling.LANCZOS)
    kind, data = "jpeg", _saved(image, "JPEG", quality=JPEG_QUALITY)
    if image.getcolors(FEW_COLOURS) is not None:
        exact = _saved(image, "PNG")
        if len(exact) <= len(data):  # a grey photograph has few colours, too, but not a small PNG
            kind, data = "png", exact
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def chat_of(
    messages: Sequence[Message],
    urls: DataUrls,
    *,
    largest_side: int = LARGEST_SIDE,
    most_pictures: int | None = None,
    system_apart: bool = True,
    continues: bool = True,
) -> Chat:
    """What to send.

    Args:
        largest_side: pixels of a picture's longer side.
        most_pictures: the newest so many are sent, the others named; None sends all.
        system_apart: whether the system prompt may be a message of its own.
        continues: whether the server continues a last message of the assistant; else it is asked to in words.
    """
    total = sum(len(m.pictures) for m in messages)
    skip = max(0, total - most_pictures) if most_pictures is not None else 0
    writer = _Writer(urls, largest_side, skip)
    chat = [{"role": m.role, "content": writer.content(m)} for m in messages]
    if not system_apart:
        chat = _system_in_the_question(chat)
    if messages[-1].role == "assistant" and not continues:
        chat.append({"role": "user", "content": GO_ON})
    return Chat(chat, total - skip, skip)


class _Writer:
    """Writes the contents of messages; the first `skip` pictures that come are only named."""

    def __init__(self, urls: DataUrls, largest_side: int, skip: int) -> None:
        self._urls = urls
        self._largest = largest_side
        self._skip = skip

    def content(self, message: Message) -> str | list[dict[str, Any]]:
        """A plain string where there is no picture: text-only models and old templates take nothing else."""
        pieces: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                pieces.append(self._picture(part.picture))
            elif isinstance(part, AudioPart):
                pieces.append(_text(_heard(f"The recording “{part.source}”", part.transcript.text)))
            elif isinstance(part, VideoPart):
                pieces += self._video(part)
            elif part.text:
                pieces.append(_text(part.text))
        if any(p["type"] != "text" for p in pieces):
            return pieces
        return "\n".join(p["text"] for p in pieces)

    def _picture(self, picture: Picture) -> dict[str, Any]:
        if self._skip > 0:
            self._skip -= 1
            return _text(f"[The picture “{picture.source}” was here; it is not shown any more.]")
        url = self._urls.of(picture, side_for(picture, self._largest))
        return {"type": "image_url", "image_url": {"url": url}}

    def _video(self, part: VideoPart) -> list[dict[str, Any]]:
        """Frames, each after the time that it is taken at; then what is said in the video."""
        pieces = [_text(f"The video “{part.clip.source}”, {round(part.clip.seconds)} seconds long, as single frames.")]
        for frame in part.clip.frames:
            pieces += [_text(f"At {clock(frame.time or 0.0)}:"), self._picture(frame)]
        if part.transcript is not None:
            pieces.append(_text(_heard("The sound of the video", part.transcript.text)))
        return pieces


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _heard(what: str, text: str) -> str:
    return f"{what} says: “{text}”" if text else f"{what} has no speech in it."


def _system_in_the_question(chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For models whose template knows no system role: its words stand before the first question."""
    system = "\n".join(str(m["content"]) for m in chat if m["role"] == "system")
    rest = [m for m in chat if m["role"] != "system"]
    if system and rest:
        first = rest[0]["content"]
        joined = f"{system}\n\n{first}" if isinstance(first, str) else [_text(system), *first]
        rest[0] = {**rest[0], "content": joined}
    return rest


def estimated_tokens(messages: Sequence[Message], largest_side: int) -> int:
    """How many tokens `messages` may take: an estimate from letters and pixels, rather too many than too few."""
    return sum(TOKENS_PER_MESSAGE + _words(m) + sum(_looks(p, largest_side) for p in m.pictures) for m in messages)


def _words(message: Message) -> int:
    texts = [p.text for p in message.parts if isinstance(p, TextPart)]
    texts += [p.transcript.text for p in message.parts if isinstance(p, (AudioPart, VideoPart)) and p.transcript]
    text = "\n".join(texts)
    narrow = sum(c < "\u0250" for c in text)  # where the Latin letters end
    return round(narrow / LETTERS_PER_TOKEN) + len(text) - narrow


def _looks(picture: Picture, largest_side: int) -> int:
    width, height = sent_size(picture, side_for(picture, largest_side))
    return -(-width * height // PIXELS_PER_TOKEN) + (TOKENS_PER_MESSAGE if picture.time is not None else 0)
