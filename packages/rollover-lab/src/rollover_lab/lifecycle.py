"""Claims a directory for a lab, starts the supervisor in it, and ends it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

from rollover.errors import Rejected, RolloverError, SpecError, StaleError, TimedOut
from rollover_lab import children, state
from rollover_lab.children import ProcessId
from rollover_lab.control import SYSTEM, Control, ReportState
from rollover_lab.machine import PRIVATE_DIRECTORY, PRIVATE_FILE
from rollover_lab.state import LabDirectory

READY_SECONDS = 30.0
"""How long what was started may take until it works."""
END_SECONDS = 60.0
"""Longer than all processes may take to end in order."""
_ASK_SECONDS = 2.0
_POLL_SECONDS = 0.03
_LOCK_DESCRIPTOR = 3

Missing = Callable[[], str]
"""Says what is still missing, or nothing."""


@contextmanager
def claimed_directory(lab: LabDirectory) -> Iterator[int]:
    """Make the directory, or take an empty one, and hold its lock; yields the lock's descriptor.

    A supervisor that is given the descriptor keeps the lock when this ends. `StaleError`: a lab
    runs there. `SpecError`: something else is there.
    """
    try:
        lab.root.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        _check_new(lab)
        lab.root.chmod(PRIVATE_DIRECTORY)
        descriptor = os.open(lab.lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    except OSError as error:
        raise SpecError(
            f"it cannot hold a lab: {error.strerror}",
            place=str(lab.root),
            hint="name a directory that can be made, or an empty one",
        ) from None
    try:
        _lock(descriptor, lab.root)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def filled_directory(lab: LabDirectory) -> Iterator[None]:
    """Let the body fill a claimed directory; removed when it is interrupted or leaves no state.

    Otherwise nobody could start a lab there, nor end one: `down` goes by the state. `SpecError`
    when the disk does not take it.
    """
    try:
        yield
    except OSError as error:
        _remove_stateless(lab)
        where = error.filename or lab.root
        raise SpecError(
            f"it cannot be written: {error.strerror or error}",
            place=str(where),
            hint="make room on its file system, or name a directory on another, then run again",
        ) from None
    except KeyboardInterrupt:
        shutil.rmtree(lab.root, ignore_errors=True)
        raise
    except BaseException:
        _remove_stateless(lab)
        raise


def _remove_stateless(lab: LabDirectory) -> None:
    if not lab.state.exists():
        shutil.rmtree(lab.root, ignore_errors=True)


def _check_new(lab: LabDirectory) -> None:
    # The lock first: one that runs has a state too, and is to be ended, not removed.
    if lab.lock.exists():
        descriptor = os.open(lab.lock, os.O_RDWR)
        try:
            _lock(descriptor, lab.root)
        finally:
            os.close(descriptor)
    if lab.state.exists():
        raise SpecError(
            "it holds a lab that has ended",
            place=str(lab.root),
            hint=f"`rollover lab down --remove --directory {lab.root}` removes it",
        )
    others = [entry.name for entry in lab.root.iterdir() if entry != lab.lock]
    if others:
        raise SpecError(
            f"it is not empty: it holds `{others[0]}`",
            place=str(lab.root),
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


def spawn(lab: LabDirectory, lock: int) -> int:
    """Start the supervisor of a lab whose state is written, and wait until it answers.

    Returns its lifeline, a descriptor: when it is closed, by whatever end of this process too, the
    supervisor ends the lab, unless it was told to go on (`ReleaseLab`). The supervisor has a
    session of its own, so that Ctrl-C on a terminal reaches this process alone. `Rejected` with
    its last words when it ends at once.
    """
    log = os.open(lab.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    read_end, lifeline = os.pipe()
    module = ("-m", "rollover_lab.supervisor", str(lab.root), "--lock", str(_LOCK_DESCRIPTOR))
    try:
        pid = os.posix_spawn(
            sys.executable,
            (sys.executable, *module),
            os.environ,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, read_end, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_DESCRIPTOR),
            ),
            setsid=True,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(log)
        os.close(read_end)
    # A child that ends stays a zombie until it is reaped: it always has an identity here.
    supervisor = children.identify(pid) or ProcessId(pid=pid, started=0)
    try:
        _await_answer(lab, supervisor)
    except BaseException:
        os.close(lifeline)
        # It writes into the directory until its end, and whoever called may remove that.
        children.await_end(supervisor, seconds=END_SECONDS)
        raise
    return lifeline


def _await_answer(lab: LabDirectory, supervisor: ProcessId) -> None:
    control = Control(lab.control, timeout_seconds=_ASK_SECONDS)

    def missing() -> str:
        try:
            control.tell(ReportState())
        except RolloverError as error:
            return error.message
        return ""

    def check() -> None:
        if not children.is_alive(supervisor):
            said = lab.supervisor_log.read_text(errors="replace").strip()
            raise Rejected(
                f"it ended at once: {said or 'it said nothing'}",
                system=SYSTEM,
                operation="start",
                hint=f"its log is `{lab.supervisor_log}`",
            )

    await_nothing_missing(missing, check, seconds=READY_SECONDS)


def await_nothing_missing(
    missing: Missing, check: Callable[[], None], *, seconds: float = READY_SECONDS
) -> None:
    """Look again and again until nothing is missing; `check` may raise why that is in vain."""
    deadline = time.monotonic() + seconds
    while lack := missing():
        check()
        if time.monotonic() > deadline:
            raise TimedOut(
                f"waited {seconds:g} s; {lack}",
                system="lab",
                operation="wait",
                hint="the logs are in the lab's directory; is the machine busy with other work?",
            )
        time.sleep(_POLL_SECONDS)


def end_processes(lab: LabDirectory) -> tuple[ProcessId, ...]:
    """End a lab, whoever started it, and return which processes were ended; idempotent.

    Only processes that its state names are touched, each only while its start time is the one that
    is written there. `SpecError` when there never was a lab, `TimedOut` when a process does not
    end even when it is killed.
    """
    known = state.read(lab.state)
    found = tuple(process for process in known.ids() if children.is_alive(process))
    if known.supervisor is not None and children.send_signal(known.supervisor, SIGTERM):
        children.await_end(known.supervisor, seconds=END_SECONDS)
    # Read again: until its end the supervisor may have started others. It is the last one here.
    for process in state.read(lab.state).ids():
        if children.send_signal(process, SIGKILL) and not children.await_end(
            process, seconds=END_SECONDS
        ):
            raise TimedOut(
                f"process {process.pid} does not end",
                system="lab",
                operation="down",
                hint="it hangs in the kernel; see `ps -o pid,stat,wchan`",
            )
    return found
