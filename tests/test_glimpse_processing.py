"""Chats and pictures to model inputs."""

from __future__ import annotations

import pytest
from PIL import Image

from models.glimpse.processing import GlimpseProcessor
from tests.glimpse_tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def processor() -> GlimpseProcessor:
    return GlimpseProcessor(tiny_tokenizer(), image_size=64)


RED = Image.new("RGB", (30, 50), "red")


def chat(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]


def test_pictures_become_squares_of_bytes(processor):
    inputs = processor(text="<image>hi", images=RED)
    assert inputs["pixel_values"].shape == (1, 1, 3, 64, 64)
    assert inputs["pixel_values"][0, 0, :, 5, 5].tolist() == [255, 0, 0]


def test_a_mark_is_no_token_and_tells_from_where_the_picture_is_seen(processor):
    inputs = processor(text="abc<image>de", images=RED)
    assert processor.decode(inputs["input_ids"][0]) == "abcde"
    assert inputs["picture_starts"].tolist() == [[3]]


def test_shorter_texts_are_padded_on_the_left_and_their_pictures_move_with_them(processor):
    inputs = processor(text=["a<image>b", "<image>abcdef"], images=[[RED], [RED]])
    assert inputs["attention_mask"].tolist() == [[0, 0, 0, 0, 1, 1], [1] * 6]
    assert inputs["picture_starts"].tolist() == [[5], [0]]


def test_texts_with_fewer_pictures_say_so(processor):
    inputs = processor(text=["<image><image>x", "y"], images=[[RED, RED], []])
    assert inputs["picture_starts"].tolist() == [[0, 0], [-1, -1]]
    assert inputs["pixel_values"].shape[:2] == (2, 2)


def test_marks_and_pictures_must_be_equally_many(processor):
    with pytest.raises(ValueError, match="1 <image> marks, but there are 2 pictures"):
        processor(text="<image>x", images=[RED, RED])


def test_the_chat_template_puts_pictures_first_and_has_no_system_prompt_of_its_own_then(processor):
    content = [{"type": "text", "text": "What?"}, {"type": "image", "image": RED}]
    text = processor.apply_chat_template(chat(content), add_generation_prompt=True)
    assert text == "<|im_start|>user\n<image>What?<|im_end|>\n<|im_start|>assistant\n"


def test_a_chat_in_one_call_gives_all_inputs(processor):
    content = [{"type": "image", "image": RED}, {"type": "text", "text": "What?"}]
    talk = chat(content, "A red thing.", "Sure?")
    inputs = processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values", "picture_starts"}
    said = processor.decode(inputs["input_ids"][0])
    assert said.endswith("A red thing.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.models
def test_chats_without_pictures_are_smollm2s_own(tmp_path):
    from transformers import AutoTokenizer

    from models import weights

    tokenizer = AutoTokenizer.from_pretrained(weights.smollm2_folder())
    talk = chat("Hello", "Hi!", "How are you?")
    own = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert GlimpseProcessor(tokenizer).apply_chat_template(talk, add_generation_prompt=True) == own
