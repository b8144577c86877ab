"""Keeps one connection's certificates in step with its files: make before break.

What a look at the files leads to:

========================================  ======================================================
files unchanged                           nothing
changed since the last look               wait until they have settled
settled, but do not fit together          report once, keep what is in use, look again later
same leaf, other trust or intermediates   try a handshake, then use it for all that follow
other leaf                                a second connection takes over, then the first is drained
the server's lame-duck notice             likewise, with whatever fits
========================================  ======================================================

What is in use is replaced only by what a server has accepted in a handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Protocol

import msgspec
import nats.errors

from rollover.clients.backoff import Backoff
from rollover.clients.errors import MaterialError, RotatingClientError, ServerUnreachable
from rollover.clients.events import EventKind
from rollover.clients.files import MaterialFiles, Stamps, stamps
from rollover.clients.link import Link, LinkEvents, Target, open_link
from rollover.clients.material import MakeContext, Material, load
from rollover.clients.subscription import Subscription

_FLUSH_TIMEOUT_SECONDS = 3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a rotation, in seconds."""

    poll_seconds: float = 1.0
    """Between two looks at the files."""
    settle_seconds: float = 0.2
    """How long the files must stay as they are before they are loaded."""
    overlap_seconds: float = 0.3
    """How long both connections deliver: the time that interest needs to reach every server."""
    drain_seconds: float = 30.0
    """How long a replaced connection may stay open for requests that wait for an answer."""
    connect_seconds: float = 10.0
    retry: Backoff = Backoff()


class Upkeep(LinkEvents, Protocol):
    """What a rotation tells the connection that it works for."""

    def happened(self, kind: EventKind, detail: str = "") -> None:
        """Tell what changed; the status is to be told anew."""


class Rotation:
    """The links of one connection: the one in use, perhaps its successor, and those retiring."""

    def __init__(
        self,
        files: MaterialFiles,
        *,
        target: Target,
        pace: Pace,
        make_context: MakeContext,
        upkeep: Upkeep,
    ) -> None:
        self.subscriptions: set[Subscription] = set()
        self.material: Material
        self.link: Link
        self.swaps = 0
        self.error = ""
        self._files = files
        self._target = target
        self._pace = pace
        self._make_context = make_context
        self._upkeep = upkeep
        self._retiring: dict[Link, asyncio.Task[None]] = {}
        self._open_to_publish = asyncio.Event()
        self._open_to_publish.set()
        self._wake = asyncio.Event()
        self._seen: Stamps = (None, None, None)
        self._asked = False
        self._failures = 0
        self._not_before = 0.0

    async def start(self) -> None:
        """Load the files and connect; raises `MaterialError` or `ConnectError` when not."""
        try:
            self.material = await self._load()
        except MaterialError:
            await asyncio.sleep(self._pace.settle_seconds)  # perhaps they are just being written
            self.material = await self._load()
        self._seen = self.material.stamps
        target = self._target._replace(servers=_shuffled(self._target.servers))
        self.link = await open_link(target, self.material, self._upkeep)

    async def publisher(self) -> Link:
        """Return the link in use; waits the moment in which publishing moves to another."""
        if not self._open_to_publish.is_set():
            await self._open_to_publish.wait()
        return self.link

    @property
    def retiring(self) -> tuple[Link, ...]:
        """Replaced connections that are still open."""
        return tuple(self._retiring)

    def ask(self) -> None:
        """Ask for a swap at the next moment, also when no file has changed."""
        self._asked = True
        self._not_before = 0.0
        self._wake.set()

    def look(self) -> None:
        """Ask for a look at the files now."""
        self._not_before = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Look at the files until cancelled, and take up what changed and fits."""
        while True:
            await self._pause(self._pace.poll_seconds)
            await self._look()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _look(self) -> None:
        found = stamps(self._files)
        if found != self._seen:
            self._seen = found
            self._failures, self._not_before = 0, 0.0
            await asyncio.sleep(self._pace.settle_seconds)
            if stamps(self._files) != found:
                self._wake.set()
                return
        if found == self.material.stamps and not self._asked:
            self._back_to_normal()
        elif asyncio.get_running_loop().time() >= self._not_before:
            await self._try_to_take_up(found)

    def _back_to_normal(self) -> None:
        if self.error:
            self.error = ""
            self._upkeep.happened(EventKind.ADOPTED, "the files are again those in use")

    async def _try_to_take_up(self, found: Stamps) -> None:
        try:
            await self._take_up(await self._candidate(found))
        except RotatingClientError as error:
            self._refuse(error)
        else:
            self._failures, self._not_before = 0, 0.0

    def _refuse(self, error: RotatingClientError) -> None:
        """Keep what is in use, say why once, and set the time of the next attempt."""
        self._failures += 1
        wait = self._pace.retry.wait(self._failures)
        self._not_before = asyncio.get_running_loop().time() + wait
        if str(error) != self.error:
            self.error = str(error)
            self._upkeep.happened(EventKind.REFUSED, self.error)

    async def _candidate(self, found: Stamps) -> Material:
        """Return what the files hold, or what is in use when they hold nothing else that fits."""
        if found == self.material.stamps:
            return self.material
        try:
            return await self._load()
        except MaterialError as error:
            if not self._asked:
                raise
            self._refuse(error)
            return self.material

    async def _load(self) -> Material:
        return await asyncio.to_thread(load, self._files, make_context=self._make_context)

    async def _take_up(self, fresh: Material) -> None:
        if self._asked or fresh.leaf != self.material.leaf:
            await self._swap(fresh)
            return
        if (fresh.chain, fresh.authorities) != (self.material.chain, self.material.authorities):
            trial = await self._open(fresh)
            await trial.close()
        self._adopt(fresh)
        self._upkeep.happened(EventKind.ADOPTED, f"{len(fresh.authorities)} CA certificates")

    def _adopt(self, fresh: Material) -> None:
        """Use `fresh` for every handshake from now on, also for nats-py's own reconnects."""
        self.material = fresh
        if fresh.stamps == self._seen:
            self.error = ""
        for link in (self.link, *self._retiring):
            link.use(fresh.context)

    async def _open(self, fresh: Material) -> Link:
        """Open a second connection, to the server of the first if that still takes any.

        On one server, messages keep their order and interest is known at once.
        """
        same = (self.link.address,) if self.link.connected else ()
        others = tuple(server for server in self._target.servers if server not in same)
        target = self._target._replace(servers=(*same, *_shuffled(others)))
        return await open_link(target, fresh, self._upkeep)

    # The swap.

    async def _swap(self, fresh: Material) -> None:
        asked, self._asked = self._asked, False
        try:
            second = await self._open(fresh)
            try:
                await self._overlap(second)
                first = await self._move_publishing(second)
            except BaseException:
                await self._give_up(second)
                raise
        except BaseException:
            self._asked = self._asked or asked
            raise
        self._adopt(fresh)
        await self._leave(first, second)
        self.swaps += 1
        self._upkeep.happened(EventKind.SWAPPED, f"to {second.url or 'the next server'}")

    async def _overlap(self, second: Link) -> None:
        """Let both connections deliver until every server knows of the second."""
        try:
            await self._attach_all(second)
            if self.link.connected:
                await asyncio.sleep(self._pace.overlap_seconds)
            await self._attach_all(second)
        except (nats.errors.Error, OSError) as error:
            raise _lost_again(self._target.name) from error
        if not second.connected:
            raise _lost_again(self._target.name)

    async def _attach_all(self, second: Link) -> None:
        """Subscribe everything on `second`, and return when its server has taken that in."""
        for subscription in tuple(self.subscriptions):
            await subscription.attach(second)
        await second.flush(_FLUSH_TIMEOUT_SECONDS)

    async def _give_up(self, second: Link) -> None:
        for subscription in tuple(self.subscriptions):
            await subscription.abandon()
        await second.close()

    async def _move_publishing(self, second: Link) -> Link:
        """Publish on `second` from the moment at which the first's server has everything.

        Returns the first.
        """
        first = self.link
        self._open_to_publish.clear()
        try:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await first.flush(_FLUSH_TIMEOUT_SECONDS)
            self.link = second
        finally:
            self._open_to_publish.set()
        return first

    async def _leave(self, first: Link, second: Link) -> None:
        first.use(self.material.context)
        try:
            await self._hand_over_all(second)
        finally:
            self._retiring[first] = asyncio.create_task(self._retire(first))

    async def _hand_over_all(self, second: Link) -> None:
        """Drain every subscription from the first connection, also those made in the meantime."""
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await self._attach_all(second)
        moves = [subscription.hand_over() for subscription in tuple(self.subscriptions)]
        await asyncio.gather(*moves)

    async def _retire(self, link: Link) -> None:
        """Let the requests on a replaced connection finish, send what it holds, and close it."""
        try:
            async with asyncio.timeout(self._pace.drain_seconds):
                await link.finish()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._upkeep.failed(error)
        finally:
            await link.close()
            del self._retiring[link]
            self._upkeep.happened(EventKind.RETIRED)

    # The end.

    async def drain(self) -> None:
        """Finish what is under way everywhere, then close."""
        await asyncio.gather(*self._retiring.values())
        try:
            async with asyncio.timeout(self._pace.drain_seconds):
                drains = [each.drain() for each in tuple(self.subscriptions)]
                await asyncio.gather(*drains)
                await self.link.finish()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._upkeep.failed(error)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close every link at once."""
        for subscription in tuple(self.subscriptions):
            subscription.close()
        tasks = tuple(self._retiring.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.link.close()


def _shuffled(servers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(random.SystemRandom().sample(servers, len(servers)))


def _lost_again(name: str) -> ServerUnreachable:
    return ServerUnreachable(
        "the second connection was lost before it could take over", client=name, operation="swap"
    )
