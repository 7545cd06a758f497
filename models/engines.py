"""The engines in use: loaded when first needed, each once, with a state that the page can show."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from models import catalogue
from models.catalogue import ROLES, CatalogueEntry, EngineRole
from models.engine_slots import Keeper
from models.errors import AssistantError, Cancelled, EngineUnavailable
from models.interfaces import SpeechRecognizer, SpeechSynthesizer, VisionLanguageModel
from models.streaming import CancelScope, CancelToken

log = logging.getLogger(__name__)

CLOSING_S = 2.0

Status = Literal["cold", "loading", "ready", "failed"]


@dataclass(frozen=True)
class EngineState:
    """What the page shows of one engine.

    Attributes:
        name: the engine that was chosen.
        text: what is happening, or why it failed.
        fraction: 0 … 1 while loading, where known.
        serving: the engine that answers meanwhile, "" when it is the chosen one or none is loaded.
        notice: why another choice did not come about, to be told once.
    """

    role: EngineRole
    name: str
    status: Status = "cold"
    text: str = ""
    fraction: float | None = None
    serving: str = ""
    notice: str = ""


class _Slot:
    """One choice of one role. `lock` is held while it loads, so that two callers never load it twice.

    Attributes:
        engine: what was loaded, for as long as there is only one copy to think of (packaged models).
        keeper: holds an engine that can be closed, in place of `engine`.
        previous: what answers until this one is loaded, and again if it cannot be.
    """

    def __init__(self, role: EngineRole, name: str, previous: _Slot | None = None) -> None:
        self.lock = threading.Lock()
        self.state = EngineState(role, name)
        self.engine: Any = None
        self.keeper: Keeper | None = None
        self.previous = previous
        self.loading = CancelScope()

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def loaded(self) -> bool:
        return self.state.status == "ready"

    def borrowed(self) -> Any:
        """The engine, if it is loaded."""
        if self.keeper is not None:
            return self.keeper.borrow()
        return self.engine

    def retire(self) -> None:
        """Lets go of the engine. One that answers right now finishes first."""
        keeper, self.keeper, self.engine = self.keeper, None, None
        if keeper is not None:
            keeper.retire()
        self.state = EngineState(self.state.role, self.name)


class Engines:
    """The chosen engine of each role.

    Args:
        seeing, hearing, speaking: names in the catalogue.
        offline: nothing is downloaded, not even by name.
        device, precision: where and how exactly a checkpoint of the owner's choice runs; "auto" measures.
        unload_min: minutes without use after which an engine that has `close()` is given back; 0: never.
        loaders: role → `(name, *, offline, on_progress) -> engine`; the catalogue's by default. The one for seeing is
            also given `cancel`, `device`, `precision` and `make_room` (see `models.seeing`).
    """

    def __init__(
        self,
        seeing: str,
        hearing: str,
        speaking: str,
        *,
        offline: bool = False,
        device: str = "auto",
        precision: str = "auto",
        unload_min: float = 0,
        loaders: Mapping[EngineRole, Callable[..., Any]] | None = None,
    ) -> None:
        self.offline = offline
        self.device, self.precision, self.unload_min = device, precision, unload_min
        self._loaders = loaders
        names: dict[EngineRole, str] = {"seeing": seeing, "hearing": hearing, "speaking": speaking}
        self._slots = {role: _Slot(role, names[role]) for role in ROLES}
        self._choosing = threading.Lock()

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
        """The model that sees and says. Raises `EngineUnavailable` or `EngineFailure` when it cannot be loaded.

        Hold it for one turn, not longer: an engine that somebody holds is not unloaded.
        """
        return cast(VisionLanguageModel, self._engine("seeing"))

    def hearing(self) -> SpeechRecognizer:
        """The recogniser. Raises as `vision_language` does."""
        return cast(SpeechRecognizer, self._engine("hearing"))

    def speaking(self) -> SpeechSynthesizer:
        """The synthesizer. Raises as `vision_language` does."""
        return cast(SpeechSynthesizer, self._engine("speaking"))

    def states(self) -> tuple[EngineState, ...]:
        return tuple(self._state(self._slots[role]) for role in ROLES)

    def name(self, role: EngineRole) -> str:
        """The engine that was chosen."""
        return self._slots[role].name

    def serving(self, role: EngineRole) -> str:
        """The engine that would answer now: the chosen one, or the one before it while that is being loaded."""
        slot = self._slots[role]
        return slot.previous.name if slot.previous is not None and self._previous_serves(slot) else slot.name

    def ready(self, role: EngineRole) -> bool:
        """Whether an answer can begin without loading anything."""
        slot = self._slots[role]
        return slot.loaded or self._previous_serves(slot)

    def entries(self, role: EngineRole) -> tuple[CatalogueEntry, ...]:
        """What can be chosen for a role."""
        if self._loaders is not None:
            return (CatalogueEntry(self.name(role), "A script, for tests", packaged=True, megabytes=0),)
        return catalogue.entries(role)

    def use(self, role: EngineRole, name: str) -> None:
        """Chooses another engine. It is loaded when next needed.

        Until it is loaded, and if it cannot be, the one before it answers. A load that is under way is cancelled.
        """
        with self._choosing:
            slot = self._slots[role]
            if slot.name == name:
                return
            slot.loading.cancel()
            previous = slot if slot.loaded or slot.previous is None else slot.previous
            if previous is not slot and previous.name == name:
                self._slots[role] = previous
            else:
                self._slots[role] = _Slot(role, name, previous)

    def cancel(self, role: EngineRole) -> None:
        """Ends a load that is under way; the engine before it goes on answering. What was downloaded is kept."""
        self._slots[role].loading.cancel()

    def warm(self, roles: tuple[EngineRole, ...] = ROLES) -> threading.Thread:
        """Loads engines in the background, one after another. A failure is kept in the engine's state."""

        def load() -> None:
            for role in roles:
                try:
                    self._engine(role, wait=True)
                except AssistantError as error:
                    log.warning("%s", error)

        thread = threading.Thread(target=load, name="lucid-warm", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Ends what is being loaded and closes what can be closed, as soon as nobody uses it.

        Waits for that a little: a thread that frees memory while Python itself ends can crash it.
        """
        keepers: list[Keeper] = []
        for slot in self._slots.values():
            for each in (slot, slot.previous):
                if each is not None:
                    each.loading.cancel()
                    keeper = each.keeper
                    if keeper is not None:
                        keepers.append(keeper)
                        each.retire()
        until = time.monotonic() + CLOSING_S
        for keeper in keepers:
            keeper.wait_closed(max(0.0, until - time.monotonic()))

    def _engine(self, role: EngineRole, *, wait: bool = False) -> Any:
        """The engine that answers. `wait`: for the chosen one, though another could answer already."""
        while True:
            slot = self._slots[role]
            engine = slot.borrowed()
            if engine is None and not wait and slot.previous is not None and slot.lock.locked():
                engine = slot.previous.borrowed()  # the chosen one is on its way
            if engine is not None:
                return engine
            with slot.lock:
                if self._slots[role] is slot and slot.borrowed() is None:
                    self._load(slot)

    def _load(self, slot: _Slot) -> None:
        """Loads the slot's engine, or goes back to the engine before it. Raises when there is none."""
        token = slot.loading.begin()
        slot.state = EngineState(slot.state.role, slot.name, "loading", f"Loading {slot.name}")
        failure: AssistantError
        engine: Any = None
        try:
            engine = self._call_loader(slot, token)
            token.raise_if_cancelled()
        except Cancelled:
            if hasattr(engine, "close"):
                engine.close()
            failure = EngineUnavailable(
                f"The loading of {slot.name} was stopped.", "What was downloaded is kept; choose it again to go on."
            )
        except AssistantError as error:
            failure = error
        except Exception as error:
            log.exception("loading %s failed", slot.name)
            failure = EngineUnavailable(
                f"{slot.name} could not be loaded: {type(error).__name__}: {error}.",
                "Run python3 launch.py doctor to see what is missing.",
            )
        else:
            self._keep(slot, engine)
            return
        try:
            self._go_back(slot, failure, stopped=token.cancelled)
        finally:
            del failure, engine  # an error and the frame that names it would hold each other, and what was borrowed

    def _call_loader(self, slot: _Slot, token: CancelToken) -> Any:
        role, options = slot.state.role, {}

        def on_progress(text: str, fraction: float | None = None) -> None:
            slot.state = replace(slot.state, text=text, fraction=fraction)

        def make_room() -> None:
            """A large model before this one is closed first: both may not fit."""
            before = slot.previous
            if before is not None and before.keeper is not None:
                keeper = before.keeper
                before.retire()
                while not keeper.wait_closed(0.1):
                    token.raise_if_cancelled()

        if role == "seeing":
            options = {"cancel": token, "device": self.device, "precision": self.precision, "make_room": make_room}
        load = self._loaders[role] if self._loaders else catalogue.loader(role)
        return load(slot.name, offline=self.offline, on_progress=on_progress, **options)

    def _keep(self, slot: _Slot, engine: Any) -> None:
        if hasattr(engine, "close"):
            slot.keeper = keeper = Keeper(engine, self.unload_min * 60, lambda: self._unloaded(slot, keeper))
        else:
            slot.engine = engine
        slot.state = EngineState(slot.state.role, slot.name, "ready", "Ready")
        before, slot.previous = slot.previous, None
        if before is not None:
            before.retire()

    def _unloaded(self, slot: _Slot, keeper: Keeper) -> None:
        with slot.lock:
            if slot.keeper is keeper:  # and was not loaded again in the meantime
                slot.keeper = None
                text = f"Unloaded after {self.unload_min:g} minutes without use; the next question loads it again."
                slot.state = EngineState(slot.state.role, slot.name, "cold", text)

    def _go_back(self, slot: _Slot, failure: AssistantError, *, stopped: bool) -> None:
        """Lets the engine before this one answer again. Raises `failure` when there is none."""
        role, before = slot.state.role, slot.previous
        with self._choosing:
            still_chosen = self._slots[role] is slot
            if still_chosen and before is not None:
                notice = f"{failure} Answers still come from {before.name}."
                before.state = replace(before.state, text=notice, notice=notice)
                self._slots[role] = before
                log.warning("%s", notice)
                return
        slot.state = EngineState(role, slot.name, "cold" if stopped else "failed", str(failure))
        if still_chosen:
            raise failure

    def _previous_serves(self, slot: _Slot) -> bool:
        return slot.previous is not None and slot.previous.loaded and slot.lock.locked()

    def _state(self, slot: _Slot) -> EngineState:
        state, keeper = slot.state, slot.keeper
        if self._previous_serves(slot):
            return replace(state, serving=self.serving(state.role))
        if state.status == "ready" and not state.notice and keeper is not None and keeper.reason:
            return replace(state, text=keeper.reason)  # it may have changed since it was loaded
        return state
