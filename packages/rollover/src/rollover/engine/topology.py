"""Who presents what, who trusts what, what expires when, and which links work now.

The fleet is observed without a goal.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from datetime import datetime, timedelta

import msgspec

from rollover.engine.authorities import by_fingerprint
from rollover.engine.fleet_context import FleetContext
from rollover.engine.leaves import Issuers, chain_shape
from rollover.engine.observed_fleet import observe
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.description import assemble
from rollover.fleet.fleet import Endpoint, Fleet, Group, Instance, Link
from rollover.fleet.names import Fingerprint
from rollover.pki.stacks import Verifier
from rollover.rules.certificates import describe_doubt
from rollover.rules.handshakes import Handshakes, JudgedHandshake

# A look at a whole fleet that asks for no goal: for `check`, `topology` and lists of versions.
#
# Unlike the look before a rollout it goes on when an instance was never seen: that is a finding.


class FleetObservation:
    """A fleet as it was observed, and what can be asked about its certificates."""

    def __init__(self, fleet: Fleet, *, keys: frozenset[Fingerprint], at: datetime) -> None:
        self.fleet = fleet
        self.keys = keys
        """The CA versions whose private key is in the store."""
        self.at = at
        self.accepts = Verifier(fleet.certificates)
        self.issuers = _issuers_of_leaves(fleet)

    def shape(self, chain: Chain) -> Hashable:
        """Return the same value for chains that are judged alike, but for names and dates."""
        return chain_shape(chain, self.fleet.certificates)


def observe_without_goal(site: FleetContext) -> FleetObservation:
    """Observe a fleet; changes nothing. Instances that were never seen have empty endpoints."""
    known: dict[Fingerprint, Certificate] = {}
    keys: set[Fingerprint] = set()
    authorities = site.authorities.all()
    for authority in authorities:
        known.update(by_fingerprint(site.authorities.certificates(authority.name)))
        keys.update(
            version.fingerprint
            for version in site.authorities.stored(authority.name)
            if version.has_key
        )
    described = site.refreshed()
    observations = observe(described, site.platforms)
    fleet = assemble(described, observations, authorities=authorities, known=known)
    return FleetObservation(fleet, keys=frozenset(keys), at=site.clock())


def _issuers_of_leaves(fleet: Fleet) -> dict[Fingerprint, Fingerprint]:
    """Return which version of an authority issued each leaf or intermediate that is presented."""
    versions = [version for authority in fleet.authorities for version in authority.versions]
    issuers = Issuers(
        fleet.certificates[version] for version in versions if version in fleet.certificates
    )
    found: dict[Fingerprint, Fingerprint] = {}
    presented = {
        fingerprint
        for instance in fleet.instances()
        for endpoint in instance.endpoints
        for fingerprint in endpoint.presents
    }
    for fingerprint in presented:
        issuer = issuers.of([fleet.certificates[fingerprint]])
        if issuer is not None:
            found[fingerprint] = issuer
    return found


# Who presents what, who trusts what, what expires when, and which links work now.


_SECONDS_OF_DAY = 86_400


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: what it presents, until when, and whom it trusts.

    `issuer` is `authority@n`, or the issuer's subject where it is none of ours; empty when nothing
    is presented. `expires` is the earliest end in the chain. `trusts` None: it verifies nobody.
    A source *presents* the CA that it signs with; of what it feeds no fingerprint is known.
    """

    name: str
    role: str
    stack: str
    address: str = ""
    subject: str = ""
    fingerprint: str = ""
    issuer: str = ""
    expires: datetime | None = None
    days_left: float | None = None
    trusts: tuple[str, ...] | None = None


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """One instance with its endpoints.

    `unconfirmed`: it may be in another state than the one shown; `doubt` says what is not certain.
    """

    name: str
    availability: str
    why: str
    unconfirmed: bool
    doubt: str = ""
    endpoints: tuple[EndpointView, ...]


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """One group with its instances."""

    name: str
    platform: str
    touch: str
    instances: tuple[InstanceView, ...]


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """One link. `works` None: an end of it was not seen."""

    dialer: str
    acceptor: str
    name: str | None
    mutual: bool
    works: bool | None
    reason: str = ""


class LinksView(msgspec.Struct, frozen=True, kw_only=True):
    """The links from an endpoint of one group to an endpoint of another, counted."""

    dialers: str
    acceptors: str
    links: int
    working: int
    broken: int
    unseen: int
    reason: str = ""
    """Why the first broken one does not work."""


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet as it was observed. `every_link` is empty unless it was asked for."""

    fleet: str
    at: datetime
    groups: tuple[GroupView, ...]
    links: tuple[LinksView, ...]
    every_link: tuple[LinkView, ...] = ()


def topology_now(site: FleetContext, *, every_link: bool = False) -> Topology:
    """Observe a fleet and return its topology; changes nothing."""
    return topology_of(observe_without_goal(site), every_link=every_link)


def topology_of(seen: FleetObservation, *, every_link: bool = False) -> Topology:
    """Return the topology of a fleet that was observed. Pure."""
    handshakes = Handshakes(seen.fleet, accepts=seen.accepts, shape=seen.shape, now=seen.at)
    judged = [(link, handshakes.on(link)) for link in seen.fleet.links]
    return Topology(
        fleet=seen.fleet.name,
        at=seen.at,
        groups=tuple(_group_view(group, seen) for group in seen.fleet.groups),
        links=tuple(_summaries(seen.fleet, judged)),
        every_link=tuple(_link_view(link, shake) for link, shake in judged) if every_link else (),
    )


def _group_view(group: Group, seen: FleetObservation) -> GroupView:
    return GroupView(
        name=group.name,
        platform=group.platform,
        touch=group.touch.value,
        instances=tuple(_instance_view(instance, seen) for instance in group.instances),
    )


def _instance_view(instance: Instance, seen: FleetObservation) -> InstanceView:
    return InstanceView(
        name=instance.name,
        availability=instance.availability.value,
        why=instance.why,
        unconfirmed=bool(instance.may_be),
        doubt=describe_doubt(instance),
        endpoints=tuple(_endpoint_view(endpoint, seen) for endpoint in instance.endpoints),
    )


def _endpoint_view(endpoint: Endpoint, seen: FleetObservation) -> EndpointView:
    labels = _labels(seen.fleet)
    trusts = endpoint.trusts
    view = EndpointView(
        name=endpoint.name,
        role=endpoint.role.value,
        stack=endpoint.stack.value,
        address=endpoint.address or "",
        trusts=None if trusts is None else tuple(_label(trust, seen, labels) for trust in trusts),
    )
    if not endpoint.presents:
        return view
    leaf = seen.fleet.certificates[endpoint.presents[0]]
    issuer = next(
        (seen.issuers[present] for present in endpoint.presents if present in seen.issuers), None
    )
    expires = min(certificate.not_after for certificate in _chain(endpoint, issuer, seen.fleet))
    return msgspec.structs.replace(
        view,
        subject=leaf.subject,
        # Who issued what a source makes is concluded; which certificate it is, is not known.
        fingerprint="" if endpoint.source is not None else leaf.fingerprint,
        issuer=labels[issuer] if issuer else leaf.issuer_name,
        expires=expires,
        days_left=_days(expires - seen.at),
    )


def _days(left: timedelta) -> float:
    """Return days, rounded down: what has ended a second ago has less than none left."""
    return math.floor(left.total_seconds() / _SECONDS_OF_DAY * 1e4) / 1e4


def _chain(endpoint: Endpoint, issuer: Fingerprint | None, fleet: Fleet) -> Iterator[Certificate]:
    for fingerprint in (*endpoint.presents, *((issuer,) if issuer else ())):
        yield fleet.certificates[fingerprint]


def _labels(fleet: Fleet) -> dict[Fingerprint, str]:
    return {
        version: authority.label(version)
        for authority in fleet.authorities
        for version in authority.versions
    }


def _label(fingerprint: Fingerprint, seen: FleetObservation, labels: dict[Fingerprint, str]) -> str:
    certificate = seen.fleet.certificates.get(fingerprint)
    return labels.get(fingerprint) or (certificate.subject if certificate else fingerprint)


def _summaries(fleet: Fleet, judged: list[tuple[Link, JudgedHandshake]]) -> Iterator[LinksView]:
    groups = {instance.name: group.name for group in fleet.groups for instance in group.instances}
    pairs: dict[tuple[str, str], list[JudgedHandshake]] = {}
    for link, shake in judged:
        dialers = f"{groups[link.dialer.instance]}/{link.dialer.endpoint}"
        acceptors = f"{groups[link.acceptor.instance]}/{link.acceptor.endpoint}"
        pairs.setdefault((dialers, acceptors), []).append(shake)
    for (dialers, acceptors), shakes in pairs.items():
        broken = [handshake for handshake in shakes if not handshake.works]
        unseen = sum(not handshake.observed for handshake in shakes)
        yield LinksView(
            dialers=dialers,
            acceptors=acceptors,
            links=len(shakes),
            working=len(shakes) - len(broken) - unseen,
            broken=len(broken),
            unseen=unseen,
            reason=_reason(broken[0]) if broken else "",
        )


def _link_view(link: Link, shake: JudgedHandshake) -> LinkView:
    return LinkView(
        dialer=str(link.dialer),
        acceptor=str(link.acceptor),
        name=link.name,
        mutual=link.mutual,
        works=shake.works if shake.observed else None,
        reason=_reason(shake),
    )


def _reason(shake: JudgedHandshake) -> str:
    if not shake.faults:
        return ""
    details = "; ".join(dict.fromkeys(fault.detail for fault in shake.faults))
    return f"{shake.refused_by} would refuse its peer: {details}"
