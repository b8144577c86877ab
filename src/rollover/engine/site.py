"""Everything that a rotation works with at one site, and one look at the fleet there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from rollover.engine.authorities import Authorities, by_fingerprint
from rollover.engine.credentials_port import Credentials
from rollover.engine.issuing import Issuers, Specimens
from rollover.engine.journal_port import Journal
from rollover.engine.lease_port import Holder, Leases
from rollover.engine.observing import fleet_of, observe
from rollover.engine.platform_port import Platforms
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.description import FleetDescription
from rollover.fleet.evidence import Identity
from rollover.fleet.goal import Goal
from rollover.fleet.model import Availability, Fleet
from rollover.fleet.names import AuthorityName, Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLOCK_SKEW, issue_leaf
from rollover.pki.keys import generate, to_pem
from rollover.pki.profiles import LEAF_NODE
from rollover.pki.stacks import Verifier

LEASE_SECONDS = 120.0
PROBE_NAME = "rollover-probe"
PROBE_LIFETIME = timedelta(hours=12)


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

    def unavailable(self) -> set[InstanceName]:
        """Return the instances that cannot be changed now."""
        return {
            each.name
            for each in self.fleet.instances()
            if each.availability is not Availability.READY
        }

    def drop(self, names: set[InstanceName]) -> None:
        """Leave instances out of what is planned: they are given up."""
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

    def origin(self, issuers: Issuers) -> Fingerprint | None:
        """Return the version that most chains come from, the older one when it is a tie."""
        counted: dict[Fingerprint, int] = {}
        for instance in self.fleet.instances():
            for endpoint in instance.endpoints:
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


class Site:
    """One fleet and what is needed to work on it. `scratch` gives a store for plans only."""

    def __init__(  # noqa: PLR0913 - the ports of the engine, each by its name
        self,
        described: FleetDescription,
        *,
        platforms: Platforms,
        credentials: Credentials,
        journal: Journal,
        leases: Leases,
        clock: Callable[[], datetime],
        holder: Holder,
        pause_requested: Callable[[], bool] = lambda: False,
        drain_seconds: float = 20.0,
        poll_seconds: float = 0.05,
    ) -> None:
        self.described = described
        self.platforms = platforms
        self.credentials = credentials
        self.authorities = Authorities(credentials, described)
        self.journal = journal
        self.leases = leases
        self.clock = clock
        self.holder = holder
        self.pause_requested = pause_requested
        self.drain_seconds = drain_seconds
        self.poll_seconds = poll_seconds
        self._certificates: dict[Fingerprint, Certificate] = {}
        self._verifier = Verifier(self._certificates)
        self._specimens: dict[Goal, Specimens] = {}
        self._identities: dict[Fingerprint, Identity] = {}
        self._issuers: dict[tuple[Fingerprint, ...], Issuers] = {}

    def look(self, authority: AuthorityName) -> World:
        """Observe the whole fleet now; `EvidenceMissing` when an instance was never seen."""
        observations = observe(self.described, self.platforms)
        known = self._known()
        fleet = fleet_of(
            self.described, observations, authorities=self.authorities.all(), known=known
        )
        self._certificates.update(fleet.certificates)
        versions = self.authorities.versions(authority).versions
        return World(
            fleet,
            versions=tuple(
                self._certificates[each] for each in versions if each in self._certificates
            ),
            certificates=self._certificates,
        )

    def _known(self) -> dict[Fingerprint, Certificate]:
        self._certificates.update(by_fingerprint(self.authority_certificates()))
        return self._certificates

    def authority_certificates(self) -> tuple[Certificate, ...]:
        """Return every CA certificate in the store: bundles are recognised by them."""
        return tuple(
            each
            for authority in self.authorities.all()
            for each in self.authorities.certificates(authority.name)
        )

    def issuers(self, world: World) -> Issuers:
        """Return who can tell which version issued a chain; what it found out is kept."""
        key = tuple(each.fingerprint for each in world.versions)
        if key not in self._issuers:
            self._issuers[key] = Issuers(world.versions)
        return self._issuers[key]

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return which CA version issued a leaf that was seen or made here; None: unknown."""
        certificate = self._certificates.get(leaf)
        if certificate is None:
            return None
        for issuers in reversed(self._issuers.values()):
            issuer = issuers.of([certificate])
            if issuer is not None:
                return issuer
        return None

    def specimens(self, world: World, goal: Goal) -> Specimens:
        """Return the specimens for a goal; `StoreError` when its target has no key here."""
        if goal not in self._specimens:
            self._known()
            if goal.bridge is not None:
                bridge = self.authorities.bridge(
                    goal.authority, goal.target, self._bridged_by(goal), at=self.clock()
                )
                self._certificates[bridge.fingerprint] = bridge
            self._specimens[goal] = Specimens(
                self._certificates,
                goal=goal,
                target=self.authorities.signing(goal.authority, goal.target),
                issuers=self.issuers(world),
                now=self.clock(),
            )
        return self._specimens[goal]

    def _bridged_by(self, goal: Goal) -> Fingerprint:
        for each in reversed(goal.retired):
            if self.authorities.has_key(goal.authority, each):
                return each
        raise SpecError(
            "the bridge of this rotation cannot be found again",
            hint="bring the old CA's key back with `rollover authority import`",
        )

    def verifier(self, certificates: dict[Fingerprint, Certificate]) -> Verifier:
        """Return the judge of chains over these certificates."""
        if certificates is self._certificates:
            return self._verifier
        return Verifier(certificates)

    def identities(self, authority: AuthorityName) -> tuple[Identity, ...]:
        """Return a chain and key of our own from every version whose key is at hand.

        They are made for this run and live in memory only.
        """
        made = []
        for version in self.authorities.versions(authority).versions:
            if version not in self._identities and self.authorities.has_key(authority, version):
                self._identities[version] = self._identity(authority, version)
            if version in self._identities:
                made.append(self._identities[version])
        return tuple(made)

    def _identity(self, authority: AuthorityName, version: Fingerprint) -> Identity:
        signing = self.authorities.signing(authority, version)
        key = generate(KeyKind.P256)
        leaf = issue_leaf(
            profile=LEAF_NODE,
            common_name=PROBE_NAME,
            names=(PROBE_NAME,),
            key=key,
            authority=signing.certificate,
            authority_key=signing.key,
            not_before=self.clock() - CLOCK_SKEW,
            lifetime=PROBE_LIFETIME,
        )
        return Identity(
            label=self.authorities.versions(authority).label(version),
            issuer=version,
            chain=(leaf,),
            key=SecretBytes(to_pem(key)),
        )
