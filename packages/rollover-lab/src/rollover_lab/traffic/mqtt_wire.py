"""A client that speaks MQTT over TLS: QoS 1, in a session that outlives its connections.

A session has one connection at a time, so new certificates cannot be taken up make before break.
They are tried first, in a session of their own; once a server has accepted them the client goes
between two messages and comes again with them. What is published meanwhile waits in its session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt

from nats_rotating_client.errors import MaterialError, StatusFileError
from nats_rotating_client.material import LoadedMaterial, MaterialFiles, load_material, stamp_files
from nats_rotating_client.status import ConnectionStatus, write_status
from rollover.errors import Unreachable
from rollover_lab.traffic.client_errors import client_errors
from rollover_lab.traffic.spec import ClientSpec, TrafficSpec
from rollover_lab.traffic.tally import ConnectionState, Tally

QOS = 1
"""At least once."""
ACK_SECONDS = 5.0
CONNECT_SECONDS = 12.0
"""A busy server waits twice 5 s for JetStream before it refuses. Whoever leaves it before that and
connects to another one is cut off there as soon as the first one has come that far."""
TRIAL_SECONDS = 3.0
"""Nobody is cut off by a trial: its session is its own."""
RECONNECT_SECONDS = 0.5
SETTLE_SECONDS = 0.2
RETRY_SECONDS = 2.0
"""Before new certificates that no server took are tried again."""
_TRIAL = "-trial"

MqttFailure = aiomqtt.MqttError
"""What goes wrong with a connection; it is got back meanwhile."""
HeardMqtt = Callable[[bytes], None]


async def open_mqtt(client: ClientSpec, spec: TrafficSpec, tally: Tally) -> MqttWire:
    """Connect a client; its losses of connection and errors go into `tally`."""
    wire = MqttWire(client, spec, tally)
    try:
        async with asyncio.timeout(spec.start_seconds):
            await wire.open()
    except TimeoutError:
        await wire.close()
        raise Unreachable(
            tally.error or "no answer", system=f"MQTT client `{client.name}`", operation="connect"
        ) from None
    return wire


class MqttWire:
    """An MQTT client that keeps its certificates in step with their files."""

    def __init__(self, client: ClientSpec, spec: TrafficSpec, tally: Tally) -> None:
        self._client = client
        self._spec = spec
        self._tally = tally
        self._files = MaterialFiles(
            certificate=Path(client.certificate), key=Path(client.key), ca=Path(client.ca)
        )
        with client_errors():
            self._material = load_material(self._files)
        self._servers = random.SystemRandom().sample(client.servers, len(client.servers))
        self._topics: dict[str, HeardMqtt] = {}
        self._line: aiomqtt.Client | None = None
        self._url = ""
        self._up = asyncio.Event()
        self._leave = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held while a message is published, and while the connection is replaced."""
        self._swaps = 0
        self._refusal = ""
        self._work: tuple[asyncio.Task[None], ...] = ()

    async def open(self) -> None:
        """Connect, as soon as a server takes it, and stay connected from then on."""
        work = [self._stay()] + ([self._watch()] if self._client.rotating else [])
        self._work = tuple(asyncio.create_task(coroutine) for coroutine in work)
        for task in self._work:
            task.add_done_callback(self._ended)
        await self._up.wait()

    def _ended(self, work: asyncio.Task[None]) -> None:
        """Tell at once when a bug has ended what should go on."""
        if not work.cancelled() and (error := work.exception()) is not None:
            self._tally.error = f"it does no more: {error!r}"

    async def publish_acked(self, topic: str, payload: bytes) -> None:
        """Publish a message and wait until the server has it; `MqttFailure` when it may not."""
        async with self._turn:
            await self._up.wait()
            if self._line is not None:
                await self._line.publish(topic, payload, qos=QOS, timeout=ACK_SECONDS)

    async def listen(self, topic: str, heard: HeardMqtt) -> None:
        """Subscribe, now and at every reconnect."""
        self._topics[topic] = heard
        async with self._turn:
            await self._up.wait()
            if self._line is not None:
                await self._line.subscribe(topic, qos=QOS)

    async def flush(self) -> None:
        """Do nothing: whatever was published has been acknowledged."""

    async def drain(self) -> None:
        """Close; what has come has been handed over."""
        async with self._turn:
            await self.close()

    async def close(self) -> None:
        """Close at once."""
        self._leave.set()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._line = None
        self._tell()

    def connection_state(self) -> ConnectionState:
        """Return how the connection stands."""
        return ConnectionState(self._line is not None, self._url, self._swaps)

    # The connection.

    async def _stay(self) -> None:
        """Be connected; whenever the connection ends, come again."""
        while True:
            server = self._servers[0]
            try:
                await self._session(server)
            except MqttFailure as error:
                self._tally.error = str(error)
                self._servers.append(self._servers.pop(0))
                self._read_again()
            else:
                continue
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _session(self, server: str) -> None:
        """Stay on one connection until it is to be left; `MqttFailure` when it ends by itself."""
        reading: asyncio.Task[None] | None = None
        try:
            async with self._connection(server, self._material, self._client.name) as line:
                for topic in self._topics:
                    await line.subscribe(topic, qos=QOS)
                self._connected(line, server)
                reading = asyncio.create_task(self._read(line))
                leaving = asyncio.create_task(self._leave.wait())
                try:
                    await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    leaving.cancel()
                    self._disconnected()
        finally:
            if reading is not None:
                await self._rest(reading)

    def _connection(self, server: str, material: LoadedMaterial, identifier: str) -> aiomqtt.Client:
        url = urlsplit(server)
        return aiomqtt.Client(
            url.hostname or "",
            url.port or 0,
            identifier=identifier,
            clean_session=identifier != self._client.name,  # a trial leaves no session behind
            tls_context=material.context,
            timeout=CONNECT_SECONDS if identifier == self._client.name else TRIAL_SECONDS,
        )

    async def _read(self, line: aiomqtt.Client) -> None:
        """Hand over what comes until the connection has ended and nothing is left of it."""
        async for message in line.messages:
            heard = self._topics.get(str(message.topic))
            if heard is not None:
                heard(message.payload)

    async def _rest(self, reading: asyncio.Task[None]) -> None:
        """Take in what had come before the connection ended; it has been acknowledged."""
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await reading
        except TimeoutError:
            return
        except MqttFailure as error:
            if not self._leave.is_set():
                raise MqttFailure("the connection was lost") from error

    def _connected(self, line: aiomqtt.Client, server: str) -> None:
        self._tally.reconnects += bool(self._url) and not self._leave.is_set()
        self._swaps += self._leave.is_set()
        self._leave.clear()
        self._line, self._url = line, server
        self._up.set()
        self._tell()

    def _disconnected(self) -> None:
        self._tally.disconnects += not self._leave.is_set()
        self._line = None
        self._up.clear()
        self._tell()

    # The certificates.

    def _read_again(self) -> None:
        """Do what a client that does not rotate does: look at its files when it has to connect."""
        if not self._client.rotating:
            with contextlib.suppress(MaterialError):
                self._material = load_material(self._files)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._spec.poll_seconds)
            found = stamp_files(self._files)
            if found == self._material.stamps:
                continue
            # Key and certificate are replaced one after the other: not in between.
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                await self._take_up(await asyncio.to_thread(load_material, self._files))
            except (MaterialError, MqttFailure) as error:
                self._refuse(error)
                await asyncio.sleep(RETRY_SECONDS)

    def _refuse(self, error: MaterialError | MqttFailure) -> None:
        # A server that refuses a certificate in TLS 1.3 says so where nobody reads it any more.
        said = str(error) if isinstance(error, MaterialError) else f"no server takes them ({error})"
        self._refusal = f"new files are not in use: {said}"
        self._tell()

    async def _take_up(self, fresh: LoadedMaterial) -> None:
        """Use new certificates from now on, when a server takes them."""
        async with self._connection(self._servers[0], fresh, f"{self._client.name}{_TRIAL}"):
            pass
        # Another bundle alone breaks nothing that is open: it counts at the next connection.
        other, self._refusal = fresh.leaf != self._material.leaf, ""
        async with self._turn:
            self._material = fresh
            if other and self._line is not None:
                self._up.clear()
                self._leave.set()
                await self._up.wait()
        self._tell()

    def _tell(self) -> None:
        """Write the status file, if there is one; a disk that is full is reported, not fatal."""
        if not self._client.status_file:
            return
        status = ConnectionStatus(
            pid=os.getpid(),
            name=self._client.name,
            loaded_at=self._material.loaded_at,
            certificate_sha256=self._material.leaf,
            ca_sha256=self._material.authorities,
            connected=self._line is not None,
            connected_url=self._url if self._line is not None else "",
            swaps=self._swaps,
            error=self._refusal,
        )
        with contextlib.suppress(StatusFileError):
            write_status(Path(self._client.status_file), status)
