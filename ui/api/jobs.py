"""Work in an engine for one request: it waits its turn, runs in a thread, ends soon after the client has hung up."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from models.errors import AssistantError, Cancelled
from models.streaming import CancelScope, CancelToken
from ui.api.errors import RequestRefused

log = logging.getLogger(__name__)
T = TypeVar("T")

# Those who wait hold their request in memory, and a program that is told to come back later can do something else.
MOST_WAITING = 8
_RETRY_S = (1, 30)


class Line:
    """The requests for one engine, which answers one at a time: first come, first served, and not endlessly many.

    Used from the event loop only.

    Attributes:
        inside: how many wait or are being served.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._turn = asyncio.Lock()  # wakes those who wait in the order in which they came
        self._most = most_waiting + 1
        self.inside = 0
        self._begun = 0.0
        self._took_s = 0.0

    def join(self) -> None:
        """Takes a place. Raises `RequestRefused` (429) when there is none; otherwise `leave` must follow."""
        if self.inside >= self._most:
            wait = min(_RETRY_S[1], max(_RETRY_S[0], round(self._took_s)))
            raise RequestRefused(
                f"{self._most - 1} requests are waiting already; try again later.",
                status=429,
                code="queue_full",
                headers={"retry-after": str(wait)},
            )
        self.inside += 1

    async def turn(self) -> None:
        """Waits until it is the caller's turn; `done` must follow."""
        await self._turn.acquire()
        self._begun = time.monotonic()

    def done(self) -> None:
        """Lets the next one begin."""
        self._took_s = time.monotonic() - self._begun
        self._turn.release()

    def leave(self) -> None:
        """Gives the place up."""
        self.inside -= 1


class Job(Generic[T]):
    """An engine's work, read as it is made: `async for item in job`.

    The thread never waits for its reader: a client that reads slowly must not keep others, or the page, from the
    engine. What waits to be read is bounded by the length of an answer.

    Args:
        request: its client's hanging up cancels the work, whether it waits or runs.
        line: of the engine.
        work: called in a thread of its own.

    Raises:
        RequestRefused: too many are waiting.
    """

    def __init__(self, request: Request, line: Line, work: Callable[[CancelToken], Iterator[T]]) -> None:
        line.join()
        self._line = line
        self._work = work
        self._scope = CancelScope()
        self._token = self._scope.begin()
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._waiting = asyncio.create_task(self._begin())
        self._waiting.add_done_callback(self._begun)
        self._watching = asyncio.create_task(self._watch(request))

    async def __aiter__(self) -> AsyncIterator[T]:
        """What the work yields, then what it raised. Ends early, without an error, when it was stopped."""
        while (item := await self._items.get()) is not _END:
            if isinstance(item, AssistantError):
                raise item
            yield item

    @property
    def stopped(self) -> bool:
        """Whether the client has gone (or the job was stopped)."""
        return self._token.cancelled

    def stop(self) -> None:
        """Ends the work within a token; does nothing once it has ended."""
        self._scope.cancel()
        self._waiting.cancel()
        self._watching.cancel()

    async def _begin(self) -> None:
        await self._line.turn()
        try:
            threading.Thread(target=self._run, name="lucid-api", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._items.put_nowait(RequestRefused(f"Lucid cannot begin to work on this: {error}.", status=503))
            self._end()

    def _begun(self, waiting: asyncio.Task[None]) -> None:
        if waiting.cancelled():  # it never ran, so it is not going to leave by itself
            self._line.leave()
            self._items.put_nowait(_END)

    async def _watch(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue
        self._scope.cancel()
        self._waiting.cancel()

    def _run(self) -> None:
        try:
            for item in self._made():
                self._tell(self._items.put_nowait, item)
        except Cancelled:
            pass
        except AssistantError as error:
            self._tell(self._items.put_nowait, error)
        except Exception as error:
            log.exception("a request failed")
            failure = RequestRefused(
                f"Something went wrong inside Lucid ({type(error).__name__}: {error}).", status=500
            )
            self._tell(self._items.put_nowait, failure)
        finally:
            self._tell(self._end)

    def _made(self) -> Iterator[T]:
        """What the work yields until the client has gone; then its generator is closed, in this thread."""
        items = self._work(self._token)
        try:
            for item in items:
                if self._token.cancelled:
                    return
                yield item
        finally:
            if isinstance(items, Generator):
                items.close()

    def _end(self) -> None:
        self._line.done()
        self._line.leave()
        self._items.put_nowait(_END)

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:  # the server has closed its loop: there is nobody left to tell
            self._scope.cancel()


_END = object()
