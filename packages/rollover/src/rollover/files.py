"""Files read up to a limit, replaced as a whole, and kept private.

A limit stands before every parser of what comes from outside, so that a wrong path (a disk image, a
log) is told as such and is not read into memory. Whoever reads a file that is being replaced finds
the old content or the new, never half. Files that hold secrets are made private, and refused when
they are not.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from rollover.errors import StoreError

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


# Replaced as a whole.

_NOTHING_TO_SYNC: Final = {errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EINVAL}
"""No directory, one on a read-only disk, and file systems that keep nothing (fsync(2))."""


def atomic_write(path: Path, content: bytes, *, mode: int, durable: bool) -> None:
    """Put a file with this content and mode at `path`, whatever the umask; `OSError` when it fails.

    Then the file that was there is still there. `durable`: a power cut leaves the one or the other
    too, and the new one once this has returned.
    """
    # In the same directory: a rename works within one file system only.
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(descriptor)
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    if durable:
        # The content is on the disk, its name is not until the directory is.
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut, where there is anything to survive."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise


# Private.

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def make_private_directory(directory: Path) -> None:
    """Make the directory (0700) where it is missing; refuse one that others can write to.

    Who can write to a directory can swap the files in it, whatever their own modes are.
    """
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        mode = permissions_of(directory)
    except OSError as error:
        raise unusable_file(directory, error) from None
    if mode & WRITABLE_BY_OTHERS:
        raise StoreError(
            f"`{directory}` has mode {mode:04o}: others than its owner can change what is in it",
            hint=f"chmod go-w {directory}",
        )


def make_private_file(path: Path, content: bytes) -> bool:
    """Make the file (0600) with its content where it is missing; say whether it was made.

    The content is there wholly or not at all, also after a crash and between two processes: it is
    written under another name first, and a link never replaces a file.
    """
    if path.exists():
        return False
    staged = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    try:
        descriptor = os.open(
            staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Not a rename, which would replace what another process made meanwhile.
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise unusable_file(path, error) from None
    finally:
        staged.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def replace_private_file(path: Path, content: bytes) -> None:
    """Put new content into a private file, wholly or not at all."""
    try:
        atomic_write(path, content, mode=PRIVATE_FILE, durable=True)
    except OSError as error:
        raise unusable_file(path, error) from None


def check_private_file(path: Path) -> None:
    """Refuse a file that is not a plain file of mode 0600 and of our own user (or root's)."""
    try:
        status = path.lstat()
    except OSError as error:
        raise unusable_file(path, error) from None
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"`{path}` is not a plain file", hint="name a file, not a link to one")
    if mode != PRIVATE_FILE:
        raise StoreError(f"`{path}` has mode {mode:04o}, expected 0600", hint=f"chmod 0600 {path}")
    if status.st_uid not in {os.geteuid(), 0}:
        raise StoreError(
            f"`{path}` belongs to user {status.st_uid}, expected {os.geteuid()}",
            hint=f"chown {os.geteuid()} {path}, when its content is known to be yours",
        )


def unusable_file(path: Path, error: OSError) -> StoreError:
    """Return the error for a place that the system does not let us use."""
    return StoreError(
        f"`{path}` cannot be used: {error.strerror}",
        hint="check that the directory exists, is writable for this user and has room",
    )
