"""What the page's JavaScript asks of the server through the bridge component, checked before anything uses it."""

from __future__ import annotations

import functools
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from models.errors import AssistantError
from ui.i18n import Language, language_of, text
from ui.owner_sentences import in_language

log = logging.getLogger(__name__)

MAX_FILES = 16
MAX_TEXT = 200_000

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """One call of the page.

    Attributes:
        conversation: the conversation on the page, "" for a new one.
        message: the message that is meant.
        text: the words: a question, a title, a search.
        files: tokens of the inbox.
        sound: id of the channel on which the page listens for the spoken answer, "" when it does not.
        shown: how many messages are on the page.
        language: of the page.
        session: names the browser tab.
    """

    conversation: str = ""
    message: str = ""
    text: str = ""
    files: tuple[str, ...] = ()
    sound: str = ""
    shown: int = 0
    language: Language = "en"
    session: str = ""

    @classmethod
    def of(cls, event: gr.EventData, request: gr.Request) -> Call:
        """Takes what is usable of the event's data; the rest stays at its default."""
        data: dict[str, Any] = event._data if isinstance(event._data, dict) else {}

        def words(name: str) -> str:
            value = data.get(name)
            return value[:MAX_TEXT] if isinstance(value, str) else ""

        files, shown = data.get("files"), data.get("shown")
        return cls(
            words("conversation"),
            words("message"),
            words("text"),
            tuple(f for f in files if isinstance(f, str))[:MAX_FILES] if isinstance(files, list) else (),
            words("sound"),
            shown if isinstance(shown, int) and 0 <= shown <= 100_000 else 0,
            language_of(words("language")),
            str(request.session_hash or ""),
        )


def signal(**values: Any) -> str:
    """A message to the page's JavaScript, as JSON with no "<" in it: Gradio keeps it in a component that takes HTML.

    The number makes two equal messages differ, so that none is overlooked.
    """
    return json.dumps({"n": next(_numbers), **values}, ensure_ascii=False).replace("<", "\\u003c")


def guarded(
    handler: Callable[[Any, Call], Iterator[tuple[Any, ...]]],
) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """Makes a Gradio event handler of a method that takes a `Call` and yields outputs, the signal last.

    A failure that the owner can read becomes a notice on the page.
    """

    @functools.wraps(handler)
    def handle(self: Any, event: gr.EventData, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        call = Call.of(event, request)
        try:
            yield from handler(self, call)
        except AssistantError as error:
            yield (*[gr.skip()] * 3, signal(notice=in_language(str(error), call.language), busy=False))
        except Exception as error:  # a slip of ours: the page says so and can still be used
            log.exception("a call of the page failed")
            sentence = text("broke", call.language, kind=type(error).__name__)
            yield (*[gr.skip()] * 3, signal(notice=sentence, busy=False, opened=True))

    # Gradio reads the annotations of the handler itself to know what to pass.
    handle.__annotations__ = {"event": gr.EventData, "request": gr.Request}
    del handle.__wrapped__
    return handle
