"""`launch.py models`: list, download with a bar, remove, update, JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_hub import SmallHub, serving

from assistant.cli import main
from assistant.models_command import _Bar
from models.hub_cache import HubPlace, downloaded
from models.seeing.chosen import CHOSEN

ROOT = Path(__file__).parent.parent
NAME = "hf:owner/tiny-vl"
FILES = {"config.json": b"{}", "model.safetensors": random.Random(3).randbytes(400_000)}


@pytest.fixture
def small_hub(tmp_path, monkeypatch):
    with serving(SmallHub()) as served:
        served.add("owner/tiny-vl", FILES)
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setenv("LUCID_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "shared"))
        yield served


def said(capsys, *arguments: str) -> str:
    assert main(["models", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_says_what_fits_and_what_is_here(small_hub, capsys):
    text = said(capsys)
    assert "* glimpse" in text
    for model in CHOSEN:
        assert model.name in text
        assert model.licence in text
    assert "int8 on cpu" in text or "bfloat16 on" in text or "does not fit" in text
    assert "hf:<owner>/<name>" in text
    assert NAME not in text
    said(capsys, "download", NAME)
    assert any(NAME in line and "here" in line for line in said(capsys, "--model", NAME).splitlines())
    assert f"* {NAME}" in said(capsys, "--model", NAME)


def test_json_has_everything_that_the_page_shows(small_hub, capsys):
    said(capsys, "download", NAME)
    rows = json.loads(said(capsys, "--json"))
    assert {r["role"] for r in rows} == {"seeing", "hearing", "speaking"}
    assert [r["name"] for r in rows if r["chosen"]] == ["glimpse", "whisper-base", "piper:en_US-joe-medium"]
    row = next(r for r in rows if r["name"] == "hf:Qwen/Qwen3-VL-2B-Instruct")
    assert row["licence"] == "Apache-2.0"
    assert isinstance(row["fits"], bool)
    assert row["reason"].endswith(".")
    assert row["downloaded"] is False
    memory = row["memory_megabytes"]
    assert memory["float32"] == 2 * memory["bfloat16"] > memory["bfloat16"] > memory["int8"] > memory["int4"] > 500
    mine = next(r for r in rows if r["name"] == NAME)
    assert mine["downloaded"] is True
    assert mine["commit"] == small_hub.commits["owner/tiny-vl"][0][0]


def test_a_device_that_is_not_there_does_not_break_the_list(small_hub, capsys):
    assert "torch finds no device 'xpu' here." in said(capsys, "--device", "xpu")


def test_download_update_and_remove(small_hub, capsys):
    assert f"{NAME} is in " in said(capsys, "download", NAME)
    first = small_hub.commits["owner/tiny-vl"][0][0]
    assert "newest commit already" in said(capsys, "update", NAME)
    second = small_hub.add("owner/tiny-vl", {**FILES, "config.json": b'{"new": 1}'})
    moved = json.loads(said(capsys, "update", NAME, "--json"))
    assert (moved["before"], moved["commit"]) == (first, second)
    freed = json.loads(said(capsys, "remove", NAME, "--json"))["freed_bytes"]
    assert freed > 400_000
    assert downloaded(HubPlace.usual()) == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download"], "Which model"),
        (["download", "nonsense"], "nothing to download"),
        (["download", "hf:owner/none"], "no model owner/none"),
        (["download", "hf:broken"], "not the name of a repository"),
        (["download", NAME, "--offline"], "offline"),
        (["update", NAME, "--offline"], "offline"),
        (["remove", NAME], "was not downloaded"),
    ],
)
def test_what_cannot_be_done_is_said(small_hub, capsys, arguments, words):
    assert main(["models", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_packaged_models_are_there_already(small_hub, capsys):
    assert "installed with Lucid" in said(capsys, "download", "glimpse")


def test_the_bar_on_a_terminal_and_elsewhere(capsys, monkeypatch):
    times = iter([0.0, 0.0, 4.0, 4.0, 5.0])
    with _Bar(lambda: next(times)) as bar:
        bar("Asking the hub", None)
        for share in (0.01, 0.02, 0.5, 1.0):
            bar("Downloading x: 1 of 2 GB", share)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Asking the hub", *[f"Downloading x: 1 of 2 GB ({n} %)" for n in (0, 50, 100)]]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    times = iter([0.0, 0.0, 4.0])
    with _Bar(lambda: next(times)) as bar:
        bar("Downloading x", 0.25)
        bar("Downloading x", 0.5)
    drawn = capsys.readouterr().err
    assert "\r[######------------------]  25%  Downloading x" in drawn
    assert "\r[############------------]  50%  Downloading x, 8 s left" in drawn
    assert drawn.endswith("\n")


def test_ctrl_c_keeps_what_came(small_hub, tmp_path):
    small_hub.pause_s = 0.2
    run = subprocess.Popen(
        [sys.executable, "-m", "assistant.cli", "models", "download", NAME],
        cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    partial = lambda: sum(f.stat().st_size for f in (tmp_path / "cache").rglob("*.partial"))  # noqa: E731
    deadline = time.monotonic() + 60
    while partial() < 50_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    error = run.communicate(timeout=20)[1]
    assert run.returncode == 130
    assert "What was downloaded is kept" in error
    assert "Traceback" not in error
    there = partial()
    assert there >= 50_000
    small_hub.pause_s = 0
    small_hub.asked.clear()
    assert main(["models", "download", NAME]) == 0
    assert small_hub.asked == [("model.safetensors", f"bytes={there}-")]
