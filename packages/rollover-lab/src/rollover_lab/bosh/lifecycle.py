"""Says what runs of a BOSH lab, reaches its cloud, and ends it all."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from rollover.errors import Unreachable
from rollover_lab import record, spawning
from rollover_lab.bosh.cloud.client import Cloud
from rollover_lab.bosh.cloud.requests import ProcessStatus, Vm
from rollover_lab.bosh.layout import BoshLayout
from rollover_lab.children import ProcessId

_ASK_SECONDS = 10.0


class BoshLabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a BOSH lab, for people and scripts."""

    directory: str
    name: str
    up: bool
    """Whether its supervisor runs."""
    director: tuple[ProcessStatus, ...] = ()
    vms: tuple[Vm, ...] = ()


def status(directory: Path) -> BoshLabStatus:
    """Return what runs; `Unreachable` or `TimedOut` when it is up and does not answer."""
    layout = BoshLayout(directory.absolute())
    known = record.read(layout.lab.state)
    seen = BoshLabStatus(directory=str(layout.root), name=known.content.name, up=known.up)
    if not seen.up:
        return seen
    cloud = Cloud(layout.lab.control, timeout_seconds=_ASK_SECONDS)
    return msgspec.structs.replace(
        seen, director=cloud.director_vm("status").processes, vms=cloud.vms()
    )


def attached(directory: Path) -> tuple[BoshLayout, Cloud]:
    """Return a lab that runs; `Unreachable` when it has ended, or never was."""
    layout = BoshLayout(directory.absolute())
    if not record.holds_bosh(layout.lab.state) or not record.read(layout.lab.state).up:
        raise Unreachable(
            f"no BOSH lab runs in `{layout.root}`",
            system="lab",
            operation="attach",
            hint=f"`rollover lab up bosh --directory {directory}` starts one",
        )
    return layout, Cloud(layout.lab.control)


def down(directory: Path, *, remove: bool = False) -> tuple[ProcessId, ...]:
    """End the lab in a directory as `spawning.end` does; `remove` deletes the directory."""
    layout = BoshLayout(directory.absolute())
    ended = spawning.end(layout.lab)
    if remove:
        shutil.rmtree(layout.root)
    return ended
