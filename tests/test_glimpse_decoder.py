"""The lean decoder says what the model says."""

from __future__ import annotations

import pytest
import torch

from models.glimpse.decoder import GlimpseDecoder
from tests.glimpse_tiny import tiny_glimpse


@pytest.fixture(scope="module")
def model():
    return tiny_glimpse()


def inputs(model, pictures=1, start=3):
    torch.manual_seed(pictures)
    seen = model.memory(torch.rand(1, 9, 12), torch.zeros(1, 2, dtype=torch.long), torch.full((1, 2), 0.5))
    return {
        "picture_keys_values": model.keys_values(seen.memory.repeat(1, pictures, 1)).detach(),
        "picture_names": seen.names.repeat(1, pictures, 1),
        "picture_starts": torch.full((1, pictures), start),
    }


TOKENS = tuple(range(5, 25))


def test_logits_are_the_models_own_with_and_without_a_picture(model):
    decoder = GlimpseDecoder(model, "float32")
    for given in ({}, inputs(model), inputs(model, 2)):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([TOKENS]), **given).logits[0, -1]
        decoder.begin(0, given)
        torch.testing.assert_close(decoder.forward(TOKENS), expected, rtol=1e-3, atol=1e-4)


def test_token_by_token_is_the_same_as_at_once(model):
    decoder = GlimpseDecoder(model, "float32")
    decoder.begin(0, inputs(model))
    whole = decoder.forward(TOKENS)
    decoder.begin(0, inputs(model))
    for token in TOKENS:
        last = decoder.forward((token,))
    torch.testing.assert_close(last, whole, rtol=1e-3, atol=1e-4)


def test_a_kept_beginning_is_the_same_as_a_new_one(model):
    decoder = GlimpseDecoder(model, "float32")
    decoder.begin(0, inputs(model))
    whole = decoder.forward(TOKENS)
    decoder.begin(10, inputs(model))
    torch.testing.assert_close(decoder.forward(TOKENS[10:]), whole, rtol=1e-3, atol=1e-4)


def test_a_prompt_without_pictures_forgets_those_of_the_one_before(model):
    decoder = GlimpseDecoder(model, "float32")
    decoder.begin(0, {})
    blind = decoder.forward(TOKENS)
    decoder.begin(0, inputs(model))
    assert not torch.allclose(decoder.forward(TOKENS), blind, atol=1e-3)
    decoder.begin(0, {})
    assert torch.equal(decoder.forward(TOKENS), blind)


def test_eight_bits_are_near_the_model(model):
    half = tiny_glimpse().to(torch.bfloat16)
    decoder = GlimpseDecoder(half, "int8")
    given = inputs(half)
    with torch.no_grad():
        expected = half(input_ids=torch.tensor([TOKENS]), **given).logits[0, -1].float()
    decoder.begin(0, given)
    found = decoder.forward(TOKENS)
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.99
