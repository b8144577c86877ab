"""Brings a database to the schema that this version of Rollover works with.

Each component has a folder of numbered SQL files. A file is applied in one transaction together
with the record that it was, so a crash leaves it applied wholly or not at all. Files are never
changed once released: the next number changes the schema further.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rollover.errors import JournalError, StoreError

APPLICATION_ID = 0x524F4C4C
"""`ROLL`: marks the file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

_RECORD = """
CREATE TABLE IF NOT EXISTS migrations (
    component TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (component, number)
) STRICT
"""


class Migration(NamedTuple):
    """One numbered SQL file."""

    number: int
    name: str
    sql: str


def apply(
    connection: sqlite3.Connection,
    *,
    path: Path,
    component: str,
    failure: type[StoreError | JournalError],
) -> None:
    """Apply the migrations that the database does not have yet; idempotent.

    Raises `failure` for a database of another program and for one that a newer version made.
    """
    known = shipped(component)
    # As a rule there is nothing to do, and then no other process is waited for.
    if _version(connection, component) == known[-1].number:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _claim(connection, path=path, failure=failure)
        connection.execute(_RECORD)
        done = _version(connection, component)  # once more: another process may have been faster
        if done > known[-1].number:
            raise failure(  # noqa: TRY301 -- the transaction has to end on this path too
                f"`{path}` has schema {component}/{done}, this version of Rollover knows up to "
                f"{component}/{known[-1].number}",
                hint="use the version of Rollover that made it, or a newer one",
            )
        for migration in known[done:]:
            _apply_one(connection, component, migration)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def shipped(component: str) -> tuple[Migration, ...]:
    """Return the migrations of a component in order."""
    files = sorted((Path(__file__).parent / component).glob("*.sql"))
    return tuple(
        Migration(int(file.stem.split("_", 1)[0]), file.stem, file.read_text("utf-8"))
        for file in files
    )


def statements(sql: str) -> Iterator[str]:
    """Split a file into statements, triggers whole.

    `executescript` would commit the transaction that the migration stands in.
    """
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""


def _apply_one(connection: sqlite3.Connection, component: str, migration: Migration) -> None:
    for statement in statements(migration.sql):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO migrations (component, number, name) VALUES (?, ?, ?)",
        (component, migration.number, migration.name),
    )


def _version(connection: sqlite3.Connection, component: str) -> int:
    recorded = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
    ).fetchone()
    if recorded is None:
        return 0
    row = connection.execute(
        "SELECT coalesce(max(number), 0) FROM migrations WHERE component = ?", (component,)
    ).fetchone()
    return int(row[0])


def _claim(
    connection: sqlite3.Connection, *, path: Path, failure: type[StoreError | JournalError]
) -> None:
    marked = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if marked != APPLICATION_ID and tables:
        raise failure(
            f"`{path}` is the database of another program",
            hint="name another file; Rollover makes its own where there is none",
        )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
