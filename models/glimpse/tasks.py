"""Tasks: a question about a picture and its right answers; descriptions, and reading what OCR found."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from models.glimpse.data import Record

CAPTION_PROMPTS = (
    "Describe the picture in one sentence.",
    "What is in this picture?",
    "Describe the picture.",
    "What do you see?",
    "Write a short caption for this picture.",
)


@dataclass(frozen=True)
class Task:
    """One question with one or more answers to learn.

    Attributes:
        kind: names the skill.
        weights: where given, how much each answer counts: less than nothing for one to be unlearned.
        names: names that the answer depends on; with `absent`, that it would depend on if they were there.
        copied: whether the answer is one of these names.
        key: the part of the answers in which all that was seen is: its words count more.
    """

    kind: str
    question: str
    answers: tuple[str, ...]
    weights: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    absent: bool = False
    copied: bool = False
    key: str = ""


def clean_caption(text: str) -> str:
    """A caption as a sentence: first letter large, no space before the full stop."""
    text = re.sub(r"\s+([.,!?'])", r"\1", text.strip()).rstrip(" .")
    return text[:1].upper() + text[1:] + "." if text else ""


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z][a-z'\-]*", text.lower())


def caption_task(record: Record, mirrored: bool = False) -> Task | None:
    """The description of a picture. In a mirrored view the captions that name a side are left out."""
    captions = [clean_caption(c) for c in record.captions]
    captions = [c for c in captions if c and not (mirrored and {"left", "right"} & set(words_of(c)))]
    if not captions:
        return None
    prompt = CAPTION_PROMPTS[random.Random(record.name).randrange(len(CAPTION_PROMPTS))]
    return Task("caption", prompt, tuple(dict.fromkeys(captions)))


def plain_name(name: str) -> str:
    """A label, place or object as it is said: "hospital_room" is "hospital room"."""
    return " ".join(re.sub(r"[_/]", " ", name).lower().split())


def with_article(name: str) -> str:
    """`name` with "a" or "an"; plural and mass words go as they are."""
    lowered = name.lower()
    if lowered.endswith("s") and not lowered.endswith("ss"):
        return lowered
    return f"{'an' if lowered[:1] in 'aeiou' else 'a'} {lowered}"


READ_WORDS = [
    "stop",
    "exit",
    "open",
    "closed",
    "sale",
    "cafe",
    "hotel",
    "push",
    "pull",
    "danger",
    "warning",
    "police",
    "taxi",
    "bus",
    "station",
    "library",
    "museum",
    "park",
    "school",
    "street",
    "market",
    "pharmacy",
    "bakery",
    "welcome",
    "parking",
    "entrance",
    "toilet",
    "bank",
    "post",
    "office",
    "pizza",
    "coffee",
    "tea",
    "books",
    "music",
    "garden",
    "city",
    "river",
    "room",
    "floor",
    "menu",
    "free",
    "wifi",
    "cash",
    "only",
    "private",
    "road",
    "work",
    "ahead",
    "slow",
    "speed",
    "limit",
    "north",
    "south",
    "east",
    "west",
]


def reading_tasks(rng: random.Random, count: int) -> tuple[str, list[Task]]:
    """A line saying what OCR read (as the engine writes it), and questions that are answered from it."""
    words = [rng.choice(READ_WORDS) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.3:
        words.insert(rng.randrange(len(words) + 1), str(rng.randint(1, 2030)))
    text = " ".join(words)
    text = rng.choice((text.upper(), text.title(), text))
    questions = ["What does the sign say?", "What is written in the picture?", "Read the text.", "What does it say?"]
    return text_note(text), [Task("read", q, (f'It says "{text}".',)) for q in rng.sample(questions, min(count, 4))]


def text_note(text: str) -> str:
    """How text that OCR read in a picture is told to the model, on a line of its own before the question."""
    return f'Text in the picture: "{text}"'
