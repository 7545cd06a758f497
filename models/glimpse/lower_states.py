"""What the frozen lower layers make of a text, kept: it depends neither on the picture nor on what is trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.passes import Pass
from models.glimpse.rows import Row, collate


class LowerStates:
    """States below the first block, per node of a row (a header, a question, an answer), the least used forgotten.

    From the second look at a picture on a quarter of a step is saved; many pictures have the same questions.

    Args:
        model: gives the frozen layers.
        most_bytes: how much is kept.
    """

    def __init__(self, model: GlimpseForConditionalGeneration, most_bytes: int = 3 << 30) -> None:
        self._model = model
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._most, self._bytes = most_bytes, 0
        self.missed = 0  # nodes that had to be computed

    @torch.no_grad()
    def of(self, rows: Sequence[Row]) -> Tensor:
        """(rows, longest, width); zeros where a row is shorter."""
        keys = [row.keys for row in rows]
        self._compute(rows, keys)
        width = self._model.config.text_config.hidden_size
        states = torch.zeros(len(rows), max(len(r.tokens) for r in rows), width, dtype=self._model.dtype)
        for number, (row, own) in enumerate(zip(rows, keys, strict=True)):
            for node, key in enumerate(own):
                states[number, torch.from_numpy(row.parts == node).nonzero().flatten()] = self._kept[key]
                self._kept.move_to_end(key)
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return states

    def _compute(self, rows: Sequence[Row], keys: Sequence[list[bytes]]) -> None:
        """Fills in the missing nodes of every row; `keys` are the rows' own."""
        missing = [{n for n, key in enumerate(own) if key not in self._kept} for own in keys]
        self.missed += sum(map(len, missing))
        parts = [(r.only(nodes), own, nodes) for r, own, nodes in zip(rows, keys, missing, strict=True) if nodes]
        if not parts:
            return
        model = self._model
        batch = collate([part for part, _, _ in parts], model.dtype)
        embeddings = model.get_input_embeddings()(batch.tokens)
        run = Pass(batch.mask, batch.positions)
        hidden = model.run_layers(embeddings, run, last=model.config.cross_attention_layers[0])
        for (part, own, nodes), states in zip(parts, hidden, strict=True):
            for node in nodes:
                if own[node] not in self._kept:  # another row of the batch can have brought it
                    kept = states[: len(part.tokens)][torch.from_numpy(part.parts == node)].clone()
                    self._kept[own[node]] = kept
                    self._bytes += kept.nbytes
