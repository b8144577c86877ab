"""What the system's own errors mean for a delivery: one table."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rollover.errors import AdapterError, Denied, NotFound, Rejected

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
