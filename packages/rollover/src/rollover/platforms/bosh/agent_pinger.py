"""Speaks to agents: over NATS as the director does, or, for pings, by way of the director.

Each request goes to the subject `agent.ID` and names the subject that it is to be answered on. A
message that is sent while an agent is away is lost without a word, so pings are repeated; calls
that change something never are. Where NATS cannot be reached, a listing of the director, which
asks every agent, is as good as a ping.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event
from time import monotonic
from typing import Protocol, TypeVar

import msgspec

from rollover.errors import AdapterError, Rejected, SpecError, TimedOut
from rollover.fleet.secret import SecretBytes, redacted
from rollover.platforms.bosh.director_records import UNRESPONSIVE, BoshInstance
from rollover.probe import nats_client
from rollover.probe import nats_protocol as nats
from rollover.probe.identity import ClientIdentity
from rollover.probe.nats_client import ClientOptions, NatsConnection
from rollover.probe.stream import Deadline, adapter_errors

PROTOCOL = 3
"""Of the agent's API, as directors name it in each request (agent_client.rb)."""
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
LISTING_PAUSE_SECONDS = 2.0
"""Between two listings of the director, each of which asks every agent."""

_OPERATION = "speak to agents"
_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")

_T = TypeVar("_T")


class AgentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent answered: a value, as JSON, or the message of its exception."""

    agent: str
    value: bytes = b"null"
    error: str = ""

    def read(self, into: type[_T]) -> _T:
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


class AgentRequests:
    """The director's side of the talk without sockets: requests to bytes, messages to answers.

    A new one for each connection, which `options` are for.
    """

    def __init__(self, *, director: str = "") -> None:
        self._inbox = f"director.{director or uuid.uuid4()}"
        self._waiting: dict[str, str] = {}
        self.options = ClientOptions(
            subscription=f"{self._inbox}.>",
            # An agent that is away is waited for: nobody has to say that it is.
            no_responders=False,
            payload_limit=REPLY_LIMIT,
            operation=_OPERATION,
            refused_hint="the director's certificate must name the subject that NATS knows it by",
        )

    def ask(self, agent: str, method: str, arguments: Sequence[object] = ()) -> bytes:
        """Return a request; `answer` knows the message that answers it."""
        reply_to = f"{self._inbox}.{checked_agent_id(agent)}.{secrets.token_hex(8)}"
        self._waiting[reply_to] = agent
        request = _Request(method=method, arguments=arguments, reply_to=reply_to)
        return nats.publish(f"agent.{agent}", msgspec.json.encode(request))

    def answers(self, messages: Iterable[nats.Message]) -> Iterator[AgentAnswer]:
        """Yield what answers requests of ours, once each; other messages are passed over."""
        for message in messages:
            agent = self._waiting.pop(message.subject, None)
            if agent is not None:
                yield _answer(agent, message.payload)


def checked_agent_id(agent: str) -> str:
    """Return an agent's id; `SpecError` for what could not be a part of a subject."""
    if not _AGENT_ID.match(agent):
        raise SpecError(
            f"`{agent[:60]!r}` is no id of an agent", hint="the director told a strange `agent_id`"
        )
    return agent


def _answer(agent: str, payload: bytes) -> AgentAnswer:
    try:
        reply = msgspec.json.decode(payload, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return AgentAnswer(agent=agent, error=f"an answer that cannot be read: {error}")
    if reply.exception is not None:
        said = reply.exception.message[:LONGEST_EXCEPTION]
        # An agent may quote what it was sent, and that holds a key.
        return AgentAnswer(agent=agent, error=redacted(said) or "an exception without a word")
    return AgentAnswer(agent=agent, value=bytes(reply.value))


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
    ) -> Mapping[str, AgentAnswer]:
        """Return the answers that came in time, by agent; see `Mbus.ping`."""
        ...

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> AgentAnswer:
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
    ) -> Mapping[str, AgentAnswer]:
        """Return the answers that came in time, by agent; who is silent is not in it.

        Ends as soon as all have answered. Reconnects when the server restarts. Raises
        `AdapterError` when there was no connection at all.
        """
        deadline = Deadline(timeout_seconds)
        answers: dict[str, AgentAnswer] = {}
        enough = len(set(agents)) if wanted is None else wanted
        failure: AdapterError | None = None
        connected = False
        while len(answers) < enough and _left(deadline) > 0:
            try:
                with self._connected(deadline) as (connection, requests):
                    connected = True
                    _ping_on(connection, requests, agents, answers, deadline)
            except AdapterError as error:
                failure = error
                Event().wait(min(RETRY_SECONDS, _left(deadline)))
        if not connected and failure is not None:
            raise failure
        return answers

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> AgentAnswer:
        """Send one request, once, and return the answer.

        Raises `TimedOut` when none comes: whether the agent acted is unknown then.
        """
        deadline = Deadline(timeout_seconds)
        with self._connected(deadline) as (connection, requests):
            connection.send(requests.ask(agent, method, arguments), deadline)
            for answer in requests.answers(connection.messages(deadline)):
                return answer
        raise TimedOut(
            f"no answer within {timeout_seconds:g} s", system=f"agent {agent}", operation=method
        )

    @contextmanager
    def _connected(self, deadline: Deadline) -> Iterator[tuple[NatsConnection, AgentRequests]]:
        access, requests = self._access(), AgentRequests()
        identity = ClientIdentity.from_pem(
            access.chain, access.key.reveal(), place="the director's certificate"
        )
        with (
            adapter_errors(system=access.address, operation=_OPERATION),
            nats_client.connect(
                access.address,
                timeout_seconds=deadline.within(CONNECT_SECONDS).left(),
                identity=identity,
                trust=access.trust,
                server_name=access.server_name,
                options=requests.options,
            ) as connection,
        ):
            yield connection, requests


def _ping_on(
    connection: NatsConnection,
    requests: AgentRequests,
    agents: Collection[str],
    answers: dict[str, AgentAnswer],
    deadline: Deadline,
) -> None:
    """Ping until all have answered, the time is over or the connection ends."""
    while silent := [agent for agent in agents if agent not in answers]:
        pause = deadline.within(RESEND_SECONDS)
        for start in range(0, len(silent), MOST_AT_ONCE):
            batch = silent[start : start + MOST_AT_ONCE]
            connection.send(b"".join(requests.ask(agent, "ping") for agent in batch), deadline)
        waiting = set(silent)
        for answer in requests.answers(connection.messages(pause)):
            answers[answer.agent] = answer
            waiting.discard(answer.agent)
            if not waiting:
                break
        if _left(deadline) <= 0:
            return


def _left(deadline: Deadline) -> float:
    try:
        return deadline.left()
    except TimeoutError:
        return 0.0


class AgentPinger:
    """`SpeaksToAgents` over a message bus; pings by way of the director when that one is not there.

    `instances` makes the director ask every agent: its listing is as good as a ping. Where NATS
    cannot be reached from the beginning it is not tried again; while all that it trusts has
    `expired` it is not tried at all.
    """

    def __init__(
        self,
        mbus: SpeaksToAgents | None,
        *,
        instances: Callable[[], Sequence[BoshInstance]],
        expired: Callable[[], bool] = lambda: False,
    ) -> None:
        self._mbus = mbus
        self._instances = instances
        self._expired = expired
        self._reached = False
        self._out_of_reach = mbus is None

    def ping(
        self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
    ) -> Mapping[str, AgentAnswer]:
        """Return who answers in time, by agent; never raises because NATS cannot be reached."""
        if not agents:
            return {}
        if self._mbus is not None and not self._out_of_reach and not self._expired():
            try:
                answers = self._mbus.ping(agents, timeout_seconds=timeout_seconds, wanted=wanted)
            except AdapterError:
                # Once it has been reached, NATS is restarting; else the way to it is closed, and
                # each further attempt would cost its timeout.
                self._out_of_reach = not self._reached
            else:
                self._reached = True
                return answers
        return self._by_the_director(frozenset(agents), timeout_seconds)

    def _by_the_director(self, agents: frozenset[str], seconds: float) -> Mapping[str, AgentAnswer]:
        end = monotonic() + seconds
        while True:
            answers = {
                instance.agent_id: AgentAnswer(agent=instance.agent_id, value=b'"pong"')
                for instance in self._instances()
                if instance.agent_id is not None
                and instance.agent_id in agents
                and answers_director(instance)
            }
            if len(answers) == len(agents) or monotonic() >= end:
                return answers
            Event().wait(min(LISTING_PAUSE_SECONDS, seconds))

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> AgentAnswer:
        """Send one request over the bus; `Rejected` when there is none."""
        if self._mbus is None:
            raise Rejected(
                "there is no way to speak to agents",
                system=f"agent {agent}",
                operation=method,
                hint="name the director's vars store and, under `director`, its `nats`",
            )
        return self._mbus.call(agent, method, arguments, timeout_seconds=timeout_seconds)


def answers_director(instance: BoshInstance) -> bool:
    """Say whether the director got an answer of this agent when it was listed."""
    return instance.job_state is not None and instance.job_state != UNRESPONSIVE
