"""Downloads from a model hub, against a real HTTP server: cut, resumed, cancelled, refused, damaged, shared."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small_hub import SmallHub, serving

from models import hub, hub_transfer
from models.errors import Cancelled, EngineUnavailable
from models.hub_cache import HubPlace, downloaded, on_this_machine, parse_name, pinned, remove
from models.streaming import CancelScope

NAME = "owner/tiny-vl"
WEIGHTS = random.Random(7).randbytes(600_000)
FILES = {
    "config.json": b'{"model_type": "smolvlm"}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling_tiny.py": b"raise SystemExit",
    "README.md": b"words",
    "onnx/model.json": b"{}",
}


@pytest.fixture
def small_hub():
    with serving(SmallHub()) as served:
        served.add(NAME, FILES)
        yield served
        served.stall = False


@pytest.fixture
def place(small_hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "shared"))
    monkeypatch.setattr(hub_transfer, "PAUSES_S", (0.01, 0.01))
    return HubPlace(small_hub.address, tmp_path / "cache")


def refused(place, name=NAME, **options) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        hub.fetch(name, place=place, **options)
    assert caught.value.remedy
    return caught.value


def partial_size(place) -> int:
    return sum(f.stat().st_size for f in place.hub.rglob("*.partial"))


def test_only_what_cannot_hold_a_program_is_taken_with_progress_and_a_pin(place, small_hub):
    told = []
    folder = hub.fetch(NAME, place=place, on_progress=lambda text, share: told.append((text, share)))
    assert {f.name for f in folder.iterdir()} - {".lucid.json"} == {
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "model.safetensors",
    }
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    shares = [share for _, share in told if share is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(text == f"Downloading {NAME}: 0.00 of 0.00 GB" for text, _ in told)
    assert pinned(place, NAME) == folder.name == small_hub.commits[NAME][0][0]
    before = len(small_hub.asked)
    assert hub.fetch(NAME, place=place) == folder
    assert len(small_hub.asked) == before


def test_the_first_commit_stays_until_it_is_moved_and_what_did_not_change_is_not_fetched_again(place, small_hub):
    first = hub.fetch(NAME, place=place)
    second = small_hub.add(NAME, {**FILES, "config.json": b'{"model_type": "smolvlm", "new": 1}'})
    assert hub.fetch(NAME, place=place) == first
    assert hub.fetch(NAME, second, place=place).name == second
    assert pinned(place, NAME) == first.name
    small_hub.asked.clear()
    assert hub.update(NAME, place=place) == (first.name, second)
    assert small_hub.asked == []
    assert not first.exists()
    assert hub.fetch(NAME, place=place).name == second
    small_hub.add(NAME, {**FILES, "config.json": b"{}"})
    hub.update(NAME, place=place)
    assert [path for path, _ in small_hub.asked] == ["config.json"]


def test_a_cut_download_goes_on_where_it_was_cut(place, small_hub):
    small_hub.cut_after = 200_000
    folder = hub.fetch(NAME, place=place)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [r for path, r in small_hub.asked if path == "model.safetensors"]
    assert ranges[0] == ""
    assert len(ranges) == 3
    assert all(r.startswith("bytes=") for r in ranges[1:])
    assert small_hub.sent < sum(map(len, FILES.values())) + 2 * hub_transfer.CHUNK_BYTES


def test_a_hub_that_dies_half_way_leaves_what_came_and_the_rest_is_asked_for_later(place, small_hub):
    small_hub.cut_after, small_hub.no_ranges = 300_000, True
    error = refused(place)
    assert "broke off at" in error.message
    small_hub.cut_after, small_hub.no_ranges = None, False
    there = partial_size(place)
    assert 200_000 < there <= 300_000
    small_hub.asked.clear()
    hub.fetch(NAME, place=place)
    assert small_hub.asked == [("model.safetensors", f"bytes={there}-")]


@pytest.mark.parametrize("stalled", [False, True])
def test_cancelling_takes_less_than_a_second_and_keeps_what_came(place, small_hub, stalled):
    scope = CancelScope()
    token = scope.begin()
    small_hub.pause_s, small_hub.stall = 0.05, stalled
    threading.Timer(0.4, scope.cancel).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        hub.fetch(NAME, place=place, cancel=token)
    assert time.monotonic() - begun < 1.4
    deadline = time.monotonic() + 2
    while (left := [t for t in threading.enumerate() if t.name == "lucid-download"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []
    small_hub.pause_s, small_hub.stall = 0.0, False
    there = partial_size(place)
    assert stalled or there > 0
    small_hub.asked.clear()
    folder = hub.fetch(NAME, place=place)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert stalled or small_hub.asked[-1] == ("model.safetensors", f"bytes={there}-")


def test_what_arrives_damaged_is_thrown_away(place, small_hub):
    small_hub.lie = {"config.json": b'{"model_type": "SMOLVLM"}'}
    assert "checksum of config.json" in refused(place).message
    small_hub.lie = {"model.safetensors": bytes(600_000)}
    assert "checksum of model.safetensors" in refused(place).message
    small_hub.lie = {"model.safetensors": WEIGHTS + b"more"}
    assert "longer than the 600000 bytes" in refused(place).message
    assert partial_size(place) == 0
    small_hub.lie = {}
    assert (hub.fetch(NAME, place=place) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "accepted its licence"),
        (401, "GatedRepo", "accepted its licence"),
        (403, "", "accepted its licence"),
        (401, "", "no model"),
        (404, "EntryNotFound", "no model"),
        (500, "", "cannot be reached (HTTP 500)"),
    ],
)
def test_refusals_say_what_helps(place, small_hub, status, code, words):
    small_hub.refuse[NAME] = (status, code)
    error = refused(place)
    assert words in error.message
    assert ("HF_TOKEN" in error.remedy) == (status < 500)


def test_names_that_are_not_there_and_hubs_that_are_not_either(place, small_hub):
    assert "no model owner/none" in refused(place, "owner/none").message
    assert "no revision" in refused(place, revision="v9").message
    small_hub.add("owner/pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    assert "safetensors" in refused(place, "owner/pickles").message
    gone = HubPlace("http://127.0.0.1:9", place.cache)
    error = refused(gone)
    assert "cannot be reached" in error.message
    assert "127.0.0.1:9" in error.message


def test_empty_files_are_files(place, small_hub):
    small_hub.add("owner/empty", {**FILES, "added_tokens.json": b""})
    begun = time.monotonic()
    folder = hub.fetch("owner/empty", place=place)
    assert (folder / "added_tokens.json").read_bytes() == b""
    assert time.monotonic() - begun < 5


def test_nothing_is_written_outside_of_the_folder(place, small_hub):
    small_hub.add("owner/evil", {"../../evil.json": b"{}", "sub/../../evil.json": b"{}", "model.safetensors": b"ok"})
    folder = hub.fetch("owner/evil", place=place)
    assert {f.name for f in folder.iterdir()} == {"model.safetensors", ".lucid.json"}
    assert list(place.cache.rglob("evil.json")) == []


def test_offline_takes_what_is_here_and_nothing_else(place, small_hub):
    error = refused(place, offline=True)
    assert "offline" in error.message
    assert small_hub.asked == []
    folder = hub.fetch(NAME, place=place)
    assert hub.fetch(NAME, place=place, offline=True) == folder
    (folder / "model.safetensors").write_bytes(b"cut")
    assert "offline" in refused(place, offline=True).message


def test_what_other_programs_downloaded_is_used_where_it_lies(place, small_hub, tmp_path):
    from huggingface_hub import hf_hub_download

    for file in ("config.json", "model.safetensors"):
        assert on_this_machine(NAME, place=place) is None
        theirs = hf_hub_download(NAME, file, endpoint=small_hub.address, cache_dir=tmp_path / "shared")
    small_hub.asked.clear()
    found = hub.fetch(NAME, place=place, offline=True)
    assert found == Path(theirs).parent
    assert pinned(place, NAME) == found.name, "what another program moves on to is not what runs here"
    assert small_hub.asked == []
    with pytest.raises(EngineUnavailable, match="Another program has it"):
        remove(NAME, place)


def test_the_disk_is_looked_at_first(place, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("models.hub.shutil.disk_usage", lambda _: usage)
    error = refused(place)
    assert "0.0 GB of disk space more, and 0.0 GB are free" in error.message
    assert "LUCID_CACHE" in error.remedy


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_disk_that_becomes_full_on_the_way(place, small_hub):
    folder = place.folder(NAME) / small_hub.commits[NAME][0][0]
    folder.mkdir(parents=True)
    (folder / "model.safetensors.partial").symlink_to("/dev/full")
    error = refused(place)
    assert "disk became full" in error.message
    (folder / "model.safetensors.partial").unlink()
    assert (hub.fetch(NAME, place=place) / "model.safetensors").read_bytes() == WEIGHTS


def test_two_processes_at_once_download_once(place, small_hub, tmp_path):
    small_hub.pause_s = 0.02
    program = (
        "import sys; from pathlib import Path; from models import hub; from models.hub_cache import HubPlace;"
        f"print(hub.fetch({NAME!r}, place=HubPlace(sys.argv[1], Path(sys.argv[2]))))"
    )
    root = Path(__file__).parent.parent
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "shared")}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, place.endpoint, str(place.cache)],
            cwd=root, env=environment, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert said[0] == said[1] != ""
    assert sorted(path for path, _ in small_hub.asked) == [
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_downloads_are_listed_and_removed(place, small_hub):
    small_hub.add("owner/other", FILES)
    folder = hub.fetch(NAME, place=place)
    hub.fetch("owner/other", place=place)
    listed = downloaded(place)
    assert [(d.repository, d.complete) for d in listed] == [("owner/other", True), (NAME, True)]
    assert listed[1].size > len(WEIGHTS)
    assert remove(f"hf:{NAME}", place) == listed[1].size
    assert not folder.exists()
    assert pinned(place, NAME) is None
    assert pinned(place, "owner/other") is not None
    assert [d.repository for d in downloaded(place)] == ["owner/other"]
    with pytest.raises(EngineUnavailable, match="was not downloaded"):
        remove(NAME, place)


def test_a_model_that_is_being_downloaded_is_not_removed(place, small_hub):
    small_hub.pause_s = 0.05
    scope = CancelScope()
    token = scope.begin()

    def work() -> None:
        with pytest.raises(Cancelled):
            hub.fetch(NAME, place=place, cancel=token)

    thread = threading.Thread(target=work)
    thread.start()
    while not partial_size(place):
        time.sleep(0.01)
    with pytest.raises(EngineUnavailable, match="being downloaded"):
        remove(NAME, place)
    scope.cancel()
    thread.join(5)
    assert not thread.is_alive()


def test_a_damaged_lock_file_and_a_lost_file_cost_a_look_at_the_hub_only(place, small_hub):
    folder = hub.fetch(NAME, place=place)
    (place.cache / "models.lock.json").write_text("{broken")
    assert hub.fetch(NAME, place=place) == folder
    assert json.loads((place.cache / "models.lock.json").read_text()) == {NAME: folder.name}
    (folder / "tokenizer.json").unlink()
    small_hub.asked.clear()
    hub.fetch(NAME, place=place)
    assert small_hub.asked == [("tokenizer.json", "")]
    assert on_this_machine(NAME, place=place) == folder


def test_names():
    assert parse_name("hf:Qwen/Qwen3-VL-2B-Instruct") == ("Qwen/Qwen3-VL-2B-Instruct", None)
    assert parse_name("a/b@v1.0") == ("a/b", "v1.0")
    for wrong in ("hf:", "hf:name", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a--b/c", "hf:a/b@../c", "hf:a b/c"):
        with pytest.raises(EngineUnavailable, match="not the name of a repository"):
            parse_name(wrong)
