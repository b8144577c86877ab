"""What a goal that installs material needs: what is supplied, and what there was, kept for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rollover.engine import way_back
from rollover.engine.given import MaterialRequest
from rollover.engine.issuing import Leaf, Wanted
from rollover.engine.orders import Brought
from rollover.engine.platform_extras import KnowsKeys, KnowsSettings
from rollover.engine.site import Site
from rollover.engine.world import World
from rollover.errors import PemError, SpecError, StoreError
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.evidence import Identity, Signer
from rollover.fleet.goal import Installation, InstallMaterial
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import Fingerprint, GroupName, short
from rollover.fleet.plan import Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem


def keep_supplied(site: Site, request: MaterialRequest) -> None:
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


def renamed_by_hand(site: Site, group: GroupName) -> str:
    """Return how a person names another file in the settings of a group's instances."""
    platform = site.platforms(group)
    if isinstance(platform, KnowsSettings):
        return platform.renamed_by_hand()
    return "name the new file there by hand, then run again without `--as`"


class MaterialSupply:
    """What one goal that installs material needs at a site."""

    def __init__(self, site: Site, goal: InstallMaterial) -> None:
        self._site = site
        self._goal = goal

    def check_target(self, _world: World) -> None:
        """Refuse a CA that nobody would accept now: the goal leads to none."""

    def identities(self, _world: World, _origins: Collection[Fingerprint]) -> tuple[Identity, ...]:
        """Return those of all authorities: whoever is let in now is to be let in later."""
        return self._site.known.all_identities()

    def supplied(self) -> Brought:
        """Return the chains that nobody has to make, and where their keys come from."""
        return Brought(self._goal.chains, self._site.material_store.key)

    def leaves(self, _wanted: Sequence[Wanted]) -> Mapping[str, Leaf]:
        """Return leaves that were issued: none is."""
        return {}

    def signer(self, version: Fingerprint) -> Signer:
        """Refuse to hand out what signs: nobody's is replaced; `StoreError`."""
        raise StoreError(
            f"the CA {short(version)} is not one that a source is to sign with",
            hint="`rollover rotate` rotates the CA of a source",
        )

    def foreseen(self, plan: Plan, world: World) -> Plan:
        """Return a plan that says beforehand whether a way leads back, for it is not begun yet."""
        return way_back.warned(plan, self._goal, self._former(world, self._keys(world)))

    def keep_former(self, world: World) -> tuple[Installation, ...]:
        """Keep, before anything is replaced, what the way back needs; return what that is."""
        store, now = self._site.material_store, self._site.clock()
        keys = self._keys(world)
        for chain, key in keys.items():
            store.keep([world.certificates[each] for each in chain], key=key, at=now)
        former = self._former(world, keys)
        store.keep_all(former, known=world.certificates, at=now)
        return former

    def _former(self, world: World, keys: dict[Chain, SecretBytes]) -> tuple[Installation, ...]:
        replaced = dict(self._replaced(world)).values()
        kept = {
            each for each in replaced if each in keys or self._site.material_store.has_key(each)
        }
        return way_back.before(self._goal, world.fleet, chains=kept)

    def _keys(self, world: World) -> dict[Chain, SecretBytes]:
        """Return the keys of the chains that are replaced, where they can be read."""
        replaced = dict(self._replaced(world))
        found: dict[Chain, SecretBytes] = {}
        for group in world.fleet.groups:
            platform = self._site.platforms(group.name)
            names = {each.name for each in group.instances} & {each.instance for each in replaced}
            if not names or not isinstance(platform, KnowsKeys):
                continue
            for ref, key in platform.private_keys(sorted(names)).items():
                chain = replaced.get(ref)
                if chain and _belongs(key, world.certificates[chain[0]]):
                    found[chain] = key
        return found

    def _replaced(self, world: World) -> Iterator[tuple[EndpointRef, Chain]]:
        """Yield what the endpoints present that get another chain."""
        for instance in world.fleet.instances():
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
