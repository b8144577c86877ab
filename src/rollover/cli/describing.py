"""Which platforms can describe a fleet: beside `wiring`, the only module that names one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rollover.cli.wiring import load_fleet
from rollover.errors import SpecError
from rollover.platforms.nats.discover import Discovery, DiscoveryRemark, discover
from rollover.platforms.nats.discover_again import again


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


def complete(found: Discovery, out: Path | None) -> Discovery:
    """Return what was found, with what the fleet file that is there says beyond it."""
    if out is None or not out.is_file():
        return found
    try:
        before = load_fleet(out)
    except SpecError as error:
        remark = DiscoveryRemark(
            subject=str(out), message=f"nothing of it can be kept: {error.message}"
        )
        return msgspec.structs.replace(found, remarks=(*found.remarks, remark))
    return again(found, before)
