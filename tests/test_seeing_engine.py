"""The packaged engine end to end: it answers, reads a sign, names what it saw, and keeps within its limits."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from models.errors import BadInput
from models.interfaces import GenerationOptions, VisionLanguageModel
from models.seeing import load_vision_language_model
from models.streaming import never_cancelled
from models.types import ImagePart, Message, Picture, TextPart

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def engine() -> VisionLanguageModel:
    return load_vision_language_model("smollm2-evidence", offline=True)


def asked(engine: VisionLanguageModel, *messages: Message, tokens: int = 40) -> str:
    options = GenerationOptions(max_new_tokens=tokens)
    return "".join(delta.text for delta in engine.stream(messages, options, never_cancelled()))


def sign(text: str, colour: str = "green") -> Picture:
    image = Image.new("RGB", (640, 400), (150, 180, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 80, 580, 320), fill=colour, outline="white", width=8)
    draw.text((320, 200), text, fill="white", font=ImageFont.load_default(48), anchor="mm")
    return Picture.of(image, "sign.png")


def test_it_knows_the_capital_of_france(engine: VisionLanguageModel) -> None:
    assert "Paris" in asked(engine, Message.of_text("user", "What is the capital of France?"))


def test_the_prompt_is_the_one_of_the_models_own_chat_template(engine: VisionLanguageModel) -> None:
    transformers = pytest.importorskip("transformers")
    from models.weights import smollm2_folder

    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2_folder(), local_files_only=True)
    chat = [("system", "Be kind."), ("user", "Hi, 你好"), ("assistant", "Hello!"), ("user", "Bye\nnow")]
    text = tokenizer.apply_chat_template(
        [{"role": r, "content": c} for r, c in chat], tokenize=False, add_generation_prompt=True
    )
    expected = tokenizer(text, add_special_tokens=False).input_ids
    messages = [Message.of_text(r, c) for r, c in chat]  # type: ignore[arg-type]
    assert list(engine._prompt(messages).tokens) == expected  # type: ignore[attr-defined]
    assert engine.count_tokens(messages) == len(expected)


@pytest.mark.parametrize("text", ["BAKERY", "NO PARKING", "Platform 3"])
def test_it_reads_a_sign(engine: VisionLanguageModel, text: str) -> None:
    message = Message("user", (ImagePart(sign(text)), TextPart("What does the sign say?")))
    assert text.lower() in asked(engine, message).lower()


def test_what_it_saw_is_told_with_its_place(engine: VisionLanguageModel) -> None:
    message = Message("user", (ImagePart(sign("LIBRARY")), TextPart("What is this?")))
    (seen,) = engine.look([message])
    assert (seen.source, seen.original_size) == ("sign.png", (640, 400))
    (read,) = [e for e in seen.evidence if e.kind == "text"]
    assert read.text == "LIBRARY"
    assert read.box is not None
    left, top, right, bottom = read.box
    assert 0.2 < left < 0.5 < right < 0.8
    assert 0.3 < top < 0.5 < bottom < 0.7
    assert {e.text for e in seen.evidence if e.kind == "colour"} >= {"green", "blue"}


def test_the_colours_of_a_picture(engine: VisionLanguageModel) -> None:
    message = Message(
        "user", (ImagePart(Picture.of(Image.new("RGB", (300, 200), "red"))), TextPart("What colour is it?"))
    )
    assert "red" in asked(engine, message).lower()


def test_a_second_turn_gives_the_same_cold_and_warm(engine: VisionLanguageModel) -> None:
    first = Message.of_text("user", "Name three animals. " + "They should be interesting ones. " * 20)
    answer = asked(engine, first)
    history = [first, Message.of_text("assistant", answer), Message.of_text("user", "And which is the biggest?")]
    warm = asked(engine, *history)
    assert engine._loop.reused_tokens >= 64  # type: ignore[attr-defined]
    engine._loop.forget()  # type: ignore[attr-defined]
    assert asked(engine, *history) == warm


def test_too_long_a_conversation_is_bad_input(engine: VisionLanguageModel) -> None:
    with pytest.raises(BadInput):
        asked(engine, Message.of_text("user", "word " * engine.context_tokens))


@pytest.mark.parametrize(("question", "language"), [("你好", "Chinese"), ("Привет, как дела?", "Russian")])
def test_a_question_that_it_cannot_read_is_refused_not_answered_with_noise(
    engine: VisionLanguageModel, question: str, language: str
) -> None:
    with pytest.raises(BadInput, match=f"English only.*{language}"):
        asked(engine, Message.of_text("user", question))


def test_foreign_words_and_symbols_in_an_english_question_are_answered(engine: VisionLanguageModel) -> None:
    for question in ("What does 你好 mean in English?", "π", "42?"):
        assert asked(engine, Message.of_text("user", question), tokens=8)


@pytest.mark.parametrize("question", ["What's the weather like?", "What time is it?", "What is the latest news?"])
def test_it_does_not_make_up_what_nobody_told_it(engine: VisionLanguageModel, question: str) -> None:
    answer = asked(engine, Message.of_text("user", question)).lower()
    assert any(word in answer for word in ("don't have", "do not have", "can't", "cannot", "no access")), answer
