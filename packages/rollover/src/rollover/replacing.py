"""Replaces files as a whole: whoever reads one finds the old content or the new, never half."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

_NOTHING_TO_SYNC: Final = {errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EINVAL}
"""No directory, one on a read-only disk, and file systems that keep nothing (fsync(2))."""


def replace(path: Path, content: bytes, *, mode: int, durable: bool) -> None:
    """Put a file with this content and mode at `path`, whatever the umask; `OSError` when it fails.

    Then the file that was there is still there. `durable`: a power cut leaves the one or the other
    too, and the new one once this has returned.
    """
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
