"""A plan: the ordered rollouts that take a fleet to a goal, each with its proof."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from rollover.fleet.certificate import Bundle, Chain, Fault
from rollover.fleet.fleet import EndpointRef, Touch
from rollover.fleet.goal import Goal
from rollover.fleet.names import EndpointName, GroupName, InstanceName, RuleId


class Phase(StrEnum):
    """What a rollout does, for people. Derived; no code branches on it."""

    PREPARE = "prepare"
    REPOINT = "re-point"
    TRUST = "trust"
    ACTIVATE = "activate"
    REISSUE = "reissue"
    WITHDRAW = "withdraw"
    CLEAN = "clean"


class Side(StrEnum):
    """Which state of an instance a mixture looks at."""

    BEFORE = "before"
    AFTER = "after"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint of a group changes in a rollout, in the words of the authority's versions.

    `present`, `trust` and `file` are None where they stay. `issuer` labels name versions
    (`nats-ca@2`); a bridged chain is labelled `nats-ca@2+bridge`.
    """

    group: GroupName
    endpoint: EndpointName
    present_from: str | None = None
    present: str | None = None
    trust_from: tuple[str, ...] | None = None
    trust: tuple[str, ...] | None = None
    file_from: str | None = None
    file: str | None = None
    """Where the bundle lies from then on."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What every endpoint of one class of instances holds after a rollout.

    The chains are specimens: an instance gets a chain of its own with the same issuer and shape.
    """

    instances: tuple[InstanceName, ...]
    endpoints: tuple[EndpointName, ...]
    presents: tuple[Chain, ...]
    trusts: tuple[Bundle | None, ...]
    files: tuple[str | None, ...] = ()
    """Where the bundle of each endpoint is to lie; None, or none at all: where it lies."""


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """One link that a step would break, in the mixture and with the reasons that break it."""

    dialer: EndpointRef
    acceptor: EndpointRef
    dialer_side: Side
    acceptor_side: Side
    refused_by: EndpointRef
    """The endpoint that says no."""
    faults: tuple[Fault, ...]
    instant: datetime
    links: int = 1
    """How many links of the same two classes break with it."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step is refused: the rule, one witness, and what would lift it."""

    rule: RuleId
    message: str
    lift: str
    witness: Witness | None = None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked so that a rollout may be called safe."""

    starts: datetime
    ends: datetime
    links: int
    class_links: int
    combinations: int
    verdicts: int
    holds: bool = True


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """Links of two classes that an emergency rollout breaks on purpose, and until which rollout."""

    witness: Witness
    links: int
    heals_after: int | None
    """Number of the rollout after which they work again; None: not within this plan."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over one group."""

    number: int
    group: GroupName
    phases: tuple[Phase, ...]
    changes: tuple[Change, ...]
    assignments: tuple[Assignment, ...]
    touch: Touch
    weight: int
    instances: int
    waves: int = 1
    """How often as many instances as may be in flight begin."""
    duration: timedelta
    proof: Proof
    rollback_rollouts: int | None = None
    """How many rollouts lead back from here to where this plan starts; None: none was found."""
    breaks: tuple[Break, ...] = ()
    notices: tuple[str, ...] = ()


class Caution(msgspec.Struct, frozen=True, kw_only=True):
    """Something that does not stop a plan and that an operator must know."""

    rule: RuleId
    message: str
    remedy: str = ""


class BrokenLink(msgspec.Struct, frozen=True, kw_only=True):
    """Links that do not work before the first step: the rule cannot protect them."""

    witness: Witness
    links: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The way from what a fleet is to a goal.

    `complete`: the last rollout reaches the goal. Otherwise `blocked` says what stands in the
    way of the next one. `lower_bound` is the least number of rollouts that any safe plan needs;
    equal to `len(rollouts)` when `complete` and exact.
    """

    fleet: str
    goal: Goal
    made_at: datetime
    rollouts: tuple[Rollout, ...]
    complete: bool
    lower_bound: int
    weight: int
    weight_lower_bound: int
    whole: int
    """How many rollouts the whole way has, the blocked ones included."""
    blocked: tuple[Violation, ...] = ()
    cautions: tuple[Caution, ...] = ()
    broken: tuple[BrokenLink, ...] = ()
    point_of_no_return: int | None = None
    """Number of the first rollout that takes the old trust from somebody."""
    classes: int = 0
    states_searched: int = 0

    @property
    def converged(self) -> bool:
        """Whether the fleet is at the goal already."""
        return self.complete and not self.rollouts
