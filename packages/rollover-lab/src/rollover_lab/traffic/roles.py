"""What each client of the traffic does with its connection, until it is told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from nats_rotating_client.link import NatsMessage
from rollover_lab.traffic.parcel import GREETING, Parcel, unpack
from rollover_lab.traffic.spec import Role, TrafficSpec
from rollover_lab.traffic.tally import Tally
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
    def role(self) -> Role:
        """What it does."""
        return self.tally.client.role

    def subject(self, role: Role) -> str:
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


def _next(actor: Actor) -> Parcel:
    return Parcel(actor.run, actor.number, actor.tally.sent + 1, time.monotonic_ns())


async def greet(actor: Actor) -> None:
    """Send a message that does not count, for listeners to know that they hear this sender."""
    greeting = Parcel(actor.run, actor.number, GREETING, time.monotonic_ns())
    await actor.wire.publish(actor.subject(Role.PUBLISHER), greeting.pack())


async def send(actor: Actor, stop: asyncio.Event) -> None:
    """Do what a sender's role does until `stop` is set."""
    step = {
        Role.PUBLISHER: _publish,
        Role.REQUESTER: _request,
        Role.JS_PUBLISHER: _publish_acked,
    }[actor.role]
    async for _ in ticks(actor.tally.client.rate_per_second, stop):
        await step(actor, stop)


async def _publish(actor: Actor, _stop: asyncio.Event) -> None:
    try:
        await actor.wire.publish(actor.subject(Role.PUBLISHER), _next(actor).pack())
    except _FAILURES as error:
        _failed(actor, error)
    else:
        actor.tally.sent += 1


async def _request(actor: Actor, _stop: asyncio.Event) -> None:
    parcel = _next(actor)
    actor.tally.sent += 1
    try:
        answer = await actor.wire.request(actor.subject(Role.REQUESTER), parcel.pack())
    except _FAILURES as error:
        _failed(actor, error)
        return
    if unpack(answer.data) == parcel:
        actor.tally.answered((time.monotonic_ns() - parcel.sent_ns) / 1e6)
    else:
        _failed(actor, ValueError("the answer belongs to another request"))


async def _publish_acked(actor: Actor, stop: asyncio.Event) -> None:
    """Publish one number until it is acknowledged; its id makes publishing it again harmless."""
    parcel = _next(actor)
    subject, payload = actor.subject(Role.JS_PUBLISHER), parcel.pack()
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
    if actor.role is Role.RESPONDER:
        await _respond(actor)
        return

    async def heard(message: Msg) -> None:
        parcel = unpack(message.data)
        if parcel is not None and parcel.run == actor.run:
            copy = isinstance(message, NatsMessage) and message.duplicate
            actor.tally.arrived(parcel, at=time.monotonic(), announced=copy)

    await actor.wire.listen(actor.subject(Role.PUBLISHER), heard)


async def _respond(actor: Actor) -> None:
    async def asked(message: Msg) -> None:
        parcel = unpack(message.data)
        if parcel is None:
            return
        await message.respond(message.data)
        actor.tally.sent += 1
        actor.tally.answered((time.monotonic_ns() - parcel.sent_ns) / 1e6)

    await actor.wire.listen(actor.subject(Role.REQUESTER), asked, queue=RESPONDERS)


async def consumer(actor: Actor) -> Fetches:
    """Return the durable pull consumer of a consumer, which belongs to it alone."""
    durable = actor.tally.client.name
    subject = actor.subject(Role.JS_PUBLISHER)
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
    parcel = unpack(message.data)
    if parcel is not None and parcel.run == actor.run:
        again = message.metadata.num_delivered > 1
        actor.tally.arrived(parcel, at=time.monotonic(), announced=again)
    await message.ack()
