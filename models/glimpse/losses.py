"""What training minimises: cross-entropy of the answers in packed rows, over a part of the vocabulary."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from models.glimpse.modeling import GlimpseForConditionalGeneration
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
    def of(cls, data: TrainingSet, size: int) -> Vocabulary:
        """Counted over one epoch's rows of every fourth picture; rarer tokens count as others."""
        rows = [data.row(r, 0)[0].targets for r in data.records[::4]]
        return cls(torch.from_numpy(np.concatenate(rows)), size)

    def logits(self, head: Tensor, chosen: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits over a part of the vocabulary, and where the targets are in it.

        Args:
            head: (vocabulary, width). chosen: (answers' tokens, width). targets: token ids.
        """
        missing = targets[self.place[targets] < 0].unique()
        picked = self.others[torch.randint(len(self.others), (self.sampled,))] if self.sampled else self.others
        columns = torch.cat([self.common, missing, picked])
        logits = (chosen @ head[columns].T).float()
        if self.sampled:
            share = torch.zeros(len(columns))
            share[len(columns) - self.sampled :] = math.log(len(self.others) / self.sampled)
            logits = logits + share
        place = self.place.clone()
        place[missing] = len(self.common) + torch.arange(len(missing))
        return logits, place[targets]


def row_loss(
    model: GlimpseForConditionalGeneration, example: Example, smoothing: float, vocabulary: Vocabulary | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of a batch of rows (with label smoothing), and the plain one for the log."""
    batch, config = example.batch, model.config
    first = config.cross_attention_layers[0]
    with torch.no_grad():  # below the first block nothing depends on pictures or on what is trained
        hidden = model.get_input_embeddings()(batch.tokens)
        hidden = model.run_layers(hidden, batch.mask, batch.positions, last=first)
    memory = model.memory(example.features, example.labels, example.probabilities)
    visible = batch.sighted[:, :, None].expand(-1, -1, memory.shape[1])
    hidden = model.run_layers(
        hidden, batch.mask, batch.positions, keys_values=model.keys_values(memory), visible=visible, first=first
    )
    chosen = model.language_model.model.norm(hidden.flatten(0, 1)[batch.sources])
    head = model.language_model.lm_head.weight
    if vocabulary is None:
        logits, targets = (chosen @ head.T).float(), batch.targets
    else:
        logits, targets = vocabulary.logits(head, chosen, batch.targets)
    normaliser = logits.logsumexp(-1)
    plain = normaliser - logits.gather(1, targets[:, None]).squeeze(1)
    smooth = normaliser - logits.mean(-1)
    share = batch.weights / batch.weights.sum()
    loss = ((1 - smoothing) * plain + smoothing * smooth) @ share
    return loss, (plain @ share).detach()
