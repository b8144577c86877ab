"""What the rules look at: an observed fleet with its description, and questions that many ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.description import EndpointDescription, FleetDescription, InstanceDescription
from rollover.fleet.fleet import Availability, Endpoint, EndpointRef, Fleet, Group, Instance, Role
from rollover.fleet.names import Fingerprint, InstanceName, short
from rollover.rules.handshakes import Handshakes

DEFAULT_EXPIRY_DAYS = 30


class RuleKnowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the fleet.

    `issuers`: for each leaf in use, the version of an authority that issued it, where known.
    `keys`: the CA versions whose private key is in the store here.
    """

    issuers: Mapping[Fingerprint, Fingerprint]
    keys: frozenset[Fingerprint]
    expires_within: timedelta = timedelta(days=DEFAULT_EXPIRY_DAYS)


class Party(NamedTuple):
    """One endpoint with what it belongs to."""

    group: Group
    instance: Instance
    endpoint: Endpoint

    @property
    def ref(self) -> EndpointRef:
        """The endpoint's name in the fleet."""
        return EndpointRef(self.instance.name, self.endpoint.name)


class RuleContext:
    """One fleet at one instant, as the rules see it."""

    def __init__(
        self,
        fleet: Fleet,
        description: FleetDescription,
        *,
        knowledge: RuleKnowledge,
        handshakes: Handshakes,
        now: datetime,
    ) -> None:
        self.fleet = fleet
        self.description = description
        self.knowledge = knowledge
        self.handshakes = handshakes
        self.now = now

    @cached_property
    def parties(self) -> tuple[Party, ...]:
        """Every endpoint that was seen. A source is no party: it only hands out."""
        return tuple(
            Party(group, instance, endpoint)
            for group in self.fleet.groups
            for instance in group.instances
            if not is_unseen(instance)
            for endpoint in instance.endpoints
            if endpoint.role is not Role.SOURCE
        )

    @cached_property
    def described(self) -> Mapping[InstanceName, InstanceDescription]:
        """The description of every instance."""
        return {
            instance.name: instance
            for group in self.description.groups
            for instance in group.instances
        }

    def described_endpoint(self, ref: EndpointRef) -> EndpointDescription | None:
        """Return how an endpoint is described; None when the fleet was not made from this file."""
        instance = self.described.get(ref.instance)
        for endpoint in instance.endpoints if instance else ():
            if endpoint.name == ref.endpoint:
                return endpoint
        return None

    def certificate(self, fingerprint: Fingerprint) -> Certificate | None:
        """Return a certificate; None for what stands for the roots of an operating system."""
        return self.fleet.certificates.get(fingerprint)

    def certificates(self, chain: Chain) -> Iterator[Certificate]:
        """Yield the certificates of a chain or bundle that are known."""
        for fingerprint in chain:
            certificate = self.certificate(fingerprint)
            if certificate is not None:
                yield certificate

    def whole_chain(self, chain: Chain) -> tuple[Certificate, ...]:
        """Return a chain with the authority's version that issued it, where that is known.

        A party may leave its root out of what it sends (RFC 8446 §4.4.2); the chain still ends
        with it.
        """
        served = tuple(self.certificates(chain))
        issuer = self.issuer(chain)
        anchor = self.certificate(issuer) if issuer else None
        return served if anchor is None or anchor in served else (*served, anchor)

    def issuer(self, chain: Chain) -> Fingerprint | None:
        """Return the version of an authority that a chain comes from; None: none that is known."""
        for fingerprint in chain:
            issuer = self.knowledge.issuers.get(fingerprint)
            if issuer is not None:
                return issuer
        return None

    def label(self, fingerprint: Fingerprint) -> str:
        """Return `authority@n` of a CA, or its subject and the digits that people compare."""
        for authority in self.fleet.authorities:
            if fingerprint in authority.versions:
                return authority.label(fingerprint)
        certificate = self.certificate(fingerprint)
        return f"{certificate.subject} ({short(fingerprint)})" if certificate else str(fingerprint)

    @cached_property
    def presented(self) -> Mapping[Fingerprint, int]:
        """How many endpoints present a chain of each version of an authority."""
        counted: dict[Fingerprint, int] = {}
        for party in self.parties:
            issuer = self.issuer(party.endpoint.presents)
            if issuer is not None:
                counted[issuer] = counted.get(issuer, 0) + 1
        return counted

    @cached_property
    def trusted(self) -> Mapping[Fingerprint, tuple[EndpointRef, ...]]:
        """Which endpoints trust each CA."""
        trusting: dict[Fingerprint, list[EndpointRef]] = {}
        for party in self.parties:
            for fingerprint in party.endpoint.trusts or ():
                trusting.setdefault(fingerprint, []).append(party.ref)
        return {fingerprint: tuple(refs) for fingerprint, refs in trusting.items()}


def is_unseen(instance: Instance) -> bool:
    """Say whether nothing at all is known of what an instance presents and trusts."""
    return instance.availability is not Availability.READY and not any(
        endpoint.presents or endpoint.trusts is not None for endpoint in instance.endpoints
    )


def some_names(names: tuple[EndpointRef, ...] | tuple[str, ...], *, most: int = 3) -> str:
    """Return some names for a line of text, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
