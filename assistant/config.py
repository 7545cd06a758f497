"""One strict settings object: command line over environment (`LUCID_*`) over settings file over these defaults."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from models.errors import SettingsError
from models.interfaces import GenerationOptions

ENV_PREFIX = "LUCID_"
SETTINGS_FILE = "settings.json"
LOG_LEVELS = ("debug", "info", "warning", "error")
DEVICES = ("auto", "cuda", "mps", "xpu", "cpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int4")


def default_data_dir() -> Path:
    """Where conversations and attachments are kept unless the owner says otherwise."""
    return platformdirs.user_data_path("lucid", appauthor=False)


@dataclass(frozen=True)
class Settings:
    """Everything that the owner can set.

    Attributes:
        model: the vision-language model, by its name in the catalogue: "glimpse", "hf:OWNER/NAME", a folder, or
            "server:URL" for an OpenAI-compatible server.
        device, precision: where and how exactly a model of the owner's choice runs; "auto" measures and says why.
        unload_min: minutes without a question after which a large model's memory is given back; 0: never.
        hearing: the speech recogniser, e.g. "whisper-base" (packaged), "openai-whisper:small", "faster-whisper:small".
        speaking: the synthesizer, e.g. "piper:en_US-joe-medium" (packaged) or "coqui:tts_models/…".
        data_dir: conversations, attachments and temporary files; private to the owner.
        host, port: where the page is served. A port in use moves on to the next free one.
        browser: open the page in the browser.
        auth: "user:password", demanded before the page may be served beyond this machine.
        offline: contact nothing at all, not even when a model is asked for that is not here.
        log_level: debug, info, warning or error.
        system: the system prompt of conversations that have no persona.
        voice, speed: how answers are spoken.
        speak: speak answers on the page from the start.
        temperature, max_new_tokens, top_p, top_k, min_p, repetition_penalty: how answers are sampled, see
            `GenerationOptions`.
        seed: makes sampling repeatable; -1 draws a fresh one every time.
        api: also serve other programs on this machine: an OpenAI-compatible endpoint below /v1.
        api_key: what those programs must send; "" has one made, kept in the data folder and shown at the start.
        max_upload_mb: upper limit of one uploaded file.
        max_media_s: longest recording or video that is taken, in seconds.
        video_frames: how many frames of a video are looked at.
    """

    model: str = "glimpse"
    device: str = "auto"
    precision: str = "auto"
    unload_min: int = 30
    hearing: str = "whisper-base"
    speaking: str = "piper:en_US-joe-medium"
    data_dir: Path = dataclasses.field(default_factory=default_data_dir)
    host: str = "127.0.0.1"
    port: int = 7860
    browser: bool = True
    auth: str = ""
    offline: bool = False
    log_level: str = "warning"
    system: str = ""
    voice: str = ""
    speed: float = 1.0
    speak: bool = False
    temperature: float = 0.0
    max_new_tokens: int = 512
    top_p: float = 0.9
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.1
    seed: int = -1
    api: bool = False
    api_key: str = ""
    max_upload_mb: int = 200
    max_media_s: int = 1800
    video_frames: int = 8

    def __post_init__(self) -> None:
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(f"log_level is {self.log_level!r}.", f"Use one of {', '.join(LOG_LEVELS)}.")
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"port is {self.port}.", "Use a number from 1 to 65535.")
        if not 0.5 <= self.speed <= 2.0:
            raise SettingsError(f"speed is {self.speed}.", "Use a number from 0.5 (slow) to 2.0 (fast).")
        if not 0.0 <= self.temperature <= 2.0:
            raise SettingsError(f"temperature is {self.temperature}.", "Use a number from 0 to 2.")
        for name, known in (("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} is {getattr(self, name)!r}.", f"Use one of {', '.join(known)}.")
        for name, least, most in (("top_p", 0.0, 1.0), ("min_p", 0.0, 1.0), ("repetition_penalty", 0.5, 2.0)):
            if not least <= getattr(self, name) <= most:
                raise SettingsError(f"{name} is {getattr(self, name)}.", f"Use a number from {least:g} to {most:g}.")
        if self.top_k < 0 or self.unload_min < 0:
            raise SettingsError("top_k and unload_min cannot be negative.", "0 turns either off.")
        for name in ("max_new_tokens", "max_upload_mb", "max_media_s", "video_frames"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}.", "Use a number of at least 1.")
        if self.auth and not all(self.auth.partition(":")[::2]):
            raise SettingsError("auth is not of the form user:password.", "Example: --auth ada:secret")
        if not is_loopback(self.host) and not self.auth:
            raise SettingsError(
                f"Serving on {self.host} would open Lucid to other machines.",
                "Add --auth user:password, or leave --host at 127.0.0.1.",
            )


def generation_options(settings: Settings) -> GenerationOptions:
    """How answers are sampled."""
    return GenerationOptions(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        seed=None if settings.seed < 0 else settings.seed,
    )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force.

    Args:
        overrides: what the command line said; values of None were not said.
        environment: defaults to the process's own.

    Raises:
        SettingsError: for a name that does not exist (the sentence lists those that do) or a value that cannot be.
    """
    environment = os.environ if environment is None else environment
    said = {name: value for name, value in (overrides or {}).items() if value is not None}
    from_environment = {
        key[len(ENV_PREFIX) :].lower(): value
        for key, value in environment.items()
        if key.startswith(ENV_PREFIX) and key not in _NOT_SETTINGS
    }
    data_dir = default_data_dir()
    for origin, entries in (("the environment", from_environment), ("the command line", said)):
        if entries.get("data_dir"):
            data_dir = _converted("data_dir", entries["data_dir"], origin)
    values: dict[str, Any] = {"data_dir": data_dir}
    for origin, entries in (
        (str(data_dir / SETTINGS_FILE), _read_file(data_dir / SETTINGS_FILE)),
        (f"the environment ({ENV_PREFIX}…)", from_environment),
        ("the command line", said),
    ):
        for name, value in entries.items():
            values[name] = _converted(name, value, origin)
    return Settings(**values)


# Variables with our prefix that steer tests and caches, and are no settings.
_NOT_SETTINGS = frozenset({"LUCID_CACHE", "LUCID_PYTHON", "LUCID_SERVER_KEY"})


def _read_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"The settings file {file} cannot be read: {error}.", "Mend it or delete it.") from error
    if not isinstance(entries, dict):
        raise SettingsError(f"The settings file {file} is not a JSON object.", "Mend it or delete it.")
    if "data_dir" in entries:
        raise SettingsError(f"data_dir cannot be set in {file}, which lies in it.", "Use --data-dir or LUCID_DATA_DIR.")
    return entries


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a folder"}


def _converted(name: str, value: Any, origin: str) -> Any:
    kinds = get_type_hints(Settings)
    if name not in kinds:
        raise SettingsError(f"{origin} sets {name!r}, which is no setting.", f"Settings are: {', '.join(kinds)}.")
    kind = kinds[name]
    try:
        if kind is bool:
            return _bool(value)
        if kind is Path:
            return Path(value).expanduser()
        if kind is str and not isinstance(value, str):
            raise ValueError(value)
        return kind(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: the ~user of a path does not exist
        raise SettingsError(f"{origin} sets {name} to {value!r}.", f"It takes {_KINDS[kind]}.") from error


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(value)


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every command shares; those not given parse to None, which `load_settings` skips."""
    group = parser.add_argument_group("settings")
    group.add_argument("--model", help="the vision-language model")
    group.add_argument("--device", choices=DEVICES, help="where a model of your choice runs (default: measured)")
    group.add_argument("--precision", choices=PRECISIONS, help="how exactly it computes (default: what fits)")
    group.add_argument("--hearing", help="the speech recogniser")
    group.add_argument("--speaking", help="the speech synthesizer")
    group.add_argument("--data-dir", help="where conversations are kept")
    group.add_argument("--offline", action="store_const", const=True, help="contact nothing at all")
    group.add_argument("--log-level", choices=LOG_LEVELS)


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the page."""
    group = parser.add_argument_group("page")
    group.add_argument("--host", help="address to serve on (default 127.0.0.1)")
    group.add_argument("--port", type=int, help="first port to try (default 7860)")
    group.add_argument("--no-browser", dest="browser", action="store_const", const=False, help="do not open a browser")
    group.add_argument("--auth", metavar="USER:PASSWORD", help="demanded before serving beyond this machine")
    group.add_argument("--api", action="store_const", const=True, help="answer other programs too, below /v1")
    group.add_argument("--api-key", help="what they must send (default: one is made and shown)")


def start_logging(settings: Settings) -> None:
    """Sends the log to standard error at the owner's level.

    Warnings of libraries, and what Pillow says of damaged pictures (for which the owner gets a sentence of ours), are
    for developers: they show from "info" on.
    """
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    if settings.log_level in ("warning", "error"):
        for name in ("py.warnings", "PIL"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
