"""What can be said of a picture before a language model sees it: objects, text, colours. Kept by digest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from PIL import Image

from models.interfaces import Evidence, SeenPicture
from models.seeing.colours import main_colours
from models.seeing.efficientnet import SIDE, EfficientNetLite2, Recognised
from models.seeing.text_reader import ReadText, TextReader
from models.types import Picture

KEPT_PICTURES = 256
# Below it a guess is too often wrong, and a small language model repeats what it is told as a fact.
LEAST_PROBABILITY = 0.25
MOST_OBJECTS = 3


class Classifier(Protocol):
    """Names what pictures show, the likeliest names first."""

    def classify(self, images: Sequence[Image.Image], most: int = 5) -> list[tuple[Recognised, ...]]: ...


class Reader(Protocol):
    """Reads the text in a picture, in reading order."""

    def read(self, image: Image.Image) -> tuple[ReadText, ...]: ...


class EvidenceCollector:
    """Looks at pictures with a classifier and a text reader, both loaded, in parallel, when the first picture comes.

    Args:
        classifier, reader: make the two; the packaged ones by default.
        kept: pictures whose evidence is remembered; the one not asked for the longest goes first.
    """

    def __init__(
        self,
        classifier: Callable[[], Classifier] = EfficientNetLite2,
        reader: Callable[[], Reader] = TextReader,
        kept: int = KEPT_PICTURES,
    ) -> None:
        self._make_classifier, self._make_reader = classifier, reader
        self._classifier: Classifier | None = None
        self._reader: Reader | None = None
        self._kept = kept
        self._known: OrderedDict[str, tuple[Evidence, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, pictures: Sequence[Picture]) -> tuple[SeenPicture, ...]:
        """The pictures as seen, in order. Raises `EngineFailure`, `EngineUnavailable`."""
        with self._lock:
            new = {p.digest: p for p in pictures if p.digest not in self._known}
            fresh = self._collect(list(new.values())) if new else {}
            self._known.update(fresh)
            seen = tuple(self._seen(picture) for picture in pictures)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return seen

    def _seen(self, picture: Picture) -> SeenPicture:
        self._known.move_to_end(picture.digest)
        return SeenPicture(
            source=picture.source,
            digest=picture.digest,
            original_size=picture.original_size,
            model_size=(SIDE, SIDE),
            time=picture.time,
            notes=picture.notes,
            evidence=self._known[picture.digest],
        )

    def _collect(self, pictures: list[Picture]) -> dict[str, tuple[Evidence, ...]]:
        images = [p.image for p in pictures]
        with ThreadPoolExecutor(2, thread_name_prefix="lucid-see") as pool:
            objects = pool.submit(self._objects, images)
            texts = pool.submit(self._texts, images)
            return {
                picture.digest: (*found, *read, *_colours(picture.image))
                for picture, found, read in zip(pictures, objects.result(), texts.result(), strict=True)
            }

    def _objects(self, images: list[Image.Image]) -> list[tuple[Evidence, ...]]:
        if self._classifier is None:
            self._classifier = self._make_classifier()
        return [
            tuple(
                Evidence("object", guess.name, guess.probability)
                for guess in guesses[:MOST_OBJECTS]
                if guess.probability >= LEAST_PROBABILITY
            )
            for guesses in self._classifier.classify(images)
        ]

    def _texts(self, images: list[Image.Image]) -> list[tuple[Evidence, ...]]:
        if self._reader is None:
            self._reader = self._make_reader()
        return [
            tuple(Evidence("text", line.text, line.confidence, line.box) for line in self._reader.read(image))
            for image in images
        ]


def _colours(image: Image.Image) -> tuple[Evidence, ...]:
    return tuple(Evidence("colour", colour.name, colour.share) for colour in main_colours(image))
