"""Text appears as it is made, and never with half a character in it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.interfaces import GenerationOptions
from models.seeing.detokenizer import REPLACEMENT, StreamingDetokenizer


def from_bytes(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


@given(st.text(max_size=40))
def test_bytes_one_by_one_become_the_text(text: str) -> None:
    stream = StreamingDetokenizer(from_bytes)
    pieces = [stream.feed(b) for b in text.encode()] + [stream.finish()]
    assert "".join(pieces) == text.replace(REPLACEMENT, "")


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_never_show(data: bytes) -> None:
    stream = StreamingDetokenizer(from_bytes)
    assert REPLACEMENT not in "".join([*(stream.feed(b) for b in data), stream.finish()])


def test_a_whole_character_is_shown_at_once() -> None:
    stream = StreamingDetokenizer(from_bytes)
    assert [stream.feed(b) for b in "é🙂a".encode()] == ["", "é", "", "", "", "🙂", "a"]


@pytest.mark.models
def test_the_packaged_vocabulary_gives_back_chinese_and_emoji() -> None:
    from tokenizers import Tokenizer

    from models.weights import smollm2_folder

    tokenizer = Tokenizer.from_file(str(smollm2_folder() / "tokenizer.json"))
    text = "Hello  world, 你好，世界! 👩‍👩‍👧 naïve — ∑ 🇫🇷\n\tcode()  end"
    stream = StreamingDetokenizer(lambda ids: tokenizer.decode(list(ids)))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = [*(stream.feed(i) for i in ids), stream.finish()]
    assert "".join(pieces) == text
    assert all(REPLACEMENT not in piece for piece in pieces)


def test_sampling_follows_seed_temperature_and_nucleus() -> None:
    torch = pytest.importorskip("torch")
    from models.seeing.sampling import Sampler

    logits = torch.tensor([2.0, 1.9, 0.0, -3.0])

    def picks(**options: float) -> list[int]:
        sampler = Sampler(GenerationOptions(repetition_penalty=1.0, **options))  # type: ignore[arg-type]
        return [sampler.pick(logits.clone()) for _ in range(60)]

    assert set(picks(temperature=0.0)) == {0}
    assert picks(temperature=1.0, seed=7) == picks(temperature=1.0, seed=7)
    assert set(picks(temperature=1.0, top_p=0.8, seed=1)) == {0, 1}
    assert len(set(picks(temperature=5.0, top_p=1.0, seed=random.randrange(99)))) >= 3


def test_the_penalty_is_for_what_was_generated_only() -> None:
    torch = pytest.importorskip("torch")
    from models.seeing.sampling import Sampler

    sampler = Sampler(GenerationOptions(repetition_penalty=1.5))
    logits = torch.tensor([2.0, 1.9, -1.0])
    assert [sampler.pick(logits.clone()) for _ in range(2)] == [0, 1]
