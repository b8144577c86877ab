"""Run a plan: observe, plan, one rollout, prove, and again from the start until nothing is left.

Nothing is remembered between rollouts but the goal. Resume after a crash is this loop, begun
again; so are rollback and recovery, with other goals.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from rollover.engine import events, gates, platform_findings, run_log
from rollover.engine import rollout as engine_rollout
from rollover.engine.events import Conduct, Ending, Halt, Outcome, RolloutReport, RunEnded
from rollover.engine.fleet_context import FleetContext
from rollover.engine.goals import Intent
from rollover.engine.leasing import HeldLease
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.ports import Cleanup, Moment
from rollover.engine.recovery import LOSSES, recovery
from rollover.engine.rollout import (
    DrainPatience,
    DrainPeers,
    RolledOut,
    RolloutNumber,
    RolloutRunner,
)
from rollover.engine.rules import AS_ORDERED, HANDSHAKES, RECOVERY
from rollover.engine.run_log import RunLog
from rollover.engine.supply import supply_for
from rollover.errors import JournalError, RolloverError, StoreError
from rollover.fleet.evidence import Applied, Evidence
from rollover.fleet.fleet import Fleet
from rollover.fleet.goal import Approach
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import GroupName, InstanceName
from rollover.fleet.plan import Change, Plan, Rollout
from rollover.planner.explain import LEFT_BEHIND
from rollover.planner.planner import plan as make_plan

MOST_ROUNDS = 500
"""A fleet that needs more rollouts than this does not converge."""
MOST_NAMED = 2
"""Refusals that a message names; the journal and the events have all."""

_NOT_CLEAN = "the fleet is at the goal, but not everything is in its final place"

_ENTRY_OF_ENDING = {
    Ending.WAITING: EntryKind.REFUSED,
    Ending.REFUSED: EntryKind.REFUSED,
    Ending.EVIDENCE_MISSING: EntryKind.REFUSED,
    Ending.FAILED: EntryKind.INTERRUPTED,
    Ending.STOPPED: EntryKind.INTERRUPTED,
    Ending.DECLINED: EntryKind.INTERRUPTED,
}


class _Approval(NamedTuple):
    """What a person said yes to: another look at the same fleet asks for no second yes."""

    group: GroupName
    changes: tuple[Change, ...]
    instances: int


class Rotation:
    """One run towards one goal, under one lease."""

    def __init__(
        self, site: FleetContext, intent: Intent, conduct: Conduct, tenure: HeldLease
    ) -> None:
        self._site = site
        self._intent = intent
        self._goal = intent.goal
        self._supply = supply_for(site, intent.goal)
        self._conduct = conduct
        self._tenure = tenure
        self._chronicle = RunLog(site, intent.rotation, conduct)
        self._rolling = RolloutRunner(site, intent.goal, chronicle=self._chronicle, halt=self._halt)
        self._earlier = self._chronicle.rollouts_finished()
        self._reports: list[RolloutReport] = []
        self._approved: _Approval | None = None
        self._entered = False
        self._given_up: set[InstanceName] = set()
        self._plan: Plan | None = None
        self._first: Fleet | None = None
        self._last: Fleet | None = None
        self._begun = time.monotonic()

    def run(self) -> Outcome:
        """Go on until the goal is reached or something stands in the way. Raises adapter errors."""
        try:
            world = self._rounds()
            self._tidy()
        except RunEnded as ended:
            self._record_end(ended)
            return self._outcome(ended.ending, ended.message, ended.hint)
        except RolloverError as error:
            with suppress(JournalError, StoreError):  # what stopped the run counts, and may be that
                self._record_end(RunEnded(Ending.STOPPED, error.message, error.hint))
            raise
        return self._finish(world)

    def _rounds(self) -> ObservedFleet:
        """Do round after round; return the fleet at the goal."""
        self._stop_if_requested()
        world = self._look()
        # An earlier run may have been killed between a rollout and what proves it.
        self._dial(world, [group.name for group in world.fleet.groups])
        for _ in range(MOST_ROUNDS):
            self._stop_if_requested()
            plan = self._planned(world)
            if not plan.rollouts:
                self._check_complete(plan)
                return world
            rollout = plan.rollouts[0]
            self._refuse_blocking(world)
            if not self._approve(plan, rollout):
                world = self._look()
                continue
            self._drain(world, rollout)
            place = RolloutNumber(self._done + 1, self._done + plan.whole)
            rolled = self._rolling.roll_out(world, rollout, place)
            world = self._look()
            self._prove(world, rolled)
        raise RunEnded(
            Ending.FAILED,
            f"the goal is not reached after {MOST_ROUNDS} rollouts",
            "look at `rollover journal`: which group changes again and again?",
        )

    @property
    def _done(self) -> int:
        return self._earlier + len(self._reports)

    # Stopping.

    def _halt(self) -> Halt | None:
        if self._tenure.lost:
            return Halt("another process rotates this fleet by now", "`rollover status` says more")
        if self._site.pause_requested():
            return Halt("paused", "`rollover resume` goes on")
        if self._conduct.stopping():
            return Halt("interrupted", "`rollover rotate` goes on from here")
        return None

    def _stop_if_requested(self) -> None:
        halt = self._halt()
        if halt is not None:
            raise RunEnded(Ending.STOPPED, halt.why, halt.hint)

    # Looking and planning.

    def _look(self) -> ObservedFleet:
        self._tenure.assure()
        begun = time.monotonic()
        world = self._site.observe(self._goal.about)
        self._first = self._first or world.fleet
        self._last = world.fleet
        count = sum(len(group.instances) for group in world.fleet.groups)
        self._tell(events.Observed(instances=count, seconds=time.monotonic() - begun))
        return world

    def _planned(self, world: ObservedFleet) -> Plan:
        begun = time.monotonic()
        world.give_up(self._given_up & world.unavailable() - world.feeding())
        plan = self._make_plan(world)
        if not plan.rollouts and any(violation.rule == LEFT_BEHIND for violation in plan.blocked):
            behind = world.unavailable() - world.feeding()
            if behind and self._chronicle.overridden(LEFT_BEHIND, ", ".join(sorted(behind))):
                self._given_up |= behind
                world.give_up(behind)
                plan = self._make_plan(world)
        self._plan = plan
        self._record(EntryKind.PLANNED, data=run_log.plan_data(plan, done=self._done))
        seconds = time.monotonic() - begun
        self._tell(events.Planned(plan=plan, done=self._done, seconds=seconds))
        return plan

    def _make_plan(self, world: ObservedFleet) -> Plan:
        knowledge = self._site.knowledge(self._goal)
        plan = make_plan(world.fleet, self._goal, knowledge=knowledge, now=self._site.clock())
        return self._intent.warned(plan)

    def _check_complete(self, plan: Plan) -> None:
        if plan.complete:
            return
        self._tell(events.Blocked(violations=plan.blocked))
        waiting = any(violation.rule == LEFT_BEHIND for violation in plan.blocked)
        raise RunEnded(
            Ending.WAITING if waiting else Ending.REFUSED,
            "; ".join(
                f"{violation.rule}: {violation.message}" for violation in plan.blocked[:MOST_NAMED]
            ),
            plan.blocked[0].lift,
        )

    def _approve(self, plan: Plan, rollout: Rollout) -> bool:
        """Ask for approval; false when the fleet has to be looked at again first."""
        wanted = _Approval(rollout.group, rollout.changes, rollout.instances)
        if self._approved == wanted:
            return True
        begun = time.monotonic()
        if not self._conduct.approve(plan, rollout):
            self._record(EntryKind.DECLINED, subject=rollout.group)
            raise RunEnded(
                Ending.DECLINED,
                "declined; nothing was changed by this rollout",
                "`rollover rotate` asks again",
            )
        self._record(EntryKind.APPROVED, subject=rollout.group)
        self._approved = wanted
        return time.monotonic() - begun < self._site.waits.fresh_seconds

    # What platforms know, and what the certificates say.

    def _refuse_blocking(self, world: ObservedFleet) -> None:
        """End the run at what stands in the way of the next rollout, whatever its proof says."""
        window = self._conduct.window
        if window is not None and not window.holds(self._site.clock()):
            raise RunEnded(
                Ending.WAITING,
                f"it is not the time for it: the maintenance window is {window}",
                "run the same command again within the window, or give another",
            )
        if not self._entered:
            self._recover(world)
        moment = Moment.BETWEEN if self._entered else Moment.BEFORE
        self._chronicle.refuse_blocking(platform_findings.findings(self._site, moment))
        self._entered = True

    def _recover(self, world: ObservedFleet) -> None:
        """Say who is cut off by expired certificates; without leave to recover, go no further."""
        knowledge = self._site.knowledge(self._goal)
        seen = recovery(world, knowledge, now=self._site.clock())
        if self._site.recover:
            self._tell(events.Recovering(recovery=seen, losses=LOSSES))
            self._record(EntryKind.EVIDENCE, subject="recovery", data=run_log.recovery_data(seen))
        elif seen.needed and not self._chronicle.overridden(RECOVERY, "recovery"):
            raise RunEnded(
                Ending.REFUSED,
                f"{RECOVERY}: {'; '.join(seen.expired) or 'certificates have expired'}: "
                f"{len(seen.cut_off)} instances, such as `{seen.cut_off[0]}`, are cut off with "
                "their next reconnect and can only be made anew",
                "choose a maintenance window, then `rollover rotate --recover --window START/END`; "
                "`rollover plan --recover` says what may be lost",
            )

    def _tidy(self) -> None:
        """Put everything in its final place: the goal is reached, also when it was before."""
        for group, platform in platform_findings.cleanups(self._site):
            self._tidy_group(group, platform)
        self._chronicle.refuse_blocking(platform_findings.findings(self._site, Moment.AFTER))

    def _tidy_group(self, group: GroupName, platform: Cleanup) -> None:
        again = "`rollover rotate` tries again, and changes nothing else"
        done: list[Evidence] = []
        try:
            done.extend(platform.clean_up())
        except RolloverError as error:
            hint = f"{error.hint}; {again}" if error.hint else again
            raise RunEnded(Ending.FAILED, f"{_NOT_CLEAN}: {error.message}", hint) from None
        finally:
            if done:
                self._tell(events.CleanedUp(group=group, evidence=tuple(done)))
                data: run_log.EntryData = {"evidence": run_log.evidence_data(done)}
                self._record(EntryKind.EVIDENCE, subject="clean", data=data)
        wrong = [
            f"{evidence.subject}: {evidence.observed}" for evidence in done if not evidence.holds
        ]
        if wrong:
            raise RunEnded(Ending.FAILED, f"{_NOT_CLEAN}: {'; '.join(wrong[:MOST_NAMED])}", again)

    # Proving.

    def _drain(self, world: ObservedFleet, rollout: Rollout) -> None:
        """Prove that nobody still lives on what is about to be withdrawn; ask those who do."""
        leaving = engine_rollout.withdrawal_of(
            world.fleet, rollout, world.certificates, now=self._site.clock()
        )
        if not leaving.instances or self._goal.approach is Approach.LEAST_HARM:
            return
        engine_rollout.drain(
            self._site.platforms(rollout.group),
            leaving,
            peers=DrainPeers(
                frozenset(instance.name for instance in world.fleet.instances()), world.given_up
            ),
            patience=DrainPatience(
                self._site.waits.drain_seconds,
                self._site.waits.return_seconds,
                self._site.waits.poll_seconds,
                self._stop_if_requested,
            ),
            chronicle=self._chronicle,
        )

    def _dial(self, world: ObservedFleet, groups: Collection[GroupName]) -> None:
        """Dial every endpoint of some groups afresh."""
        identities = self._supply.identities(world, self._intent.origins)
        seen = gates.handshake_gate(world.fleet, self._site.platforms, identities, groups=groups)
        hint = (
            f"look at {', '.join(f'`{group}`' for group in groups)}, then `rollover rotate` again"
        )
        self._chronicle.insist(seen, HANDSHAKES, hint=hint)

    def _prove(self, world: ObservedFleet, rolled: RolledOut) -> None:
        """End a rollout: what it ordered is observed, and the group was dialled afresh."""
        group = rolled.rollout.group
        seen = gates.order_gate(
            world, rolled.orders, issuers=self._site.issuers(world), at=self._site.clock()
        )
        hint = f"something else changes `{group}`, or it reports what is not so"
        self._chronicle.insist(seen, AS_ORDERED, hint=hint)
        self._dial(world, [group])
        report = rolled.report()
        self._reports.append(report)
        self._approved = None
        reload_seconds = sum(
            result.reload_seconds for result in report.results if isinstance(result, Applied)
        )
        self._record(
            EntryKind.ROLLOUT_FINISHED,
            subject=group,
            data=run_log.rollout_finished_data(
                rolled.place.number, report, reload_seconds=reload_seconds
            ),
        )
        self._tell(
            events.RolloutFinished(
                number=rolled.place.number,
                of=rolled.place.of,
                rollout=rolled.rollout,
                seconds=report.seconds,
                reload_seconds=reload_seconds,
            )
        )

    # The end.

    def _finish(self, world: ObservedFleet) -> Outcome:
        seconds = time.monotonic() - self._begun
        behind = ", ".join(f"`{instance_name}`" for instance_name in sorted(world.given_up))
        self._record(
            EntryKind.FINISHED,
            data={"rollouts": self._done, "seconds": round(seconds, 3), "given_up": behind},
        )
        self._tell(events.Finished(goal=self._goal, rollouts=self._done, seconds=seconds))
        count = len(self._reports)
        done = f"done: {count} rollout{'' if count == 1 else 's'}"
        message = done if count else "nothing to do: the fleet is at the goal"
        message += f"; given up: {behind}" if behind else ""
        return self._outcome(Ending.DONE, message, "" if count else self._intent.again)

    def _record_end(self, ended: RunEnded) -> None:
        self._record(
            _ENTRY_OF_ENDING[ended.ending],
            data={"ending": ended.ending.value, "message": ended.message, "hint": ended.hint},
        )

    def _outcome(self, ending: Ending, message: str, hint: str) -> Outcome:
        return Outcome(
            ending=ending,
            rotation=self._intent.rotation,
            message=message,
            hint=hint,
            rollouts=tuple(self._reports),
            last_plan=self._plan,
            before=events.certificates_of(self._first),
            after=events.certificates_of(self._last),
            seconds=time.monotonic() - self._begun,
        )

    def _record(
        self, kind: EntryKind, *, subject: str = "", data: run_log.EntryData | None = None
    ) -> None:
        self._chronicle.record(kind, subject=subject, data=data)

    def _tell(self, event: events.Event) -> None:
        self._chronicle.tell(event)
