"""Locks: one task at a time changes a deployment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from rollover_lab.bosh.director.database import Database
from rollover_lab.bosh.director.refusals import LockBusy

WAIT_SECONDS = 10.0
"""How long a task tries to get a lock (`lock_helper.rb`)."""
_TRY_SECONDS = 0.1
_SHOWN_EXPIRY_SECONDS = 11.0
"""What clients see as a lock's time; locks of this director end with their task."""


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock as clients see it."""

    type: str
    resource: tuple[str, ...]
    timeout: str
    task_id: str


class Locks:
    """Takes and gives back locks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[Lock, ...]:
        """Return every lock that a task holds."""
        expiry = time.time() + _SHOWN_EXPIRY_SECONDS
        return tuple(
            Lock(
                type=row["name"].split(":")[1],
                resource=tuple(row["name"].split(":")[2:]),
                timeout=f"{expiry:.6f}",
                task_id=str(row["task_id"]),
            )
            for row in self._database.rows("SELECT * FROM locks ORDER BY name")
        )

    def locked(self, deployment: str) -> bool:
        """Tell whether a task changes a deployment."""
        name = f"lock:deployment:{deployment}"
        return self._database.row("SELECT 1 FROM locks WHERE name = ?", name) is not None

    @contextmanager
    def deployment(
        self, deployment: str, *, task: int, seconds: float = WAIT_SECONDS
    ) -> Iterator[None]:
        """Hold the lock of a deployment; `LockBusy` when another task keeps it for too long."""
        name = f"lock:deployment:{deployment}"
        deadline = time.monotonic() + seconds
        while not self._take(name, task):
            if time.monotonic() >= deadline:
                raise LockBusy(f"Failed to acquire lock for {name} {self._holder(name)}")
            time.sleep(_TRY_SECONDS)
        try:
            yield
        finally:
            self._database.run("DELETE FROM locks WHERE name = ? AND task_id = ?", name, task)

    def clear(self) -> None:
        """Forget every lock: no task outlives the director's process."""
        self._database.run("DELETE FROM locks")

    def _take(self, name: str, task: int) -> bool:
        statement = "INSERT OR IGNORE INTO locks (name, task_id, expired_at) VALUES (?, ?, ?)"
        return self._database.run(statement, name, task, time.time()) == 1

    def _holder(self, name: str) -> str:
        row = self._database.row(
            "SELECT tasks.id, tasks.description FROM locks JOIN tasks ON tasks.id = locks.task_id "
            "WHERE locks.name = ?",
            name,
        )
        if row is None:
            return "Lock is gone"
        task = row["id"]
        described = f"Locking task id is {task}, description: '{row['description']}'"
        return f"uid: {task}. {described}"
