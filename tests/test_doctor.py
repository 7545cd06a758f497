"""The doctor: what it says of a whole machine and of machines that lack something."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import time
import types
from pathlib import Path

import pytest

from assistant import doctor
from assistant.config import Settings
from assistant.doctor import Finding, main, render, report, required_packages
from models import weights
from models.errors import EngineUnavailable


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "lucid")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def about(findings: list[Finding], *words: str) -> list[Finding]:
    return [f for f in findings if all(word in f"{f.topic} {f.text}" for word in words)]


def without_package(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def with_sounddevice(monkeypatch: pytest.MonkeyPatch, devices: dict[str, dict[str, object]]) -> None:
    """A machine that has these devices and no others."""

    class PortAudioError(Exception):
        pass

    def query_devices(kind: str) -> dict[str, object]:
        if kind not in devices:
            raise PortAudioError("no default device")
        return devices[kind]

    fake = types.SimpleNamespace(PortAudioError=PortAudioError, query_devices=query_devices)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)


@pytest.mark.models
def test_a_whole_installation_needs_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    findings = report(settings)
    assert time.monotonic() - started < 30  # 4 s on two free cores; the bound allows for crowded ones
    assert [f for f in findings if f.status == "missing"] == []
    assert main(settings) == 0
    said = capsys.readouterr().out
    for topic in ("Python", "Packages", "Device", "Sound", "Models", "Storage", "Extras"):
        assert f"{topic}\n" in said
    assert "Lucid has what it needs." in said
    assert f"torch {importlib.metadata.version('torch')}" in said
    assert not settings.data_dir.exists(), "looking must not make the data folder"


def test_json_holds_the_same_findings(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(settings, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["healthy"] is (code == 0)
    assert [f["text"] for f in said["findings"]] == [f.text for f in report(settings)]


def test_every_missing_thing_comes_with_what_mends_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(package: str) -> Path:
        raise EngineUnavailable(f"{package} is gone")

    monkeypatch.setattr(weights, "package_folder", gone)
    without_package(monkeypatch, "gradio")
    findings = report(settings)
    missing = [f for f in findings if f.status == "missing"]
    assert len(about(missing, "Models")) == 6
    assert len(about(missing, "Packages", "gradio")) == 1
    assert all(f.remedy == "python3 launch.py setup" for f in missing)
    assert main(settings) == 1


def test_missing_portaudio_is_a_remark_with_the_systems_own_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoPortAudio:
        """sounddevice raises OSError when it is imported on a machine that has no PortAudio."""

        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    for tool, command in (("apt-get", "apt-get install libportaudio2"), ("dnf", "dnf install portaudio")):
        monkeypatch.setattr(shutil, "which", lambda name, tool=tool: name if name == tool else None)
        monkeypatch.setattr(sys, "platform", "linux")
        (finding,) = about(report(settings), "Sound", "PortAudio")
        assert finding.status == "note", "only talk needs it"
        assert command in finding.remedy
    monkeypatch.setattr(sys, "platform", "darwin")
    (finding,) = about(report(settings), "Sound", "PortAudio")
    assert finding.remedy == "brew install portaudio"


def test_microphone_and_speaker_are_named_or_missed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with_sounddevice(monkeypatch, {"input": {"name": "Desk mic", "default_samplerate": 48000.0}})
    findings = report(settings)
    assert about(findings, "Sound", "microphone: Desk mic, 48000 Hz")[0].status == "ok"
    (speaker,) = about(findings, "Sound", "no speaker")
    assert speaker.status == "note"
    assert speaker.remedy


def test_a_broken_torch_is_told_and_the_rest_is_still_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python does with an import that must fail
    findings = report(settings)
    (torch,) = about(findings, "Device", "torch cannot be imported")
    assert torch.status == "missing"
    assert about(findings, "Storage")


def test_a_look_that_breaks_does_not_end_the_report(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_processor", lambda: 1 / 0)
    findings = report(settings)
    assert about(findings, "Device", "ZeroDivisionError")
    assert about(findings, "Storage")


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    findings = report(Settings(data_dir=tmp_path / "file" / "lucid"))
    (storage,) = about(findings, "Storage", "conversations", "cannot be written")
    assert storage.status == "missing"
    assert "--data-dir" in storage.remedy


def test_a_full_disk_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=200_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    full = about(report(settings), "Storage", "0.2 GB free")
    assert [f.status for f in full] == ["missing", "missing"]
    assert all(f.remedy for f in full)


def test_prepared_weights_are_told_from_those_to_be_prepared(settings: Settings, cache: Path) -> None:
    (cache / weights.WHISPER_BASE).mkdir(parents=True)
    findings = report(settings)
    assert about(findings, "Models", weights.WHISPER_BASE, "prepared in")
    assert about(findings, "Models", weights.SMOLLM2, "will be prepared")


def test_heic_is_an_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    without_package(monkeypatch, "pillow-heif")
    (heic,) = about(report(settings), "Extras", "HEIC")
    assert heic.status == "note"
    assert heic.remedy.endswith("-m pip install pillow-heif")


def test_requirements_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# why\ntorch>=2.9\n\n  \nopenai-whisper>=2025; python_version > '3'\n-r other.txt\n", encoding="utf-8"
    )
    assert required_packages(file) == ["torch", "openai-whisper"]


def test_each_remedy_stands_below_what_it_mends() -> None:
    findings = [Finding("A", "ok", "fine"), Finding("B", "missing", "gone", "get it"), Finding("B", "note", "odd")]
    lines = render(findings).splitlines()
    assert lines[:6] == ["A", "  ok  fine", "", "B", "  !!  gone", "        mend: get it"]
    assert lines[-1].startswith("Missing: 1.")


def test_a_chosen_model_that_does_not_exist_is_missing(tmp_path: Path) -> None:
    findings = report(Settings(data_dir=tmp_path, model="nonsense", hearing="openai-whisper:small"))
    (unknown,) = about(findings, "Models", "nonsense")
    assert unknown.status == "missing"
    assert "smollm2-evidence" in unknown.remedy
    (by_name,) = about(findings, "Models", "openai-whisper:small")
    assert by_name.status == "note"
    (packaged,) = about(findings, "chosen for speaking")
    assert packaged.status == "ok"


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("hf:Qwen/Qwen3-VL-2B-Instruct", "note", "not downloaded yet. "),
        ("hf:owner/unknown", "note", "not downloaded yet"),
        ("hf:broken", "missing", "not the name of a repository"),
        ("/nowhere/at/all", "missing", "cannot be read"),
        ("server:http://127.0.0.1:8000", "note", "asked at the first use"),
    ],
)
def test_a_model_of_the_owners_choice_is_named_with_where_it_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, status: str, words: str
) -> None:
    monkeypatch.setenv("LUCID_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "shared"))
    (finding,) = about(report(Settings(data_dir=tmp_path, model=model)), "chosen for seeing")
    assert finding.status == status
    assert words in finding.text
    if model.startswith("hf:Qwen"):
        assert "because" in finding.text
        assert finding.remedy == f"python3 launch.py models download {model}"
