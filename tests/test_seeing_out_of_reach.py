"""Questions that nobody could answer from memory are told from those that only sound like them."""

import pytest

from models.seeing.out_of_reach import out_of_reach
from models.seeing.prompt import chat_turns
from models.types import Message


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("What's the weather like?", "the weather"),
        ("What\u2019s the weather like in Paris today?", "the weather"),
        ("how is the weather", "the weather"),
        ("Will it rain tomorrow?", "the weather"),
        ("Is it cold outside?", "the weather"),
        ("Is it raining?", "the weather"),
        ("What is the latest news?", "the news"),
        ("What happened today?", "the news"),
        ("What time is it?", "a clock or a calendar"),
        ("What's the date today?", "a clock or a calendar"),
        ("What day is it?", "a clock or a calendar"),
    ],
)
def test_a_question_about_this_moment(question, what):
    assert out_of_reach(question) == what


@pytest.mark.parametrize(
    "question",
    [
        "What is weather?",
        "Write a poem about the weather.",
        "Why does it rain?",
        "Is it cold in Russia in winter?",
        "What is a newspaper?",
        "What time do shops usually open?",
        "What is the date of the French Revolution?",
        "How do I read a clock?",
        "Hello!",
        "",
        "Correct this letter: I wanted to ask you what is the weather like where you live, and whether you are well.",
    ],
)
def test_a_question_that_can_be_answered(question):
    assert out_of_reach(question) == ""


def test_the_model_is_told_and_earlier_answers_stay_as_they_were():
    turns = chat_turns(
        [
            Message.of_text("user", "What's the weather like?"),
            Message.of_text("assistant", "What is the latest news?"),
            Message.of_text("user", "Thanks"),
        ],
        {},
    )
    assert [t.content for t in turns[1:]] == [
        "What's the weather like?\nAnswer that you have no access to the weather.",
        "What is the latest news?",
        "Thanks",
    ]
