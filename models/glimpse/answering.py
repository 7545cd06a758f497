"""Answers of a Glimpse model to many questions at once, over features that are computed already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from models.glimpse.features import Looked
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.rows import END, REPLY, TURN
from models.glimpse.tasks import CAPTION_PROMPTS


def seen_inputs(
    model: GlimpseForConditionalGeneration, looked: Sequence[Looked], start: int
) -> dict[str, torch.Tensor]:
    """What the model takes of pictures, one per row of a batch, that can be seen from token `start` on."""
    seen = model.memory(
        torch.stack([x.features for x in looked]),
        torch.stack([x.labels for x in looked]),
        torch.stack([x.probabilities for x in looked]),
    )
    return {
        "picture_keys_values": model.keys_values(seen.memory),
        "picture_names": seen.names,
        "picture_starts": torch.full((len(looked), 1), start),
    }


def prompt_of(tokenizer: Any, question: str) -> list[int]:
    """The tokens of a question, up to where the answer begins."""
    return list(tokenizer(TURN + question + REPLY, add_special_tokens=False).input_ids)


def header_length(tokenizer: Any) -> int:
    """How many of a prompt's tokens come before the picture."""
    return len(tokenizer(TURN, add_special_tokens=False).input_ids)


def equally_long(prompts: Sequence[Sequence[int]], batch: int) -> Iterator[list[int]]:
    """Indices of prompts that can go through together, at most `batch` at a time."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    start = 0
    while start < len(order):
        group = [i for i in order[start : start + batch] if len(prompts[i]) == len(prompts[order[start]])]
        yield group
        start += len(group)


@torch.no_grad()
def said_after(
    model: GlimpseForConditionalGeneration,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    looked: Sequence[Looked],
    **how: Any,
) -> torch.Tensor:
    """The tokens that follow equally long prompts about a picture each; `how` is for `generate`."""
    end = tokenizer(END, add_special_tokens=False).input_ids[0]
    ids = torch.tensor(prompts)
    seen: dict[str, Any] = seen_inputs(model, looked, header_length(tokenizer))
    mask = torch.ones_like(ids)
    made = model.generate(input_ids=ids, attention_mask=mask, **seen, eos_token_id=end, pad_token_id=end, **how)
    return made[:, ids.shape[1] :]


def answers(
    model: GlimpseForConditionalGeneration,
    tokenizer: Any,
    looked: Sequence[Looked],
    questions: Sequence[str],
    *,
    beams: int = 1,
    max_new_tokens: int = 32,
    batch: int = 20,
) -> list[str]:
    """One answer to each question about its picture; questions of equal length go through together."""
    prompts = [prompt_of(tokenizer, q) for q in questions]
    said = [""] * len(prompts)
    how = {"max_new_tokens": max_new_tokens, "num_beams": beams, "do_sample": False}
    for group in equally_long(prompts, batch):
        made = said_after(model, tokenizer, [prompts[i] for i in group], [looked[i] for i in group], **how)
        for i, tokens in zip(group, made, strict=True):
            said[i] = tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return said


def captions(
    model: GlimpseForConditionalGeneration, tokenizer: Any, looked: Sequence[Looked], beams: int = 1
) -> list[str]:
    """One caption per picture, with the first of the prompts that training used."""
    return answers(model, tokenizer, looked, [CAPTION_PROMPTS[0]] * len(looked), beams=beams)


@torch.no_grad()
def yes_shares(
    model: GlimpseForConditionalGeneration,
    tokenizer: Any,
    looked: Sequence[Looked],
    questions: Sequence[str],
    batch: int = 20,
) -> list[float]:
    """The probability of "Yes" against "No" as the first word of the answer: one pass per question, no decoding."""
    yes, no = (tokenizer(w, add_special_tokens=False).input_ids[0] for w in ("Yes", "No"))
    header, prompts = header_length(tokenizer), [prompt_of(tokenizer, q) for q in questions]
    shares = [0.0] * len(prompts)
    for group in equally_long(prompts, batch):
        ids, seen = torch.tensor([prompts[i] for i in group]), seen_inputs(model, [looked[i] for i in group], header)
        logits = model(input_ids=ids, **seen, logits_to_keep=1).logits[:, -1]
        for i, pair in zip(group, logits[:, [yes, no]].float().softmax(-1), strict=True):
            shares[i] = float(pair[0])
    return shares
