"""What a runbook has to know of a director besides a plan: who and what is there, what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec

from rollover.checks.bosh_agents import RECOVERY_LOSES, RECREATE_NEEDED, RESURRECTION
from rollover.checks.rule import Finding
from rollover.engine.recovery import Recovery
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh import survey
from rollover.platforms.bosh.records import BoshInstance
from rollover.platforms.bosh.survey import Placement
from rollover.platforms.bosh.versions import Way

_OF_RECOVERY = frozenset((RECREATE_NEEDED.id, RECOVERY_LOSES.id))
"""What a recovery comes to anyway."""

MONITOR = "http://127.0.0.1:8222"
"""The monitoring port of NATS on the director VM, or at the near end of a tunnel."""


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One instance that has a VM. `recreate`: why it cannot take credentials in place, if so."""

    name: InstanceName
    recreate: str = ""
    disk: bool = False
    ignored: bool = False
    stopped: bool = False

    @property
    def short(self) -> str:
        """Its name within its deployment: `group/id`."""
        return self.name.partition("/")[2]

    @property
    def left_out(self) -> bool:
        """Whether a deploy passes it by."""
        return self.ignored or self.stopped


class DeploymentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment, how many of its instances it updates at once, and how long that takes."""

    name: str
    instances: tuple[InstanceFacts, ...] = ()
    at_once: int = 1
    takes: timedelta = timedelta()

    @property
    def with_disks(self) -> tuple[str, ...]:
        """Those with a persistent disk."""
        return tuple(one.short for one in self.instances if one.disk)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Those that deploys pass by because somebody has said so."""
        return tuple(one.short for one in self.instances if one.ignored)

    @property
    def stopped(self) -> tuple[str, ...]:
        """Those whose jobs are to be stopped."""
        return tuple(one.short for one in self.instances if one.stopped)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How people reach a director and its NATS, without any secret.

    Where `client` and `ca_cert` are None, they use what the bosh CLI takes by itself.
    `sets`: the environment variables that the `create-env` script sets.
    """

    url: str
    client: str | None = None
    secret_file: Path | None = None
    ca_cert: Path | None = None
    monitor: str = MONITOR
    sets: tuple[str, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `resurrection` None: the director does not say whether it is on."""

    access: Access
    name: str
    uuid: str
    deployments: tuple[DeploymentFacts, ...] = ()
    findings: tuple[Finding, ...] = ()
    recovery: Recovery = Recovery()
    resurrection: bool | None = None
    ledger: Path | None = None
    """Where Rollover notes what it has seen of agents: it does not see what people do."""

    @property
    def instances(self) -> tuple[InstanceFacts, ...]:
        """All instances that have a VM."""
        return tuple(one for each in self.deployments for one in each.instances)

    @property
    def recovers(self) -> bool:
        """Whether anybody is cut off by a CA that has expired, and is made anew."""
        return self.recovery.needed

    @property
    def anew(self) -> frozenset[InstanceName]:
        """Who is made anew: who takes nothing in place, and who is cut off."""
        old = {each.name for each in self.instances if each.recreate}
        return frozenset(old | set(self.recovery.cut_off))

    @property
    def untold(self) -> tuple[Finding, ...]:
        """The findings that the runbook does not say, or see to, by itself."""
        cut_off = {str(each) for each in self.recovery.cut_off}
        return tuple(
            each
            for each in self.findings
            if each.rule != RESURRECTION.id
            and not (self.recovers and (each.rule in _OF_RECOVERY or each.subject in cut_off))
        )


def facts_of(
    world: survey.World,
    *,
    access: Access,
    findings: Iterable[Finding] = (),
    recovery: Recovery | None = None,
    resurrection: bool | None = None,
    ledger: Path | None = None,
) -> Facts:
    """Return the facts of what a director told."""
    recovery = recovery or Recovery()
    lost = frozenset(recovery.cut_off)
    return Facts(
        access=access,
        name=world.info.name,
        uuid=world.info.uuid,
        deployments=tuple(
            _deployment(place, version=world.info.version, lost=lost) for place in world.placements
        ),
        findings=tuple(findings),
        recovery=recovery,
        resurrection=resurrection,
        ledger=ledger,
    )


def _deployment(
    place: Placement, *, version: tuple[int, ...], lost: frozenset[InstanceName]
) -> DeploymentFacts:
    cost = survey.cost_of(
        (place,), version=version, direct=False, lost=lambda each: each.name in lost
    )
    return DeploymentFacts(
        name=place.deployment.name,
        instances=tuple(_instance(each, place, version=version) for each in place.with_vm),
        at_once=cost.max_in_flight,
        takes=timedelta(seconds=cost.seconds),
    )


def _instance(
    instance: BoshInstance, place: Placement, *, version: tuple[int, ...]
) -> InstanceFacts:
    verdict = survey.verdict_of(instance, place, version=version)
    return InstanceFacts(
        name=instance.name,
        recreate=verdict.why if verdict.way is Way.RECREATE else "",
        disk=bool(instance.disk_cids),
        ignored=instance.ignore,
        stopped=instance.state != "started",
    )
