"""Damaged and odd files: a value or a sentence from every decoder, quickly, in a process that survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bad_files import in_child, try_decoders

BAD = sorted(p for p in Path("tests/fixtures/bad").iterdir() if p.is_file())


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.name[:40])
def test_no_decoder_shows_a_traceback_or_takes_long(path: Path) -> None:
    outcome = try_decoders(path)
    assert outcome.verdict == "ok"
    assert outcome.seconds < 10
    assert outcome.megabytes < 500
    assert all(sentence.endswith((".", ")", "…", "Picture", "Clip", "str")) for sentence in outcome.results.values())


def test_the_sweep_measures_in_a_process_of_its_own_and_notices_slowness() -> None:
    path = Path("tests/fixtures/bad/image_pillow_op_index.qoi")
    assert in_child(path, 0.0).verdict == "hang"
    outcome = in_child(path, 10)
    assert outcome.verdict == "ok"
    assert outcome.results["picture"] == "Picture"
    assert outcome.kind == "image"
