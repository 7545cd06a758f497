"""Names: the words that the memory learns to recognise in pictures by itself, and what is known of them per picture.

They are the words that captions use often, the labels of named things, kinds of places and counted objects, and the
words of drawn scenes. Attributes found like this help captions (Wu et al. 2016, arXiv:1506.01144) and "is there".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.glimpse import lexicon
from models.glimpse.data import Record
from models.glimpse.kinds import KindTeacher
from models.glimpse.scenes import COLOURS, SHAPES
from models.glimpse.tasks import plain_name, words_of

_STOP_WORDS = (
    "a an the and or but of to in on at by for from with without as is are was were be been being am do does "
    "doing has have having had it its it's he she they them his her hers their theirs him this that these "
    "those there here some other others another who which while what where when over under into onto out up "
    "down off through along near next behind front around across against between beside toward towards past "
    "above below after before during about very so just only all both each more than not no very can something "
    "s t going gets get getting taking takes take making makes make looking looks look holding holds hold "
    "doing wearing wears seen shown appears"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
FEWEST = 15  # pictures whose captions use a word before it becomes a name
# What a name that is not mentioned says: in captions nearly always that it is absent; of a picture with a label,
# nothing much about words of captions, but that it is none of the other labels.
UNMENTIONED, UNKNOWN = 1.0, 0.05


def caption_words(record: Record) -> Counter[str]:
    """In how many captions of a picture each word is."""
    return Counter(w for c in record.captions for w in set(words_of(c)) - STOP_WORDS if len(w) > 1)


def stated(record: Record) -> dict[str, float]:
    """Names that are certain of a picture, with a target between 0 and 1."""
    found = {word: min(1.0, count / 2) for word, count in caption_words(record).items()}
    labels = [plain_name(name) for name in (record.label, record.kind, record.place) if name]
    objects = [plain_name(name) for name, _ in record.objects]
    found.update(dict.fromkeys(labels + objects, 1.0))
    if (scene := record.drawn) is not None:
        found.update({word: 1.0 for s in scene.shapes for word in (s.shape, s.colour)})
    return found


def vocabulary(records: Sequence[Record]) -> list[str]:
    """The names worth knowing for these pictures: frequent words of captions, and all labels, places and objects."""
    words: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for record in records:
        words.update(caption_words(record).keys())
        labels.update(stated(Record(**{**record.__dict__, "captions": (), "seed": None})).keys())
    frequent = {w for w, n in words.items() if n >= FEWEST}
    return sorted(frequent | {name for name, n in labels.items() if n >= 2} | {*SHAPES, *COLOURS})


def numbered(labels: Sequence[str], names: Sequence[str]) -> dict[str, list[int]]:
    """Plain name → its numbers: labels have 0 … labels - 1, the memory's own names those from there on."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate([*labels, *names]):
        found.setdefault(plain_name(name), []).append(number)
    return found


@dataclass(frozen=True)
class NameTargets:
    """For pictures: which of the known names are there, and how much each of these statements counts.

    Attributes:
        values, weights: (pictures, names), 0 … 1.
    """

    values: Tensor
    weights: Tensor


class NameTeacher:
    """Says of every picture which names are there.

    Args:
        names: all that are known, as in the configuration.
        records: the training pictures; says which names are labels, and whose.
        kinds: says more of pictures with a label.
    """

    def __init__(self, names: Sequence[str], records: Sequence[Record], kinds: KindTeacher | None = None) -> None:
        self._kinds = kinds
        self._place = {name: i for i, name in enumerate(names)}
        self._of_captions = torch.zeros(len(names), dtype=torch.bool)
        self._of_labels = torch.zeros(len(names), dtype=torch.bool)
        self._of_objects = torch.zeros(len(names), dtype=torch.bool)
        for record in records:
            self._mark(self._of_captions, caption_words(record).keys())
            self._mark(self._of_labels, [plain_name(n) for n in (record.label, record.kind) if n])
            self._mark(self._of_objects, [plain_name(n) for n, _ in record.objects])

    def _mark(self, which: Tensor, names: Iterable[str]) -> None:
        places = [self._place[n] for n in names if n in self._place]
        which[places] = True

    def targets(self, records: Sequence[Record]) -> NameTargets:
        values = torch.zeros(len(records), len(self._place))
        weights = torch.full_like(values, UNKNOWN)
        for row, record in enumerate(records):
            if record.captions or record.seed is not None:
                weights[row] = UNMENTIONED
            elif record.label:
                weights[row, self._of_labels] = UNMENTIONED
            elif record.objects:
                weights[row, self._of_labels & ~self._of_captions] = UNMENTIONED
                weights[row, self._of_objects] = UNMENTIONED
            for name, value in {**self._by_kind(record), **stated(record)}.items():
                if name in self._place:
                    values[row, self._place[name]] = value
                    weights[row, self._place[name]] = 1.0
        return NameTargets(values, weights)

    def _by_kind(self, record: Record) -> dict[str, float]:
        """Words for things that the record's label makes certain; of what is there only the plainest."""
        certain = self._kinds.certain(record) if self._kinds is not None else {}
        found: dict[str, float] = {}
        for thing in lexicon.THINGS:
            if certain.get(thing.name):
                found[thing.name.split()[-1]] = 1.0
            elif thing.name in certain:
                found.update(dict.fromkeys(thing.words, 0.0))
        return found


def name_loss(logits: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Weighted binary cross-entropy of names, summed over names, mean over pictures."""
    losses = functional.binary_cross_entropy_with_logits(logits.float(), values, reduction="none")
    return (losses * weights).sum(1).mean()
