"""Running out of memory never ends a conversation: one step down at a time, each told to the owner; the answer goes on.

The steps, those that cannot help left out: what is kept of earlier turns is dropped → half the frames of videos (down
to 2) → pictures of half the longer side (down to 224 pixels) → lower precision → the processor. What was said already
stays said: the model is given it as the beginning of its own answer and goes on behind it.

How long it stays below: fewer frames and smaller pictures hold for the rest of the conversation (until its last
question is no longer among the messages), or until a gigabyte more is free than when they were needed. So does
another precision or device; it is left at the next turn of another conversation if the better one has room by then, but
one that could not even be loaded is tried again only when there is more room than there was. To choose the model anew
starts at the top.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from models.errors import OutOfMemory
from models.free_memory import GIGABYTE, give_back
from models.interfaces import GenerationOptions, SeenPicture, TextDelta, VisionLanguageModel
from models.runtime import DeviceName, Precision, RuntimeChoice, free_memory
from models.seeing.relief import Relief
from models.streaming import CancelToken
from models.types import Message, VideoPart

log = logging.getLogger(__name__)

FEWEST_FRAMES = 2
SMALLEST_SIDE = 224  # pixels; what the smallest vision encoders take
MORE_ROOM = GIGABYTE
_BITS: dict[Precision, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}


class ResilientModel:
    """A `VisionLanguageModel` around another that may run out of memory.

    It is loaded at once. One answer is made at a time; a second caller waits, and its own cancel is obeyed meanwhile.
    What else the other offers (`explain`, `encoder_calls` …) is found here too.

    Args:
        load: makes the model as a choice says. Where it has `forget()`, that drops its caches; `close()` ends it.
        plans: of `models.runtime.plans`; the first is the one that is wanted.
        name: of the model.
        free: bytes free on a device.

    Raises:
        OutOfMemory: it could not be loaded in any way.
    """

    def __init__(
        self,
        load: Callable[[RuntimeChoice], VisionLanguageModel],
        plans: Sequence[RuntimeChoice],
        name: str,
        *,
        free: Callable[[DeviceName], int] = free_memory,
    ) -> None:
        self.name = name
        self._load = load
        self._plans = tuple(plans)
        self._free = free
        self._busy = threading.Lock()
        self._engine: Any = None
        self._at = 0
        self._relief = Relief()
        self._relieved_at = 0  # bytes that were free when the relief was needed
        self._left_at = 0  # bytes that were free where the first plan would run, when it was left
        self._could_load = True
        self._question = ""
        self._notices: list[str] = []
        if not self._enter(0):
            raise self._at_an_end()

    @property
    def choice(self) -> RuntimeChoice:
        """Where and how it runs now."""
        return self._plans[self._at]

    @property
    def context_tokens(self) -> int:
        return int(self._loaded().context_tokens)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return int(self._loaded().count_tokens(self._relief.of(messages)))

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """See `VisionLanguageModel.look`. Steps that were needed are told with the next answer."""
        dropped = False
        while True:
            relief, engine = self._relief, self._loaded()
            seen: tuple[SeenPicture, ...] | None = None
            try:
                seen = engine.look(relief.of(messages))
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
            # Outside `except`, where a traceback would still hold the tensors that did not fit.
            if seen is not None:
                return relief.undone(seen, messages)
            with self._busy:
                self._notices.append(self._step_down(messages, drop=not dropped))
            dropped = True

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """See `VisionLanguageModel.stream`. Raises `OutOfMemory` when the last step did not help either."""
        while not self._busy.acquire(timeout=0.02):
            if cancel.cancelled:
                return
        try:
            self._settle(messages)
            yield from self._answer(messages, options, cancel)
        finally:
            self._busy.release()

    def forget(self) -> None:
        """Drops what is kept of earlier turns."""
        with self._busy:
            self._forget()

    def close(self) -> None:
        """Ends the model; its memory is returned. It loads again when it is asked again."""
        with self._busy:
            self._leave()

    def __getattr__(self, name: str) -> Any:
        engine = None if name.startswith("_") else self._engine
        if engine is None:  # asking what a closed model offers does not load it
            raise AttributeError(name)
        found = getattr(engine, name)
        return functools.partial(self._explain, found) if name == "explain" else found

    def _explain(self, explain: Callable[..., Any], messages: Sequence[Message], answer: str) -> Any:
        """Of the pictures as they were looked at."""
        relief = self._relief
        return relief.undone(explain(relief.of(messages), answer), messages)

    def _answer(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        said, made, dropped = "", 0, False
        while not cancel.cancelled and made < options.max_new_tokens:
            while self._notices:
                yield TextDelta("", 0, self._notices.pop(0))
            if cancel.cancelled:
                return
            asked = _begun(self._relief.of(messages), said)
            rest = replace(options, max_new_tokens=options.max_new_tokens - made)
            failed = False
            try:
                with _closing(self._loaded().stream(asked, rest, cancel)) as deltas:
                    for delta in deltas:
                        said += delta.text
                        made += delta.tokens
                        yield delta
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                failed = True
            if not failed:
                return
            self._notices.append(self._step_down(messages, drop=not dropped))
            dropped = True

    def _step_down(self, messages: Sequence[Message], *, drop: bool) -> str:
        """Takes the next step that can help, and says so. Raises `OutOfMemory` when there is none."""
        if drop and hasattr(self._engine, "forget"):
            self._forget()
            return "Memory ran out, so what was kept of earlier turns was dropped."
        light = self._relief.of(messages)
        frames = max((len(p.clip.frames) for m in light for p in m.parts if isinstance(p, VideoPart)), default=0)
        side = max((max(p.image.size) for m in light for p in m.pictures), default=0)
        if frames > FEWEST_FRAMES or side > SMALLEST_SIDE:
            self._forget()
            self._relieved_at = self._free(self.choice.device)
        if frames > FEWEST_FRAMES:
            fewer = max(FEWEST_FRAMES, frames // 2)
            self._relief = replace(self._relief, frames=fewer)
            return f"Memory ran out, so at most {fewer} frames of a video are looked at."
        if side > SMALLEST_SIDE:
            smaller = max(SMALLEST_SIDE, side // 2)
            self._relief = replace(self._relief, side=smaller)
            return f"Memory ran out, so pictures are looked at with at most {smaller} pixels a side."
        return self._next_plan()

    def _next_plan(self) -> str:
        before = self.choice.device
        after = self._plan_below(self._at)
        if after is None:
            raise self._at_an_end()
        leaving_first = self._at == 0
        self._leave()
        if leaving_first:
            self._left_at, self._could_load = self._free(before), True
        if not self._enter(after):
            raise self._at_an_end()
        return self._told(before)

    def _told(self, before: DeviceName) -> str:
        precision = self.choice.precision
        if self.choice.device == before:
            return f"Memory ran out, so {self.name} goes on with weights in {precision}."
        return f"Memory ran out, so {self.name} goes on on the processor with weights in {precision}, which is slower."

    def _plan_below(self, at: int) -> int | None:
        """The plan after `at`: lower precision on the same device, else the best on the processor."""
        here = self._plans[at]
        usable = [i for i, p in enumerate(self._plans) if p.fits or not any(q.fits for q in self._plans)]
        lower = [
            i
            for i in usable
            if self._plans[i].device == here.device and _BITS[self._plans[i].precision] < _BITS[here.precision]
        ]
        if lower:
            return max(lower, key=lambda i: _BITS[self._plans[i].precision])
        return next((i for i in usable if self._plans[i].device == "cpu" and here.device != "cpu"), None)

    def _enter(self, at: int) -> bool:
        """Loads plan `at`, or the first below it that can be. False when none can."""
        while True:
            engine = None
            try:
                engine = self._load(self._plans[at])
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
            if engine is not None:
                self._engine, self._at = engine, at
                return True
            give_back()
            before = self._plans[at]
            if at == 0:
                self._left_at, self._could_load = self._free(before.device), False
            below = self._plan_below(at)
            if below is None:
                return False
            self._notices.append(
                f"{self.name} did not fit into memory with weights in {before.precision} on {before.device}, so "
                f"{self._plans[below].precision} on {self._plans[below].device} is tried."
            )
            at = below

    def _settle(self, messages: Sequence[Message]) -> None:
        """Before an answer: back up where there is room again, or another conversation begins."""
        another = not any(m.role == "user" and m.text == self._question for m in messages)
        self._question = next((m.text for m in reversed(messages) if m.role == "user"), "")
        if self._relief != Relief() and (another or self._free(self.choice.device) >= self._relieved_at + MORE_ROOM):
            self._relief = Relief()
        if self._at == 0:
            return
        first = self._plans[0]
        room = self._free(first.device) + (self.choice.needed_bytes if self.choice.device == first.device else 0)
        if first.needed_bytes <= room and (room >= self._left_at + MORE_ROOM or (another and self._could_load)):
            self._leave()
            if not self._enter(0):
                raise self._at_an_end()
            if self._at == 0:
                self._notices.append(
                    f"There is memory again, so {self.name} runs on {first.device} with weights in {first.precision}."
                )

    def _loaded(self) -> Any:
        engine = self._engine
        if engine is None:  # it was closed, or its last loading failed
            if not self._enter(self._at):
                raise self._at_an_end()
            engine = self._engine
        return engine

    def _leave(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None and hasattr(engine, "close"):
            engine.close()
        del engine
        give_back()

    def _forget(self) -> None:
        if hasattr(self._engine, "forget"):
            self._engine.forget()
        give_back()

    def _at_an_end(self) -> OutOfMemory:
        return OutOfMemory(
            f"There is not enough memory for {self.name}, and nothing is left to make smaller.",
            "Start a new conversation, attach less, close other programs, or choose a smaller model.",
        )


def _begun(messages: tuple[Message, ...], said: str) -> tuple[Message, ...]:
    """`messages` with what was said of the answer as their end, which the model goes on from."""
    if not said:
        return messages
    last = messages[-1]
    if last.role == "assistant":
        return (*messages[:-1], last.with_text(last.text + said))
    return (*messages, Message.of_text("assistant", said))


@contextlib.contextmanager
def _closing(deltas: Iterator[TextDelta]) -> Iterator[Iterator[TextDelta]]:
    """Ends the engine's generator when its reader leaves, so that the engine is free for the next."""
    try:
        yield deltas
    finally:
        close = getattr(deltas, "close", None)
        if close is not None:
            close()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, OutOfMemory):
        return True
    from models.seeing.generation import is_out_of_memory

    return is_out_of_memory(error)
