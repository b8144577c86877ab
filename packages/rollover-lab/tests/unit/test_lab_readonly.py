"""A directory that refuses every change, and is put right again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollover.errors import Rejected
from rollover_lab.nats.lab import make_read_only, make_writable


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Path]:
    """Yield a read-only directory with one file in it."""
    directory = tmp_path / "tls"
    directory.mkdir()
    (directory / "server.crt").write_text("old")
    try:
        make_read_only(directory)
    except Rejected as refused:
        pytest.skip(f"not here: {refused}")
    yield directory
    make_writable(directory)


def test_nothing_in_it_can_be_changed(tls: Path) -> None:
    """Neither new files, nor renames, nor writing in place, nor removal; also not for root."""
    with pytest.raises(PermissionError):
        (tls / "server.crt.new").write_text("new")
    with pytest.raises(PermissionError):
        (tls / "server.crt").rename(tls / "kept")
    with pytest.raises(PermissionError):
        (tls / "server.crt").write_text("new")
    with pytest.raises(PermissionError):
        (tls / "server.crt").unlink()


def test_it_can_still_be_read(tls: Path) -> None:
    """A server can go on reading its files."""
    assert (tls / "server.crt").read_text() == "old"


def test_it_can_be_made_writable_again(tls: Path) -> None:
    """Afterwards everything is possible again; doing it twice is harmless."""
    make_writable(tls)
    make_writable(tls)
    (tls / "server.crt").write_text("new")
    (tls / "server.crt").rename(tls / "kept")
    assert (tls / "kept").read_text() == "new"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """What is not there cannot be made writable, and the error says so."""
    with pytest.raises(Rejected, match=r"absent` cannot be made writable again"):
        make_writable(tmp_path / "absent")
