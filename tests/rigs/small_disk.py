"""A real disk of a few pages, to be filled up or made read-only; where the system lets us mount."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs of 128 KiB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return

    def make_read_only(self) -> None:
        """Let nothing be written any more, not even by root."""
        _mount("-o", "remount,ro", str(self.path))


@contextmanager
def mounted(path: Path) -> Iterator[SmallDisk]:
    """Mount a small disk at a new directory; skip the test where that is not permitted."""
    path.mkdir()
    if shutil.which("mount") is None or not _mount(
        "-t", "tmpfs", "-o", "size=128k", "none", str(path)
    ):
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True, timeout=300)  # noqa: S607 -- from PATH


def _mount(*arguments: str) -> bool:
    ended = subprocess.run(
        ["mount", *arguments],  # noqa: S607 -- from PATH
        check=False,
        capture_output=True,
        timeout=300,
    )
    return ended.returncode == 0
