"""The status file that a client writes and a rotator reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollover.delivery import client_status
from rollover.delivery.client_status import ClientStatus
from rollover.errors import SpecError
from rollover.fleet.names import Fingerprint

STATUS = ClientStatus(
    pid=1,
    name="orders",
    loaded_at=datetime(2026, 1, 2, tzinfo=UTC),
    certificate_sha256=Fingerprint("a" * 64),
    ca_sha256=(Fingerprint("b" * 64), Fingerprint("c" * 64)),
    connected=True,
    connected_url="tls://localhost:4222",
    cid=7,
)


def test_what_is_written_is_read_again_by_everybody(tmp_path: Path) -> None:
    """The file can be read by others and leaves no temporary file behind."""
    path = tmp_path / "status.json"
    client_status.write(path, STATUS)
    client_status.write(path, STATUS)
    assert client_status.read(path) == STATUS
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not a client's status"),
        (b"{}", "missing required field `pid`"),
        (b'{"version": 2, "pid": 1', "not a client's status"),
        (b" " * (client_status.MAX_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_status_is_refused_with_its_place(data: bytes, message: str) -> None:
    """Half-written, incomplete and oversized files are errors that name the file."""
    with pytest.raises(SpecError, match=message) as refused:
        client_status.decode(data, place="status.json")
    assert refused.value.place == "status.json"


def test_another_version_is_refused(tmp_path: Path) -> None:
    """A later format is not guessed at."""
    path = tmp_path / "status.json"
    path.write_bytes(
        b'{"version":2,"pid":1,"name":"n","loaded_at":"2026-01-02T00:00:00Z",'
        b'"certificate_sha256":"","ca_sha256":[],"connected":false}'
    )
    with pytest.raises(SpecError, match="client status of version 2, expected 1"):
        client_status.read(path)


def test_missing_and_unwritable_files_are_errors_with_a_place(tmp_path: Path) -> None:
    """Neither reading nor writing lets an `OSError` through."""
    path = tmp_path / "nowhere" / "status.json"
    with pytest.raises(SpecError, match="cannot read the client's status"):
        client_status.read(path)
    with pytest.raises(SpecError, match="cannot write the client's status"):
        client_status.write(path, STATUS)
