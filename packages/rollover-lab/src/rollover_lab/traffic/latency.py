"""Quantiles of latencies in constant memory: counts in buckets that grow by a tenth each."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
        pairs = zip(self._counts, other.counts, strict=True)
        self._counts = [mine + theirs for mine, theirs in pairs]

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
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(_SMALLEST_MS * math.pow(_GROWTH, bucket + 0.5), self.max_ms)
        return 0.0


def _bucket(milliseconds: float) -> int:
    if milliseconds <= _SMALLEST_MS:
        return 0
    return min(int(math.log(milliseconds / _SMALLEST_MS, _GROWTH)), _BUCKETS - 1)
