"""What must be seen before the next step: fresh handshakes, and the drain of what is withdrawn.

A reload that succeeds proves nothing, and a connection that is still open proves nothing: every
mistake is silent until the next reconnect. So gates dial afresh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

from rollover.engine.platform_port import Platforms
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import (
    EndpointMaterial,
    Evidence,
    Fact,
    Holdout,
    Identity,
    Order,
)
from rollover.fleet.model import Availability, EndpointRef, Fleet, Group, Instance
from rollover.fleet.names import Fingerprint, GroupName, InstanceName, short


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate saw."""

    gate: str
    evidence: tuple[Evidence, ...] = ()
    holdouts: tuple[Holdout, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the next step may begin."""
        return not self.holdouts and all(each.holds for each in self.evidence)


def handshake_gate(
    fleet: Fleet,
    platforms: Platforms,
    identities: Sequence[Identity],
    *,
    groups: Collection[GroupName],
) -> GateResult:
    """Dial every endpoint of some groups afresh, with the chains of each CA that can be had."""
    evidence: list[Evidence] = []
    for group in fleet.groups:
        if group.name not in groups:
            continue
        for (by_all, by_some), names in _by_trust(group).items():
            accepted = [each for each in identities if each.issuer in by_all]
            refused = [each for each in identities if each.issuer not in by_some]
            evidence += platforms(group.name).handshakes(names, accepted=accepted, refused=refused)
    return GateResult(gate="handshakes", evidence=tuple(evidence))


Trust = tuple[frozenset[Fingerprint], frozenset[Fingerprint]]
"""What all endpoints of an instance trust, and what at least one of them does."""


def _by_trust(group: Group) -> dict[Trust, list[InstanceName]]:
    """Return the instances that can be dialled, by what their endpoints trust."""
    found: dict[Trust, list[InstanceName]] = {}
    for instance in group.instances:
        if instance.availability is Availability.UNREACHABLE:
            continue
        bundles = [set(each.trusts) for each in instance.endpoints if each.trusts is not None]
        by_all = frozenset(set.intersection(*bundles)) if bundles else frozenset()
        by_some = frozenset(set.union(*bundles)) if bundles else frozenset()
        found.setdefault((by_all, by_some), []).append(instance.name)
    return found


def order_gate(fleet: Fleet, orders: Sequence[Order], *, at: datetime) -> GateResult:
    """Compare what instances were observed to use with what they were just ordered to.

    One that cannot be reached any more is left to the next plan, which knows it as such.
    """
    instances = {each.name: each for each in fleet.instances()}
    evidence = [
        each
        for order in orders
        if instances[order.instance].availability is not Availability.UNREACHABLE
        for material in order.endpoints
        for each in _as_ordered(instances[order.instance], material, at=at)
    ]
    return GateResult(gate="as ordered", evidence=tuple(evidence))


def _as_ordered(
    instance: Instance, material: EndpointMaterial, *, at: datetime
) -> Iterator[Evidence]:
    endpoint = next(each for each in instance.endpoints if each.name == material.endpoint)
    pairs = (
        (Fact.PRESENTS, material.chain, endpoint.presents),
        (Fact.LOADED, material.bundle, endpoint.trusts or ()),
    )
    for fact, ordered, observed in pairs:
        if ordered is not None:
            expected = tuple(each.fingerprint for each in ordered)
            yield Evidence(
                fact=fact,
                subject=EndpointRef(instance.name, endpoint.name),
                holds=observed == expected,
                observed=_listed(observed),
                expected=_listed(expected),
                at=at,
                by="observation",
            )


def _listed(fingerprints: Sequence[Fingerprint]) -> str:
    return ", ".join(short(each) for each in fingerprints) or "nothing"


def drain_gate(fleet: Fleet, platforms: Platforms, retired: Sequence[Certificate]) -> GateResult:
    """Ask every server for the live connections that still present a retired CA's certificates."""

    def ask(group: Group) -> list[Holdout]:
        names = [
            each.name
            for each in group.instances
            if each.availability is not Availability.UNREACHABLE
        ]
        return list(platforms(group.name).holdouts(names, retired=retired))

    with ThreadPoolExecutor(max_workers=8) as pool:
        found = [holdout for each in pool.map(ask, fleet.groups) for holdout in each]
    return GateResult(gate="drained", holdouts=tuple(found))
