"""How the director talks to agents: over NATS, with the retries of the real one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import ssl
import time
import uuid
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rollover.errors import TimedOut
from rollover_lab.bosh.director.refusals import RemoteException, RpcTimeout
from rollover_lab.bosh.job_config import DirectorTiming, MessageBus

PROTOCOL: Final = 3
RECONNECT_ATTEMPTS: Final = 4
_CONNECT_SECONDS: Final = 5
_CLOSE_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class NoReply(TimedOut):
    """An agent did not answer in time."""


class NatsLink:
    """Sends requests to agents, from any thread; its own work is done on one event loop.

    As `nats_rpc.rb`: no queue and no persistence, what is sent while the connection or the agent is
    away is lost.
    `ended` is called when the connection is lost for good: then the process should end, and
    whoever watches over it starts a new one.
    """

    def __init__(
        self, bus: MessageBus, *, reconnect_seconds: float, ended: Callable[[], None]
    ) -> None:
        self._bus = bus
        self._reconnect_seconds = reconnect_seconds
        self._ended = ended
        self._inbox = f"director.{uuid.uuid4()}"
        self._waiting: dict[str, concurrent.futures.Future[bytes]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._client = Client()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened = False

    async def open(self) -> None:
        """Connect, however long it takes: a fresh `auth.json` lets nobody in at first."""
        self._loop = asyncio.get_running_loop()
        host = self._bus.address.rpartition(":")[0].strip("[]")
        while True:
            try:
                await self._connect(host)
                break
            except (OSError, nats.errors.Error) as error:
                log.warning("NATS: %s", error or type(error).__name__)
                self._client = Client()
                await asyncio.sleep(self._reconnect_seconds)
        await self._client.subscribe(f"{self._inbox}.>", cb=self._heard)
        self._opened = True
        log.info("NATS connected")

    async def close(self) -> None:
        """Close the connection without waiting for replies."""
        self._loop = None
        with contextlib.suppress(OSError, nats.errors.Error, TimeoutError):
            await asyncio.wait_for(self._client.close(), _CLOSE_SECONDS)

    def request(
        self, agent_id: str, method: str, arguments: tuple[object, ...], *, seconds: float
    ) -> bytes:
        """Return an agent's reply, JSON; `NoReply` when none came in time."""
        request_id = str(uuid.uuid4())
        body = {
            "protocol": PROTOCOL,
            "method": method,
            "arguments": arguments,
            "reply_to": f"{self._inbox}.{agent_id}.{request_id}",
        }
        reply = self._waiting[request_id] = concurrent.futures.Future()
        try:
            self.publish(f"agent.{agent_id}", body)
            return reply.result(seconds)
        except concurrent.futures.TimeoutError:
            raise NoReply("no reply", system=f"agent {agent_id}", operation=method) from None
        finally:
            self._waiting.pop(request_id, None)

    def publish(self, subject: str, body: object) -> None:
        """Send a message without waiting for anything."""
        data = msgspec.json.encode(body)
        if self._loop is None:
            log.error("SENT failed because nats isn't connected: %s", subject)
            return
        self._loop.call_soon_threadsafe(self._send, subject, data)

    def _send(self, subject: str, data: bytes) -> None:
        # nats-py would keep it for the next connection; what the real director sends is lost.
        if not self._client.is_connected:
            log.error("SENT failed because nats isn't connected: %s", subject)
            return
        sending = asyncio.get_running_loop().create_task(self._client.publish(subject, data))
        self._sending.add(sending)
        sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            log.error("SENT failed: %s", error)

    async def _heard(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(message.data)

    async def _connect(self, host: str) -> None:
        await self._client.connect(
            f"nats://{self._bus.address}",
            tls=_context(self._bus),
            tls_hostname=host,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=RECONNECT_ATTEMPTS,
            reconnect_time_wait=self._reconnect_seconds,  # type: ignore[arg-type]  # seconds, any
            error_cb=self._failed,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
            closed_cb=self._closed,
            allow_reconnect=True,
            name="director",
        )

    async def _failed(self, error: Exception) -> None:
        log.error("NATS client error: %s", error or type(error).__name__)

    async def _lost(self) -> None:
        log.warning("NATS disconnected")

    async def _back(self) -> None:
        log.info("NATS reconnected")

    async def _closed(self) -> None:
        # Before it was open for the first time, `open` itself tries again.
        if self._loop is not None and self._opened:
            log.error("NATS connection closed for good")
            self._ended()


def _context(bus: MessageBus) -> ssl.SSLContext:
    """Return TLS as the real director has it: 1.2 at most, both sides verify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=bus.ca)
    context.load_cert_chain(bus.certificate, bus.private_key)
    return context


RETRIES: Final = {"get_state": 2, "get_task": 4, "upload_blob": 3}
"""How often a request that timed out is sent again: those that do no harm twice."""
STOP_SECONDS: Final = 300.0
PING_SECONDS: Final = 1.0
_UNKNOWN: Final = "unknown message"
_STOP_GIVEN_UP: Final = "Timed out waiting for service"

Arguments = tuple[object, ...]


class AgentLink(Protocol):
    """Carries requests to agents: the `NatsLink`, and one of scripted answers in tests."""

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


class AgentClientContext(msgspec.Struct, frozen=True, kw_only=True):
    """What every agent client of a task shares."""

    link: AgentLink
    timing: DirectorTiming
    log: Callable[[str], None]
    """Takes lines for the task's debug output; arguments that hold keys never get there."""
    checkpoint: Callable[[], None]
    """Raises `TaskCancelled` when the task was cancelled."""


class AgentClient:
    """Asks one agent to do something and waits until it has (`agent_client.rb`).

    `name` is its instance's, for messages.
    `seconds` are for one answer; None: the usual for that method.
    """

    def __init__(
        self,
        context: AgentClientContext,
        *,
        agent_id: str,
        name: str,
        seconds: float | None = None,
        retries: bool = True,
    ) -> None:
        self._context = context
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
            self._context.log(f"Ignoring {method} 'unknown message' error from the agent")
            return None

    def drain(self, *arguments: object) -> float:
        """Ask for a drain; return seconds to wait. The task can be cancelled meanwhile."""
        value = self._wait(self._send("drain", arguments), meanwhile=self._context.checkpoint)
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
        allowed = self._context.timing.agent_wait
        deadline = time.monotonic() + allowed
        while True:
            self._context.checkpoint()
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
            time.sleep(self._context.timing.get_task_poll)
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
        timing = self._context.timing
        match method:
            case "get_state":
                return timing.get_state_timeout
            case "get_task":
                return timing.get_task_timeout
            case _:
                return timing.rpc_timeout

    def _ask(self, method: str, arguments: Arguments, seconds: float) -> object:
        self._context.log(f"SENT: agent.{self._agent_id} {method}{_shown(method, arguments)}")
        link = self._context.link
        try:
            data = link.request(self._agent_id, method, arguments, seconds=seconds)
        except NoReply:
            raise RpcTimeout(
                f"Timed out sending '{method}' to instance: '{self._name}', "
                f"agent-id: '{self._agent_id}' after {seconds:g} seconds"
            ) from None
        try:
            reply = msgspec.json.decode(data, type=_Reply)
        except msgspec.MsgspecError as error:
            raise RemoteException(f"agent {self._agent_id} answers no reply: {error}") from None
        outcome = "exception" if reply.exception is not None else type(reply.value).__name__
        self._context.log(f"RECEIVED: agent.{self._agent_id} {outcome}")
        if reply.exception is not None:
            raise RemoteException(_text(reply.exception))
        return reply.value


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
