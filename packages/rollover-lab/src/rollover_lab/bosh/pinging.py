"""Pings every agent of a lab all the time, as its director would, and counts the answers.

::

    with pinging.pinging_agents(layout) as pings:
        ...
    print(pings.report().longest_silence_seconds)

It runs in threads of its own. When NATS goes away it comes back with the certificates that the
director has then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover.platforms.bosh.agent_pinger import AgentRequests
from rollover.probe import nats_client
from rollover.probe.identity import ClientIdentity
from rollover.probe.nats_client import ClientOptions, NatsConnection
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.stream import Deadline
from rollover_lab import machine
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.job_config import DirectorConfig
from rollover_lab.bosh.layout import BoshLayout


class TimeSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which nothing was heard."""

    began: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.ended - self.began).total_seconds()


class AgentPings(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of one agent."""

    agent: str
    answered: int = 0
    lost: int = 0
    """Not answered in time, after its first answer."""
    before_first: int = 0
    """Not answered before it answered for the first time: a VM that is being made."""
    longest_silence_seconds: float = 0.0
    """Between two answers, or up to the end."""
    silences: tuple[TimeSpan, ...] = ()
    """All that were longer than a ping may take."""
    gone: bool = False
    """Its VM was deleted."""


class PingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of all of them, by name; `outages`: times without a connection to NATS."""

    began: datetime
    ended: datetime
    agents: tuple[AgentPings, ...]
    outages: tuple[TimeSpan, ...] = ()

    @property
    def answered(self) -> int:
        """Pings that were answered."""
        return sum(agent.answered for agent in self.agents)

    @property
    def lost(self) -> int:
        """Pings that were not."""
        return sum(agent.lost for agent in self.agents)

    @property
    def mute(self) -> tuple[str, ...]:
        """Agents that are there and have not answered once."""
        return tuple(agent.agent for agent in self.agents if not agent.gone and not agent.answered)

    @property
    def fine(self) -> bool:
        """Whether there are agents, each has answered, and none has failed to."""
        return bool(self.agents) and not self.mute and not self.lost

    @property
    def longest_silence_seconds(self) -> float:
        """The longest of any agent."""
        return max((agent.longest_silence_seconds for agent in self.agents), default=0.0)

    def of(self, agent: str) -> AgentPings:
        """Return one agent's; KeyError when it was never pinged."""
        for pings in self.agents:
            if pings.agent == agent:
                return pings
        raise KeyError(agent)


def write_report(path: Path, report: PingReport) -> None:
    """Write a report as JSON; private, like all files of a lab."""
    machine.write_private(path, msgspec.json.format(msgspec.json.encode(report), indent=1))


class _PingedAgent:
    """What is known of one agent so far."""

    def __init__(self, now: datetime) -> None:
        self.answered = self.lost = self.before_first = 0
        self.waiting: deque[datetime] = deque()
        self.heard = False
        self.heard_at = now
        self.silences: list[TimeSpan] = []
        self.longest = timedelta()
        self.gone = False

    def end_silence(self, now: datetime, *, least: timedelta) -> None:
        silence = now - self.heard_at
        self.longest = max(self.longest, silence)
        if silence > least:
            self.silences.append(TimeSpan(began=self.heard_at, ended=now))
        self.heard_at = now


class PingTally:
    """Counts pings: told of every ping and every answer, and of the instant (UTC).

    A ping that is not answered in time is lost; that there was no connection to send one on is an
    outage of NATS, and told apart.
    """

    def __init__(self, *, now: datetime, timeout: timedelta) -> None:
        self._began = now
        self._timeout = timeout
        self._agents: dict[str, _PingedAgent] = {}
        self._outages: list[TimeSpan] = []
        self._down_since: datetime | None = now

    def present(self, agents: Collection[str], now: datetime) -> None:
        """Say which agents there are."""
        for name in agents:
            self._agents.setdefault(name, _PingedAgent(now)).gone = False
        for name, agent in self._agents.items():
            if name not in agents and not agent.gone:
                agent.gone = True
                agent.waiting.clear()

    def targets(self) -> tuple[str, ...]:
        """Return the agents that there are."""
        return tuple(name for name, agent in self._agents.items() if not agent.gone)

    def sent(self, agent: str, now: datetime) -> None:
        """Note a ping."""
        self._agents[agent].waiting.append(now)

    def heard(self, agent: str, now: datetime) -> None:
        """Note an answer; one that comes too late ends a silence, and that is all it does."""
        known = self._agents.get(agent)
        if known is None or known.gone:
            return
        if known.waiting:
            known.waiting.popleft()
            known.answered += 1
        if not known.heard:
            known.heard, known.heard_at = True, now
        known.end_silence(now, least=self._timeout)

    def expire(self, now: datetime) -> None:
        """Count as lost what was not answered in time."""
        for agent in self._agents.values():
            while agent.waiting and now - agent.waiting[0] >= self._timeout:
                agent.waiting.popleft()
                if agent.heard:
                    agent.lost += 1
                else:
                    agent.before_first += 1

    def disconnected(self, now: datetime) -> None:
        """Note that NATS is away: pings under way are neither answered nor lost."""
        for agent in self._agents.values():
            agent.waiting.clear()
        if self._down_since is None:
            self._down_since = now

    def connected(self, now: datetime) -> None:
        """Note that NATS is there; the first time is an outage only when it took long."""
        if self._down_since is None:
            return
        if self._down_since != self._began or now - self._began > self._timeout:
            self._outages.append(TimeSpan(began=self._down_since, ended=now))
        self._down_since = None

    def report(self, now: datetime) -> PingReport:
        """Return what was heard up to now."""
        down = self._down_since
        last = () if down is None else (TimeSpan(began=down, ended=now),)
        return PingReport(
            began=self._began,
            ended=now,
            agents=tuple(self._told(name, now) for name in sorted(self._agents)),
            outages=(*self._outages, *last),
        )

    def _told(self, name: str, now: datetime) -> AgentPings:
        agent = self._agents[name]
        silence = timedelta() if agent.gone else now - agent.heard_at
        last = (TimeSpan(began=agent.heard_at, ended=now),) if silence > self._timeout else ()
        return AgentPings(
            agent=name,
            answered=agent.answered,
            lost=agent.lost,
            before_first=agent.before_first,
            longest_silence_seconds=max(agent.longest, silence).total_seconds(),
            silences=(*agent.silences, *last),
            gone=agent.gone,
        )


INTERVAL_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0
MOST_PER_SECOND = 250.0
"""Pings of all agents together; with more of them than that allows, each is pinged less often."""
_CONNECT_SECONDS = 3.0
_SEND_SECONDS = 2.0
_RETRY_SECONDS = 0.2
_POLL_SECONDS = 1.0
_STOP_SECONDS = 10.0


class Pinging:
    """Pings until it is stopped."""

    def __init__(
        self,
        layout: BoshLayout,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._layout = layout
        self._cloud = LabCloud(layout.lab.control)
        self._interval = interval_seconds
        self._tally = PingTally(now=_now(), timeout=timedelta(seconds=timeout_seconds))
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = tuple(
            threading.Thread(target=work, name="pinging", daemon=True)
            for work in (self._ping, self._watch_vms)
        )

    def start(self) -> None:
        """Begin: the agents that there are now are known when this returns."""
        self._list_vms()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; the report says what was heard up to here."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def wait(self, seconds: float | None) -> None:
        """Let it ping for so long, or until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self._stopping.wait(seconds)

    def report(self) -> PingReport:
        """Return what was heard up to now."""
        with self._lock:
            return self._tally.report(_now())

    def _ping(self) -> None:
        while not self._stopping.is_set():
            # While the director VM is made anew its files may be missing or unfinished, and NATS
            # away: all of that is an outage.
            with contextlib.suppress(OSError, BadProtocol, RolloverError, msgspec.MsgspecError):
                requests = AgentRequests()
                with _connected(self._layout, requests.options) as connection:
                    self._ping_on(connection, requests)
            if not self._stopping.wait(_RETRY_SECONDS):
                with self._lock:
                    self._tally.disconnected(_now())

    def _ping_on(self, connection: NatsConnection, requests: AgentRequests) -> None:
        """Ping until the connection is lost."""
        with self._lock:
            self._tally.connected(_now())
        turn, due = 0, time.monotonic()
        while not self._stopping.is_set():
            self._hear(connection, requests, until=due)
            with self._lock:
                self._tally.expire(_now())
                targets = self._tally.targets()
            due = time.monotonic() + self._pause(len(targets))
            if targets:
                turn += 1
                agent = targets[turn % len(targets)]
                with self._lock:
                    self._tally.sent(agent, _now())
                connection.send(requests.ask(agent, "ping"), Deadline(_SEND_SECONDS))

    def _pause(self, targets: int) -> float:
        return max(self._interval / targets, 1 / MOST_PER_SECOND) if targets else _RETRY_SECONDS

    def _hear(self, connection: NatsConnection, requests: AgentRequests, *, until: float) -> None:
        """Take answers until an instant of the monotonic clock."""
        messages = connection.messages(Deadline(until - time.monotonic()))
        for answer in requests.answers(messages):
            with self._lock:
                self._tally.heard(answer.agent, _now())
            if self._stopping.is_set():
                return

    def _watch_vms(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            with contextlib.suppress(RolloverError):
                self._list_vms()

    def _list_vms(self) -> None:
        """Ask the cloud which agents there are."""
        agents = frozenset(vm.agent_id for vm in self._cloud.vms())
        with self._lock:
            self._tally.present(agents, _now())


@contextlib.contextmanager
def pinging_agents(
    layout: BoshLayout,
    *,
    interval_seconds: float = INTERVAL_SECONDS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[Pinging]:
    """Ping for the body of `with`; the report is complete afterwards."""
    pinging = Pinging(layout, interval_seconds=interval_seconds, timeout_seconds=timeout_seconds)
    pinging.start()
    try:
        yield pinging
    finally:
        pinging.stop()


def _connected(layout: BoshLayout, options: ClientOptions) -> NatsConnection:
    """Connect with the director's certificates of this moment."""
    path = layout.director_vm.director_config
    bus = msgspec.json.decode(path.read_bytes(), type=DirectorConfig).nats
    identity = ClientIdentity.from_pem(
        Path(bus.certificate).read_bytes(), Path(bus.private_key).read_bytes()
    )
    return nats_client.connect(
        bus.address,
        timeout_seconds=_CONNECT_SECONDS,
        identity=identity,
        trust=Path(bus.ca).read_bytes(),
        options=options,
    )


def _now() -> datetime:
    return datetime.now(UTC)
