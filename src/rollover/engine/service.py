"""What a user of the library calls: observe, plan, rotate, roll back, verify. One call each."""

from __future__ import annotations

import msgspec

from rollover.checks.rule import Finding
from rollover.engine import attending, gates, goals
from rollover.engine.beginning import Beginning
from rollover.engine.goals import AnyRequest, last_intent
from rollover.engine.outcome import Conduct, Outcome
from rollover.engine.platform_extras import Moment
from rollover.engine.recovery import LOSSES, Recovery, recovery
from rollover.engine.rotation import Rotation
from rollover.engine.rules import RECOVERY
from rollover.engine.site import Site
from rollover.engine.supply import supply_for
from rollover.engine.tenure import Tenure
from rollover.engine.world import World
from rollover.errors import SpecError
from rollover.fleet.goal import About, Goal, name_of
from rollover.fleet.names import AuthorityName
from rollover.fleet.plan import Caution, Plan, Violation
from rollover.planner.planner import naive
from rollover.planner.planner import plan as make_plan


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What fresh handshakes and the servers' own lists say of a fleet."""

    gates: tuple[gates.GateResult, ...]

    @property
    def holds(self) -> bool:
        """Whether every fact is as it should be."""
        return all(each.holds for each in self.gates)


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, what platforms know besides, and who is cut off because certificates have expired."""

    plan: Plan
    findings: tuple[Finding, ...] = ()
    recovery: Recovery = Recovery()

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that stand in the way, the gravest first."""
        return attending.blocking(self.findings)

    def whole(self) -> Plan:
        """Return the plan with everything else among its cautions."""
        more = attending.cautions(self.findings)
        if self.recovery.needed:
            said = "; ".join(self.recovery.expired)
            message = f"NOT SAFE: {said}: {LOSSES}" if said else f"NOT SAFE: {LOSSES}"
            more = (Caution(rule=RECOVERY, message=message), *more)
        return msgspec.structs.replace(self.plan, cautions=(*self.plan.cautions, *more))


class Rollover:
    """The library's front door for one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._beginning = Beginning(site)

    def authority(self, name: str | None = None) -> AuthorityName:
        """Return the authority of that name, or the only one; `SpecError` when unclear."""
        return goals.choose_authority([each.name for each in self.site.authorities.all()], name)

    def about(self, name: str | None = None) -> About:
        """Return what goes by that name: an authority, or material that was installed."""
        return goals.choose_about(self.site.authorities.all(), name)

    def observe(self, about: About) -> World:
        """Look at the fleet; changes nothing."""
        return self.site.observe(about)

    def plan(self, request: AnyRequest) -> Plan:
        """Return the plan for a request, or for what an unfinished rotation still has to do.

        Changes no instance. A new CA is made in the site's store, so give the site a scratch
        store to leave no trace.
        """
        return self._planned(*self._aimed(request))

    def outlook(self, request: AnyRequest) -> Outlook:
        """Return the plan with all else that is known beforehand; changes as much as `plan`."""
        world, goal = self._aimed(request)
        return Outlook(
            plan=self._planned(world, goal),
            findings=attending.findings(self.site, Moment.CHECK),
            recovery=recovery(world, self.site.knowledge(goal), now=self.site.clock()),
        )

    def _planned(self, world: World, goal: Goal) -> Plan:
        knowledge = self.site.knowledge(goal)
        plan = make_plan(world.fleet, goal, knowledge=knowledge, now=self.site.clock())
        return supply_for(self.site, goal).foreseen(plan, world)

    def naive_swap(self, request: AnyRequest) -> tuple[Violation, ...]:
        """Return what swapping everything at once would break: nothing is changed."""
        world, goal = self._aimed(request)
        knowledge = self.site.knowledge(goal)
        return naive(world.fleet, goal, knowledge=knowledge, now=self.site.clock())

    def _aimed(self, request: AnyRequest) -> tuple[World, Goal]:
        """Return a look at the fleet, and a goal: its CA may be younger than the look."""
        world = self.site.observe(request.about)
        goal = self._beginning.goal(request, world)
        world = self.site.renamed(world, request.about)
        supply_for(self.site, goal).check_target(world)
        return world, goal

    def rotate(self, request: AnyRequest, conduct: Conduct) -> Outcome:
        """Begin a rotation, or go on with the one that is unfinished, until it ends or stops.

        A finished rotation is looked at again and mended where it no longer holds; another is
        begun only when the request says so. Raises `StaleError` when another process works on
        this fleet, `SpecError` when the request does not fit the unfinished rotation.
        """
        with self._tenure() as tenure:
            return Rotation(self.site, self._beginning.intent(request), conduct, tenure).run()

    def rollback(self, about: About, conduct: Conduct) -> Outcome:
        """Take the last rotation back: a rotation like any other, towards the version before.

        Raises `SpecError` when there is nothing to take back or the old CA can serve no more,
        `StoreError` when its key is not in the store; nothing is begun then.
        """
        with self._tenure() as tenure:
            intent = last_intent(self.site.journal, about)
            if intent is None:
                raise SpecError(
                    f"`{name_of(about)}` was never rotated here",
                    hint="there is nothing to take back",
                )
            if not intent.rollback:
                intent = self._beginning.rollback(intent)
            return Rotation(self.site, intent, conduct, tenure).run()

    def verify(self, about: About) -> Verification:
        """Dial every endpoint afresh with the chains of every CA version that can be had."""
        world = self.site.observe(about)
        groups = [group.name for group in world.fleet.groups]
        dialled = gates.handshake_gate(
            world.fleet, self.site.platforms, self.site.identities(about), groups=groups
        )
        trusted = set(world.trusted_versions())
        withdrawn = [each for each in world.versions if each.fingerprint not in trusted]
        drained = gates.drain_gate(world.fleet, self.site.platforms, withdrawn)
        return Verification(gates=(dialled, drained))

    def _tenure(self) -> Tenure:
        """Return the right to change this fleet: one at a time, whatever the authority.

        Two rotations of different authorities would deliver the same bundles, each without what
        the other had just added.
        """
        return Tenure(
            self.site.leases,
            self.site.described.name,
            holder=self.site.holder,
            clock=self.site.clock,
        )
