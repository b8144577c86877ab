"""Claims a directory for a lab and starts the supervisor in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollover.errors import Rejected, RolloverError, SpecError, StaleError
from rollover.lab import children, control
from rollover.lab.children import ProcessId
from rollover.lab.control import Report
from rollover.lab.layout import Layout
from rollover.lab.private_files import PRIVATE_DIRECTORY, PRIVATE_FILE
from rollover.lab.readiness import await_nothing_missing

START_SECONDS = 15.0
_ASK_SECONDS = 2.0
_LOCK_DESCRIPTOR = 3


@contextmanager
def claimed(layout: Layout) -> Iterator[int]:
    """Make the directory, or take an empty one, and hold its lock; yields the lock's descriptor.

    A supervisor that is given the descriptor keeps the lock when this ends. `StaleError`: a lab
    runs there. `SpecError`: something else is there.
    """
    try:
        layout.root.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        _check_new(layout)
        layout.root.chmod(PRIVATE_DIRECTORY)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    except OSError as error:
        raise SpecError(
            f"it cannot hold a lab: {error.strerror}",
            place=str(layout.root),
            hint="name a directory that can be made, or an empty one",
        ) from None
    try:
        _lock(descriptor, layout.root)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def filled(root: Path, record: Path) -> Iterator[None]:
    """Let the body fill a claimed directory; removed when it is interrupted or leaves no record.

    Otherwise nobody could start a lab there, nor end one: `down` goes by the record. `SpecError`
    when the disk does not take it.
    """
    try:
        yield
    except OSError as error:
        _remove_unrecorded(root, record)
        where = error.filename or root
        raise SpecError(
            f"it cannot be written: {error.strerror or error}",
            place=str(where),
            hint="make room on its file system, or name a directory on another, then run again",
        ) from None
    except KeyboardInterrupt:
        shutil.rmtree(root, ignore_errors=True)
        raise
    except BaseException:
        _remove_unrecorded(root, record)
        raise


def _remove_unrecorded(root: Path, record: Path) -> None:
    if not record.exists():
        shutil.rmtree(root, ignore_errors=True)


def _check_new(layout: Layout) -> None:
    if layout.lock.exists():
        descriptor = os.open(layout.lock, os.O_RDWR)
        try:
            _lock(descriptor, layout.root)
        finally:
            os.close(descriptor)
    if layout.record.exists():
        raise SpecError(
            "it holds a lab that has ended",
            place=str(layout.root),
            hint=f"`rollover lab down --remove --directory {layout.root}` removes it",
        )
    others = [entry.name for entry in layout.root.iterdir() if entry != layout.lock]
    if others:
        raise SpecError(
            f"it is not empty: it holds `{others[0]}`",
            place=str(layout.root),
            hint="name a directory that does not exist yet, or an empty one",
        )


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StaleError(
            f"a lab runs in `{root}`",
            hint=f"`rollover lab down --directory {root}` ends it; or name another",
        ) from None


def spawn(layout: Layout, lock: int) -> tuple[ProcessId, int]:
    """Start the supervisor, which starts the servers; returns it and its lifeline.

    The lifeline is a descriptor: when it is closed, by whatever end of this process too, the
    supervisor ends the lab. The supervisor has a session of its own, so that Ctrl-C on a terminal
    reaches this process alone.
    """
    log = os.open(layout.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    read_end, lifeline = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            (sys.executable, "-m", "rollover.lab.supervisor", str(layout.root)),
            os.environ,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, read_end, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_DESCRIPTOR),
            ),
            setsid=True,
        )
        # A child that ends stays a zombie until it is reaped: it always has an identity here.
        supervisor = children.identity(pid) or ProcessId(pid=pid, started=0)
        _await_answer(layout, supervisor)
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(log)
        os.close(read_end)
    return supervisor, lifeline


def _await_answer(layout: Layout, supervisor: ProcessId) -> None:
    def missing() -> str:
        try:
            control.ask(layout.control, Report(), timeout_seconds=_ASK_SECONDS)
        except RolloverError as error:
            return error.message
        return ""

    def check() -> None:
        if not children.alive(supervisor):
            said = layout.supervisor_log.read_text(errors="replace").strip()
            raise Rejected(
                f"it ended at once: {said or 'it said nothing'}",
                system="lab supervisor",
                operation="start",
                hint=f"its log is `{layout.supervisor_log}`",
            )

    await_nothing_missing(missing, check, seconds=START_SECONDS)
