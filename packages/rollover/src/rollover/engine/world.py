"""One look at a fleet: what was observed, with every certificate that is known."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from rollover.engine.issuing import Issuers
from rollover.fleet.certificate import Certificate
from rollover.fleet.model import Availability, Fleet, Role
from rollover.fleet.names import Fingerprint, InstanceName


class World:
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
            each.name
            for each in self.fleet.instances()
            if each.availability is not Availability.READY
        }

    def give_up(self, names: Collection[InstanceName]) -> None:
        """Leave instances out of what is planned from now on."""
        self.given_up |= frozenset(names)
        groups = tuple(
            msgspec.structs.replace(
                group, instances=tuple(each for each in group.instances if each.name not in names)
            )
            for group in self.fleet.groups
        )
        links = tuple(
            each
            for each in self.fleet.links
            if each.dialer.instance not in names and each.acceptor.instance not in names
        )
        self.fleet = msgspec.structs.replace(
            self.fleet, groups=tuple(each for each in groups if each.instances), links=links
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
            each.name
            for group in self.fleet.groups
            if group.name in fed
            for each in group.instances
        }

    def origin(self, issuers: Issuers) -> Fingerprint | None:
        """Return the version that most chains come from, the older one when it is a tie."""
        counted: dict[Fingerprint, int] = {}
        for instance in self.fleet.instances():
            for endpoint in instance.endpoints:
                if endpoint.role is Role.SOURCE:
                    continue
                issuer = issuers.of([self.certificates[each] for each in endpoint.presents])
                if issuer is not None:
                    counted[issuer] = counted.get(issuer, 0) + 1
        order = [each.fingerprint for each in self.versions]
        return max(counted, key=lambda each: (counted[each], -order.index(each)), default=None)

    def trusted_versions(self) -> tuple[Fingerprint, ...]:
        """Return the versions that anybody trusts, oldest first."""
        trusted = {
            each
            for instance in self.fleet.instances()
            for endpoint in instance.endpoints
            for each in endpoint.trusts or ()
        }
        return tuple(each.fingerprint for each in self.versions if each.fingerprint in trusted)
