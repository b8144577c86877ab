"""Writes the files of a lab: nobody but their owner can read them, and nobody sees half of one."""

from __future__ import annotations

from pathlib import Path

from rollover import replacing
from rollover.errors import Rejected

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def write(path: Path, content: bytes) -> None:
    """Replace the file at `path`; its directories are made (0700) where they are missing."""
    try:
        _make_directory(path.parent)
        replacing.replace(path, content, mode=PRIVATE_FILE, durable=False)
    except OSError as error:
        raise Rejected(
            f"`{path}`: {error.strerror}",
            system="lab",
            operation="write",
            hint="check that the directory is writable and has room",
        ) from None


def _make_directory(directory: Path) -> None:
    """Make the directory and those around it; `Path.mkdir` would leave those open to others."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
