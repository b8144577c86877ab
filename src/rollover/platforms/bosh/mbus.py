"""Speaks to agents over NATS as the director does: one connection, many agents at once.

A message that is sent while an agent is away is lost without a word, so pings are repeated; calls
that change something never are.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event
from typing import Protocol, TypeVar

import msgspec

from rollover.errors import AdapterError, Denied, Rejected, SpecError, TimedOut
from rollover.fleet.secret import SecretBytes, redacted
from rollover.probe import nats_protocol as nats
from rollover.probe.failures import adapter_errors
from rollover.probe.greeting import read_greeting_before_tls
from rollover.probe.identity import Identity
from rollover.probe.secure import secure
from rollover.probe.stream import Deadline, Stream, dial
from rollover.probe.target import parse_address

PROTOCOL = 3
REPLY_LIMIT = 1024 * 1024
"""Octets of an agent's reply; agents keep to it themselves."""
LONGEST_EXCEPTION = 1000
"""Characters that are shown of an agent's exception."""
CONNECT_SECONDS = 10.0
RESEND_SECONDS = 2.0
"""A ping that was not answered is sent again after so long."""
RETRY_SECONDS = 0.5
"""Between two attempts to connect to a server that is not there."""
MOST_AT_ONCE = 500
"""Pings that are sent in one go."""

_SID = 1
_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent answered: a value, as JSON, or the message of its exception."""

    agent: str
    value: bytes = b"null"
    error: str = ""

    def read(self, into: type[T]) -> T:
        """Return the value as that type; `Rejected` when it is something else, or an exception."""
        if self.error:
            raise Rejected(self.error, system=f"agent {self.agent}", operation="answer")
        try:
            return msgspec.json.decode(self.value, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(
                f"a value that was not expected: {error}",
                system=f"agent {self.agent}",
                operation="answer",
            ) from error


class _Exception(msgspec.Struct, frozen=True):
    message: str = ""


class _Reply(msgspec.Struct, frozen=True):
    value: msgspec.Raw = msgspec.Raw(b"null")
    exception: _Exception | None = None


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    protocol: int = PROTOCOL
    method: str
    arguments: Sequence[object]
    reply_to: str


class Exchange:
    """The director's side of the talk without sockets: requests to bytes, bytes to answers.

    A new one for each connection. `outgoing` is what the server has to be told, besides requests.
    """

    def __init__(self, *, director: str = "") -> None:
        self.outgoing = b""
        self.ready = False
        """The server has taken our login and subscription."""
        self.refusal = ""
        """The server's last `-ERR`."""
        self._inbox = f"director.{director or uuid.uuid4()}"
        self._parser = nats.Parser(payload_limit=REPLY_LIMIT)
        self._waiting: dict[str, str] = {}

    def hello(self) -> bytes:
        """Return what to send first inside TLS."""
        login = nats.connect(
            {
                "verbose": False,
                "pedantic": False,
                "tls_required": True,
                "name": "rollover",
                "lang": "python",
                "version": "1",
                "protocol": 1,
            }
        )
        return login + nats.subscribe(f"{self._inbox}.>", _SID) + nats.PING

    def ask(self, agent: str, method: str, arguments: Sequence[object] = ()) -> bytes:
        """Return a request; the answer to it will be told by `feed`."""
        reply_to = f"{self._inbox}.{checked(agent)}.{secrets.token_hex(8)}"
        self._waiting[reply_to] = agent
        request = _Request(method=method, arguments=arguments, reply_to=reply_to)
        return nats.publish(f"agent.{agent}", msgspec.json.encode(request))

    def feed(self, data: bytes) -> Iterator[Answer]:
        """Take bytes of the server and yield the answers in them; raise `BadProtocol`."""
        for event in self._parser.feed(data):
            match event:
                case nats.Ping():
                    self.outgoing += nats.PONG
                case nats.Pong():
                    self.ready = True
                case nats.Refusal():
                    self.refusal = event.text
                case nats.Message():
                    agent = self._waiting.pop(event.subject, None)
                    if agent is not None:
                        yield _answer(agent, event.payload)
                case _:
                    pass


def checked(agent: str) -> str:
    """Return an agent's id; `SpecError` for what could not be a part of a subject."""
    if not _AGENT_ID.match(agent):
        raise SpecError(
            f"`{agent[:60]!r}` is no id of an agent", hint="the director told a strange `agent_id`"
        )
    return agent


def _answer(agent: str, payload: bytes) -> Answer:
    try:
        reply = msgspec.json.decode(payload, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(agent=agent, error=f"an answer that cannot be read: {error}")
    if reply.exception is not None:
        said = reply.exception.message[:LONGEST_EXCEPTION]
        # An agent may quote what it was sent, and that holds a key.
        return Answer(agent=agent, error=redacted(said) or "an exception without a word")
    return Answer(agent=agent, value=bytes(reply.value))


class MbusAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach NATS as the director. All PEM; `address` is `host:port`."""

    address: str
    chain: bytes
    key: SecretBytes
    trust: bytes
    server_name: str = ""
    """What the server's certificate must name; empty: the host of the address."""


class SpeaksToAgents(Protocol):
    """What the rest of the platform needs of a message bus."""

    def ping(
        self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
    ) -> Mapping[str, Answer]:
        """Return the answers that came in time, by agent; see `Mbus.ping`."""
        ...

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> Answer:
        """Return an agent's answer; see `Mbus.call`."""
        ...


class Mbus:
    """Speaks to agents, as the director. Each call has a connection of its own.

    `access` is asked for each: certificates and trust change during a rotation. Several threads
    may call at once.
    """

    def __init__(self, access: Callable[[], MbusAccess]) -> None:
        self._access = access

    def ping(
        self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
    ) -> Mapping[str, Answer]:
        """Return the answers that came in time, by agent; who is silent is not in it.

        Ends as soon as all have answered. Reconnects when the server restarts. Raises
        `AdapterError` when there was no connection at all.
        """
        deadline = Deadline(timeout_seconds)
        answers: dict[str, Answer] = {}
        enough = len(set(agents)) if wanted is None else wanted
        trouble: AdapterError | None = None
        connected = False
        while len(answers) < enough and _left(deadline) > 0:
            try:
                with self._connected(deadline) as talk:
                    connected = True
                    self._ping_on(talk, agents, answers, deadline)
            except AdapterError as error:
                trouble = error
                Event().wait(min(RETRY_SECONDS, _left(deadline)))
        if not connected and trouble is not None:
            raise trouble
        return answers

    @staticmethod
    def _ping_on(
        talk: _Talk, agents: Collection[str], answers: dict[str, Answer], deadline: Deadline
    ) -> None:
        while silent := [each for each in agents if each not in answers]:
            pause = deadline.within(RESEND_SECONDS)
            for start in range(0, len(silent), MOST_AT_ONCE):
                batch = silent[start : start + MOST_AT_ONCE]
                talk.send(b"".join(talk.exchange.ask(each, "ping") for each in batch), deadline)
            waiting = set(silent)
            for answer in talk.answers(pause):
                answers[answer.agent] = answer
                waiting.discard(answer.agent)
                if not waiting:
                    break
            if _left(deadline) <= 0:
                return

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> Answer:
        """Send one request, once, and return the answer.

        Raises `TimedOut` when none comes: whether the agent acted is unknown then.
        """
        deadline = Deadline(timeout_seconds)
        with self._connected(deadline) as talk:
            talk.send(talk.exchange.ask(agent, method, arguments), deadline)
            for answer in talk.answers(deadline):
                return answer
        raise TimedOut(
            f"no answer within {timeout_seconds:g} s", system=f"agent {agent}", operation=method
        )

    @contextmanager
    def _connected(self, deadline: Deadline) -> Iterator[_Talk]:
        access = self._access()
        with adapter_errors(system=access.address, operation="speak to agents"):
            stream = _dialled(access, deadline.within(CONNECT_SECONDS))
            try:
                talk = _Talk(stream, system=access.address)
                talk.login(deadline.within(CONNECT_SECONDS))
                yield talk
            finally:
                stream.close()


class _Talk:
    """An exchange on a stream."""

    def __init__(self, stream: Stream, *, system: str) -> None:
        self.exchange = Exchange()
        self._stream = stream
        self._system = system

    def login(self, deadline: Deadline) -> None:
        """Say hello and wait until the server has taken it."""
        self.send(self.exchange.hello(), deadline)
        while not self.exchange.ready:
            for _ in self._receive(deadline):
                pass

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self._stream.send(data, deadline)

    def answers(self, deadline: Deadline) -> Iterator[Answer]:
        """Yield answers as they come in, until the time is over."""
        with suppress(TimeoutError):
            while True:
                yield from self._receive(deadline)

    def _receive(self, deadline: Deadline) -> list[Answer]:
        data = self._stream.receive(deadline)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        found = list(self.exchange.feed(data))
        if self.exchange.refusal:
            raise Denied(
                f"the server answers `{self.exchange.refusal}`",
                system=self._system,
                operation="speak to agents",
                hint="the director's certificate must name the subject that NATS knows it by",
            )
        if self.exchange.outgoing:
            outgoing, self.exchange.outgoing = self.exchange.outgoing, b""
            self._stream.send(outgoing, deadline)
        return found


def _dialled(access: MbusAccess, deadline: Deadline) -> Stream:
    where = parse_address(access.address)
    identity = Identity.from_pem(
        access.chain, access.key.reveal(), place="the director's certificate"
    )
    carrier = dial(where, deadline)
    try:
        read_greeting_before_tls(carrier, deadline)
        return secure(
            carrier,
            identity=identity,
            trust=access.trust,
            server_name=access.server_name or where.host,
            deadline=deadline,
        )
    except BaseException:
        carrier.close()
        raise


def _left(deadline: Deadline) -> float:
    try:
        return deadline.left()
    except TimeoutError:
        return 0.0
