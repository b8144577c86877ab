"""Who should be heard, when each was, and whether silence is to be mended. Pure: time comes in.

The rules are those of bosh-monitor: agent.rb, instance_manager.rb, plugins/resurrector_helper.rb.
What it knows is written down for whoever wants to know: a JSON file, replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from rollover_lab import machine

MELTDOWN_AGENTS = 5
MELTDOWN_SHARE = 0.2
"""At or above both, the resurrector does nothing."""
ALERT_LASTS = timedelta(minutes=10)


class DeploymentHealth(StrEnum):
    """How a deployment is, as the resurrector sees it."""

    NORMAL = "normal"
    MANAGED = "managed"
    """Some agents are silent: their VMs are to be recreated."""
    MELTDOWN = "meltdown"
    """So many are silent that it looks like a fault of something else: it keeps its hands off."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent that the director knows."""

    agent_id: str
    deployment: str
    job: str
    instance_id: str
    heard_at: datetime | None = None
    """When the last heartbeat came; None: none yet."""
    missing: bool = False
    job_state: str | None = None


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment."""

    name: str
    agents: int
    unhealthy: int
    """Instances with an alert in the last ten minutes, those that came back included."""
    health: DeploymentHealth
    locked: bool = False


class MonitorAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an agent, the director or the monitor itself has to say."""

    created_at: datetime
    title: str
    source: str
    summary: str = ""


class MonitorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    written_at: datetime
    connected: bool
    heartbeats: int
    resurrections: int
    """How often it has asked the director to recreate VMs."""
    agents: tuple[AgentStatus, ...] = ()
    deployments: tuple[DeploymentStatus, ...] = ()
    alerts: tuple[MonitorAlert, ...] = ()
    """The last ones, oldest first."""


def write_status(path: Path, status: MonitorStatus) -> None:
    """Replace the file."""
    machine.write_private(path, msgspec.json.encode(status))


class DeploymentLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `GET /deployments`."""

    name: str
    locked: bool = False


class InstanceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `GET /deployments/D/instances`."""

    id: str
    job: str
    agent_id: str | None = None
    expects_vm: bool = True


class _HeardAgent(msgspec.Struct, kw_only=True):
    discovered: datetime
    at: datetime | None = None
    job_state: str | None = None

    def silent(self, now: datetime, timeout: timedelta) -> bool:
        return now - (self.at or self.discovered) > timeout


class _KnownDeployment(msgspec.Struct, kw_only=True):
    locked: bool = False
    instances: tuple[InstanceLine, ...] = ()
    alerted: dict[str, datetime] = {}
    """When there was an alert about an instance last."""


SilentAgent = dict[str, list[str]]
"""Ids of instances by their instance group."""


class AgentRoster:
    """The deployments of a director and what was heard of their agents."""

    def __init__(self, *, agent_timeout: timedelta) -> None:
        self._timeout = agent_timeout
        self._deployments: dict[str, _KnownDeployment] = {}
        self._heard: dict[str, _HeardAgent] = {}
        self.heartbeats = 0

    def learn(
        self, known: Iterable[tuple[DeploymentLine, Sequence[InstanceLine]]], now: datetime
    ) -> None:
        """Take over what the director knows; forget what it does not know any more."""
        before, self._deployments = self._deployments, {}
        for line, instances in known:
            deployment = before.get(line.name, _KnownDeployment())
            deployment.locked = line.locked
            deployment.instances = tuple(instances)
            self._deployments[line.name] = deployment
        ids = [
            instance.agent_id
            for deployment in self._deployments.values()
            for instance in deployment.instances
            if instance.agent_id
        ]
        self._heard = {
            identifier: self._heard.get(identifier) or _HeardAgent(discovered=now)
            for identifier in ids
        }

    def hear(self, agent_id: str, now: datetime, *, job_state: str | None) -> None:
        """Take a heartbeat; agents that the director does not know are nobody's business."""
        self.heartbeats += 1
        if agent_id in self._heard:
            self._heard[agent_id].at = now
            self._heard[agent_id].job_state = job_state

    def shut_down(self, agent_id: str) -> None:
        """Take an agent's word that it goes: until the director names it again it is not missed."""
        self._heard.pop(agent_id, None)

    def analyze(self, now: datetime) -> dict[str, SilentAgent]:
        """Return the instances without a voice of each deployment that nobody works on.

        Those whose agent is silent for too long, and those which should have a VM and have none.
        """
        found: dict[str, SilentAgent] = {}
        for name, deployment in self._deployments.items():
            if deployment.locked:
                continue
            for instance in deployment.instances:
                if self._silent(instance, now):
                    deployment.alerted[instance.id] = now
                    found.setdefault(name, {}).setdefault(instance.job, []).append(instance.id)
        return found

    def health(self, deployment: str, now: datetime) -> DeploymentHealth:
        """Say whether silence in a deployment is to be mended."""
        known = self._deployments[deployment]
        unhealthy = _unhealthy(known, now)
        if not unhealthy:
            return DeploymentHealth.NORMAL
        share = unhealthy / len(known.instances)
        if unhealthy >= MELTDOWN_AGENTS and share >= MELTDOWN_SHARE:
            return DeploymentHealth.MELTDOWN
        return DeploymentHealth.MANAGED

    def agents(self, now: datetime) -> tuple[AgentStatus, ...]:
        """Return what is known of every agent."""
        return tuple(
            AgentStatus(
                agent_id=instance.agent_id,
                deployment=name,
                job=instance.job,
                instance_id=instance.id,
                heard_at=heard.at,
                missing=heard.silent(now, self._timeout),
                job_state=heard.job_state,
            )
            for name, deployment in self._deployments.items()
            for instance in deployment.instances
            if instance.agent_id and (heard := self._heard.get(instance.agent_id)) is not None
        )

    def deployments(self, now: datetime) -> tuple[DeploymentStatus, ...]:
        """Return what is known of every deployment."""
        return tuple(
            DeploymentStatus(
                name=name,
                agents=sum(instance.agent_id is not None for instance in deployment.instances),
                unhealthy=_unhealthy(deployment, now),
                health=self.health(name, now),
                locked=deployment.locked,
            )
            for name, deployment in self._deployments.items()
        )

    def _silent(self, instance: InstanceLine, now: datetime) -> bool:
        if not instance.agent_id:
            return instance.expects_vm
        heard = self._heard.get(instance.agent_id)
        return heard is not None and heard.silent(now, self._timeout)


def _unhealthy(deployment: _KnownDeployment, now: datetime) -> int:
    return sum(
        instance.id in deployment.alerted and now - deployment.alerted[instance.id] <= ALERT_LASTS
        for instance in deployment.instances
    )
