"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rigs.small_disk import mounted
from rollover import files


@pytest.mark.parametrize("mask", [0, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_the_mode_asked_for_whatever_the_umask(
    tmp_path: Path, mode: int, mask: int
) -> None:
    """A secret is never wider, and what others are to read never narrower."""
    path = tmp_path / "file"
    before = os.umask(mask)
    try:
        files.atomic_write(path, b"new", mode=mode, durable=True)
    finally:
        os.umask(before)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After a success there is the file alone, after a failure what was there before."""
    taken = tmp_path / "taken"
    (taken / "below").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.atomic_write(taken, b"new", mode=0o600, durable=False)
    files.atomic_write(tmp_path / "file", b"new", mode=0o600, durable=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """Where the new content finds no room the old file stays, whole."""
    with mounted(tmp_path / "disk") as disk:
        path = disk.path / "file"
        files.atomic_write(path, b"old", mode=0o600, durable=True)
        disk.fill()
        with pytest.raises(OSError, match="space"):
            files.atomic_write(path, bytes(8192), mode=0o600, durable=True)
        assert path.read_bytes() == b"old"
        assert sorted(entry.name for entry in disk.path.iterdir()) == ["file", "filler"]


def test_a_directory_that_is_gone_has_no_names_to_keep(tmp_path: Path) -> None:
    """Making names durable is no error where there are none."""
    files.sync_directory(tmp_path / "gone")
