"""The tables of the director's database; they live on its persistent disk."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deployments (
  name TEXT PRIMARY KEY,
  manifest TEXT,
  cloud_configs TEXT NOT NULL DEFAULT '[]',
  runtime_configs TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE IF NOT EXISTS variables (
  id INTEGER PRIMARY KEY,
  deployment TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  name TEXT NOT NULL,
  UNIQUE (deployment, name)
) STRICT;
CREATE TABLE IF NOT EXISTS instances (
  id INTEGER PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,
  deployment TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  "group" TEXT NOT NULL,
  "index" INTEGER NOT NULL,
  az TEXT,
  bootstrap INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'started',
  ignore INTEGER NOT NULL DEFAULT 0,
  update_completed INTEGER NOT NULL DEFAULT 0,
  spec TEXT,
  dns TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS vms (
  id INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  active INTEGER NOT NULL DEFAULT 0,
  agent_id TEXT NOT NULL UNIQUE,
  cid TEXT NOT NULL,
  ip TEXT NOT NULL,
  created_at TEXT NOT NULL,
  stemcell_name TEXT NOT NULL,
  stemcell_version TEXT NOT NULL,
  permanent_nats_credentials INTEGER NOT NULL DEFAULT 0,
  nats_config_sha1 TEXT NOT NULL,
  trusted_certs_sha1 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS persistent_disks (
  id INTEGER PRIMARY KEY,
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  cid TEXT NOT NULL,
  size INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tasks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL,
  state TEXT NOT NULL,
  description TEXT NOT NULL,
  user TEXT NOT NULL,
  deployment TEXT,
  context_id TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  started_at INTEGER,
  result TEXT,
  "order" BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS locks (
  name TEXT PRIMARY KEY,
  task_id INTEGER NOT NULL,
  expired_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS configs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  content TEXT NOT NULL,
  created_at TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS stemcells (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  operating_system TEXT NOT NULL,
  cid TEXT NOT NULL,
  UNIQUE (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS releases (
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  jobs TEXT NOT NULL,
  PRIMARY KEY (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS problems (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  deployment TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  type TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'open'
) STRICT;
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  parent_id INTEGER,
  timestamp INTEGER NOT NULL,
  user TEXT NOT NULL,
  action TEXT NOT NULL,
  object_type TEXT NOT NULL,
  object_name TEXT,
  error TEXT,
  task TEXT,
  deployment TEXT,
  instance TEXT,
  context TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS instances_of ON instances (deployment, "group", "index");
CREATE INDEX IF NOT EXISTS vms_of ON vms (instance_id);
CREATE INDEX IF NOT EXISTS disks_of ON persistent_disks (instance_id);
CREATE INDEX IF NOT EXISTS tasks_in ON tasks (state);
"""


Value = str | int | float | bytes | None

_PRIVATE = 0o600
_BUSY_SECONDS = 10.0


class DirectorDatabase:
    """Runs statements, each in a transaction of its own or several in one.

    All threads take turns with one connection.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Manifests hold secrets; SQLite gives its side files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))
        self._lock = threading.RLock()
        # No isolation level: a transaction begins where `transaction` says so, and nowhere else.
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)

    def rows(self, statement: str, *values: Value) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Value) -> sqlite3.Row | None:
        """Return the first row of a query, None when it has none."""
        return next(iter(self.rows(statement, *values)), None)

    def run(self, statement: str, *values: Value) -> int:
        """Run a statement; return how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def insert(self, table: str, **columns: Value) -> int:
        """Insert a row; return its number. Names are of the schema, never from outside."""
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" for _ in columns)
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - see above
        with self._lock:
            return self._connection.execute(statement, tuple(columns.values())).lastrowid or 0

    def update(self, table: str, number: int, **columns: Value) -> None:
        """Change columns of the row with this id. Names are of the schema, never from outside."""
        changes = ", ".join(f'"{name}" = ?' for name in columns)
        statement = f"UPDATE {table} SET {changes} WHERE id = ?"  # noqa: S608 - see above
        self.run(statement, *columns.values(), number)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything inside, or nothing when it raises; other threads wait."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close it; nobody may use it afterwards."""
        with self._lock:
            self._connection.close()
