"""Seeing and saying: vision-language models by name. Nothing heavy is imported before one is loaded."""

from __future__ import annotations

from models.catalogue import CatalogueEntry
from models.errors import EngineUnavailable
from models.interfaces import VisionLanguageModel
from models.weights import OnProgress

__all__ = ["entries", "load_vision_language_model"]

_ENTRIES = (
    CatalogueEntry(
        "glimpse",
        "Glimpse: SmolLM2-135M looks at the picture itself by cross-attention, trained here (docs/GLIMPSE.md)",
        packaged=True,
        megabytes=310,
        languages="en",
    ),
    CatalogueEntry(
        "smollm2-evidence",
        "SmolLM2-135M-Instruct; pictures reach it in words: objects, text and colours",
        packaged=True,
        megabytes=270,
        languages="en",
    ),
)


def entries() -> tuple[CatalogueEntry, ...]:
    """The vision-language models that can be chosen, the default first."""
    return _ENTRIES


def load_vision_language_model(
    name: str, *, offline: bool = False, on_progress: OnProgress | None = None
) -> VisionLanguageModel:
    """Loads a vision-language model.

    Args:
        name: one of `entries`.
        offline: contact nothing. The packaged models never do.
        on_progress: told what happens, with a fraction where it is known.

    Raises:
        EngineUnavailable: there is no such model, or its weights are not here.
    """
    if name == "glimpse":
        from models.glimpse.engine import load_glimpse

        return load_glimpse(on_progress=on_progress)
    if name != "smollm2-evidence":
        raise EngineUnavailable(
            f"There is no vision-language model named {name!r}.",
            f"Choose one of: {', '.join(e.name for e in _ENTRIES)}.",
        )
    from models.weights import smollm2_folder

    folder = smollm2_folder(on_progress=on_progress)
    if on_progress:
        on_progress("Loading SmolLM2-135M-Instruct", None)
    from models.seeing import smollm2

    return smollm2.load(folder)
