"""When to try again after a refusal: later each time, never in step with other clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import nats.errors

from nats_rotating_client.errors import (
    MaterialError,
    RotatingClientError,
    ServerUnreachable,
    StatusFileError,
)
from nats_rotating_client.link import ClientLink, ConnectTarget, LinkEvents, open_link
from nats_rotating_client.material import (
    LoadedMaterial,
    MakeContext,
    MaterialFiles,
    Stamps,
    load_material,
    stamp_files,
)
from nats_rotating_client.status import (
    ConnectionStatus,
    EventKind,
    OnEvent,
    event_now,
    write_status,
)
from nats_rotating_client.subscription import Subscription


class Backoff(NamedTuple):
    """Waits of `first_seconds`, doubling up to `most_seconds`, each shortened at random."""

    first_seconds: float = 1.0
    most_seconds: float = 60.0

    def wait(self, attempt: int, *, share: float | None = None) -> float:
        """Return the seconds to wait after failed attempt number `attempt`, counted from 1.

        Between half and all of the bound; `share` (0 to 1) says where, at random when not given.
        """
        exponent = min(attempt - 1, 32)  # beyond that every bound is long reached
        bound = min(self.first_seconds * 2.0**exponent, self.most_seconds)
        if share is None:
            share = random.SystemRandom().random()
        return bound * (1 + share) / 2


# Keeps one connection's certificates in step with its files: make before break.
#
# What a look at the files leads to:
#
# ======================================== ======================================================
# files unchanged nothing changed since the last look wait until they have settled settled, but do
# not fit together report once, keep what is in use, look again later same leaf, other trust or
# intermediates try a handshake, then use it for all that follow other leaf a second connection
# takes over, then the first is drained the server's lame-duck notice likewise, with whatever fits
# ======================================== ======================================================
#
# What is in use is replaced only by what a server has accepted in a handshake.


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


class CertificateRotation:
    """The links of one connection: the one in use, perhaps its successor, and those retiring."""

    def __init__(
        self,
        files: MaterialFiles,
        *,
        target: ConnectTarget,
        pace: Pace,
        make_context: MakeContext,
        upkeep: Upkeep,
    ) -> None:
        self.subscriptions: set[Subscription] = set()
        self.material: LoadedMaterial
        self.link: ClientLink
        self.swaps = 0
        self.error = ""
        self._files = files
        self._target = target
        self._pace = pace
        self._make_context = make_context
        self._upkeep = upkeep
        self._retiring: dict[ClientLink, asyncio.Task[None]] = {}
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

    async def publisher(self) -> ClientLink:
        """Return the link in use; waits the moment in which publishing moves to another."""
        if not self._open_to_publish.is_set():
            await self._open_to_publish.wait()
        return self.link

    @property
    def retiring(self) -> tuple[ClientLink, ...]:
        """Replaced connections that are still open."""
        return tuple(self._retiring)

    def ask(self) -> None:
        """Ask for a swap at the next moment, also when no file has changed."""
        self._asked = True
        self._not_before = 0.0
        self._wake.set()

    def check_files(self) -> None:
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
        found = stamp_files(self._files)
        if found != self._seen:
            self._seen = found
            self._failures, self._not_before = 0, 0.0
            await asyncio.sleep(self._pace.settle_seconds)
            if stamp_files(self._files) != found:
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

    async def _candidate(self, found: Stamps) -> LoadedMaterial:
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

    async def _load(self) -> LoadedMaterial:
        return await asyncio.to_thread(load_material, self._files, make_context=self._make_context)

    async def _take_up(self, fresh: LoadedMaterial) -> None:
        if self._asked or fresh.leaf != self.material.leaf:
            await self._swap(fresh)
            return
        if (fresh.chain, fresh.authorities) != (self.material.chain, self.material.authorities):
            trial = await self._open(fresh)
            await trial.close()
        self._adopt(fresh)
        self._upkeep.happened(EventKind.ADOPTED, f"{len(fresh.authorities)} CA certificates")

    def _adopt(self, fresh: LoadedMaterial) -> None:
        """Use `fresh` for every handshake from now on, also for nats-py's own reconnects."""
        self.material = fresh
        if fresh.stamps == self._seen:
            self.error = ""
        for link in (self.link, *self._retiring):
            link.use(fresh.context)

    async def _open(self, fresh: LoadedMaterial) -> ClientLink:
        """Open a second connection, to the server of the first if that still takes any.

        On one server, messages keep their order and interest is known at once.
        """
        same = (self.link.address,) if self.link.connected else ()
        others = tuple(server for server in self._target.servers if server not in same)
        target = self._target._replace(servers=(*same, *_shuffled(others)))
        return await open_link(target, fresh, self._upkeep)

    # The swap.

    async def _swap(self, fresh: LoadedMaterial) -> None:
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

    async def _overlap(self, second: ClientLink) -> None:
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

    async def _attach_all(self, second: ClientLink) -> None:
        """Subscribe everything on `second`, and return when its server has taken that in."""
        for subscription in tuple(self.subscriptions):
            await subscription.attach(second)
        await second.flush(_FLUSH_TIMEOUT_SECONDS)

    async def _give_up(self, second: ClientLink) -> None:
        for subscription in tuple(self.subscriptions):
            await subscription.abandon()
        await second.close()

    async def _move_publishing(self, second: ClientLink) -> ClientLink:
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

    async def _leave(self, first: ClientLink, second: ClientLink) -> None:
        first.use(self.material.context)
        try:
            await self._hand_over_all(second)
        finally:
            self._retiring[first] = asyncio.create_task(self._retire(first))

    async def _hand_over_all(self, second: ClientLink) -> None:
        """Drain every subscription from the first connection, also those made in the meantime."""
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await self._attach_all(second)
        moves = [subscription.hand_over() for subscription in tuple(self.subscriptions)]
        await asyncio.gather(*moves)

    async def _retire(self, link: ClientLink) -> None:
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
                drains = [subscription.drain() for subscription in tuple(self.subscriptions)]
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


# Tells the program and the rotator what happens to a connection.


class Reporter:
    """Hears everything that links, subscriptions and the rotation of one connection have to say."""

    def __init__(self, name: str, *, status_file: Path | None, on_event: OnEvent) -> None:
        self._name = name
        self._status_file = status_file
        self._on_event = on_event
        self._duplicates = 0
        self._rotation: CertificateRotation | None = None
        self._leaving = False

    def report_on(self, rotation: CertificateRotation) -> None:
        """Report on `rotation`, which has just connected; what came before was its own affair."""
        self._rotation = rotation
        self.write_status()

    def leave(self) -> None:
        """Say nothing more about links: the program itself is closing them."""
        self._leaving = True

    def status(self, rotation: CertificateRotation) -> ConnectionStatus:
        """Return what a new handshake presents and trusts, and how the connection stands."""
        return ConnectionStatus(
            pid=os.getpid(),
            name=self._name,
            loaded_at=rotation.material.loaded_at,
            certificate_sha256=rotation.material.leaf,
            ca_sha256=rotation.material.authorities,
            connected=rotation.link.connected,
            connected_url=rotation.link.url,
            connected_server_id=rotation.link.server_id,
            cid=rotation.link.cid,
            swaps=rotation.swaps,
            retiring=len(rotation.retiring),
            duplicates=self._duplicates,
            error=rotation.error,
        )

    def write_status(self) -> None:
        """Write the status file, if there is one; a disk that is full is reported, not fatal."""
        if self._status_file is None or self._rotation is None:
            return
        try:
            write_status(self._status_file, self.status(self._rotation))
        except StatusFileError as error:
            self.failed(error)

    # What a rotation tells.

    def happened(self, kind: EventKind, detail: str = "") -> None:
        """Tell the program, and the rotator through the status file."""
        self.write_status()
        self._on_event(event_now(kind, detail))

    # What links tell. Only the one in use matters: the others are meant to go.

    def lost(self, link: ClientLink) -> None:
        """Tell that the connection in use broke."""
        if self._in_use(link):
            self.happened(EventKind.DISCONNECTED)

    def regained(self, link: ClientLink) -> None:
        """Tell that the connection in use is back."""
        if self._in_use(link):
            self.happened(EventKind.RECONNECTED, link.url)

    def ended(self, link: ClientLink) -> None:
        """Ask for another connection when nats-py has given this one up."""
        if self._in_use(link) and self._rotation is not None:
            self._rotation.ask()

    def enter_lame_duck(self, link: ClientLink) -> None:
        """Ask for another connection when the server wants this one to go."""
        if self._rotation is not None and link not in self._rotation.retiring:
            self.happened(EventKind.LAME_DUCK, link.url)
            self._rotation.ask()

    def failed(self, error: Exception) -> None:
        """Tell the program about an error that ends nothing."""
        self._on_event(event_now(EventKind.ERROR, str(error) or type(error).__name__))

    def _in_use(self, link: ClientLink) -> bool:
        mine = self._rotation is not None and link is self._rotation.link
        return mine and not self._leaving

    # What subscriptions tell.

    def count_duplicate(self) -> None:
        """Count a message that two connections delivered."""
        self._duplicates += 1

    def forget(self, subscription: Subscription) -> None:
        """Stop moving a subscription that has ended."""
        if self._rotation is not None:
            self._rotation.subscriptions.discard(subscription)
