"""What the endpoint works with, and nothing of the owner's conversations: it holds no store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from assistant.stateless import StatelessAssistant
from models.catalogue import ROLES, EngineRole
from models.interfaces import GenerationOptions
from ui.api.errors import RequestRefused
from ui.api.jobs import Line
from ui.inbox import Inbox

# Stands for whichever engine is in use, for programs that don't care.
ANY_MODEL = "lucid"


@dataclass(frozen=True, eq=False)
class ApiService:
    """The assistant behind the endpoint.

    Attributes:
        generation: how the owner has answers sampled at this moment.
        inbox: takes recordings while they are heard.
        max_upload_bytes: of one recording.
        lines: who waits for which engine.
        started: seconds since 1970, said of every model as the time when it was made.
    """

    assistant: StatelessAssistant
    generation: Callable[[], GenerationOptions]
    inbox: Inbox
    max_upload_bytes: int
    lines: dict[EngineRole, Line] = field(default_factory=lambda: {role: Line() for role in ROLES})
    started: int = field(default_factory=lambda: int(time.time()))

    def model(self, role: EngineRole, asked: str) -> str:
        """The engine that answers for `role`, where a program asks for it by its name or as "lucid".

        No request makes another one load: that would take the page's model away from the owner.

        Raises:
            RequestRefused: status 404, naming what can be asked for; 503 for the one that is being loaded.
        """
        engines = self.assistant.engines
        serving = engines.serving(role)
        if asked in (serving, ANY_MODEL):
            return serving
        if asked == engines.name(role):
            sentence = f"The model {asked!r} is being loaded, and {serving!r} answers meanwhile."
            raise RequestRefused(sentence, status=503, param="model", headers={"retry-after": "5"})
        raise RequestRefused(
            f"The model {asked[:200]!r} is not in use here. Ask for {serving!r} (or {ANY_MODEL!r}), "
            "or choose another one on the page.",
            status=404,
            param="model",
            code="model_not_found",
        )
