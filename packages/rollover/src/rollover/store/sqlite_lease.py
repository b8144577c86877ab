"""Leases in an SQLite file: for the processes of one machine, taken over from dead ones at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec

from rollover.engine import chain, leasing
from rollover.engine.lease_port import Holder, Lease
from rollover.errors import StoreError
from rollover.store.database import Database, open_database
from rollover.store.processes import is_known_dead


def open_leases(path: Path, *, dead: Callable[[Holder], bool] = is_known_dead) -> SqliteLeases:
    """Open the leases, made where they are missing; `StoreError` when the file cannot serve.

    `dead` says which holders have certainly ended: theirs are free without waiting.
    """
    database = open_database(path, component="leases", failure=StoreError)
    return SqliteLeases(database, dead=dead)


class SqliteLeases:
    """`Leases` (rollover.engine.lease_port) in one file."""

    def __init__(self, database: Database, *, dead: Callable[[Holder], bool]) -> None:
        self._database = database
        self._dead = dead

    def acquire(self, name: str, holder: Holder, *, seconds: float, now: datetime) -> Lease:
        """Take the lease, or raise `StaleError` which names who holds it."""
        with self._database.writing() as connection:
            lease = leasing.grant(
                name,
                holder,
                held=_held(connection, name),
                last_token=_last_token(connection, name),
                expires_at=now + timedelta(seconds=seconds),
                now=now,
                dead=self._dead,
            )
            _write(connection, lease)
        return lease

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        """Return the lease with a new expiry, or raise `StaleError` when it was lost."""
        with self._database.writing() as connection:
            held = _held(connection, lease.name)
            if held is None or held.token != lease.token:
                raise leasing.lost(lease, held=held)
            renewed = msgspec.structs.replace(held, expires_at=now + timedelta(seconds=seconds))
            _write(connection, renewed)
        return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; does nothing when somebody else holds it by now."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE leases SET holder = NULL WHERE name = ? AND token = ?",
                (lease.name, lease.token),
            )

    def current(self, name: str) -> Lease | None:
        """Return the lease of the name, None when nobody holds it."""
        with self._database.reading() as connection:
            return _held(connection, name)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _held(connection: sqlite3.Connection, name: str) -> Lease | None:
    row = connection.execute(
        "SELECT holder, token, acquired_at, expires_at FROM leases "
        "WHERE name = ? AND holder IS NOT NULL",
        (name,),
    ).fetchone()
    if row is None:
        return None
    holder, token, acquired_at, expires_at = row
    return Lease(
        name=name,
        holder=_holder(name, holder),
        token=token,
        acquired_at=datetime.fromisoformat(acquired_at),
        expires_at=datetime.fromisoformat(expires_at),
    )


def _holder(name: str, text: str) -> Holder:
    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        raise StoreError(
            f"the lease of `{name}` names its holder in a way that cannot be read",
            hint="use the version of Rollover that wrote it, or put back a backup",
        ) from None


def _last_token(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT token FROM leases WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _write(connection: sqlite3.Connection, lease: Lease) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO leases (name, token, holder, acquired_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            lease.name,
            lease.token,
            msgspec.json.encode(lease.holder).decode(),
            chain.instant_text(lease.acquired_at),
            chain.instant_text(lease.expires_at),
        ),
    )
