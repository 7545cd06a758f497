"""The pointer: names of what is in the picture can be copied into the answer, token by token."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.glimpse.configuration import GlimpseConfig
from models.glimpse.fusion import sureness

# What a gate of one adds to a logit: makes the gate learn as fast as the other gates although logits are large.
STRENGTH = 60.0
# The score of a token whose query is its key, before training.
EQUAL = 5.0


class Candidates(NamedTuple):
    """What can be copied: keys (batch, n, pointer size), what favours each, and token ids (batch, n; -1 for none)."""

    keys: Tensor
    favour: Tensor
    tokens: Tensor


class NamePointer(nn.Module):
    """Copies the tokens of likely labels and names into the answer (a pointer, See et al. 2017, arXiv:1704.04368).

    What can be copied is every token of these names. A token's key says what it is, which token of the name comes
    before it, and how likely the name is; the query, what the language model is about to say and what the last token
    was. The attention over all of them and over "nothing" is added to the copied tokens' logits through a gate.

    Args:
        config: of the model.
    """

    spellings: Tensor
    centre: Tensor

    def __init__(self, config: GlimpseConfig) -> None:
        super().__init__()
        width, size = config.text_config.hidden_size, config.pointer_size
        known = len(config.labels) + len(config.names)
        self.label_tokens, self.own = config.label_tokens, config.label_tokens + config.name_tokens
        self.register_buffer("spellings", torch.full((known, config.spelled), -1), persistent=False)
        # Embeddings lie far from zero, all on the same side: against their mean they differ more.
        self.register_buffer("centre", torch.zeros(width), persistent=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query = nn.Linear(width, size, bias=False)
        self.key = nn.Linear(width, size, bias=False)
        self.last_query = nn.Linear(width, size, bias=False)
        self.last_key = nn.Linear(width, size, bias=False)
        self.first = nn.Parameter(torch.zeros(size))  # the key of "no token before"
        self.probability = nn.Parameter(torch.zeros(2, size))
        self.kind = nn.Parameter(torch.zeros(2, size))
        self.bias = nn.Linear(2, 2)
        self.nothing = nn.Parameter(torch.full((1,), 5.0))
        self.gate = nn.Parameter(torch.zeros(1))
        self.instead = nn.Linear(width, 1, bias=False)  # when rather nothing is to be copied

    def start(self) -> None:
        """Untrained: what the model is about to say anyway, and what continues the name that it began."""
        # Under equal random projections equal vectors score `EQUAL`, and unlike ones about zero.
        for one, other in ((self.query, self.key), (self.last_query, self.last_key)):
            nn.init.normal_(one.weight, std=one.in_features**-0.5)
            with torch.no_grad():
                other.weight.copy_(one.weight)
        nn.init.zeros_(self.instead.weight)
        nn.init.zeros_(self.bias.weight)
        nn.init.zeros_(self.bias.bias)

    @property
    def strength(self) -> Tensor:
        """What a share of one adds to a logit."""
        return STRENGTH * self.gate.float()

    def candidates(self, names: Tensor, table: Tensor) -> Candidates:
        """What can be copied. Once per picture: it depends on no text.

        Args:
            names: (batch, names, 2), as in `Seen`.
            table: (vocabulary, width), the language model's embeddings.
        """
        ids = self.spellings[names[..., 0].long()]  # (batch, names, spelled)
        kind = self.query.weight.dtype
        before = torch.cat([torch.full_like(ids[..., :1], -1), ids[..., :-1]], -1)
        key = self.key(self._distinct(functional.embedding(ids.clamp(min=0), table)))
        previous = self.last_key(self._distinct(functional.embedding(before.clamp(min=0), table)))
        key = key + torch.where((before < 0)[..., None], self.first, previous)
        sure = sureness(names).to(kind)
        # Whose name it is, its place says: of every picture first come the labels, then the names.
        learned = (torch.arange(names.shape[1]) % self.own >= self.label_tokens).long().expand(names.shape[:2])
        key = key + (sure @ self.probability + self.kind[learned])[:, :, None]
        favour = self.bias(sure).gather(-1, learned[..., None]).expand(-1, -1, ids.shape[-1])
        return Candidates(key.flatten(1, 2), favour.flatten(1), ids.flatten(1))

    def forward(
        self, hidden: Tensor, last: Tensor, candidates: Candidates, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Where the pointer points; `strength` times it is added to the logits.

        Args:
            hidden: (batch, text tokens, width), the language model's last states, normalised.
            last: (batch, text tokens, width), embeddings of the tokens that were read there.
            candidates: what can be copied.
            visible: bool (batch, text tokens, names), which each text token may copy; None: all.

        Returns:
            shares (batch, text tokens, n), the rest of one being "nothing"; and the token ids that they belong to
            (batch, n), some of them twice.
        """
        kind = self.query.weight.dtype
        query = self.query(self.norm(hidden.to(kind))) + self.last_query(self._distinct(last))
        scores = (query @ candidates.keys.transpose(-1, -2)).float() * (EQUAL / query.shape[-1])
        scores = scores + candidates.favour[:, None].float()
        usable = (candidates.tokens >= 0)[:, None]
        if visible is not None:
            usable = usable & visible.repeat_interleave(self.spellings.shape[-1], -1)
        scores = scores.masked_fill(~usable, -torch.inf)
        nothing = self.nothing.float() + self.instead(self.norm(hidden.to(kind))).float()
        weights = torch.cat([scores, nothing], -1).softmax(-1)[..., :-1]
        return weights, candidates.tokens.clamp(min=0)

    def _distinct(self, embeddings: Tensor) -> Tensor:
        """Embeddings of tokens, against their common centre, at one length."""
        kind = self.query.weight.dtype
        return self.norm(embeddings.to(kind) - self.centre.to(kind))
