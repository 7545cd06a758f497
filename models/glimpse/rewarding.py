"""Last lessons: captions that the model makes itself are rewarded by how near they come to what people said.

Self-critical sequence training (Rennie et al. 2017, arXiv:1612.00563), with the mean of a picture's other captions as
the baseline (Luo 2020, arXiv:2003.09971) and CIDEr-D as the reward. The questions about the picture are learnt as
before in the same rows, so that nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.glimpse.answering import prompt_of, said_after
from models.glimpse.data import Record
from models.glimpse.features import Looked
from models.glimpse.metrics import CiderD
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.rows import END

LONGEST = 24  # tokens of a caption


class CaptionReward:
    """Scores captions of training pictures.

    Args:
        records: those with captions are the ones that can be scored.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        captioned = [r for r in records if len(r.captions) > 1]
        self._place = {r.name: i for i, r in enumerate(captioned)}
        self._metric = CiderD([r.captions for r in captioned], ends=True)

    def __contains__(self, record: Record) -> bool:
        return record.name in self._place

    def scores(self, record: Record, captions: Sequence[str]) -> np.ndarray:
        """(captions,), each one's reward."""
        return np.array([self._metric.score(text, self._place[record.name]) for text in captions])


def advantages(scores: np.ndarray) -> np.ndarray:
    """By how much each score is above the mean of the others."""
    count = len(scores)
    return (scores - scores.mean()) * (count / (count - 1)) if count > 1 else np.zeros(count)


def sample_captions(
    model: GlimpseForConditionalGeneration, tokenizer: Any, looked: Sequence[Looked], prompt: str, count: int
) -> list[list[str]]:
    """`count` captions of every picture, drawn from the model's own distribution; unfinished ones are left out."""
    end = tokenizer(END, add_special_tokens=False).input_ids[0]
    how = {"max_new_tokens": LONGEST, "do_sample": True, "top_k": 0, "num_return_sequences": count}
    made = said_after(model, tokenizer, [prompt_of(tokenizer, prompt)] * len(looked), looked, **how)
    said: list[list[str]] = [[] for _ in looked]
    for number, tokens in enumerate(made.tolist()):
        if end in tokens:
            said[number // count].append(tokenizer.decode(tokens[: tokens.index(end)]).strip())
    return said
