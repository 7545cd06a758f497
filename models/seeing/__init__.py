"""Seeing and saying: vision-language models by name. Nothing heavy is imported before one is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.catalogue import CatalogueEntry
from models.errors import EngineUnavailable
from models.interfaces import VisionLanguageModel
from models.seeing.chosen import CHOSEN
from models.streaming import CancelToken
from models.weights import OnProgress

__all__ = ["entries", "kind_of", "load_vision_language_model"]

SERVER_KEY = "LUCID_SERVER_KEY"

_PACKAGED = (
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
_PATTERNS = (
    CatalogueEntry("hf:<owner>/<name>", "Any vision-language checkpoint of the hub that transformers knows", False),
    CatalogueEntry("folder:<path>", "A checkpoint in a folder of yours: config.json and safetensors", False),
    CatalogueEntry(
        "server:<address>#<model>", "A server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama …", False
    ),
)


def entries() -> tuple[CatalogueEntry, ...]:
    """The vision-language models that can be chosen, the default first; names with <…> in them are to be filled in."""
    return (*_PACKAGED, *(model.entry() for model in CHOSEN), *_PATTERNS)


def kind_of(name: str) -> Literal["packaged", "hub", "folder", "server"] | None:
    """What sort of model a name means; None for a name that means nothing."""
    if any(name == entry.name for entry in _PACKAGED):
        return "packaged"
    for prefix, kind in _PREFIXES.items():
        if name.startswith(prefix) and name != prefix:
            return kind
    return "folder" if name.startswith(("/", "./", "../", "~", ".\\")) or Path(name).is_absolute() else None


_PREFIXES: dict[str, Literal["hub", "folder", "server"]] = {"hf:": "hub", "folder:": "folder", "server:": "server"}


def load_vision_language_model(
    name: str,
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    device: str = "auto",
    precision: str = "auto",
    make_room: Callable[[], None] | None = None,
) -> VisionLanguageModel:
    """Loads a vision-language model.

    Args:
        name: one of `entries`, "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION", a folder ("/…", "./…", "~…" or
            "folder:PATH"), or "server:URL" or "server:URL#MODEL".
        offline: contact nothing but this machine. The packaged models never do.
        on_progress: told what happens, with a fraction where it is known.
        cancel: ends a download or a load; what was downloaded stays.
        device, precision: where and how exactly a checkpoint runs; "auto" measures the machine.
        make_room: called when everything is on the disk and before the free memory is measured.

    Raises:
        EngineUnavailable: there is no such model, it cannot be had, or it does not fit this machine.
        Cancelled: `cancel` became stale.
    """
    kind = kind_of(name)
    if kind == "hub":
        from models import hub, hub_cache

        repository, revision = hub_cache.parse_name(name)
        folder = hub.fetch(repository, revision, offline=offline, on_progress=on_progress, cancel=cancel)
        return _load_checkpoint(name, folder, _Way(device, precision, on_progress, cancel, make_room))
    if kind == "folder":
        folder = Path(name.removeprefix("folder:")).expanduser()
        return _load_checkpoint(name, folder, _Way(device, precision, on_progress, cancel, make_room))
    if kind == "server":
        from models.seeing.server import connect

        address, _, model = name.removeprefix("server:").partition("#")
        return connect(address, model, name=name, key=os.environ.get(SERVER_KEY, ""), offline=offline, cancel=cancel)
    return _load_packaged(name, on_progress)


@dataclass(frozen=True)
class _Way:
    """How a checkpoint is to be loaded."""

    device: str
    precision: str
    on_progress: OnProgress | None
    cancel: CancelToken | None
    make_room: Callable[[], None] | None


def _load_checkpoint(name: str, folder: Path, way: _Way) -> VisionLanguageModel:
    """Looks whether it fits before anything is loaded."""
    if not (folder / "config.json").is_file():
        raise EngineUnavailable(
            f"The folder {folder} has no checkpoint in it: config.json is missing.",
            "Name a folder that holds config.json, the processor's files and safetensors.",
        )
    if way.make_room:
        way.make_room()
    if way.on_progress:
        way.on_progress(f"Measuring what {name} needs", None)
    from models import runtime
    from models.seeing.checkpoint import load_checkpoint
    from models.seeing.ladder import ResilientModel
    from models.seeing.offers import that_fit

    machine = runtime.this_machine()
    ways = runtime.plans(machine, runtime.needs_of(folder), device=way.device, precision=way.precision)
    runtime.demand_fit(ways, name, that_fit(machine))
    if way.cancel is not None:
        way.cancel.raise_if_cancelled()

    first: list[_Way] = [way]  # the loads that the ladder makes later have nobody who follows or cancels them

    def load(choice: runtime.RuntimeChoice) -> VisionLanguageModel:
        progress, cancel = (first[0].on_progress, first[0].cancel) if first else (None, None)
        return load_checkpoint(folder, choice, name=name, on_progress=progress, cancel=cancel)

    model = ResilientModel(load, ways, name)
    first.clear()
    return model


def _load_packaged(name: str, on_progress: OnProgress | None) -> VisionLanguageModel:
    if name == "glimpse":
        from models.glimpse.engine import load_glimpse

        return load_glimpse(on_progress=on_progress)
    if name != "smollm2-evidence":
        raise EngineUnavailable(
            f"There is no vision-language model named {name!r}.",
            f"Choose one of: {', '.join(e.name for e in (*_PACKAGED, *_PATTERNS))}.",
        )
    from models.weights import smollm2_folder

    folder = smollm2_folder(on_progress=on_progress)
    if on_progress:
        on_progress("Loading SmolLM2-135M-Instruct", None)
    from models.seeing import smollm2

    return smollm2.load(folder)
