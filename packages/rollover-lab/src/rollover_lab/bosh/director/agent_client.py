"""Asks one agent to do something and waits until it has (`agent_client.rb`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from rollover_lab.bosh.director.nats_link import NoReply
from rollover_lab.bosh.director.refusals import RemoteException, RpcTimeout
from rollover_lab.bosh.rendered import Timing

RETRIES: Final = {"get_state": 2, "get_task": 4, "upload_blob": 3}
"""How often a request that timed out is sent again: those that do no harm twice."""
STOP_SECONDS: Final = 300.0
PING_SECONDS: Final = 1.0
_UNKNOWN: Final = "unknown message"
_STOP_GIVEN_UP: Final = "Timed out waiting for service"

Arguments = tuple[object, ...]


class Link(Protocol):
    """Carries requests to agents."""

    def request(self, agent_id: str, method: str, arguments: Arguments, *, seconds: float) -> bytes:
        """Return the reply, JSON; `NoReply` when none came in time."""


class _Exception(msgspec.Struct, frozen=True):
    message: str = ""
    backtrace: str | list[str] = ""


class _Reply(msgspec.Struct, frozen=True):
    value: object = None
    exception: _Exception | str | None = None


class _AgentTask(msgspec.Struct, frozen=True):
    agent_task_id: str
    state: str


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every agent client of a task shares."""

    link: Link
    timing: Timing
    log: Callable[[str], None]
    """Takes lines for the task's debug output; arguments that hold keys never get there."""
    checkpoint: Callable[[], None]
    """Raises `TaskCancelled` when the task was cancelled."""


class AgentClient:
    """One agent. `name` is its instance's, for messages.

    `seconds` are for one answer; None: the usual for that method.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        agent_id: str,
        name: str,
        seconds: float | None = None,
        retries: bool = True,
    ) -> None:
        self._around = around
        self._agent_id = agent_id
        self._name = name
        self._seconds = seconds
        self._retries = RETRIES if retries else {**RETRIES, "get_state": 0}

    def call(self, method: str, *arguments: object) -> object:
        """Return what the agent answers; when it answers with a task, wait for that one's value.

        Raises `RpcTimeout` and `RemoteException`.
        """
        return self._wait(self._send(method, arguments))

    def call_if_known(self, method: str, *arguments: object) -> object:
        """Like `call`; an agent too old to know the method does nothing, and nobody hears of it.

        For `update_settings` this is hazard H1: the director then believes that it was done.
        """
        try:
            return self.call(method, *arguments)
        except RemoteException as error:
            if _UNKNOWN not in error.message:
                raise
            self._around.log(f"Ignoring {method} 'unknown message' error from the agent")
            return None

    def drain(self, *arguments: object) -> float:
        """Ask for a drain; return seconds to wait. The task can be cancelled meanwhile."""
        value = self._wait(self._send("drain", arguments), meanwhile=self._around.checkpoint)
        return float(value) if isinstance(value, int | float) else 0.0

    def stop(self) -> None:
        """Stop the jobs; one that takes too long is left to itself."""
        try:
            self._wait(self._send("stop", ()), seconds=STOP_SECONDS)
        except RemoteException as error:
            if _STOP_GIVEN_UP not in error.message:
                raise

    def wait_until_ready(self, cid: str) -> None:
        """Ping until the agent answers; `RpcTimeout` after `agent_wait` seconds."""
        allowed = self._around.timing.agent_wait
        deadline = time.monotonic() + allowed
        while True:
            self._around.checkpoint()
            try:
                self._ask("ping", (), PING_SECONDS)
            except RpcTimeout:
                if time.monotonic() < deadline:
                    continue
                raise RpcTimeout(
                    f"Timed out pinging VM '{cid}' with agent '{self._agent_id}' "
                    f"after {allowed:g} seconds"
                ) from None
            return

    def _wait(
        self,
        value: object,
        *,
        seconds: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> object:
        task = _running(value)
        if task is None:
            return value
        deadline = None if seconds is None else time.monotonic() + seconds
        # The first look is at once, as the real one's.
        while _running(value := self._send("get_task", (task.agent_task_id,))):
            if deadline is not None and time.monotonic() > deadline:
                return None
            if meanwhile is not None:
                meanwhile()
            time.sleep(self._around.timing.get_task_poll)
        return value

    def _send(self, method: str, arguments: Arguments) -> object:
        attempts = self._retries.get(method, 0)
        while True:
            try:
                return self._ask(method, arguments, self._patience(method))
            except RpcTimeout:
                if attempts == 0:
                    raise
                attempts -= 1

    def _patience(self, method: str) -> float:
        if self._seconds is not None:
            return self._seconds
        timing = self._around.timing
        match method:
            case "get_state":
                return timing.get_state_timeout
            case "get_task":
                return timing.get_task_timeout
            case _:
                return timing.rpc_timeout

    def _ask(self, method: str, arguments: Arguments, seconds: float) -> object:
        self._around.log(f"SENT: agent.{self._agent_id} {method}{_shown(method, arguments)}")
        link = self._around.link
        try:
            data = link.request(self._agent_id, method, arguments, seconds=seconds)
        except NoReply:
            raise RpcTimeout(
                f"Timed out sending '{method}' to instance: '{self._name}', "
                f"agent-id: '{self._agent_id}' after {seconds:g} seconds"
            ) from None
        reply = self._parsed(data)
        outcome = "exception" if reply.exception is not None else type(reply.value).__name__
        self._around.log(f"RECEIVED: agent.{self._agent_id} {outcome}")
        if reply.exception is not None:
            raise RemoteException(_text(reply.exception))
        return reply.value

    def _parsed(self, data: bytes) -> _Reply:
        try:
            return msgspec.json.decode(data, type=_Reply)
        except msgspec.MsgspecError as error:
            raise RemoteException(f"agent {self._agent_id} answers no reply: {error}") from None


def _running(value: object) -> _AgentTask | None:
    if not isinstance(value, dict) or value.get("state") != "running":
        return None
    try:
        return msgspec.convert(value, _AgentTask)
    except msgspec.ValidationError:
        return None


def _text(exception: _Exception | str) -> str:
    if isinstance(exception, str):
        return exception
    trace = exception.backtrace
    lines = [exception.message, *([trace] if isinstance(trace, str) else trace)]
    return "\n".join(line for line in lines if line)


def _shown(method: str, arguments: Arguments) -> str:
    if not arguments:
        return ""
    if method == "update_settings":
        return " <redacted>"
    return " " + msgspec.json.encode(arguments).decode()
