"""What happens in the list of conversations: rename, delete, clear, search. Outputs as in handlers_chat.py."""

from __future__ import annotations

from collections.abc import Iterator

from ui.calls import Call, guarded, signal
from ui.handlers_chat import SKIP, Outputs
from ui.markdown import plain_title
from ui.services import PageServices
from ui.sidebar import conversations_html, hits_html

MAX_TITLE = 120


class ListHandlers:
    """The list of conversations."""

    def __init__(self, services: PageServices) -> None:
        self._services = services

    @guarded
    def rename(self, call: Call) -> Iterator[Outputs]:
        """Gives the conversation `message` another title. (`conversation` is the one on the page.)"""
        title = " ".join(call.text.split())[:MAX_TITLE]
        if title:
            self._services.store.rename(call.message, title)
        renamed = {"title": plain_title(title)} if title and call.message == call.conversation else {}
        yield SKIP, SKIP, self._all(call), signal(renamed=call.message, **renamed)

    @guarded
    def delete(self, call: Call) -> Iterator[Outputs]:
        """Erases the conversation `message` with its files; its answer under way is stopped first."""
        self._services.turns.stop(call.message)
        self._services.store.delete(call.message)
        yield SKIP, SKIP, self._all(call), signal(deleted=call.message)

    @guarded
    def clear(self, call: Call) -> Iterator[Outputs]:
        """Erases all messages of the conversation on the page."""
        self._services.turns.stop(call.conversation)
        messages = self._services.store.messages(call.conversation)
        if messages:
            self._services.store.truncate_from(messages[0].id)
        yield [], [], self._all(call), signal(cleared=True, busy=False)

    @guarded
    def search(self, call: Call) -> Iterator[Outputs]:
        """Lists what was found, or every conversation when nothing is searched for."""
        query = call.text.strip()
        if not query:
            yield SKIP, SKIP, self._all(call), SKIP
            return
        yield SKIP, SKIP, hits_html(self._services.store.search(query), query, call.language), SKIP

    def _all(self, call: Call) -> str:
        return conversations_html(self._services.store.conversations(), call.language, chosen=call.conversation)
