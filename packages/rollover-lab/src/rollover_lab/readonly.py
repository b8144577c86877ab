"""Makes a directory refuse every change, also to root, and takes that back."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from rollover.errors import Rejected

# linux/fs.h, for a 64-bit `long`.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_IMMUTABLE = 0x10
_FLAGS = struct.Struct("l")

_NO_FLAGS = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS})
"""A file system without flags: nothing on it can be immutable."""

_READ_ONLY_DIRECTORY, _READ_ONLY_FILE = 0o500, 0o400
_DIRECTORY, _FILE = 0o700, 0o600


def make_read_only(directory: Path) -> None:
    """Make a directory and its files refuse changes.

    Modes are enough for an ordinary user. Root gets the immutable flag (chattr(1)), which needs
    CAP_LINUX_IMMUTABLE and a file system that knows it: `Rejected` where either is missing, and
    then nothing has changed.
    """
    try:
        if os.geteuid() == 0:
            _set_all(directory, immutable=True)
        else:
            _set_modes(directory, of_directory=_READ_ONLY_DIRECTORY, of_files=_READ_ONLY_FILE)
    except OSError as error:
        make_writable(directory)
        raise Rejected(
            f"`{directory}` cannot be made read-only: {error.strerror}",
            system="lab",
            operation="make read-only",
            hint="run the lab as an ordinary user, or with CAP_LINUX_IMMUTABLE on ext4, XFS or "
            "Btrfs",
        ) from None


def make_writable(directory: Path) -> None:
    """Take `make_read_only` back; idempotent, and harmless where it never happened."""
    try:
        if os.geteuid() == 0:
            _set_all(directory, immutable=False)
        else:
            _set_modes(directory, of_directory=_DIRECTORY, of_files=_FILE)
    except OSError as error:
        raise Rejected(
            f"`{directory}` cannot be made writable again: {error.strerror}",
            system="lab",
            operation="make writable",
            hint=f"as root: `chattr -R -i {directory}`",
        ) from None


def _set_all(directory: Path, *, immutable: bool) -> None:
    for path in (*_files(directory), directory):
        _set_flag(path, immutable=immutable)


def _set_flag(path: Path, *, immutable: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = _flags(descriptor)
        wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        if wanted != flags:
            fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(wanted))
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    try:
        answer = fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FLAGS.size))
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise
    flags: int = _FLAGS.unpack(answer)[0]
    return flags


def _set_modes(directory: Path, *, of_directory: int, of_files: int) -> None:
    directory.chmod(of_directory)
    for path in _files(directory):
        path.chmod(of_files)


def _files(directory: Path) -> tuple[Path, ...]:
    return tuple(path for path in sorted(directory.iterdir()) if path.is_file())
