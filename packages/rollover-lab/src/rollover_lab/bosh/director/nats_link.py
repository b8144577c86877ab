"""The director's connection to NATS, shared by all threads (`nats_rpc.rb`).

No queue and no persistence: what is sent while the connection or the agent is away is lost.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import ssl
import uuid
from collections.abc import Callable
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rollover.errors import TimedOut
from rollover_lab.bosh.rendered import MessageBus

PROTOCOL: Final = 3
RECONNECT_ATTEMPTS: Final = 4
_CONNECT_SECONDS: Final = 5
_CLOSE_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class NoReply(TimedOut):
    """An agent did not answer in time."""


class NatsLink:
    """Sends requests to agents, from any thread; its own work is done on one event loop.

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
