"""The status file in which a client says what its next handshake will present and trust.

`rollover.clients` writes it, a platform reads it as evidence. It holds no secret and is meant to
be read by others (mode 0644). The JSON object has the fields of `ClientStatus`:

=====================  ============================================================================
`version`              1; a reader refuses any other
`pid`                  the process that wrote it
`name`                 the name that the client connects under
`loaded_at`            RFC 3339 time at which the set in use was taken up
`certificate_sha256`   SHA-256 of the leaf's DER, hexadecimal: what a new handshake presents
`ca_sha256`            SHA-256 of each CA certificate's DER in file order: what it trusts
`connected`            whether a connection was up when this was written
`connected_url`        scheme, host and port, never user or password; empty when not connected
`connected_server_id`  the server's id, as in its INFO; empty when not connected
`cid`                  the server's number of the connection, as in `/connz`; 0 when not connected
`swaps`                connections replaced so far, make before break
`retiring`             replaced connections that are still open until their requests are answered
`duplicates`           messages that two connections delivered while one replaced the other
`error`                why the files on disk are not in use, or empty
=====================  ============================================================================
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.names import Fingerprint

VERSION = 1
MAX_BYTES = 1024 * 1024
"""Room for more CA certificates than a TLS party can advertise."""


class ClientStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one client presents and trusts in a new handshake, and how it is connected."""

    version: int = VERSION
    pid: int
    name: str
    loaded_at: datetime
    certificate_sha256: Fingerprint
    ca_sha256: tuple[Fingerprint, ...]
    connected: bool
    connected_url: str = ""
    connected_server_id: str = ""
    cid: int = 0
    swaps: int = 0
    retiring: int = 0
    duplicates: int = 0
    error: str = ""


def read(path: Path) -> ClientStatus:
    """Return what the client at `path` last said; `SpecError` when it cannot be read as that.

    Whether it still holds is the reader's to judge: `pid` may have ended since.
    """
    try:
        data = read_start(path, size=MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read the client's status: {error.strerror}",
            place=str(path),
            hint="is the client running, and was it told this `status_file`?",
        ) from error
    return decode(data, place=str(path))


def decode(data: bytes, *, place: str) -> ClientStatus:
    """Return the status in `data`; `SpecError` naming `place` when it is none."""
    if len(data) > MAX_BYTES:
        raise SpecError(f"a client's status has at most {MAX_BYTES} bytes", place=place)
    try:
        status = msgspec.json.decode(data, type=ClientStatus)
    except msgspec.MsgspecError as error:
        raise SpecError(f"not a client's status: {error}", place=place) from error
    if status.version != VERSION:
        raise SpecError(
            f"client status of version {status.version}, expected {VERSION}",
            place=place,
            hint="client and rotator must come from releases that go together",
        )
    return status
