"""Tasks of the director, with what they print: events, results, debug lines."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.errors import RolloverError
from rollover.platforms.bosh.director_records import TaskState
from rollover_lab.bosh.director.database import DirectorDatabase
from rollover_lab.bosh.director.refusals import TaskNotFound

_HTTP_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


class OutputKind(StrEnum):
    """What a task writes."""

    DEBUG = "debug"
    CPI = "cpi"
    EVENT = "event"
    RESULT = "result"


class Slice(NamedTuple):
    """Part of an output: octets from `first` to before `end`, of `size` in all."""

    first: int
    end: int
    size: int


class Unsatisfiable(NamedTuple):
    """A range that begins where the output has ended; so far."""

    size: int


class Outputs:
    """Writes and reads outputs: a directory for each task, a file for each kind of output."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_DIRECTORY)

    def append(self, task: int, kind: OutputKind, text: str) -> None:
        """Add a line; whoever reads sees all of it or nothing."""
        path = self.path(task, kind)
        path.parent.mkdir(exist_ok=True, mode=_PRIVATE_DIRECTORY)
        # O_APPEND and one write: no line of another thread comes in between.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(path, flags, _PRIVATE_FILE)
        try:
            os.write(descriptor, text.encode() + b"\n")
        finally:
            os.close(descriptor)

    def path(self, task: int, kind: OutputKind) -> Path:
        """Return where an output is, written yet or not."""
        return self._directory / str(task) / kind

    def size(self, task: int, kind: OutputKind) -> int | None:
        """Return the size of an output in octets; None: nothing was written."""
        try:
            return self.path(task, kind).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, task: int, kind: OutputKind, part: Slice) -> bytes:
        """Return part of an output."""
        with self.path(task, kind).open("rb") as file:
            file.seek(part.first)
            return file.read(part.end - part.first)


def wanted_slice(header: str | None, size: int) -> Slice | Unsatisfiable | None:
    """Return what a `Range` header asks for; None: everything (RFC 9110 §14.2).

    Headers that are no single range of octets are ignored, as Rack does.
    """
    match = _HTTP_RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        last = int(match[2])
        return Slice(max(0, size - last), size, size) if last and size else Unsatisfiable(size)
    first = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return Slice(first, end, size) if first < end else Unsatisfiable(size)


EventEntry = dict[str, object]
WriteEntry = Callable[[EventEntry], None]

_WHOLE_PROGRESS = 100


class EventLog:
    """Writes the events of one task, which clients show as progress: a JSON document per line.

    As `event_log.rb` does. A line `started` and a line `finished` or `failed` belong together by
    stage, tags and task.
    """

    def __init__(self, write: WriteEntry) -> None:
        self._write = write

    def stage(self, name: str, total: int, *tags: str) -> EventStage:
        """Begin a stage of `total` steps; it writes nothing by itself."""
        return EventStage(self._write, {"stage": name, "tags": list(tags), "total": total})

    def warn(self, message: str) -> None:
        """Write a warning."""
        self._write({"time": int(time.time()), "type": "warning", "message": message})

    def fail(self, *, number: int, message: str) -> None:
        """Write why the task failed."""
        self._write({"time": int(time.time()), "error": {"code": number, "message": message}})


class EventStage:
    """Steps that belong together; they may run side by side."""

    def __init__(self, write: WriteEntry, about: EventEntry) -> None:
        self._write = write
        self._about = about
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def step(self, name: str) -> Iterator[EventStep]:
        """Write that a step starts, and how it ended."""
        with self._lock:
            self._count += 1
            index = self._count
        step = EventStep(self._write, self._about | {"task": name, "index": index})
        step.say("started", progress=0)
        try:
            yield step
        except RolloverError as error:
            step.say("failed", progress=_WHOLE_PROGRESS, data={"error": error.message})
            raise
        except Exception as error:
            step.say("failed", progress=_WHOLE_PROGRESS, data={"error": str(error)})
            raise
        step.say("finished", progress=_WHOLE_PROGRESS)


class EventStep:
    """One step; it may tell how far it is."""

    def __init__(self, write: WriteEntry, about: EventEntry) -> None:
        self._write = write
        self._about = about
        self._progress = 0

    def advance(self, percent: int, status: str) -> None:
        """Tell what is done now."""
        self._progress = min(_WHOLE_PROGRESS, self._progress + percent)
        self.say("in_progress", progress=self._progress, data={"status": status})

    def say(self, state: str, *, progress: int, data: EventEntry | None = None) -> None:
        """Write a line about the step."""
        entry = {"time": int(time.time())} | self._about
        entry |= {"state": state, "progress": progress}
        self._write(entry | ({"data": data} if data else {}))


ORDINARY_TYPES = (
    "delete_deployment",
    "run_errand",
    "update_deployment",
    "update_instance",
)
"""What `bosh tasks` shows; the rest (listings, scans) only with `--all`."""


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
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


class TaskTable:
    """Adds, finds and changes tasks."""

    def __init__(self, database: DirectorDatabase) -> None:
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
    ) -> TaskRecord:
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

    def get(self, number: int | str) -> TaskRecord:
        """Return a task; `TaskNotFound`."""
        row = self._database.row("SELECT * FROM tasks WHERE id = ?", number)
        if row is None:
            raise TaskNotFound(f"Task {number} not found")
        return _task_of_row(row)

    def find(
        self,
        *,
        states: Iterable[str] = (),
        types: Iterable[str] = (),
        deployment: str | None = None,
        context_id: str | None = None,
        limit: int | None = None,
    ) -> tuple[TaskRecord, ...]:
        """Return tasks that fit, the newest first; empty means any."""
        states, types = frozenset(states), frozenset(types)
        rows = self._database.rows("SELECT * FROM tasks ORDER BY id DESC")
        fitting = (
            task
            for task in map(_task_of_row, rows)
            if (not states or task.state in states)
            and (not types or task.type in types)
            and (deployment is None or task.deployment == deployment)
            and (context_id is None or task.context_id == context_id)
        )
        return tuple(fitting)[:limit]

    def next(self, types: Iterable[str]) -> TaskRecord | None:
        """Return the oldest task of these types that waits for a worker."""
        wanted = frozenset(types)
        # One that was cancelled while it waited too: it takes a worker to end it.
        rows = self._database.rows(
            "SELECT * FROM tasks WHERE state IN ('queued', 'cancelling') AND started_at IS NULL "
            "ORDER BY id"
        )
        return next((task for task in map(_task_of_row, rows) if task.type in wanted), None)

    def start(self, task: TaskRecord) -> None:
        """Write down that a worker has taken the task, cancelled or not."""
        now = int(time.time())
        self._database.run(
            "UPDATE tasks SET started_at = ?, timestamp = ?, "
            "state = CASE state WHEN 'queued' THEN 'processing' ELSE state END WHERE id = ?",
            now,
            now,
            task.id,
        )

    def end(self, task: TaskRecord, *, state: TaskState, result: str) -> None:
        """Write down how a task ended."""
        self._database.update(
            "tasks", task.id, state=state, result=_shortened(result), timestamp=int(time.time())
        )

    def cancel(self, task: TaskRecord) -> bool:
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


def _task_of_row(row: sqlite3.Row) -> TaskRecord:
    return msgspec.convert(dict(row), TaskRecord)


_LONGEST_RESULT = 128
"""`job_runner.rb: truncate`."""


def _shortened(text: str) -> str:
    stripped = text.strip()
    if len(stripped) <= _LONGEST_RESULT:
        return stripped
    return stripped[:_LONGEST_RESULT].rsplit(maxsplit=1)[0] + "..."
