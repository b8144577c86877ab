"""From a request to the rotation that is gone on with, looked at again, or begun."""

from __future__ import annotations

import uuid

import msgspec

from rollover.engine import goals, records
from rollover.engine.given import Asked
from rollover.engine.giving import Giving
from rollover.engine.goals import Intent, Request, last_intent
from rollover.engine.site import Site
from rollover.engine.world import World
from rollover.errors import Interrupted, SpecError
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import Fingerprint


class Beginning:
    """What requests come to at one site. What is begun stands in the journal before it returns."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def goal(self, request: Request, world: World) -> Goal:
        """Return the goal to plan for: that of the last rotation where it is what is asked for."""
        if request.given is not None:
            return Giving(self._site).goal(request.given, request, world)
        intent = self._last(request, world)
        if intent is not None and goals.fits(request, intent.goal):
            return intent.goal
        return self._new_goal(request, world)

    def intent(self, request: Request) -> Intent:
        """Return the rotation that is asked for: the one to go on with, or a new one, begun."""
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
        intent = last_intent(self._site.journal, request.authority)
        if intent is None or (intent.finished and request.again):
            return None
        over = self._over(intent, world)
        if not over:
            return intent
        if request.again or self._site.recover:
            return None
        raise SpecError(
            f"rotation {intent.rotation} of `{request.authority}` {over}",
            hint="`rollover rotate --new` begins another one; where what is in use has expired and "
            "agents are cut off, `rollover plan --recover --new` shows the way",
        )

    def _over(self, intent: Intent, world: World | None) -> str:
        """Say why a goal is none any more; empty when it still is one."""
        authorities, name = self._site.authorities, intent.goal.authority
        target = next(
            (
                each
                for each in authorities.certificates(name)
                if each.fingerprint == intent.goal.target
            ),
            None,
        )
        if target is not None and target.not_after < self._site.clock():
            return f"led to a CA that expired at {target.not_after:%Y-%m-%d %H:%M:%SZ}"
        if not intent.finished:
            return ""
        world = world or self._site.look(name)
        origin = world.origin(self._site.issuers(world))
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
            authorities=self._site.authorities,
            origin=self._origin(request, world),
            certificates=world.certificates.values(),
            abandoned=goals.earlier_targets(self._site.journal, request.authority),
            now=self._site.clock(),
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
        if feeding and request.compromised and not self._site.recover:
            raise SpecError(
                f"taking the trust first cuts off all that {feeding} feeds: they can only be made "
                "anew, without a word to what runs on them",
                hint="`rollover rotate --compromised --recover --window START/END` does that; "
                "without `--compromised` nobody is cut off, and the old CA is trusted meanwhile",
            )

    def _origin(self, request: Request, world: World) -> Fingerprint:
        origin = world.origin(self._site.issuers(world))
        if origin is None:
            raise SpecError(
                f"nothing in the fleet presents a certificate of `{request.authority}`",
                hint="`rollover topology` shows who presents what",
            )
        return origin

    # Beginnings.

    def _stop_if_paused(self) -> None:
        if self._site.pause_requested():
            raise Interrupted("paused: nothing is begun", hint="`rollover resume` takes it back")

    def _begin(self, request: Request) -> Intent:
        self._stop_if_paused()
        world = self._site.look(request.authority)
        goal = self._new_goal(request, world)
        self._check(world, goal)
        return self._record_start(
            Intent(
                rotation=_new_id(),
                goal=goal,
                origin=self._origin(request, world),
                origin_trusted=world.trusted_versions(),
                started_at=self._site.clock(),
            )
        )

    def _begin_given(self, asked: Asked, request: Request) -> Intent:
        """Return the rotation that gives just that, or begin it: another is simply superseded."""
        giving = Giving(self._site)
        world = self._site.look(request.authority)
        goal = giving.goal(asked, request, world)
        intent = last_intent(self._site.journal, request.authority)
        if intent is not None and intent.goal == goal:
            return intent
        self._stop_if_paused()
        return self._record_start(giving.intent(asked, goal, world, rotation=_new_id()))

    def rollback(self, intent: Intent) -> Intent:
        """Begin the rotation that takes another one back; `SpecError` when nothing can."""
        if intent.goal.compromised:
            raise SpecError(
                f"rotation {intent.rotation} left a CA whose key leaked: going back would trust "
                "it again",
                hint="`rollover rotate` goes on with it; `rollover rotate --new` makes another CA",
            )
        goal = goals.reversed_goal(intent)
        world = self._site.look(goal.authority)
        self._check(world, goal)
        return self._record_start(
            msgspec.structs.replace(
                intent,
                rotation=_new_id(),
                goal=goal,
                origin=intent.goal.target,
                origin_trusted=intent.goal.trusted,
                started_at=self._site.clock(),
                finished=False,
                rollback=True,
                before=Giving(self._site).keep_former(goal, world),
            )
        )

    def _check(self, world: World, goal: Goal) -> None:
        """Refuse a goal that cannot be gone to before it is written down as the one to go to."""
        self._site.knowledge(goal)
        self.check_target(world, goal)

    def check_target(self, world: World, goal: Goal) -> None:
        """Refuse a CA to go to that nobody would accept now."""
        if not goal.given:
            goals.check_target(world.certificates[goal.target], now=self._site.clock())

    def _record_start(self, intent: Intent) -> Intent:
        self._site.journal.append(
            intent.rotation,
            EntryKind.STARTED,
            at=self._site.clock(),
            data=records.started(intent, fleet=self._site.described.name),
        )
        return intent


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
