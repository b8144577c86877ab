"""Files read up to a limit, and files that hold secrets: whom they belong to and who may use them.

A limit stands before every parser of what comes from outside, so that a wrong path (a disk image, a
log) is told as such and is not read into memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO, Final

READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class TooLarge(OSError):
    """A file with more bytes than whoever reads it takes."""

    strerror: str

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(errno.EFBIG, f"more than {limit:,} bytes", str(path))


class NotRegular(OSError):
    """A pipe, a device or a socket where a file should be."""

    strerror: str

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


def read_bounded(path: Path, *, limit: int) -> bytes:
    """Return all that a file or pipe holds; `TooLarge` or another `OSError` when it cannot be had.

    Waits for who writes into a pipe: `<(…)` of a shell is a good way to hand over a key.
    """
    with path.open("rb") as file:
        return _whole(file, path, limit)


def read_regular(path: Path, *, limit: int, follow_links: bool = True) -> bytes:
    """Return what a regular file holds and never wait; `NotRegular`, `TooLarge` or an `OSError`."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if follow_links:
        # Looked at before it is opened: to open a device may already do something.
        _check_regular(path.stat(), path)
    else:
        flags |= os.O_NOFOLLOW
    descriptor = os.open(path, flags)
    try:
        # Looked at again: what stands there may have been replaced in between.
        _check_regular(os.fstat(descriptor), path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return _whole(file, path, limit)
    finally:
        os.close(descriptor)


def read_start(path: Path, *, size: int) -> bytes:
    """Return the first bytes of a file or pipe, as many as there are up to `size`.

    For a parser that has a limit itself, and refuses one byte more than that in its own words.
    """
    with path.open("rb") as file:
        return file.read(size)


def _check_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(path)


def _whole(file: IO[bytes], path: Path, limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(path, limit)
    return content


def permissions_of(path: Path) -> int:
    """Return the permission bits of what is at `path` (behind a link: of what that leads to)."""
    return stat.S_IMODE(path.stat().st_mode)
