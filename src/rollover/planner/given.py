"""What lifts a refusal: where material is supplied, gateways are named first, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from rollover.fleet.goal import Goal, InstallMaterial, RotateAuthority
from rollover.fleet.model import EndpointRef, Fleet, Role
from rollover.fleet.plan import Violation
from rollover.planner.explain import REISSUE_BEFORE_WITHDRAW, TRUST_BEFORE_USE

_GATEWAYS = frozenset((Role.GATEWAY, Role.GATEWAY_REMOTE))

_LIFTS = {
    TRUST_BEFORE_USE: (
        "give the refusing side a bundle that holds the CA of the new chain first "
        "(`rollover rotate --bundle FILE`), then renew"
    ),
    REISSUE_BEFORE_WITHDRAW: (
        "keep trusting the CAs that peers come from: a curated bundle with all of them, not the "
        "issuer's own `ca.pem`"
    ),
}


def lifted(fleet: Fleet, goal: Goal, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return violations with what lifts them on the way to a goal, the gravest first."""
    match goal:
        case RotateAuthority():
            return tuple(violations)
        case InstallMaterial():
            return _of_material(fleet, violations)
        case never:
            assert_never(never)


def _of_material(fleet: Fleet, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return violations with what lifts them where nothing is issued, those of gateways first.

    A cluster that is cut off by its gateways looks healthy from within.
    """
    roles = {
        EndpointRef(instance.name, endpoint.name): endpoint.role
        for instance in fleet.instances()
        for endpoint in instance.endpoints
    }

    def behind(each: Violation) -> bool:
        seen = each.witness
        return seen is None or not _GATEWAYS & {roles[seen.dialer], roles[seen.acceptor]}

    return tuple(sorted(_lifted(violations), key=behind))


def _lifted(violations: Iterable[Violation]) -> Iterator[Violation]:
    for each in violations:
        lift = _LIFTS.get(each.rule, each.lift)
        yield msgspec.structs.replace(each, lift=lift)
