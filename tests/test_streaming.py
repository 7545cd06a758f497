"""Cancellation by generations, and threads that feed an iterator."""

import threading
import time

import pytest

from models.errors import Cancelled
from models.streaming import CancelScope, Outlet, iterate_in_threads, never_cancelled


def test_a_new_turn_ends_the_one_before():
    scope = CancelScope()
    first = scope.begin()
    assert not first.cancelled
    second = scope.begin()
    assert first.cancelled
    assert not second.cancelled
    scope.cancel()
    assert second.cancelled
    with pytest.raises(Cancelled):
        second.raise_if_cancelled()


def test_items_arrive_in_the_order_in_which_a_producer_put_them():
    def count(outlet: Outlet[int]) -> None:
        for number in range(500):
            outlet.put(number)

    assert list(iterate_in_threads(count, capacity=3)) == list(range(500))


def test_two_producers_run_at_the_same_time():
    met = threading.Barrier(2, timeout=5)

    def producer(outlet: Outlet[str]) -> None:
        met.wait()  # passes only if the other one runs too
        outlet.put("met")

    assert list(iterate_in_threads(producer, producer)) == ["met", "met"]


def test_a_failure_reaches_the_reader_after_what_came_before_it():
    def fails(outlet: Outlet[int]) -> None:
        outlet.put(1)
        raise ValueError("broken in mid-stream")

    got = []
    with pytest.raises(ValueError, match="broken in mid-stream"):
        for item in iterate_in_threads(fails):
            got.append(item)
    assert got == [1]


def test_a_failure_stops_the_other_producer():
    stopped = threading.Event()

    def endless(outlet: Outlet[int]) -> None:
        try:
            while True:
                outlet.put(0)
        except Cancelled:
            stopped.set()
            raise

    def fails(outlet: Outlet[int]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        for _ in iterate_in_threads(endless, fails, capacity=2):
            pass
    assert stopped.wait(2)


def test_a_reader_that_leaves_stops_the_producer():
    stopped = threading.Event()

    def endless(outlet: Outlet[int]) -> None:
        try:
            while True:
                outlet.put(0)
        finally:
            stopped.set()

    stream = iterate_in_threads(endless, capacity=2)
    next(stream)
    stream.close()
    assert stopped.wait(2)


def test_a_slow_reader_holds_the_producer_back():
    made = []

    def eager(outlet: Outlet[int]) -> None:
        for number in range(100):
            outlet.put(number)
            made.append(number)

    stream = iterate_in_threads(eager, capacity=4)
    next(stream)
    time.sleep(0.2)
    assert len(made) <= 6
    stream.close()


def test_a_cancelled_producer_ends_silently():
    def cancelled(outlet: Outlet[int]) -> None:
        outlet.put(1)
        raise Cancelled

    assert list(iterate_in_threads(cancelled)) == [1]
    assert not never_cancelled().cancelled
