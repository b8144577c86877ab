"""What must be seen before the next step: fresh handshakes, and the drain of what is withdrawn.

A reload that succeeds proves nothing, and a connection that is still open proves nothing: every
mistake is silent until the next reconnect. So gates dial afresh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import msgspec

from rollover.engine.leaves import Issuers
from rollover.engine.observed_fleet import MOST_GROUPS_AT_ONCE, ObservedFleet
from rollover.engine.ports import Platforms
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.evidence import (
    EndpointMaterial,
    Evidence,
    Fact,
    Holdout,
    Identity,
    Order,
)
from rollover.fleet.fleet import Availability, EndpointRef, Fleet, Group, Instance, Role
from rollover.fleet.names import Fingerprint, GroupName, InstanceName, short

DRAINED = "drained"
"""The gate before trust is withdrawn."""


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate saw."""

    gate: str
    evidence: tuple[Evidence, ...] = ()
    holdouts: tuple[Holdout, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the next step may begin."""
        return not self.holdouts and all(fact.holds for fact in self.evidence)


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
        # All endpoints of an instance are dialled with the same identities: only what all of them
        # trust has to be let in, only what none of them trusts has to be refused.
        for (by_all, by_some), names in _by_trust(group).items():
            accepted = [identity for identity in identities if identity.issuer in by_all]
            refused = [identity for identity in identities if identity.issuer not in by_some]
            evidence += platforms(group.name).handshakes(names, accepted=accepted, refused=refused)
    return GateResult(gate="handshakes", evidence=tuple(evidence))


Trust = tuple[frozenset[Fingerprint], frozenset[Fingerprint]]
"""What all endpoints of an instance trust, and what at least one of them does."""


def _by_trust(group: Group) -> dict[Trust, list[InstanceName]]:
    """Return the instances that can be dialled, by what their endpoints trust."""
    found: dict[Trust, list[InstanceName]] = {}
    for instance in group.instances:
        if instance.availability is Availability.UNREACHABLE or _is_left_out(instance):
            continue
        bundles = [
            set(endpoint.trusts)
            for endpoint in instance.endpoints
            if endpoint.trusts is not None and endpoint.role is not Role.SOURCE
        ]
        by_all = frozenset(set.intersection(*bundles)) if bundles else frozenset()
        by_some = frozenset(set.union(*bundles)) if bundles else frozenset()
        found.setdefault((by_all, by_some), []).append(instance.name)
    return found


def _is_left_out(instance: Instance) -> bool:
    """Whether an operator leaves out one that only dials: nobody else depends on its answer."""
    fed = all(endpoint.source is not None for endpoint in instance.endpoints)
    return instance.availability is Availability.IGNORED and fed


def order_gate(
    observed: ObservedFleet, orders: Sequence[Order], *, issuers: Issuers, at: datetime
) -> GateResult:
    """Compare what instances were observed to use with what they were just ordered to.

    Of what a source makes, the CA that issued it is compared: nobody knows the chain beforehand.
    An instance that may still be in another state was not confirmed. One that cannot be reached
    any more is left to the next plan, which knows it as such; one that is gone needs nothing.
    """
    instances = {
        instance.name: instance
        for instance in observed.fleet.instances()
        if instance.availability is not Availability.UNREACHABLE
    }
    comparison = _OrderComparison(observed.certificates, issuers, at)
    evidence = [
        fact
        for order in orders
        if order.instance in instances
        for material in order.endpoints
        for fact in comparison.facts(instances[order.instance], material)
    ]
    return GateResult(gate="as ordered", evidence=tuple(evidence))


class _OrderComparison(NamedTuple):
    """Compares what an endpoint was observed to use with what it was ordered to."""

    certificates: Mapping[Fingerprint, Certificate]
    issuers: Issuers
    at: datetime

    def facts(self, instance: Instance, material: EndpointMaterial) -> Iterator[Evidence]:
        """Yield one fact for each thing that was ordered."""
        at = [endpoint.name for endpoint in instance.endpoints].index(material.endpoint)
        states = (instance.state, *instance.may_be)
        chains = [state.presents[at] for state in states]
        bundles = [state.trusts[at] or () for state in states]
        subject = EndpointRef(instance.name, material.endpoint)
        if material.issuer is not None:
            issuers = [
                self.issuers.of([self.certificates[fingerprint] for fingerprint in chain])
                for chain in chains
            ]
            issued = [() if issuer is None else (issuer,) for issuer in issuers]
            yield self._fact(Fact.PRESENTS, subject, issued, (material.issuer.fingerprint,))
        presented = (material.signer.certificate,) if material.signer else material.chain
        if presented is not None:
            yield self._fact(Fact.PRESENTS, subject, chains, _fingerprints(presented))
        if material.bundle is not None:
            yield self._fact(Fact.LOADED, subject, bundles, _fingerprints(material.bundle))

    def _fact(
        self, fact: Fact, subject: EndpointRef, observed: Sequence[Chain], expected: Chain
    ) -> Evidence:
        held = dict.fromkeys(observed)
        return Evidence(
            fact=fact,
            subject=subject,
            holds=[*held] == [expected],
            observed=" or ".join(_listed(fingerprints) for fingerprints in held),
            expected=_listed(expected),
            at=self.at,
            by="observation",
        )


def _fingerprints(certificates: Sequence[Certificate]) -> tuple[Fingerprint, ...]:
    return tuple(certificate.fingerprint for certificate in certificates)


def _listed(fingerprints: Sequence[Fingerprint]) -> str:
    return ", ".join(short(fingerprint) for fingerprint in fingerprints) or "nothing"


_REMOTES = frozenset((Role.LEAF_REMOTE, Role.GATEWAY_REMOTE))


def dialing_roles(fleet: Fleet) -> frozenset[tuple[InstanceName, Role]]:
    """Return which servers dial others of the fleet, and as what.

    What the connections that they dialled began with says nothing: they meet what those others
    present now, which is dialled afresh.
    """
    dialers = {link.dialer for link in fleet.links}
    return frozenset(
        (instance.name, endpoint.role)
        for instance in fleet.instances()
        for endpoint in instance.endpoints
        if endpoint.role in _REMOTES and EndpointRef(instance.name, endpoint.name) in dialers
    )


def drain_gate(fleet: Fleet, platforms: Platforms, retired: Sequence[Certificate]) -> GateResult:
    """Ask every server for the live connections that still present a retired CA's certificates."""
    own = dialing_roles(fleet)

    def ask(group: Group) -> list[Holdout]:
        names = [
            instance.name
            for instance in group.instances
            if instance.availability is not Availability.UNREACHABLE
        ]
        found = platforms(group.name).holdouts(names, retired=retired)
        return [holdout for holdout in found if (holdout.server, holdout.role) not in own]

    with ThreadPoolExecutor(max_workers=MOST_GROUPS_AT_ONCE) as pool:
        holdouts = tuple(chain.from_iterable(pool.map(ask, fleet.groups)))
    return GateResult(gate=DRAINED, holdouts=holdouts)
