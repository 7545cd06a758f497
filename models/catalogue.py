"""What can be chosen by name: one entry an engine, with what it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

EngineRole = Literal["seeing", "hearing", "speaking"]
ROLES: tuple[EngineRole, ...] = ("seeing", "hearing", "speaking")

# Role → (module, its loader). The modules are imported when the first engine of the role is asked for.
_LOADERS: dict[EngineRole, tuple[str, str]] = {
    "seeing": ("models.seeing", "load_vision_language_model"),
    "hearing": ("models.hearing", "load_recognizer"),
    "speaking": ("models.speaking", "load_synthesizer"),
}


@dataclass(frozen=True)
class CatalogueEntry:
    """An engine that the owner can choose.

    Attributes:
        name: what `--model`, `--hearing` or `--speaking` takes; an angle-bracketed part is the owner's to fill in.
        description: one line for the picker.
        packaged: its weights are installed with Lucid, so that it works with no network.
        megabytes: size of the weights, None where it depends on what is filled in.
        languages: ISO 639-1 codes separated by spaces, or "many".
    """

    name: str
    description: str
    packaged: bool
    megabytes: int | None = None
    languages: str = "en"


def entries(role: EngineRole) -> tuple[CatalogueEntry, ...]:
    """Everything that can be chosen for `role`, the default first."""
    module, _ = _LOADERS[role]
    found: tuple[CatalogueEntry, ...] = importlib.import_module(module).entries()
    return found


def loader(role: EngineRole) -> Callable[..., Any]:
    """The function `(name, *, offline, on_progress) -> engine` of a role."""
    module, function = _LOADERS[role]
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
