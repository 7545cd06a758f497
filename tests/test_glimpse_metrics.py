"""Caption metrics against values worked out by hand and against properties that the definitions promise."""

from __future__ import annotations

import math

import pytest

from models.glimpse.meteor import meteor
from models.glimpse.metrics import bleu, cider, interval, mean_interval, tokenise

REFERENCES = [
    ["A dog runs on the grass.", "A brown dog is running."],
    ["Two men play football.", "Men playing a game."],
    ["A girl in a red dress.", "The girl wears red."],
]


def test_words_are_lower_case_and_without_punctuation():
    assert tokenise("A man's T-shirt, red.") == ["a", "man's", "t-shirt", "red"]


def test_the_only_reference_repeated_scores_ten():
    # Each n-gram length contributes a cosine of one, the lengths are equal, the factor is ten.
    single = [["a dog runs fast"], ["two men play football"]]
    assert cider([g[0] for g in single], single) == pytest.approx([10.0, 10.0])


def test_cider_of_one_word_in_common_by_hand():
    # Three pictures, one reference each; "dog" is in one picture, "a" in two of three.
    references = [["a dog"], ["a cat"], ["two birds"]]
    dog, a, bigram = math.log(3), math.log(3 / 2), math.log(3)
    # "dog": unigram cosine = dog² / (dog · √(dog² + a²)); no bigram; the lengths differ by one bigram (0, 1)
    cosine = dog / math.sqrt(dog**2 + a**2)
    expected = 10 * cosine * math.exp(-1 / (2 * 6.0**2)) / 4
    assert cider(["dog", "", ""], references)[0] == pytest.approx(expected)
    assert bigram > 0


def test_repeating_a_word_does_not_pay():
    plain, stuffed = (cider([text, "", ""], REFERENCES)[0] for text in ("a brown dog", "a brown dog dog dog dog dog"))
    assert stuffed < plain


def test_captions_of_other_pictures_score_near_nothing():
    right = cider(["a dog is running", "men play football", "a girl in red"], REFERENCES)
    wrong = cider(["a girl in red", "a dog is running", "men play football"], REFERENCES)
    assert min(right) > 1 > max(wrong)


def test_bleu_of_a_reference_is_one_and_of_nothing_zero():
    assert bleu([g[0] for g in REFERENCES], REFERENCES) == pytest.approx(1.0)
    assert bleu(["", "", ""], REFERENCES) == 0.0


def test_bleu_by_hand():
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 fours; equal length.
    found = bleu(["the cat sat on mats"], [["the cat sat on it"]])
    assert found == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_punishes_short_candidates():
    found = bleu(["the cat sat on"], [["the cat sat on the mat"]])
    assert found == pytest.approx(math.exp(1 - 6 / 4))


def test_the_interval_holds_the_mean_and_narrows_with_more_data():
    mean, low, high = mean_interval([0.0, 1.0] * 50)
    _, low_more, high_more = mean_interval([0.0, 1.0] * 500)
    assert low < mean == 0.5 < high
    assert high_more - low_more < high - low
    assert interval(0, lambda picks: 1.0) == (0.0, 0.0)


def test_meteor_without_synonyms_by_hand():
    # Five of five words match in one chunk: F-mean 1, penalty 0.5 · (1/5)³ (Banerjee & Lavie 2005, section 3).
    assert meteor(["A dog runs on grass."], [["a dog runs on grass"]]) == pytest.approx([1 - 0.5 * (1 / 5) ** 3])
    # Stems match, other words don't; the best of several references counts.
    stemmed, other = meteor(["a dog running", "a cat sits"], [["the boat", "a dog runs"], ["two birds fly"]])
    assert stemmed == pytest.approx(1 - 0.5 * (1 / 3) ** 3)
    assert other == 0
