"""What a goal needs at a fleet: leaves, what signs, identities, what there was before.

One answer for each kind of goal; nobody else looks at which kind it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import assert_never

from rollover.engine import goals, material
from rollover.engine.fleet_context import FleetContext
from rollover.engine.leaves import Leaf, LeafIssuer, SuppliedChains, WantedLeaf
from rollover.engine.material import MaterialRequest
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.ports import NamesFilesInSettings, ReadsPrivateKeys
from rollover.errors import PemError, SpecError, StoreError
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.evidence import Identity, Signer
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.goal import Goal, Installation, InstallMaterial, RotateAuthority
from rollover.fleet.names import Fingerprint, GroupName, short
from rollover.fleet.plan import Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem, to_pem


def keep_supplied(site: FleetContext, request: MaterialRequest) -> None:
    """Keep what is supplied before anything is begun. `SpecError` for a chain without its key."""
    store, now = site.material_store, site.clock()
    if request.chain is not None and request.key is None:
        raise SpecError(
            "a chain is of no use to a server without its key",
            hint="name the file of the key with `--with-key`",
        )
    if request.chain:
        store.keep(request.chain, key=request.key, at=now)
    if request.bundle:
        store.keep(request.bundle, at=now)


def renamed_by_hand(site: FleetContext, group: GroupName) -> str:
    """Return how a person names another file in the settings of a group's instances."""
    platform = site.platforms(group)
    if isinstance(platform, NamesFilesInSettings):
        return platform.renamed_by_hand()
    return "name the new file there by hand, then run again without `--as`"


class MaterialSupply:
    """What one goal that installs material needs at a site."""

    def __init__(self, site: FleetContext, goal: InstallMaterial) -> None:
        self._site = site
        self._goal = goal

    def check_target(self, _observed: ObservedFleet) -> None:
        """Refuse a CA that nobody would accept now: the goal leads to none."""

    def identities(
        self, _observed: ObservedFleet, _origins: Collection[Fingerprint]
    ) -> tuple[Identity, ...]:
        """Return those of all authorities: whoever is let in now is to be let in later."""
        return self._site.known.all_identities()

    def supplied(self) -> SuppliedChains:
        """Return the chains that nobody has to make, and where their keys come from."""
        return SuppliedChains(self._goal.chains, self._site.material_store.key)

    def leaves(self, _wanted: Sequence[WantedLeaf]) -> Mapping[str, Leaf]:
        """Return leaves that were issued: none is."""
        return {}

    def signer(self, version: Fingerprint) -> Signer:
        """Refuse to hand out what signs: nobody's is replaced; `StoreError`."""
        raise StoreError(
            f"the CA {short(version)} is not one that a source is to sign with",
            hint="`rollover rotate` rotates the CA of a source",
        )

    def foreseen(self, plan: Plan, observed: ObservedFleet) -> Plan:
        """Return a plan that says beforehand whether a way leads back, for it is not begun yet."""
        return material.with_rollback_caution(
            plan, self._goal, self._former(observed, self._keys(observed))
        )

    def keep_former(self, observed: ObservedFleet) -> tuple[Installation, ...]:
        """Keep, before anything is replaced, what the way back needs; return what that is."""
        store, now = self._site.material_store, self._site.clock()
        keys = self._keys(observed)
        for chain, key in keys.items():
            store.keep(
                [observed.certificates[fingerprint] for fingerprint in chain], key=key, at=now
            )
        former = self._former(observed, keys)
        store.keep_all(former, known=observed.certificates, at=now)
        return former

    def _former(
        self, observed: ObservedFleet, keys: dict[Chain, SecretBytes]
    ) -> tuple[Installation, ...]:
        replaced = dict(self._replaced(observed)).values()
        kept = {
            chain for chain in replaced if chain in keys or self._site.material_store.has_key(chain)
        }
        return material.former_material(self._goal, observed.fleet, chains=kept)

    def _keys(self, observed: ObservedFleet) -> dict[Chain, SecretBytes]:
        """Return the keys of the chains that are replaced, where they can be read."""
        replaced = dict(self._replaced(observed))
        found: dict[Chain, SecretBytes] = {}
        for group in observed.fleet.groups:
            platform = self._site.platforms(group.name)
            names = {instance.name for instance in group.instances} & {
                ref.instance for ref in replaced
            }
            if not names or not isinstance(platform, ReadsPrivateKeys):
                continue
            for ref, key in platform.private_keys(sorted(names)).items():
                chain = replaced.get(ref)
                # The key on the disk may be newer than the chain that is presented.
                if chain and _belongs(key, observed.certificates[chain[0]]):
                    found[chain] = key
        return found

    def _replaced(self, observed: ObservedFleet) -> Iterator[tuple[EndpointRef, Chain]]:
        """Yield what the endpoints present that get another chain."""
        for instance in observed.fleet.instances():
            installed = self._goal.installed_on(instance.name)
            for endpoint in instance.endpoints if installed else ():
                part = installed.get(endpoint.name)
                if part is not None and part.chain and endpoint.presents:
                    yield EndpointRef(instance.name, endpoint.name), endpoint.presents


def _belongs(key: SecretBytes, leaf: Certificate) -> bool:
    """Say whether a key is that of a leaf; one that cannot be read is not."""
    try:
        return from_pem(key.reveal(), place="the key").key_identity == leaf.key_identity
    except PemError:
        return False


class AuthoritySupply:
    """What the rotation of an authority needs at a site."""

    def __init__(self, site: FleetContext, goal: RotateAuthority) -> None:
        self._site = site
        self._goal = goal

    def check_target(self, observed: ObservedFleet) -> None:
        """Refuse a CA to go to that nobody would accept now; `SpecError`."""
        goals.check_target(observed.certificates[self._goal.target], now=self._site.clock())

    def identities(
        self, observed: ObservedFleet, origins: Collection[Fingerprint]
    ) -> tuple[Identity, ...]:
        """Return those of the versions that the rotation is about, and of those in use now."""
        goal = self._goal
        versions = {goal.target, *goal.trusted, *origins, *observed.trusted_versions()}
        return tuple(
            identity
            for identity in self._site.known.identities(goal.authority)
            if identity.issuer in versions
        )

    def supplied(self) -> None:
        """Return chains that nobody has to make: there are none."""
        return

    def leaves(self, wanted: Sequence[WantedLeaf]) -> Mapping[str, Leaf]:
        """Return leaves that the target issued."""
        target = self._site.authorities.signing(self._goal.authority, self._goal.target)
        return LeafIssuer(self._site.credentials, authority=target, clock=self._site.clock).leaves(
            wanted
        )

    def signer(self, version: Fingerprint) -> Signer:
        """Return what a source signs with."""
        found = self._site.authorities.signing(self._goal.authority, version)
        return Signer(certificate=found.certificate, key=SecretBytes(to_pem(found.key)))

    def foreseen(self, plan: Plan, _observed: ObservedFleet) -> Plan:
        """Return a plan with what has to be known of the way back: nothing, versions are kept."""
        return plan


Supply = AuthoritySupply | MaterialSupply


def supply_for(site: FleetContext, goal: Goal) -> Supply:
    """Return what a goal needs at a site."""
    match goal:
        case RotateAuthority():
            return AuthoritySupply(site, goal)
        case InstallMaterial():
            return MaterialSupply(site, goal)
        case never:
            assert_never(never)
