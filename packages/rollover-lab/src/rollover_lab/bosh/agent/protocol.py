"""What is sent to an agent and what it answers, at once or as a task that one asks for later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import msgspec

from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import UnreadableFile

REPLY_LIMIT = 1024 * 1024
"""Octets; a longer reply is replaced by an exception (bosh-agent, mbus/nats_handler.go)."""
_TOO_LONG = "Response exceeded maximum allowed length"

T = TypeVar("T")


class ActionFailed(Exception):
    """An action cannot be done; the text goes to whoever asked."""


class AgentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the director sends to `agent.<id>`."""

    method: str = ""
    protocol: int = 0
    reply_to: str = ""
    arguments: tuple[msgspec.Raw, ...] | None = None
    status: str = ""
    """Only of `set_dummy_status`, which has no arguments."""

    def argument(self, position: int, kind: type[T]) -> T:
        """Return an argument; raise `ActionFailed` with the real agent's words."""
        arguments = self.arguments or ()
        if position >= len(arguments):
            raise ActionFailed(
                "Extracting method arguments from payload: Not enough arguments, "
                f"expected {position + 1}, got {len(arguments)}"
            )
        try:
            return msgspec.json.decode(arguments[position], type=kind)
        except msgspec.ValidationError as error:
            raise ActionFailed(
                f"Extracting method arguments from payload: Unmarshalling action argument: {error}"
            ) from None

    def has_argument(self, position: int) -> bool:
        """Say whether there is an argument at a position."""
        return position < len(self.arguments or ())


class _Failure(msgspec.Struct, frozen=True):
    message: str


class _Value(msgspec.Struct, frozen=True):
    value: object


class _Exception(msgspec.Struct, frozen=True):
    exception: _Failure


def parse_request(payload: bytes) -> AgentRequest | None:
    """Return the request; None for what is not one: it gets no reply."""
    try:
        return msgspec.json.decode(payload, type=AgentRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def value_reply(content: object) -> bytes:
    """Return the reply that carries a result."""
    reply = msgspec.json.encode(_Value(content))
    return reply if len(reply) <= REPLY_LIMIT else failure_reply(_TOO_LONG)


def failure_reply(message: str) -> bytes:
    """Return the reply that carries an error."""
    reply = msgspec.json.encode(_Exception(_Failure(message)))
    return reply if len(reply) <= REPLY_LIMIT else failure_reply(_TOO_LONG)


def fits_a_subject(text: str) -> bool:
    """Say whether a reply can be published there."""
    return bool(text) and not any(
        character.isspace() or not character.isprintable() for character in text
    )


# Asynchronous actions: one at a time, a short queue, and some that outlive the process.


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


class _RecordedTask(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A line of `tasks.json`. The real one keeps the payload too, with its private key."""

    task_id: str
    method: str


class _AgentTask(msgspec.Struct, kw_only=True):
    id: str
    method: str
    work: Callable[[], object]
    persistent: bool = False
    ended: bool = False
    result: object = None
    error: str | None = None


class AgentTasks:
    """The tasks of one life of an agent. Those that were recorded begin it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, _AgentTask] = {}
        self._queue: asyncio.Queue[_AgentTask] = asyncio.Queue(QUEUE_LENGTH)
        self._recorded: dict[str, _RecordedTask] = {}
        # A record that cannot be read is as good as none, as the real agent has it.
        with contextlib.suppress(UnreadableFile):
            self._recorded = directory.read_json(path, dict[str, _RecordedTask])

    async def resume(self, result: object) -> None:
        """Let every recorded task end again, with `result`, whatever became of its work."""
        for task in tuple(self._recorded.values()):
            await self._begin(
                _AgentTask(
                    id=task.task_id, method=task.method, work=lambda: result, persistent=True
                )
            )

    async def start(
        self, method: str, work: Callable[[], object], *, persistent: bool = False
    ) -> Running:
        """Put work into the queue, and wait as long as that is full.

        `persistent`: a later life of the agent still answers for it.
        """
        task = _AgentTask(id=str(uuid4()), method=method, work=work, persistent=persistent)
        if persistent:
            self._recorded[task.id] = _RecordedTask(task_id=task.id, method=method)
            directory.write_json(self._path, self._recorded)
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
                directory.write_json(self._path, self._recorded)

    async def _begin(self, task: _AgentTask) -> None:
        self._known[task.id] = task
        await self._queue.put(task)

    def _find(self, task_id: str) -> _AgentTask:
        if task_id not in self._known:
            raise ActionFailed(f"Task with id {task_id} could not be found")
        return self._known[task_id]
