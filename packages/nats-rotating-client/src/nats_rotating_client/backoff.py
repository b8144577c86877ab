"""When to try again after a refusal: later each time, never in step with other clients."""

from __future__ import annotations

import random
from typing import NamedTuple


class Backoff(NamedTuple):
    """Waits of `first_seconds`, doubling up to `most_seconds`, each shortened at random."""

    first_seconds: float = 1.0
    most_seconds: float = 60.0

    def wait(self, attempt: int, *, share: float | None = None) -> float:
        """Return the seconds to wait after failed attempt number `attempt`, counted from 1.

        Between half and all of the bound; `share` (0 to 1) says where, at random when not given.
        """
        exponent = min(attempt - 1, 32)  # beyond that every bound is long reached
        bound = min(self.first_seconds * 2.0**exponent, self.most_seconds)
        if share is None:
            share = random.SystemRandom().random()
        return bound * (1 + share) / 2
