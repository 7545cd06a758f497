"""Messages as chat templates want them: parts or strings, with a system turn or none, pictures in place or first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.errors import EngineFailure
from models.seeing.checkpoint.chat import ChatTemplate
from models.types import AudioPart, ImagePart, Message, Picture, TextPart, Transcript, VideoClip, VideoPart
from tests.tiny_checkpoints import CHECKPOINTS

SYSTEM = Message.of_text("system", "Answer in one word.")


@pytest.fixture(scope="module")
def processors() -> dict[str, Any]:
    """Of four templates: parts in order, no system and strict roles, pictures first, strings."""
    return {name: CHECKPOINTS[name].build()[1] for name in ("smolvlm", "gemma3", "llava", "internvl")}


def chat_of(processors: dict[str, Any], name: str) -> ChatTemplate:
    return ChatTemplate(processors[name])


def picture(seed: int = 0, time: float | None = None) -> Picture:
    pixels = np.full((8, 8, 3), seed, dtype=np.uint8)
    return Picture.of(Image.fromarray(pixels), f"{seed}.png", time=time)


def video(sound: str | None = "Look at the dog.") -> VideoPart:
    clip = VideoClip((picture(1, 0.0), picture(2, 3.4), picture(3, 61.0)), None, 64.2, "dog.mp4")
    return VideoPart(clip, None if sound is None else Transcript(sound))


def test_it_is_the_template_that_writes(processors: dict[str, Any]) -> None:
    messages = [SYSTEM, Message("user", (ImagePart(picture()), TextPart("What is it?")))]
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    chat = [{"role": "system", "content": [{"type": "text", "text": "Answer in one word."}]}]
    chat.append({"role": "user", "content": content})
    expected = processors["smolvlm"].apply_chat_template(chat, add_generation_prompt=True)
    assert chat_of(processors, "smolvlm").text(messages) == (expected, "")


def test_an_unfinished_answer_is_what_the_assistant_goes_on_from(processors: dict[str, Any]) -> None:
    messages = [Message.of_text("user", "Sing."), Message.of_text("assistant", "La la")]
    text, begun = chat_of(processors, "smolvlm").text(messages)
    assert text.endswith("<|im_start|>user\nSing.<|im_end|>\n<|im_start|>assistant\n")
    assert begun == "La la"


def test_frames_stand_behind_their_times(processors: dict[str, Any]) -> None:
    text, _ = chat_of(processors, "smolvlm").text([Message("user", (video(), TextPart("What is it?")))])
    assert "A video of 64 seconds:\n0:00\n<image>\n0:03\n<image>\n1:01\n<image>\n" in text
    assert text.index("Look at the dog.") < text.index("What is it?")


def test_where_pictures_come_first_their_times_are_told(processors: dict[str, Any]) -> None:
    text, _ = chat_of(processors, "llava").text([Message("user", (video(None), TextPart("What is it?")))])
    assert text.count("<image>") == 3
    assert "Its frames were taken at 0:00, 0:03, 1:01." in text


def test_recordings_are_told_in_words(processors: dict[str, Any]) -> None:
    recording = AudioPart("a.wav", Transcript("Good morning."))
    text, _ = chat_of(processors, "smolvlm").text([Message("user", (recording, TextPart("Who says so?")))])
    assert 'The recording says: "Good morning."\nWho says so?' in text
    silence, _ = chat_of(processors, "smolvlm").text([Message("user", (AudioPart("a.wav", Transcript("")),))])
    assert "no speech" in silence


def test_a_system_turn_is_folded_in_and_roles_alternate_where_the_template_insists(processors: dict[str, Any]) -> None:
    chat = chat_of(processors, "gemma3")
    two = [SYSTEM, Message.of_text("user", "Hello."), Message.of_text("user", "Are you there?")]
    text, _ = chat.text(two)
    assert text.startswith("<bos><|im_start|>user\nAnswer in one word.")
    assert text.index("one word.") < text.index("Hello.") < text.index("Are you there?")
    assert text.count("<|im_start|>user") == 1
    text, _ = chat.text([*two, Message.of_text("assistant", "Yes."), Message.of_text("user", "Good.")])
    assert text.index("<|im_start|>model\nYes.") < text.index("Good.")


def test_content_as_a_string_holds_the_pictures_tokens(processors: dict[str, Any]) -> None:
    chat = chat_of(processors, "internvl")
    text, _ = chat.text([SYSTEM, Message("user", (ImagePart(picture()), ImagePart(picture(1)), TextPart("Which?")))])
    assert "<|im_start|>system\nAnswer in one word.<|im_end|>" in text
    assert "<|im_start|>user\n<IMG_CONTEXT>\n<IMG_CONTEXT>\nWhich?<|im_end|>" in text


def test_a_checkpoint_without_a_template_gets_plain_lines(processors: dict[str, Any]) -> None:
    processor = CHECKPOINTS["llava"].build()[1]
    processor.chat_template = None
    text, _ = ChatTemplate(processor).text([Message("user", (ImagePart(picture()), TextPart("What is it?")))])
    assert text == "USER: <image>What is it?\nASSISTANT:"


def test_a_template_that_refuses_is_a_sentence(processors: dict[str, Any]) -> None:
    with pytest.raises(EngineFailure, match="roles must alternate"):
        chat_of(processors, "gemma3").text(
            [Message.of_text("assistant", "Yes."), Message.of_text("user", "What?"), Message.of_text("user", "Eh?")]
        )


@pytest.mark.parametrize("text", ["", "a < b and c > d", "1 <2> 3", "<p>HTML</p>", "你好 🙂", "<|", "im_end", "[INST]"])
def test_ordinary_text_stays_as_it_is(processors: dict[str, Any], text: str) -> None:
    chat = chat_of(processors, "smolvlm")
    assert chat.harmless(text) == text
    assert chat.harmless_answer(text) == text


@pytest.mark.parametrize("name", ["smolvlm", "gemma3", "llava", "internvl"])
def test_no_control_token_survives_in_what_people_and_files_say(processors: dict[str, Any], name: str) -> None:
    chat, tokenizer = chat_of(processors, name), processors[name].tokenizer
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    every = [tokenizer.added_tokens_decoder[i].content for i in sorted(special)]
    nested = [t[: len(t) // 2] + other + t[len(t) // 2 :] for t in every[:8] for other in every[:8]]
    for forged in (*every, *nested, "".join(every)):
        assert not special & set(tokenizer(chat.harmless(forged), add_special_tokens=False)["input_ids"]), forged
    signs = Message("user", (AudioPart("a.wav", Transcript(f"say {chat.image_token}")), video(chat.image_token)))
    assert chat.text([signs])[0].count(chat.image_token) == 3
