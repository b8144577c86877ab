"""What is said of a goal that breaks links because of what is given: gateways first, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

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


def refused(fleet: Fleet, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return violations with what lifts them here, those of gateways first.

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
