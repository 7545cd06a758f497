"""What the page's handlers and routes work with, put together once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistant.config import Settings, generation_options
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from models.catalogue import ROLES, EngineRole
from models.engines import Engines
from models.interfaces import GenerationOptions
from models.streaming import CancelScope
from ui.inbox import Inbox
from ui.preferences import PreferenceFile
from ui.sound import Sounds
from ui.turns import RunningTurns


@dataclass(frozen=True, eq=False)
class PageServices:
    """The dialogue and its store, and what belongs to the page alone.

    Attributes:
        turns: answers under way.
        sounds: their speech, on its way to the page.
        inbox: files added to the composer.
        configured: the engines that the settings name; the page may have chosen others.
        aloud: scope of what is being read aloud: a new text ends the one before it.
    """

    settings: Settings
    dialogue: DialogueManager
    preferences: PreferenceFile
    inbox: Inbox
    turns: RunningTurns
    configured: Mapping[EngineRole, str]
    sounds: Sounds = field(default_factory=Sounds)
    aloud: CancelScope = field(default_factory=CancelScope)

    @classmethod
    def of(cls, dialogue: DialogueManager, temporary: Path) -> PageServices:
        """Everything around a dialogue. `temporary`: a private folder that goes when Lucid ends."""
        settings = dialogue.settings
        inbox = Inbox(temporary, settings.max_upload_mb)
        preferences = PreferenceFile(settings)
        configured = {role: dialogue.engines.name(role) for role in ROLES}
        for role, name in configured.items():
            dialogue.engines.use(role, preferences.engine(role, name))
        return cls(settings, dialogue, preferences, inbox, RunningTurns(dialogue), configured)

    @property
    def store(self) -> ConversationStore:
        return self.dialogue.store

    @property
    def engines(self) -> Engines:
        return self.dialogue.engines

    @property
    def generation(self) -> GenerationOptions:
        """How answers are sampled: what was chosen on the page over what the settings say."""
        chosen: dict[str, Any] = dict(self.preferences.current.sampling or {})
        return generation_options(replace(self.settings, **chosen))

    def close(self) -> None:
        """Stops what is under way."""
        self.aloud.cancel()
        self.turns.stop_all()
        self.engines.close()
