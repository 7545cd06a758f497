"""What is measured, one function per row of the table in docs/GLIMPSE.md. Every figure comes with its 95 % interval."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.glimpse import lexicon, meteor
from models.glimpse.answering import answers, captions, seen_inputs, yes_shares
from models.glimpse.data import Record
from models.glimpse.features import FeatureStore, Looked
from models.glimpse.kinds import KINDS, KindTeacher
from models.glimpse.metrics import bleu, cider, interval, mean_interval
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.rows import REPLY, TURN
from models.glimpse.scene_questions import NUMBER_NAMES, article, scene_question
from models.glimpse.scenes import COLOURS, SHAPES
from models.glimpse.tasks import reading_tasks, words_of

Figure = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What every measure needs.

    Attributes:
        records: of one split, with features in `store`.
        blank: what the encoder sees in an even grey picture.
        most: pictures or questions per measure.
        taught: source and label of everything that training showed.
    """

    model: GlimpseForConditionalGeneration
    tokenizer: Any
    store: FeatureStore
    records: Sequence[Record]
    blank: Looked
    most: int = 400
    beams: int = 3
    taught: frozenset[tuple[str, str]] = frozenset()

    def of(self, source: str) -> list[Record]:
        return [r for r in self.records if r.source == source]


def figure(values: Sequence[float]) -> Figure:
    mean, low, high = mean_interval(values)
    return {"value": mean, "low": low, "high": high, "n": len(values)}


def caption_figures(bench: Bench) -> dict[str, Figure | list[str]]:
    """CIDEr and BLEU-4 with beam search and greedily, and CIDEr with blank and with exchanged pictures."""
    records = [r for r in bench.records if len(r.captions) > 1][: bench.most]
    references = [r.captions for r in records]
    looked = [bench.store.get(r) for r in records]
    found: dict[str, Figure | list[str]] = {}

    def measure(name: str, pictures: Sequence[Looked], beams: int) -> list[str]:
        said = captions(bench.model, bench.tokenizer, pictures, beams)
        found[f"{name} CIDEr"] = figure(cider(said, references))
        return said

    said = measure("captions", looked, bench.beams)

    def score(picks: Sequence[int]) -> float:
        return bleu([said[i] for i in picks], [references[i] for i in picks])

    low, high = interval(len(said), score, samples=200)
    found["captions BLEU-4"] = {"value": score(range(len(said))), "low": low, "high": high, "n": len(said)}
    if meteor.available():
        found[f"captions {meteor.NAME}"] = figure(meteor.meteor(said, references))
    measure("greedy captions", looked, 1)
    measure("blank pictures", [bench.blank] * len(looked), 1)
    order = list(range(len(looked)))
    random.Random(0).shuffle(order)
    measure("shuffled pictures", [looked[i] for i in order], 1)
    found["examples"] = [f"{r.name}: {s}" for r, s in zip(records[:20], said, strict=False)]
    return found


def balanced_questions(records: Sequence[Record], most: int, seed: int = 0) -> list[tuple[Record, str, bool]]:
    """Is there a …? For every thing as many pictures with it (two captions say so) as without (none could mean it)."""
    rng = random.Random(seed)
    mentions = [_counted(r) for r in records]
    found = []
    for thing in lexicon.THINGS:
        present = [r for r, m in zip(records, mentions, strict=True) if sum(m.get(w, 0) for w in thing.words) >= 2]
        absent = [r for r, m in zip(records, mentions, strict=True) if not (thing.words | thing.unsure) & m.keys()]
        count = min(len(present), len(absent), max(2, most // 20))
        if count < 2:
            continue
        for truth, group in ((True, present), (False, absent)):
            found += [(r, f"Is there {thing.name}?", truth) for r in rng.sample(group, count)]
    rng.shuffle(found)
    return found[: 2 * most]


def _counted(record: Record) -> dict[str, int]:
    counts: dict[str, int] = {}
    for caption in record.captions:
        for word in set(words_of(caption)):
            counts[word] = counts.get(word, 0) + 1
    return counts


def yes_no_figures(bench: Bench) -> dict[str, Figure]:
    """Balanced presence questions; the "no" half alone; the same with a blank picture."""
    questions, right = _presence(bench)
    if not questions:
        return {}
    texts = [q for _, q, _ in questions]
    blind = yes_shares(bench.model, bench.tokenizer, [bench.blank] * len(texts), texts)
    return {
        "yes/no": figure(right),
        "honest no": figure([x for x, (_, _, truth) in zip(right, questions, strict=True) if not truth]),
        "yes/no, blank picture": figure([float((s > 0.5) == t) for s, (_, _, t) in zip(blind, questions, strict=True)]),
    }


def presence_figures(bench: Bench) -> dict[str, Figure]:
    """Balanced presence questions alone."""
    questions, right = _presence(bench)
    return {"yes/no": figure(right)} if questions else {}


def _presence(bench: Bench) -> tuple[list[tuple[Record, str, bool]], list[float]]:
    """Balanced presence questions, and which of them are answered right (1.0)."""
    questions = balanced_questions([r for r in bench.records if len(r.captions) > 1], bench.most)
    looked = [bench.store.get(r) for r, _, _ in questions]
    shares = yes_shares(bench.model, bench.tokenizer, looked, [q for _, q, _ in questions])
    return questions, [float((s > 0.5) == truth) for s, (_, _, truth) in zip(shares, questions, strict=True)]


def close_up_figures(bench: Bench) -> dict[str, Figure]:
    """Is there a dog? and the like about pictures of one named thing: as often "no" as "yes", where both can be asked.

    What is right follows from the label (`kinds.py`). A thing that no picture shows is asked for, too, in "no" alone.
    """
    kinds, rng = KindTeacher(bench.model.config.labels), random.Random(0)
    certain = [(r, c) for r in bench.records if (c := kinds.certain(r))]
    asked: list[tuple[Record, str, bool]] = []
    for kind in KINDS:
        there, absent = ([r for r, c in certain if c.get(kind.thing) is truth] for truth in (True, False))
        count = max(2, min(len(there), len(absent), bench.most // 10))
        for truth, group in ((True, there), (False, absent)):
            asked += [(r, f"Is there {kind.thing}?", truth) for r in rng.sample(group, min(count, len(group)))]
    if not asked:
        return {}
    looked = [bench.store.get(r) for r, _, _ in asked]
    shares = yes_shares(bench.model, bench.tokenizer, looked, [q for _, q, _ in asked])
    right = [float((s > 0.5) == truth) for s, (_, _, truth) in zip(shares, asked, strict=True)]
    found = {"close-ups": figure(right)}
    for truth, name in ((True, "close-ups, it is there"), (False, "close-ups, it is not")):
        found[name] = figure([x for x, (_, _, t) in zip(right, asked, strict=True) if t == truth])
    return found


# What of an answer about a drawn scene is compared: the words of that kind that are in it.
_KEYS: dict[str, Callable[[str], object]] = {
    "colour": lambda text: set(text.split()) & set(COLOURS),
    "shape": lambda text: {s for s in SHAPES if re.search(rf"\b{s}", text)},
    "count": lambda text: [w for w in text.split() if w in NUMBER_NAMES],
    "position": lambda text: text.rsplit(" is ", 1)[-1],
    "compare": lambda text: text.split()[:1],
    "presence": lambda text: text.split()[:1],
}


def scene_figures(bench: Bench) -> dict[str, Figure]:
    """One question of each kind about each drawn scene that allows one."""
    found = {}
    for kind, key in _KEYS.items():
        asked = []
        for record in bench.of("drawn")[: bench.most]:
            if record.drawn and (made := scene_question(record.drawn, kind, random.Random(f"{kind} {record.name}"))):
                asked.append((record, *made))
        if not asked:
            continue
        looked = [bench.store.get(r) for r, _, _ in asked]
        said = answers(bench.model, bench.tokenizer, looked, [q for _, q, _ in asked], max_new_tokens=16)
        plain = [(key(_plain(a)), key(_plain(s))) for (_, _, a), s in zip(asked, said, strict=True)]
        found[f"drawn {kind}"] = figure([float(a == s) for a, s in plain])
    return found


def _plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower())


NAMING = ("objects", "caltech101", "clothing", "grocery", "scenes")


def naming_figures(bench: Bench) -> dict[str, Figure]:
    """What is this? Right when the label's words are in the answer; beside it the encoder's first label alone.

    Last, of all sets together, the pictures whose label no training picture had.
    """
    found: dict[str, Figure] = {}
    unseen: list[float] = []
    unseen_alone: list[float] = []
    for source in NAMING:
        records = [r for r in bench.of(source) if r.label][: bench.most]
        if not records:
            continue
        looked = [bench.store.get(r) for r in records]
        said = answers(bench.model, bench.tokenizer, looked, ["What is this?"] * len(records), max_new_tokens=16)
        labels = bench.model.config.labels
        right = [float(_named(r, s)) for r, s in zip(records, said, strict=True)]
        alone = [float(_named(r, labels[int(x.labels[0])])) for r, x in zip(records, looked, strict=True)]
        found[f"naming {source}"], found[f"naming {source}, encoder alone"] = figure(right), figure(alone)
        new = [i for i, r in enumerate(records) if (source, r.label) not in bench.taught]
        unseen, unseen_alone = unseen + [right[i] for i in new], unseen_alone + [alone[i] for i in new]
    if bench.taught and unseen:
        found["naming, all sets, unseen names"] = figure(unseen)
        found["naming, all sets, unseen names, encoder alone"] = figure(unseen_alone)
    return found


def _named(record: Record, text: str) -> bool:
    words = set(words_of(text))
    return any(name and set(words_of(name)) <= words for name in (record.label, record.kind))


def reading_figures(bench: Bench) -> dict[str, Figure]:
    """Questions answered from text that was read in the picture (the text is given, the reader is not measured)."""
    records = [r for r in bench.records if len(r.captions) > 1][: min(bench.most, 150)]
    asked, wanted = [], []
    for record in records:
        note, tasks = reading_tasks(random.Random(f"read {record.name}"), 1)
        asked.append(f"{note}\n{tasks[0].question}")
        wanted.append(note.split('"')[1].lower())
    said = answers(bench.model, bench.tokenizer, [bench.store.get(r) for r in records], asked)
    return {"reading": figure([float(w in s.lower()) for w, s in zip(wanted, said, strict=True)])} if asked else {}


@torch.no_grad()
def pointing_figures(bench: Bench) -> dict[str, Figure]:
    """Whether the attention's peak, while the shape's word is written, lies in its box, as `explain` shows it."""
    hits: list[float] = []
    header = bench.tokenizer(TURN, add_special_tokens=False).input_ids
    side = bench.model.config.grid
    for record in bench.of("drawn")[: min(bench.most, 200)]:
        scene = record.drawn
        if scene is None:
            continue
        item = scene.shapes[0]
        if sum((s.colour, s.shape) == (item.colour, item.shape) for s in scene.shapes) > 1:
            continue
        asked = bench.tokenizer(
            f"Is there {article(f'{item.colour} {item.shape}')}?" + REPLY, add_special_tokens=False
        ).input_ids
        before = bench.tokenizer(f"Yes, there is {article(item.colour)}", add_special_tokens=False).input_ids
        maps = bench.model(
            input_ids=torch.tensor([header + asked + before]),
            **seen_inputs(bench.model, [bench.store.get(record)], len(header)),
            output_cross_attentions=True,
        ).cross_attentions
        chosen = [maps[i] for i in bench.model.config.pointing_blocks]
        cells = torch.stack([m[0, :, -1, : side**2].float().mean(0) for m in chosen]).mean(0)
        hits.append(_inside(int(cells.argmax()), side, item.box))
    return {"pointing": figure(hits)} if hits else {}


def _inside(cell: int, side: int, box: tuple[float, float, float, float]) -> float:
    """Whether the middle of a cell is in a box, with half a cell of grace (a shape can be smaller than a cell)."""
    x, y = (cell % side + 0.5) / side, (cell // side + 0.5) / side
    grace = 0.5 / side
    return float(box[0] - grace <= x <= box[2] + grace and box[1] - grace <= y <= box[3] + grace)


MEASURES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "captions": caption_figures,
    "yes-no": yes_no_figures,
    "close-ups": close_up_figures,
    "scenes": scene_figures,
    "naming": naming_figures,
    "reading": reading_figures,
    "pointing": pointing_figures,
}
