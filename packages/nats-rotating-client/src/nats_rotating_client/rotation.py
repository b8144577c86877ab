"""Keeps one connection's certificates in step with its files: make before break.

What a check of the files leads to:

========================================  ======================================================
files unchanged                           nothing
changed since the last check              wait until they have settled
settled, but do not fit together          report once, keep what is in use, check again later
same leaf, other trust or intermediates   try a handshake, then use it for all that follow
other leaf                                a second connection takes over, then the first is drained
the server's lame-duck notice             likewise, with whatever fits
========================================  ======================================================

What is in use is replaced only by what a server has accepted in a handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats.errors

from nats_rotating_client.errors import (
    MaterialError,
    RotatingClientError,
    ServerUnreachable,
    StatusFileError,
)
from nats_rotating_client.link import ClientLink, ConnectTarget, LinkChange, open_link
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
    error_event,
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


class RotationState:
    """What a connection has come to: what is in use, what is on its way out, what is asked for.

    The rotation changes it, the reporter tells it; it is there before either of them.
    """

    def __init__(self, material: LoadedMaterial, link: ClientLink) -> None:
        self.material = material
        self.link = link
        self.subscriptions: set[Subscription] = set()
        self.retiring: dict[ClientLink, asyncio.Task[None]] = {}
        """Replaced connections that are still open, and what closes them."""
        self.swaps = 0
        self.error = ""
        self.swap_requested = False
        self.retry_at = 0.0
        """The loop's time before which nothing is tried again."""
        self.wake = asyncio.Event()

    def request_swap(self) -> None:
        """Ask for a swap at the next moment, also when no file has changed."""
        self.swap_requested = True
        self.request_check()

    def request_check(self) -> None:
        """Ask for a look at the files now."""
        self.retry_at = 0.0
        self.wake.set()


class Reporter:
    """Tells the program and the rotator what happens to a connection.

    It hears what links, subscriptions and the rotation have to say.
    """

    def __init__(
        self, state: RotationState, *, name: str, status_file: Path | None, on_event: OnEvent
    ) -> None:
        self._state = state
        self._name = name
        self._status_file = status_file
        self._on_event = on_event
        self._duplicates = 0
        self._leaving = False
        state.link.observe(self.link_changed)

    def leave(self) -> None:
        """Say nothing more about links: the program itself is closing them."""
        self._leaving = True

    def status(self) -> ConnectionStatus:
        """Return what a new handshake presents and trusts, and how the connection stands."""
        material, link = self._state.material, self._state.link
        return ConnectionStatus(
            pid=os.getpid(),
            name=self._name,
            loaded_at=material.loaded_at,
            certificate_sha256=material.leaf,
            ca_sha256=material.authorities,
            connected=link.connected,
            connected_url=link.url,
            connected_server_id=link.server_id,
            cid=link.cid,
            swaps=self._state.swaps,
            retiring=len(self._state.retiring),
            duplicates=self._duplicates,
            error=self._state.error,
        )

    def write_status(self) -> None:
        """Write the status file, if there is one; a disk that is full is reported, not fatal."""
        if self._status_file is None:
            return
        try:
            write_status(self._status_file, self.status())
        except StatusFileError as error:
            self.failed(error)

    def happened(self, kind: EventKind, detail: str = "") -> None:
        """Tell the program, and the rotator through the status file."""
        self.write_status()
        self._on_event(event_now(kind, detail))

    def failed(self, error: Exception) -> None:
        """Tell the program about an error that ends nothing."""
        self._on_event(error_event(error))

    def link_changed(self, link: ClientLink, change: LinkChange) -> None:
        """Take in what happened to a link. Only the one in use matters: others are meant to go."""
        if change is LinkChange.LAME_DUCK:
            if link not in self._state.retiring:
                self.happened(EventKind.LAME_DUCK, link.url)
                self._state.request_swap()
            return
        if self._leaving or link is not self._state.link:
            return
        match change:
            case LinkChange.LOST:
                self.happened(EventKind.DISCONNECTED)
            case LinkChange.REGAINED:
                self.happened(EventKind.RECONNECTED, link.url)
            case LinkChange.ENDED:  # nats-py has given it up
                self._state.request_swap()

    # What subscriptions tell.

    def count_duplicate(self) -> None:
        """Count a message that two connections delivered."""
        self._duplicates += 1

    def forget(self, subscription: Subscription) -> None:
        """Stop moving a subscription that has ended."""
        self._state.subscriptions.discard(subscription)


async def open_first(
    files: MaterialFiles,
    *,
    target: ConnectTarget,
    pace: Pace,
    make_context: MakeContext,
    on_event: OnEvent,
) -> RotationState:
    """Load the files and connect; raises `MaterialError` or `ConnectError` when not."""
    try:
        material = await _load(files, make_context)
    except MaterialError:
        await asyncio.sleep(pace.settle_seconds)  # perhaps they are just being written
        material = await _load(files, make_context)
    shuffled = target._replace(servers=_shuffled(target.servers))

    def report(error: Exception) -> None:
        on_event(error_event(error))

    return RotationState(material, await open_link(shuffled, material, on_error=report))


class CertificateRotation:
    """The links of one connection: the one in use, perhaps its successor, and those retiring."""

    def __init__(
        self,
        files: MaterialFiles,
        *,
        state: RotationState,
        reporter: Reporter,
        target: ConnectTarget,
        pace: Pace,
        make_context: MakeContext,
    ) -> None:
        self.state = state
        self._files = files
        self._reporter = reporter
        self._target = target
        self._pace = pace
        self._make_context = make_context
        self._open_to_publish = asyncio.Event()
        self._open_to_publish.set()
        self._last_stamps = state.material.stamps
        self._failures = 0

    async def publisher(self) -> ClientLink:
        """Return the link in use; waits the moment in which publishing moves to another."""
        if not self._open_to_publish.is_set():
            await self._open_to_publish.wait()
        return self.state.link

    async def run(self) -> None:
        """Look at the files until cancelled, and take up what changed and fits."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.poll_seconds):
                    await self.state.wake.wait()
            self.state.wake.clear()
            await self._check_files()

    async def _check_files(self) -> None:
        found = stamp_files(self._files)
        if found != self._last_stamps:
            self._last_stamps = found
            self._failures, self.state.retry_at = 0, 0.0
            await asyncio.sleep(self._pace.settle_seconds)
            if stamp_files(self._files) != found:
                self.state.wake.set()
                return
        if found == self.state.material.stamps and not self.state.swap_requested:
            if self.state.error:
                self.state.error = ""
                self._reporter.happened(EventKind.ADOPTED, "the files are again those in use")
        elif asyncio.get_running_loop().time() >= self.state.retry_at:
            await self._try_to_take_up(found)

    async def _try_to_take_up(self, found: Stamps) -> None:
        try:
            await self._take_up(await self._candidate(found))
        except RotatingClientError as error:
            self._refuse(error)
        else:
            self._failures, self.state.retry_at = 0, 0.0

    def _refuse(self, error: RotatingClientError) -> None:
        """Keep what is in use, say why once, and set the time of the next attempt."""
        self._failures += 1
        wait = self._pace.retry.wait(self._failures)
        self.state.retry_at = asyncio.get_running_loop().time() + wait
        if str(error) != self.state.error:
            self.state.error = str(error)
            self._reporter.happened(EventKind.REFUSED, self.state.error)

    async def _candidate(self, found: Stamps) -> LoadedMaterial:
        """Return what the files hold, or what is in use when they hold nothing else that fits."""
        if found == self.state.material.stamps:
            return self.state.material
        try:
            return await _load(self._files, self._make_context)
        except MaterialError as error:
            if not self.state.swap_requested:
                raise
            self._refuse(error)
            return self.state.material

    async def _take_up(self, fresh: LoadedMaterial) -> None:
        used = self.state.material
        if self.state.swap_requested or fresh.leaf != used.leaf:
            await self._swap(fresh)
            return
        if (fresh.chain, fresh.authorities) != (used.chain, used.authorities):
            trial = await self._open(fresh)
            await trial.close()
        self._adopt(fresh)
        self._reporter.happened(EventKind.ADOPTED, f"{len(fresh.authorities)} CA certificates")

    def _adopt(self, fresh: LoadedMaterial) -> None:
        """Use `fresh` for every handshake from now on, also for nats-py's own reconnects."""
        self.state.material = fresh
        if fresh.stamps == self._last_stamps:
            self.state.error = ""
        for link in (self.state.link, *self.state.retiring):
            link.use(fresh.context)

    async def _open(self, fresh: LoadedMaterial) -> ClientLink:
        """Open a second connection, to the server of the first if that still takes any.

        On one server, messages keep their order and interest is known at once.
        """
        first = self.state.link
        same = (first.address,) if first.connected else ()
        others = tuple(server for server in self._target.servers if server not in same)
        target = self._target._replace(servers=(*same, *_shuffled(others)))
        second = await open_link(target, fresh, on_error=self._reporter.failed)
        second.observe(self._reporter.link_changed)
        return second

    # The swap.

    async def _swap(self, fresh: LoadedMaterial) -> None:
        # What is asked for while this one is under way is another swap.
        requested, self.state.swap_requested = self.state.swap_requested, False
        try:
            second = await self._open(fresh)
            try:
                await self._overlap(second)
                first = await self._move_publishing(second)
            except BaseException:
                await self._give_up(second)
                raise
        except BaseException:
            self.state.swap_requested = self.state.swap_requested or requested
            raise
        self._adopt(fresh)
        await self._leave(first, second)
        self.state.swaps += 1
        self._reporter.happened(EventKind.SWAPPED, f"to {second.url or 'the next server'}")

    async def _overlap(self, second: ClientLink) -> None:
        """Let both connections deliver until every server knows of the second."""
        try:
            await self._attach_all(second)
            if self.state.link.connected:
                await asyncio.sleep(self._pace.overlap_seconds)
            await self._attach_all(second)  # what was subscribed meanwhile
        except (nats.errors.Error, OSError) as error:
            raise _lost_again(self._target.name) from error
        if not second.connected:
            raise _lost_again(self._target.name)

    async def _attach_all(self, second: ClientLink) -> None:
        """Subscribe everything on `second`, and return when its server has taken that in."""
        for subscription in tuple(self.state.subscriptions):
            await subscription.attach(second)
        await second.flush(_FLUSH_TIMEOUT_SECONDS)

    async def _give_up(self, second: ClientLink) -> None:
        for subscription in tuple(self.state.subscriptions):
            await subscription.abandon()
        await second.close()

    async def _move_publishing(self, second: ClientLink) -> ClientLink:
        """Publish on `second` from the moment at which the first's server has everything.

        Returns the first.
        """
        first = self.state.link
        # Who publishes now waits: the second's server may be ahead of the first's, and messages
        # of one publisher would overtake each other.
        self._open_to_publish.clear()
        try:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await first.flush(_FLUSH_TIMEOUT_SECONDS)
            self.state.link = second
        finally:
            self._open_to_publish.set()
        return first

    async def _leave(self, first: ClientLink, second: ClientLink) -> None:
        """Drain every subscription from the first connection, also those made in the meantime."""
        first.use(self.state.material.context)
        try:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await self._attach_all(second)
            moves = [subscription.hand_over() for subscription in tuple(self.state.subscriptions)]
            await asyncio.gather(*moves)
        finally:
            self.state.retiring[first] = asyncio.create_task(self._retire(first))

    async def _retire(self, link: ClientLink) -> None:
        """Let the requests on a replaced connection finish, send what it holds, and close it."""
        try:
            async with asyncio.timeout(self._pace.drain_seconds):
                await link.finish()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._reporter.failed(error)
        finally:
            await link.close()
            del self.state.retiring[link]
            self._reporter.happened(EventKind.RETIRED)

    # The end.

    async def drain(self) -> None:
        """Finish what is under way everywhere, then close."""
        await asyncio.gather(*self.state.retiring.values())
        try:
            async with asyncio.timeout(self._pace.drain_seconds):
                drains = [subscription.drain() for subscription in tuple(self.state.subscriptions)]
                await asyncio.gather(*drains)
                await self.state.link.finish()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._reporter.failed(error)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close every link at once."""
        for subscription in tuple(self.state.subscriptions):
            subscription.close()
        tasks = tuple(self.state.retiring.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.state.link.close()


async def _load(files: MaterialFiles, make_context: MakeContext) -> LoadedMaterial:
    # In a thread: a disk, or a key of 4096 bits, would hold up every message.
    return await asyncio.to_thread(load_material, files, make_context=make_context)


def _shuffled(servers: tuple[str, ...]) -> tuple[str, ...]:
    # So that clients which renew at one moment do not all go to the server named first.
    return tuple(random.SystemRandom().sample(servers, len(servers)))


def _lost_again(name: str) -> ServerUnreachable:
    return ServerUnreachable(
        "the second connection was lost before it could take over", client=name, operation="swap"
    )
