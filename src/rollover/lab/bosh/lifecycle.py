"""Starts the cloud of a BOSH lab, says what runs of it, and ends it all."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import msgspec

from rollover.errors import Rejected, RolloverError, TimedOut, Unreachable
from rollover.lab import children, private_files
from rollover.lab.bosh import record
from rollover.lab.bosh.cloud.client import Cloud
from rollover.lab.bosh.cloud.requests import ProcessStatus, Vm
from rollover.lab.bosh.layout import BoshLayout
from rollover.lab.bosh.record import BoshRecord
from rollover.lab.children import ProcessId
from rollover.lab.readiness import await_nothing_missing

START_SECONDS = 30.0
END_SECONDS = 60.0
"""Processes of the director VM are given some seconds each to end in order."""
_ASK_SECONDS = 10.0
_LOCK_DESCRIPTOR = 3


class BoshLabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a BOSH lab, for people and scripts."""

    directory: str
    name: str
    up: bool
    """Whether its cloud runs."""
    director: tuple[ProcessStatus, ...] = ()
    vms: tuple[Vm, ...] = ()


def spawn_cloud(layout: BoshLayout, *, lock: int, options: tuple[str, ...]) -> ProcessId:
    """Start the cloud's process, which outlives this one, and wait until it answers.

    It keeps the lock of the directory as long as it lives. It has a session of its own, so that
    Ctrl-C on a terminal does not reach it. `Rejected` with its last words when it ends at once.
    """
    layout.cloud.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = os.open(layout.cloud_log, flags, private_files.PRIVATE_FILE)
    module = ("-m", "rollover.lab.bosh.cloud", "--directory", str(layout.root), *options)
    try:
        pid = os.posix_spawn(
            sys.executable,
            (sys.executable, *module),
            os.environ,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_DESCRIPTOR),
            ),
            setsid=True,
        )
    finally:
        os.close(log)
    # A child that ends stays a zombie until it is reaped: it always has an identity here.
    cloud = children.identity(pid) or ProcessId(pid=pid, started=0)
    record.write(layout.record, BoshRecord(name=layout.root.name, cloud=cloud))
    _await_cloud(layout, cloud)
    return cloud


def status(directory: Path) -> BoshLabStatus:
    """Return what runs; `Unreachable` or `TimedOut` when the cloud runs and does not answer."""
    layout = BoshLayout(directory.absolute())
    known = record.read(layout.record)
    seen = BoshLabStatus(
        directory=str(layout.root), name=known.name, up=children.alive(known.cloud)
    )
    if not seen.up:
        return seen
    cloud = Cloud(layout.socket, timeout_seconds=_ASK_SECONDS)
    return msgspec.structs.replace(
        seen, director=cloud.director_vm("status").processes, vms=cloud.vms()
    )


def attached(directory: Path) -> tuple[BoshLayout, Cloud]:
    """Return a lab that runs; `Unreachable` when it has ended, or never was."""
    layout = BoshLayout(directory.absolute())
    if not record.holds_bosh(layout.record) or not children.alive(record.read(layout.record).cloud):
        raise Unreachable(
            f"no BOSH lab runs in `{layout.root}`",
            system="lab",
            operation="attach",
            hint=f"`rollover lab up bosh --directory {directory}` starts one",
        )
    return layout, Cloud(layout.socket)


def down(directory: Path, *, remove: bool = False) -> tuple[ProcessId, ...]:
    """End the lab in a directory, and return which processes were ended; idempotent.

    Only the cloud's process and those below it are touched, each only while its start time is the
    one that was seen. `remove` deletes the directory. `TimedOut` when one cannot even be killed.
    """
    layout = BoshLayout(directory.absolute())
    cloud = record.read(layout.record).cloud
    ended: tuple[ProcessId, ...] = ()
    if children.alive(cloud):
        ended = (*record.below(cloud), cloud)
        _end(layout, cloud)
        for each in ended:
            _kill(each)
    if remove:
        shutil.rmtree(layout.root)
    return ended


def _end(layout: BoshLayout, cloud: ProcessId) -> None:
    try:
        Cloud(layout.socket, timeout_seconds=_ASK_SECONDS).stop()
    except RolloverError:
        # It may hang, or not listen yet: a signal reaches it all the same.
        children.send(cloud, SIGTERM)
    if not children.await_end(cloud, seconds=END_SECONDS / 2):
        children.send(cloud, SIGTERM)
        children.await_end(cloud, seconds=END_SECONDS / 2)


def _kill(process: ProcessId) -> None:
    if children.send(process, SIGKILL) and not children.await_end(process, seconds=END_SECONDS):
        raise TimedOut(
            f"process {process.pid} does not end",
            system="lab",
            operation="down",
            hint="it hangs in the kernel; see `ps -o pid,stat,wchan`",
        )


def _await_cloud(layout: BoshLayout, cloud: ProcessId) -> None:
    def missing() -> str:
        try:
            Cloud(layout.socket, timeout_seconds=_ASK_SECONDS).vms()
        except RolloverError as error:
            return error.message
        return ""

    def check() -> None:
        if not children.alive(cloud):
            said = layout.cloud_log.read_text(errors="replace").strip()[-2000:]
            raise Rejected(
                f"it ended at once: {said or 'it said nothing'}",
                system="cloud",
                operation="start",
                hint=f"its log is `{layout.cloud_log}`",
            )

    await_nothing_missing(missing, check, seconds=START_SECONDS)
