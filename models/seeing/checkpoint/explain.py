"""Where a checkpoint looked in its pictures while it wrote each token of an answer.

The attention of the upper half of the layers, averaged over layers and heads, from the token that was to be followed to
the placeholder tokens of each picture, laid out as the picture is. For pictures whose tokens are no plain grid (cut
into tiles, seen from the side) there is no such map, and none is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from models.interfaces import TokenAttention
from models.seeing.checkpoint.decoder import CheckpointDecoder
from models.seeing.checkpoint.pictures import PreparedPicture
from models.seeing.checkpoint.prompt import INPUTS, PromptInputs
from models.seeing.generation import CHUNK, Prompt, chunk_ends


@torch.inference_mode()
def attention_to_pictures(
    model: Any,
    decoder: CheckpointDecoder,
    prompt: Prompt,
    answer: Sequence[int],
    decode: Callable[[Sequence[int]], str],
) -> tuple[TokenAttention, ...]:
    """One entry for every token of `answer` and every picture with a plain grid; empty where attention is not given.

    Args:
        decoder: a fresh one over `model`, while its attention is eager (`eager_attention`): no other gives its weights.
        decode: tokens → text.
    """
    inputs: PromptInputs = prompt.inputs[INPUTS]
    merge = int(getattr(getattr(model.config, "vision_config", None), "spatial_merge_size", 1) or 1)
    pictures = [(picture, span, grid) for picture, span in inputs.pictures if (grid := grid_of(picture, merge))]
    decoder.begin(0, prompt.inputs)
    known = Prompt(prompt.tokens[:-1], pictures=prompt.pictures, apart=prompt.apart)
    start = 0
    for end in () if prompt.whole else chunk_ends(known, CHUNK):
        decoder.forward(prompt.tokens[start:end])
        start = end
    found: list[TokenAttention] = []
    # What follows the prompt's last token is the answer's first.
    for asked, token in zip([prompt.tokens[start:], *((t,) for t in answer)], answer, strict=False):
        weights = upper_mean(decoder.watched(asked))
        if weights is None:
            break
        for picture, (begin, after), grid in pictures:
            own = weights[begin:after].reshape(grid)
            cells = (own / own.sum().clamp_min(1e-9)).numpy()
            found.append(TokenAttention(decode([token]), picture.picture.digest, cells))
    return tuple(found)


def grid_of(picture: PreparedPicture, merge: int) -> tuple[int, int] | None:
    """(rows, columns) of a picture's tokens; None where they are no plain grid.

    Args:
        merge: how many patches of each side make one token, where the processor counts patches.
    """
    grid = picture.facts.get("image_grid_thw")
    if grid is not None:
        rows, columns = int(grid[0, 1]) // merge, int(grid[0, 2]) // merge
        return (rows, columns) if rows * columns == picture.placeholders else None
    side = round(picture.placeholders**0.5)
    width, height = picture.size
    return (side, side) if side > 1 and side * side == picture.placeholders and width == height else None


def upper_mean(attentions: Sequence[torch.Tensor | None] | None) -> torch.Tensor | None:
    """The last row's weights, (tokens,): mean over the heads of the upper half of the layers that have attention."""
    given = [layer[0, :, -1].float().mean(0) for layer in attentions or () if layer is not None and layer.dim() == 4]
    return torch.stack(given[len(given) // 2 :]).mean(0).cpu() if given else None


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """While it lasts, the language model computes its attention in a way that gives the weights."""
    before = model.config.get_text_config(decoder=True)._attn_implementation
    try:
        model.set_attn_implementation({"text_config": "eager"})
        yield
    finally:
        model.set_attn_implementation({"text_config": before})
