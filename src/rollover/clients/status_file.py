"""The status file in which a client says what its next handshake will present and trust.

A rotator reads it as evidence. It holds no secret and is meant to be read by others (mode 0644).
The JSON object has the fields of `ConnectionStatus`; readers refuse any other `version`.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from rollover.clients.errors import StatusFileError

VERSION = 1


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one client presents and trusts in a new handshake, and how it is connected."""

    version: int = VERSION
    pid: int
    """The process that wrote it."""
    name: str
    """The name that the client connects under."""
    loaded_at: datetime
    """When the set in use was taken up."""
    certificate_sha256: str
    """SHA-256 of the leaf's DER, hexadecimal: what a new handshake presents."""
    ca_sha256: tuple[str, ...]
    """SHA-256 of each CA certificate's DER in file order: what it trusts."""
    connected: bool
    """Whether a connection was up when this was written."""
    connected_url: str = ""
    """Scheme, host and port, never user or password; empty when not connected."""
    connected_server_id: str = ""
    """The server's id, as in its INFO; empty when not connected."""
    cid: int = 0
    """The server's number of the connection, as in `/connz`; 0 when not connected."""
    swaps: int = 0
    """Connections replaced so far, make before break."""
    retiring: int = 0
    """Replaced connections that are still open until their requests are answered."""
    duplicates: int = 0
    """Messages that two connections delivered while one replaced the other."""
    error: str = ""
    """Why the files on disk are not in use, or empty."""


def write_status(path: Path, status: ConnectionStatus) -> None:
    """Replace the file at `path` at once, mode 0644, so that a reader never sees half of it."""
    try:
        _replace(path, msgspec.json.encode(status))
    except OSError as error:
        raise StatusFileError(
            f"cannot write the client's status: {error.strerror}", place=str(path)
        ) from error


def _replace(path: Path, content: bytes) -> None:
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(content)
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
