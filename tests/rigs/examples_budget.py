"""How many examples hypothesis tries: few in the gate, many times as many in a soak run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("ROLLOVER_EXAMPLES_FACTOR", "1"))
"""How many times as many examples as usual; `make soak` sets it."""


def examples(count: int) -> settings:
    """Settings for so many examples; how long one of them takes is the machine's business."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
