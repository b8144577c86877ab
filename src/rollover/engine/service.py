"""What a user of the library calls: observe, plan, rotate, roll back, verify. One call each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from rollover.engine import gates, records
from rollover.engine.goals import (
    Intent,
    Request,
    choose_authority,
    earlier_targets,
    goal_for,
    last_intent,
    reversed_goal,
)
from rollover.engine.lease_port import Lease
from rollover.engine.rotation import Conduct, Ending, Outcome, Rotation
from rollover.engine.site import LEASE_SECONDS, Site, World
from rollover.errors import SpecError
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import AuthorityName
from rollover.fleet.plan import Plan, Violation
from rollover.planner.planner import naive
from rollover.planner.planner import plan as make_plan


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What fresh handshakes and the servers' own lists say of a fleet."""

    gates: tuple[gates.GateResult, ...]

    @property
    def holds(self) -> bool:
        """Whether every fact is as it should be."""
        return all(each.holds for each in self.gates)


class Rollover:
    """The library's front door for one site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def authority(self, name: str | None = None) -> AuthorityName:
        """Return the authority of that name, or the only one; `SpecError` when unclear."""
        return choose_authority(self.site.authorities.all(), name)

    def observe(self, authority: AuthorityName) -> World:
        """Look at the fleet; changes nothing."""
        return self.site.look(authority)

    def plan(self, request: Request) -> Plan:
        """Return the plan for a request, or for what an unfinished rotation still has to do.

        Changes no instance. A new CA is made in the site's store, so give the site a scratch
        store to leave no trace.
        """
        world = self.site.look(request.authority)
        return self._plan(world, self._goal(request, world))

    def naive_swap(self, request: Request) -> tuple[Violation, ...]:
        """Return what swapping everything at once would break: nothing is changed."""
        world = self.site.look(request.authority)
        goal = self._goal(request, world)
        specimens = self.site.specimens(world, goal)
        knowledge = specimens.knowledge(self.site.verifier(specimens.certificates))
        return naive(world.fleet, goal, knowledge=knowledge, now=self.site.clock())

    def rotate(self, request: Request, conduct: Conduct) -> Outcome:
        """Begin a rotation, or go on with the one that is unfinished, until it ends or stops.

        A finished rotation is not begun again unless `request.again` says so. Raises `StaleError`
        when another process rotates this authority.
        """
        with self._lease(request.authority) as lease:
            intent = last_intent(self.site.journal, request.authority)
            if intent is not None and intent.finished and not _asks_for_more(request):
                return self._settled(intent, conduct, lease)
            if intent is None or intent.finished:
                intent = self._begin(request)
            return Rotation(self.site, intent, conduct, lease).run()

    def rollback(self, authority: AuthorityName, conduct: Conduct) -> Outcome:
        """Take the last rotation back: a rotation like any other, towards the version before."""
        with self._lease(authority) as lease:
            intent = last_intent(self.site.journal, authority)
            if intent is None:
                raise SpecError(
                    f"`{authority}` was never rotated here", hint="there is nothing to take back"
                )
            if not intent.rollback:
                intent = self._record_start(
                    msgspec.structs.replace(
                        intent,
                        rotation=_new_id(),
                        goal=reversed_goal(intent),
                        origin=intent.goal.target,
                        origin_trusted=intent.goal.trusted,
                        started_at=self.site.clock(),
                        finished=False,
                        rollback=True,
                    )
                )
            return Rotation(self.site, intent, conduct, lease).run()

    def verify(self, authority: AuthorityName) -> Verification:
        """Dial every endpoint afresh with the chains of every CA version that can be had."""
        world = self.site.look(authority)
        groups = {group.name for group in world.fleet.groups}
        dialled = gates.handshake_gate(
            world.fleet, self.site.platforms, self.site.identities(authority), groups=groups
        )
        trusted = set(world.trusted_versions())
        withdrawn = [each for each in world.versions if each.fingerprint not in trusted]
        drained = gates.drain_gate(world.fleet, self.site.platforms, withdrawn)
        return Verification(gates=(dialled, drained))

    def _settled(self, intent: Intent, conduct: Conduct, lease: Lease) -> Outcome:
        """Look whether a finished rotation still holds; mend what came back, begin nothing new."""
        return Rotation(self.site, intent, conduct, lease).run()

    def _plan(self, world: World, goal: Goal) -> Plan:
        specimens = self.site.specimens(world, goal)
        knowledge = specimens.knowledge(self.site.verifier(specimens.certificates))
        # The goal's CA may be younger than the look at the fleet: it needs its label too.
        fleet = msgspec.structs.replace(world.fleet, authorities=self.site.authorities.all())
        return make_plan(fleet, goal, knowledge=knowledge, now=self.site.clock())

    def _goal(self, request: Request, world: World) -> Goal:
        intent = last_intent(self.site.journal, request.authority)
        if intent is not None and (not intent.finished or not _asks_for_more(request)):
            return intent.goal
        return self._new_goal(request, world)

    def _new_goal(self, request: Request, world: World) -> Goal:
        origin = world.origin(self.site.issuers(world))
        if origin is None:
            raise SpecError(
                f"nothing in the fleet presents a certificate of `{request.authority}`",
                hint="`rollover topology` shows who presents what",
            )
        return goal_for(
            request,
            authorities=self.site.authorities,
            origin=origin,
            certificates=world.certificates.values(),
            abandoned=earlier_targets(self.site.journal, request.authority),
            now=self.site.clock(),
        )

    def _begin(self, request: Request) -> Intent:
        world = self.site.look(request.authority)
        origin = world.origin(self.site.issuers(world))
        goal = self._new_goal(request, world)
        assert origin is not None  # noqa: S101 - `_new_goal` refused that
        return self._record_start(
            Intent(
                rotation=_new_id(),
                goal=goal,
                origin=origin,
                origin_trusted=tuple(
                    each for each in world.trusted_versions() if each != goal.target
                )
                or (origin,),
                started_at=self.site.clock(),
            )
        )

    def _record_start(self, intent: Intent) -> Intent:
        self.site.journal.append(
            intent.rotation,
            EntryKind.STARTED,
            at=self.site.clock(),
            data=records.started(intent, fleet=self.site.described.name),
        )
        return intent

    @contextmanager
    def _lease(self, authority: AuthorityName) -> Iterator[Lease]:
        name = f"{self.site.described.name}/{authority}"
        lease = self.site.leases.acquire(
            name, self.site.holder, seconds=LEASE_SECONDS, now=self.site.clock()
        )
        try:
            yield lease
        finally:
            self.site.leases.release(lease)


def _asks_for_more(request: Request) -> bool:
    return request.again or request.to is not None


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


__all__ = ["Conduct", "Ending", "Outcome", "Request", "Rollover", "Verification"]
