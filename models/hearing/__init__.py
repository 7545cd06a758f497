"""Hearing: speech becomes text with word times. Engines are loaded by name; nothing heavy is imported before that."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.catalogue import CatalogueEntry
from models.errors import AssistantError, EngineUnavailable
from models.weights import WHISPER_BASE, OnProgress, whisper_base_folder

if TYPE_CHECKING:
    from models.hearing.passages import WhisperDecoder
    from models.interfaces import SpeechRecognizer

__all__ = ["entries", "load_recognizer"]

FASTER = "faster-whisper"
OPENAI = "openai-whisper"


def entries() -> tuple[CatalogueEntry, ...]:
    """What can be chosen, the default first."""
    return (
        CatalogueEntry(WHISPER_BASE, "Whisper base, 8-bit, by faster-whisper", True, 145, "many"),
        CatalogueEntry(
            f"{FASTER}:<size or folder>", "tiny, small, medium, large-v3-turbo … by faster-whisper", False, None, "many"
        ),
        CatalogueEntry(
            f"{OPENAI}:<size or file>", "tiny, base, small, medium, turbo … by openai-whisper", False, None, "many"
        ),
    )


def load_recognizer(name: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> SpeechRecognizer:
    """The recogniser called `name` in the catalogue.

    Args:
        name: "whisper-base", "faster-whisper:<size or folder>" or "openai-whisper:<size or .pt file>".
        offline: nothing is downloaded.
        on_progress: told what is being done.

    Raises:
        EngineUnavailable: no such engine, its package is missing, or its weights are and cannot be had.
    """
    engine, _, model = name.partition(":")
    decoder: Callable[[], WhisperDecoder]
    if name == WHISPER_BASE:
        _require("faster_whisper", FASTER)
        decoder = _packaged(on_progress)
    elif engine == FASTER and model:
        _require("faster_whisper", FASTER)
        decoder = _faster(model, offline)
    elif engine == OPENAI and model:
        _require("whisper", OPENAI)
        decoder = _openai(model, offline)
    else:
        names = ", ".join(entry.name for entry in entries())
        raise EngineUnavailable(f"There is no speech recogniser called “{name}”.", f"Choose one of: {names}.")
    if on_progress:
        on_progress(f"Loading {name}", None)
    try:
        loaded = decoder()
    except AssistantError:
        raise
    except Exception as error:  # hubs, file systems, torch and CTranslate2 each have exceptions of their own
        raise EngineUnavailable(
            f"The weights of {name} are not on this machine or cannot be read ({_first_line(error)}).",
            "Start once without --offline so that they are downloaded, or use --hearing whisper-base.",
        ) from error
    from models.hearing.recognizer import WhisperRecognizer

    return WhisperRecognizer(name, loaded)


def _packaged(on_progress: OnProgress | None) -> Callable[[], WhisperDecoder]:
    def make() -> WhisperDecoder:
        from models.hearing.ctranslate import CTranslateDecoder

        return CTranslateDecoder(str(whisper_base_folder(on_progress=on_progress)), offline=True)

    return make


def _faster(model: str, offline: bool) -> Callable[[], WhisperDecoder]:
    def make() -> WhisperDecoder:
        from models.hearing.ctranslate import CTranslateDecoder

        return CTranslateDecoder(model, offline=offline)

    return make


def _openai(model: str, offline: bool) -> Callable[[], WhisperDecoder]:
    def make() -> WhisperDecoder:
        import whisper

        from models.hearing.openai import OpenAIDecoder

        if model not in whisper.available_models() and not Path(model).is_file():
            raise EngineUnavailable(
                f"openai-whisper has no model “{model}”.", f"Choose one of: {', '.join(whisper.available_models())}."
            )
        if offline and not Path(model).is_file() and not _downloaded(model):
            raise EngineUnavailable(
                f"The weights of openai-whisper:{model} are not on this machine.",
                "Start once without --offline so that they are downloaded, or use --hearing whisper-base.",
            )
        return OpenAIDecoder(model)

    return make


def _downloaded(model: str) -> bool:
    """Whether openai-whisper has the model in its cache folder ($XDG_CACHE_HOME/whisper)."""
    import os

    import whisper

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    return (cache / Path(whisper._MODELS[model]).name).is_file()


def _require(package: str, distribution: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise EngineUnavailable(f"The package {distribution} is not installed.", f"Run: pip install {distribution}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
