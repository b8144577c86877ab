"""What a goal needs at a site: leaves, what signs, proofs of identity. One answer for each kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

from rollover.engine import goals
from rollover.engine.giving import MaterialSupply
from rollover.engine.issuing import Leaf, Mint, Wanted
from rollover.engine.site import Site
from rollover.engine.world import World
from rollover.fleet.evidence import Identity, Signer
from rollover.fleet.goal import Goal, InstallMaterial, RotateAuthority
from rollover.fleet.names import Fingerprint
from rollover.fleet.plan import Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import to_pem


class AuthoritySupply:
    """What the rotation of an authority needs at a site."""

    def __init__(self, site: Site, goal: RotateAuthority) -> None:
        self._site = site
        self._goal = goal

    def check_target(self, world: World) -> None:
        """Refuse a CA to go to that nobody would accept now; `SpecError`."""
        goals.check_target(world.certificates[self._goal.target], now=self._site.clock())

    def identities(self, world: World, origins: Collection[Fingerprint]) -> tuple[Identity, ...]:
        """Return those of the versions that the rotation is about, and of those in use now."""
        goal = self._goal
        versions = {goal.target, *goal.trusted, *origins, *world.trusted_versions()}
        return tuple(
            each for each in self._site.known.identities(goal.authority) if each.issuer in versions
        )

    def supplied(self) -> None:
        """Return chains that nobody has to make: there are none."""
        return

    def leaves(self, wanted: Sequence[Wanted]) -> Mapping[str, Leaf]:
        """Return leaves that the target issued."""
        target = self._site.authorities.signing(self._goal.authority, self._goal.target)
        return Mint(self._site.credentials, authority=target, clock=self._site.clock).leaves(wanted)

    def signer(self, version: Fingerprint) -> Signer:
        """Return what a source signs with."""
        found = self._site.authorities.signing(self._goal.authority, version)
        return Signer(certificate=found.certificate, key=SecretBytes(to_pem(found.key)))

    def foreseen(self, plan: Plan, _world: World) -> Plan:
        """Return a plan with what has to be known of the way back: nothing, versions are kept."""
        return plan


Supply = AuthoritySupply | MaterialSupply


def supply_for(site: Site, goal: Goal) -> Supply:
    """Return what a goal needs at a site."""
    match goal:
        case RotateAuthority():
            return AuthoritySupply(site, goal)
        case InstallMaterial():
            return MaterialSupply(site, goal)
        case never:
            assert_never(never)
