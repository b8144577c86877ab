"""The status file: what a rotating connection writes is what the product reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from nats_rotating_client import status
from nats_rotating_client.status import ConnectionStatus, write_status
from rollover.delivery import client_status
from rollover.delivery.client_status import ClientStatus

LEAST = ConnectionStatus(
    pid=1,
    name="orders",
    loaded_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    certificate_sha256="a" * 64,
    ca_sha256=(),
    connected=False,
)
WHOLE = msgspec.structs.replace(
    LEAST,
    ca_sha256=("b" * 64, "c" * 64),
    connected=True,
    connected_url="tls://localhost:4222",
    connected_server_id="NABC",
    cid=7,
    swaps=2,
    retiring=1,
    duplicates=3,
    error="the file is empty",
)


@pytest.mark.parametrize("status", [LEAST, WHOLE])
def test_what_one_writes_the_other_reads(tmp_path: Path, status: ConnectionStatus) -> None:
    """Field by field, with the same values."""
    path = tmp_path / "status.json"
    write_status(path, status)
    assert msgspec.structs.asdict(client_status.read(path)) == msgspec.structs.asdict(status)


def test_both_sides_know_the_same_fields_and_version() -> None:
    """The two packages install without each other, so nothing else holds them together."""
    written, read = (
        [(field.name, field.required, field.default) for field in msgspec.structs.fields(kind)]
        for kind in (ConnectionStatus, ClientStatus)
    )
    assert written == read
    assert status.VERSION == client_status.VERSION
