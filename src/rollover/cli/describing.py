"""Which platforms can describe a fleet: beside `wiring`, the only module that names one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rollover.errors import SpecError
from rollover.platforms.nats.discover import Discovery, discover


def describe(
    configs: Sequence[Path], *, monitors: Sequence[str], working_directory: Path | None
) -> Discovery:
    """Return what configurations and monitoring ports show; `SpecError` when none is named."""
    if not configs and not monitors:
        raise SpecError(
            "nothing to look at",
            hint="name configurations (`--config FILE…`) or monitoring ports (`--monitor URL`)",
        )
    return discover(
        configs,
        environment=dict(os.environ),
        working_directory=working_directory,
        monitors=monitors,
    )
