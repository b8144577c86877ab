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
from rollover.engine.events import Conduct, Ending, Halt, Outcome, RolloutReport, RunEnded
from rollover.engine.fleet_context import FleetContext
from rollover.engine.goals import Intent
from rollover.engine.leasing import HeldLease
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.ports import Cleanup, Moment
from rollover.engine.recovery import LOSSES, recovery
from rollover.engine.rollout import Drain, RolledOut, RolloutNumber, RolloutRunner, withdrawal_of
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
from rollover.planner import planner
from rollover.planner.explain import LEFT_BEHIND

MOST_ROLLOUTS = 500
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
    """What a person said yes to: observing the same fleet again asks for no second yes."""

    group: GroupName
    changes: tuple[Change, ...]
    instances: int


class Rotation:
    """One run towards one goal, under one lease."""

    def __init__(
        self, site: FleetContext, intent: Intent, conduct: Conduct, lease: HeldLease
    ) -> None:
        self._site = site
        self._intent = intent
        self._goal = intent.goal
        self._supply = supply_for(site, intent.goal)
        self._conduct = conduct
        self._lease = lease
        self._log = RunLog(site, intent.rotation, conduct)
        self._runner = RolloutRunner(site, intent.goal, log=self._log, halt=self._halt)
        self._earlier = self._log.rollouts_finished()
        self._reports: list[RolloutReport] = []
        self._approved: _Approval | None = None
        self._first_checked = False
        self._given_up: set[InstanceName] = set()
        self._plan: Plan | None = None
        self._first_fleet: Fleet | None = None
        self._last_fleet: Fleet | None = None
        self._begun = time.monotonic()

    def run(self) -> Outcome:
        """Go on until the goal is reached or something stands in the way. Raises adapter errors."""
        try:
            observed = self._converge()
            self._clean_up()
        except RunEnded as ended:
            self._record_end(ended)
            return self._outcome(ended.ending, ended.message, ended.hint)
        except RolloverError as error:
            with suppress(JournalError, StoreError):  # what stopped the run counts, and may be that
                self._record_end(RunEnded(Ending.STOPPED, error.message, error.hint))
            raise
        return self._finish(observed)

    def _converge(self) -> ObservedFleet:
        """Roll out until nothing is left to do; return the fleet at the goal."""
        self._stop_if_requested()
        observed = self._observe()
        # An earlier run may have been killed between a rollout and what proves it.
        self._dial(observed, [group.name for group in observed.fleet.groups])
        for _ in range(MOST_ROLLOUTS):
            self._stop_if_requested()
            plan = self._planned(observed)
            if not plan.rollouts:
                self._check_complete(plan)
                return observed
            rollout = plan.rollouts[0]
            self._refuse_blocking(observed)
            if not self._approve(plan, rollout):
                observed = self._observe()
                continue
            self._drain(observed, rollout)
            place = RolloutNumber(self._done + 1, self._done + plan.whole)
            rolled = self._runner.roll_out(observed, rollout, place)
            observed = self._observe()
            self._prove(observed, rolled)
        raise RunEnded(
            Ending.FAILED,
            f"the goal is not reached after {MOST_ROLLOUTS} rollouts",
            "look at `rollover journal`: which group changes again and again?",
        )

    @property
    def _done(self) -> int:
        return self._earlier + len(self._reports)

    # Stopping.

    def _halt(self) -> Halt | None:
        if self._lease.lost:
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

    # Observing and planning.

    def _observe(self) -> ObservedFleet:
        self._lease.assure()
        begun = time.monotonic()
        observed = self._site.observe(self._goal.about)
        self._first_fleet = self._first_fleet or observed.fleet
        self._last_fleet = observed.fleet
        count = sum(len(group.instances) for group in observed.fleet.groups)
        self._tell(events.Observed(instances=count, seconds=time.monotonic() - begun))
        return observed

    def _planned(self, observed: ObservedFleet) -> Plan:
        begun = time.monotonic()
        observed.give_up(self._given_up & observed.unavailable() - observed.feeding())
        plan = self._make_plan(observed)
        if not plan.rollouts and any(violation.rule == LEFT_BEHIND for violation in plan.blocked):
            behind = observed.unavailable() - observed.feeding()
            if behind and self._log.overridden(LEFT_BEHIND, ", ".join(sorted(behind))):
                self._given_up |= behind
                observed.give_up(behind)
                plan = self._make_plan(observed)
        self._plan = plan
        self._record(EntryKind.PLANNED, data=run_log.plan_data(plan, done=self._done))
        seconds = time.monotonic() - begun
        self._tell(events.Planned(plan=plan, done=self._done, seconds=seconds))
        return plan

    def _make_plan(self, observed: ObservedFleet) -> Plan:
        knowledge = self._site.knowledge(self._goal)
        plan = planner.plan(observed.fleet, self._goal, knowledge=knowledge, now=self._site.clock())
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
        """Ask for approval; false when the fleet has to be observed again first."""
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
        # While a person thinks the fleet may change: after that it is observed and planned anew.
        return time.monotonic() - begun < self._site.waits.fresh_seconds

    # What platforms know, and what the certificates say.

    def _refuse_blocking(self, observed: ObservedFleet) -> None:
        """End the run at what stands in the way of the next rollout, whatever its proof says."""
        window = self._conduct.window
        if window is not None and not window.holds(self._site.clock()):
            raise RunEnded(
                Ending.WAITING,
                f"it is not the time for it: the maintenance window is {window}",
                "run the same command again within the window, or give another",
            )
        if not self._first_checked:
            self._recover(observed)
        moment = Moment.BETWEEN if self._first_checked else Moment.BEFORE
        self._log.refuse_blocking(platform_findings.findings(self._site, moment))
        self._first_checked = True

    def _recover(self, observed: ObservedFleet) -> None:
        """Say who is cut off by expired certificates; without leave to recover, go no further."""
        knowledge = self._site.knowledge(self._goal)
        found = recovery(observed, knowledge, now=self._site.clock())
        if self._site.recover:
            self._tell(events.Recovering(recovery=found, losses=LOSSES))
            self._record(EntryKind.EVIDENCE, subject="recovery", data=run_log.recovery_data(found))
        elif found.needed and not self._log.overridden(RECOVERY, "recovery"):
            raise RunEnded(
                Ending.REFUSED,
                f"{RECOVERY}: {'; '.join(found.expired) or 'certificates have expired'}: "
                f"{len(found.cut_off)} instances, such as `{found.cut_off[0]}`, are cut off with "
                "their next reconnect and can only be made anew",
                "choose a maintenance window, then `rollover rotate --recover --window START/END`; "
                "`rollover plan --recover` says what may be lost",
            )

    def _clean_up(self) -> None:
        """Put everything in its final place: the goal is reached, also when it was before."""
        for group, platform in platform_findings.cleanups(self._site):
            self._clean_up_group(group, platform)
        self._log.refuse_blocking(platform_findings.findings(self._site, Moment.AFTER))

    def _clean_up_group(self, group: GroupName, platform: Cleanup) -> None:
        again = "`rollover rotate` tries again, and changes nothing else"
        done: list[Evidence] = []
        try:
            done.extend(platform.clean_up())
        except RolloverError as error:
            hint = f"{error.hint}; {again}" if error.hint else again
            raise RunEnded(Ending.FAILED, f"{_NOT_CLEAN}: {error.message}", hint) from None
        finally:
            # What was done is told also where the rest of it failed.
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

    def _drain(self, observed: ObservedFleet, rollout: Rollout) -> None:
        """Prove that nobody still lives on what is about to be withdrawn; ask those who do."""
        withdrawal = withdrawal_of(
            observed.fleet, rollout, observed.certificates, now=self._site.clock()
        )
        if not withdrawal.instances or self._goal.approach is Approach.LEAST_HARM:
            return
        Drain(
            self._site.platforms(rollout.group),
            withdrawal,
            self._site.waits,
            self._stop_if_requested,
            self._log,
        ).complete(observed)

    def _dial(self, observed: ObservedFleet, groups: Collection[GroupName]) -> None:
        """Dial every endpoint of some groups afresh."""
        identities = self._supply.identities(observed, self._intent.origins)
        result = gates.handshake_gate(
            observed.fleet, self._site.platforms, identities, groups=groups
        )
        hint = (
            f"look at {', '.join(f'`{group}`' for group in groups)}, then `rollover rotate` again"
        )
        self._log.insist(result, HANDSHAKES, hint=hint)

    def _prove(self, observed: ObservedFleet, rolled: RolledOut) -> None:
        """End a rollout: what it ordered is observed, and the group was dialled afresh."""
        group = rolled.rollout.group
        result = gates.order_gate(
            observed, rolled.orders, issuers=self._site.issuers(observed), at=self._site.clock()
        )
        hint = f"something else changes `{group}`, or it reports what is not so"
        self._log.insist(result, AS_ORDERED, hint=hint)
        self._dial(observed, [group])
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

    def _finish(self, observed: ObservedFleet) -> Outcome:
        seconds = time.monotonic() - self._begun
        behind = ", ".join(f"`{name}`" for name in sorted(observed.given_up))
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
            before=events.certificates_of(self._first_fleet),
            after=events.certificates_of(self._last_fleet),
            seconds=time.monotonic() - self._begun,
        )

    def _record(
        self, kind: EntryKind, *, subject: str = "", data: run_log.EntryData | None = None
    ) -> None:
        self._log.record(kind, subject=subject, data=data)

    def _tell(self, event: events.Event) -> None:
        self._log.tell(event)
