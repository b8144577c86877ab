"""What the clients of a lab do: publish, request, answer and consume, over NATS and over MQTT."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from nats_rotating_client.link import NatsMessage
from rollover_lab.traffic.mqtt_wire import MqttFailure, MqttWire
from rollover_lab.traffic.spec import ClientRole, TrafficSpec
from rollover_lab.traffic.tally import GREETING, Parcel, Tally, unpack_parcel
from rollover_lab.traffic.wire import Fetches, Wire

RESPONDERS = "responders"
_CATCH_UP_SECONDS = 1.0
"""What a sender that was held up makes good at most; the rest of its schedule is dropped."""
_RETRY_SECONDS = 0.1
_FETCH = 50
_FETCH_SECONDS = 0.5
_FAILURES = (nats.errors.Error, TimeoutError, OSError)


class Actor(NamedTuple):
    """One client at work: its connection, its counts, and the number that it sends under."""

    wire: Wire
    tally: Tally
    number: int
    run: int
    spec: TrafficSpec

    @property
    def role(self) -> ClientRole:
        """What it does."""
        return self.tally.client.role

    def subject(self, role: ClientRole) -> str:
        """Return the subject on which the senders of this role send."""
        return f"{self.spec.subject}.{role}"


async def ticks(per_second: float, stop: asyncio.Event) -> AsyncIterator[None]:
    """Yield at a steady rate, without drift, until `stop` is set."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not stop.is_set():
        yield
        due = max(due + 1 / per_second, loop.time() - _CATCH_UP_SECONDS)
        await pause(due - loop.time(), stop)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait that long, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _next(actor: Actor | MqttActor) -> Parcel:
    return Parcel(actor.run, actor.number, actor.tally.sent + 1, time.monotonic_ns())


async def greet(actor: Actor) -> None:
    """Send a message that does not count, for listeners to know that they hear this sender."""
    greeting = Parcel(actor.run, actor.number, GREETING, time.monotonic_ns())
    await actor.wire.publish(actor.subject(ClientRole.PUBLISHER), greeting.pack())


async def send(actor: Actor, stop: asyncio.Event) -> None:
    """Do what a sender's role does until `stop` is set."""
    step = {
        ClientRole.PUBLISHER: _publish,
        ClientRole.REQUESTER: _request,
        ClientRole.JS_PUBLISHER: _publish_acked,
    }[actor.role]
    async for _ in ticks(actor.tally.client.rate_per_second, stop):
        await step(actor, stop)


async def _publish(actor: Actor, _stop: asyncio.Event) -> None:
    try:
        await actor.wire.publish(actor.subject(ClientRole.PUBLISHER), _next(actor).pack())
    except _FAILURES as error:
        _failed(actor, error)  # it was not sent: the next one has its number
    else:
        actor.tally.sent += 1


async def _request(actor: Actor, _stop: asyncio.Event) -> None:
    parcel = _next(actor)
    actor.tally.sent += 1
    try:
        answer = await actor.wire.request(actor.subject(ClientRole.REQUESTER), parcel.pack())
    except _FAILURES as error:
        _failed(actor, error)
        return
    if unpack_parcel(answer.data) == parcel:
        actor.tally.answered((time.monotonic_ns() - parcel.sent_ns) / 1e6)
    else:
        _failed(actor, ValueError("the answer belongs to another request"))


async def _publish_acked(actor: Actor, stop: asyncio.Event) -> None:
    """Publish one number until it is acknowledged; its id makes publishing it again harmless."""
    parcel = _next(actor)
    subject, payload = actor.subject(ClientRole.JS_PUBLISHER), parcel.pack()
    message_id = f"{parcel.run:x}-{parcel.sender}-{parcel.number}"
    while True:
        try:
            await actor.wire.publish_acked(subject, payload, message_id=message_id)
        except _FAILURES as error:
            actor.tally.error = str(error) or type(error).__name__
            if stop.is_set():
                actor.tally.failures += 1
                return
            actor.tally.retries += 1
            await pause(_RETRY_SECONDS, stop)
        else:
            actor.tally.sent += 1
            actor.tally.latencies.add((time.monotonic_ns() - parcel.sent_ns) / 1e6)
            return


def _failed(actor: Actor, error: Exception) -> None:
    actor.tally.failures += 1
    actor.tally.error = str(error) or type(error).__name__


async def listen(actor: Actor) -> None:
    """Subscribe a subscriber or a responder."""
    if actor.role is ClientRole.RESPONDER:
        await _respond(actor)
        return

    async def heard(message: Msg) -> None:
        parcel = unpack_parcel(message.data)
        if parcel is not None and parcel.run == actor.run:
            copy = isinstance(message, NatsMessage) and message.duplicate
            actor.tally.arrived(parcel, at=time.monotonic(), announced=copy)

    await actor.wire.listen(actor.subject(ClientRole.PUBLISHER), heard)


async def _respond(actor: Actor) -> None:
    async def asked(message: Msg) -> None:
        parcel = unpack_parcel(message.data)
        if parcel is None:
            return
        await message.respond(message.data)
        actor.tally.sent += 1
        actor.tally.answered((time.monotonic_ns() - parcel.sent_ns) / 1e6)

    await actor.wire.listen(actor.subject(ClientRole.REQUESTER), asked, queue=RESPONDERS)


async def consumer(actor: Actor) -> Fetches:
    """Return the durable pull consumer of a consumer, which belongs to it alone."""
    durable = actor.tally.client.name
    subject = actor.subject(ClientRole.JS_PUBLISHER)
    return await actor.wire.consumer(actor.spec.stream, subject, durable=durable)


async def consume(actor: Actor, fetches: Fetches, stop: asyncio.Event) -> None:
    """Fetch and acknowledge until `stop` is set."""
    while not stop.is_set():
        try:
            for message in await fetches.fetch(_FETCH, _FETCH_SECONDS):
                await _take(actor, message)
        except nats.errors.TimeoutError:
            continue
        except _FAILURES as error:
            actor.tally.error = str(error) or type(error).__name__
            await pause(_RETRY_SECONDS, stop)


async def _take(actor: Actor, message: Msg) -> None:
    parcel = unpack_parcel(message.data)
    if parcel is not None and parcel.run == actor.run:
        again = message.metadata.num_delivered > 1
        actor.tally.arrived(parcel, at=time.monotonic(), announced=again)
    await message.ack()


# The same over MQTT, where there are no queue groups, and every message is acknowledged.


class MqttActor(NamedTuple):
    """One client at work: its connection, its counts, and the number that it sends under."""

    wire: MqttWire
    tally: Tally
    number: int
    run: int
    spec: TrafficSpec

    @property
    def role(self) -> ClientRole:
        """What it does."""
        return self.tally.client.role

    @property
    def topic(self) -> str:
        """On which MQTT clients send: the server makes slashes of the dots of a subject."""
        return f"{self.spec.subject}.{ClientRole.MQTT_PUBLISHER}".replace(".", "/")


async def listen_mqtt(actor: MqttActor) -> None:
    """Subscribe a subscriber."""

    def heard(payload: bytes) -> None:
        parcel = unpack_parcel(payload)
        if parcel is not None and parcel.run == actor.run:
            actor.tally.arrived(parcel, at=time.monotonic())

    await actor.wire.listen(actor.topic, heard)


async def greet_mqtt(actor: MqttActor) -> None:
    """Send a message that does not count, for listeners to know that they hear this sender."""
    greeting = Parcel(actor.run, actor.number, GREETING, time.monotonic_ns())
    await actor.wire.publish_acked(actor.topic, greeting.pack())


async def send_mqtt(actor: MqttActor, stop: asyncio.Event) -> None:
    """Publish number after number until `stop` is set."""
    async for _ in ticks(actor.tally.client.rate_per_second, stop):
        await _publish_mqtt(actor, stop)


async def _publish_mqtt(actor: MqttActor, stop: asyncio.Event) -> None:
    """Publish one number until it is acknowledged: QoS 1 says that it may come more than once."""
    parcel = _next(actor)
    while True:
        try:
            await actor.wire.publish_acked(actor.topic, parcel.pack())
        except MqttFailure as error:
            actor.tally.error = str(error)
            if stop.is_set():
                actor.tally.failures += 1
                return
            actor.tally.retries += 1
            await pause(_RETRY_SECONDS, stop)
        else:
            actor.tally.sent += 1
            actor.tally.latencies.add((time.monotonic_ns() - parcel.sent_ns) / 1e6)
            return
