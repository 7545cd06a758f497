"""Which picture comes with which questions, in which order: the same for the same seed, after any pause."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.glimpse.data import DRAWN, Record
from models.glimpse.exchanging import SHARE as EXCHANGED
from models.glimpse.exchanging import NameExchanger
from models.glimpse.features import PLAIN, FeatureStore, Looked, is_mirrored
from models.glimpse.kinds import KindTeacher
from models.glimpse.label_questions import naming
from models.glimpse.naming import NameTargets, NameTeacher
from models.glimpse.packing import pack
from models.glimpse.questions import QuestionMaker
from models.glimpse.rows import SYSTEMS, Batch, Row, collate
from models.glimpse.tasks import Task, caption_task, plain_name, reading_tasks

# Questions per look at a picture, by set; captions come on top.
QUESTIONS = {DRAWN: 6, "web2k": 0, "nlvr": 1, **dict.fromkeys(("objects", "caltech101", "grocery", "clothing"), 4)}
OTHER_QUESTIONS = 2
# Of these sets an epoch takes only so many pictures, others every time.
PER_EPOCH = {
    "flickr8k": 1000, DRAWN: 1100, "places_objects": 120, "nlvr": 150, "daquar": 100, "web2k": 100, "coco_small": 60,
    "caltech101": 250, "grocery": 200, "clothing": 150, "scenes": 100,
}  # fmt: skip
MOST_CAPTIONS = 3  # of a picture in one look
SYSTEM_SHARE, READING_SHARE = 0.1, 0.06
# Where the encoder is as sure as this, what it takes for likeliest is also asked of pictures with captions, so often.
SURE, SURE_SHARE = 0.6, 0.3
LENGTH_POOL = 12  # batches whose rows are sorted by length together, so that little is padded


@dataclass(frozen=True)
class Example:
    """A batch, what the encoder saw in its pictures, stacked, and which names are known to be right there.

    `renamed` says which names are called otherwise in which pictures (`exchanging.py`).
    """

    batch: Batch
    features: Tensor
    labels: Tensor
    probabilities: Tensor
    known: NameTargets | None = None
    renamed: Tensor | None = None


class TrainingSet:
    """Batches without end, epoch after epoch.

    Args:
        records: the training pictures; those without features are left out.
        store: their frozen features.
        tokenizer: the language model's.
        rows: rows in a batch.
        seed: fixes everything.
        dtype: of the masks.
        names: that the model learns to recognise.
        labels: of the vision encoder.
        side: cells along one side of the feature map.
        per_epoch: of these sets an epoch takes only so many pictures, instead of what `PER_EPOCH` says.
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
        names: Sequence[str] = (),
        labels: Sequence[str] = (),
        side: int = 9,
        per_epoch: Mapping[str, int] | None = None,
    ) -> None:
        self._most = {**PER_EPOCH, **(per_epoch or {})}
        self.records = [r for r in records if store.views(r)]
        kinds = KindTeacher(labels)
        self._teacher, self._side = NameTeacher(names, self.records, kinds), side
        self._labels, self._exchanger = labels, NameExchanger(labels, names, self.records)
        counts = Counter(r.source for r in self.records)
        self._per_epoch = sum(min(n, self._most.get(source, n)) for source, n in counts.items())
        self._views = {r.name: store.views(r) for r in self.records}
        self._store, self.tokenizer, self._rows, self._seed, self._dtype = store, tokenizer, rows, seed, dtype
        self._questions = QuestionMaker(self.records, kinds)

    @property
    def batches_per_epoch(self) -> int:
        return self._per_epoch // self._rows

    def order(self, epoch: int) -> list[list[Record]]:
        """The batches of an epoch: shuffled, but rows of similar length together."""
        rng = random.Random(f"{self._seed} order {epoch}")
        records, taken = [], Counter[str]()
        for record in rng.sample(self.records, len(self.records)):
            if taken[record.source] < self._most.get(record.source, len(self.records)):
                taken[record.source] += 1
                records.append(record)
        batches = []
        pool = self._rows * LENGTH_POOL
        for start in range(0, len(records), pool):
            near = sorted(records[start : start + pool], key=lambda r: (sum(map(len, r.captions)), r.source))
            batches += [near[i : i + self._rows] for i in range(0, len(near), self._rows)]
        batches = [b for b in batches if len(b) == self._rows]
        rng.shuffle(batches)
        return batches

    def view(self, record: Record, epoch: int) -> str:
        """The view of the picture that an epoch shows."""
        return random.Random(f"{self._seed} view {epoch} {record.name}").choice(self._views[record.name])

    def looked(self, record: Record, epoch: int) -> Looked:
        """What the encoder sees in that view."""
        return self._store.get(record, self.view(record, epoch))

    def row(self, record: Record, epoch: int, caption: Task | None = None) -> tuple[Row, Looked, dict[int, int]]:
        """The picture's row in an epoch, what the encoder sees, and which names are called which others.

        `caption` takes the captions' place.
        """
        rng, view = random.Random(f"{self._seed} {epoch} {record.name}"), self.view(record, epoch)
        looked, renamed = self.looked(record, epoch), dict[int, int]()
        aside = random.Random(f"{self._seed} aside {epoch} {record.name}")
        if aside.random() < EXCHANGED and (other := self._exchanger.exchange(record, looked, aside)) is not None:
            record, renamed = other
        tasks: list[Task] = []
        few = tuple(aside.sample(record.captions, min(MOST_CAPTIONS, len(record.captions))))
        caption = caption or caption_task(replace(record, captions=few), mirrored=is_mirrored(view))
        if caption is not None:
            tasks.append(caption)
            if float(looked.probabilities[0]) > SURE and aside.random() < SURE_SHARE and self._labels:
                name = plain_name(self._labels[int(looked.labels[0])])
                tasks.append(naming("What is this?", name, (name,)))
        note = ""
        if record.seed is None and rng.random() < READING_SHARE:
            note, tasks = reading_tasks(rng, 3)
        else:
            made = self._questions.make(record, rng, QUESTIONS.get(record.source, OTHER_QUESTIONS), bool(renamed))
            tasks += [t for t in made if view == PLAIN or not {"left", "right"} & set(t.question.lower().split())]
        system = rng.choice(SYSTEMS) if rng.random() < SYSTEM_SHARE else ""
        scene = record.drawn if view == PLAIN else None
        row = pack(self.tokenizer, tasks, system=system, note=note, scene=scene, side=self._side)
        return row, looked, renamed

    def example(self, records: Sequence[Record], epoch: int, captions: Mapping[str, Task] | None = None) -> Example:
        """A batch; `captions` by picture's name take the place of what people said."""
        rows, looked, renamed = zip(*(self.row(r, epoch, (captions or {}).get(r.name)) for r in records), strict=True)
        kept = [i for i, row in enumerate(rows) if len(row.targets)]
        return Example(
            collate([rows[i] for i in kept], self._dtype),
            torch.stack([looked[i].features for i in kept]),
            torch.stack([looked[i].labels for i in kept]),
            torch.stack([looked[i].probabilities for i in kept]),
            self._teacher.targets([records[i] for i in kept]),
            self._exchanger.table([renamed[i] for i in kept]),
        )

    def from_step(self, step: int) -> Iterator[tuple[list[Record], int]]:
        """Batches and their epochs from a step on: the ones that an uninterrupted run would have had."""
        epoch, skip = divmod(step, max(self.batches_per_epoch, 1))
        while True:
            for records in self.order(epoch)[skip : self.batches_per_epoch]:
                yield records, epoch
            epoch, skip = epoch + 1, 0
