"""Starts processes that cannot outlive this one, and ends exactly those that are meant."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from rollover.errors import NotFound, Rejected
from rollover.store.leases import life

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ORPHANED = 70  # EX_SOFTWARE of sysexits.h; nobody is left to read it
_POLL_SECONDS = 0.02


class ProcessId(msgspec.Struct, frozen=True, kw_only=True):
    """Which process: a number is used again, together with the start time it is not."""

    pid: int
    started: int
    """Clock ticks since the machine started, as /proc tells."""


def start_tethered(
    argv: Sequence[str], *, directory: Path, output: Path
) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this process ends, however it ends.

    Call it from the main thread of a process with a single thread: the kernel's promise is about
    the thread that forks, and the child runs Python between fork and exec. The process gets a
    session of its own: what a terminal sends does not reach it.
    """
    try:
        with output.open("ab") as log:
            return subprocess.Popen(
                argv,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_tether(),  # noqa: PLW1509 - single thread, see above
            )
    except OSError as error:
        raise Rejected(
            f"`{argv[0]}`: {error.strerror}",
            system="lab",
            operation="start a process",
            hint="check that the file can be executed here",
        ) from None


def _tether() -> Callable[[], None]:
    """Return what ties a fork to this process; Linux only."""
    if not sys.platform.startswith("linux"):
        raise NotFound(
            f"no way to tie processes to this one on `{sys.platform}`",
            system="lab",
            operation="start a process",
            hint="run the lab on Linux, or in a Linux container",
        )
    parent, libc = os.getpid(), ctypes.CDLL(None, use_errno=True)

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the tie held
            os._exit(_ORPHANED)

    return tie


def identify(pid: int) -> ProcessId | None:
    """Return which process has this number now; None when none has."""
    found = life(pid)
    return None if found is None else ProcessId(pid=pid, started=int(found.started))


def is_alive(process: ProcessId) -> bool:
    """Say whether exactly this process still runs; one that only waits to be reaped does not."""
    found = life(process.pid)
    return found is not None and not found.ended and int(found.started) == process.started


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; say whether it was still there."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle holds the number: what is alive now cannot be another process any more.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def await_end(process: ProcessId, *, seconds: float) -> bool:
    """Wait until the process has ended; say whether it did in time. Reaps it if it is ours."""
    deadline = time.monotonic() + seconds
    # Looked at again and again: most often it is no child of ours, and waitpid(2) would not do.
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    reap(process)
    return True


def reap(process: ProcessId) -> None:
    """Take the exit code of an ended child of our own, so that it does not stay a zombie."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return
