"""Engines that speak, behind `models.interfaces.SpeechSynthesizer`."""

from __future__ import annotations

from models.catalogue import CatalogueEntry
from models.errors import EngineUnavailable
from models.interfaces import SpeechSynthesizer
from models.weights import PIPER_JOE, OnProgress

XTTS = "coqui:tts_models/multilingual/multi-dataset/xtts_v2"

__all__ = ["XTTS", "entries", "load_synthesizer"]


def entries() -> tuple[CatalogueEntry, ...]:
    """What `--speaking` takes, the default first."""
    return (
        CatalogueEntry(f"piper:{PIPER_JOE}", "Piper, English (US), one voice, fast on any CPU", True, 61, "en"),
        CatalogueEntry(
            "piper:<file.onnx>", "Any other Piper voice, with its .onnx.json beside it", False, None, "many"
        ),
        CatalogueEntry(
            XTTS,
            "Coqui XTTS-v2: 17 languages, Chinese included, 58 voices; best with a GPU; licence CPML (non-commercial)",
            False,
            1870,
            "en es fr de it pt pl tr ru nl cs ar zh ja hu ko hi",
        ),
        CatalogueEntry("coqui:<tts_models/…>", "Any model that Coqui TTS knows by name", False, None, "many"),
        CatalogueEntry(
            "coqui:<folder>", "A Coqui TTS model of your own: config.json and a checkpoint", False, None, "many"
        ),
    )


def load_synthesizer(name: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> SpeechSynthesizer:
    """Loads a synthesizer by its name in the catalogue.

    Args:
        name: "piper:en_US-joe-medium", "piper:<file.onnx>", "coqui:<tts_models/…>" or "coqui:<folder>".
        offline: download nothing.
        on_progress: told what is going on, with a fraction where known.

    Raises:
        EngineUnavailable: the name is unknown, or its package or weights are not here.
    """
    engine, _, model = name.partition(":")
    if engine == "piper" and model:
        from models.speaking.piper import load_piper

        return load_piper(model, on_progress=on_progress)
    if engine == "coqui" and model:
        from models.speaking.coqui import load_coqui

        return load_coqui(model, offline=offline, on_progress=on_progress)
    known = ", ".join(entry.name for entry in entries())
    raise EngineUnavailable(f"There is no speech engine named {name!r}.", f"Choose one of: {known}.")
