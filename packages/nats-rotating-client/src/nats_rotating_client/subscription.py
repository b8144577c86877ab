"""Subscriptions that move from one connection to the next, and know which messages are copies."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Protocol

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_MSGS_LIMIT
from nats.aio.subscription import Subscription as CarriedSubscription

from nats_rotating_client.link import Answers, ClientLink, NatsMessage, answer_through

# Copies: what both connections deliver while they carry one subscription.


def content_identity(
    subject: str, reply: str, data: bytes, *, headers: Mapping[str, str] | None = None
) -> int:
    """Return a number that copies of one message share.

    Core NATS gives a message no id, so this is its whole content. Two *different* messages of
    equal content share it too; JetStream's never do, for their reply subject holds the sequence.
    """
    return hash((subject, reply, data, tuple(headers.items()) if headers else ()))


class Copies:
    """What the first connection delivered since the second one also listens.

    The first speaks until it has nothing left; only then the second's messages are looked at, in
    their order. Each that is still noted here is a copy, every other one is news. So nothing is
    lost, order is kept, and each message is called a copy at most as often as it came before.
    """

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()

    def note(self, key: int) -> None:
        """Remember one message that the first connection delivered."""
        self._seen[key] += 1

    def take(self, key: int) -> bool:
        """Say whether a message of the second is a copy, and use that memory up."""
        left = self._seen.get(key, 0)
        if not left:
            return False
        if left == 1:
            del self._seen[key]
        else:
            self._seen[key] = left - 1
        return True

    def __len__(self) -> int:
        return self._seen.total()


# Subscriptions, and the connections that carry them.

PENDING_LIMIT = DEFAULT_SUB_PENDING_MSGS_LIMIT
_UNSUBSCRIBE_TIMEOUT_SECONDS = 3.0
_COPIES_KEPT_SECONDS = 2.0
"""How long after the hand-over a copy may still be on its way from another server."""

Callback = Callable[[NatsMessage], Awaitable[None]]


class Duplicates(StrEnum):
    """What happens to copies while one connection replaces another."""

    FLAG = "flag"
    """They are handed over with `duplicate` set: nothing can be lost."""
    DROP = "drop"
    """They are counted and dropped: for messages whose content is never equal to another's."""


class Owner(Protocol):
    """What a subscription tells the connection that it belongs to."""

    def count_duplicate(self) -> None:
        """Count one copy."""

    def failed(self, error: Exception) -> None:
        """Report an error of a callback, or a message dropped by a slow consumer."""

    def forget(self, subscription: Subscription) -> None:
        """Stop moving the subscription to new connections."""


class _Carrier:
    """One connection's part in a subscription. Until it is opened, its messages wait in nats-py."""

    def __init__(self, link: ClientLink, *, before: Copies | None) -> None:
        self.link = link
        self.opened = asyncio.Event()
        self._before = before
        self._after: Copies | None = None

    def note_copies(self) -> Copies:
        """Remember from now on what this carrier delivers, for the one that follows."""
        self._after = Copies()
        return self._after

    def stop_noting(self) -> None:
        self._after = None

    def forget_copies(self) -> None:
        self._before = None

    def is_copy(self, message: Msg) -> bool:
        """Say whether the carrier before this one delivered the message already."""
        if self._before is None and self._after is None:
            return False
        key = content_identity(
            message.subject, message.reply, message.data, headers=message.headers
        )
        if self._after is not None:
            self._after.note(key)
        return self._before is not None and self._before.take(key)


class Subscription:
    """Interest in a subject, with a callback, `next_msg` or `async for` over `messages`.

    While a second connection takes over, both carry the subscription: the first delivers at once,
    the second's messages wait until the first has nothing left, so the order is kept. Members of
    a queue group get each message once; for them both deliver at once, and there are no copies.
    """

    def __init__(
        self,
        subject: str,
        *,
        owner: Owner,
        answers: Answers,
        queue: str = "",
        callback: Callback | None = None,
        pending_limit: int = PENDING_LIMIT,
        duplicates: Duplicates = Duplicates.FLAG,
    ) -> None:
        self.subject = subject
        self.queue = queue
        self.delivered = 0
        self._owner = owner
        self._answers = answers
        self._callback = callback
        self._duplicates = duplicates
        self._pending_limit = pending_limit
        self._limit = 0
        self._ended = False
        self._messages: asyncio.Queue[NatsMessage | None] = asyncio.Queue()
        # A carrier has its turn from the moment it subscribes, before nats-py has done so: a swap
        # may begin in between.
        self._first: _Carrier | None = None
        self._second: _Carrier | None = None
        self._carried: dict[_Carrier, CarriedSubscription] = {}
        self._work = asyncio.create_task(self._call_back()) if callback else None
        self._closing: asyncio.Task[None] | None = None

    @property
    def messages(self) -> AsyncIterator[NatsMessage]:
        """Every message until the subscription ends, for `async for`."""
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[NatsMessage]:
        while (message := await self._next()) is not None:
            yield message

    async def next_msg(self, timeout: float | None = 1.0) -> NatsMessage:  # noqa: ASYNC109  - nats-py's name
        """Return the next message; raises `nats.errors.TimeoutError` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                message = await self._next()
        except TimeoutError as error:
            raise nats.errors.TimeoutError from error
        if message is None:
            raise nats.errors.BadSubscriptionError
        return message

    async def _next(self) -> NatsMessage | None:
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)  # for everybody else who waits
        return message

    async def unsubscribe(self, limit: int = 0) -> None:
        """End the interest: at once, or after `limit` messages in all.

        Never more than `limit` are handed over. In a queue group, messages above the limit that
        arrive while a connection is replaced are discarded: the group does not get them back.
        """
        self._limit = limit
        if not limit or self.delivered >= limit:
            self._end(discard=not limit)
            await self._release()
            return
        carried = self._carried.get(self._first) if self._first is not None else None
        if carried is not None:
            await carried.unsubscribe(carried.delivered + limit - self.delivered)

    async def drain(self) -> None:
        """End the interest and wait until everything received has been handed to the callback."""
        for carrier in self._carriers():
            carrier.opened.set()
            await self._drain_carrier(carrier)
        self._end(discard=False)
        if self._work is not None:
            await self._work

    def close(self) -> None:
        """End at once, without a word to the server: its connection is about to be closed."""
        self._end(discard=True)
        if self._work is not None:
            self._work.cancel()

    def _end(self, *, discard: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._owner.forget(self)
        while discard and not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)

    async def _release(self) -> None:
        for carrier in self._carriers():
            if carrier in self._carried:
                with contextlib.suppress(nats.errors.Error):
                    await self._carried[carrier].unsubscribe()

    def _carriers(self) -> tuple[_Carrier, ...]:
        return tuple(carrier for carrier in (self._first, self._second) if carrier is not None)

    # How a connection moves it. In this order: attach, then hand_over or abandon.

    async def attach(self, link: ClientLink) -> None:
        """Subscribe on `link`: as the only carrier, or as the second one, which waits its turn."""
        if self._ended or any(carrier.link is link for carrier in self._carriers()):
            return
        if self._first is None:
            self._first = _Carrier(link, before=None)
            self._first.opened.set()
            await self._carry(self._first)
            return
        self._second = _Carrier(link, before=None if self.queue else self._first.note_copies())
        if self.queue:
            self._second.opened.set()
        await self._carry(self._second)

    async def _carry(self, carrier: _Carrier) -> None:
        async def arrived(message: Msg) -> None:
            await carrier.opened.wait()
            self._accept(message, duplicate=carrier.is_copy(message))

        client = carrier.link.client
        carried = await client.subscribe(self.subject, queue=self.queue, cb=arrived)
        if carrier in self._carriers():
            self._carried[carrier] = carried

    async def hand_over(self) -> None:
        """Drain the first carrier, then let the second one speak."""
        first, second = self._first, self._second
        if first is None or second is None:
            return
        await self._drain_carrier(first)
        self._first, self._second = second, None
        self._carried.pop(first, None)
        second.opened.set()
        asyncio.get_running_loop().call_later(_COPIES_KEPT_SECONDS, second.forget_copies)

    async def abandon(self) -> None:
        """Give the second carrier up: its connection is about to be closed.

        What waits in it came over the first one too, except in a queue group.
        """
        second, self._second = self._second, None
        if self._first is not None:
            self._first.stop_noting()
        if second is None:
            return
        if self.queue:
            await self._drain_carrier(second)
        self._carried.pop(second, None)

    async def _drain_carrier(self, carrier: _Carrier) -> None:
        """Unsubscribe and take in everything that the server has sent until then.

        nats-py's own `drain` asks for the PONG before it has unsubscribed, and then drops what
        still comes: a member of a queue group would lose messages.
        """
        carried = self._carried.get(carrier)
        if carried is None:
            return
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            async with asyncio.timeout(_UNSUBSCRIBE_TIMEOUT_SECONDS):
                await carrier.link.client._send_unsubscribe(carried._id)  # noqa: SLF001  - see above
                await carrier.link.flush()
                await carried.drain()  # type: ignore[no-untyped-call]  # nats-py forgot `-> None`

    # Messages on their way to the program.

    def _accept(self, received: Msg, *, duplicate: bool) -> None:
        if duplicate:
            self._owner.count_duplicate()
            if self._duplicates is Duplicates.DROP:
                return
        if self._ended or (self._limit and self.delivered >= self._limit):
            return
        if self._messages.qsize() >= self._pending_limit:
            self._owner.failed(_slow_consumer(received))
            return
        self.delivered += 1
        message = answer_through(received, self._answers)
        message.duplicate = duplicate
        self._messages.put_nowait(message)
        if self._limit and self.delivered >= self._limit:
            self._end(discard=False)
            self._closing = asyncio.create_task(self._release())

    async def _call_back(self) -> None:
        while (message := await self._messages.get()) is not None:
            await self._call(message)

    async def _call(self, message: NatsMessage) -> None:
        if self._callback is None:
            return
        try:
            await self._callback(message)
        except Exception as error:  # noqa: BLE001  - a callback may raise anything; it is reported
            self._owner.failed(error)


def _slow_consumer(message: Msg) -> nats.errors.SlowConsumerError:
    return nats.errors.SlowConsumerError(
        subject=message.subject,
        reply=message.reply,
        sid=message.sid,
        sub=None,  # type: ignore[arg-type]  # nats-py's own subscription does not outlive a swap
    )
