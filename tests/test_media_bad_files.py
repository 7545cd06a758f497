"""Damaged and odd files: a value or a sentence from every decoder, quickly, in a process that survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.bad_files import in_child, try_decoders

BAD = sorted(p for p in Path("tests/fixtures/bad").iterdir() if p.is_file())


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.name[:40])
def test_no_decoder_shows_a_traceback_or_takes_long(path: Path) -> None:
    outcome = try_decoders(path)
    assert outcome.verdict == "ok"
    assert outcome.seconds < 10
    assert outcome.megabytes < 500
    assert all(sentence.endswith((".", ")", "…", "Picture", "Clip", "str")) for sentence in outcome.results.values())


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "tiff", "bmp", "avif"])
def test_damaged_pictures_of_every_format(tmp_path: Path, ending: str) -> None:
    """Cut off at several places, and with bytes changed at random (the same ones at every run)."""
    whole = tmp_path / f"whole.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    data = whole.read_bytes()
    random = np.random.default_rng(1)
    damaged = [data[: len(data) * part // 6] for part in range(1, 6)]
    for _ in range(15):
        changed = bytearray(data)
        for place in random.integers(0, len(data), 1 + len(data) // 100):
            changed[place] = random.integers(256)
        damaged.append(bytes(changed))
    for index, content in enumerate(damaged):
        path = tmp_path / f"damaged{index}.{ending}"
        path.write_bytes(content)
        outcome = try_decoders(path)
        assert outcome.verdict == "ok", f"variant {index}"
        assert outcome.seconds < 10


def test_the_sweep_measures_in_a_process_of_its_own_and_notices_slowness() -> None:
    path = Path("tests/fixtures/bad/image_pillow_op_index.qoi")
    assert in_child(path, 0.0).verdict == "hang"
    outcome = in_child(path, 10)
    assert outcome.verdict == "ok"
    assert outcome.results["picture"] == "Picture"
    assert outcome.kind == "image"
