"""Which event of the page runs which handler."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from ui.handlers_chat import ChatHandlers
from ui.handlers_list import ListHandlers
from ui.handlers_settings import SettingsHandlers
from ui.layout import PageView
from ui.services import PageServices

# No spinner over what changes, no waiting for an earlier call of the same kind, not offered to outside clients.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "multiple", "api_visibility": "private"}


def wire(view: PageView, services: PageServices) -> None:
    """Connects the components in the current `gr.Blocks` with their handlers."""
    _wire_calls(view, services)
    _wire_settings(view, services)


def _wire_calls(view: PageView, services: PageServices) -> None:
    chat, listed = ChatHandlers(services), ListHandlers(services)
    outputs = [view.history, view.live, view.listed, view.signal]
    handlers = {
        "open": chat.open,
        "earlier": chat.earlier,
        "send": chat.send,
        "edit": chat.edit,
        "again": chat.again,
        "prompt": chat.prompt,
        "rename": listed.rename,
        "delete": listed.delete,
        "clear": listed.clear,
        "search": listed.search,
    }
    for call, handler in handlers.items():
        getattr(view.bridge, call)(handler, None, outputs, concurrency_limit=None, **_QUIET)
    # Stopping must not stand in a queue behind what it stops.
    view.bridge.stop(chat.stop, None, None, queue=False, **_QUIET)


def _wire_settings(view: PageView, services: PageServices) -> None:
    handlers, parts = SettingsHandlers(services), view.settings
    shown = [
        parts.seeing, parts.hearing, parts.speaking, parts.speak, parts.voice, parts.speed, parts.dictation,
        parts.persona, parts.prompt, parts.language, *parts.sampling.values(),
    ]  # fmt: skip
    view.bridge.settings(handlers.show, None, shown, **_QUIET)
    view.bridge.engines(handlers.engines, None, [parts.seeing, parts.hearing, parts.speaking], **_QUIET)
    view.bridge.prefer(handlers.prefer, None, view.signal, **_QUIET)
    parts.seeing.input(partial(handlers.use, "seeing"), parts.seeing, view.signal, **_QUIET)
    parts.hearing.input(partial(handlers.use, "hearing"), parts.hearing, view.signal, **_QUIET)
    parts.speaking.input(partial(handlers.use, "speaking"), parts.speaking, view.signal, **_QUIET)
    for name, part in parts.sampling.items():
        changed = part.release if isinstance(part, gr.Slider) else part.input
        changed(partial(handlers.sample, name), part, view.signal, **_QUIET)
    parts.usual.click(handlers.usual_sampling, None, [*parts.sampling.values(), view.signal], **_QUIET)
    parts.speak.input(handlers.speak, parts.speak, view.signal, **_QUIET)
    parts.voice.input(handlers.voice, parts.voice, view.signal, **_QUIET)
    parts.speed.release(handlers.speed, parts.speed, view.signal, **_QUIET)
    parts.dictation.input(handlers.dictation, parts.dictation, view.signal, **_QUIET)
    parts.persona.input(handlers.persona_text, parts.persona, parts.prompt, **_QUIET)
    kept = [parts.persona, parts.name, view.signal]
    parts.keep.click(handlers.keep_persona, [parts.name, parts.prompt, parts.language], kept, **_QUIET)
    forgotten = [parts.persona, view.signal]
    parts.remove.click(handlers.remove_persona, [parts.persona, parts.language], forgotten, **_QUIET)
