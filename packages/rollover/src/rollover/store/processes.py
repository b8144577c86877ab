"""Which process this is, and whether another one on this machine still lives (Linux /proc)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from rollover.engine.lease_port import Holder

_PROC = Path("/proc")
_STATE, _START_TIME = 0, 19
"""Fields 3 and 22 of proc_pid_stat(5), counted behind the name in brackets (field 2)."""


class Life(NamedTuple):
    """What the system says of a process number that is in use."""

    started: str
    """Clock ticks from the start of the machine: a number is used again, with this it is not."""
    ended: bool
    """It only waits for its parent to ask for it, and does nothing any more."""


def this_process() -> Holder:
    """Return a new holder for a task of this process: every call makes a distinct one."""
    own = life(os.getpid())
    return Holder(
        host=_host(),
        pid=os.getpid(),
        boot=_boot(),
        started=own.started if own is not None else "",
        task=os.urandom(8).hex(),
    )


def is_known_dead(holder: Holder) -> bool:
    """Say whether the holder's process has certainly ended.

    Certain only for a process of this host, this boot and this process namespace whose number is
    unused or used by a process that began at another time. Without /proc (other systems than
    Linux) only an unused number counts. In doubt the answer is no, and its lease has to run out.
    """
    if holder.host != _host() or holder.boot != _boot():
        return False
    if not _exists(holder.pid):
        return True
    now = life(holder.pid)
    if now is None or not holder.started:
        return False
    return now.ended or now.started != holder.started


def life(pid: int) -> Life | None:
    """Return what /proc says of a process; None when there is none, or no /proc."""
    try:
        status = (_PROC / str(pid) / "stat").read_text("latin-1")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return Life(fields[_START_TIME], fields[_STATE] in {"Z", "X"})


def _host() -> str:
    # What `socket.gethostname` returns, without its import: `rollover status` must start fast.
    return os.uname().nodename


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """Return the boot of the machine and the process namespace: numbers mean something in it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""
