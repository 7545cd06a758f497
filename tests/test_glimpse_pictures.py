"""The shipped weights on real pictures: answers that a person would accept, and none without looking."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from models.interfaces import GenerationOptions
from models.streaming import never_cancelled
from models.types import ImagePart, Message, Picture, TextPart

pytestmark = pytest.mark.models

FOLDER = Path(__file__).parent / "fixtures" / "pictures"
WHAT, DESCRIBE, DOG = "What is this?", "Describe the picture in one sentence.", "Is there a dog?"
# Picture, question, words of which one must be in the answer. A dozen pictures, none of them trained on.
ACCEPTED = (
    ("banana", WHAT, "banana"),
    ("cat", WHAT, "cat"),
    ("coffee", WHAT, "espresso coffee cup"),
    ("coffee", DESCRIBE, "coffee cup"),
    ("dalmatian", WHAT, "dalmatian dog"),
    ("dalmatian", DESCRIBE, "dog dalmatian"),
    ("dalmatian", DOG, "yes"),
    ("guitar", DESCRIBE, "guitar"),
    ("guitar", "What color is the guitar?", "red"),
    ("orange", WHAT, "satsumas satsuma orange oranges"),
    ("orange", DOG, "no"),
    ("pizza", WHAT, "pizza"),
    ("pizza", DESCRIBE, "food plate pizza table"),
    ("astronaut", DESCRIBE, "man woman person"),
    ("astronaut", DOG, "no"),
    ("officer", DESCRIBE, "man woman person"),
    ("officer", DOG, "no"),
    ("pants", WHAT, "shorts pants trousers jeans"),
    ("piano", WHAT, "piano"),
    ("cat", DOG, "no"),
    ("pizza", DOG, "no"),
    ("guitar", DOG, "no"),
    ("flower", DOG, "no"),
    ("temple", DOG, "no"),
)


@pytest.fixture(scope="module")
def engine():
    from models.glimpse.engine import load_glimpse

    return load_glimpse()


def picture(name: str) -> Picture:
    return Picture.of(Image.open(FOLDER / f"{name}.jpg").convert("RGB"), f"{name}.jpg")


def asks(question: str, *pictures: Picture) -> Message:
    return Message("user", (*map(ImagePart, pictures), TextPart(question)))


def said(engine, *messages: Message, tokens: int = 30) -> str:
    options = GenerationOptions(max_new_tokens=tokens)
    return "".join(d.text for d in engine.stream(messages, options, never_cancelled()))


def accepted(answer: str, words: str) -> bool:
    return bool(set(answer.lower().replace(".", " ").replace(",", " ").split()) & set(words.split()))


def test_answers_about_photographs_are_acceptable(engine):
    answers = {(name, question): said(engine, asks(question, picture(name))) for name, question, _ in ACCEPTED}
    wrong = [(n, q, answers[n, q]) for n, q, words in ACCEPTED if not accepted(answers[n, q], words)]
    # Another processor rounds otherwise: two of twenty-four may turn out differently.
    assert len(wrong) <= 2, wrong


def test_a_blank_or_another_picture_does_not_give_these_answers(engine):
    blank = Picture.of(Image.new("RGB", (288, 288), (127, 127, 127)))
    open_questions = [(n, q, w) for n, q, w in ACCEPTED if q == WHAT]
    blind = sum(accepted(said(engine, asks(q, blank)), w) for _, q, w in open_questions)
    others = [open_questions[(i + 1) % len(open_questions)][0] for i in range(len(open_questions))]
    exchanged = sum(
        accepted(said(engine, asks(q, picture(o))), w) for o, (_, q, w) in zip(others, open_questions, strict=True)
    )
    assert blind <= 1
    assert exchanged <= 1


def test_a_later_question_is_about_the_last_picture(engine):
    talk = [asks(WHAT, picture("banana")), Message.of_text("assistant", "This is a banana."), asks(DOG)]
    assert accepted(said(engine, *talk[:1]), "banana")
    talk += [Message.of_text("assistant", "No, there is no dog."), asks(DOG, picture("dalmatian"))]
    assert accepted(said(engine, *talk), "yes")


def test_several_pictures_in_one_message_are_answered(engine):
    answer = said(engine, asks("What do you see?", picture("dalmatian"), picture("pizza")))
    assert accepted(answer, "dog dogs dalmatian pizza food plate table")


def test_twenty_turns_stay_in_order(engine):
    talk: list[Message] = []
    names = ["banana", "cat", "coffee", "pizza"]
    for turn in range(20):
        shown = [picture(names[turn // 5])] if turn % 5 == 0 else []
        talk.append(asks(WHAT if shown else f"Is there a dog?{' ' * turn}", *shown))
        answer = said(engine, *talk, tokens=16)
        assert answer.strip()
        talk.append(Message.of_text("assistant", answer))
    again = said(engine, *talk[:-1], tokens=16)
    assert again == talk[-1].text  # warm or cold, the same
