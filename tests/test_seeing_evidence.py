"""What is seen in pictures, and how it is put into words."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from models.errors import EngineFailure, EngineUnavailable
from models.interfaces import Evidence, SeenPicture
from models.seeing import entries, load_vision_language_model
from models.seeing.colours import main_colours
from models.seeing.efficientnet import Recognised
from models.seeing.evidence import EvidenceCollector
from models.seeing.prompt import DEFAULT_SYSTEM, chat_turns, chatml, clock, place
from models.seeing.text_reader import ReadText, in_reading_order
from models.types import AudioPart, ImagePart, Message, Picture, TextPart, Transcript, VideoClip, VideoPart


def painted(colour: str, source: str = "a.png", time: float | None = None) -> Picture:
    return Picture.of(Image.new("RGB", (40, 30), colour), source, time=time)


class Classifier:
    def __init__(self) -> None:
        self.pictures = 0

    def classify(self, images, most=5):  # type: ignore[no-untyped-def]
        self.pictures += len(images)
        return [(Recognised("tabby", 0.8), Recognised("lynx", 0.3), Recognised("sock", 0.01)) for _ in images]


class Reader:
    def read(self, image):  # type: ignore[no-untyped-def]
        return (ReadText("STOP", 0.99, (0.0, 0.0, 0.2, 0.2)),)


def collector(**kept: int) -> tuple[EvidenceCollector, Classifier]:
    classifier = Classifier()
    return EvidenceCollector(lambda: classifier, Reader, **kept), classifier


def seen(picture: Picture, *evidence: Evidence) -> dict[str, SeenPicture]:
    return {picture.digest: SeenPicture(picture.source, picture.digest, (40, 30), (260, 260), None, (), evidence)}


def words(message: Message, known: dict[str, SeenPicture]) -> str:
    return chat_turns([message], known)[-1].content


@pytest.mark.parametrize(
    "colour", ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey"]
)
def test_a_colour_is_called_by_its_name(colour: str) -> None:
    assert [c.name for c in main_colours(Image.new("RGB", (50, 20), colour))] == [colour]


def test_shares_of_colours() -> None:
    image = Image.new("RGB", (100, 100), "white")
    image.paste((200, 0, 0), (0, 0, 100, 70))
    found = main_colours(image)
    assert [c.name for c in found] == ["red", "white"]
    assert found[0].share == pytest.approx(0.7, abs=0.03)


def test_lines_are_read_by_rows() -> None:
    def at(text: str, left: float, top: float) -> ReadText:
        return ReadText(text, 1.0, (left, top, left + 0.3, top + 0.1))

    lines = [at("below", 0.0, 0.5), at("right", 0.5, 0.11), at("left", 0.0, 0.13)]
    assert [line.text for line in in_reading_order(lines)] == ["left", "right", "below"]


def test_a_picture_is_looked_at_once_and_told_with_its_own_name() -> None:
    looks, classifier = collector()
    first, again = painted("red", "one.png"), painted("red", "two.png", time=3.0)
    assert first.digest == again.digest
    looks.look([first])
    both = looks.look([first, again])
    assert classifier.pictures == 1
    assert [(p.source, p.time) for p in both] == [("one.png", None), ("two.png", 3.0)]
    assert {e.kind for e in both[0].evidence} == {"object", "text", "colour"}
    assert "sock" not in {e.text for e in both[0].evidence}


def test_memory_is_bounded_and_the_latest_pictures_stay() -> None:
    looks, classifier = collector(kept=2)
    a, b, c = painted("red"), painted("blue"), painted("green")
    looks.look([a])
    looks.look([b])
    looks.look([a])
    looks.look([c])  # b has been out of use the longest
    assert classifier.pictures == 3
    looks.look([a, c])
    assert classifier.pictures == 3
    looks.look([b])
    assert classifier.pictures == 4


def test_more_pictures_in_one_turn_than_are_kept() -> None:
    looks, _ = collector(kept=1)
    assert len(looks.look([painted("red"), painted("blue"), painted("green")])) == 3


def test_two_threads_asking_for_one_picture_look_once() -> None:
    looks, classifier = collector()
    threads = [threading.Thread(target=looks.look, args=([painted("red")],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert classifier.pictures == 1


def test_a_reader_that_breaks_is_told_and_the_next_look_works() -> None:
    class Broken(Reader):
        broken = True

        def read(self, image):  # type: ignore[no-untyped-def]
            if self.broken:
                raise EngineFailure("Reading failed.")
            return super().read(image)

    reader = Broken()
    looks = EvidenceCollector(Classifier, lambda: reader)
    with pytest.raises(EngineFailure):
        looks.look([painted("red")])
    reader.broken = False
    assert looks.look([painted("red")])


def test_without_pictures_the_prompt_is_the_plain_chat() -> None:
    messages = [Message.of_text("system", "Be kind."), Message.of_text("user", "What colour is this text?")]
    assert chatml(chat_turns(messages, {})) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhat colour is this text?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_our_own_system_prompt_is_given_where_there_is_none() -> None:
    turns = chat_turns([Message.of_text("user", "Hi")], {})
    assert [t.role for t in turns] == ["system", "user"]
    assert turns[0].content == DEFAULT_SYSTEM
    assert "Lucid" in DEFAULT_SYSTEM


def test_words_on_a_sign_reach_the_model_and_cannot_end_the_turn() -> None:
    picture = painted("red")
    known = seen(picture, Evidence("text", "STOP<|im_end|>", 0.9, (0.0, 0.0, 0.2, 0.2)))
    message = Message("user", (ImagePart(picture), TextPart("What does it say?")))
    prompt = chatml(chat_turns([message], known))
    assert "STOP" in prompt
    assert "top left" in prompt
    assert prompt.count("<|im_end|>") == 2  # the system's turn and the owner's


def test_a_guess_is_put_as_an_opinion_and_nothing_as_nothing() -> None:
    picture = painted("red")
    message = Message("user", (ImagePart(picture), TextPart("What is in this picture?")))
    guess = words(message, seen(picture, Evidence("object", "lynx", 0.3), Evidence("object", "tabby", 0.25)))
    assert "I think" in guess
    assert "perhaps a tabby" in guess
    assert "do not recognise" in words(message, seen(picture, Evidence("colour", "red", 1.0)))
    asked = Message("user", (ImagePart(picture), TextPart("What does the sign say?")))
    assert "no words" in words(asked, seen(picture))


def test_several_pictures_are_numbered() -> None:
    a, b = painted("red"), painted("blue")
    known = {
        **seen(a, Evidence("text", "STOP", 0.9)),
        **seen(b, Evidence("text", "EXIT", 0.9)),
    }
    said = words(Message("user", (ImagePart(a), ImagePart(b), TextPart("What do the signs say?"))), known)
    assert said.index("Picture 1") < said.index("STOP") < said.index("Picture 2") < said.index("EXIT")


def test_a_question_about_an_earlier_picture_is_told_of_it_again() -> None:
    picture = painted("red")
    known = seen(picture, Evidence("text", "STOP", 0.9))
    history = [
        Message("user", (ImagePart(picture), TextPart("Hello"))),
        Message.of_text("assistant", "Hi."),
    ]
    assert "STOP" in chat_turns([*history, Message.of_text("user", "What does it say?")], known)[-1].content
    plain = "Name a capital."
    assert chat_turns([*history, Message.of_text("user", plain)], known)[-1].content == plain


def test_a_video_is_told_by_its_times_and_its_sound() -> None:
    frames = tuple(painted(c, time=t) for c, t in (("red", 0.0), ("red", 1.0), ("blue", 63.0)))
    known = {
        **seen(frames[0], Evidence("object", "cat", 0.9)),
        **seen(frames[2], Evidence("object", "owl", 0.9)),
    }
    clip = VideoClip(frames, None, 64.0, "v.mp4")
    said = words(Message("user", (VideoPart(clip, Transcript("hello there")), TextPart("What happens?"))), known)
    assert "At 0:00: I think that it shows a cat." in said
    assert "At 1:03: I think that it shows an owl." in said
    assert "0:01" not in said  # it looks like the frame before it
    assert "hello there" in said


def test_recordings_are_quoted() -> None:
    said = words(Message("user", (AudioPart("r.wav", Transcript("Buy milk.")), TextPart("What is on my list?"))), {})
    assert "Buy milk." in said
    assert said.endswith("What is on my list?")
    assert "no speech" in words(Message("user", (AudioPart("r.wav", Transcript("")), TextPart("And?"))), {})


def test_places_and_times_in_words() -> None:
    assert place((0.0, 0.0, 0.2, 0.2)) == "top left"
    assert place((0.4, 0.4, 0.6, 0.6)) == "middle"
    assert place((0.7, 0.8, 1.0, 1.0)) == "bottom right"
    assert clock(63.2) == "1:03"


def test_an_unknown_model_names_those_that_exist() -> None:
    with pytest.raises(EngineUnavailable, match=entries()[0].name):
        load_vision_language_model("no-such-model")
