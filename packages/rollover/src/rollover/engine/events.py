"""What a run tells whoever watches, how it is steered, and what it comes to.

One frozen type for each thing that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rollover.engine.recovery import Recovery
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Holdout, Result
from rollover.fleet.fleet import Fleet, Role
from rollover.fleet.goal import Goal
from rollover.fleet.names import GroupName, RuleId
from rollover.fleet.plan import Plan, Rollout, Violation
from rollover.rules.rule import Finding

# The time in which an operator allows what may interrupt services.


class MaintenanceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """From `begins` until `ends`, both aware. Rollouts begin inside of it only."""

    begins: datetime
    ends: datetime

    def holds(self, now: datetime) -> bool:
        """Whether a rollout may begin now."""
        return self.begins <= now < self.ends

    def __str__(self) -> str:
        return f"{self.begins:%Y-%m-%d %H:%M:%SZ} to {self.ends:%Y-%m-%d %H:%M:%SZ}"


# What a running rotation tells whoever watches: one frozen type for each thing that happens.


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


class FindingsTold(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    """A platform knows hazards; each is told once."""

    findings: tuple[Finding, ...]


class Recovering(msgspec.Struct, frozen=True, kw_only=True, tag="recovering"):
    """Instances that do not answer are going to be made anew, which is not safe."""

    recovery: Recovery
    losses: str


class CleanedUp(msgspec.Struct, frozen=True, kw_only=True, tag="tidied"):
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
    | FindingsTold
    | Recovering
    | CleanedUp
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
        issuer=certificate.issuer_name,
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


# How a run is watched and steered, and what it comes to.


class Ending(StrEnum):
    """How a run ended."""

    DONE = "done"
    WAITING = "waiting"
    """Somebody is left behind: the run goes on once they are back."""
    REFUSED = "refused"
    """No safe step is left, and waiting changes nothing."""
    DECLINED = "declined"
    STOPPED = "stopped"
    FAILED = "failed"
    EVIDENCE_MISSING = "evidence-missing"


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is watched and steered.

    `approve` is asked before each rollout. `stopping` is looked at between instances. `overrides`
    are refusals that an operator answers for, each with a reason that goes into the journal.
    `window`: when rollouts may begin; None: at any time.
    """

    approve: Callable[[Plan, Rollout], bool]
    tell: Callable[[Event], None]
    stopping: Callable[[], bool]
    overrides: Mapping[RuleId, str] = msgspec.field(default_factory=dict)
    window: MaintenanceWindow | None = None


class RolloutReport(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout that was done."""

    number: int
    rollout: Rollout
    results: tuple[Result, ...]
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `message` and `hint` say what to do when it is not done."""

    ending: Ending
    rotation: str
    message: str
    hint: str = ""
    rollouts: tuple[RolloutReport, ...] = ()
    last_plan: Plan | None = None
    before: tuple[CertificateLine, ...] = ()
    after: tuple[CertificateLine, ...] = ()
    seconds: float = 0.0


class Halt(NamedTuple):
    """Why a run is to stop before its next instance, and how it is gone on with."""

    why: str
    hint: str


class RunEnded(Exception):
    """Ends a run from wherever it is; never leaves the engine."""

    def __init__(self, ending: Ending, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.ending = ending
        self.message = message
        self.hint = hint
