"""What a user of the library calls: observe, plan, rotate, roll back, verify. One call each."""

from __future__ import annotations

import uuid

import msgspec

from rollover.checks.rule import Finding
from rollover.engine import attending, gates, given, goals, records
from rollover.engine.given import Asked
from rollover.engine.giving import Giving
from rollover.engine.goals import Intent, Request, last_intent
from rollover.engine.outcome import Conduct, Outcome
from rollover.engine.platform_extras import Moment
from rollover.engine.recovery import LOSSES, Recovery, recovery
from rollover.engine.rotation import Rotation
from rollover.engine.rules import RECOVERY
from rollover.engine.site import Site
from rollover.engine.tenure import Tenure
from rollover.engine.world import World
from rollover.errors import Interrupted, SpecError
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import AuthorityName, Fingerprint
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

    def authority(self, name: str | None = None) -> AuthorityName:
        """Return the authority of that name, or the only one; `SpecError` when unclear."""
        return goals.choose_authority(self.site.authorities.all(), name)

    def observe(self, authority: AuthorityName) -> World:
        """Look at the fleet; changes nothing."""
        return self.site.look(authority)

    def plan(self, request: Request) -> Plan:
        """Return the plan for a request, or for what an unfinished rotation still has to do.

        Changes no instance. A new CA is made in the site's store, so give the site a scratch
        store to leave no trace.
        """
        return self._planned(*self._aimed(request))

    def outlook(self, request: Request) -> Outlook:
        """Return the plan with all else that is known beforehand; changes as much as `plan`."""
        world, goal = self._aimed(request)
        return Outlook(
            plan=self._planned(world, goal),
            findings=attending.findings(self.site, Moment.CHECK),
            recovery=recovery(world, self.site.knowledge(goal), now=self.site.clock()),
        )

    def _planned(self, world: World, goal: Goal) -> Plan:
        knowledge = self.site.knowledge(goal)
        return make_plan(world.fleet, goal, knowledge=knowledge, now=self.site.clock())

    def naive_swap(self, request: Request) -> tuple[Violation, ...]:
        """Return what swapping everything at once would break: nothing is changed."""
        world, goal = self._aimed(request)
        knowledge = self.site.knowledge(goal)
        return naive(world.fleet, goal, knowledge=knowledge, now=self.site.clock())

    def _aimed(self, request: Request) -> tuple[World, Goal]:
        """Return a look at the fleet, and a goal: its CA may be younger than the look."""
        world = self.site.look(request.authority)
        goal = self._goal(request, world)
        world = self.site.renamed(world, request.authority)
        self._check_target(world, goal)
        return world, goal

    def rotate(self, request: Request, conduct: Conduct) -> Outcome:
        """Begin a rotation, or go on with the one that is unfinished, until it ends or stops.

        A finished rotation is looked at again and mended where it no longer holds; another is
        begun only when the request says so. Raises `StaleError` when another process works on
        this fleet, `SpecError` when the request does not fit the unfinished rotation.
        """
        with self._tenure() as tenure:
            return Rotation(self.site, self._intent(request), conduct, tenure).run()

    def rollback(self, authority: AuthorityName, conduct: Conduct) -> Outcome:
        """Take the last rotation back: a rotation like any other, towards the version before.

        Raises `SpecError` when there is nothing to take back or the old CA can serve no more,
        `StoreError` when its key is not in the store; nothing is begun then.
        """
        with self._tenure() as tenure:
            intent = last_intent(self.site.journal, authority)
            if intent is None:
                raise SpecError(
                    f"`{authority}` was never rotated here", hint="there is nothing to take back"
                )
            if not intent.rollback:
                intent = self._begin_rollback(intent)
            return Rotation(self.site, intent, conduct, tenure).run()

    def verify(self, authority: AuthorityName) -> Verification:
        """Dial every endpoint afresh with the chains of every CA version that can be had."""
        world = self.site.look(authority)
        groups = [group.name for group in world.fleet.groups]
        dialled = gates.handshake_gate(
            world.fleet, self.site.platforms, self.site.identities(authority), groups=groups
        )
        trusted = set(world.trusted_versions())
        withdrawn = [each for each in world.versions if each.fingerprint not in trusted]
        drained = gates.drain_gate(world.fleet, self.site.platforms, withdrawn)
        return Verification(gates=(dialled, drained))

    # What a request comes to.

    def _goal(self, request: Request, world: World) -> Goal:
        """Return the goal to plan for: that of the last rotation where it is what is asked for."""
        if request.given is not None:
            return Giving(self.site).goal(request.given, request, world)
        intent = self._last(request, world)
        if intent is not None and goals.fits(request, intent.goal):
            return intent.goal
        return self._new_goal(request, world)

    def _intent(self, request: Request) -> Intent:
        if request.given is not None:
            return self._begin_given(request.given, request)
        intent = self._last(request)
        if intent is None:
            return self._begin(request)
        if goals.fits(request, intent.goal):
            return intent
        if request.compromised and not intent.finished:
            # The key that leaked is the one being left: the way is the same, its order is not.
            return self._begin(msgspec.structs.replace(request, to=intent.goal.target))
        if intent.finished and (request.compromised or request.to is not None):
            return self._begin(request)
        raise SpecError(
            f"rotation {intent.rotation} of `{request.authority}` is "
            f"{'finished' if intent.finished else 'not finished'}, and another goal is asked for",
            hint="`rollover rotate --new …` begins another one"
            if intent.finished
            else "`rollover rotate` goes on with it, `rollover rollback` takes it back",
        )

    def _last(self, request: Request, world: World | None = None) -> Intent | None:
        """Return the rotation to go on with, or to look at again; None: another is to be begun.

        Raises `SpecError` when its goal is none any more, unless another is asked for, or a
        recovery.
        """
        intent = last_intent(self.site.journal, request.authority)
        if intent is None or (intent.finished and request.again):
            return None
        over = self._over(intent, world)
        if not over:
            return intent
        if request.again or self.site.recover:
            return None
        raise SpecError(
            f"rotation {intent.rotation} of `{request.authority}` {over}",
            hint="`rollover rotate --new` begins another one; where what is in use has expired and "
            "agents are cut off, `rollover plan --recover --new` shows the way",
        )

    def _over(self, intent: Intent, world: World | None) -> str:
        """Say why a goal is none any more; empty when it still is one."""
        authorities, name = self.site.authorities, intent.goal.authority
        target = next(
            (
                each
                for each in authorities.certificates(name)
                if each.fingerprint == intent.goal.target
            ),
            None,
        )
        if target is not None and target.not_after < self.site.clock():
            return f"led to a CA that expired at {target.not_after:%Y-%m-%d %H:%M:%SZ}"
        if not intent.finished:
            return ""
        world = world or self.site.look(name)
        origin = world.origin(self.site.issuers(world))
        used = dict.fromkeys((*([origin] if origin else ()), *world.trusted_versions()))
        named = {intent.goal.target, *intent.goal.trusted, *intent.goal.retired}
        for version in used:
            if version not in named:
                label = authorities.versions(name).label(version)
                return f"is finished, and knew nothing of `{label}`, which is in use now"
        return ""

    def _new_goal(self, request: Request, world: World) -> Goal:
        self._check_sources(request, world)
        return goals.goal_for(
            request,
            authorities=self.site.authorities,
            origin=self._origin(request, world),
            certificates=world.certificates.values(),
            abandoned=goals.earlier_targets(self.site.journal, request.authority),
            now=self.site.clock(),
        )

    def _check_sources(self, request: Request, world: World) -> None:
        """Refuse what cannot be done where a source makes the chains of others."""
        feeding = ", ".join(f"`{each}`" for each in sorted(world.feeding()))
        if feeding and request.cross_sign:
            raise SpecError(
                f"{feeding} hands out no chains with a bridge in them, and those that it feeds "
                "have to be visited twice with a bridge too: `--cross-sign` saves nothing here",
                hint="leave `--cross-sign` out",
            )
        if feeding and request.compromised and not self.site.recover:
            raise SpecError(
                f"taking the trust first cuts off all that {feeding} feeds: they can only be made "
                "anew, without a word to what runs on them",
                hint="`rollover rotate --compromised --recover --window START/END` does that; "
                "without `--compromised` nobody is cut off, and the old CA is trusted meanwhile",
            )

    def _origin(self, request: Request, world: World) -> Fingerprint:
        origin = world.origin(self.site.issuers(world))
        if origin is None:
            raise SpecError(
                f"nothing in the fleet presents a certificate of `{request.authority}`",
                hint="`rollover topology` shows who presents what",
            )
        return origin

    # Beginnings.

    def _stop_if_paused(self) -> None:
        if self.site.pause_requested():
            raise Interrupted("paused: nothing is begun", hint="`rollover resume` takes it back")

    def _begin(self, request: Request) -> Intent:
        self._stop_if_paused()
        world = self.site.look(request.authority)
        goal = self._new_goal(request, world)
        self._check(world, goal)
        return self._record_start(
            Intent(
                rotation=_new_id(),
                goal=goal,
                origin=self._origin(request, world),
                origin_trusted=world.trusted_versions(),
                started_at=self.site.clock(),
            )
        )

    def _begin_given(self, asked: Asked, request: Request) -> Intent:
        """Return the rotation that gives just that, or begin it: another is simply superseded."""
        giving = Giving(self.site)
        world = self.site.look(request.authority)
        goal = giving.goal(asked, request, world)
        intent = last_intent(self.site.journal, request.authority)
        if intent is not None and intent.goal == goal:
            return intent
        self._stop_if_paused()
        return self._record_start(giving.intent(asked, goal, world, rotation=_new_id()))

    def _begin_rollback(self, intent: Intent) -> Intent:
        if intent.goal.compromised:
            raise SpecError(
                f"rotation {intent.rotation} left a CA whose key leaked: going back would trust "
                "it again",
                hint="`rollover rotate` goes on with it; `rollover rotate --new` makes another CA",
            )
        goal = goals.reversed_goal(intent)
        world = self.site.look(goal.authority)
        self._check(world, goal)
        return self._record_start(
            msgspec.structs.replace(
                intent,
                rotation=_new_id(),
                goal=goal,
                origin=intent.goal.target,
                origin_trusted=intent.goal.trusted,
                started_at=self.site.clock(),
                finished=False,
                rollback=True,
                before=given.before(goal, world.fleet),
            )
        )

    def _check(self, world: World, goal: Goal) -> None:
        """Refuse a goal that cannot be gone to before it is written down as the one to go to."""
        self.site.knowledge(goal)
        self._check_target(world, goal)

    def _check_target(self, world: World, goal: Goal) -> None:
        if not goal.given:
            goals.check_target(world.certificates[goal.target], now=self.site.clock())

    def _record_start(self, intent: Intent) -> Intent:
        self.site.journal.append(
            intent.rotation,
            EntryKind.STARTED,
            at=self.site.clock(),
            data=records.started(intent, fleet=self.site.described.name),
        )
        return intent

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


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
