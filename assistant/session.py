"""A dialogue with its engines and its store, opened together and closed together."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from models.engines import Engines


def make_engines(settings: Settings) -> Engines:
    """The engines that the settings name; nothing is loaded yet. The model "scripted" gives fast fakes, for tests."""
    if settings.model == "scripted":
        return Engines.scripted()
    return Engines(
        settings.model,
        settings.hearing,
        settings.speaking,
        offline=settings.offline,
        device=settings.device,
        precision=settings.precision,
        unload_min=settings.unload_min,
    )


@contextlib.contextmanager
def open_dialogue(settings: Settings, *, ephemeral: bool = False) -> Iterator[DialogueManager]:
    """A dialogue over the owner's store, or with `ephemeral` over one that is gone afterwards.

    Raises:
        StoreError: when the store cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        folder = settings.data_dir
        if ephemeral:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lucid-")))
        store = ConversationStore(folder)
        stack.callback(store.close)
        engines = make_engines(settings)
        stack.callback(engines.close)
        yield DialogueManager(engines, store, settings)
