"""The kill test itself: a few kills, and that it would notice a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.store import ConversationStore
from benchmarks.kill import Expected, _compare, _integrity, run


@pytest.mark.slow
def test_eight_kills_lose_nothing() -> None:
    report = run(kills=8, seed=3)
    assert report.acknowledged > 0
    assert (report.lost, report.damaged, report.orphans) == (0, 0, 0)


def test_it_notices_a_lost_message_and_an_orphan_file(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    of = store.create().id
    kept = store.append(of, "user", "kept")
    expected = Expected({of: {kept.id: ("kept", "complete", ()), "gone": ("lost", "complete", ())}})
    (tmp_path / "attachments" / "ab").mkdir()
    (tmp_path / "attachments" / "ab" / ("c" * 62)).write_bytes(b"left behind")
    totals = {"lost": 0, "damaged": 0, "orphans": 0}
    _compare(store, expected, None, totals)
    store.close()
    assert totals == {"lost": 1, "damaged": 0, "orphans": 1}


def test_it_notices_half_an_operation(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    of = store.create().id
    first = store.append(of, "user", "first")
    expected = Expected({of: {first.id: ("first", "complete", ())}})
    pending = {"do": "append", "conversation": of, "text": "whole text", "status": "complete", "digests": []}
    store.append(of, "user", "whole")
    totals = {"lost": 0, "damaged": 0, "orphans": 0}
    _compare(store, expected, pending, totals)
    store.close()
    assert totals["lost"] == 1


def test_it_notices_a_damaged_database(tmp_path: Path) -> None:
    file = tmp_path / "lucid.db"
    ConversationStore(tmp_path).close()
    assert _integrity(file) == 0
    raw = bytearray(file.read_bytes())
    raw[4096:8192] = b"\xff" * 4096
    file.write_bytes(raw)
    assert _integrity(file) == 1
