"""The journal and the leases in memory: the reference that their contract suites start from.

The reference of the credential store is `rollover.store.credentials`: plans that shall leave
nothing behind are made on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from rollover.engine import journal, leasing
from rollover.engine.ports import JOURNAL_PAGE, Holder, Lease
from rollover.fleet.journal import Entry, EntryKind, Head, Plain, RotationSummary


class MemoryJournal:
    """A `Journal` in a list."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(
        self,
        rotation: str,
        kind: EntryKind,
        *,
        at: datetime,
        subject: str = "",
        data: Mapping[str, Plain] | None = None,
    ) -> Entry:
        """Add an entry behind the last one and return it."""
        with self._lock:
            head = self._head()
            entry = journal.next_entry(
                head, at=at, rotation=rotation, kind=kind, subject=subject, data=data
            )
            self._entries.append(entry)
        return entry

    def entries(
        self, *, rotation: str | None = None, after: int = 0, limit: int = JOURNAL_PAGE
    ) -> tuple[Entry, ...]:
        """Return entries with a sequence above `after`, in order."""
        chosen = [entry for entry in self._entries[after:] if rotation in (None, entry.rotation)]
        return tuple(chosen[:limit])

    def rotations(
        self, *, before: int | None = None, limit: int = JOURNAL_PAGE
    ) -> tuple[RotationSummary, ...]:
        """Return rotations, the last begun first."""
        grouped: dict[str, list[Entry]] = {}
        for entry in tuple(self._entries):
            grouped.setdefault(entry.rotation, []).append(entry)
        newest_first = reversed([_summary(entries) for entries in grouped.values()])
        chosen = [s for s in newest_first if before is None or s.first_sequence < before]
        return tuple(chosen[:limit])

    def verify(self) -> Head:
        """Walk the whole chain and return its head."""
        return journal.verify_entries(tuple(self._entries))

    def _head(self) -> Head:
        if not self._entries:
            return journal.EMPTY_HEAD
        last = self._entries[-1]
        return journal.check_entry(Head(sequence=last.sequence - 1, hash=last.previous), last)


def _summary(entries: list[Entry]) -> RotationSummary:
    first, last = entries[0], entries[-1]
    return RotationSummary(
        rotation=first.rotation,
        first_sequence=first.sequence,
        last_sequence=last.sequence,
        started_at=first.at,
        last_at=last.at,
        entries=len(entries),
        last_kind=last.kind,
    )


class MemoryLeases:
    """`Leases` in a dictionary; `dead` says which holders are known to be gone."""

    def __init__(self, *, dead: Callable[[Holder], bool] = leasing.nobody_is_dead) -> None:
        self._dead = dead
        self._leases: dict[str, Lease] = {}
        self._tokens: dict[str, int] = {}
        self._lock = threading.Lock()

    def acquire(self, name: str, holder: Holder, *, seconds: float, now: datetime) -> Lease:
        """Take the lease, or raise `StaleError`."""
        with self._lock:
            held = self._leases.get(name)
            lease = leasing.grant_lease(
                name,
                holder,
                held=held,
                last_token=self._tokens.get(name, 0),
                expires_at=now + timedelta(seconds=seconds),
                now=now,
                dead=self._dead,
            )
            self._leases[name] = lease
            self._tokens[name] = lease.token
        return lease

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        """Return the lease with a new expiry, or raise `StaleError` when it was lost."""
        with self._lock:
            held = self._leases.get(lease.name)
            if held is None or held.token != lease.token:
                raise leasing.lease_lost(lease, held=held)
            renewed = msgspec.structs.replace(held, expires_at=now + timedelta(seconds=seconds))
            self._leases[lease.name] = renewed
        return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back."""
        with self._lock:
            held = self._leases.get(lease.name)
            if held is not None and held.token == lease.token:
                del self._leases[lease.name]

    def current(self, name: str) -> Lease | None:
        """Return the lease of the name, None when nobody holds it."""
        return self._leases.get(name)
