"""What each MQTT client of the traffic does with its connection, until it is told to stop."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from rollover_lab.traffic.mqtt_wire import Failure, MqttWire
from rollover_lab.traffic.parcel import GREETING, Parcel, unpack
from rollover_lab.traffic.roles import pause, ticks
from rollover_lab.traffic.spec import Role, TrafficSpec
from rollover_lab.traffic.tally import Tally

_RETRY_SECONDS = 0.1


class MqttActor(NamedTuple):
    """One client at work: its connection, its counts, and the number that it sends under."""

    wire: MqttWire
    tally: Tally
    number: int
    run: int
    spec: TrafficSpec

    @property
    def role(self) -> Role:
        """What it does."""
        return self.tally.client.role

    @property
    def topic(self) -> str:
        """On which MQTT clients send: the server makes slashes of the dots of a subject."""
        return f"{self.spec.subject}.{Role.MQTT_PUBLISHER}".replace(".", "/")


async def listen(actor: MqttActor) -> None:
    """Subscribe a subscriber."""

    def heard(payload: bytes) -> None:
        parcel = unpack(payload)
        if parcel is not None and parcel.run == actor.run:
            actor.tally.arrived(parcel, at=time.monotonic())

    await actor.wire.listen(actor.topic, heard)


async def greet(actor: MqttActor) -> None:
    """Send a message that does not count, for listeners to know that they hear this sender."""
    greeting = Parcel(actor.run, actor.number, GREETING, time.monotonic_ns())
    await actor.wire.publish_acked(actor.topic, greeting.pack())


async def send(actor: MqttActor, stop: asyncio.Event) -> None:
    """Publish number after number until `stop` is set."""
    async for _ in ticks(actor.tally.client.rate_per_second, stop):
        await _publish(actor, stop)


async def _publish(actor: MqttActor, stop: asyncio.Event) -> None:
    """Publish one number until it is acknowledged: QoS 1 says that it may come more than once."""
    parcel = Parcel(actor.run, actor.number, actor.tally.sent + 1, time.monotonic_ns())
    while True:
        try:
            await actor.wire.publish_acked(actor.topic, parcel.pack())
        except Failure as error:
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
