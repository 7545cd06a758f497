"""Caption metrics, written out: CIDEr-D and BLEU; and bootstrapped intervals."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Ngrams = Counter[tuple[str, ...]]


def tokenise(text: str) -> list[str]:
    """Lower-case words without punctuation, as the COCO caption evaluation does it in the main."""
    return re.findall(r"[a-z0-9]+(?:['\-][a-z0-9]+)*", text.lower())


def ngrams(words: Sequence[str], longest: int = 4) -> Ngrams:
    """All n-grams up to `longest`, counted."""
    return Counter(tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1))


@dataclass(frozen=True)
class _Weighed:
    """A sentence's tf-idf vectors for n = 1 … 4, their norms, and how many bigrams it has."""

    vectors: tuple[dict[tuple[str, ...], float], ...]
    norms: tuple[float, ...]
    length: int


class CiderD:
    """CIDEr-D, the variant that the COCO evaluation reports (Vedantam et al. 2015, arXiv:1411.5726, equations 1-5 and
    section 6): clipped tf-idf cosine over 1- to 4-grams, a Gaussian penalty on the difference in length, times ten.

    Args:
        references: what people said of each picture; document frequencies are counted over them, one per picture.
        sigma: of the penalty.
        ends: whether the end of a sentence counts as a word, so that a sentence cut short is worth less.
    """

    def __init__(self, references: Sequence[Sequence[str]], sigma: float = 6.0, ends: bool = False) -> None:
        self._sigma, self._ends = sigma, ends
        cooked = [[self._grams(r) for r in group] for group in references]
        self._documents: Counter[tuple[str, ...]] = Counter()
        for group in cooked:
            self._documents.update({gram for grams in group for gram in grams})
        self._log_documents = math.log(max(len(references), 1))
        self._references = [[self._weigh(grams) for grams in group] for group in cooked]

    def score(self, text: str, picture: int) -> float:
        """0 … 10: how near `text` is to the references of a picture (its index)."""
        said = self._weigh(self._grams(text))
        group = self._references[picture]
        total = 0.0
        for meant in group:
            penalty = math.exp(-((said.length - meant.length) ** 2) / (2 * self._sigma**2))
            for n in range(4):
                if said.norms[n] and meant.norms[n]:
                    other = meant.vectors[n]
                    overlap = sum(min(v, other[g]) * other[g] for g, v in said.vectors[n].items() if g in other)
                    total += overlap / (said.norms[n] * meant.norms[n]) * penalty / 4
        return 10 * total / max(len(group), 1)

    def _grams(self, text: str) -> Ngrams:
        return ngrams([*tokenise(text), "."] if self._ends else tokenise(text))

    def _weigh(self, grams: Ngrams) -> _Weighed:
        vectors: tuple[dict[tuple[str, ...], float], ...] = ({}, {}, {}, {})
        for gram, count in grams.items():
            idf = self._log_documents - math.log(max(1.0, self._documents[gram]))
            vectors[len(gram) - 1][gram] = count * idf
        norms = tuple(math.sqrt(sum(v * v for v in vector.values())) for vector in vectors)
        return _Weighed(vectors, norms, sum(count for gram, count in grams.items() if len(gram) == 2))


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of one candidate per picture, with the frequencies of these references; the corpus score is the mean."""
    metric = CiderD(references)
    return [metric.score(text, picture) for picture, text in enumerate(candidates)]


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], longest: int = 4) -> float:
    """Corpus BLEU (Papineni et al. 2002) with the closest reference's length, without smoothing: 0 … 1."""
    matched, possible = [0] * longest, [0] * longest
    length, reference_length = 0, 0
    for text, group in zip(candidates, references, strict=True):
        words = tokenise(text)
        meant = [tokenise(r) for r in group]
        length += len(words)
        reference_length += min((abs(len(m) - len(words)), len(m)) for m in meant)[1]
        most: Ngrams = Counter()
        for m in meant:
            most |= ngrams(m, longest)
        for gram, count in ngrams(words, longest).items():
            possible[len(gram) - 1] += count
            matched[len(gram) - 1] += min(count, most[gram])
    if not length or 0 in matched:
        return 0.0
    brevity = min(0.0, 1 - reference_length / length)
    return math.exp(brevity + sum(math.log(m / p) for m, p in zip(matched, possible, strict=True)) / longest)


def interval(
    count: int, statistic: Callable[[Sequence[int]], float], *, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of `statistic`, which takes `count` indices drawn with replacement."""
    if count == 0:
        return (0.0, 0.0)
    rng = random.Random(seed)
    drawn = sorted(statistic([rng.randrange(count) for _ in range(count)]) for _ in range(samples))
    return drawn[int(0.025 * samples)], drawn[min(samples - 1, int(0.975 * samples))]


def mean_interval(values: Sequence[float], *, samples: int = 1000) -> tuple[float, float, float]:
    """(mean, low, high) with the 95 % bootstrap interval."""
    if not values:
        return (0.0, 0.0, 0.0)
    low, high = interval(len(values), lambda picks: sum(values[i] for i in picks) / len(picks), samples=samples)
    return sum(values) / len(values), low, high
