"""Begins what brings material: the goal, what has to be kept for it, and for the way back."""

from __future__ import annotations

from rollover.engine import given
from rollover.engine.given import Asked
from rollover.engine.goals import Intent, Request
from rollover.engine.site import Site
from rollover.engine.world import World
from rollover.errors import SpecError
from rollover.fleet.goal import Given, Goal


class Giving:
    """Goals of one site that bring material."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def goal(self, asked: Asked, request: Request, world: World) -> Goal:
        """Return the goal; `SpecError` when what is brought, or for whom, cannot be meant."""
        self._site.learn(asked.certificates)
        return given.goal_for(
            asked, world.fleet, self._site.described, margin_seconds=request.margin_seconds
        )

    def intent(self, asked: Asked, goal: Goal, world: World, *, rotation: str) -> Intent:
        """Return a new intent, with all that it needs in the store. `SpecError` without a key."""
        if asked.chain is not None and asked.key is None:
            raise SpecError(
                "a chain is of no use to a server without its key",
                hint="name the file of the key with `--with-key`",
            )
        taken = given.before(goal, world.fleet)
        self._keep(asked, taken, world)
        return Intent(
            rotation=rotation,
            goal=goal,
            origin=goal.target,
            origin_trusted=(),
            started_at=self._site.clock(),
            before=taken,
        )

    def _keep(self, asked: Asked, taken: tuple[Given, ...], world: World) -> None:
        """Keep what is brought, and what it takes the place of, before anything is begun."""
        keeping, now = self._site.keeping, self._site.clock()
        if asked.chain:
            keeping.keep(asked.chain, key=asked.key, at=now)
        if asked.bundle:
            keeping.keep(asked.bundle, at=now)
        keeping.keep_all(taken, known=world.certificates, at=now)
