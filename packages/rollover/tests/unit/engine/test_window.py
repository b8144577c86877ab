"""The pace of a rollout: canaries first, then a window that slides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.engine.ports import Pacing
from rollover.engine.rollout import in_window
from rollover.fleet.evidence import Applied, Failed, Order, Result
from rollover.fleet.names import InstanceName

PATIENCE_SECONDS = 60.0
"""A test that has to wait so long has failed."""


def orders(count: int) -> list[Order]:
    """Return orders for the instances `0`, `1`, …."""
    return [Order(instance=InstanceName(str(number)), endpoints=()) for number in range(count)]


def applied(order: Order) -> Result:
    """Confirm an order."""
    return Applied(instance=order.instance, seconds=0.0)


def failed(order: Order) -> Result:
    """Refuse an order."""
    return Failed(instance=order.instance, seconds=0.0, code="rejected", message="no")


def never() -> bool:
    """Nobody stops it."""
    return False


class Crew:
    """Work that notes who is at it at the same time."""

    def __init__(self, work: Callable[[Order], Result] = applied) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0
        self.begun: list[str] = []

    def __call__(self, order: Order) -> Result:
        """Work one order."""
        with self._lock:
            self.begun.append(order.instance)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            return self._work(order)
        finally:
            with self._lock:
                self._running -= 1


@examples(40)
@given(st.integers(0, 12), st.integers(0, 4), st.integers(1, 5))
def test_every_order_is_worked_once_and_never_more_at_once_than_allowed(
    count: int, canaries: int, width: int
) -> None:
    """All are done, and `max_in_flight` holds at every moment."""
    crew = Crew()
    pacing = Pacing(canaries=canaries, max_in_flight=width)
    results = list(in_window(crew, orders(count), pacing=pacing, stopping=never))
    assert sorted(int(result.instance) for result in results) == list(range(count))
    assert sorted(map(int, crew.begun)) == list(range(count))
    assert crew.most <= width


def test_canaries_go_one_by_one_before_anybody_else() -> None:
    """Nobody else begins while a canary is at work, and the canaries not side by side."""
    crew = Crew()
    pacing = Pacing(canaries=2, max_in_flight=3)
    running = in_window(crew, orders(5), pacing=pacing, stopping=never)
    first = [item.instance for item in islice(running, 2)]
    assert first == ["0", "1"]
    assert crew.begun == ["0", "1"]
    assert crew.most == 1
    assert len(list(running)) == 3


def test_a_canary_that_fails_ends_the_rollout() -> None:
    """Nobody else is touched."""
    crew = Crew(failed)
    pacing = Pacing(canaries=1, max_in_flight=3)
    results = list(in_window(crew, orders(5), pacing=pacing, stopping=never))
    assert [type(result) for result in results] == [Failed]
    assert crew.begun == ["0"]


def test_the_window_is_used_in_full() -> None:
    """As many as allowed are at work at once: they meet at a barrier that nobody passes alone."""
    barrier = threading.Barrier(3, timeout=PATIENCE_SECONDS)

    def meet(order: Order) -> Result:
        barrier.wait()
        return applied(order)

    pacing = Pacing(canaries=0, max_in_flight=3)
    results = list(in_window(meet, orders(6), pacing=pacing, stopping=never))
    assert len(results) == 6


def test_a_slow_instance_holds_up_nobody_else() -> None:
    """Instance 0 is released only once all others are done: fixed batches would never end."""
    others = threading.Semaphore(0)

    def work(order: Order) -> Result:
        if order.instance != "0":
            others.release()
            return applied(order)
        seen = [others.acquire(timeout=PATIENCE_SECONDS) for _ in range(7)]
        return applied(order) if all(seen) else failed(order)

    pacing = Pacing(canaries=0, max_in_flight=2)
    results = list(in_window(work, orders(8), pacing=pacing, stopping=never))
    assert all(isinstance(result, Applied) for result in results)
    assert len(results) == 8


def test_the_next_begins_while_a_result_is_looked_at() -> None:
    """Whoever reads the results may be slow: the window does not wait for that."""
    begun = {str(number): threading.Event() for number in range(3)}

    def work(order: Order) -> Result:
        begun[order.instance].set()
        return applied(order)

    pacing = Pacing(canaries=0, max_in_flight=1)
    running = in_window(work, orders(3), pacing=pacing, stopping=never)
    assert next(running).instance == "0"
    assert begun["1"].wait(PATIENCE_SECONDS)
    assert len(list(running)) == 2


def test_after_a_failure_nobody_is_begun_and_those_begun_are_finished() -> None:
    """The failing one and the one beside it are reported; the rest is not touched."""
    side_by_side = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    told = threading.Event()

    def work(order: Order) -> Result:
        side_by_side.wait()
        if order.instance == "0":
            return failed(order)
        told.wait(PATIENCE_SECONDS)
        return applied(order)

    crew = Crew(work)
    pacing = Pacing(canaries=0, max_in_flight=2)
    results = []
    for item in in_window(crew, orders(9), pacing=pacing, stopping=never):
        results.append(item)
        told.set()
    assert {result.instance: type(result) for result in results} == {"0": Failed, "1": Applied}
    assert sorted(crew.begun) == ["0", "1"]


def test_a_stop_lets_those_begun_finish_and_begins_nobody() -> None:
    """Stopping is looked at before each instance."""
    stop = threading.Event()

    def work(order: Order) -> Result:
        stop.set()
        return applied(order)

    crew = Crew(work)
    pacing = Pacing(canaries=1, max_in_flight=2)
    results = list(in_window(crew, orders(9), pacing=pacing, stopping=stop.is_set))
    assert [result.instance for result in results] == ["0"]
    assert crew.begun == ["0"]


def test_a_stop_within_the_window_ends_it() -> None:
    """Also when it comes after the canaries."""
    stop = threading.Event()

    def work(order: Order) -> Result:
        if order.instance == "3":
            stop.set()
        return applied(order)

    crew = Crew(work)
    pacing = Pacing(canaries=1, max_in_flight=1)
    results = list(in_window(crew, orders(9), pacing=pacing, stopping=stop.is_set))
    assert [result.instance for result in results] == ["0", "1", "2", "3"]


def test_nothing_is_begun_when_it_should_stop_from_the_start() -> None:
    """A stop that was asked for before touches nobody."""
    crew = Crew()
    pacing = Pacing(canaries=0, max_in_flight=4)
    assert not list(in_window(crew, orders(5), pacing=pacing, stopping=lambda: True))
    assert crew.begun == []
