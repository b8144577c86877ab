"""Runs the operator's `create-env`: once at a time, its output in a file, never ended half-way.

A director VM whose `create-env` is killed is neither the old one nor the new one. So the command
runs in a session of its own, writes into a file and not into a pipe of ours, and holds a lock
itself: when Rollover ends before it does, it goes on, and the next run of Rollover sees that.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rollover.errors import Conflict, Rejected
from rollover.fleet.secret import redacted
from rollover.platforms.bosh.command_line import CommandLine

SYSTEM = "create-env"
LAST_LINES = 15
TAIL_OCTETS = 64 * 1024
POLL_SECONDS = 0.1


class Ended(NamedTuple):
    """How a run was. `code` None: it still runs, and was left alone."""

    code: int | None
    log: Path
    seconds: float
    process: int

    @property
    def succeeded(self) -> bool:
        """Whether it ended, and well."""
        return self.code == 0


def run(
    command: CommandLine,
    ops_file: Path | None,
    *,
    log: Path,
    lock: Path,
    timeout_seconds: float,
) -> Ended:
    """Run the command with an ops file more, and return how it ended, or that it still runs.

    Raises `Conflict` when an earlier one runs, `Rejected` when it cannot be started: then nothing
    was changed.
    """
    begun = time.monotonic()
    with _locked(lock) as held, _private(log) as output:
        try:
            process = subprocess.Popen(
                command.with_ops_file(ops_file),
                cwd=command.directory,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(held,),
            )
        except OSError as error:
            raise Rejected(
                f"`{command.words[0]}` cannot be started: {error.strerror}",
                system=SYSTEM,
                operation="start",
                hint=f"run the line of {command.place} by hand to see why",
            ) from None
    code = _code(process, begun + timeout_seconds)
    return Ended(code, log, time.monotonic() - begun, process.pid)


def running(lock: Path) -> bool:
    """Say whether a `create-env` that Rollover began still runs."""
    try:
        with _locked(lock):
            return False
    except Conflict:
        return True


def last_lines(log: Path) -> str:
    """Return the last lines of a log, without private keys."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_OCTETS))
        text = file.read(TAIL_OCTETS).decode("utf-8", "replace")
    if size > TAIL_OCTETS:
        # The first line may be the end of a line of a key, which no longer looks like one.
        text = text.partition("\n")[2]
    lines = [line.rstrip() for line in redacted(text).splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])


def _code(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if process.returncode is None:
        # Somebody has to take note of its end, or it stays as a zombie as long as we live.
        threading.Thread(target=process.wait, daemon=True, name=SYSTEM).start()
    return process.returncode


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; whoever inherits the descriptor goes on holding it (flock(2))."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise Conflict(
            "a `create-env` that Rollover began is still running",
            system=SYSTEM,
            operation="begin",
            hint="wait until it has ended; its log is in the state directory",
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def _private(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
