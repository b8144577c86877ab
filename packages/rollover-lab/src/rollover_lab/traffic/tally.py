"""Counts what the clients of a lab send and get: numbered messages, gaps, copies and latencies."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from rollover_lab.traffic.report import ClientReport
from rollover_lab.traffic.spec import ClientRole, ClientSpec

_PARCEL_LAYOUT = struct.Struct("!IHQQ")  # run, sender, number, sent_ns

GREETING = 0
"""The number of messages that only find out whether everybody hears everybody."""


class Parcel(NamedTuple):
    """One numbered message. `sent_ns` is this process's monotonic clock.

    `run` tells it from what an earlier traffic left in the stream.
    """

    run: int
    sender: int
    number: int
    sent_ns: int

    def pack(self) -> bytes:
        """Return the payload."""
        return _PARCEL_LAYOUT.pack(*self)


def unpack_parcel(payload: bytes) -> Parcel | None:
    """Return what a payload says; None when it is not of this traffic."""
    if len(payload) != _PARCEL_LAYOUT.size:
        return None
    return Parcel(*_PARCEL_LAYOUT.unpack(payload))


# Quantiles of latencies in constant memory: counts in buckets that grow by a tenth each. The middle
# of a bucket is told, so what is told is within half a tenth of what was measured.


_GROWTH = 1.1
_SMALLEST_MS = 0.001
_BUCKETS = 220  # the last one begins beyond 10^6 s


class Latencies:
    """Latencies in milliseconds."""

    def __init__(self) -> None:
        self.max_ms = 0.0
        self._counts = [0] * _BUCKETS

    @classmethod
    def together(cls, parts: Iterable[Latencies]) -> Latencies:
        """Return the latencies of all parts as one."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole

    def merge(self, other: Latencies) -> None:
        """Count those of another too."""
        self.max_ms = max(self.max_ms, other.max_ms)
        counts = zip(self._counts, other.counts, strict=True)
        self._counts = [mine + theirs for mine, theirs in counts]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many fell into each bucket."""
        return tuple(self._counts)

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self.max_ms = max(self.max_ms, milliseconds)
        self._counts[_bucket(milliseconds)] += 1

    def quantile(self, share: float) -> float:
        """Return the latency that `share` (0 to 1) of all stay below, within 5 percent."""
        rank = math.ceil(share * sum(self._counts))
        counted = 0
        for bucket, count in enumerate(self._counts):
            counted += count
            if count and counted >= rank:
                return min(_SMALLEST_MS * math.pow(_GROWTH, bucket + 0.5), self.max_ms)
        return 0.0


def _bucket(milliseconds: float) -> int:
    if milliseconds <= _SMALLEST_MS:
        return 0
    return min(int(math.log(milliseconds / _SMALLEST_MS, _GROWTH)), _BUCKETS - 1)


MAX_GAPS = 10_000
"""Beyond this the oldest gap is written off as lost: memory stays bounded whatever happens."""


class Gap(NamedTuple):
    """Numbers from `first` to `last` that were overtaken at time `since`."""

    first: int
    last: int
    since: float

    @property
    def size(self) -> int:
        """How many numbers are missing."""
        return self.last - self.first + 1


class SequenceLedger:
    """Counts the numbers 1, 2, 3 … of one sender as they arrive, in any order."""

    def __init__(self) -> None:
        self.received = 0
        self._next = 1
        self._gaps: list[Gap] = []
        self._written_off = 0

    def take(self, number: int, *, at: float) -> bool:
        """Enter a number that arrived at time `at`; say whether it is the first of its kind."""
        if number < self._next:
            news = self._fill(number)
        else:
            news = True
            if number > self._next:
                self._open(Gap(self._next, number - 1, at))
            self._next = number + 1
        self.received += news
        return news

    def finish(self, last: int, *, at: float) -> None:
        """Enter that `last` was the last number sent: what is still to come is missing."""
        if last >= self._next:
            self._open(Gap(self._next, last, at))
            self._next = last + 1

    def complete(self, last: int) -> bool:
        """Say whether every number up to `last` has arrived."""
        return self._next > last and not self._gaps and not self._written_off

    @property
    def missing(self) -> int:
        """Numbers that were overtaken and have not come."""
        return self._written_off + sum(gap.size for gap in self._gaps)

    def lost(self, *, before: float) -> int:
        """Return how many numbers were overtaken before that time and have not come."""
        old = sum(gap.size for gap in self._gaps if gap.since <= before)
        return self._written_off + old

    def _open(self, gap: Gap) -> None:
        self._gaps.append(gap)
        if len(self._gaps) > MAX_GAPS:
            self._written_off += self._gaps.pop(0).size

    def _fill(self, number: int) -> bool:
        for position, gap in enumerate(self._gaps):
            if gap.first <= number <= gap.last:
                rest = (gap._replace(last=number - 1), gap._replace(first=number + 1))
                self._gaps[position : position + 1] = [gap for gap in rest if gap.size]
                return True
        return False


LOST_AFTER_SECONDS = 2.0
"""When a snapshot calls a missing number lost; nothing is late for so long in a healthy fleet."""


_KEPT = frozenset({ClientRole.JS_CONSUMER, ClientRole.MQTT_SUBSCRIBER})
"""For these a server keeps what has not come: it comes yet."""


class ConnectionState(NamedTuple):
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
        self._ledgers: defaultdict[int, SequenceLedger] = defaultdict(SequenceLedger)
        self._last_arrival: float | None = None
        self._longest_gap = 0.0

    def arrived(self, parcel: Parcel, *, at: float, announced: bool = False) -> None:
        """Count a message. `at` is the monotonic time in seconds; `announced`: flagged a copy."""
        self.heard.add(parcel.sender)
        if parcel.number == GREETING:
            return
        if self._last_arrival is not None:
            self._longest_gap = max(self._longest_gap, at - self._last_arrival)
        self._last_arrival = at
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

    def complete(self, last: dict[int, int]) -> bool:
        """Say whether all numbers of every sender have arrived."""
        return all(self._ledgers[sender].complete(number) for sender, number in last.items())

    def finish(self, last: dict[int, int], *, at: float) -> None:
        """Enter the last number that each sender sent."""
        for sender, number in last.items():
            self._ledgers[sender].finish(number, at=at)

    def report(self, standing: ConnectionState, *, at: float, final: bool) -> ClientReport:
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
