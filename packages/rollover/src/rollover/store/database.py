"""SQLite as every store here uses it: private, durable, migrated, with errors people can read.

One connection is shared by all threads of the process behind a lock; processes are kept apart by
SQLite. Never carry an open database over a fork.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rollover import files
from rollover.errors import JournalError, StoreError
from rollover.store import migrations

BUSY_SECONDS: Final = 10.0
"""How long to wait for another process which writes; a write takes about a millisecond."""

Failure = type[StoreError | JournalError]

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # NORMAL, usual with WAL, may lose the last commits
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what was forgotten is overwritten: a row may hold a key
    "PRAGMA trusted_schema = OFF",
)

_CAUSES: Final = (
    ("SQLITE_FULL", "the disk is full", "make room on its file system, then run again"),
    (
        "SQLITE_READONLY",
        "it is read-only",
        "check owner and mode of the file and its directory, and that the disk is not read-only",
    ),
    (
        "SQLITE_CANTOPEN",
        "it cannot be opened",
        "check that the directory exists and is writable for this user",
    ),
    ("SQLITE_PERM", "permission denied", "check the owner and mode of the file"),
    ("SQLITE_BUSY", "another process keeps it locked", "wait for that process, then run again"),
    ("SQLITE_LOCKED", "it is locked", "wait for the other process, then run again"),
    (
        "SQLITE_NOTADB",
        "it is not a database",
        "name the right file, or put back a backup; move the file away to begin anew",
    ),
    (
        "SQLITE_CORRUPT",
        "it is damaged",
        "put back a backup; `sqlite3 FILE .recover` may save a part",
    ),
    ("SQLITE_IOERR", "reading or writing failed", "check the disk and its free space"),
    ("SQLITE_TOOBIG", "a value is too large", "store a smaller one"),
    ("SQLITE_NOMEM", "memory ran out", "give the process more memory"),
)


class Database:
    """An open database; use it as a context manager or call `close`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, failure: Failure) -> None:
        self.path = path
        self._connection = connection
        self._failure = failure
        self._lock = threading.RLock()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one durable transaction; anything raised in it undoes all of it."""
        with self._lock, translated(self.path, self._failure):
            # Locks now: a transaction that only then turns to writing cannot wait for another.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back by itself after some errors, a full disk for one.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run a block on one unchanging view of the database."""
        with self._lock, translated(self.path, self._failure):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_database(path: Path, *, component: str, failure: Failure) -> Database:
    """Open the database file, made 0600 in a 0700 directory where missing, and migrate it.

    `component` names the folder of migrations; several components can share one file. What goes
    wrong is raised as `failure`.
    """
    try:
        files.make_private_directory(path.parent)
        files.make_private_file(path, b"")
        files.check_private_file(path)
    except StoreError as error:
        raise failure(error.message, hint=error.hint) from None
    with translated(path, failure):
        connection = _connect(path)
        try:
            migrations.apply(connection, path=path, component=component, failure=failure)
        except BaseException:
            connection.close()
            raise
    return Database(connection, path, failure)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(path: Path, failure: Failure) -> Iterator[None]:
    """Turn SQLite's errors into `failure` with the file, the cause and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error, path=path, failure=failure) from None


def explained(error: sqlite3.Error, *, path: Path, failure: Failure) -> StoreError | JournalError:
    """Return the error that says what SQLite's means, and what to do."""
    code: str = getattr(error, "sqlite_errorname", "")
    for prefix, cause, remedy in _CAUSES:
        if code.startswith(prefix):
            return failure(f"`{path}`: {cause} ({code})", hint=remedy)
    return failure(f"`{path}`: {error}", hint="this looks like a defect of Rollover: report it")
