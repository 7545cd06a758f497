"""METEOR by NLTK, where that is installed (`requirements-dev.txt`), with exact and stemmed matches only.

The published metric also matches synonyms, for which NLTK wants a copy of WordNet that no package carries. Without them
a figure can only be lower, so it is named apart.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from models.glimpse.metrics import tokenise

NAME = "METEOR without synonyms"


class _NoSynonyms:
    """Stands where NLTK expects WordNet."""

    def synsets(self, word: str) -> tuple[()]:
        return ()


def available() -> bool:
    """Whether NLTK is installed."""
    return importlib.util.find_spec("nltk") is not None


def meteor(said: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """0 … 1 per picture: the best match with any of its references (Banerjee & Lavie 2005, ACL workshop, section 3).

    Raises `ImportError` when NLTK is not installed; see `available`.
    """
    from nltk.translate.meteor_score import meteor_score

    return [
        float(meteor_score([tokenise(r) for r in meant], tokenise(text), wordnet=_NoSynonyms()))
        for text, meant in zip(said, references, strict=True)
    ]
