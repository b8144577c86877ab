"""What a running rotation tells whoever watches: one frozen type for each thing that happens."""

from __future__ import annotations

from datetime import datetime

import msgspec

from rollover.checks.rule import Finding
from rollover.engine.recovery import Recovery
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Holdout, Result
from rollover.fleet.goal import Goal
from rollover.fleet.model import Fleet, Role
from rollover.fleet.names import GroupName
from rollover.fleet.plan import Plan, Rollout, Violation


class Observed(msgspec.Struct, frozen=True, kw_only=True, tag="observed"):
    """The fleet was looked at."""

    instances: int
    seconds: float


class Planned(msgspec.Struct, frozen=True, kw_only=True, tag="planned"):
    """A plan was made from what was observed; `done` rollouts of this run lie behind."""

    plan: Plan
    done: int
    seconds: float


class Preparing(msgspec.Struct, frozen=True, kw_only=True, tag="preparing"):
    """Leaves are being made for a rollout."""

    group: GroupName
    leaves: int


class RolloutStarted(msgspec.Struct, frozen=True, kw_only=True, tag="rollout-started"):
    """A rollout begins; `number` counts within the whole rotation."""

    number: int
    of: int
    rollout: Rollout


class InstanceDone(msgspec.Struct, frozen=True, kw_only=True, tag="instance-done"):
    """An instance was confirmed, or failed."""

    group: GroupName
    result: Result
    done: int
    of: int


class GateChecked(msgspec.Struct, frozen=True, kw_only=True, tag="gate-checked"):
    """Evidence was gathered; the next step depends on it."""

    gate: str
    evidence: tuple[Evidence, ...]
    holds: bool


class Draining(msgspec.Struct, frozen=True, kw_only=True, tag="draining"):
    """Connections still present the old issuer's certificates and are asked to reconnect."""

    holdouts: tuple[Holdout, ...]


class RolloutFinished(msgspec.Struct, frozen=True, kw_only=True, tag="rollout-finished"):
    """Every instance of a rollout is confirmed, and its gate holds."""

    number: int
    of: int
    rollout: Rollout
    seconds: float
    reload_seconds: float


class Blocked(msgspec.Struct, frozen=True, kw_only=True, tag="blocked"):
    """The next step would cut somebody off."""

    violations: tuple[Violation, ...]


class Found(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    """A platform knows hazards; each is told once."""

    findings: tuple[Finding, ...]


class Recovering(msgspec.Struct, frozen=True, kw_only=True, tag="recovering"):
    """Instances that do not answer are going to be made anew, which is not safe."""

    recovery: Recovery
    losses: str


class Tidied(msgspec.Struct, frozen=True, kw_only=True, tag="tidied"):
    """What the rotation left behind was put in its final place."""

    group: GroupName
    evidence: tuple[Evidence, ...]


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The fleet is at the goal."""

    goal: Goal
    rollouts: int
    seconds: float


Event = (
    Observed
    | Planned
    | Preparing
    | RolloutStarted
    | InstanceDone
    | GateChecked
    | Draining
    | RolloutFinished
    | Blocked
    | Found
    | Recovering
    | Tidied
    | Finished
)


class CertificateLine(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate as a report shows it. `fingerprint` is empty where it is not known."""

    endpoint: str
    subject: str
    issuer: str
    not_after: datetime
    fingerprint: str


def certificate_line(endpoint: str, certificate: Certificate) -> CertificateLine:
    """Return what a report shows of a certificate."""
    return CertificateLine(
        endpoint=endpoint,
        subject=certificate.subject,
        issuer=certificate.issuer,
        not_after=certificate.not_after,
        fingerprint=certificate.fingerprint,
    )


def certificates_of(fleet: Fleet | None) -> tuple[CertificateLine, ...]:
    """Return what a fleet presents, one line for each certificate of an instance."""
    if fleet is None:
        return ()
    lines: dict[tuple[str, str], CertificateLine] = {}
    for instance in fleet.instances():
        for endpoint in instance.endpoints:
            if endpoint.role is Role.SOURCE:
                continue
            for leaf in endpoint.presents[:1]:
                line = certificate_line(
                    f"{instance.name}/{endpoint.name}", fleet.certificates[leaf]
                )
                if endpoint.source is not None:
                    # Who made it is concluded; which certificate it is, is not known.
                    line = msgspec.structs.replace(line, fingerprint="")
                lines.setdefault((instance.name, leaf), line)
    return tuple(lines.values())
