"""The status file that a client writes and a rotator reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
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


def test_what_a_client_wrote_is_read(tmp_path: Path) -> None:
    """JSON with the fields of `ClientStatus`."""
    path = tmp_path / "status.json"
    path.write_bytes(msgspec.json.encode(STATUS))
    assert client_status.read(path) == STATUS


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


def test_a_missing_file_is_an_error_with_a_place(tmp_path: Path) -> None:
    """Reading lets no `OSError` through."""
    path = tmp_path / "nowhere" / "status.json"
    with pytest.raises(SpecError, match="cannot read the client's status") as refused:
        client_status.read(path)
    assert refused.value.place == str(path)
