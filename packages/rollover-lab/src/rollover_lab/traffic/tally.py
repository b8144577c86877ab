"""What one client of the traffic counts while it runs."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from rollover_lab.traffic.latency import Latencies
from rollover_lab.traffic.ledger import Ledger
from rollover_lab.traffic.parcel import GREETING, Parcel
from rollover_lab.traffic.report import ClientReport
from rollover_lab.traffic.spec import ClientSpec, Role

LOST_AFTER_SECONDS = 2.0
"""When a snapshot calls a missing number lost; nothing is late for so long in a healthy fleet."""


_KEPT = frozenset({Role.JS_CONSUMER, Role.MQTT_SUBSCRIBER})
"""For these a server keeps what has not come: it comes yet."""


class Standing(NamedTuple):
    """How a client's connection stands."""

    connected: bool
    server: str
    swaps: int


class Tally:
    """The counts of one client."""

    def __init__(self, client: ClientSpec) -> None:
        self.client = client
        self.sent = 0
        self.failures = 0
        self.retries = 0
        self.disconnects = 0
        self.reconnects = 0
        self.error = ""
        self.latencies = Latencies()
        self.heard: set[int] = set()
        self._answers = 0
        self._announced = 0
        self._other = 0
        self._ledgers: defaultdict[int, Ledger] = defaultdict(Ledger)
        self._last_arrival: float | None = None
        self._longest_gap = 0.0

    def arrived(self, parcel: Parcel, *, at: float, announced: bool = False) -> None:
        """Count a message. `at` is the monotonic time in seconds; `announced`: flagged a copy."""
        self.heard.add(parcel.sender)
        if parcel.number == GREETING:
            return
        self._gap(at)
        if self._ledgers[parcel.sender].take(parcel.number, at=at):
            self.latencies.add(at * 1e3 - parcel.sent_ns / 1e6)
        elif announced:
            self._announced += 1
        else:
            self._other += 1

    def answered(self, milliseconds: float) -> None:
        """Count an answer, or a request answered."""
        self._answers += 1
        self.latencies.add(milliseconds)

    def _gap(self, at: float) -> None:
        if self._last_arrival is not None:
            self._longest_gap = max(self._longest_gap, at - self._last_arrival)
        self._last_arrival = at

    def complete(self, last: dict[int, int]) -> bool:
        """Say whether all numbers of every sender have arrived."""
        return all(self._ledgers[sender].complete(number) for sender, number in last.items())

    def finish(self, last: dict[int, int], *, at: float) -> None:
        """Enter the last number that each sender sent."""
        for sender, number in last.items():
            self._ledgers[sender].finish(number, at=at)

    def report(self, standing: Standing, *, at: float, final: bool) -> ClientReport:
        """Return the counts at time `at`."""
        ledgers = self._ledgers.values()
        return ClientReport(
            name=self.client.name,
            role=self.client.role,
            rotating=self.client.rotating,
            connected=standing.connected,
            server=standing.server,
            sent=self.sent,
            received=self._answers + sum(ledger.received for ledger in ledgers),
            missing=sum(ledger.missing for ledger in ledgers),
            lost=self._lost(at, final=final),
            duplicated_announced=self._announced,
            duplicated_other=self._other,
            failures=self.failures,
            retries=self.retries,
            disconnects=self.disconnects,
            reconnects=self.reconnects,
            swaps=standing.swaps,
            longest_gap_ms=round(self._silence(at, final=final) * 1e3, 3),
            latency_p99_ms=round(self.latencies.quantile(0.99), 3),
            latency_max_ms=round(self.latencies.max_ms, 3),
            error=self.error,
        )

    def _lost(self, at: float, *, final: bool) -> int:
        if not final and self.client.role in _KEPT:
            return 0
        before = at if final else at - LOST_AFTER_SECONDS
        return sum(ledger.lost(before=before) for ledger in self._ledgers.values())

    def _silence(self, at: float, *, final: bool) -> float:
        if final or self._last_arrival is None:
            return self._longest_gap
        return max(self._longest_gap, at - self._last_arrival)
