"""What happens when the owner sends, edits, asks again, or opens a conversation. Every handler yields values for
(history, live turn, list of conversations, signal)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from assistant.store import StoredMessage
from assistant.turn import UserTurn
from models.errors import BadInput, StoreError
from models.streaming import CancelScope, CancelToken
from ui.calls import Call, guarded, signal
from ui.convert import PAGE_LENGTH, asked_html, history_of, running_messages, user_html
from ui.inbox import Upload
from ui.markdown import plain_title
from ui.owner_sentences import in_language
from ui.services import PageServices
from ui.sidebar import conversations_html
from ui.turns import RunningTurn, TurnView

Outputs = tuple[Any, Any, Any, Any]
SKIP = gr.skip()
MAX_TABS = 64


class ChatHandlers:
    """Conversations on the page."""

    def __init__(self, services: PageServices) -> None:
        self._services = services
        self._watching: OrderedDict[str, CancelScope] = OrderedDict()
        self._lock = threading.Lock()

    @guarded
    def open(self, call: Call) -> Iterator[Outputs]:
        """Shows a conversation ("" for a new one), and goes on following its answer if one is under way."""
        watching = self._look(call)
        known = {c.id: c for c in self._services.store.conversations()}
        if call.conversation not in known:
            yield [], [], self._list(call, ""), signal(conversation="", title="", busy=False, opened=True)
            return
        running = self._services.turns.of(call.conversation)
        messages = self._services.store.messages(call.conversation)
        shown = max(PAGE_LENGTH, call.shown)
        state = {
            "conversation": call.conversation,
            "title": plain_title(known[call.conversation].title),
            "opened": True,
        }
        if running is None:
            history = history_of(messages, shown, call.language)
            yield history, [], self._list(call, call.conversation), signal(**state, busy=False, shown=shown)
            return
        begun = running.view()
        earlier = _before(messages, begun.user_id or running.turn.replaces or "")
        yield (
            history_of(earlier, shown, call.language),
            [],
            self._list(call, call.conversation),
            signal(**state, busy=True, shown=shown),
        )
        yield from self._follow(running, call, watching, asked_html(running.turn.text, ()))

    @guarded
    def earlier(self, call: Call) -> Iterator[Outputs]:
        """Shows more of a conversation."""
        shown = max(call.shown, PAGE_LENGTH) + PAGE_LENGTH
        messages = self._services.store.messages(call.conversation)
        yield history_of(messages, shown, call.language), SKIP, SKIP, signal(shown=shown, keep_place=True)

    @guarded
    def send(self, call: Call) -> Iterator[Outputs]:
        """Asks something new."""
        try:
            uploads = [self._services.inbox.find(token) for token in call.files]
            if not call.text.strip() and not uploads:
                raise BadInput("There was nothing to send.", "Type a question, or add a picture, sound or video.")
        except BadInput as error:
            self._services.sounds.forget(call.sound)
            yield SKIP, SKIP, SKIP, signal(notice=in_language(str(error), call.language), busy=False, refused=True)
            return
        conversation = call.conversation or self._services.store.create().id
        turn = self._turn(conversation, call, uploads)
        asked = asked_html(call.text, [u.name for u in uploads])
        yield from self._answer(turn, call, asked, [u.token for u in uploads])

    @guarded
    def edit(self, call: Call) -> Iterator[Outputs]:
        """Puts other words in the place of an earlier message, and goes on from there."""
        yield from self._replace(call, text=call.text)

    @guarded
    def again(self, call: Call) -> Iterator[Outputs]:
        """Answers a message once more."""
        yield from self._replace(call)

    @guarded
    def prompt(self, call: Call) -> Iterator[Outputs]:
        """Gives the conversation on the page (a new one, where there is none) another system prompt."""
        if call.conversation:
            self._services.store.set_system(call.conversation, call.text.strip())
            yield SKIP, SKIP, SKIP, signal(saved=True)
            return
        made = self._services.store.create(system=call.text.strip())
        yield [], [], self._list(call, made.id), signal(conversation=made.id, title="", opened=True, saved=True)

    def stop(self, event: gr.EventData, request: gr.Request) -> None:
        """Stops the answer of the conversation on the page."""
        call = Call.of(event, request)
        if call.conversation:
            self._services.turns.stop(call.conversation)

    def _replace(self, call: Call, **changes: Any) -> Iterator[Outputs]:
        services = self._services
        message = services.store.message(call.message)
        turn = services.dialogue.turn_of(
            call.message,
            speak=bool(call.sound),
            speech=services.preferences.current.speech,
            generation=services.generation,
            **changes,
        )
        asked = asked_html(turn.text, [a.name for a in message.attachments])
        yield from self._answer(turn, call, asked, ())

    def _turn(self, conversation: str, call: Call, uploads: Sequence[Upload]) -> UserTurn:
        def of_kind(kind: str) -> tuple[Any, ...]:
            return tuple(u.path for u in uploads if u.kind == kind)

        return UserTurn(
            conversation,
            call.text,
            of_kind("image"),
            of_kind("audio"),
            of_kind("video"),
            {u.path: u.name for u in uploads},
            speak=bool(call.sound),
            speech=self._services.preferences.current.speech,
            generation=self._services.generation,
        )

    def _answer(self, turn: UserTurn, call: Call, asked: str, tokens: Sequence[str]) -> Iterator[Outputs]:
        """Starts a turn and follows it. The files of `tokens` stay in the inbox only if the turn was refused."""
        services = self._services
        watching = self._look(call)
        channel = services.sounds.channel(call.sound) if call.sound else None
        running: RunningTurn | None = None

        def over() -> None:
            services.sounds.forget(call.sound)
            if running is None or running.view().user_id:
                for token in tokens:
                    services.inbox.discard(token)

        earlier = _before(services.store.messages(turn.conversation_id), turn.replaces or "")
        running = services.turns.start(turn, channel, over)
        shown = max(PAGE_LENGTH, call.shown)
        history = history_of(earlier, shown, call.language)
        first = running_messages(TurnView(), asked, call.language)
        yield history, first, SKIP, signal(conversation=turn.conversation_id, busy=True, began=True)
        yield from self._follow(running, call, watching, asked)

    def _follow(self, running: RunningTurn, call: Call, watching: CancelToken, asked: str) -> Iterator[Outputs]:
        """Shows a turn until it is over or the page looks elsewhere."""
        conversation, seen, view = running.turn.conversation_id, 0, running.view()
        for view in running.follow(watching):
            listed: Any = SKIP
            if view.asked != seen and view.user_id:
                asked = user_html(self._services.store.message(view.user_id), call.language)
                listed = self._list(call, conversation) if not seen else SKIP
                seen = view.asked
            if not view.over:
                yield SKIP, running_messages(view, asked, call.language), listed, SKIP
        if watching.cancelled:
            # Gradio closes a stream by sending its last values again: these change nothing on a page that has gone on.
            yield SKIP, SKIP, SKIP, SKIP
        else:
            yield self._ended(view, running, call, asked)

    def _ended(self, view: TurnView, running: RunningTurn, call: Call, asked: str) -> Outputs:
        conversation = running.turn.conversation_id
        try:
            title = plain_title(self._services.store.conversation(conversation).title)
        except StoreError:  # deleted while it was being answered
            return [], [], self._list(call, ""), signal(deleted=conversation, busy=False)
        listed = self._list(call, conversation)
        state = {"conversation": conversation, "title": title, "busy": False, "ended": True}
        if not view.user_id:  # refused before it was kept: the owner gets the words and files back
            return SKIP, running_messages(view, asked, call.language), listed, signal(**state, refused=True)
        messages = self._services.store.messages(conversation)
        history = history_of(messages, max(PAGE_LENGTH, call.shown), call.language)
        said = in_language(view.failure.message, call.language) if view.failure else view.text
        return history, [], listed, signal(**state, announce=said[:2000], answer=view.answer_id)

    def _list(self, call: Call, chosen: str) -> str:
        return conversations_html(self._services.store.conversations(), call.language, chosen=chosen)

    def _look(self, call: Call) -> CancelToken:
        """From here on the page of this session shows this; what it followed before is left alone."""
        with self._lock:
            scope = self._watching.setdefault(call.session, CancelScope())
            self._watching.move_to_end(call.session)
            while len(self._watching) > MAX_TABS:
                self._watching.popitem(last=False)[1].cancel()
            return scope.begin()


def _before(messages: Sequence[StoredMessage], message_id: str) -> list[StoredMessage]:
    """The messages up to one of them (all, when it is not there)."""
    found: list[StoredMessage] = []
    for message in messages:
        if message.id == message_id:
            break
        found.append(message)
    return found
