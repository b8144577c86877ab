"""Everything that a rotation works with at one fleet, and how that fleet is observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import assert_never

import msgspec

from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.leaves import Issuers, Specimens, chain_shape
from rollover.engine.material import MaterialStore
from rollover.engine.observed_fleet import ObservedFleet, fleet_from, observe
from rollover.engine.ports import Holder, Journal, Leases, Platforms
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.description import FleetDescription
from rollover.fleet.evidence import Identity
from rollover.fleet.fleet import Fleet
from rollover.fleet.goal import (
    About,
    Goal,
    InstallMaterial,
    MaterialKind,
    Prospect,
    RotateAuthority,
)
from rollover.pki.stacks import Verifier
from rollover.planner.safety import Knowledge
from rollover.rules.rule import Catalogue


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run waits for the fleet.

    `drain_seconds`: how long peers may take to come again before trust is withdrawn;
    `return_seconds`: how long each may be away then (NATS clients wait 2 s and some jitter).
    `fresh_seconds`: after an approval that took longer the fleet is observed again.
    """

    drain_seconds: float = 20.0
    return_seconds: float = 3.0
    poll_seconds: float = 0.05
    fresh_seconds: float = 10.0


class FleetContext:
    """One fleet and what is needed to work on it.

    `known` is what the platforms recognise bundles and peers by, too; the store of its authorities
    is that of this fleet. `recover`: whoever does not answer may be made anew.
    `catalogue` returns every rule that platforms can find; that may load much, so it is asked late.
    """

    def __init__(  # noqa: PLR0913 - the ports of the engine, each by its name
        self,
        described: FleetDescription,
        *,
        platforms: Platforms,
        known: KnownCertificates,
        journal: Journal,
        leases: Leases,
        clock: Callable[[], datetime],
        holder: Holder,
        catalogue: Callable[[], Catalogue],
        pause_requested: Callable[[], bool] = lambda: False,
        recover: bool = False,
        waits: Waits = Waits(),  # noqa: B008 - it is frozen
    ) -> None:
        self.described = described
        """The fleet file, completed when the fleet was last observed."""
        self.recover = recover
        self._in_file = described
        self.platforms = platforms
        self.known = known
        self.authorities = known.authorities
        self.credentials = known.authorities.credentials
        self.journal = journal
        self.leases = leases
        self.clock = clock
        self.holder = holder
        self.catalogue = catalogue
        self.pause_requested = pause_requested
        self.waits = waits
        self.material_store = MaterialStore(self.credentials)
        self._verifier = Verifier(known.by_fingerprint)
        # Specimens take keys, which are slow to make: one set serves every plan of a run.
        self._specimens: dict[RotateAuthority, Specimens] = {}

    def refreshed(self) -> FleetDescription:
        """Return the fleet file, completed now with what it leaves to be asked for.

        Instances come and go: platforms are then asked for again by the names of their groups.
        """
        self.described = self.platforms.completed(self._in_file)
        return self.described

    def observe(self, about: About) -> ObservedFleet:
        """Observe the whole fleet now; `EvidenceMissing` when an instance was never seen."""
        described = self.refreshed()
        observations = observe(described, self.platforms)
        known = self.known.with_authorities()
        fleet = fleet_from(described, observations, authorities=self.authorities.all(), known=known)
        self.known.learn(fleet.certificates.values())
        return self._observed(fleet, about)

    def renamed(self, observed: ObservedFleet, about: About) -> ObservedFleet:
        """Return what was observed with the CA versions that were made since."""
        self.known.with_authorities()
        fleet = msgspec.structs.replace(observed.fleet, authorities=self.authorities.all())
        return self._observed(fleet, about)

    def _observed(self, fleet: Fleet, about: About) -> ObservedFleet:
        return ObservedFleet(
            fleet,
            versions=() if isinstance(about, MaterialKind) else self.known.versions(about),
            certificates=self.known.by_fingerprint,
        )

    def issuers(self, observed: ObservedFleet) -> Issuers:
        """Return who can tell which version issued a chain; what it found out is kept."""
        return self.known.issuers_among(observed.versions)

    def specimens(self, goal: RotateAuthority) -> Specimens:
        """Return the specimens for a goal; `StoreError` when its target has no key here."""
        if goal not in self._specimens:
            known = self.known.with_authorities()
            if goal.bridge is not None:
                self.learn([self.authorities.kept_bridge(goal.authority, goal.bridge)])
            self._specimens[goal] = Specimens(
                known,
                goal=goal,
                target=self.authorities.signing(goal.authority, goal.target),
                issuers=self.known.issuers_among(self.known.versions(goal.authority)),
                now=self.clock(),
            )
        return self._specimens[goal]

    def knowledge(self, goal: Goal) -> Knowledge:
        """Return what the planner has to be told; raises as `specimens` does."""
        match goal:
            case RotateAuthority():
                return self.specimens(goal).knowledge(self._verifier)
            case InstallMaterial():
                return self._knowledge_of_material(goal)
            case never:
                assert_never(never)

    def _knowledge_of_material(self, goal: InstallMaterial) -> Knowledge:
        """Return what is known of material that is supplied: nothing is made, only named."""
        self.learn(self.material_store.certificates(goal.parts))
        known, issuers = self.known.by_fingerprint, self.known.issuers()

        def prospect(chain: Chain) -> Prospect | None:
            issuer = issuers.of([known[fingerprint] for fingerprint in chain])
            return None if issuer is None else Prospect(issuer, chain)

        return Knowledge(
            certificates=known,
            accepts=self._verifier,
            shape=lambda chain: chain_shape(chain, known),
            prospect=prospect,
        )

    def learn(self, certificates: Iterable[Certificate]) -> None:
        """Know certificates that were supplied, besides those that are observed."""
        self.known.learn(certificates)

    def identities(self, about: About) -> tuple[Identity, ...]:
        """Return what there is to present from the versions that a rotation is about."""
        return () if isinstance(about, MaterialKind) else self.known.identities(about)
