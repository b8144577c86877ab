"""Files that are read up to a limit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollover.files import (
    READABLE_BY_OTHERS,
    NotRegular,
    TooLarge,
    permissions_of,
    read_bounded,
    read_regular,
    read_start,
)


@pytest.mark.parametrize("read", [read_bounded, read_regular])
def test_a_file_is_read_up_to_its_limit(tmp_path: Path, read: Callable[..., bytes]) -> None:
    """Of one byte more nothing is returned: half a file is worse than none."""
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert read(path, limit=4) == b"1234"
    with pytest.raises(TooLarge, match="more than 3 bytes"):
        read(path, limit=3)


def test_the_start_of_a_file_is_what_a_parser_with_a_limit_wants(tmp_path: Path) -> None:
    """It sees one byte too many, and says so itself."""
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert (read_start(path, size=3), read_start(path, size=9)) == (b"123", b"1234")


def test_a_pipe_where_a_file_should_be_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write into it; nor is a directory a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for follow_links in (True, False):
        with pytest.raises(NotRegular, match="not a regular file"):
            read_regular(pipe, limit=4, follow_links=follow_links)
        with pytest.raises(IsADirectoryError):
            read_regular(tmp_path, limit=4, follow_links=follow_links)


def test_a_link_is_followed_unless_it_must_not_be(tmp_path: Path) -> None:
    """In a directory that a command has filled, a link could lead to any file of ours."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"1")
    link.symlink_to(path)
    assert read_regular(link, limit=4) == b"1"
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(link, limit=4, follow_links=False)


def test_who_may_read_a_file_is_told_by_its_permissions(tmp_path: Path) -> None:
    """The group counts as others: its members are other people."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    assert permissions_of(path) == 0o640
    assert permissions_of(path) & READABLE_BY_OTHERS
    path.chmod(0o600)
    assert not permissions_of(path) & READABLE_BY_OTHERS
