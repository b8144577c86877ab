"""Files that hold secrets: made private, and refused when they are not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rollover import replacing
from rollover.errors import StoreError
from rollover.files import WRITABLE_BY_OTHERS, permissions_of

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
        raise unusable(directory, error) from None
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
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise unusable(path, error) from None
    finally:
        staged.unlink(missing_ok=True)
    replacing.sync_directory(path.parent)
    return True


def replace_private_file(path: Path, content: bytes) -> None:
    """Put new content into a private file, wholly or not at all."""
    try:
        replacing.replace(path, content, mode=PRIVATE_FILE, durable=True)
    except OSError as error:
        raise unusable(path, error) from None


def check_private_file(path: Path) -> None:
    """Refuse a file that is not a plain file of mode 0600 and of our own user (or root's)."""
    try:
        status = path.lstat()
    except OSError as error:
        raise unusable(path, error) from None
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


def unusable(path: Path, error: OSError) -> StoreError:
    """Return the error for a place that the system does not let us use."""
    return StoreError(
        f"`{path}` cannot be used: {error.strerror}",
        hint="check that the directory exists, is writable for this user and has room",
    )
