"""Begins what brings material: the goal, what has to be kept for it, and for the way back."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.engine import given, way_back
from rollover.engine.given import Asked
from rollover.engine.goals import Intent, Request
from rollover.engine.platform_extras import KnowsKeys, KnowsSettings
from rollover.engine.site import Site
from rollover.engine.world import World
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.goal import Given, Goal
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import GroupName
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem


class Giving:
    """Goals of one site that bring material."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def goal(self, asked: Asked, request: Request, world: World) -> Goal:
        """Return the goal; `SpecError` when what is brought, or for whom, cannot be meant."""
        self._site.learn(asked.certificates)
        return given.goal_for(
            asked,
            world.fleet,
            self._site.described,
            by_hand=self._by_hand,
            margin_seconds=request.margin_seconds,
        )

    def _by_hand(self, group: GroupName) -> str:
        platform = self._site.platforms(group)
        if isinstance(platform, KnowsSettings):
            return platform.renamed_by_hand()
        return "name the new file there by hand, then run again without `--as`"

    def intent(self, asked: Asked, goal: Goal, world: World, *, rotation: str) -> Intent:
        """Return a new intent, with all that it needs in the store. `SpecError` without a key."""
        if asked.chain is not None and asked.key is None:
            raise SpecError(
                "a chain is of no use to a server without its key",
                hint="name the file of the key with `--with-key`",
            )
        taken = self.keep_former(goal, world)
        self._keep(asked)
        return Intent(
            rotation=rotation,
            goal=goal,
            origin=goal.target,
            origin_trusted=(),
            started_at=self._site.clock(),
            before=taken,
        )

    def former(self, goal: Goal, world: World) -> tuple[Given, ...]:
        """Return what the endpoints of a goal have now, as far as it could be given back."""
        return self._former(goal, world, self._keys(goal, world))

    def keep_former(self, goal: Goal, world: World) -> tuple[Given, ...]:
        """Keep, before anything is replaced, what the way back needs; return what that is."""
        keeping, now = self._site.keeping, self._site.clock()
        keys = self._keys(goal, world)
        for chain, key in keys.items():
            keeping.keep([world.certificates[each] for each in chain], key=key, at=now)
        taken = self._former(goal, world, keys)
        keeping.keep_all(taken, known=world.certificates, at=now)
        return taken

    def _former(
        self, goal: Goal, world: World, keys: dict[Chain, SecretBytes]
    ) -> tuple[Given, ...]:
        replaced = dict(_replaced(goal, world)).values()
        kept = {each for each in replaced if each in keys or self._site.keeping.has_key(each)}
        return way_back.before(goal, world.fleet, chains=kept)

    def _keys(self, goal: Goal, world: World) -> dict[Chain, SecretBytes]:
        """Return the keys of the chains that a goal replaces, where they can be read."""
        replaced = dict(_replaced(goal, world))
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

    def _keep(self, asked: Asked) -> None:
        """Keep what is brought before anything is begun."""
        keeping, now = self._site.keeping, self._site.clock()
        if asked.chain:
            keeping.keep(asked.chain, key=asked.key, at=now)
        if asked.bundle:
            keeping.keep(asked.bundle, at=now)


def _replaced(goal: Goal, world: World) -> Iterator[tuple[EndpointRef, Chain]]:
    """Yield what the endpoints present that a goal gives another chain."""
    chosen = {ref for each in goal.given if each.chain for ref in each.endpoints}
    for instance in world.fleet.instances():
        for endpoint in instance.endpoints:
            ref = EndpointRef(instance.name, endpoint.name)
            if ref in chosen and endpoint.presents:
                yield ref, endpoint.presents


def _belongs(key: SecretBytes, leaf: Certificate) -> bool:
    """Say whether a key is that of a leaf; one that cannot be read is not."""
    try:
        return from_pem(key.reveal(), place="the key").key_identity == leaf.key_identity
    except PemError:
        return False
