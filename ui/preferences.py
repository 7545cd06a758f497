"""What the owner chose on the page: kept in one small file beside the conversations."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from assistant.config import Settings
from models.catalogue import EngineRole
from models.interfaces import SpeechOptions

log = logging.getLogger(__name__)

FILE = "page.json"
SPEEDS = (0.5, 2.0)


@dataclass(frozen=True)
class Limits:
    """What a number of the settings may be. `slides`: it is shown as a slider, in steps of `step`."""

    least: float
    most: float
    step: float = 1
    whole: bool = False
    slides: bool = True


# How answers are sampled (see `GenerationOptions`), as far as the page lets it be changed.
SAMPLING: dict[str, Limits] = {
    "temperature": Limits(0.0, 2.0, 0.05),
    "top_p": Limits(0.0, 1.0, 0.01),
    "top_k": Limits(0, 200, whole=True),
    "min_p": Limits(0.0, 1.0, 0.01),
    "repetition_penalty": Limits(0.5, 2.0, 0.01),
    "max_new_tokens": Limits(1, 32_768, whole=True, slides=False),
    "seed": Limits(-1, 2**31 - 1, whole=True, slides=False),
}


@dataclass(frozen=True)
class Preferences:
    """How the page behaves.

    Attributes:
        speak: say answers as they are written.
        voice, speed: see `SpeechOptions`.
        send_dictation: send what was dictated at once, in place of putting it in the box to be edited.
        personas: the owner's own, name → system prompt.
        engines: chosen on the page, "role=what the settings name" → what is used in its place. A start with another
            `--model` therefore is not overruled by what was once chosen here.
        sampling: of `SAMPLING`, what differs from the settings.
    """

    speak: bool = False
    voice: str = ""
    speed: float = 1.0
    send_dictation: bool = False
    personas: dict[str, str] | None = None
    engines: dict[str, str] | None = None
    sampling: dict[str, float] | None = None

    @property
    def speech(self) -> SpeechOptions:
        return SpeechOptions(self.voice, self.speed)


class PreferenceFile:
    """The preferences on disk. Values that cannot be are left at their defaults, never refused."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.data_dir / FILE
        self._lock = threading.Lock()
        self._defaults = Preferences(settings.speak, settings.voice, settings.speed)
        self._current = self._read()

    @property
    def current(self) -> Preferences:
        return self._current

    def change(self, **changes: Any) -> Preferences:
        """Sets some of the fields, on disk too."""
        with self._lock:
            self._current = replace(self._current, **_possible(changes))
            self._write()
            return self._current

    def engine(self, role: EngineRole, configured: str) -> str:
        """The engine that was chosen on the page where the settings name `configured`."""
        return (self._current.engines or {}).get(f"{role}={configured}", configured)

    def choose_engine(self, role: EngineRole, configured: str, name: str) -> None:
        """Remembers an engine for the next start."""
        chosen = {**(self._current.engines or {}), f"{role}={configured}": name}
        if name == configured:
            del chosen[f"{role}={configured}"]
        self.change(engines=chosen)

    def _read(self) -> Preferences:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return self._defaults
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s); starting with the defaults", self._file, error)
            return self._defaults
        return replace(self._defaults, **_possible(kept)) if isinstance(kept, dict) else self._defaults

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".page-", dir=self._file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(self._current), file, ensure_ascii=False, indent=1)
        os.replace(temporary, self._file)


def _possible(values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that are preferences and have a value that can be."""
    kept: dict[str, Any] = {}
    for name in (f.name for f in fields(Preferences)):
        value = values.get(name)
        if (name in ("speak", "send_dictation") and isinstance(value, bool)) or (
            name == "voice" and isinstance(value, str)
        ):
            kept[name] = value
        elif name == "speed" and isinstance(value, (int, float)) and SPEEDS[0] <= value <= SPEEDS[1]:
            kept[name] = float(value)
        elif name in ("personas", "engines") and isinstance(value, dict):
            kept[name] = {str(k): str(v) for k, v in value.items()}
        elif name == "sampling" and isinstance(value, dict):
            kept[name] = {k: number for k, v in value.items() if (number := sampling_number(k, v)) is not None}
    return kept


def sampling_number(name: str, value: Any) -> float | None:
    """`value` as that setting takes it, or None when it cannot be."""
    limits = SAMPLING.get(name)
    if limits is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not limits.least <= value <= limits.most:  # which no NaN is
        return None
    return int(value) if limits.whole else float(value)
