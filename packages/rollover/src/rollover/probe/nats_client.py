"""A small synchronous NATS client: one connection, over TLS or not, for requests and their answers.

Made for asking the system account of a server, and agents in the director's name; for messaging
there are real clients.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple, Self, TypeVar

import msgspec

from rollover.errors import Denied, NotFound, SpecError
from rollover.probe import nats_protocol
from rollover.probe.identity import ClientIdentity, Login
from rollover.probe.nats_protocol import (
    LINE_LIMIT,
    BadProtocol,
    Event,
    Info,
    Message,
    Parser,
    Ping,
    Pong,
    ServerInfo,
    ServerRefusal,
    parse_info,
    printable,
)
from rollover.probe.stream import (
    Deadline,
    NotTls,
    Stream,
    TcpStream,
    TlsStream,
    Trust,
    adapter_errors,
    dial,
    secure,
)
from rollover.probe.target import parse_address

_INFO = b"INFO "


class Greeting(NamedTuple):
    """The INFO, and the bytes that came with it."""

    info: ServerInfo
    rest: bytes


def read_greeting(stream: Stream, deadline: Deadline) -> Greeting:
    """Read up to the end of the INFO line; raise `BadProtocol` as soon as it cannot be one."""
    line = b""
    while b"\n" not in line:
        more = stream.receive(deadline)
        if not more:
            raise ConnectionResetError("the peer closed the connection before its INFO line")
        line += more
        if not line.startswith(_INFO[: len(line)]) or len(line) > LINE_LIMIT:
            raise BadProtocol(f"`{printable(line)}` where an INFO line should be")
    info, _, rest = line.partition(b"\n")
    return Greeting(parse_info(info.removeprefix(_INFO)), rest)


def read_greeting_before_tls(stream: Stream, deadline: Deadline) -> ServerInfo:
    """Read the INFO line that TLS follows; raise `NotTls` when the server offers none.

    Nothing may come with it: bytes in the clear that were taken for bytes inside TLS are how an
    attacker in between would speak for the server.
    """
    info, rest = read_greeting(stream, deadline)
    if not (info.tls_required or info.tls_available):
        raise NotTls("the server offers no TLS on this port")
    if rest:
        raise BadProtocol("bytes in the clear between INFO and TLS")
    return info


_REPLIES_SID = 1

E = TypeVar("E", bound=Event)
Shake = Callable[[TcpStream], TlsStream]


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection is for, as far as the server and the texts of errors are concerned."""

    subscription: str = ""
    """Where its owner has replies sent; empty: only `request` and `request_many` are used."""
    no_responders: bool = True
    """The server tells at once when nobody listens on a subject; who waits for them wants none."""
    payload_limit: int = nats_protocol.PAYLOAD_LIMIT
    operation: str = ""
    """What errors call the whole conversation; empty: each request by its subject."""
    refused_hint: str = "check the user, its password or certificate, and its permissions"


_FOR_REQUESTS = ClientOptions()


class NatsConnection:
    """An open connection. Not for several threads at once; a context manager that closes it.

    `info` is what the server said last. Pings are answered while somebody waits for an answer, and
    only then: open one for a piece of work and close it, rather than keep it.
    """

    def __init__(
        self, stream: Stream, greeting: Greeting, *, system: str, options: ClientOptions
    ) -> None:
        self.info = greeting.info
        self._stream = stream
        self._system = system
        self._options = options
        self._parser = Parser(payload_limit=options.payload_limit)
        self._events = deque(self._parser.feed(greeting.rest))
        self._inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._requests = 0

    def request(self, subject: str, payload: bytes = b"", *, timeout_seconds: float) -> bytes:
        """Send a request and return the payload of the first reply.

        Raises `NotFound` when nobody listens on the subject, `Denied` when the server forbids it,
        `TimedOut`, and `Unreachable` when the connection is gone.
        """
        deadline = Deadline(timeout_seconds)
        with adapter_errors(system=self._system, operation=f"request {subject}"):
            reply = self._ask(subject, payload, deadline)
            return self._reply(subject, reply, deadline)

    def request_many(
        self, subject: str, payload: bytes = b"", *, timeout_seconds: float, quiet_seconds: float
    ) -> Iterator[bytes]:
        """Send a request and yield every reply, until none comes for `quiet_seconds`."""
        deadline = Deadline(timeout_seconds)
        with adapter_errors(system=self._system, operation=f"request {subject}"):
            reply = self._ask(subject, payload, deadline)
            while True:
                try:
                    answer = self._reply(subject, reply, deadline.within(quiet_seconds))
                except TimeoutError:
                    return
                yield answer

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send lines of the protocol, such as publications whose replies `messages` yields."""
        self._stream.send(data, deadline)

    def messages(self, deadline: Deadline) -> Iterator[Message]:
        """Yield messages of the subscription as they come in, until the time is over."""
        with suppress(TimeoutError):
            while True:
                yield self._await(Message, deadline)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def login(self, login: Login | None, deadline: Deadline) -> None:
        """Send CONNECT and wait until the server has taken it."""
        options: dict[str, str | bool | int] = {
            "verbose": False,
            "pedantic": False,
            "tls_required": not isinstance(self._stream, TcpStream),
            "name": "rollover",
            "lang": "python",
            "version": "1",
            "protocol": 1,
        }
        if self._options.no_responders:
            # The server answers with a status in a header, so the one needs the other.
            options |= {"headers": True, "no_responders": True}
        if login is not None:
            options |= {"user": login.user, "pass": login.password}
        replies = nats_protocol.subscribe(
            self._options.subscription or f"{self._inbox}.*", _REPLIES_SID
        )
        self._stream.send(nats_protocol.connect(options) + replies + nats_protocol.PING, deadline)
        self._await(Pong, deadline)

    def _ask(self, subject: str, payload: bytes, deadline: Deadline) -> str:
        if not subject or any(letter.isspace() or not letter.isprintable() for letter in subject):
            raise SpecError(f"`{subject!r}` is no subject", hint="subjects hold no white space")
        if self.info.max_payload and len(payload) > self.info.max_payload:
            raise SpecError(
                f"a request of {len(payload)} octets; the server takes {self.info.max_payload}",
                hint="send less, or raise `max_payload` on the server",
            )
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        self._stream.send(nats_protocol.publish(subject, payload, reply=reply), deadline)
        return reply

    def _reply(self, subject: str, reply: str, deadline: Deadline) -> bytes:
        while (message := self._await(Message, deadline)).subject != reply:
            pass  # a late answer to an earlier request
        if message.status == nats_protocol.NO_RESPONDERS:
            raise NotFound(
                "nobody listens on this subject",
                system=self._system,
                operation=f"request {subject}",
                hint="log in to the system account, and check the server's id",
            )
        return message.payload

    def _await(self, kind: type[E], deadline: Deadline) -> E:
        """Return the next event of a kind; answer pings and raise refusals on the way."""
        while True:
            event = self._next_event(deadline)
            if isinstance(event, kind):
                return event
            if isinstance(event, Info):
                self.info = event.server
            if isinstance(event, Ping):
                self._stream.send(nats_protocol.PONG, deadline)
            if isinstance(event, ServerRefusal):
                step = "connect" if not self._requests else "request"
                raise Denied(
                    f"the server answers `{event.text}`",
                    system=self._system,
                    operation=self._options.operation or step,
                    hint=self._options.refused_hint,
                )

    def _next_event(self, deadline: Deadline) -> Event:
        while not self._events:
            data = self._stream.receive(deadline)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._events.extend(self._parser.feed(data))
        return self._events.popleft()


def connect(
    address: str,
    *,
    timeout_seconds: float,
    login: Login | None = None,
    identity: ClientIdentity | None = None,
    trust: Trust | bytes = Trust.SYSTEM,
    server_name: str = "",
    handshake_first: bool = False,
    options: ClientOptions = _FOR_REQUESTS,
) -> NatsConnection:
    """Connect and log in to the client port at `host:port`.

    TLS is used when the server requires it; an `identity`, a bundle (PEM) as `trust`, or
    `handshake_first` demand it of the server. The server must present a certificate for
    `server_name` (by default the host of the address) which `trust` covers.

    Raises `Unreachable`, `TimedOut`, `Denied` (its alert on our certificate, or `-ERR`) and
    `Rejected` (its certificate is not trusted, or it speaks something else).
    """
    deadline = Deadline(timeout_seconds)
    where = parse_address(address)
    shake = partial(
        secure,
        identity=identity,
        trust=trust,
        server_name=server_name or where.host,
        deadline=deadline,
    )
    demanded = identity is not None or isinstance(trust, bytes)
    operation = options.operation or "connect"
    with adapter_errors(system=address, operation=operation), ExitStack() as undo:
        carrier = dial(where, deadline)
        undo.callback(carrier.close)
        if handshake_first:
            stream: Stream = shake(carrier)
            greeting = read_greeting(stream, deadline)
        else:
            stream, greeting = _info_first(carrier, shake, deadline, tls_demanded=demanded)
        connection = NatsConnection(stream, greeting, system=address, options=options)
        connection.login(login, deadline)
        undo.pop_all()
    return connection


def _info_first(
    carrier: TcpStream, shake: Shake, deadline: Deadline, *, tls_demanded: bool
) -> tuple[Stream, Greeting]:
    if tls_demanded:
        info = read_greeting_before_tls(carrier, deadline)
        return shake(carrier), Greeting(info, b"")
    greeting = read_greeting(carrier, deadline)
    if not greeting.info.tls_required:
        return carrier, greeting
    if greeting.rest:
        raise BadProtocol("bytes in the clear between INFO and TLS")
    return shake(carrier), greeting
