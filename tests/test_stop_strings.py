"""Answers that end where a given string begins, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.stop_strings import StopStrings


def through(pieces: list[str], stops: list[str]) -> str:
    gate = StopStrings(stops)
    passed = [gate.feed(piece) for piece in pieces]
    return "".join(passed) + gate.finish()


@pytest.mark.parametrize(
    ("pieces", "stops", "left"),
    [
        (["one two ", "three"], ["two"], "one "),
        (["one t", "w", "o three"], ["two"], "one "),
        (["a tw", "ist"], ["two"], "a twist"),
        (["ends in tw"], ["two"], "ends in tw"),
        (["x\n", "\nUser:", " y"], ["\n\n", "User:"], "x"),
        (["aab"], ["ab", "aa"], ""),
        (["aaab"], ["aab"], "a"),
        (["nothing"], [], "nothing"),
    ],
)
def test_text_ends_before_the_first_of_them(pieces, stops, left):
    assert through(pieces, stops) == left


@given(
    st.lists(st.text("ab\n", max_size=4), max_size=12),
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_cutting_into_pieces_makes_no_difference(pieces, stops):
    text = "".join(pieces)
    first = min((at for at in map(text.find, stops) if at >= 0), default=len(text))
    assert through(pieces, stops) == text[:first] == through([text], stops)
    gate = StopStrings(stops)
    for piece in pieces:
        gate.feed(piece)
    assert gate.reached is (first < len(text))


def test_what_cannot_be_a_beginning_passes_at_once():
    gate = StopStrings(["END"])
    assert gate.feed("word E") == "word "
    assert gate.feed("very ") == "Every "
    assert gate.feed("EN") == ""
    assert gate.feed("D and more") == ""
    assert gate.reached
    assert gate.feed("more") == gate.finish() == ""
