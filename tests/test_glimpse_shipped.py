"""The weights that come with the repository: they see, and a picture makes the difference."""

from __future__ import annotations

import random
import time

import pytest
import torch

from models.glimpse import WEIGHTS
from models.glimpse.modeling import WEIGHTS_FILE
from models.glimpse.scene_questions import scene_question
from models.glimpse.scenes import SHAPES, draw_scene
from models.interfaces import GenerationOptions
from models.streaming import never_cancelled
from models.types import ImagePart, Message, Picture, TextPart

pytestmark = pytest.mark.models

SEEDS = range(2_000_000, 2_000_040)  # of the test split: never trained on


@pytest.fixture(scope="module")
def engine():
    from models.glimpse.engine import load_glimpse

    return load_glimpse()


def said(engine, messages, tokens=24) -> str:
    options = GenerationOptions(max_new_tokens=tokens)
    return "".join(d.text for d in engine.stream(messages, options, never_cancelled()))


def asks(question, *pictures) -> Message:
    return Message("user", (*map(ImagePart, pictures), TextPart(question)))


def scene_cases(kind, count):
    """(picture, question, answer) of scenes that allow the kind of question."""
    found = []
    for seed in SEEDS:
        image, scene = draw_scene(seed)
        made = scene_question(scene, kind, random.Random(seed))
        if made and len(scene.shapes) == 1:
            found.append((Picture.of(image), *made))
    return found[:count]


def test_the_file_is_small_enough_for_a_repository():
    assert (WEIGHTS / WEIGHTS_FILE).stat().st_size <= 40 * 2**20


def test_single_shapes_are_recognised(engine):
    cases = scene_cases("shape", 12)
    right = sum(
        next((s for s in SHAPES if s in said(engine, [asks(q, p)])), "") == next(s for s in SHAPES if s in a)
        for p, q, a in cases
    )
    assert right >= 0.75 * len(cases)


def test_another_picture_gives_another_answer(engine):
    cases = scene_cases("describe", 8)
    assert len({said(engine, [asks("Describe the picture in one sentence.", p)]) for p, _, _ in cases}) >= 6


def test_the_same_question_gives_the_same_answer(engine):
    picture = Picture.of(draw_scene(SEEDS[0])[0])
    answers = {said(engine, [asks("What do you see?", picture)]) for _ in range(2)}
    assert len(answers) == 1


def test_without_a_picture_the_logits_are_smollm2s_bit_for_bit(engine):
    from transformers import AutoModelForCausalLM

    from models import weights

    own = AutoModelForCausalLM.from_pretrained(weights.smollm2_folder(), dtype=torch.bfloat16)
    ids = engine.processor.tokenizer(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n", return_tensors="pt"
    )
    with torch.no_grad():
        assert torch.equal(engine.model(input_ids=ids.input_ids).logits, own(input_ids=ids.input_ids).logits)


def test_without_a_picture_it_still_knows_things(engine):
    assert "Paris" in said(engine, [asks("What is the capital of France?")])


def test_the_lean_decoder_agrees_with_the_model(engine):
    picture = Picture.of(draw_scene(SEEDS[1])[0])
    prompt = engine._prompt([asks("Describe the picture in one sentence.", picture)])
    ids = torch.tensor([prompt.tokens])
    made = engine.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, **prompt.inputs
    )
    plain = engine.processor.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    options = GenerationOptions(max_new_tokens=20, repetition_penalty=1.0)
    messages = [asks("Describe the picture in one sentence.", picture)]
    ours = "".join(d.text for d in engine.stream(messages, options, never_cancelled()))
    assert ours.split()[:3] == plain.split()[:3]


def test_a_second_question_starts_sooner(engine):
    picture = Picture.of(draw_scene(SEEDS[2])[0])

    def first_token(question):
        began = time.perf_counter()
        next(iter(engine.stream([asks(question, picture)], GenerationOptions(max_new_tokens=2), never_cancelled())))
        return time.perf_counter() - began

    first = first_token("What do you see?")
    assert min(first_token(f"How many shapes are there{'?' * n}") for n in (1, 2, 3)) < 0.6 * first


def test_the_auto_classes_load_the_shipped_weights():
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from models.glimpse import register

    register()
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS)
    processor = AutoProcessor.from_pretrained(WEIGHTS)
    image = draw_scene(SEEDS[3])[0]
    chat = [
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What do you see?"}]}
    ]
    inputs = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert len(processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)) > 3
