"""A private directory for each instance, locked while something is delivered to it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rollover import replacing
from rollover.delivery.refusals import refusing
from rollover.errors import Conflict

LOCK_SECONDS: Final = 60.0
"""How long to wait for another delivery to the same instance."""
_POLL_SECONDS: Final = 0.02


@contextmanager
def locked(state: Path, instance: str, *, operation: str) -> Iterator[Path]:
    """Yield the instance's directory (0700) below `state`, which nobody else uses meanwhile.

    The system gives the lock back when the process dies, so whatever unfinished work is found
    there is nobody's. Raises `Conflict` after `LOCK_SECONDS`.
    """
    directory = state / f"{quote(instance, safe='')}.d"
    with refusing(instance, operation, directory):
        # One by one: `parents=True` would give the upper one the usual mode.
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, instance, operation)
        yield directory
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file wholly or not at all, durable when this returns."""
    replacing.replace(path, content, mode=0o600, durable=True)


def _wait_for_lock(descriptor: int, instance: str, operation: str) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(
                    "another delivery is under way",
                    system=f"instance `{instance}`",
                    operation=operation,
                    hint="wait for it to end, then run again",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
