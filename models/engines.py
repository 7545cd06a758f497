"""The engines in use: loaded when first needed, each once, with a state that the page can show."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from models import catalogue
from models.catalogue import ROLES, CatalogueEntry, EngineRole
from models.errors import AssistantError, EngineUnavailable
from models.interfaces import SpeechRecognizer, SpeechSynthesizer, VisionLanguageModel

log = logging.getLogger(__name__)

Status = Literal["cold", "loading", "ready", "failed"]


@dataclass(frozen=True)
class EngineState:
    """What the page shows of one engine. `fraction`: 0 … 1 while loading, where known."""

    role: EngineRole
    name: str
    status: Status = "cold"
    text: str = ""
    fraction: float | None = None


class _Slot:
    """One role's engine. `lock` is held while it loads, so that two callers never load it twice."""

    def __init__(self, role: EngineRole, name: str) -> None:
        self.lock = threading.Lock()
        self.state = EngineState(role, name)
        self.engine: Any = None


class Engines:
    """The chosen engine of each role.

    Args:
        seeing, hearing, speaking: names in the catalogue.
        offline: nothing is downloaded, not even by name.
        loaders: role → `(name, *, offline, on_progress) -> engine`; the catalogue's by default.
    """

    def __init__(
        self,
        seeing: str,
        hearing: str,
        speaking: str,
        *,
        offline: bool = False,
        loaders: Mapping[EngineRole, Callable[..., Any]] | None = None,
    ) -> None:
        self.offline = offline
        self._loaders = loaders
        names: dict[EngineRole, str] = {"seeing": seeing, "hearing": hearing, "speaking": speaking}
        self._slots = {role: _Slot(role, names[role]) for role in ROLES}

    @classmethod
    def scripted(cls, **fakes: Any) -> Engines:
        """Fast engines that play a script (see `models.fakes`), for tests and `--model scripted`.

        Args:
            fakes: `seeing=`, `hearing=`, `speaking=` engines to use in place of the standard script.
        """
        from models.fakes import ScriptedModel, ScriptedRecognizer, ScriptedSynthesizer

        engines = {
            "seeing": fakes.get("seeing") or ScriptedModel(),
            "hearing": fakes.get("hearing") or ScriptedRecognizer(),
            "speaking": fakes.get("speaking") or ScriptedSynthesizer(),
        }

        def loading(role: EngineRole) -> Callable[..., Any]:
            return lambda name, **_: engines[role]

        return cls("scripted", "scripted", "scripted", loaders={role: loading(role) for role in ROLES})

    def vision_language(self) -> VisionLanguageModel:
        """The model that sees and says. Raises `EngineUnavailable` or `EngineFailure` when it cannot be loaded."""
        return cast(VisionLanguageModel, self._engine("seeing"))

    def hearing(self) -> SpeechRecognizer:
        """The recogniser. Raises as `vision_language` does."""
        return cast(SpeechRecognizer, self._engine("hearing"))

    def speaking(self) -> SpeechSynthesizer:
        """The synthesizer. Raises as `vision_language` does."""
        return cast(SpeechSynthesizer, self._engine("speaking"))

    def states(self) -> tuple[EngineState, ...]:
        return tuple(self._slots[role].state for role in ROLES)

    def name(self, role: EngineRole) -> str:
        return self._slots[role].state.name

    def ready(self, role: EngineRole) -> bool:
        return self._slots[role].state.status == "ready"

    def entries(self, role: EngineRole) -> tuple[CatalogueEntry, ...]:
        """What can be chosen for a role."""
        if self._loaders is not None:
            return (CatalogueEntry(self.name(role), "A script, for tests", packaged=True, megabytes=0),)
        return catalogue.entries(role)

    def use(self, role: EngineRole, name: str) -> None:
        """Chooses another engine. It is loaded when next needed; one that is answering right now finishes first."""
        if self.name(role) != name:
            self._slots[role] = _Slot(role, name)

    def warm(self, roles: tuple[EngineRole, ...] = ROLES) -> threading.Thread:
        """Loads engines in the background, one after another. A failure is kept in the engine's state."""

        def load() -> None:
            for role in roles:
                try:
                    self._engine(role)
                except AssistantError as error:
                    log.warning("%s", error)

        thread = threading.Thread(target=load, name="lucid-warm", daemon=True)
        thread.start()
        return thread

    def _engine(self, role: EngineRole) -> Any:
        slot = self._slots[role]
        with slot.lock:
            if slot.engine is None:
                slot.engine = self._load(slot)
            return slot.engine

    def _load(self, slot: _Slot) -> Any:
        name, role = slot.state.name, slot.state.role

        def on_progress(text: str, fraction: float | None = None) -> None:
            slot.state = replace(slot.state, text=text, fraction=fraction)

        slot.state = EngineState(role, name, "loading", f"Loading {name}")
        try:
            load = self._loaders[role] if self._loaders else catalogue.loader(role)
            engine = load(name, offline=self.offline, on_progress=on_progress)
        except AssistantError as error:
            slot.state = EngineState(role, name, "failed", str(error))
            raise
        except Exception as error:
            log.exception("loading %s failed", name)
            failure = EngineUnavailable(
                f"{name} could not be loaded: {type(error).__name__}: {error}.",
                "Run python3 launch.py doctor to see what is missing.",
            )
            slot.state = EngineState(role, name, "failed", str(failure))
            raise failure from error
        slot.state = EngineState(role, name, "ready", "Ready")
        return engine
