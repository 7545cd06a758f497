"""What training minimises: cross-entropy of the answers in packed rows, over a part of the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.glimpse.lower_states import LowerStates
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.naming import name_loss, numbered
from models.glimpse.passes import Pass
from models.glimpse.rows import Batch
from models.glimpse.tasks import plain_name
from models.glimpse.training_set import Example, TrainingSet


class Vocabulary:
    """The tokens that training answers are made of, and a fresh sample of all others for every step.

    Most of the 49,152 tokens never occur in an answer. Their share of the softmax's normaliser is estimated from the
    sample, each of which stands for many (sampled softmax, Jean et al. 2015, arXiv:1412.2007): a fifth of a step saved.
    """

    def __init__(self, targets: Tensor, size: int, sampled: int = 2048) -> None:
        common = torch.bincount(targets, minlength=size) > 0
        self.common, self.others = common.nonzero().flatten(), (~common).nonzero().flatten()
        self.place = torch.full((size,), -1).scatter(0, self.common, torch.arange(len(self.common)))
        self.sampled = min(sampled, len(self.others))

    @classmethod
    def of(cls, data: TrainingSet, size: int, spelled: Tensor) -> Vocabulary:
        """Counted over one epoch's rows of every fourth picture, and all that names are `spelled` with.

        Rarer tokens count as others.
        """
        rows = [data.row(r, 0)[0].targets for r in data.records[::4]]
        return cls(torch.cat([torch.from_numpy(np.concatenate(rows)), spelled[spelled >= 0]]), size)

    def columns(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Which tokens to compute logits of: their ids, each id's place among them (or -1), and what to add to each."""
        missing = targets[self.place[targets] < 0].unique()
        picked = self.others[torch.randint(len(self.others), (self.sampled,))] if self.sampled else self.others
        columns = torch.cat([self.common, missing, picked])
        share = None
        if self.sampled:
            share = torch.zeros(len(columns))
            share[len(columns) - self.sampled :] = math.log(len(self.others) / self.sampled)
        place = self.place.clone()
        place[missing] = len(self.common) + torch.arange(len(missing))
        return columns, place, share


@dataclass(frozen=True)
class Shares:
    """How much each part of the loss counts beside the answers' own.

    Attributes:
        smoothing: label smoothing of the answers.
        looking: that named shapes are looked at.
        naming: that the memory knows the names of what is there.
    """

    smoothing: float = 0.0
    looking: float = 0.0
    naming: float = 0.0


def row_loss(
    model: GlimpseForConditionalGeneration,
    example: Example,
    shares: Shares,
    vocabulary: Vocabulary | None = None,
    lower: LowerStates | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of a batch of rows with what else `shares` asks for, and the plain one for the log."""
    batch, config = example.batch, model.config
    first = config.cross_attention_layers[0]
    embeddings = model.get_input_embeddings()(batch.tokens)
    if lower is not None:
        hidden = lower.of(batch.rows)
    else:
        with torch.no_grad():  # below the first block nothing depends on pictures or on what is trained
            hidden = model.run_layers(embeddings, Pass(batch.mask, batch.positions), last=first)
    seen = model.memory(example.features, example.labels, example.probabilities, renamed=example.renamed)
    visible = batch.sighted[:, :, None].expand(-1, -1, seen.memory.shape[1])
    attentions: list[Tensor] = []
    run = Pass(batch.mask, batch.positions, model.keys_values(seen.memory), visible, attentions=attentions)
    hidden = model.run_layers(hidden, run, first=first)
    chosen = model.language_model.model.norm(hidden.flatten(0, 1)[batch.sources])
    columns, place, added = _all_columns(config) if vocabulary is None else vocabulary.columns(batch.targets)
    head = model.language_model.lm_head.weight
    logits = (chosen @ (head if vocabulary is None else head[columns]).T).float()
    if added is not None:
        logits = logits + added
    extra = torch.zeros(())
    if seen.names.shape[1]:
        shares_of, tokens = _pointed(model, example, chosen, embeddings, seen.names)
        spots = place[tokens]
        logits = logits.scatter_add(1, spots.clamp(min=0), shares_of * model.pointer.strength * (spots >= 0))
        extra = copying_loss(batch, shares_of, tokens)
    targets = place[batch.targets]
    normaliser = logits.logsumexp(-1)
    plain = normaliser - logits.gather(1, targets[:, None]).squeeze(1)
    smooth = normaliser - logits.mean(-1)
    share = batch.weights / batch.weights.abs().sum()
    loss = ((1 - shares.smoothing) * plain + shares.smoothing * smooth) @ share
    if shares.looking and len(batch.looks):
        wanted = wanted_memory(model, batch, seen.names)
        pointing = [attentions[i] for i in config.pointing_blocks]
        loss = loss + shares.looking * (looking_loss(batch, pointing, wanted) + extra)
    if shares.naming and example.known is not None and seen.logits.shape[1]:
        loss = loss + shares.naming * name_loss(seen.logits, example.known.values, example.known.weights)
    return loss, (plain @ share).detach()


def _all_columns(config: Any) -> tuple[Tensor, Tensor, None]:
    everything = torch.arange(config.text_config.vocab_size)
    return everything, everything, None


def _pointed(
    model: GlimpseForConditionalGeneration, example: Example, chosen: Tensor, embeddings: Tensor, names: Tensor
) -> tuple[Tensor, Tensor]:
    """The pointer's shares for all answers' tokens (tokens, n), and which tokens they belong to (tokens, n).

    A row's tokens go to the pointer together, padded.
    """
    batch = example.batch
    row = batch.sources // batch.tokens.shape[1]
    counts = row.bincount(minlength=len(batch.tokens))
    within = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    width = chosen.shape[-1]
    padded = chosen.new_zeros(len(counts), int(counts.max()), width).index_put((row, within), chosen)
    last = torch.zeros_like(padded).index_put((row, within), embeddings.flatten(0, 1)[batch.sources])
    shares, tokens = model.pointer(padded, last, model.candidates(names))
    return shares[row, within], tokens[row]


def copying_loss(batch: Batch, shares: Tensor, tokens: Tensor) -> Tensor:
    """Minus the logarithm of the pointer's share on the right token, where that can be copied."""
    right = (tokens == batch.targets[:, None]) & batch.copied[:, None]
    found = (shares * right).sum(-1)[right.any(-1)]
    return -(found + 1e-4).log().mean() if len(found) else torch.zeros(())


def wanted_memory(model: GlimpseForConditionalGeneration, batch: Batch, names: Tensor) -> Tensor:
    """Where every look belongs: bool (looks, memory tokens). Nothing is true where that cannot be said.

    Args:
        names: (rows, names, 2), as in `Seen`.
    """
    memory = model.memory
    wanted = torch.zeros(len(batch.looks), memory.tokens, dtype=torch.bool)
    known = _numbered(tuple(model.config.labels), tuple(model.config.names))
    for place, (row, look) in enumerate((i, look) for i, r in enumerate(batch.rows) for look in r.looks):
        wanted[place, list(look.cells)] = True
        if look.names:
            own = torch.tensor([number for name in look.names for number in known.get(plain_name(name), ())])
            here = torch.isin(names[row, :, 0].long(), own)
            if not look.absent:
                wanted[place, memory.cells + 1 :] = here
            elif not here.any():
                wanted[place, memory.cells] = True
        elif look.absent:
            wanted[place, memory.cells] = True
    return wanted


@lru_cache(maxsize=2)
def _numbered(labels: tuple[str, ...], names: tuple[str, ...]) -> dict[str, list[int]]:
    return numbered(labels, names)


def looking_loss(batch: Batch, attentions: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """How little of the attention lies where it should: minus the logarithm of its share, mean over `batch.looks`.

    Args:
        attentions: of the blocks that learn to point, (rows, heads, length, memory tokens) each.
        wanted: as `wanted_memory` gives it.
    """
    sayable = wanted.any(-1)
    if not sayable.any():
        return torch.zeros(())
    row, index = batch.looks[sayable].unbind(1)
    found = torch.stack([a[row, :, index].float().mean(1) for a in attentions]).mean(0)
    return -((found * wanted[sayable]).sum(-1) + 1e-4).log().mean()
