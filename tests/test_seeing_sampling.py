"""Which tokens can be drawn: each limit by itself, and all together."""

from __future__ import annotations

import pytest
import torch

from models.interfaces import GenerationOptions
from models.seeing.sampling import Sampler

# Probabilities 0.5, 0.25, 0.15, 0.07, 0.03 for the tokens 2, 0, 4, 1, 3.
LOGITS = torch.log(torch.tensor([0.25, 0.07, 0.5, 0.03, 0.15]))


def drawn(draws: int = 300, **limits: float) -> set[int]:
    options = GenerationOptions(**{"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 3, **limits})
    sampler = Sampler(options)
    return {sampler.pick(LOGITS.clone()) for _ in range(draws)}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 1}, {2}),
        ({"top_k": 3}, {2, 0, 4}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"min_p": 0.2}, {2, 0, 4}),  # a fifth of 0.5 is 0.1
        ({"min_p": 1.0}, {2}),
        ({"top_p": 0.7}, {2, 0}),
        ({"top_p": 0.0}, {2}),
        ({"top_p": 0.95, "min_p": 0.4, "top_k": 4}, {2, 0}),
    ],
)
def test_only_what_every_limit_allows_is_drawn(limits: dict[str, float], expected: set[int]):
    assert drawn(**limits) == expected


def test_temperature_zero_takes_the_likeliest_whatever_the_limits_are():
    assert drawn(5, temperature=0.0, top_k=3, min_p=0.1) == {2}


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others():
    def tokens(seed: int) -> list[int]:
        sampler = Sampler(GenerationOptions(temperature=1.0, top_p=1.0, repetition_penalty=1.0, seed=seed))
        return [sampler.pick(LOGITS.clone()) for _ in range(40)]

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


def test_a_repeated_token_becomes_less_likely():
    # log 0.5 · 2 = log 0.25, which is token 0's.
    for penalty, second in ((1.9, 2), (2.1, 0)):
        sampler = Sampler(GenerationOptions(repetition_penalty=penalty))
        assert [sampler.pick(LOGITS.clone()) for _ in range(2)] == [2, second]
