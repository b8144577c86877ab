"""Plans for a director VM and its agents, as the search finds them: with specimens."""

from __future__ import annotations

from datetime import datetime, timedelta

from rigs.bosh_director_files import VM, Generation
from rollover.fleet.fleet import Touch
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.names import (
    AuthorityName,
    EndpointName,
    Fingerprint,
    GroupName,
    InstanceName,
)
from rollover.fleet.plan import Assignment, Change, Phase, Plan, Proof, Rollout
from rollover.platforms.bosh import director_fleet
from rollover.platforms.bosh.nats_properties import NatsPart

ENDPOINTS = (
    *(
        director_fleet.NATS_ENDPOINT,
        director_fleet.DIRECTOR_CLIENT,
        director_fleet.HEALTH_MONITOR_CLIENT,
        director_fleet.AGENT_SOURCE,
    ),
)
PARTS = (NatsPart.SERVER, NatsPart.DIRECTOR, NatsPart.HEALTH_MONITOR, NatsPart.CLIENT_CA)
OLD, NEW = "nats_ca@1", "nats_ca@2"


def of_director(
    number: int,
    *,
    presents: tuple[Generation, ...],
    trusts: tuple[Generation, ...],
    phases: tuple[Phase, ...] = (),
    changes: tuple[Change, ...] = (),
    at: datetime,
) -> Rollout:
    """A rollout of the director VM: whose certificates each party presents, whose CAs all trust."""
    assignment = Assignment(
        instances=(VM,),
        endpoints=ENDPOINTS,
        presents=tuple(
            (each.of[part].certificate.fingerprint,)
            for each, part in zip(presents, PARTS, strict=True)
        ),
        trusts=(tuple(trust.ca.fingerprint for trust in trusts),) * len(ENDPOINTS),
    )
    return _rollout(
        number, director_fleet.DIRECTOR_GROUP, assignment, phases=phases, changes=changes, at=at
    )


def of_agents(
    number: int,
    *,
    instances: tuple[InstanceName, ...] = (),
    phases: tuple[Phase, ...] = (),
    changes: tuple[Change, ...] = (),
    at: datetime,
) -> Rollout:
    """A rollout of agents."""
    given = Assignment(instances=instances, endpoints=(), presents=(), trusts=())
    return _rollout(
        number, director_fleet.AGENTS_GROUP, given, phases=phases, changes=changes, at=at
    )


def _rollout(
    number: int,
    group: GroupName,
    assignment: Assignment,
    *,
    phases: tuple[Phase, ...],
    changes: tuple[Change, ...],
    at: datetime,
) -> Rollout:
    return Rollout(
        number=number,
        group=group,
        phases=phases,
        changes=changes,
        assignments=(assignment,),
        touch=Touch.RECREATE,
        weight=200,
        instances=1,
        duration=timedelta(minutes=10),
        proof=Proof(starts=at, ends=at, links=1, class_links=1, combinations=1, verdicts=1),
    )


def plan(*rollouts: Rollout, target: Fingerprint, at: datetime, complete: bool = True) -> Plan:
    """A plan of these rollouts."""
    goal = RotateAuthority(
        authority=AuthorityName("nats_ca"), target=target, trusted=(target,), retired=()
    )
    return Plan(
        fleet="example",
        goal=goal,
        made_at=at,
        rollouts=rollouts,
        complete=complete,
        lower_bound=len(rollouts),
        weight=440,
        weight_lower_bound=440,
        whole=len(rollouts),
    )


def four_steps(
    old: Generation, new: Generation, *, at: datetime, instances: tuple[InstanceName, ...] = ()
) -> Plan:
    """The plan of the documentation; nobody will ever have the certificates of `new`."""
    both, one = (OLD, NEW), (NEW,)
    return plan(
        of_director(
            1,
            presents=(old, new, new, new),
            trusts=(old, new),
            phases=(Phase.TRUST, Phase.ACTIVATE, Phase.REISSUE),
            changes=(
                _change("nats", trust_from=(OLD,), trust=both),
                _change("director", present=NEW, trust_from=(OLD,), trust=both),
                _change("health-monitor", present=NEW, trust_from=(OLD,), trust=both),
                _change("agents", present=NEW, trust_from=(OLD,), trust=both),
            ),
            at=at,
        ),
        of_agents(
            2,
            instances=instances,
            phases=(Phase.TRUST, Phase.REISSUE),
            changes=(_change("mbus", present=NEW, trust_from=(OLD,), trust=both),),
            at=at,
        ),
        of_director(
            3,
            presents=(new,) * 4,
            trusts=(new,),
            phases=(Phase.REISSUE, Phase.WITHDRAW),
            changes=(
                _change("nats", present=NEW, trust_from=both, trust=one),
                *(
                    _change(name, trust_from=both, trust=one)
                    for name in ("director", "health-monitor", "agents")
                ),
            ),
            at=at,
        ),
        of_agents(
            4,
            instances=instances,
            phases=(Phase.WITHDRAW,),
            changes=(_change("mbus", trust_from=both, trust=one),),
            at=at,
        ),
        target=new.ca.fingerprint,
        at=at,
    )


def _change(
    name: str, *, present: str | None = None, trust_from: tuple[str, ...], trust: tuple[str, ...]
) -> Change:
    return Change(
        group=director_fleet.DIRECTOR_GROUP,
        endpoint=EndpointName(name),
        present_from=None if present is None else OLD,
        present=present,
        trust_from=trust_from,
        trust=trust,
    )
