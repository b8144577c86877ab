"""Asynchronous actions: one at a time, a short queue, and some that outlive the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec

from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import UnreadableFile
from rollover_lab.bosh.agent.protocol import ActionFailed

QUEUE_LENGTH = 5
"""Beyond the one that runs; whoever asks for more waits, and the agent answers nobody."""


class ProcessExit(Exception):
    """The agent's process ends, in so many seconds, with this code."""

    def __init__(self, code: int, *, delay: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.delay = delay


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the place of a result as long as there is none."""

    agent_task_id: str
    state: str = "running"


class _Recorded(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A line of `tasks.json`. The real one keeps the payload too, with its private key."""

    task_id: str
    method: str


class _Task(msgspec.Struct, kw_only=True):
    id: str
    method: str
    work: Callable[[], object]
    persistent: bool = False
    ended: bool = False
    result: object = None
    error: str | None = None


class Tasks:
    """The tasks of one life of an agent. Those that were recorded begin it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, _Task] = {}
        self._queue: asyncio.Queue[_Task] = asyncio.Queue(QUEUE_LENGTH)
        self._recorded = _recorded(path)

    async def resume(self, result: object) -> None:
        """Let every recorded task end again, with `result`, whatever became of its work."""
        for each in tuple(self._recorded.values()):
            await self._begin(
                _Task(id=each.task_id, method=each.method, work=lambda: result, persistent=True)
            )

    async def start(
        self, method: str, work: Callable[[], object], *, persistent: bool = False
    ) -> Running:
        """Put work into the queue, and wait as long as that is full.

        `persistent`: a later life of the agent still answers for it.
        """
        task = _Task(id=str(uuid4()), method=method, work=work, persistent=persistent)
        if persistent:
            self._recorded[task.id] = _Recorded(task_id=task.id, method=method)
            directory.write(self._path, self._recorded)
        await self._begin(task)
        return Running(agent_task_id=task.id)

    def result(self, task_id: str) -> object:
        """Return the result, or `Running`; raise `ActionFailed` with the task's error."""
        task = self._find(task_id)
        if not task.ended:
            return Running(agent_task_id=task.id)
        if task.error is not None:
            raise ActionFailed(f"Task {task_id} result: {task.error}")
        return task.result

    def method(self, task_id: str) -> str:
        """Return what a task does; raise `ActionFailed` when it is not known."""
        return self._find(task_id).method

    async def work(self) -> None:
        """Do one task after another, until one ends the process with `ProcessExit`."""
        while True:
            task = await self._queue.get()
            try:
                task.result = task.work()
            except ActionFailed as error:
                task.error = str(error)
            except ProcessExit as end:
                await asyncio.sleep(end.delay)
                raise
            task.ended = True
            if task.persistent:
                self._recorded.pop(task.id, None)
                directory.write(self._path, self._recorded)

    async def _begin(self, task: _Task) -> None:
        self._known[task.id] = task
        await self._queue.put(task)

    def _find(self, task_id: str) -> _Task:
        if task_id not in self._known:
            raise ActionFailed(f"Task with id {task_id} could not be found")
        return self._known[task_id]


def _recorded(path: Path) -> dict[str, _Recorded]:
    """Read the record; one that cannot be read is as good as none, as the real agent has it."""
    try:
        return directory.read(path, dict[str, _Recorded])
    except UnreadableFile:
        return {}
