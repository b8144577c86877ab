"""Writes the files of a lab: nobody but their owner can read them, and nobody sees half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rollover.errors import Rejected

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def write(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace the file at `path`; its directories are made (0700) where they are missing."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _make_directory(path.parent)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
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
