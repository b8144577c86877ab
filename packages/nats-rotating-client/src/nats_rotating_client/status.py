"""What a rotating connection tells: events while it runs, and the status file for a rotator.

The file says what the next handshake will present and trust. A rotator reads it as evidence. It
holds no secret and is meant to be read by others (mode 0644): a JSON object with the fields of
`ConnectionStatus`. Readers refuse any other `version`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from nats_rotating_client.errors import StatusFileError


class EventKind(StrEnum):
    """What happened to a connection or to its certificates."""

    ADOPTED = "adopted"
    """New trust is in use for every handshake from now on; the connection stays."""
    SWAPPED = "swapped"
    """A second connection with the new certificate took over."""
    RETIRED = "retired"
    """The connection that was replaced has finished its requests and is closed."""
    REFUSED = "refused"
    """New files are not in use, `detail` says why; what was in use stays in use."""
    LAME_DUCK = "lame-duck"
    """The server asked this client to leave; a swap follows."""
    DISCONNECTED = "disconnected"
    """The connection in use was lost; nats-py is trying to get it back."""
    RECONNECTED = "reconnected"
    ERROR = "error"
    """nats-py or a subscription's callback reported an error; the connection goes on."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, with the time at which it did."""

    kind: EventKind
    detail: str = ""
    at: datetime


OnEvent = Callable[[Event], None]
"""Called on the event loop: it must not block and must not raise."""


def ignore_event(_event: Event) -> None:
    """Do nothing: for programs that look at the status only."""


def event_now(kind: EventKind, detail: str = "") -> Event:
    """Return an event that happens at this moment."""
    return Event(kind=kind, detail=detail, at=datetime.now(UTC))


def error_event(error: Exception) -> Event:
    """Return the event of an error that ends nothing."""
    return event_now(EventKind.ERROR, str(error) or type(error).__name__)


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
    # Without fsync: after a crash of the machine the client writes it anew, or does not run.
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # A name that nobody can guess or have put there, in a directory that others may write to.
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask is
            file.write(content)
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
