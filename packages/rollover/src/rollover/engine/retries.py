"""Calls an outside system again after a failure that may pass: the one place where that is done.

An adapter tells of each attempt whether the same call may be made again without doing anything
twice, because it alone knows what was sent. How often, and after what pause, is decided here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from rollover.errors import AdapterError

MOST_ATTEMPTS = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0

T = TypeVar("T")


class Missed(NamedTuple):
    """An attempt that came to nothing."""

    error: AdapterError
    again: bool
    """The same call can be made once more without doing anything twice."""


def insist(attempt: Callable[[], T | Missed], *, pause: Callable[[float], None] = time.sleep) -> T:
    """Return what the first attempt that succeeds returns; raise the error of the last one.

    An attempt that says it must not be repeated is the last.
    """
    for seconds in _pauses():
        result = attempt()
        if not isinstance(result, Missed):
            return result
        if not result.again:
            raise result.error
        pause(seconds)
    result = attempt()
    if isinstance(result, Missed):
        raise result.error
    return result


def _pauses() -> Iterator[float]:
    """Yield how long to wait before each further attempt: twice as long each time, jittered."""
    for number in range(MOST_ATTEMPTS - 1):
        # Jittered, so that many that failed together do not come again together.
        longest = min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS)
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
