"""The two kinds of client in the traffic: one that rotates, and plain nats-py for comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from nats_rotating_client.connection import Connection, open_connection
from nats_rotating_client.errors import MaterialError
from nats_rotating_client.jetstream import JetStream, PullConsumer
from nats_rotating_client.material import MaterialFiles, load_material
from nats_rotating_client.rotation import Pace
from nats_rotating_client.status import Event, EventKind
from rollover.errors import Unreachable
from rollover_lab.traffic.client_errors import client_errors
from rollover_lab.traffic.spec import ClientSpec, TrafficSpec
from rollover_lab.traffic.tally import ConnectionState, Tally

RECONNECT_WAIT_SECONDS = 0.5
ACK_WAIT_SECONDS = 2.0
"""When JetStream sends a message again that a lost connection took with it."""
_PLAIN_TRIES = 10
_PLAIN_DRAIN_SECONDS = 2

HeardNats = Callable[[Msg], Awaitable[None]]


class Fetches(Protocol):
    """A pull consumer."""

    async def fetch(self, batch: int, timeout: float) -> Any:  # noqa: ASYNC109  - nats-py's name
        """Return a list of messages; `nats.errors.TimeoutError` when none came."""


class Wire(Protocol):
    """What a role does with its connection."""

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish a core message."""

    async def request(self, subject: str, payload: bytes) -> Msg:
        """Send a request and return the answer."""

    async def listen(self, subject: str, heard: HeardNats, *, queue: str = "") -> None:
        """Subscribe."""

    async def publish_acked(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Publish to the stream and wait for the acknowledgement."""

    async def consumer(self, stream: str, subject: str, *, durable: str) -> Fetches:
        """Return a durable pull consumer."""

    async def context(self) -> JetStreamContext:
        """Return JetStream for calls that end with their answer."""

    async def flush(self) -> None:
        """Wait until the server has taken in everything."""

    async def drain(self) -> None:
        """Finish and close."""

    def connection_state(self) -> ConnectionState:
        """Return how the connection stands."""


REQUEST_TIMEOUT_SECONDS = 2.0


async def open_wire(client: ClientSpec, spec: TrafficSpec, tally: Tally) -> Wire:
    """Connect a client; its losses of connection and errors go into `tally`."""
    opener = open_rotating if client.rotating else open_plain
    return await opener(client, spec, tally)


def _consumer() -> ConsumerConfig:
    return ConsumerConfig(ack_wait=ACK_WAIT_SECONDS)


def _files(client: ClientSpec) -> MaterialFiles:
    return MaterialFiles(
        certificate=Path(client.certificate), key=Path(client.key), ca=Path(client.ca)
    )


async def open_rotating(client: ClientSpec, spec: TrafficSpec, tally: Tally) -> Wire:
    """Connect a client that takes up new certificates while it runs."""

    def happened(event: Event) -> None:
        match event.kind:
            case EventKind.DISCONNECTED:
                tally.disconnects += 1
            case EventKind.RECONNECTED:
                tally.reconnects += 1
            case EventKind.ERROR | EventKind.REFUSED:
                tally.error = event.detail
            case _:
                pass

    with client_errors():
        connection = await open_connection(
            client.servers or spec.servers,
            material=_files(client),
            name=client.name,
            pace=Pace(
                poll_seconds=spec.poll_seconds,
                overlap_seconds=spec.overlap_seconds,
                connect_seconds=spec.start_seconds,
            ),
            status_file=Path(client.status_file) if client.status_file else None,
            on_event=happened,
            reconnect_time_wait=RECONNECT_WAIT_SECONDS,
        )
    return RotatingWire(connection)


class RotatingWire:
    """A client of `nats_rotating_client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jetstream: JetStream = connection.jetstream()

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish a core message."""
        await self._connection.publish(subject, payload)

    async def request(self, subject: str, payload: bytes) -> Msg:
        """Send a request and return the answer."""
        return await self._connection.request(subject, payload, timeout=REQUEST_TIMEOUT_SECONDS)

    async def listen(self, subject: str, heard: HeardNats, *, queue: str = "") -> None:
        """Subscribe."""
        await self._connection.subscribe(subject, queue=queue, cb=heard)

    async def publish_acked(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Publish to the stream and wait for the acknowledgement."""
        await self._jetstream.publish(
            subject, payload, timeout=REQUEST_TIMEOUT_SECONDS, headers={"Nats-Msg-Id": message_id}
        )

    async def consumer(self, stream: str, subject: str, *, durable: str) -> PullConsumer:
        """Return a durable pull consumer."""
        return await self._jetstream.pull_subscribe(
            subject, durable=durable, stream=stream, config=_consumer()
        )

    async def context(self) -> JetStreamContext:
        """Return JetStream for calls that end with their answer."""
        return await self._jetstream.context()

    async def flush(self) -> None:
        """Wait until the server has taken in everything."""
        await self._connection.flush()

    async def drain(self) -> None:
        """Finish and close."""
        await self._connection.drain()

    def connection_state(self) -> ConnectionState:
        """Return how the connection stands."""
        status = self._connection.status
        return ConnectionState(status.connected, status.connected_url, status.swaps)


async def open_plain(client: ClientSpec, spec: TrafficSpec, tally: Tally) -> Wire:
    """Connect a plain nats-py client, which reads its files again only to reconnect."""
    files = _files(client)
    connection = Client()

    def read_again() -> None:
        with contextlib.suppress(MaterialError):
            connection.options["tls"] = load_material(files).context

    async def lost() -> None:
        tally.disconnects += not connection.is_closed
        read_again()

    async def regained() -> None:
        tally.reconnects += 1

    async def failed(error: Exception) -> None:
        tally.error = str(error) or type(error).__name__
        if connection.is_reconnecting:
            read_again()

    with client_errors():
        first = load_material(files)
    try:
        await connection.connect(
            list(client.servers or spec.servers),
            name=client.name,
            tls=first.context,
            max_reconnect_attempts=_PLAIN_TRIES,
            reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # seconds, any
            drain_timeout=_PLAIN_DRAIN_SECONDS,
            disconnected_cb=lost,
            reconnected_cb=regained,
            error_cb=failed,
        )
    except (nats.errors.Error, OSError) as error:
        raise Unreachable(
            tally.error or str(error), system=f"nats client `{client.name}`", operation="connect"
        ) from error
    # For ever from here on: a client that gave up would count no more losses.
    connection.options["max_reconnect_attempts"] = -1
    return PlainWire(connection)


class PlainWire:
    """A client of nats-py."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._jetstream = connection.jetstream()

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish a core message."""
        await self._connection.publish(subject, payload)

    async def request(self, subject: str, payload: bytes) -> Msg:
        """Send a request and return the answer."""
        return await self._connection.request(subject, payload, timeout=REQUEST_TIMEOUT_SECONDS)

    async def listen(self, subject: str, heard: HeardNats, *, queue: str = "") -> None:
        """Subscribe."""
        await self._connection.subscribe(subject, queue=queue, cb=heard)

    async def publish_acked(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Publish to the stream and wait for the acknowledgement."""
        await self._jetstream.publish(
            subject, payload, timeout=REQUEST_TIMEOUT_SECONDS, headers={"Nats-Msg-Id": message_id}
        )

    async def consumer(self, stream: str, subject: str, *, durable: str) -> Fetches:
        """Return a durable pull consumer."""
        return await self._jetstream.pull_subscribe(
            subject, durable=durable, stream=stream, config=_consumer()
        )

    async def context(self) -> JetStreamContext:
        """Return JetStream for calls that end with their answer."""
        return self._jetstream

    async def flush(self) -> None:
        """Wait until the server has taken in everything."""
        await self._connection.flush()

    async def drain(self) -> None:
        """Finish and close."""
        with contextlib.suppress(nats.errors.Error):
            await self._connection.drain()
        await self._connection.close()

    def connection_state(self) -> ConnectionState:
        """Return how the connection stands."""
        url = self._connection.connected_url
        server = f"{url.scheme}://{url.hostname}:{url.port}" if url is not None else ""
        return ConnectionState(self._connection.is_connected, server, 0)
