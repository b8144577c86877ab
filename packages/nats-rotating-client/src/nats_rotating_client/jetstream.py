"""JetStream on a connection that is replaced now and then: publishing, pull and push consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, PubAck

from nats_rotating_client.errors import OptionError
from nats_rotating_client.link import Answers, ClientLink, NatsMessage, answer_through
from nats_rotating_client.rotation import CertificateRotation
from nats_rotating_client.subscription import Callback, Duplicates, Subscription

_UNSUPPORTED_HINT = "use a pull consumer: it keeps its order and its pace by itself"


class Subscribes(Answers, Protocol):
    """What JetStream needs of the connection that it works on."""

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        cb: Callback | None = None,
        duplicates: Duplicates = Duplicates.FLAG,
    ) -> Subscription:
        """Subscribe for as long as the connection lasts."""


class JetStream:
    """What nats-py's `JetStreamContext` does, always on the connection in use."""

    def __init__(self, connection: Subscribes, *, rotation: CertificateRotation) -> None:
        self._connection = connection
        self._rotation = rotation

    async def context(self) -> JetStreamContext:
        """Return nats-py's own context on the connection of this moment.

        For calls that end with their answer (streams, consumers, key-value reads). Don't keep it.
        """
        return (await self._rotation.publisher()).jetstream

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109  - nats-py's name
        stream: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> PubAck:
        """Publish and wait for the acknowledgement; raises nats-py's errors.

        Give each message a `Nats-Msg-Id` header: only then is publishing it again harmless.
        """
        link = await self._rotation.publisher()
        with link.busy():
            return await link.jetstream.publish(
                subject,
                payload,
                timeout=timeout,
                stream=stream,
                headers=dict(headers) if headers else None,
            )

    async def pull_subscribe(
        self,
        subject: str,
        *,
        durable: str,
        stream: str | None = None,
        config: ConsumerConfig | None = None,
    ) -> PullConsumer:
        """Create the durable pull consumer when it does not exist, and return it."""
        link = await self._rotation.publisher()
        with link.busy():
            name = stream or await link.jetstream.find_stream_name_by_subject(subject)
            bound = await link.jetstream.pull_subscribe(
                subject, durable=durable, stream=name, config=config
            )
        return PullConsumer(
            self._connection,
            rotation=self._rotation,
            stream=name,
            durable=durable,
            first=(link, bound),
        )

    async def subscribe(
        self,
        subject: str,
        *,
        cb: Callback,
        durable: str | None = None,
        stream: str | None = None,
        config: ConsumerConfig | None = None,
        manual_ack: bool = False,
    ) -> Subscription:
        """Subscribe to a push consumer, which is created when it does not exist.

        Copies are recognised by their reply subject and dropped. Not for consumers with flow
        control or heartbeats, which tie a consumer to one connection: `OptionError`.
        """
        link = await self._rotation.publisher()
        with link.busy():
            name = stream or await link.jetstream.find_stream_name_by_subject(subject)
            wanted = config or ConsumerConfig()
            consumer = await _push_consumer(link, name, subject, durable=durable, wanted=wanted)
        acknowledged = manual_ack or consumer.ack_policy is AckPolicy.NONE
        return await self._connection.subscribe(
            consumer.deliver_subject or "",
            queue=consumer.deliver_group or "",
            cb=cb if acknowledged else _acknowledging(cb),
            duplicates=Duplicates.DROP,
        )


async def _push_consumer(
    link: ClientLink, stream: str, subject: str, *, durable: str | None, wanted: ConsumerConfig
) -> ConsumerConfig:
    found = await _existing(link, stream, durable) if durable else None
    if found is None:
        target = wanted.deliver_subject or link.client.new_inbox()
        wanted = wanted.evolve(durable_name=durable, deliver_subject=target)
        if not wanted.filter_subjects:
            wanted = wanted.evolve(filter_subject=subject)
    consumer = found or wanted
    if consumer.flow_control or consumer.idle_heartbeat:
        raise OptionError("a push consumer with flow control or heartbeats", hint=_UNSUPPORTED_HINT)
    if not consumer.deliver_subject:
        raise OptionError(f"consumer `{durable}` is a pull consumer", hint="use `pull_subscribe`")
    if found is None:
        await link.jetstream.add_consumer(stream, config=consumer)
    return consumer


async def _existing(link: ClientLink, stream: str, durable: str) -> ConsumerConfig | None:
    try:
        info = await link.jetstream.consumer_info(stream, durable)
    except nats.js.errors.NotFoundError:
        return None
    config: ConsumerConfig = info.config
    return config


def _acknowledging(callback: Callback) -> Callback:
    async def call(message: NatsMessage) -> None:
        await callback(message)
        with contextlib.suppress(nats.errors.MsgAlreadyAckdError):
            await message.ack()

    return call


class PullConsumer:
    """A durable pull consumer which fetches on the connection of each moment.

    A fetch under way ends on the connection on which it began; that one is closed only then, so
    `timeout` also bounds how long a replaced connection stays open. What was fetched but never
    acknowledged comes again after the consumer's `ack_wait`.
    """

    def __init__(
        self,
        connection: Answers,
        *,
        rotation: CertificateRotation,
        stream: str,
        durable: str,
        first: tuple[ClientLink, JetStreamContext.PullSubscription],
    ) -> None:
        self._connection = connection
        self._rotation = rotation
        self._stream = stream
        self._durable = durable
        self._link, self._bound = first
        self._binding = asyncio.Lock()

    async def fetch(
        self,
        batch: int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109  - nats-py's name
    ) -> list[NatsMessage]:
        """Return at least one and at most `batch` messages; `nats.errors.TimeoutError` if none."""
        link = await self._rotation.publisher()
        with link.busy():
            async with self._binding:
                await self._bind(link)
                bound = self._bound
            try:
                messages = await bound.fetch(batch, timeout=timeout)
            except TimeoutError as error:  # nats-py raises now its own, now asyncio's
                raise nats.errors.TimeoutError from error
        return [answer_through(message, self._connection) for message in messages]

    async def _bind(self, link: ClientLink) -> None:
        if link is self._link:
            return
        self._bound = await link.jetstream.pull_subscribe_bind(
            consumer=self._durable, stream=self._stream
        )
        self._link = link
