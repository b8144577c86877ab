"""How often a call is made again, and after what pause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollover.engine.retries import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_ATTEMPTS,
    Missed,
    insist,
)
from rollover.errors import Unreachable


def missed(number: int, *, again: bool = True) -> Missed:
    """An attempt that came to nothing."""
    error = Unreachable(f"attempt {number}", system="director", operation="GET /info")
    return Missed(error, again=again)


def attempts(*results: str | Missed) -> Callable[[], str | Missed]:
    """A call that comes to each of these, one after another."""
    left = iter(results)
    return lambda: next(left)


def test_a_call_that_succeeds_is_made_once() -> None:
    """Nothing is waited for."""
    pauses: list[float] = []
    assert insist(attempts("answer"), pause=pauses.append) == "answer"
    assert pauses == []


def test_what_may_pass_is_waited_for_longer_each_time() -> None:
    """The answer of a later attempt counts; pauses grow within bounds."""
    pauses: list[float] = []
    assert insist(attempts(missed(1), missed(2), "answer"), pause=pauses.append) == "answer"
    assert pauses == sorted(pauses)
    assert FIRST_PAUSE_SECONDS / 2 <= pauses[0] <= pauses[-1] <= LONGEST_PAUSE_SECONDS


def test_after_the_last_attempt_its_error_is_raised() -> None:
    """There are as many pauses as there are further attempts."""
    pauses: list[float] = []
    numbered = [missed(number) for number in range(1, MOST_ATTEMPTS + 1)]
    with pytest.raises(Unreachable, match=f"attempt {MOST_ATTEMPTS}"):
        insist(attempts(*numbered), pause=pauses.append)
    assert len(pauses) == MOST_ATTEMPTS - 1


def test_what_might_happen_twice_is_not_done_again() -> None:
    """Only the adapter knows what was sent; it says so of each attempt."""
    pauses: list[float] = []
    with pytest.raises(Unreachable, match="attempt 2"):
        insist(attempts(missed(1), missed(2, again=False), "answer"), pause=pauses.append)
    assert len(pauses) == 1
