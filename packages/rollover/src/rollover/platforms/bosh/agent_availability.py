"""Whether an instance can be given new credentials now, from what director, NATS and agent say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from rollover.fleet.fleet import Availability
from rollover.platforms.bosh.connections import AgentConnection
from rollover.platforms.bosh.director_records import STARTED, BoshInstance
from rollover.platforms.bosh.placeholder_certificates import LIFETIME
from rollover.platforms.bosh.provenance import CLOCK_SKEW

AGENT_WAIT = timedelta(seconds=600)
"""How long the director waits for the agent of a new VM (`agent.agent_wait_timeout`)."""


class ObservedAgent(NamedTuple):
    """What is seen of one agent."""

    connection: AgentConnection | None = None
    just_created: bool = False
    """It is connected, and only with the certificate of its VM's birth."""
    answers: bool = False
    listed: bool = True
    """Connections could be listed."""


def availability_of(
    instance: BoshInstance, agent: ObservedAgent, *, at: datetime, recover: bool, refused: str = ""
) -> tuple[Availability, str]:
    """Return whether an instance can be changed, and why not."""
    if instance.ignore:
        return Availability.IGNORED, "ignored: `bosh unignore` it"
    if agent.answers and instance.state != STARTED:
        return Availability.IGNORED, f"{instance.state}: a deploy gives it nothing"
    if agent.answers:
        return Availability.REFUSING if refused else Availability.READY, refused
    if being_created(instance, agent, at=at):
        return Availability.READY, "its VM is being created"
    why = silence_of(agent)
    if recover:
        return Availability.READY, f"{why}: will be recreated with --fix"
    return Availability.UNREACHABLE, why


def silence_of(agent: ObservedAgent) -> str:
    """Return what is seen of an agent that does not answer."""
    if agent.connection is not None:
        return "it is connected, but does not answer"
    return "it is not connected" if agent.listed else "it does not answer"


def being_created(instance: BoshInstance, agent: ObservedAgent, *, at: datetime) -> bool:
    """Say whether a silent instance has no agent of its own yet: a director is making its VM.

    The certificate of a VM's birth does not say so alone: some directors leave it in use.
    """
    if agent.connection is not None and not agent.just_created:
        return False
    created = instance.vm_created_at
    if created is None or at - created >= AGENT_WAIT:
        return False
    return agent.just_created or instance.job_state is None


def issued_at(
    instance: BoshInstance,
    *,
    first_seen: datetime | None,
    after: datetime | None,
    since: datetime | None,
    at: datetime,
) -> datetime:
    """Return when the agent's certificate was issued, as early as it can have been.

    It is younger than its VM, and than `after`, when another one was seen; and it was valid when
    the connection began. Where even that leaves it expired by now, the latest time is returned:
    an agent that may still work must not be taken for one that is broken already.
    """
    earliest = [time for time in (after, instance.vm_created_at) if time is not None]
    if since is not None:
        earliest.append(since - LIFETIME)
    latest = min(time for time in (first_seen, since, at) if time is not None)
    begin = min(max(earliest, default=latest), latest)
    return begin if begin + LIFETIME > at + CLOCK_SKEW else latest
