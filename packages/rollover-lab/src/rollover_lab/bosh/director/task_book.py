"""Tasks in the database: what was asked for, and how far it got."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

import msgspec

from rollover.platforms.bosh.records import TaskState
from rollover_lab.bosh.director.database import Database
from rollover_lab.bosh.director.refusals import TaskNotFound

ORDINARY_TYPES = (
    "delete_deployment",
    "run_errand",
    "update_deployment",
    "update_instance",
)
"""What `bosh tasks` shows; the rest (listings, scans) only with `--all`."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task; `order` is what its job was told, encoded."""

    id: int
    type: str
    state: TaskState
    description: str
    user: str
    deployment: str | None
    context_id: str
    timestamp: int
    started_at: int | None
    result: str | None
    order: bytes


class TaskBook:
    """Adds, finds and changes tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        kind: str,
        description: str,
        user: str,
        order: bytes,
        deployment: str | None = None,
        context_id: str = "",
    ) -> Task:
        """Add a task that waits for a worker."""
        number = self._database.insert(
            "tasks",
            type=kind,
            state=TaskState.QUEUED,
            description=description,
            user=user,
            deployment=deployment,
            context_id=context_id,
            timestamp=int(time.time()),
            order=order,
        )
        return self.get(number)

    def get(self, number: int | str) -> Task:
        """Return a task; `TaskNotFound`."""
        row = self._database.row("SELECT * FROM tasks WHERE id = ?", number)
        if row is None:
            raise TaskNotFound(f"Task {number} not found")
        return _task(row)

    def find(
        self,
        *,
        states: Iterable[str] = (),
        types: Iterable[str] = (),
        deployment: str | None = None,
        context_id: str | None = None,
        limit: int | None = None,
    ) -> tuple[Task, ...]:
        """Return tasks that fit, the newest first; empty means any."""
        states, types = frozenset(states), frozenset(types)
        rows = self._database.rows("SELECT * FROM tasks ORDER BY id DESC")
        fitting = (
            task
            for task in map(_task, rows)
            if (not states or task.state in states)
            and (not types or task.type in types)
            and (deployment is None or task.deployment == deployment)
            and (context_id is None or task.context_id == context_id)
        )
        return tuple(fitting)[:limit]

    def next(self, types: Iterable[str]) -> Task | None:
        """Return the oldest task of these types that waits for a worker."""
        wanted = frozenset(types)
        rows = self._database.rows(
            "SELECT * FROM tasks WHERE state IN ('queued', 'cancelling') AND started_at IS NULL "
            "ORDER BY id"
        )
        return next((task for task in map(_task, rows) if task.type in wanted), None)

    def start(self, task: Task) -> None:
        """Write down that a worker has taken the task, cancelled or not."""
        now = int(time.time())
        self._database.run(
            "UPDATE tasks SET started_at = ?, timestamp = ?, "
            "state = CASE state WHEN 'queued' THEN 'processing' ELSE state END WHERE id = ?",
            now,
            now,
            task.id,
        )

    def end(self, task: Task, *, state: TaskState, result: str) -> None:
        """Write down how a task ended."""
        self._database.update(
            "tasks", task.id, state=state, result=_short(result), timestamp=int(time.time())
        )

    def cancel(self, task: Task) -> bool:
        """Ask a task to stop; False when it has ended, or was asked before."""
        return (
            self._database.run(
                "UPDATE tasks SET state = 'cancelling' "
                "WHERE id = ? AND state IN ('queued', 'processing')",
                task.id,
            )
            == 1
        )

    def cancelled(self, number: int) -> bool:
        """Tell whether a task was asked to stop."""
        return self.get(number).state is TaskState.CANCELLING

    def give_up_running(self) -> None:
        """Write down that tasks of an earlier process will not end any more."""
        self._database.run(
            "UPDATE tasks SET state = 'timeout' "
            "WHERE state IN ('processing', 'cancelling') AND started_at IS NOT NULL"
        )


def _task(row: sqlite3.Row) -> Task:
    return msgspec.convert(dict(row), Task)


_LONGEST_RESULT = 128
"""`job_runner.rb: truncate`."""


def _short(text: str) -> str:
    stripped = text.strip()
    if len(stripped) <= _LONGEST_RESULT:
        return stripped
    return stripped[:_LONGEST_RESULT].rsplit(maxsplit=1)[0] + "..."
