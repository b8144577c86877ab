"""How long tests wait for what is to come: by what the machine gives them, and not by the clock."""

from __future__ import annotations

import time

LONGEST_STEP_SECONDS = 0.2
"""Of the time between two looks no more counts: on a busy machine most of it was others'."""


class Patience:
    """So many seconds in which somebody looked again and again, and the wanted thing did not come.

    Alone on a machine they are seconds of the clock. Where a look takes ten times as long because
    others are served too, what is waited for gets ten times as long as well.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    def lasts(self) -> bool:
        """Say whether to go on waiting; to be asked at each look."""
        now = time.monotonic()
        self._left -= min(now - self._looked, LONGEST_STEP_SECONDS)
        self._looked = now
        return self._left > 0
