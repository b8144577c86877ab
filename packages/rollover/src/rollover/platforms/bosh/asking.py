"""Asks agents whether they are there: over NATS, or, where that cannot be reached, the director."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from time import monotonic

from rollover.errors import AdapterError, Rejected
from rollover.platforms.bosh.mbus import Answer, SpeaksToAgents
from rollover.platforms.bosh.records import BoshInstance

LISTING_PAUSE_SECONDS = 2.0
"""Between two listings of the director, each of which asks every agent."""
UNRESPONSIVE = "unresponsive agent"
"""What the director says of an agent that did not answer its `get_state` for three times 5 s."""


class Voices:
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
        self._spoken = False
        self._out_of_reach = mbus is None

    def ping(
        self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
    ) -> Mapping[str, Answer]:
        """Return who answers in time, by agent; never raises because NATS cannot be reached."""
        if not agents:
            return {}
        if self._mbus is not None and not self._out_of_reach and not self._expired():
            try:
                answers = self._mbus.ping(agents, timeout_seconds=timeout_seconds, wanted=wanted)
            except AdapterError:
                # Once it has been reached, NATS is restarting; else the way to it is closed, and
                # each further attempt would cost its timeout.
                self._out_of_reach = not self._spoken
            else:
                self._spoken = True
                return answers
        return self._by_the_director(frozenset(agents), timeout_seconds)

    def _by_the_director(self, agents: frozenset[str], seconds: float) -> Mapping[str, Answer]:
        end = monotonic() + seconds
        while True:
            answers = {
                each.agent_id: Answer(agent=each.agent_id, value=b'"pong"')
                for each in self._instances()
                if each.agent_id is not None and each.agent_id in agents and alive(each)
            }
            if len(answers) == len(agents) or monotonic() >= end:
                return answers
            Event().wait(min(LISTING_PAUSE_SECONDS, seconds))

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> Answer:
        """Send one request over the bus; `Rejected` when there is none."""
        if self._mbus is None:
            raise Rejected(
                "there is no way to speak to agents",
                system=f"agent {agent}",
                operation=method,
                hint="name the director's vars store and, under `director`, its `nats`",
            )
        return self._mbus.call(agent, method, arguments, timeout_seconds=timeout_seconds)


def alive(instance: BoshInstance) -> bool:
    """Say whether the director got an answer of this agent when it was listed."""
    return instance.job_state is not None and instance.job_state != UNRESPONSIVE
