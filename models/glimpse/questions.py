"""Questions and answers made from what is known of a picture: its captions, labels, objects, or the drawn scene."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

from models.glimpse import lexicon
from models.glimpse.data import Record
from models.glimpse.kinds import KindTeacher
from models.glimpse.label_questions import LabelQuestions, is_there, name_of
from models.glimpse.scene_questions import scene_questions
from models.glimpse.tasks import Task, plain_name, with_article, words_of

CANNOT_TELL = "I can't tell that from the picture."


class QuestionMaker:
    """Makes questions. Negatives are drawn as often as positives, from the same words, so that a blind guess gets half.

    Args:
        records: what the words' frequencies are counted in.
        kinds: says what else is certain of pictures with a label.
    """

    def __init__(self, records: Sequence[Record], kinds: KindTeacher | None = None) -> None:
        counts: Counter[str] = Counter()
        for record in records:
            words = {w for c in record.captions for w in words_of(c)}
            counts.update(t.name for t in lexicon.THINGS if t.words & words)
        self._things = list(lexicon.THINGS)
        # The square root flattens the frequencies: a man is in nearly every second picture.
        self._weights = [counts[t.name] ** 0.5 + 1 for t in self._things]
        self._objects = Counter(name for r in records for name, _ in r.objects)
        self._of_labels = LabelQuestions(records, kinds or KindTeacher(()))

    def make(self, record: Record, rng: random.Random, count: int, renamed: bool = False) -> list[Task]:
        """About `count` different questions about a picture; fewer where little is known of it.

        With `renamed` its label is not what it shows (`exchanging.py`): only the name itself is asked for.
        """
        if (scene := record.drawn) is not None:
            return [_drawn(*made) for made in scene_questions(scene, rng, count)]
        makers = [name_of, name_of, self._of_labels.check] if renamed else self._makers(record)
        tasks: dict[str, Task] = {}
        for _ in range(count * 4):
            if not makers or len(tasks) >= count:
                break
            task = rng.choice(makers)(record, rng)
            if task is not None:
                tasks.setdefault(task.question, task)
        return list(tasks.values())

    def _makers(self, record: Record) -> list[Callable[[Record, random.Random], Task | None]]:
        makers: list[Callable[[Record, random.Random], Task | None]] = []
        if record.captions:
            makers += [self.presence] * 10 + [action] * 2 + [colour] * 3 + [colour_check] * 2
            makers += [count_of] * 2 + [doing] * 2 + [who, where, not_shown]
        if record.label:
            makers += [name_of] * 2 + [self._of_labels.check] + [self._of_labels.presence] * 2
        if record.place:
            makers += [place_of]
        if record.objects:
            makers += [self.object_presence] * 2
        if record.qa:
            makers += [given] * 2
        if record.statement:
            makers += [statement]
        return makers

    def presence(self, record: Record, rng: random.Random) -> Task | None:
        """Is there a …? A "no" only where no caption mentions it or something that could be it."""
        mentioned = Counter(w for c in record.captions for w in set(words_of(c)))
        want = rng.random() < 0.5
        # Yes: of what is there, the rare sooner. No: the frequent sooner. Both end up with about the same mixture.
        weights = [1 / w for w in self._weights] if want else self._weights
        for thing in rng.choices(self._things, weights, k=60):
            present = any(mentioned[w] for w in thing.words)
            if want and present:
                return is_there(thing.name, True, rng, thing.words)
            if not want and not present and not any(mentioned[w] for w in thing.unsure):
                return is_there(thing.name, False, rng, thing.words)
        return None

    def object_presence(self, record: Record, rng: random.Random) -> Task | None:
        here = {name for name, _ in record.objects}
        if rng.random() < 0.5:
            name, truth = rng.choice(sorted(here)), True
        else:
            name, truth = rng.choices(list(self._objects), list(self._objects.values()))[0], False
            if any(name in h or h in name for h in here):
                return None
        return is_there(with_article(plain_name(name)), truth, rng, {plain_name(name)})


def _drawn(kind: str, question: str, answer: str) -> Task:
    """A question about a drawn scene; of where something lies the place is all that counts."""
    key = answer.rsplit(" is ", 1)[-1].rstrip(".") if kind == "position" else ""
    return Task(f"drawn {kind}", question, (answer,), key=key)


def action(record: Record, rng: random.Random) -> Task | None:
    """Is someone running? A "no" only for an action that excludes the mentioned ones."""
    words = {w for c in record.captions for w in words_of(c)}
    done = {a for a, forms in lexicon.ACTIONS.items() if words & set(forms.split())}
    if not done:
        return None
    if rng.random() < 0.5:
        verb, truth = rng.choice(sorted(done)), True
    else:
        excluded = lexicon.STILL if done <= lexicon.MOVING else lexicon.MOVING if done <= lexicon.STILL else frozenset()
        if not excluded:
            return None
        verb, truth = rng.choice(sorted(excluded)), False
    answer = f"Yes, someone is {verb}." if truth else f"No, no one is {verb}."
    animal = {"dog", "dogs", "horse", "bird"} & words and not {
        "man",
        "woman",
        "boy",
        "girl",
        "person",
        "people",
    } & words
    if animal:
        beast = sorted({"dog", "dogs", "horse", "bird"} & words)[0].rstrip("s")
        return Task(
            "action", f"Is the {beast} {verb}?", (f"Yes, it is {verb}." if truth else f"No, it is not {verb}.",)
        )
    forms = tuple(lexicon.ACTIONS[verb].split())
    return Task("action", f"Is anyone {verb}?", (answer,), names=forms, absent=not truth)


def colours_in(record: Record) -> dict[str, Counter[str]]:
    """Noun → how often each colour stands before it; nouns said to have two colours at once are left out."""
    found: dict[str, Counter[str]] = {}
    for caption in record.captions:
        words = words_of(caption)
        for before, noun in zip(words, words[1:], strict=False):
            if before in lexicon.COLOURS and noun in lexicon.COLOUR_OF:
                found.setdefault(noun, Counter())["grey" if before == "gray" else before] += 1
        if re.search(r"\b(\w+) and (\w+) (dog|dress|shirt|jacket)", caption.lower()):
            for match in re.finditer(r"\b(\w+) and (\w+) (\w+)", caption.lower()):
                if match[1] in lexicon.COLOURS and match[2] in lexicon.COLOURS:
                    found.setdefault(match[3], Counter())["two"] += 9
    return {n: c for n, c in found.items() if len(c) == 1 and "two" not in c}


def _is(noun: str) -> str:
    return "are" if noun in lexicon.PLURAL else "is"


def colour(record: Record, rng: random.Random) -> Task | None:
    found = colours_in(record)
    if not found:
        return None
    noun = rng.choice(sorted(found))
    name = next(iter(found[noun]))
    question = f"What colo{'u' if rng.random() < 0.5 else ''}r {_is(noun)} the {noun}?"
    return Task("colour", question, (f"The {noun} {_is(noun)} {name}.",))


def colour_check(record: Record, rng: random.Random) -> Task | None:
    found = colours_in(record)
    if not found:
        return None
    noun = rng.choice(sorted(found))
    name = next(iter(found[noun]))
    if rng.random() < 0.5:
        return Task(
            "colour check", f"{_is(noun).title()} the {noun} {name}?", (f"Yes, the {noun} {_is(noun)} {name}.",)
        )
    near = {"brown": {"tan", "orange", "black"}, "tan": {"brown", "white", "yellow"}, "grey": {"white", "black", "tan"}}
    others = [
        c
        for c in ("black", "white", "brown", "red", "blue", "green", "yellow")
        if c != name and c not in near.get(name, ())
    ]
    wrong = rng.choice(others)
    return Task("colour check", f"{_is(noun).title()} the {noun} {wrong}?", (f"No, the {noun} {_is(noun)} {name}.",))


def count_of(record: Record, rng: random.Random) -> Task | None:
    """How many dogs are there? Only where most captions agree."""
    votes: Counter[tuple[str, int]] = Counter()
    for caption in record.captions:
        words = words_of(caption)
        text = " ".join(words)
        for single, plural in lexicon.COUNTED.items():
            for word, value in lexicon.NUMBERS.items():
                if re.search(rf"\b{word}( \w+)?( \w+)? {plural}\b", text):
                    votes[single, value] += 1
            if (
                re.match(rf"(a|one|the)( \w+)? {single}\b", text)
                and f" {plural} " not in text
                and "another" not in words
            ):
                votes[single, 1] += 1
    agreed = [
        (k, v) for (k, v), n in votes.items() if n >= 2 and sum(m for (k2, _), m in votes.items() if k2 == k) == n
    ]
    # One is the commonest answer by far; most of the time another is preferred.
    several = [kv for kv in agreed if kv[1] > 1]
    if not agreed or (not several and rng.random() < 0.6):
        return None
    noun, value = rng.choice(several or agreed)
    name = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}[value]
    plural = lexicon.COUNTED[noun]
    answer = f"There is one {noun}." if value == 1 else f"There are {name} {plural}."
    return Task("count", f"How many {plural} are there?", (answer,))


_SUBJECT = re.compile(r"^(?:a|an|the|one|two|three|four|five|some|several)(?: [a-z\-]+){0,3}? ([a-z]+)\b")


def subject(caption: str) -> tuple[str, str] | None:
    """(noun phrase, its noun) at the start of a caption, when its noun is one that we know."""
    text = " ".join(words_of(caption))
    match = _SUBJECT.match(text)
    while match and match[1] not in lexicon.SUBJECTS:
        following = re.match(re.escape(match[0]) + r" ([a-z]+)\b", text)
        if not following or len(following[0].split()) > 5:
            return None
        match = following
    return (match[0], match[1]) if match else None


def doing(record: Record, rng: random.Random) -> Task | None:
    """What is the man doing? Answered with the caption's own clause."""
    for caption in rng.sample(record.captions, len(record.captions)):
        found = subject(caption)
        if not found:
            continue
        phrase, noun = found
        rest = " ".join(caption.lower().split())[len(phrase) :].strip(" .")
        rest = re.sub(r"\s+([.,!?'])", r"\1", rest)
        match = re.match(r"(?:(is|are) )?([a-z]+ing\b.*)", rest)
        if match and not match[2].startswith(("wearing", "during", "standing in front")):
            verb = match[1] or (
                "are" if noun in {"men", "women", "boys", "girls", "children", "people", "dogs", "kids"} else "is"
            )
            answer = f"The {noun} {verb} {match[2]}."
            return Task("doing", f"What {verb} the {noun} doing?", (answer,))
    return None


def who(record: Record, rng: random.Random) -> Task | None:
    phrases = [s[0] for c in record.captions if (s := subject(c))]
    if not phrases:
        return None
    phrase = rng.choice(phrases)
    return Task(
        "who", rng.choice(("Who is in the picture?", "Who or what is the picture about?")), (phrase.capitalize() + ".",)
    )


def where(record: Record, rng: random.Random) -> Task | None:
    for caption in rng.sample(record.captions, len(record.captions)):
        text = " ".join(words_of(caption))
        match = re.search(
            r"\b((?:in|on|at|through|across|near|by|along|into|over) (?:the|a|an)?(?: [a-z\-]+){0,2}? ?([a-z]+))$", text
        )
        found = subject(caption)
        if match and match[2] in lexicon.PLACES and found:
            verb = (
                "are" if found[1] in {"men", "women", "boys", "girls", "children", "people", "dogs", "kids"} else "is"
            )
            return Task("where", f"Where {verb} the {found[1]}?", (match[1].capitalize() + ".",))
    return None


def not_shown(record: Record, rng: random.Random) -> Task | None:
    return Task("not shown", rng.choice(lexicon.NOT_SHOWN), (CANNOT_TELL,)) if rng.random() < 0.6 else None


def place_of(record: Record, rng: random.Random) -> Task:
    question = rng.choice(("What kind of place is this?", "Where was this picture taken?"))
    name = plain_name(record.place)
    return Task("place", question, (f"This is {with_article(name)}.",), names=(name,), copied=True)


def given(record: Record, rng: random.Random) -> Task:
    question, answer = rng.choice(record.qa)
    return Task("given", question[:1].upper() + question[1:], (answer.replace("_", " ").capitalize() + ".",))


def statement(record: Record, rng: random.Random) -> Task | None:
    if record.statement is None:
        return None
    sentence, truth = record.statement
    sentence = sentence.strip().rstrip(".")
    return Task(
        "statement", f"True or false: {sentence[:1].lower() + sentence[1:]}.", ("True." if truth else "False.",)
    )
