"""The journal in an SQLite file: append-only, hash-chained, durable against kill -9."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from rollover.engine import journal
from rollover.engine.ports import JOURNAL_PAGE
from rollover.errors import JournalError
from rollover.fleet.journal import Entry, EntryKind, Head, Plain, RotationSummary
from rollover.store.database import Database, open_database

_COLUMNS: Final = "sequence, at, rotation, kind, subject, data, previous, hash"


def open_journal(path: Path) -> SqliteJournal:
    """Open the journal, made where it is missing; `JournalError` when the file cannot serve."""
    return SqliteJournal(open_database(path, component="journal", failure=JournalError))


class SqliteJournal:
    """A `Journal` (rollover.engine.ports) in one file, for threads and processes alike."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        rotation: str,
        kind: EntryKind,
        *,
        at: datetime,
        subject: str = "",
        data: Mapping[str, Plain] | None = None,
    ) -> Entry:
        """Add an entry behind the last one and return it once it is on the disk."""
        with self._database.writing() as connection:
            entry = journal.next_entry(
                _checked_head(connection),
                at=at,
                rotation=rotation,
                kind=kind,
                subject=subject,
                data=data,
            )
            connection.execute(
                f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- a constant
                _to_row(entry),
            )
        return entry

    def entries(
        self, *, rotation: str | None = None, after: int = 0, limit: int = JOURNAL_PAGE
    ) -> tuple[Entry, ...]:
        """Return entries with a sequence above `after`, in order."""
        chosen, values = (
            ("", (after, limit))
            if rotation is None
            else ("rotation = ? AND", (rotation, after, limit))
        )
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE {chosen} sequence > ? "  # noqa: S608 -- constants
                "ORDER BY sequence LIMIT ?",
                values,
            ).fetchall()
        return tuple(_from_row(row) for row in rows)

    def rotations(
        self, *, before: int | None = None, limit: int = JOURNAL_PAGE
    ) -> tuple[RotationSummary, ...]:
        """Return rotations, the last begun first."""
        bound = 2**63 - 1 if before is None else before
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT grouped.rotation, grouped.low, grouped.high, first.at, last.at, "
                "grouped.number, last.kind FROM (SELECT rotation, min(sequence) AS low, "
                "max(sequence) AS high, count(*) AS number FROM entries GROUP BY rotation) "
                "AS grouped JOIN entries AS first ON first.sequence = grouped.low "
                "JOIN entries AS last ON last.sequence = grouped.high "
                "WHERE grouped.low < ? ORDER BY grouped.low DESC LIMIT ?",
                (bound, limit),
            ).fetchall()
        return tuple(_summary(row) for row in rows)

    def verify(self) -> Head:
        """Walk the whole chain and return its head; `JournalError` names the first bad entry."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY sequence")  # noqa: S608 -- a constant
            return journal.verify_entries(_from_row(row) for row in rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked_head(connection: sqlite3.Connection) -> Head:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM entries ORDER BY sequence DESC LIMIT 1"  # noqa: S608 -- a constant
    ).fetchone()
    if row is None:
        return journal.EMPTY_HEAD
    last = _from_row(row)
    # Never continue a chain whose last entry was changed: the new one would vouch for it.
    return journal.check_entry(Head(sequence=last.sequence - 1, hash=last.previous), last)


def _to_row(entry: Entry) -> tuple[int | str, ...]:
    return (
        entry.sequence,
        journal.instant_text(entry.at),
        entry.rotation,
        entry.kind.value,
        entry.subject,
        journal.canonical_json(entry.data),
        entry.previous,
        entry.hash,
    )


def _from_row(row: tuple[int, str, str, str, str, str, str, str]) -> Entry:
    sequence, at, rotation, kind, subject, data, previous, digest = row
    try:
        return Entry(
            sequence=sequence,
            at=datetime.fromisoformat(at),
            rotation=rotation,
            kind=EntryKind(kind),
            subject=subject,
            data=json.loads(data),
            previous=previous,
            hash=digest,
        )
    except ValueError as error:
        raise JournalError(
            f"the journal is broken at entry {sequence}: {error}",
            hint="it was changed, or a newer version of Rollover wrote it",
        ) from None


def _summary(row: tuple[str, int, int, str, str, int, str]) -> RotationSummary:
    rotation, first, last, started_at, last_at, number, kind = row
    return RotationSummary(
        rotation=rotation,
        first_sequence=first,
        last_sequence=last,
        started_at=datetime.fromisoformat(started_at),
        last_at=datetime.fromisoformat(last_at),
        entries=number,
        last_kind=EntryKind(kind),
    )
