"""What a picture of a named thing certainly shows and does not: a dalmatian is a dog, and nowhere near a guitar.

Captions tell what else is in a picture, a label does not. So a "no" is taken only where the label leaves no doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models.glimpse.data import Record
from models.glimpse.tasks import plain_name


@dataclass(frozen=True)
class Kind:
    """Which labels are this kind of thing.

    Attributes:
        thing: its name in `lexicon.THINGS`.
        numbers: first and last of ImageNet's labels that are.
        words: other labels that are.
        doubtful: numbers of labels that could be, or whose pictures often show one.
        unsure: other labels that could be.
        everywhere: a "no" is safe for every other known label, not only for animals and close-ups.
    """

    thing: str
    numbers: tuple[tuple[int, int], ...] = ()
    words: frozenset[str] = frozenset()
    doubtful: tuple[tuple[int, int], ...] = ()
    unsure: frozenset[str] = frozenset()
    everywhere: bool = False


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split(", "))


_BOATS = ((472, 472), (484, 484), (554, 554), (576, 576), (625, 625), (780, 780), (814, 814), (871, 871), (914, 914))
_CARS = ((436, 436), (468, 468), (511, 511), (609, 609), (627, 627), (656, 656), (661, 661), (751, 751), (817, 817))
_BALLS = ((429, 430), (522, 522), (574, 574), (722, 722), (768, 768), (805, 805), (852, 852), (890, 890))
KINDS = (
    Kind("a dog", ((151, 268),), _set("dalmatian"), ((269, 280), (537, 537), (676, 676)), _set("snoopy"), True),
    Kind("a cat", ((281, 285),), frozenset(), ((286, 293), (383, 383)),
         _set("wild cat, cougar body, cougar face, leopards, garfield"), True),
    Kind("a bird", ((7, 24), (80, 100), (127, 146)), _set("emu, flamingo, flamingo head, ibis, pigeon, rooster"),
         ((448, 448),), frozenset(), True),
    Kind("a horse", ((339, 339),), frozenset(), ((340, 340), (515, 515), (603, 603), (690, 690), (730, 730)),
         _set("gerenuk, okapi, llama"), True),
    Kind("a cow", (), frozenset(), ((345, 353), (690, 690), (730, 730)), _set("gerenuk, okapi, llama"), True),
    Kind("a guitar", ((402, 402), (546, 546)), _set("electric guitar"), ((420, 420), (819, 819)), _set("mandolin")),
    Kind("a bicycle", ((444, 444), (671, 671)), frozenset(), ((518, 518), (665, 665), (670, 670), (870, 880))),
    Kind("a motorcycle", (), _set("motorbikes"), ((518, 518), (665, 665), (670, 670))),
    Kind("a car", _CARS, _set("car side")),
    Kind("a boat", _BOATS, _set("ketch, schooner")),
    Kind("a ball", _BALLS, _set("soccer ball")),
    Kind("a frisbee"),
    Kind("a surfboard"),
    Kind("a skateboard"),
)  # fmt: skip
# Sets whose pictures show their thing and little else.
CLOSE_UPS = frozenset({"grocery", "clothing"})
ANIMALS = range(398)  # of ImageNet's labels


class KindTeacher:
    """Says which things a picture with a label certainly shows, and which it certainly does not.

    Args:
        labels: ImageNet's, in order.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        names = [plain_name(name) for name in labels]
        counts = Counter(names)
        self._number = {name: i for i, name in enumerate(names) if counts[name] == 1}

    def certain(self, record: Record) -> dict[str, bool]:
        """Name of a thing → whether it is there; nothing of pictures with captions, and of labels that are unknown."""
        label = plain_name(record.label)
        number = self._number.get(label)
        close = number in ANIMALS or record.source in CLOSE_UPS
        if record.captions or not label:
            return {}
        found = {}
        for kind in KINDS:
            if label in kind.words or _within(number, kind.numbers):
                found[kind.thing] = True
            elif label in kind.unsure or _within(number, kind.doubtful):
                continue
            elif close or (kind.everywhere and number is not None):
                found[kind.thing] = False
        return found


def _within(number: int | None, ranges: Sequence[tuple[int, int]]) -> bool:
    return number is not None and any(first <= number <= last for first, last in ranges)
