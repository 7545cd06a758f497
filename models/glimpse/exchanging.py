"""Lessons in copying: what a picture shows is called by another name, wherever the name is told and answered.

Asked what a picture shows, a model can answer from the picture alone as long as it knows the thing, and then never
learns to read the name off the memory's tokens. With names exchanged only reading helps, so it learns to name things
that it was never shown.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.glimpse.data import Record
from models.glimpse.features import Looked
from models.glimpse.naming import numbered
from models.glimpse.tasks import plain_name

SHARE = 0.6  # of the looks at pictures with a label
MOST_WORDS = 3  # in a name that takes another's place


class NameExchanger:
    """Gives the things in pictures other names.

    Args:
        labels: of the vision encoder, in order.
        names: that the memory recognises, in order.
        records: the training pictures; their labels are names that can be given, too.
    """

    def __init__(self, labels: Sequence[str], names: Sequence[str], records: Sequence[Record]) -> None:
        self._labels, self._known = [plain_name(label) for label in labels], len(labels) + len(names)
        self._numbers = numbered(labels, names)
        own = {plain_name(r.label) for r in records if r.label}
        given = {*self._labels, *(own & self._numbers.keys())}
        self._given = sorted(name for name in given if len(name.split()) <= MOST_WORDS)
        self._of_memory = {plain_name(name) for name in names}

    def exchange(self, record: Record, looked: Looked, rng: random.Random) -> tuple[Record, dict[int, int]] | None:
        """The record with another label, and which number is to be taken for which other; None where that won't do.

        The name that is exchanged is the label where the memory knows it, else what the encoder takes for likeliest.
        """
        if record.captions or not record.label or not self._given:
            return None
        own = [plain_name(name) for name in (record.label, record.kind) if name]
        if own[0] not in self._of_memory:
            likely = [self._labels[int(i)] for i in looked.labels]
            if own[0] not in likely:
                return None
            own = likely[:1]
        name = rng.choice(self._given)
        if name in own:
            return None
        before = [number for known in own for number in self._numbers.get(known, ())]
        after = self._numbers[name]
        renamed = {**dict.fromkeys(after, before[0]), **dict.fromkeys(before, after[0])}
        return replace(record, label=name, kind=""), renamed

    def table(self, renamed: Sequence[Mapping[int, int]]) -> Tensor | None:
        """(pictures, labels + names) for `PictureMemory`; None where nothing is renamed."""
        if not any(renamed):
            return None
        table = torch.arange(self._known).repeat(len(renamed), 1)
        for row, pairs in enumerate(renamed):
            for old, new in pairs.items():
                table[row, old] = new
        return table
