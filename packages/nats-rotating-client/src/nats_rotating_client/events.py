"""What a rotating connection reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec


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


def ignore(_event: Event) -> None:
    """Do nothing: for programs that look at the status only."""


def now(kind: EventKind, detail: str = "") -> Event:
    """Return an event that happens at this moment."""
    return Event(kind=kind, detail=detail, at=datetime.now(UTC))
