"""That `launch.py bench engine` measures what it says, on a checkpoint so small that the figures mean nothing."""

from __future__ import annotations

import pytest

from benchmarks import engine, engine_soak
from models.interfaces import GenerationOptions

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patched:
        for module in (engine, engine_soak):
            patched.setattr(module, "REAL", engine.TINY)
        patched.setattr(engine, "TOKENS", 12)
        patched.setattr(engine, "MANY", GenerationOptions(max_new_tokens=12, repetition_penalty=1.0))
        patched.setattr(engine, "STOPS", 3)
        patched.setattr(engine_soak, "CYCLES", 40)
        return {what: figure for what, figure, _ in engine.measure(1)}


def figure(rows: dict[str, str], beginning: str) -> str:
    (found,) = [text for what, text in rows.items() if what.startswith(beginning)]
    return found


def test_only_new_pictures_are_encoded_and_most_of_the_tenth_turn_is_still_there(rows):
    assert figure(rows, "pictures encoded in 10 turns") == "3"
    assert int(figure(rows, "tokens of that turn").rstrip("%")) > 80
    assert figure(rows, "first token at turn 10").endswith(" s)")


def test_both_sides_decode_and_the_bound_is_stated(rows):
    assert float(figure(rows, "tokens/s, plain generate")) > 0
    assert "×" in figure(rows, "tokens/s, Lucid's engine")
    assert figure(rows, "share of the bound").endswith("%")
    assert figure(rows, "stop to silence")


def test_nothing_is_left_behind_and_every_step_is_timed(rows):
    assert figure(rows, "40 started and stopped answers, slope per 40: threads") == "+0.00, +0.00"
    for step in ("caches dropped", "fewer frames", "smaller pictures", "lower precision", "processor"):
        assert float(rows[f"  {step}"].rstrip(" s")) > 0
    assert figure(rows, "recovery from running out of memory, 5 steps")


def test_a_slope_is_growth_per_step():
    assert engine_soak.slope([1, 3, 5, 7]) == 2
    assert engine_soak.slope([4, 4, 4]) == 0
