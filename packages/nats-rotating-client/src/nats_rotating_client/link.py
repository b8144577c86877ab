"""One nats-py connection, opened with one TLS context, the work under way on it, its messages."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from nats_rotating_client.errors import (
    ConnectError,
    OptionError,
    ServerRefused,
    ServerSilent,
    ServerUnreachable,
)
from nats_rotating_client.material import LoadedMaterial


@dataclass
class NatsMessage(Msg):
    """A NATS message. `respond` and the acknowledgements go over the connection of that moment.

    `duplicate` is true when the same content was already handed over by the connection that this
    one replaced. It is exact for JetStream and for every message with an id or a sequence in it;
    of two messages that are equal byte for byte it may take the second for a copy.
    """

    duplicate: bool = False


class Answers(Protocol):
    """What a message publishes its answers and acknowledgements through."""

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish a message."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float = 0.5,  # noqa: ASYNC109  - nats-py's name
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Send a request and return the answer."""


def answer_through(received: Msg, answers: Answers) -> NatsMessage:
    """Return `received` so that its answers go through `answers`, not the link it came over."""
    if not isinstance(received, NatsMessage):
        raise TypeError(f"expected a `NatsMessage` from the link, got `{type(received).__name__}`")
    # nats-py uses nothing but `publish` and `request` of it.
    received._client = cast("Client", answers)  # noqa: SLF001  - there is no public way to set it
    return received


FOREVER = -1
"""nats-py: no limit to reconnect attempts."""

_TRIES_PER_SERVER = 1
_PAUSE_BETWEEN_TRIES_SECONDS = 0.1
_FAILED_CLOSE_SECONDS = 0.1
"""After a failed handshake nobody answers the farewell of TLS, and nothing is held back."""
_OWNED = frozenset(
    {
        "allow_reconnect",
        "closed_cb",
        "disconnected_cb",
        "error_cb",
        "lame_duck_mode_cb",
        "max_reconnect_attempts",
        "name",
        "no_echo",
        "reconnected_cb",
        "servers",
        "tls",
    }
)

_REFUSALS = (nats.errors.Error, ssl.SSLError, ConnectionResetError, BrokenPipeError)
"""A server that does not like a certificate may close before its TLS alert has been read."""

_REFUSED_HINT = "do client and server trust each other's CA, and is the server's name right?"

Options = Mapping[str, Any]
"""Keyword arguments of `nats.connect` that nobody here looks into."""


class LinkChange(Enum):
    """What nats-py tells of a connection that was opened."""

    LOST = auto()
    """It broke, and nats-py is trying to get it back."""
    REGAINED = auto()
    ENDED = auto()
    """It is closed and stays so."""
    LAME_DUCK = auto()
    """The server sent its lame-duck notice."""


Observer = Callable[["ClientLink", LinkChange], None]
"""Called on the event loop: it must not block."""

OnError = Callable[[Exception], None]
"""Takes an error that nats-py reported and that ended nothing; must not block either."""


class ConnectTarget(NamedTuple):
    """Where a link leads to, under which name, and how nats-py shall go there."""

    servers: tuple[str, ...]
    name: str
    options: Options
    timeout_seconds: float


def check_options(options: Options) -> None:
    """Raise `OptionError` for an option of `nats.connect` that is set here."""
    for name in sorted(_OWNED & options.keys()):
        raise OptionError(
            f"`{name}` cannot be given to a rotating connection",
            field=name,
            hint="certificates come from `material`; losses and errors are told by `on_event`",
        )


class ClientLink:
    """A nats-py client that stays up, with a count of the requests that wait for an answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._steady = asyncio.Event()
        self._steady.set()
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Tell `observer` from now on what happens to the connection."""
        self._observers.append(observer)

    def note(self, change: LinkChange) -> None:
        """Take in what nats-py told, and tell the observers."""
        if change is LinkChange.LOST:
            self._steady.clear()
        elif change in (LinkChange.REGAINED, LinkChange.ENDED):
            self._steady.set()  # closed for good: nobody needs to wait for it any more
        for observer in self._observers:
            observer(self, change)

    @contextlib.contextmanager
    def busy(self) -> Iterator[Client]:
        """Keep the connection from being drained while the body waits for an answer on it."""
        self._busy += 1
        self._idle.clear()
        try:
            yield self.client
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def flush(self, timeout_seconds: int = 10) -> None:
        """Wait until the server has taken in everything sent so far; raises nats-py's errors.

        Twice, because nats-py's PING overtakes what its flusher task has not written yet: only
        the second PONG proves that publishes and subscriptions before the call have arrived.
        """
        await self.client.flush(timeout_seconds)
        await self.client.flush(timeout_seconds)

    async def finish(self) -> None:
        """Wait for what is under way, send what is held back, and close. Bounded by the caller.

        Not `Client.drain`: it waits also for messages that nobody will ever fetch, such as the
        server's notes to a pull consumer.
        """
        await self._idle.wait()
        await self._steady.wait()
        if not self.client.is_closed:
            await self.flush()
            await self.client.close()

    @cached_property
    def jetstream(self) -> JetStreamContext:
        """nats-py's JetStream context of this connection."""
        return JetStreamContext(self.client)

    @property
    def connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self.client.is_connected and not self.client.is_draining

    @property
    def url(self) -> str:
        """Scheme, host and port of the server, never user or password; empty when not connected."""
        url = self.client.connected_url
        if url is None:
            return ""
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return f"{url.scheme}://{host}:{url.port}"

    @property
    def address(self) -> str:
        """The URL as nats-py takes it, with user and password if it has them: never shown."""
        url = self.client.connected_url
        return url.geturl() if url is not None else ""

    @property
    def server_id(self) -> str:
        """The server's id from its INFO."""
        info = self.client._server_info  # noqa: SLF001  - nats-py shows it nowhere else
        return str(info.get("server_id", "")) if self.client.is_connected else ""

    @property
    def cid(self) -> int:
        """The server's number of this connection."""
        return (self.client.client_id or 0) if self.client.is_connected else 0

    def use(self, context: ssl.SSLContext) -> None:
        """Let every reconnect from now on use `context` (nats-py reads the option each time)."""
        self.client.options["tls"] = context

    async def close(self, timeout_seconds: float = 2.0) -> None:
        """Close for good; never raises, never waits longer than `timeout_seconds`."""
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self.client.close()


async def open_link(
    target: ConnectTarget, material: LoadedMaterial, *, on_error: OnError
) -> ClientLink:
    """Connect to the first of `target.servers` that accepts `material`, in their order.

    Raises `ServerRefused` when TLS or the server refuses, `ServerUnreachable` when nobody answers
    and `ServerSilent` after `target.timeout_seconds`.
    """
    refusals: list[Exception] = []
    try:
        # One after the other, not as nats-py does: see `_attempt`.
        async with asyncio.timeout(target.timeout_seconds):
            for server in target.servers:
                others = tuple(other for other in target.servers if other != server)
                attempt = target._replace(servers=(server, *others))
                link = await _attempt(attempt, material, refusals, on_error=on_error)
                if link is not None:
                    return link
    except TimeoutError as error:
        refusals.append(error)
    raise _refused(target, refusals)


async def _attempt(
    target: ConnectTarget,
    material: LoadedMaterial,
    refusals: list[Exception],
    *,
    on_error: OnError,
) -> ClientLink | None:
    """Connect to the first server that answers; None, and why in `refusals`, when it refuses.

    Each attempt has a client of its own, without reconnecting: after a failed handshake nats-py
    waits for ever for the transport to close before it tries the next server.
    """
    client = Client()
    client.msg_class = NatsMessage  # so that `duplicate` can be set on what nats-py hands over
    link = ClientLink(client)

    async def failed(error: Exception) -> None:
        if client.is_connected or client.is_reconnecting:
            on_error(error)
        else:
            refusals.append(error)

    try:
        await client.connect(
            list(target.servers),
            **_first_options(target),
            tls=material.context,
            error_cb=failed,
            **_callbacks(link),
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        refusals.append(error)
        await link.close(_FAILED_CLOSE_SECONDS)
        return None
    except asyncio.CancelledError:
        await link.close(_FAILED_CLOSE_SECONDS)
        raise
    _stay_connected(client, target.options)
    return link


def _first_options(target: ConnectTarget) -> dict[str, Any]:
    """Return options with which nats-py tries each server and then gives up."""
    return {
        **target.options,
        "name": target.name,
        "allow_reconnect": False,
        "dont_randomize": True,
        "max_reconnect_attempts": _TRIES_PER_SERVER,
        "reconnect_time_wait": _PAUSE_BETWEEN_TRIES_SECONDS,
    }


def _stay_connected(client: Client, options: Options) -> None:
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = FOREVER
    client.options["reconnect_time_wait"] = options.get("reconnect_time_wait", 2)
    client.options["dont_randomize"] = options.get("dont_randomize", False)


def _callbacks(link: ClientLink) -> dict[str, Any]:
    def noting(change: LinkChange) -> Callable[[], Awaitable[None]]:
        async def note() -> None:
            link.note(change)

        return note

    return {
        "disconnected_cb": noting(LinkChange.LOST),
        "reconnected_cb": noting(LinkChange.REGAINED),
        "closed_cb": noting(LinkChange.ENDED),
        "lame_duck_mode_cb": noting(LinkChange.LAME_DUCK),
    }


def _refused(target: ConnectTarget, errors: list[Exception]) -> ConnectError:
    reported = [error for error in errors if not isinstance(error, nats.errors.NoServersError)]
    where = {"client": target.name, "operation": "connect"}
    servers = ", ".join(_without_user(server) for server in target.servers)
    for error in reported:
        if isinstance(error, _REFUSALS) and not isinstance(error, TimeoutError):
            problem = f"{servers} refused: {_reason(error)}"
            return ServerRefused(problem, hint=_REFUSED_HINT, **where)
    if any(isinstance(error, TimeoutError) for error in reported):
        return ServerSilent(f"no answer from {servers} in {target.timeout_seconds:g} s", **where)
    last = f": {reported[-1]}" if reported else ""
    return ServerUnreachable(f"nobody answers at {servers}{last}", **where)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionError):
        return "it closed the connection in the TLS handshake"
    return str(error)


def _without_user(server: str) -> str:
    scheme, separator, rest = server.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
