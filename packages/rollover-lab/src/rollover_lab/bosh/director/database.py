"""The director's SQLite database: one connection that all threads take turns with."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollover_lab.bosh.director.schema import SCHEMA

Value = str | int | float | bytes | None

_PRIVATE = 0o600
_BUSY_SECONDS = 10.0


class Database:
    """Runs statements, each in a transaction of its own or several in one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Manifests hold secrets; SQLite gives its side files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))
        self._turn = threading.RLock()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)

    def rows(self, statement: str, *values: Value) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._turn:
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Value) -> sqlite3.Row | None:
        """Return the first row of a query, None when it has none."""
        return next(iter(self.rows(statement, *values)), None)

    def run(self, statement: str, *values: Value) -> int:
        """Run a statement; return how many rows it changed."""
        with self._turn:
            return self._connection.execute(statement, values).rowcount

    def insert(self, table: str, **columns: Value) -> int:
        """Insert a row; return its number. Names are of the schema, never from outside."""
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" for _ in columns)
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - see above
        with self._turn:
            return self._connection.execute(statement, tuple(columns.values())).lastrowid or 0

    def update(self, table: str, number: int, **columns: Value) -> None:
        """Change columns of the row with this id. Names are of the schema, never from outside."""
        changes = ", ".join(f'"{name}" = ?' for name in columns)
        statement = f"UPDATE {table} SET {changes} WHERE id = ?"  # noqa: S608 - see above
        self.run(statement, *columns.values(), number)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything inside, or nothing when it raises; other threads wait."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close it; nobody may use it afterwards."""
        with self._turn:
            self._connection.close()
