"""What the engine needs of a journal, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from rollover.fleet.journal import Entry, EntryKind, Head, Plain, RotationSummary

PAGE = 500
"""Entries or rotations that one call returns unless told otherwise."""


class Journal(Protocol):
    """An append-only record of evidence and decisions; never the truth about the fleet.

    Several threads and several processes may use one journal at once. Every method raises
    `JournalError` when the place where it is kept fails, is damaged or comes from a newer version.
    """

    def append(
        self,
        rotation: str,
        kind: EntryKind,
        *,
        at: datetime,
        subject: str = "",
        data: Mapping[str, Plain] | None = None,
    ) -> Entry:
        """Add an entry behind the last one and return it, once it would survive a power cut.

        Appends are serialised: sequences have no gaps, and each entry carries the hash of the one
        before, whose own hash is checked first. Not idempotent: each call adds an entry. Raises
        `JournalError` when the last entry was changed, and when the data is not plain JSON, is
        larger than 1 MiB or holds a private key; nothing is added then.
        """
        ...

    def entries(
        self, *, rotation: str | None = None, after: int = 0, limit: int = PAGE
    ) -> tuple[Entry, ...]:
        """Return entries with a sequence above `after` in order, of one rotation or of all."""
        ...

    def rotations(
        self, *, before: int | None = None, limit: int = PAGE
    ) -> tuple[RotationSummary, ...]:
        """Return rotations, the last begun first; `before`: the `first_sequence` to go on from."""
        ...

    def verify(self) -> Head:
        """Walk the whole chain and return its head.

        Raises `JournalError` that names the first entry which was changed, removed or put in.
        Entries cut off at the end leave a valid chain: compare the head with one noted earlier.
        """
        ...


def every_entry(journal: Journal, rotation: str) -> Iterator[Entry]:
    """Yield all entries of one rotation in order, page by page."""
    after = 0
    while entries := journal.entries(rotation=rotation, after=after):
        yield from entries
        after = entries[-1].sequence
