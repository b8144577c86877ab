"""The events of a task, which clients show as progress: one JSON document per line.

As `event_log.rb` writes them. A line `started` and a line `finished` or `failed` belong together
by stage, tags and task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rollover.errors import RolloverError

Entry = dict[str, object]
Write = Callable[[Entry], None]

_ALL = 100


class EventLog:
    """Writes the events of one task."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def stage(self, name: str, total: int, *tags: str) -> Stage:
        """Begin a stage of `total` steps; it writes nothing by itself."""
        return Stage(self._write, {"stage": name, "tags": list(tags), "total": total})

    def warn(self, message: str) -> None:
        """Write a warning."""
        self._write({"time": int(time.time()), "type": "warning", "message": message})

    def fail(self, *, number: int, message: str) -> None:
        """Write why the task failed."""
        self._write({"time": int(time.time()), "error": {"code": number, "message": message}})


class Stage:
    """Steps that belong together; they may run side by side."""

    def __init__(self, write: Write, about: Entry) -> None:
        self._write = write
        self._about = about
        self._turn = threading.Lock()
        self._count = 0

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Write that a step starts, and how it ended."""
        with self._turn:
            self._count += 1
            index = self._count
        step = Step(self._write, self._about | {"task": name, "index": index})
        step.say("started", progress=0)
        try:
            yield step
        except RolloverError as error:
            step.say("failed", progress=_ALL, data={"error": error.message})
            raise
        except Exception as error:
            step.say("failed", progress=_ALL, data={"error": str(error)})
            raise
        step.say("finished", progress=_ALL)


class Step:
    """One step; it may tell how far it is."""

    def __init__(self, write: Write, about: Entry) -> None:
        self._write = write
        self._about = about
        self._progress = 0

    def advance(self, percent: int, status: str) -> None:
        """Tell what is done now."""
        self._progress = min(_ALL, self._progress + percent)
        self.say("in_progress", progress=self._progress, data={"status": status})

    def say(self, state: str, *, progress: int, data: Entry | None = None) -> None:
        """Write a line about the step."""
        entry = {"time": int(time.time())} | self._about
        entry |= {"state": state, "progress": progress}
        self._write(entry | ({"data": data} if data else {}))
