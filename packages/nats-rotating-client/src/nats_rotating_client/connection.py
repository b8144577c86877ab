"""A NATS connection that takes up new certificates while it runs, make before break.

nats-py keeps the certificates that it was started with. This connection looks at their files,
also through a Kubernetes `..data` link; when they have changed, have settled and fit together it
opens a second connection with them, subscribes there, lets both deliver for a moment, moves
publishing over, waits for the answers that are still due on the first, and drains that.

*Copies.* While both deliver, each message of a plain subscription arrives twice. The second comes
with `message.duplicate` set and is counted in `status.duplicates`. A program that must act once
on each message skips those, or subscribes with `duplicates=Duplicates.DROP`; that is right for
every subject whose messages carry an id, a sequence or a time. Members of a queue group and
JetStream consumers see no copies.

*Failure.* Files that do not fit, or that no server accepts, change nothing: the connection and
its certificates stay, `status.error` says why, and the next attempt follows, later each time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from nats_rotating_client.jetstream import JetStream
from nats_rotating_client.link import ConnectTarget, check_options
from nats_rotating_client.material import MakeContext, MaterialFiles, plain_context
from nats_rotating_client.rotation import CertificateRotation, Pace, Reporter, open_first
from nats_rotating_client.status import ConnectionStatus, OnEvent, ignore_event
from nats_rotating_client.subscription import PENDING_LIMIT, Callback, Duplicates, Subscription


@contextlib.asynccontextmanager
async def connect(
    servers: str | Sequence[str], *, material: MaterialFiles, name: str, **settings: Any
) -> AsyncIterator[Connection]:
    """Open a connection for the body of `async with`, and drain it at the end.

    Takes what `open_connection` takes.
    """
    connection = await open_connection(servers, material=material, name=name, **settings)
    try:
        yield connection
    except BaseException:
        await connection.close()
        raise
    await connection.drain()


async def open_connection(
    servers: str | Sequence[str],
    *,
    material: MaterialFiles,
    name: str,
    pace: Pace = Pace(),  # noqa: B008  - a frozen value
    status_file: Path | None = None,
    on_event: OnEvent = ignore_event,
    make_context: MakeContext = plain_context,
    **options: Any,
) -> Connection:
    """Connect, and keep the certificates in step with `material` from then on.

    `make_context` returns a fresh, empty TLS context each time, for other ciphers or verification
    flags. `status_file` is where a rotator reads what this client presents and trusts
    (`ConnectionStatus` as JSON). Other options go to `nats.connect` as they are. The
    connection reconnects for ever.

    Raises `MaterialError` for files that cannot be used, `ServerRefused`, `ServerUnreachable` or
    `ServerSilent` when no server takes the connection, `OptionError` for an option that cannot be
    given.
    """
    check_options(options)
    target = ConnectTarget(
        servers=(servers,) if isinstance(servers, str) else tuple(servers),
        name=name,
        options=options,
        timeout_seconds=pace.connect_seconds,
    )
    state = await open_first(
        material, target=target, pace=pace, make_context=make_context, on_event=on_event
    )
    reporter = Reporter(state, name=name, status_file=status_file, on_event=on_event)
    rotation = CertificateRotation(
        material,
        state=state,
        reporter=reporter,
        target=target,
        pace=pace,
        make_context=make_context,
    )
    reporter.write_status()
    return Connection(rotation, reporter)


class Connection:
    """A NATS connection whose certificates change under it. Made by `connect`.

    Methods with the names of nats-py's `Client` do what those do, and raise what those raise
    (`nats.errors`).
    """

    def __init__(self, rotation: CertificateRotation, reporter: Reporter) -> None:
        self._rotation = rotation
        self._reporter = reporter
        self._watch: asyncio.Task[None] | None = asyncio.create_task(rotation.run())
        self._watch.add_done_callback(self._watch_ended)

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish a message. Messages keep their order across a swap."""
        link = await self._rotation.publisher()
        await link.client.publish(
            subject, payload, reply=reply, headers=dict(headers) if headers else None
        )

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float = 0.5,  # noqa: ASYNC109  - nats-py's name
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Send a request and return the answer, which may come while the connection is replaced."""
        link = await self._rotation.publisher()
        with link.busy() as client:
            return await client.request(
                subject, payload, timeout=timeout, headers=dict(headers) if headers else None
            )

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        cb: Callback | None = None,
        pending_msgs_limit: int = PENDING_LIMIT,
        duplicates: Duplicates = Duplicates.FLAG,
    ) -> Subscription:
        """Subscribe: with a callback, or for `next_msg` and `messages` without one."""
        subscription = Subscription(
            subject,
            owner=self._reporter,
            answers=self,
            queue=queue,
            callback=cb,
            pending_limit=pending_msgs_limit,
            duplicates=duplicates,
        )
        self._rotation.state.subscriptions.add(subscription)
        try:
            await subscription.attach(self._rotation.state.link)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def jetstream(self) -> JetStream:
        """Return JetStream on this connection, for as long as it lasts."""
        return JetStream(self, rotation=self._rotation)

    def new_inbox(self) -> str:
        """Return a subject that nobody else uses."""
        return self._rotation.state.link.client.new_inbox()

    async def flush(self, timeout: int = 10) -> None:  # noqa: ASYNC109  - nats-py's name
        """Wait until the server has taken in everything published so far."""
        link = await self._rotation.publisher()
        await link.flush(timeout)

    def reload(self) -> None:
        """Look at the files now, and not only after `Pace.poll_seconds`."""
        self._rotation.state.request_check()

    @property
    def status(self) -> ConnectionStatus:
        """What a new handshake presents and trusts, and how the connection stands."""
        return self._reporter.status()

    async def drain(self) -> None:
        """Hand over what has been received, send what has been published, then close."""
        await self._stop_watching()
        await self._rotation.drain()
        self._reporter.write_status()

    async def close(self) -> None:
        """Close at once."""
        await self._stop_watching()
        await self._rotation.close()
        self._reporter.write_status()

    def _watch_ended(self, watch: asyncio.Task[None]) -> None:
        """Tell at once when a bug, or the caller's `make_context`, has ended the watch."""
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._reporter.failed(RuntimeError(f"certificates are no longer watched: {error!r}"))

    async def _stop_watching(self) -> None:
        self._reporter.leave()
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
