"""Turns that are being answered. A turn runs in a thread of its own, so it goes on when the page looks elsewhere or is
loaded anew; a page follows it through snapshots, never faster than it can draw them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from assistant.dialogue import DialogueManager
from assistant.events import Event, Progress, SpeechChunk, TranscriptReady, TurnEnded, TurnFailed, TurnStarted
from assistant.turn import UserTurn
from models.interfaces import TextDelta
from models.streaming import CancelToken
from ui.sound import SoundChannel

log = logging.getLogger(__name__)

# 20 page updates a second: smooth to the eye, and under the 25 that Gradio's front end keeps up with.
UPDATE_S = 0.05
# So long must an answer have been written before its speed is shown.
STEADY_S = 0.5


@dataclass(frozen=True)
class TurnView:
    """What the page shows of a turn.

    Attributes:
        version: counts the changes; `asked` counts those of the owner's message alone.
        user_id, answer_id: "" until the turn is kept.
        tokens_per_s: how fast the text came so far, 0 while that is not known.
    """

    version: int = 0
    asked: int = 0
    user_id: str = ""
    answer_id: str = ""
    text: str = ""
    progress: Progress | None = None
    failure: TurnFailed | None = None
    over: bool = False
    tokens_per_s: float = 0.0


class RunningTurn:
    """One turn under way.

    Args:
        turn: what the owner asked.
        sound: takes the spoken answer; None where none is wanted.
        on_over: called once, when the turn has ended.
    """

    def __init__(self, turn: UserTurn, sound: SoundChannel | None, on_over: Callable[[RunningTurn], None]) -> None:
        self.turn = turn
        self._sound = sound
        self._on_over = on_over
        self._view = TurnView()
        self._pieces: list[str] = []
        self._changed = threading.Condition()
        self._tokens = 0
        self._first_s = 0.0

    def run(self, dialogue: DialogueManager, cancel: CancelToken) -> None:
        """Takes the turn's events until it has ended."""
        try:
            for event in dialogue.respond(self.turn, cancel):
                self._take(event)
        except Exception as error:
            log.exception("a turn broke")
            self._take(TurnFailed(f"Something went wrong inside Lucid ({type(error).__name__})."))
        finally:
            if self._sound is not None:
                self._sound.close()
            self._on_over(self)
            self._change(over=True)

    def view(self) -> TurnView:
        with self._changed:
            return replace(self._view, text="".join(self._pieces))

    def follow(self, watching: CancelToken) -> Iterator[TurnView]:
        """Snapshots, at most one every `UPDATE_S`, the last one when the turn is over. Ends early when the page that
        `watching` stands for looks elsewhere."""
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._view.version != seen, timeout=0.5)  # noqa: B023
            if watching.cancelled:
                return
            view = self.view()
            if view.version != seen:
                yield view
            if view.over:
                return
            seen = view.version
            time.sleep(UPDATE_S)

    def _take(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            with self._changed:
                self._pieces.append(event.text)
            self._change(progress=None, tokens_per_s=self._speed(event.tokens))
        elif isinstance(event, SpeechChunk):
            if self._sound is not None:
                self._sound.put(event)
        elif isinstance(event, Progress):
            self._change(progress=event)
        elif isinstance(event, TurnStarted):
            self._change(user_id=event.user_message_id, answer_id=event.answer_message_id, asked=1)
        elif isinstance(event, TranscriptReady):
            self._change(asked=self._view.asked + 1)
        elif isinstance(event, TurnFailed):
            self._change(failure=event, progress=None)
        elif isinstance(event, TurnEnded):
            self._change(progress=None)

    def _speed(self, tokens: int) -> float:
        """Tokens per second, the first one not counted; 0 until there are enough of them to say."""
        now = time.monotonic()
        if not self._tokens:
            self._first_s = now
        self._tokens += tokens
        wrote = now - self._first_s
        return (self._tokens - 1) / wrote if wrote >= STEADY_S else 0.0

    def _change(self, **changes: object) -> None:
        with self._changed:
            self._view = replace(self._view, version=self._view.version + 1, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()


class RunningTurns:
    """At most one turn of each conversation: a new one ends the one before it, through the conversation's scope."""

    def __init__(self, dialogue: DialogueManager) -> None:
        self._dialogue = dialogue
        self._running: dict[str, RunningTurn] = {}
        self._lock = threading.Lock()

    def start(
        self, turn: UserTurn, sound: SoundChannel | None = None, on_over: Callable[[], None] | None = None
    ) -> RunningTurn:
        """Begins to answer `turn`. `on_over` is called when it has ended, however it ended."""
        cancel = self._dialogue.scope(turn.conversation_id).begin()

        def ended(running: RunningTurn) -> None:
            with self._lock:
                if self._running.get(turn.conversation_id) is running:
                    del self._running[turn.conversation_id]
            if on_over is not None:
                on_over()

        running = RunningTurn(turn, sound, ended)
        with self._lock:
            self._running[turn.conversation_id] = running
        threading.Thread(target=running.run, args=(self._dialogue, cancel), name="lucid-turn", daemon=True).start()
        return running

    def of(self, conversation_id: str) -> RunningTurn | None:
        """The turn that is being answered in a conversation, if there is one."""
        with self._lock:
            return self._running.get(conversation_id)

    def stop(self, conversation_id: str) -> None:
        """Stops the answer, within a token."""
        self._dialogue.scope(conversation_id).cancel()

    def stop_all(self) -> None:
        """Stops every answer, when Lucid closes."""
        with self._lock:
            conversations = list(self._running)
        for conversation_id in conversations:
            self.stop(conversation_id)
