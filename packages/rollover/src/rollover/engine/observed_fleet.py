"""A fleet as it was observed: each group by its platform, with all certificates that are known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from rollover.engine.leaves import Issuers
from rollover.engine.ports import Platforms
from rollover.errors import EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import FleetDescription, GroupDescription, assemble
from rollover.fleet.evidence import Observation
from rollover.fleet.fleet import Authority, Availability, Fleet, Role
from rollover.fleet.names import Fingerprint, InstanceName

MOST_GROUPS_AT_ONCE = 8


def observe(described: FleetDescription, platforms: Platforms) -> dict[InstanceName, Observation]:
    """Return one observation for each instance, groups side by side."""

    def observe_group(group: GroupDescription) -> list[Observation]:
        names = [instance.name for instance in group.instances]
        return list(platforms(group.name).observe(names))

    with ThreadPoolExecutor(max_workers=MOST_GROUPS_AT_ONCE) as pool:
        return {
            observation.instance: observation
            for observations in pool.map(observe_group, described.groups)
            for observation in observations
        }


def fleet_from(
    described: FleetDescription,
    observations: Mapping[InstanceName, Observation],
    *,
    authorities: Iterable[Authority],
    known: Mapping[Fingerprint, Certificate],
) -> Fleet:
    """Return the fleet that was observed.

    Raises `EvidenceMissing` when an instance was never seen and nothing is known of its state:
    no step could then be proven safe for it.
    """
    unknown = [
        f"`{name}` ({observation.why})"
        for name, observation in observations.items()
        if not observation.endpoints
    ]
    if unknown:
        raise EvidenceMissing(
            f"nothing is known of the state of {', '.join(unknown[:5])}",
            hint="make it reachable once, or take it out of the fleet file",
        )
    return assemble(described, observations, authorities=tuple(authorities), known=known)


class ObservedFleet:
    """A fleet as it was observed, with every certificate that is known."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        versions: tuple[Certificate, ...],
        certificates: dict[Fingerprint, Certificate],
    ) -> None:
        self.fleet = fleet
        self.versions = versions
        self.certificates = certificates
        self.given_up: frozenset[InstanceName] = frozenset()
        """Instances that an operator gave up: they are in nobody's way any more."""

    def unavailable(self) -> set[InstanceName]:
        """Return the instances that cannot be changed now."""
        return {
            instance.name
            for instance in self.fleet.instances()
            if instance.availability is not Availability.READY
        }

    def give_up(self, names: Collection[InstanceName]) -> None:
        """Leave instances out of what is planned from now on."""
        self.given_up |= frozenset(names)
        groups = tuple(
            msgspec.structs.replace(
                group,
                instances=tuple(
                    instance for instance in group.instances if instance.name not in names
                ),
            )
            for group in self.fleet.groups
        )
        links = tuple(
            link
            for link in self.fleet.links
            if link.dialer.instance not in names and link.acceptor.instance not in names
        )
        self.fleet = msgspec.structs.replace(
            self.fleet, groups=tuple(group for group in groups if group.instances), links=links
        )

    def feeding(self) -> set[InstanceName]:
        """Return the instances that others get their material from: nobody can give them up."""
        fed = {
            endpoint.source.group
            for instance in self.fleet.instances()
            for endpoint in instance.endpoints
            if endpoint.source is not None
        }
        return {
            instance.name
            for group in self.fleet.groups
            if group.name in fed
            for instance in group.instances
        }

    def origin(self, issuers: Issuers) -> Fingerprint | None:
        """Return the version that most chains come from, the older one when it is a tie."""
        counted: dict[Fingerprint, int] = {}
        for instance in self.fleet.instances():
            for endpoint in instance.endpoints:
                if endpoint.role is Role.SOURCE:
                    # What it holds is a CA, not a chain that anybody presents.
                    continue
                issuer = issuers.of([self.certificates[present] for present in endpoint.presents])
                if issuer is not None:
                    counted[issuer] = counted.get(issuer, 0) + 1
        order = [version.fingerprint for version in self.versions]
        return max(
            counted, key=lambda version: (counted[version], -order.index(version)), default=None
        )

    def trusted_versions(self) -> tuple[Fingerprint, ...]:
        """Return the versions that anybody trusts, oldest first."""
        trusted = {
            trust
            for instance in self.fleet.instances()
            for endpoint in instance.endpoints
            for trust in endpoint.trusts or ()
        }
        return tuple(
            version.fingerprint for version in self.versions if version.fingerprint in trusted
        )
