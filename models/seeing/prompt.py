"""Messages to plain chat turns: what was seen and heard is put into short plain words before the question.

A model of 135 million parameters answers from what stands right before the question, and takes every sentence for
true. So the words are few, certain things are stated, and uncertain ones are hedged in words, not in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.interfaces import Evidence, SeenPicture
from models.types import AudioPart, ImagePart, Message, Role, TextPart, VideoPart

DEFAULT_SYSTEM = (
    "You are Lucid, a helpful and honest assistant. Answer clearly and briefly. Say so when you do not know."
)
MOST_TEXT = 600  # characters of one picture's text
MOST_FRAMES = 8

Seen = Mapping[str, SeenPicture]


@dataclass(frozen=True)
class ChatTurn:
    """One turn in words."""

    role: Role
    content: str


def chat_turns(messages: Sequence[Message], seen: Seen) -> tuple[ChatTurn, ...]:
    """The messages in words, a system turn first. Messages of text alone stay as they are.

    Args:
        seen: `Picture.digest` → what was seen, for every picture in `messages`.
    """
    turns = [ChatTurn(m.role, _content(m, seen)) for m in messages]
    if not turns or turns[0].role != "system":
        turns.insert(0, ChatTurn("system", DEFAULT_SYSTEM))
    return tuple(turns)


def chatml(turns: Sequence[ChatTurn]) -> str:
    """The ChatML text of `turns`, open for the assistant's answer (SmolLM2's own chat template)."""
    said = "".join(f"<|im_start|>{turn.role}\n{_harmless(turn.content)}<|im_end|>\n" for turn in turns)
    return said + "<|im_start|>assistant\n"


def _harmless(text: str) -> str:
    """Text that cannot open or close a turn, wherever it came from (a sign can say `<|im_end|>`)."""
    return text.replace("<|im_start|>", "<im_start>").replace("<|im_end|>", "<im_end>").replace("<|endoftext|>", "")


def _content(message: Message, seen: Seen) -> str:
    attached = [p for p in message.parts if not isinstance(p, TextPart)]
    if not attached:
        return message.text
    numbered = sum(isinstance(p, ImagePart) for p in attached) > 1
    said: list[str] = []
    pictures = 0
    for part in attached:
        if isinstance(part, ImagePart):
            pictures += 1
            name = f"Picture {pictures}" if numbered else "The picture"
            said.append(in_words(seen[part.picture.digest], name))
        elif isinstance(part, AudioPart):
            said.append(_heard("The recording", part.transcript.text))
        elif isinstance(part, VideoPart):
            said.append(_video(part, seen))
    return "\n".join(said) + ("\n\n" + message.text if message.text else "")


def in_words(picture: SeenPicture, name: str = "The picture") -> str:
    """What was seen in one picture, as sentences."""
    sentences = [_objects(picture, name), _text(picture), _colours(picture)]
    return " ".join(s for s in sentences if s)


def _of(picture: SeenPicture, kind: str) -> tuple[Evidence, ...]:
    return tuple(e for e in picture.evidence if e.kind == kind)


def _objects(picture: SeenPicture, name: str) -> str:
    guesses = _of(picture, "object")
    if not guesses:
        return f"{name} shows something that was not recognised."
    best = guesses[0]
    if best.confidence >= 0.6:
        return f"{name} shows {_a(best.text)}."
    others = " or ".join(_a(g.text) for g in guesses)
    return f"{name} perhaps shows {others}; this is not certain."


def _text(picture: SeenPicture) -> str:
    lines = _of(picture, "text")
    if not lines:
        return ""
    said = " ".join(line.text for line in lines)
    return f'The text in it says: "{said[:MOST_TEXT]}".'


def _colours(picture: SeenPicture) -> str:
    colours = [f"{c.text} ({round(100 * c.confidence)}%)" for c in _of(picture, "colour")]
    return f"Its main colours are {_listed(colours)}." if colours else ""


def _heard(name: str, text: str) -> str:
    return f'{name} says: "{text}"' if text else f"{name} has no speech in it."


def _video(part: VideoPart, seen: Seen) -> str:
    frames = part.clip.frames[:MOST_FRAMES]
    said = [f"A video of {round(part.clip.seconds)} seconds."]
    for frame in frames:
        said.append(f"{in_words(seen[frame.digest], f'At {clock(frame.time or 0.0)} it')}")
    if part.transcript is not None:
        said.append(_heard("Its sound", part.transcript.text))
    return "\n".join(said)


def clock(seconds: float) -> str:
    """63.2 → "1:03"."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _listed(things: Sequence[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def place(box: tuple[float, float, float, float]) -> str:
    """Where a box lies, in words: "top left" … "bottom right", "middle"."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return f"{row} {column}".strip() or "middle"
