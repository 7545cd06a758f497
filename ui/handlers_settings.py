"""What happens in the settings: engines, voice, dictation, personas."""

from __future__ import annotations

import logging
import threading
from typing import Any

import gradio as gr

from models.catalogue import ROLES, EngineRole
from models.errors import AssistantError, StoreError
from ui.calls import Call, signal
from ui.i18n import Language, text
from ui.layout_settings import PERSONAS
from ui.model_picker import choices
from ui.preferences import SAMPLING, Preferences, sampling_number
from ui.services import PageServices

log = logging.getLogger(__name__)

Updates = tuple[Any, ...]
MAX_NAME = 60


class SettingsHandlers:
    """Settings are kept as soon as they are changed."""

    def __init__(self, services: PageServices) -> None:
        self._services = services

    def show(self, event: gr.EventData, request: gr.Request) -> Updates:
        """What the settings panel shows when it is opened: (seeing, hearing, speaking, speak, voice, speed, dictation,
        persona, prompt, language, and how answers are sampled)."""
        call = Call.of(event, request)
        chosen = self._services.preferences.current
        return (
            *self._all_engines(call.language),
            gr.update(value=chosen.speak),
            self._voices(chosen, call.language),
            gr.update(value=chosen.speed),
            gr.update(value="send" if chosen.send_dictation else "edit"),
            gr.update(choices=self._personas(call.language), value=None),
            gr.update(value=self._system(call.conversation)),
            call.language,
            *self._sampling(),
        )

    def engines(self, event: gr.EventData, request: gr.Request) -> Updates:
        """The three lists of engines anew: one was loaded, or could not be."""
        return self._all_engines(Call.of(event, request).language)

    def sample(self, name: str, value: float | None) -> str:
        """Keeps a number of how answers are sampled; one that cannot be is left as it was."""
        number = sampling_number(name, value)
        if number is None:
            return signal()
        chosen = {**(self._services.preferences.current.sampling or {}), name: number}
        return self._changed(sampling={k: v for k, v in chosen.items() if v != getattr(self._services.settings, k)})

    def usual_sampling(self) -> Updates:
        """Back to what the settings say. Returns the numbers and the signal."""
        self._services.preferences.change(sampling={})
        return (*self._sampling(), signal(saved=True))

    def use(self, role: EngineRole, name: str | None) -> str:
        """Chooses an engine, and begins to load it."""
        name = (name or "").strip()
        engines = self._services.engines
        if not name or name == engines.name(role):
            return signal()
        if role == "speaking":
            self._services.preferences.change(voice="")
        engines.use(role, name)
        loading = engines.warm((role,))

        def remember() -> None:
            """Only what could be loaded: a name with a slip in it is not met again at the next start."""
            loading.join()
            if engines.serving(role) == name and engines.ready(role):
                self._services.preferences.choose_engine(role, self._services.configured[role], name)

        threading.Thread(target=remember, name="lucid-remember", daemon=True).start()
        return signal(engines=True)

    def prefer(self, event: gr.EventData, request: gr.Request) -> str:
        """The switch beside the composer: `text` is "on" or "off"."""
        return self._changed(speak=Call.of(event, request).text == "on")

    def speak(self, on: bool) -> str:
        return self._changed(speak=bool(on))

    def voice(self, name: str | None) -> str:
        return self._changed(voice=name or "")

    def speed(self, speed: float) -> str:
        return self._changed(speed=speed)

    def dictation(self, choice: str) -> str:
        return self._changed(send_dictation=choice == "send")

    def persona_text(self, name: str | None) -> Any:
        """The prompt of a persona, to be read and changed before it is used."""
        key, _, rest = (name or "").partition(":")
        if key in ("en", "zh"):
            language: Language = "zh" if key == "zh" else "en"
            return "" if rest == "plain" else text(f"persona.{rest}.text", language)
        return (self._services.preferences.current.personas or {}).get(rest, "")

    def keep_persona(self, name: str, prompt: str, language: Language) -> Updates:
        """Keeps the prompt as a persona of the owner's. Returns (persona, name, signal)."""
        name = " ".join((name or "").split())[:MAX_NAME]
        if not name:
            return gr.skip(), gr.skip(), signal()
        own = {**(self._services.preferences.current.personas or {}), name: prompt or ""}
        self._services.preferences.change(personas=own)
        return gr.update(choices=self._personas(language), value=f"own:{name}"), "", signal(saved=True)

    def remove_persona(self, chosen: str | None, language: Language) -> Updates:
        """Forgets one of the owner's personas. Returns (persona, signal)."""
        kind, _, name = (chosen or "").partition(":")
        own = dict(self._services.preferences.current.personas or {})
        if kind != "own" or own.pop(name, None) is None:
            return gr.skip(), signal()
        self._services.preferences.change(personas=own)
        return gr.update(choices=self._personas(language), value=None), signal(saved=True)

    def _changed(self, **changes: Any) -> str:
        return signal(preferences=page_preferences(self._services.preferences.change(**changes)))

    def _sampling(self) -> tuple[Any, ...]:
        generation = self._services.generation
        return tuple(
            gr.update(value=-1 if name == "seed" and generation.seed is None else getattr(generation, name))
            for name in SAMPLING
        )

    def _all_engines(self, language: Language) -> Updates:
        return tuple(self._engine_choices(role, language) for role in ROLES)

    def _engine_choices(self, role: EngineRole, language: Language) -> Any:
        engines = self._services.engines
        current = engines.name(role)
        try:
            known = engines.entries(role)
        except AssistantError as error:
            log.warning("%s", error)
            known = ()
        entries = choices(known, self._services.settings, language)
        patterns = ", ".join(e.name for e in known if "<" in e.name)
        if current not in [name for _, name in entries]:
            entries.insert(0, (current, current))
        info = text("set.engine.type", language, names=patterns) if patterns else None
        return gr.update(choices=entries, value=current, info=info)

    def _voices(self, chosen: Preferences, language: Language) -> Any:
        engines = self._services.engines
        choices = [(text("set.voice.default", language), "")]
        if engines.ready("speaking"):
            choices += [(f"{v.name} ({v.language})", v.name) for v in engines.speaking().voices]
        known = {name for _, name in choices}
        return gr.update(choices=choices, value=chosen.voice if chosen.voice in known else "")

    def _personas(self, language: Language) -> list[tuple[str, str]]:
        built_in = [(text(f"persona.{name}", language), f"{language}:{name}") for name in PERSONAS]
        own = [(name, f"own:{name}") for name in self._services.preferences.current.personas or {}]
        return built_in + own

    def _system(self, conversation: str) -> str:
        if not conversation:
            return ""
        try:
            return self._services.store.conversation(conversation).system
        except StoreError:
            return ""  # deleted in another tab


def page_preferences(preferences: Preferences) -> dict[str, Any]:
    """What the page's JavaScript needs of the preferences."""
    return {"speak": preferences.speak, "send_dictation": preferences.send_dictation}
