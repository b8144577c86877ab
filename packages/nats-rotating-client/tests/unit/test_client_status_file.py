"""The status file that a rotating connection writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nats_rotating_client.errors import StatusFileError
from nats_rotating_client.status import ConnectionStatus, write_status

STATUS = ConnectionStatus(
    pid=1,
    name="orders",
    loaded_at=datetime(2026, 1, 2, tzinfo=UTC),
    certificate_sha256="a" * 64,
    ca_sha256=("b" * 64, "c" * 64),
    connected=True,
    connected_url="tls://localhost:4222",
    cid=7,
)


def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    """The file is 0644, replaced as a whole, and leaves no temporary file behind."""
    path = tmp_path / "status.json"
    write_status(path, STATUS)
    write_status(path, STATUS)
    said = json.loads(path.read_bytes())
    assert (said["version"], said["pid"], said["connected"]) == (1, 1, True)
    assert said["loaded_at"] == "2026-01-02T00:00:00Z"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_an_error_with_a_place(tmp_path: Path) -> None:
    """Writing lets no `OSError` through."""
    path = tmp_path / "nowhere" / "status.json"
    with pytest.raises(StatusFileError, match="cannot write the client's status") as refused:
        write_status(path, STATUS)
    assert refused.value.place == str(path)
