"""Runs the traffic: everybody listens, everybody is heard, then it counts until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path

import nats.errors
import nats.js.errors
from nats.js.api import StreamConfig

from rollover.errors import TimedOut
from rollover_lab.traffic import report, roles
from rollover_lab.traffic.mqtt_wire import MqttFailure, MqttWire, open_mqtt
from rollover_lab.traffic.report import TrafficPhase, TrafficReport
from rollover_lab.traffic.roles import Actor, MqttActor
from rollover_lab.traffic.spec import MQTT, SENDERS, ClientRole, TrafficSpec
from rollover_lab.traffic.tally import Latencies, Tally
from rollover_lab.traffic.wire import Fetches, Wire, open_wire

_LISTENERS = frozenset({ClientRole.SUBSCRIBER, ClientRole.RESPONDER})
AnyWire = Wire | MqttWire
AnyActor = Actor | MqttActor
_POLL_SECONDS = 0.05
_STREAM_MAX_BYTES = 64 * 1024 * 1024
_DEDUPLICATE_SECONDS = 120.0


async def run(spec: TrafficSpec, stop: asyncio.Event) -> TrafficReport:
    """Run the traffic until `stop` is set or its time is over, and return the final report.

    Raises `AdapterError` when a client cannot connect at the start, or when not everybody is
    heard within `spec.start_seconds`. Later losses are what it is there to count.
    """
    tallies = tuple(Tally(client) for client in spec.clients)
    wires: list[AnyWire] = []
    try:
        async with asyncio.TaskGroup() as group:
            opening = [group.create_task(_open(tally, spec)) for tally in tallies]
        wires = [task.result() for task in opening]
    except ExceptionGroup as failed:
        await _drain(task.result() for task in opening if _opened(task))
        raise failed.exceptions[0] from None
    run_id = secrets.randbits(32)
    actors = tuple(
        MqttActor(wire, tally, number, run_id, spec)
        if isinstance(wire, MqttWire)
        else Actor(wire, tally, number, run_id, spec)
        for number, (wire, tally) in enumerate(zip(wires, tallies, strict=True))
    )
    try:
        return await Traffic(spec, actors).run(stop)
    finally:
        await _drain(wires)


async def _open(tally: Tally, spec: TrafficSpec) -> AnyWire:
    opener = open_mqtt if tally.client.role in MQTT else open_wire
    return await opener(tally.client, spec, tally)


def _opened(task: asyncio.Task[AnyWire]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _drain(wires: Iterable[AnyWire]) -> None:
    await asyncio.gather(*(wire.drain() for wire in wires), return_exceptions=True)


def _send(actor: AnyActor, stop: asyncio.Event) -> Coroutine[None, None, None]:
    if isinstance(actor, MqttActor):
        return roles.send_mqtt(actor, stop)
    return roles.send(actor, stop)


class Traffic:
    """All actors, from the first greeting to the last number."""

    def __init__(self, spec: TrafficSpec, actors: tuple[AnyActor, ...]) -> None:
        self._spec = spec
        self._actors = actors
        self._started_at = datetime.now(UTC)
        self._phase = TrafficPhase.STARTING

    async def run(self, stop: asyncio.Event) -> TrafficReport:
        """Start, count until `stop` is set, finish, and return the final report."""
        snapshots = asyncio.create_task(self._snapshots())
        done = asyncio.Event()
        consuming: list[asyncio.Task[None]] = []
        try:
            consuming = await self._begin(done)
            await self._send_until(stop)
            await self._finish()
        finally:
            done.set()
            snapshots.cancel()
            await asyncio.gather(snapshots, *consuming, return_exceptions=True)
        self._phase = TrafficPhase.DONE
        self._write()
        return self._report()

    async def _begin(self, done: asyncio.Event) -> list[asyncio.Task[None]]:
        async with self._start_timeout("the stream and its consumers"):
            consumers = await self._consumers()
            for actor in self._playing(*_LISTENERS):
                await roles.listen(actor)
                await actor.wire.flush()
            for subscriber in self._playing_mqtt(ClientRole.MQTT_SUBSCRIBER):
                await roles.listen_mqtt(subscriber)
        async with self._start_timeout("every subscriber to hear every publisher"):
            await self._greet()
        return [
            asyncio.create_task(roles.consume(actor, fetches, done)) for actor, fetches in consumers
        ]

    @contextlib.asynccontextmanager
    async def _start_timeout(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._spec.start_seconds):
                yield
        except TimeoutError as error:
            seconds = self._spec.start_seconds
            raise TimedOut(
                f"waited {seconds:g} s for {what}", system="traffic", operation="start"
            ) from error

    def _playing(self, *wanted: ClientRole) -> tuple[Actor, ...]:
        actors = (actor for actor in self._actors if isinstance(actor, Actor))
        return tuple(actor for actor in actors if actor.role in wanted)

    def _playing_mqtt(self, role: ClientRole) -> tuple[MqttActor, ...]:
        actors = (actor for actor in self._actors if isinstance(actor, MqttActor))
        return tuple(actor for actor in actors if actor.role is role)

    def _tallies(self, role: ClientRole) -> tuple[Tally, ...]:
        return tuple(actor.tally for actor in self._actors if actor.role is role)

    async def _consumers(self) -> list[tuple[Actor, Fetches]]:
        users = self._playing(ClientRole.JS_PUBLISHER, ClientRole.JS_CONSUMER)
        if users:
            await self._stream(users[0])
        return [
            (actor, await roles.consumer(actor)) for actor in self._playing(ClientRole.JS_CONSUMER)
        ]

    async def _stream(self, actor: Actor) -> None:
        """Make the stream, as soon as JetStream has found its leader."""
        config = StreamConfig(
            name=self._spec.stream,
            subjects=[actor.subject(ClientRole.JS_PUBLISHER)],
            num_replicas=self._spec.replicas,
            max_bytes=_STREAM_MAX_BYTES,
            duplicate_window=_DEDUPLICATE_SECONDS,
        )
        while True:
            try:
                await (await actor.wire.context()).add_stream(config)
            except (nats.errors.Error, TimeoutError) as error:
                actor.tally.error = str(error)
                await asyncio.sleep(_POLL_SECONDS)
            else:
                actor.tally.error = ""
                return

    async def _greet(self) -> None:
        while not self._all_heard(ClientRole.PUBLISHER, ClientRole.SUBSCRIBER):
            for actor in self._playing(ClientRole.PUBLISHER):
                await roles.greet(actor)
            await asyncio.sleep(_POLL_SECONDS)
        while not self._all_heard(ClientRole.MQTT_PUBLISHER, ClientRole.MQTT_SUBSCRIBER):
            for publisher in self._playing_mqtt(ClientRole.MQTT_PUBLISHER):
                with contextlib.suppress(MqttFailure):
                    await roles.greet_mqtt(publisher)
            await asyncio.sleep(_POLL_SECONDS)

    def _all_heard(self, sender: ClientRole, listener: ClientRole) -> bool:
        everybody = {actor.number for actor in self._actors if actor.role is sender}
        return all(tally.heard >= everybody for tally in self._tallies(listener))

    async def _send_until(self, stop: asyncio.Event) -> None:
        self._phase = TrafficPhase.RUNNING
        senders = [actor for actor in self._actors if actor.role in SENDERS]
        sending = [asyncio.create_task(_send(actor, stop)) for actor in senders]
        try:
            await self._wait_for(stop)
        finally:
            stop.set()  # by which senders end, also when the time is over or this is cancelled
            await asyncio.gather(*sending)

    async def _wait_for(self, stop: asyncio.Event) -> None:
        """Wait for `stop`, the end of the set time, or the end of the parent."""
        # A parent that is killed sends no signal; the number changes.
        parent = os.getppid()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._spec.duration_seconds):
                while not stop.is_set():
                    await roles.pause(self._spec.snapshot_seconds, stop)
                    if self._spec.ends_with_parent and os.getppid() != parent:
                        return

    async def _finish(self) -> None:
        """Wait for the last numbers, as long as the spec allows; what is missing then is lost."""
        self._phase = TrafficPhase.FINISHING
        for actor in self._playing(*SENDERS):
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await actor.wire.flush()
        await asyncio.gather(
            self._last_numbers(
                ClientRole.PUBLISHER, ClientRole.SUBSCRIBER, self._spec.finish_seconds
            ),
            self._last_numbers(
                ClientRole.JS_PUBLISHER, ClientRole.JS_CONSUMER, self._spec.stream_finish_seconds
            ),
            self._last_numbers(
                ClientRole.MQTT_PUBLISHER,
                ClientRole.MQTT_SUBSCRIBER,
                self._spec.stream_finish_seconds,
            ),
        )

    async def _last_numbers(self, sender: ClientRole, listener: ClientRole, seconds: float) -> None:
        last = {actor.number: actor.tally.sent for actor in self._actors if actor.role is sender}
        tallies = self._tallies(listener)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(tally.complete(last) for tally in tallies):  # noqa: ASYNC110  - counts
                    await asyncio.sleep(_POLL_SECONDS)
        for tally in tallies:
            tally.finish(last, at=time.monotonic())

    async def _snapshots(self) -> None:
        while True:
            self._write()
            await asyncio.sleep(self._spec.snapshot_seconds)

    def _write(self) -> None:
        report.write(Path(self._spec.report), self._report())

    def _report(self) -> TrafficReport:
        at, final = time.monotonic(), self._phase is TrafficPhase.DONE
        together = Latencies.together(actor.tally.latencies for actor in self._actors)
        return TrafficReport(
            pid=os.getpid(),
            started_at=self._started_at,
            at=datetime.now(UTC),
            phase=self._phase,
            clients=tuple(
                actor.tally.report(actor.wire.connection_state(), at=at, final=final)
                for actor in self._actors
            ),
            latency_p99_ms=round(together.quantile(0.99), 3),
        )
