"""Cancellation and the one way in which work in a thread reaches an iterator."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from models.errors import Cancelled

T = TypeVar("T")


class CancelScope:
    """A generation counter: every `begin` or `cancel` makes all earlier tokens stale.

    One scope belongs to one conversation, so that a new turn there ends the one before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0

    def begin(self) -> CancelToken:
        """Starts a new piece of work; whatever was begun earlier counts as cancelled."""
        with self._lock:
            self._generation += 1
            return CancelToken(self, self._generation)

    def cancel(self) -> None:
        """Cancels whatever is under way."""
        with self._lock:
            self._generation += 1

    def is_current(self, generation: int) -> bool:
        return self._generation == generation


@dataclass(frozen=True)
class CancelToken:
    """What every stage checks. Cheap enough to ask once a token."""

    scope: CancelScope = field(repr=False)
    generation: int

    @property
    def cancelled(self) -> bool:
        return not self.scope.is_current(self.generation)

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` when the work is no longer wanted."""
        if self.cancelled:
            raise Cancelled


def never_cancelled() -> CancelToken:
    """A token of a scope that nobody else holds."""
    return CancelScope().begin()


@dataclass(frozen=True)
class _Done:
    pass


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class Outlet(Generic[T]):
    """What a producer is given: `put` hands one item on, and blocks while the reader is behind."""

    def __init__(self, items: queue.Queue[Any], closed: threading.Event) -> None:
        self._items = items
        self._closed = closed

    def put(self, item: T) -> None:
        """Hands `item` to the reader. Raises `Cancelled` once the reader has gone."""
        self._offer(item)

    def _offer(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=0.05)
                return
            except queue.Full:
                continue
        raise Cancelled


def iterate_in_threads(
    *producers: Callable[[Outlet[T]], None], capacity: int = 64, name: str = "lucid-worker"
) -> Iterator[T]:
    """Runs each producer in a thread of its own and yields what they put, in the order of arrival.

    Ends when every producer has returned. An exception in any of them is raised here, after the others were told to
    stop; `Cancelled` ends its producer silently. Closing the iterator early stops the producers at their next `put`.

    Args:
        producers: functions that take an `Outlet` and put items into it.
        capacity: items held for a slow reader before the producers wait (bounded, so that memory is).
        name: the threads' name, for debuggers.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=capacity)
    closed = threading.Event()
    outlet: Outlet[T] = Outlet(items, closed)

    def run(producer: Callable[[Outlet[T]], None]) -> None:
        ending: _Done | _Failed = _Done()
        try:
            producer(outlet)
        except Cancelled:
            ending = _Done()
        except BaseException as error:  # raised again where the caller reads
            # The traceback would keep every frame's tensors alive for as long as the error is.
            ending = _Failed(error)
        try:
            outlet._offer(ending)
        except Cancelled:
            return  # the reader has gone, and with it the interest in how this ended

    threads = [threading.Thread(target=run, args=(p,), name=name, daemon=True) for p in producers]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            item = items.get()
            if isinstance(item, _Done):
                running -= 1
            elif isinstance(item, _Failed):
                raise item.error
            else:
                yield item
    finally:
        closed.set()
        for thread in threads:
            thread.join(timeout=5.0)
