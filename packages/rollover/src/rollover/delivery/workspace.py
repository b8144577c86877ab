"""What every delivery stands on: a private locked directory for each instance, errors in words."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rollover.errors import AdapterError, Conflict, Denied, NotFound, Rejected

_CAUSES: Final[dict[int, tuple[type[AdapterError], str, str]]] = {
    errno.EACCES: (Denied, "permission denied", "give this user the right to write there"),
    errno.EPERM: (Denied, "not permitted", "check owner and attributes (`lsattr`) of the file"),
    errno.EROFS: (Denied, "the file system is read-only", "mount it writable"),
    errno.ENOSPC: (Rejected, "the disk is full", "make room on its file system"),
    errno.EDQUOT: (Rejected, "the disk quota is used up", "raise the quota or make room"),
    errno.EFBIG: (Rejected, "the file would be larger than allowed", "raise the limit (`ulimit`)"),
    errno.ENOENT: (Rejected, "its directory does not exist", "make the directory first"),
    errno.ENOTDIR: (Rejected, "a part of its path is not a directory", "correct the path"),
    errno.EISDIR: (Rejected, "it is a directory", "name a file"),
    errno.ELOOP: (Rejected, "its symbolic links go in a circle", "correct the links"),
    errno.ENAMETOOLONG: (Rejected, "its name is too long", "use a shorter path"),
}


def refused(error: OSError, *, instance: str, operation: str, path: Path | str) -> AdapterError:
    """Return the error that names instance, path, cause and remedy."""
    kind, cause, remedy = _CAUSES.get(
        error.errno or 0, (Rejected, error.strerror or "input/output error", "check the disk")
    )
    return kind(
        f"`{path}`: {cause}", system=f"instance `{instance}`", operation=operation, hint=remedy
    )


def rejected(problem: str, *, instance: str, operation: str, hint: str) -> Rejected:
    """Return a refusal of our own."""
    return Rejected(problem, system=f"instance `{instance}`", operation=operation, hint=hint)


def missing(instance: str, path: Path | str) -> NotFound:
    """Return the error for a file that is to be read and is not there."""
    return NotFound(
        f"`{path}` does not exist",
        system=f"instance `{instance}`",
        operation="read",
        hint="check the path in the fleet file",
    )


@contextmanager
def refusing(instance: str, operation: str, path: Path | str) -> Iterator[None]:
    """Turn the system's errors in the block into those of a delivery."""
    try:
        yield
    except OSError as error:
        raise refused(error, instance=instance, operation=operation, path=path) from None


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
