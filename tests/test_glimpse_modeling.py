"""Glimpse's model: the picture reaches the text through the gates, and without a picture nothing is changed."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from models.glimpse.configuration import GlimpseConfig
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.processing import GlimpseProcessor
from tests.glimpse_tiny import tiny_glimpse, tiny_tokenizer


@pytest.fixture(scope="module")
def model() -> GlimpseForConditionalGeneration:
    return tiny_glimpse()


@pytest.fixture(scope="module")
def processor() -> GlimpseProcessor:
    return GlimpseProcessor(tiny_tokenizer(), image_size=96)


def picture(colour: str) -> Image.Image:
    image = Image.new("RGB", (120, 80), colour)
    image.paste("white", (0, 0, 40, 40))
    return image


ASK = "<|im_start|>user\n<image>What is it?<|im_end|>\n<|im_start|>assistant\n"
BLIND = ASK.replace("<image>", "")


def test_without_pictures_the_logits_are_the_language_models_bit_for_bit(model, processor):
    inputs = processor(text=BLIND)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, model.language_model(**inputs).logits)


def test_tokens_before_the_picture_are_not_changed_by_it(model, processor):
    seeing = processor(text=ASK, images=picture("red"))
    blind = processor(text=BLIND)
    assert torch.equal(seeing["input_ids"], blind["input_ids"])
    start = int(seeing["picture_starts"])
    with torch.no_grad():
        with_picture, without = model(**seeing).logits, model(**blind).logits
    torch.testing.assert_close(with_picture[:, :start], without[:, :start])
    assert not torch.allclose(with_picture[:, start:], without[:, start:], atol=1e-3)


def test_closed_gates_give_the_language_models_logits(processor):
    model = tiny_glimpse()
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention_gate)
        torch.nn.init.zeros_(block.ffn_gate)
    torch.nn.init.zeros_(model.pointer.gate)
    with torch.no_grad():
        seeing = model(**processor(text=ASK, images=picture("red"))).logits
        torch.testing.assert_close(seeing, model.language_model(**processor(text=BLIND)).logits)


def test_an_untrained_adapter_changes_nothing(processor):
    model = tiny_glimpse(trained=False)
    with torch.no_grad():
        seeing = model(**processor(text=ASK, images=picture("red"))).logits
        torch.testing.assert_close(seeing, model.language_model(**processor(text=BLIND)).logits)


def test_another_picture_gives_other_logits(model, processor):
    with torch.no_grad():
        red = model(**processor(text=ASK, images=picture("red"))).logits
        blue = model(**processor(text=ASK, images=picture("blue"))).logits
    assert not torch.allclose(red, blue, atol=1e-3)


def test_the_cache_changes_nothing(model, processor):
    inputs = processor(text=ASK, images=picture("green"))
    ids = inputs["input_ids"]
    with torch.no_grad():
        whole = model(**inputs).logits
        first = model(
            input_ids=ids[:, :20],
            pixel_values=inputs["pixel_values"],
            picture_starts=inputs["picture_starts"],
            use_cache=True,
        )
        second = model(
            input_ids=ids[:, 20:],
            picture_keys_values=first.picture_keys_values,
            picture_names=first.picture_names,
            picture_starts=inputs["picture_starts"],
            cache=first.cache,
            use_cache=True,
        )
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole, rtol=1e-4, atol=1e-4)


def test_generation_with_cache_equals_generation_without_and_looks_once(model, processor, monkeypatch):
    looks = []
    real = model.vision.forward
    monkeypatch.setattr(model.vision, "forward", lambda pixels: looks.append(len(pixels)) or real(pixels))
    inputs = processor(text=ASK, images=picture("red"))
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    keys, find = [], model.candidates
    monkeypatch.setattr(model, "candidates", lambda names: keys.append(len(names)) or find(names))
    cached = model.generate(**inputs, **options)
    assert looks == [1]
    assert keys == [1]  # what the pointer can copy, too
    torch.testing.assert_close(cached, model.generate(**inputs, use_cache=False, **options))


def test_beam_search_sees_the_picture(model, processor):
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "num_beams": 3}
    said = {c: model.generate(**processor(text=ASK, images=picture(c)), **options).tolist() for c in ("red", "blue")}
    assert said["red"] != said["blue"]


def test_rows_of_a_batch_see_their_own_pictures(model, processor):
    longer = ASK.replace("What is it?", "What is it, and where?")
    both = processor(text=[ASK, longer], images=[[picture("red")], [picture("blue")]])
    with torch.no_grad():
        together = model(**both).logits[:, -1]
        alone = [
            model(**processor(text=t, images=picture(c))).logits[0, -1] for t, c in ((ASK, "red"), (longer, "blue"))
        ]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-3, atol=1e-3)


def test_a_message_sees_its_own_pictures_and_a_later_one_without_any_sees_the_last(model):
    starts = torch.tensor([[3, 3, 10, -1]])
    seen = model.visible_memory(starts, torch.tensor([0, 3, 9, 10, 40]))
    per_picture = seen.view(1, 5, 4, model.memory.tokens).all(-1)[0].tolist()
    assert per_picture == [
        [False, False, False, False],
        [True, True, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, False],
    ]


def test_several_pictures_of_a_message_are_told_apart_by_their_order(processor):
    model = tiny_glimpse()
    torch.nn.init.normal_(model.memory.picture_index)
    text = ASK.replace("<image>", "<image><image>")
    with torch.no_grad():
        one = model(**processor(text=text, images=[picture("red"), picture("blue")])).logits[:, -1]
        other = model(**processor(text=text, images=[picture("blue"), picture("red")])).logits[:, -1]
    assert not torch.allclose(one, other, atol=1e-3)


def test_attention_maps_on_request_sum_to_one_where_there_is_a_picture(model, processor):
    inputs = processor(text=ASK, images=picture("red"))
    with torch.no_grad():
        maps = model(**inputs, output_cross_attentions=True).cross_attentions
    assert len(maps) == len(model.config.cross_attention_layers)
    assert maps[0].shape[-2:] == (inputs["input_ids"].shape[1], model.memory.tokens)
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(maps[0].shape[:-1]))
    assert model(**inputs).cross_attentions is None


def test_save_and_load_give_the_same_model_through_the_auto_classes(model, processor, tmp_path):
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from models.glimpse import register

    register()
    register()
    model.save_pretrained(tmp_path, frozen=True)
    tiny_tokenizer().save_pretrained(tmp_path / "language_model")
    assert isinstance(AutoConfig.from_pretrained(tmp_path), GlimpseConfig)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    again.vision = model.vision
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, GlimpseProcessor)
    with torch.no_grad():
        before = model(**processor(text=ASK, images=picture("red"))).logits
        after = again(**loaded(text=ASK, images=picture("red"))).logits
    assert torch.equal(before, after)


def test_the_saved_adapter_holds_nothing_of_the_frozen_models(model, tmp_path):
    from safetensors.torch import load_file

    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "adapter.safetensors"))
    assert names
    assert not [n for n in names if n.startswith(("language_model.", "vision."))]


def test_an_adapter_of_another_shape_is_refused_by_name(model):
    with pytest.raises(ValueError, match="missing"):
        model.load_adapter_state({})
