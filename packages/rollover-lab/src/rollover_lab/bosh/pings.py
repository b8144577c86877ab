"""What a continuous ping of agents counts: told of every ping and every answer, and of the time.

Instants are aware datetimes in UTC. A ping that is not answered in time is lost; that there was
no connection to send one on is an outage of NATS, and told apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from rollover_lab import private_files


class Span(msgspec.Struct, frozen=True, kw_only=True):
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
    silences: tuple[Span, ...] = ()
    """All that were longer than a ping may take."""
    gone: bool = False
    """Its VM was deleted."""


class PingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of all of them, by name; `outages`: times without a connection to NATS."""

    began: datetime
    ended: datetime
    agents: tuple[AgentPings, ...]
    outages: tuple[Span, ...] = ()

    @property
    def answered(self) -> int:
        """Pings that were answered."""
        return sum(each.answered for each in self.agents)

    @property
    def lost(self) -> int:
        """Pings that were not."""
        return sum(each.lost for each in self.agents)

    @property
    def mute(self) -> tuple[str, ...]:
        """Agents that are there and have not answered once."""
        return tuple(each.agent for each in self.agents if not each.gone and not each.answered)

    @property
    def fine(self) -> bool:
        """Whether there are agents, each has answered, and none has failed to."""
        return bool(self.agents) and not self.mute and not self.lost

    @property
    def longest_silence_seconds(self) -> float:
        """The longest of any agent."""
        return max((each.longest_silence_seconds for each in self.agents), default=0.0)

    def of(self, agent: str) -> AgentPings:
        """Return one agent's; KeyError when it was never pinged."""
        for each in self.agents:
            if each.agent == agent:
                return each
        raise KeyError(agent)


def write_report(path: Path, report: PingReport) -> None:
    """Write a report as JSON; private, like all files of a lab."""
    private_files.write(path, msgspec.json.format(msgspec.json.encode(report), indent=1))


class _Agent:
    """What is known of one agent so far."""

    def __init__(self, now: datetime) -> None:
        self.answered = self.lost = self.before_first = 0
        self.waiting: deque[datetime] = deque()
        self.heard = False
        self.heard_at = now
        self.silences: list[Span] = []
        self.longest = timedelta()
        self.gone = False

    def end_silence(self, now: datetime, *, least: timedelta) -> None:
        silence = now - self.heard_at
        self.longest = max(self.longest, silence)
        if silence > least:
            self.silences.append(Span(began=self.heard_at, ended=now))
        self.heard_at = now


class PingBook:
    """Counts pings. Every method is told the instant."""

    def __init__(self, *, now: datetime, timeout: timedelta) -> None:
        self._began = now
        self._timeout = timeout
        self._agents: dict[str, _Agent] = {}
        self._outages: list[Span] = []
        self._down_since: datetime | None = now

    def present(self, agents: Collection[str], now: datetime) -> None:
        """Say which agents there are."""
        for name in agents:
            self._agents.setdefault(name, _Agent(now)).gone = False
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
            self._outages.append(Span(began=self._down_since, ended=now))
        self._down_since = None

    def report(self, now: datetime) -> PingReport:
        """Return what was heard up to now."""
        down = self._down_since
        last = () if down is None else (Span(began=down, ended=now),)
        return PingReport(
            began=self._began,
            ended=now,
            agents=tuple(self._told(name, now) for name in sorted(self._agents)),
            outages=(*self._outages, *last),
        )

    def _told(self, name: str, now: datetime) -> AgentPings:
        agent = self._agents[name]
        silence = timedelta() if agent.gone else now - agent.heard_at
        last = (Span(began=agent.heard_at, ended=now),) if silence > self._timeout else ()
        return AgentPings(
            agent=name,
            answered=agent.answered,
            lost=agent.lost,
            before_first=agent.before_first,
            longest_silence_seconds=max(agent.longest, silence).total_seconds(),
            silences=(*agent.silences, *last),
            gone=agent.gone,
        )
