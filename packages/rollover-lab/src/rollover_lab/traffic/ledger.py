"""Which numbers of one sender have arrived: gaps, late ones and doubles, in little memory."""

from __future__ import annotations

from typing import NamedTuple

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


class Ledger:
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
                self._gaps[position : position + 1] = [each for each in rest if each.size]
                return True
        return False
