"""What the traffic saw: counts of each client, written about four times a second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from rollover import files
from rollover.errors import SpecError
from rollover_lab.traffic.spec import ClientRole

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024


class TrafficPhase(StrEnum):
    """How far the traffic is."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHING = "finishing"
    """Nothing more is sent; the last messages arrive."""
    DONE = "done"


class ClientReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one client counted since the traffic began.

    `missing` numbers have been overtaken by later ones and may still come; `lost` are those that
    did not come within two seconds and, in the final report, all that never came. What a stream
    or an MQTT session holds comes again, so its consumer calls nothing lost before the final
    report.
    """

    name: str
    role: ClientRole
    rotating: bool
    connected: bool
    server: str = ""
    sent: int = 0
    """Messages, requests or acknowledged messages."""
    received: int = 0
    """Different messages, or answers."""
    missing: int = 0
    lost: int = 0
    duplicated_announced: int = 0
    """Copies that the client library flagged in a swap, and JetStream's flagged redeliveries."""
    duplicated_other: int = 0
    failures: int = 0
    """Requests without an answer; messages to the stream that were given up."""
    retries: int = 0
    """Messages to the stream that were published again for want of an acknowledgement."""
    disconnects: int = 0
    """Connections in use that broke. A connection replaced by make-before-break is none."""
    reconnects: int = 0
    swaps: int = 0
    """Connections replaced for new certificates; those of MQTT clients, one after the other."""
    longest_gap_ms: float = 0.0
    """The longest time between two messages, whoever sent them."""
    latency_p99_ms: float = 0.0
    """From sending to receiving, or to the answer; within 5 percent."""
    latency_max_ms: float = 0.0
    error: str = ""
    """The last error that the client reported."""


class TrafficReport(msgspec.Struct, frozen=True, kw_only=True):
    """What all clients counted."""

    version: int = VERSION
    pid: int
    started_at: datetime
    at: datetime
    phase: TrafficPhase
    clients: tuple[ClientReport, ...] = ()
    latency_p99_ms: float = 0.0
    """Over all clients."""

    @property
    def final(self) -> bool:
        """Whether the traffic has ended and these are its last words."""
        return self.phase is TrafficPhase.DONE

    @property
    def sent(self) -> int:
        """Messages and requests sent."""
        return self._sum(lambda client: client.sent)

    @property
    def received(self) -> int:
        """Different messages and answers received."""
        return self._sum(lambda client: client.received)

    @property
    def lost(self) -> int:
        """Messages that a subscriber or consumer should have had and did not get."""
        return self._sum(lambda client: client.lost)

    @property
    def duplicated_announced(self) -> int:
        """Messages that came twice and were said to."""
        return self._sum(lambda client: client.duplicated_announced)

    @property
    def duplicated_other(self) -> int:
        """Messages that came twice without a word."""
        return self._sum(lambda client: client.duplicated_other)

    @property
    def failures(self) -> int:
        """Requests without an answer and messages given up."""
        return self._sum(lambda client: client.failures)

    @property
    def disconnects(self) -> int:
        """Connections that broke."""
        return self._sum(lambda client: client.disconnects)

    @property
    def reconnects(self) -> int:
        """Connections that came back."""
        return self._sum(lambda client: client.reconnects)

    @property
    def swaps(self) -> int:
        """Connections that were replaced, make before break."""
        return self._sum(lambda client: client.swaps)

    @property
    def longest_gap_ms(self) -> float:
        """The longest time that any subscriber of core messages went without one."""
        subscribers = [client for client in self.clients if client.role is ClientRole.SUBSCRIBER]
        return max((client.longest_gap_ms for client in subscribers), default=0.0)

    @property
    def latency_max_ms(self) -> float:
        """The slowest message or answer."""
        return max((client.latency_max_ms for client in self.clients), default=0.0)

    def _sum(self, count: Callable[[ClientReport], int]) -> int:
        return sum(count(client) for client in self.clients)


def read(path: Path) -> TrafficReport:
    """Return the latest report; `SpecError` when there is none yet or it is not one."""
    try:
        with path.open("rb") as file:
            report = msgspec.json.decode(file.read(MAX_BYTES), type=TrafficReport)
    except OSError as error:
        raise SpecError(
            f"cannot read the traffic's report: {error.strerror}",
            place=str(path),
            hint="has the traffic process been started with this `report`?",
        ) from error
    except msgspec.MsgspecError as error:
        raise SpecError(f"not a traffic report: {error}", place=str(path)) from error
    if report.version != VERSION:
        raise SpecError(f"report version {report.version}, expected {VERSION}", place=str(path))
    return report


def write(path: Path, report: TrafficReport) -> None:
    """Replace the report at `path` at once."""
    try:
        files.atomic_write(path, msgspec.json.encode(report), mode=0o644, durable=False)
    except OSError as error:
        raise SpecError(f"cannot write the report: {error.strerror}", place=str(path)) from error
