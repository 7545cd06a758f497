"""Messages to plain chat turns: what was seen and heard is put into short plain words before the question.

A model of 135 million parameters answers from what stands right before the question, and takes every sentence for
true. So the words are few, they are chosen by the question, and what was recognised is put as an opinion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.interfaces import Evidence, SeenPicture
from models.seeing.out_of_reach import out_of_reach
from models.types import AudioPart, ImagePart, Message, Picture, Role, TextPart, VideoPart

# Of eight wordings the one with most right answers to 21 questions of fact (15; SmolLM2's own: 14). The model is easily
# led astray: with "answer in the language of the question" it no longer knows the capital of France.
DEFAULT_SYSTEM = "You are Lucid, a helpful AI assistant. You give short and correct answers in English."
CERTAIN = 0.6  # probability from which the second guess is not worth mentioning
MOST_TEXT = 600  # characters of one picture's text that reach the model
MOST_HEARD = 4000  # characters of a recording
MOST_FRAMES = 8

Seen = Mapping[str, SeenPicture]

_ABOUT_TEXT = frozenset(("say", "says", "said", "read", "reads", "text", "word", "words", "written", "write", "sign"))
_ABOUT_COLOUR = frozenset(("colour", "colours", "color", "colors", "coloured", "colored"))
_SHOWING = ("see", "seen", "look", "looks", "show", "shows", "shown", "describe")
_POINTING = ("this", "that", "these", "those", "it", "its", "they", "there", "here")
_ABOUT_PICTURES = frozenset(
    ("picture", "pictures", "image", "images", "photo", "photos", "video", "frame", *_SHOWING, *_POINTING)
)


@dataclass(frozen=True)
class ChatTurn:
    """One turn in words."""

    role: Role
    content: str


def chat_turns(messages: Sequence[Message], seen: Seen) -> tuple[ChatTurn, ...]:
    """The messages in words, a system turn first. Messages of text alone stay as they are, unless they ask about a
    picture of an earlier turn: then what was seen in it is said again, for this question.

    Args:
        seen: `Picture.digest` → what was seen, for every picture in `messages`.
    """
    turns: list[ChatTurn] = []
    earlier: tuple[Picture, ...] = ()
    for message in messages:
        content = _content(message, seen)
        if message.pictures:
            earlier = message.pictures
        elif message.role == "user" and earlier and _points_at_a_picture(message.text):
            content = _with_pictures(_stills(earlier[:MOST_FRAMES], seen, message.text), message.text)
        turns.append(ChatTurn(message.role, content))
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
        return answerable(message)
    question = message.text
    said = _stills([p.picture for p in attached if isinstance(p, ImagePart)], seen, question)
    for part in attached:
        if isinstance(part, AudioPart):
            said.append(heard("The recording", part.transcript.text))
        elif isinstance(part, VideoPart):
            said.append(_video(part, seen, question))
    return _with_pictures(said, question) if message.pictures else "\n".join([*said, question]).strip()


def answerable(message: Message) -> str:
    """The text, with a word where nobody could know the answer: SmolLM2 would make up sunshine in New York.

    Of eight wordings, here and in the system prompt, the only one that kept it from that each time.
    """
    missing = out_of_reach(message.text) if message.role == "user" else ""
    return f"{message.text}\nAnswer that you have no access to {missing}." if missing else message.text


def _with_pictures(said: Sequence[str], question: str) -> str:
    """Evidence and question. The last sentence keeps the model at the picture; it is left out where the question goes
    elsewhere, as it would then keep the model from answering."""
    if _points_at_a_picture(question):
        question = f"{question} Answer from the picture."
    return "\n".join([*said, question]).strip()


def _stills(pictures: Sequence[Picture], seen: Seen, question: str) -> list[str]:
    words = [in_words(seen[p.digest], question) for p in pictures]
    if len(words) == 1:
        return [f"Here is a picture. {words[0]}"]
    return [f"Picture {number}: {said}" for number, said in enumerate(words, 1)]


def in_words(picture: SeenPicture, question: str = "") -> str:
    """What was seen in one picture, as sentences: what the question is about, and stands out, and no more.

    The model repeats what it reads: asked what a picture shows, it would answer with the colours if they were there.
    """
    words = _words(question)
    sentences: tuple[str, ...]
    if words & _ABOUT_TEXT:
        return _text(picture) or f"{_objects(picture)} There are no words in it that I can read.".strip()
    if words & _ABOUT_COLOUR:
        sentences = (_objects(picture), _colours(picture))
    elif _of(picture, "object"):
        sentences = (_text(picture), _objects(picture))
    else:  # where nothing was recognised, colours are something
        sentences = (_colours(picture), _objects(picture), _text(picture))
    return " ".join(s for s in sentences if s)


def _points_at_a_picture(question: str) -> bool:
    return bool(_words(question) & (_ABOUT_TEXT | _ABOUT_COLOUR | _ABOUT_PICTURES))


def asks_about_text(question: str) -> bool:
    """Whether a question is about words in a picture."""
    return bool(_words(question) & _ABOUT_TEXT)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def _of(picture: SeenPicture, kind: str) -> tuple[Evidence, ...]:
    return tuple(e for e in picture.evidence if e.kind == kind)


def _objects(picture: SeenPicture) -> str:
    """Always as an opinion: the classifier knows 1,000 things and takes everything for one of them."""
    guesses = _of(picture, "object")
    if not guesses:
        return "" if _of(picture, "text") else "I do not recognise what it shows."
    if guesses[0].confidence >= CERTAIN or len(guesses) == 1:
        return f"I think that it shows {_a(guesses[0].text)}."
    return f"I think that it shows {_a(guesses[0].text)}, or perhaps {_a(guesses[1].text)}."


def _text(picture: SeenPicture) -> str:
    lines = _of(picture, "text")
    if not lines:
        return ""
    said = " ".join(line.text for line in lines)
    where = place(lines[0].box) if len(lines) == 1 and lines[0].box else ""
    at = f" at the {where}" if where not in ("", "middle") else ""
    return f'The words written in it{at} are "{_shortened(said, MOST_TEXT)}".'


def _colours(picture: SeenPicture) -> str:
    colours = [c.text for c in _of(picture, "colour")]
    if not colours:
        return ""
    return f"The main colours are {_listed(colours)}." if len(colours) > 1 else f"The main colour is {colours[0]}."


def heard(name: str, text: str) -> str:
    """What was said in a recording or a video, as a sentence that starts with `name`."""
    return f'{name} says: "{_shortened(text, MOST_HEARD)}"' if text else f"{name} has no speech in it."


def _video(part: VideoPart, seen: Seen, question: str) -> str:
    """Frames by their times; one that looks like the frame before it is left out."""
    said = [f"Here is a video of {round(part.clip.seconds)} seconds."]
    before = ""
    for frame in part.clip.frames[:MOST_FRAMES]:
        words = in_words(seen[frame.digest], question)
        if words != before:
            said.append(f"At {clock(frame.time or 0.0)}: {words}")
        before = words
    if part.transcript is not None:
        said.append(heard("The sound of the video", part.transcript.text))
    return "\n".join(said)


def clock(seconds: float) -> str:
    """63.2 → "1:03"."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


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
