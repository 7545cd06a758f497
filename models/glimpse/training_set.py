"""Which picture comes with which questions, in which order: the same for the same seed, after any pause."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.glimpse.data import DRAWN, Record
from models.glimpse.features import PLAIN, FeatureStore, Looked, is_mirrored
from models.glimpse.questions import QuestionMaker
from models.glimpse.rows import SYSTEMS, Batch, Row, collate, pack
from models.glimpse.tasks import Task, caption_task, reading_tasks

# Questions per look at a picture, by set; captions come on top.
QUESTIONS = {DRAWN: 7, "flickr8k": 3, "coco_small": 3, "places_objects": 3, "web2k": 0, "nlvr": 1}
OTHER_QUESTIONS = 2
SYSTEM_SHARE, READING_SHARE = 0.2, 0.06
LENGTH_POOL = 12  # batches whose rows are sorted by length together, so that little is padded


@dataclass(frozen=True)
class Example:
    """A batch and what the encoder saw in its pictures, stacked."""

    batch: Batch
    features: Tensor
    labels: Tensor
    probabilities: Tensor


class TrainingSet:
    """Batches without end, epoch after epoch.

    Args:
        records: the training pictures; those without features are left out.
        store: their frozen features.
        tokenizer: the language model's.
        rows: rows in a batch.
        seed: fixes everything.
        dtype: of the masks.
    """

    def __init__(
        self,
        records: Sequence[Record],
        store: FeatureStore,
        tokenizer: Any,
        *,
        rows: int,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        self.records = [r for r in records if store.views(r)]
        self._views = {r.name: store.views(r) for r in self.records}
        self._store, self._tokenizer, self._rows, self._seed, self._dtype = store, tokenizer, rows, seed, dtype
        self._questions = QuestionMaker(self.records)

    @property
    def batches_per_epoch(self) -> int:
        return len(self.records) // self._rows

    def order(self, epoch: int) -> list[list[Record]]:
        """The batches of an epoch: shuffled, but rows of similar length together."""
        rng = random.Random(f"{self._seed} order {epoch}")
        records = self.records[:]
        rng.shuffle(records)
        batches = []
        pool = self._rows * LENGTH_POOL
        for start in range(0, len(records), pool):
            near = sorted(records[start : start + pool], key=lambda r: (sum(map(len, r.captions)), r.source))
            batches += [near[i : i + self._rows] for i in range(0, len(near), self._rows)]
        batches = [b for b in batches if len(b) == self._rows]
        rng.shuffle(batches)
        return batches

    def row(self, record: Record, epoch: int) -> tuple[Row, Looked]:
        """The picture's row in an epoch, and the view of it."""
        rng = random.Random(f"{self._seed} {epoch} {record.name}")
        view = rng.choice(self._views[record.name])
        tasks: list[Task] = []
        caption = caption_task(record, mirrored=is_mirrored(view))
        if caption is not None:
            tasks.append(caption)
        note = ""
        if record.seed is None and rng.random() < READING_SHARE:
            note, tasks = reading_tasks(rng, 3)
        else:
            made = self._questions.make(record, rng, QUESTIONS.get(record.source, OTHER_QUESTIONS))
            tasks += [t for t in made if view == PLAIN or not {"left", "right"} & set(t.question.lower().split())]
        system = rng.choice(SYSTEMS) if rng.random() < SYSTEM_SHARE else ""
        return pack(self._tokenizer, tasks, system=system, note=note), self._store.get(record, view)

    def example(self, records: Sequence[Record], epoch: int) -> Example:
        rows, looked = zip(*(self.row(r, epoch) for r in records), strict=True)
        kept = [i for i, row in enumerate(rows) if len(row.targets)]
        return Example(
            collate([rows[i] for i in kept], self._dtype),
            torch.stack([looked[i].features for i in kept]),
            torch.stack([looked[i].labels for i in kept]),
            torch.stack([looked[i].probabilities for i in kept]),
        )

    def from_step(self, step: int) -> Iterator[Example]:
        """Batches from a step on: the ones that an uninterrupted run would have had."""
        epoch, skip = divmod(step, max(self.batches_per_epoch, 1))
        while True:
            for records in self.order(epoch)[skip : self.batches_per_epoch]:
                yield self.example(records, epoch)
            epoch, skip = epoch + 1, 0
