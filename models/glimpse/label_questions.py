"""Questions about pictures of which only a label is known: what is this, is it a …, is there a …"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from models.glimpse import lexicon
from models.glimpse.data import Record
from models.glimpse.kinds import KindTeacher
from models.glimpse.tasks import Task, plain_name, with_article, words_of

# How often a "no" asks for each thing: what captions mention most is taken for granted soonest.
_ASKED = {"a dog": 6, "a bird": 2, "a cat": 2, "a horse": 2}


class LabelQuestions:
    """Makes questions about pictures with a label.

    Args:
        records: all pictures; their labels are what can be asked for, too.
        kinds: says what else is certain of a label.
    """

    def __init__(self, records: Sequence[Record], kinds: KindTeacher) -> None:
        self._kinds = kinds
        sources = {r.source for r in records}
        self._labels = {s: sorted({r.label for r in records if r.source == s and r.label}) for s in sources}
        self._words = {t.name: t.words for t in lexicon.THINGS}

    def check(self, record: Record, rng: random.Random) -> Task | None:
        """Is this a …?"""
        truth = rng.random() < 0.5
        others = self._others(record)
        if not truth and not others:
            return None
        name = with_article(record.label if truth else rng.choice(others))
        answer = f"Yes, it is {name}." if truth else f"No, it is {with_article(record.label)}."
        return Task("label check", f"Is this {name}?", (answer,), names=said_names(record))

    def presence(self, record: Record, rng: random.Random) -> Task | None:
        """Is there a …? Half of the time there is; what is asked for is its own label, its kind, another's."""
        certain = self._kinds.certain(record)
        truth = rng.random() < 0.5
        things = [thing for thing, there in certain.items() if there == truth]
        if things and rng.random() < 0.7:
            thing = rng.choices(things, [_ASKED.get(t, 1) for t in things])[0]
            return is_there(thing, truth, rng, self._words[thing])
        others = self._others(record)
        if not truth and not others:
            return None
        name = plain_name(record.label if truth else rng.choice(others))
        return is_there(with_article(name), truth, rng, said_names(record) if truth else {name})

    def _others(self, record: Record) -> list[str]:
        own = set(words_of(f"{record.label} {record.kind}"))
        return [x for x in self._labels.get(record.source, []) if not own & set(words_of(x))]


def is_there(name: str, truth: bool, rng: random.Random, words: Collection[str]) -> Task:
    """Is there …? with its answer; `words` are the names that it depends on."""
    question = rng.choice(
        ("Is there {}?", "Is there {} in the picture?", "Can you see {}?", "Do you see {} here?")
    ).format(name)
    bare = name.removeprefix("a ").removeprefix("an ")
    answer = f"Yes, there is {name}." if truth else f"No, there is no {bare}."
    return Task("presence", question, (answer,), names=tuple(sorted(words)), absent=not truth)


def full_name(record: Record) -> str:
    """The label, and its kind where that says more: "pink lady apple", but "asparagus" (of the kind "vegetables")."""
    label, kind = plain_name(record.label), plain_name(record.kind)
    known = not kind or kind in lexicon.WIDE_KINDS or set(words_of(kind)) <= set(words_of(label))
    return label if known else f"{label} {kind}"


def said_names(record: Record) -> tuple[str, ...]:
    """The label and its kind as names."""
    return tuple(plain_name(name) for name in (record.label, record.kind) if name)


def name_of(record: Record, rng: random.Random) -> Task:
    """What is this?"""
    question = rng.choice(("What is this?", "What does the picture show?", "Name the main object."))
    return naming(question, full_name(record), said_names(record))


def naming(question: str, name: str, names: tuple[str, ...]) -> Task:
    """A question that is answered with a name, which can be copied."""
    return Task("name", question, (f"This is {with_article(name)}.",), names=names, copied=True, key=plain_name(name))
