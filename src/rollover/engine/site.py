"""Everything that a rotation works with at one site, and one look at the fleet there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from rollover.checks.catalogue import Catalogue
from rollover.engine.authorities import Authorities, by_fingerprint
from rollover.engine.credentials_port import Credentials
from rollover.engine.issuing import Issuers, Specimens, chain_shape
from rollover.engine.journal_port import Journal
from rollover.engine.keeping import Keeping
from rollover.engine.lease_port import Holder, Leases
from rollover.engine.observing import fleet_of, observe
from rollover.engine.platform_port import Platforms
from rollover.engine.world import World
from rollover.fleet.certificate import Certificate, Chain, KeyKind
from rollover.fleet.description import FleetDescription
from rollover.fleet.evidence import Identity
from rollover.fleet.goal import Goal, Prospect
from rollover.fleet.model import Fleet
from rollover.fleet.names import AuthorityName, Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLOCK_SKEW, issue_leaf
from rollover.pki.keys import generate, to_pem
from rollover.pki.profiles import LEAF_NODE
from rollover.pki.stacks import Verifier
from rollover.planner.knowledge import Knowledge

PROBE_NAME = "rollover-probe"
PROBE_LIFETIME = timedelta(hours=12)


class Site:
    """One fleet and what is needed to work on it.

    `catalogue` has every rule that its platforms can find.
    `drain_seconds`: how long peers may take to come again before trust is withdrawn;
    `return_seconds`: how long each may be away then (NATS clients wait 2 s and some jitter).
    `fresh_seconds`: after an approval that took longer the fleet is looked at again.
    `refresh` completes the fleet file with what is asked for at every look (instances that come
    and go); platforms are then asked for again by the names of their groups. `recover`: whoever
    does not answer may be made anew.
    """

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
        catalogue: Catalogue,
        pause_requested: Callable[[], bool] = lambda: False,
        refresh: Callable[[FleetDescription], FleetDescription] | None = None,
        recover: bool = False,
        drain_seconds: float = 20.0,
        return_seconds: float = 3.0,
        poll_seconds: float = 0.05,
        fresh_seconds: float = 10.0,
    ) -> None:
        self.described = described
        """The fleet file, completed at the last look."""
        self.recover = recover
        self._in_file = described
        self._refresh = refresh
        self.platforms = platforms
        self.credentials = credentials
        self.authorities = Authorities(credentials, described)
        self.journal = journal
        self.leases = leases
        self.clock = clock
        self.holder = holder
        self.catalogue = catalogue
        self.pause_requested = pause_requested
        self.drain_seconds = drain_seconds
        self.return_seconds = return_seconds
        self.poll_seconds = poll_seconds
        self.fresh_seconds = fresh_seconds
        self.keeping = Keeping(credentials)
        self._certificates: dict[Fingerprint, Certificate] = {}
        self._verifier = Verifier(self._certificates)
        self._specimens: dict[Goal, Specimens] = {}
        self._identities: dict[Fingerprint, Identity] = {}
        self._issuers: dict[tuple[Fingerprint, ...], Issuers] = {}

    def refreshed(self) -> FleetDescription:
        """Return the fleet file, completed now with what it leaves to be asked for."""
        if self._refresh is not None:
            self.described = self._refresh(self._in_file)
        return self.described

    def look(self, authority: AuthorityName) -> World:
        """Observe the whole fleet now; `EvidenceMissing` when an instance was never seen."""
        described = self.refreshed()
        observations = observe(described, self.platforms)
        known = self._known()
        fleet = fleet_of(described, observations, authorities=self.authorities.all(), known=known)
        self._certificates.update(fleet.certificates)
        return self._world(fleet, authority)

    def renamed(self, world: World, authority: AuthorityName) -> World:
        """Return a look with the CA versions that were made since it was taken."""
        self._known()
        fleet = msgspec.structs.replace(world.fleet, authorities=self.authorities.all())
        return self._world(fleet, authority)

    def _world(self, fleet: Fleet, authority: AuthorityName) -> World:
        return World(
            fleet,
            versions=tuple(self._certificates[each] for each in self._versions(authority)),
            certificates=self._certificates,
        )

    def _versions(self, authority: AuthorityName) -> tuple[Fingerprint, ...]:
        """Return the versions of an authority whose certificates are known, oldest first."""
        versions = self.authorities.versions(authority).versions
        return tuple(each for each in versions if each in self._certificates)

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
        return self._issuers_among(tuple(each.fingerprint for each in world.versions))

    def _issuers_among(self, versions: tuple[Fingerprint, ...]) -> Issuers:
        if versions not in self._issuers:
            self._issuers[versions] = Issuers(self._certificates[each] for each in versions)
        return self._issuers[versions]

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return which version of any authority issued a leaf that was seen; None: unknown."""
        certificate = self._certificates.get(leaf)
        if certificate is None:
            return None
        named = {each for authority in self.authorities.all() for each in authority.versions}
        known = sorted(named & self._certificates.keys())
        return self._issuers_among(tuple(known)).of([certificate])

    def specimens(self, goal: Goal) -> Specimens:
        """Return the specimens for a goal; `StoreError` when its target has no key here."""
        if goal not in self._specimens:
            self._known()
            if goal.bridge is not None:
                bridge = self.authorities.kept_bridge(goal.authority, goal.bridge)
                self._certificates[bridge.fingerprint] = bridge
            self._specimens[goal] = Specimens(
                self._certificates,
                goal=goal,
                target=self.authorities.signing(goal.authority, goal.target),
                issuers=self._issuers_among(self._versions(goal.authority)),
                now=self.clock(),
            )
        return self._specimens[goal]

    def knowledge(self, goal: Goal) -> Knowledge:
        """Return what the planner has to be told; raises as `specimens` does."""
        if goal.given:
            return self._knowledge_of_given(goal)
        return self.specimens(goal).knowledge(self._verifier)

    def _knowledge_of_given(self, goal: Goal) -> Knowledge:
        """Return what is known of material that is brought: nothing is made, only named."""
        self.learn(self.keeping.certificates(goal.given))
        every = {each for authority in self.authorities.all() for each in authority.versions}
        issuers = self._issuers_among(tuple(sorted(every & self._certificates.keys())))

        def prospect(chain: Chain) -> Prospect | None:
            issuer = issuers.of([self._certificates[each] for each in chain])
            return None if issuer is None else Prospect(issuer, chain)

        return Knowledge(
            certificates=self._certificates,
            accepts=self._verifier,
            shape=lambda chain: chain_shape(chain, self._certificates),
            prospect=prospect,
        )

    def learn(self, certificates: Iterable[Certificate]) -> None:
        """Know certificates that were brought, besides those that are observed."""
        self._certificates.update(by_fingerprint(certificates))

    def identities(self, authority: AuthorityName) -> tuple[Identity, ...]:
        """Return a chain and key of our own from every valid version whose key is at hand.

        They live in memory only. A version that has expired proves nothing: nobody lets it in.
        """
        now = self.clock()
        known = self._known()
        return tuple(
            self._fresh_identity(authority, version)
            for version in self.authorities.versions(authority).versions
            if self.authorities.has_key(authority, version)
            and known[version].not_before <= now <= known[version].not_after
        )

    def _fresh_identity(self, authority: AuthorityName, version: Fingerprint) -> Identity:
        made = self._identities.get(version)
        if made is None or made.chain[0].not_after < self.clock() + PROBE_LIFETIME / 2:
            made = self._identities[version] = self._identity(authority, version)
        return made

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
