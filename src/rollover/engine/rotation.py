"""Run a plan: observe, plan, one rollout, prove, and again from the start until nothing is left.

Nothing is remembered between rollouts but the goal. Resume after a crash is this loop, begun
again; so are rollback and recovery, with other goals.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from rollover.engine import events, gates, records
from rollover.engine.goals import Intent
from rollover.engine.issuing import Issuers, Mint
from rollover.engine.lease_port import Lease
from rollover.engine.orders import Drafting
from rollover.engine.platform_port import Pacing
from rollover.engine.site import LEASE_SECONDS, Site, World
from rollover.errors import EvidenceMissing
from rollover.fleet.evidence import Applied, Failed, Holdout, Result
from rollover.fleet.journal import EntryKind
from rollover.fleet.model import Fleet
from rollover.fleet.names import GroupName, RuleId
from rollover.fleet.plan import Phase, Plan, Rollout
from rollover.planner.explain import LEFT_BEHIND
from rollover.planner.planner import plan as make_plan

DRAIN = RuleId("drain-incomplete")
HANDSHAKES = RuleId("handshake-gate")
MOST_ROUNDS = 500
"""A fleet that needs more rollouts than this does not converge."""


class Ending(StrEnum):
    """How a run ended."""

    DONE = "done"
    WAITING = "waiting"
    DECLINED = "declined"
    STOPPED = "stopped"
    FAILED = "failed"
    EVIDENCE_MISSING = "evidence-missing"


class RolloutReport(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout that was done."""

    number: int
    rollout: Rollout
    results: tuple[Result, ...]
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `message` and `hint` say what to do when it is not done."""

    ending: Ending
    rotation: str
    message: str
    hint: str = ""
    rollouts: tuple[RolloutReport, ...] = ()
    last_plan: Plan | None = None
    before: tuple[events.CertificateLine, ...] = ()
    after: tuple[events.CertificateLine, ...] = ()
    seconds: float = 0.0


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is watched and steered.

    `approve` is asked before each rollout. `stopping` is looked at between instances. `overrides`
    are refusals that an operator answers for, each with a reason that goes into the journal.
    """

    approve: Callable[[Plan, Rollout], bool]
    tell: Callable[[events.Event], None]
    stopping: Callable[[], bool]
    overrides: Mapping[RuleId, str] = msgspec.field(default_factory=dict)


class _Ended(Exception):
    def __init__(self, ending: Ending, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.ending = ending
        self.message = message
        self.hint = hint


class Rotation:
    """One run towards one goal, under one lease."""

    def __init__(self, site: Site, intent: Intent, conduct: Conduct, lease: Lease) -> None:
        self._site = site
        self._intent = intent
        self._goal = intent.goal
        self._conduct = conduct
        self._lease = lease
        self._reports: list[RolloutReport] = []
        self._plan: Plan | None = None
        self._earlier = self._finished_before()

    def run(self) -> Outcome:
        """Go on until the goal is reached or something stands in the way. Raises adapter errors."""
        begun = time.monotonic()
        first: Fleet | None = None
        fleet: Fleet | None = None
        try:
            for _ in range(MOST_ROUNDS):
                world = self._look()
                fleet = world.fleet
                first = first or fleet
                self._prove_last(world)
                if self._next(world):
                    break
        except _Ended as ended:
            self._record_end(ended)
            return self._outcome(ended.ending, ended.message, ended.hint, begun, first, fleet)
        self._finish(begun)
        count = len(self._reports)
        message = f"done: {count} rollouts" if count else "nothing to do: the fleet is at the goal"
        return self._outcome(Ending.DONE, message, "", begun, first, fleet)

    def _finished_before(self) -> int:
        """Return how many rollouts earlier runs of this rotation finished."""
        after = done = 0
        while entries := self._site.journal.entries(rotation=self._intent.rotation, after=after):
            done += sum(each.kind is EntryKind.ROLLOUT_FINISHED for each in entries)
            after = entries[-1].sequence
        return done

    @property
    def _done(self) -> int:
        return self._earlier + len(self._reports)

    def _look(self) -> World:
        self._stop_if_asked()
        self._lease = self._site.leases.renew(
            self._lease, seconds=LEASE_SECONDS, now=self._site.clock()
        )
        begun = time.monotonic()
        world = self._site.look(self._goal.authority)
        count = sum(len(group.instances) for group in world.fleet.groups)
        self._tell(events.Observed(instances=count, seconds=time.monotonic() - begun))
        return world

    def _stop_if_asked(self) -> None:
        if self._site.pause_requested():
            raise _Ended(Ending.STOPPED, "paused", "`rollover resume` goes on")
        if self._conduct.stopping():
            raise _Ended(Ending.STOPPED, "interrupted", "`rollover rotate` goes on from here")

    def _prove_last(self, world: World) -> None:
        """Dial the group of the last rollout afresh before anything else is done."""
        if not self._reports:
            return
        group = self._reports[-1].rollout.group
        identities = self._site.identities(self._goal.authority)
        self._gate(
            gates.handshake_gate(world.fleet, self._site.platforms, identities, groups={group}),
            HANDSHAKES,
            hint=f"look at `{group}`, then run `rollover rotate` again",
        )

    def _gate(self, seen: gates.GateResult, rule: RuleId, *, hint: str) -> None:
        self._tell(events.GateChecked(gate=seen.gate, evidence=seen.evidence, holds=seen.holds))
        self._record(
            EntryKind.GATE,
            subject=seen.gate,
            data={
                "holds": seen.holds,
                "facts": len(seen.evidence),
                "evidence": records.evidence(seen.evidence),
                "holdouts": [_holdout(each) for each in seen.holdouts[: records.MOST_SHOWN]],
            },
        )
        if seen.holds or self._overridden(rule, seen.gate):
            return
        wrong = [f"{each.subject}: {each.observed}" for each in seen.evidence if not each.holds]
        wrong += [_holdout(each) for each in seen.holdouts]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004 - one line
        raise _Ended(Ending.EVIDENCE_MISSING, f"{rule}: {'; '.join(wrong[:3])}{more}", hint)

    def _overridden(self, rule: RuleId, subject: str) -> bool:
        reason = self._conduct.overrides.get(rule)
        if reason is None:
            return False
        self._record(EntryKind.OVERRIDDEN, subject=subject, data={"rule": rule, "reason": reason})
        return True

    def _next(self, world: World) -> bool:
        """Plan from what was observed and do the first rollout; true when nothing is left."""
        plan = self._planned(world)
        if not plan.rollouts:
            if plan.complete:
                return True
            self._tell(events.Blocked(violations=plan.blocked))
            blocked = "; ".join(f"{each.rule}: {each.message}" for each in plan.blocked[:2])
            raise _Ended(Ending.WAITING, blocked, plan.blocked[0].lift)
        rollout = plan.rollouts[0]
        if not self._conduct.approve(plan, rollout):
            self._record(EntryKind.DECLINED, subject=rollout.group)
            raise _Ended(Ending.DECLINED, "declined; nothing was changed by this rollout",
                         "`rollover rotate` asks again")  # fmt: skip
        self._record(EntryKind.APPROVED, subject=rollout.group)
        if Phase.WITHDRAW in rollout.phases and not self._goal.compromised:
            self._drain(world)
        self._roll_out(world, plan, rollout)
        return False

    def _planned(self, world: World) -> Plan:
        begun = time.monotonic()
        specimens = self._site.specimens(world, self._goal)
        knowledge = specimens.knowledge(self._site.verifier(specimens.certificates))
        now = self._site.clock()
        plan = make_plan(world.fleet, self._goal, knowledge=knowledge, now=now)
        if plan.blocked and not plan.rollouts:
            plan = self._without_the_left_behind(world, plan)
        self._plan = plan
        self._record(EntryKind.PLANNED, data=records.planned(plan, done=self._done))
        seconds = time.monotonic() - begun
        self._tell(events.Planned(plan=plan, done=self._done, seconds=seconds))
        return plan

    def _without_the_left_behind(self, world: World, plan: Plan) -> Plan:
        """Return the plan that gives up those left behind, if an operator answers for that."""
        if any(each.rule != LEFT_BEHIND for each in plan.blocked):
            return plan
        behind = world.unavailable()
        if not behind or not self._overridden(LEFT_BEHIND, ", ".join(sorted(behind))):
            return plan
        world.drop(behind)
        specimens = self._site.specimens(world, self._goal)
        knowledge = specimens.knowledge(self._site.verifier(specimens.certificates))
        return make_plan(world.fleet, self._goal, knowledge=knowledge, now=self._site.clock())

    def _drain(self, world: World) -> None:
        """Prove that nobody still lives on what is about to be withdrawn; ask those who do."""
        retired = [world.certificates[each] for each in self._goal.retired
                   if each in world.certificates]  # fmt: skip
        deadline = time.monotonic() + self._site.drain_seconds

        def ask(holdouts: tuple[Holdout, ...]) -> None:
            self._tell(events.Draining(holdouts=tuple(holdouts)))
            seen = tuple(gates.cycle(world.fleet, self._site.platforms, holdouts))
            self._record(
                EntryKind.EVIDENCE, subject="cycle", data={"evidence": records.evidence(seen)}
            )

        try:
            seen = gates.drained(
                lambda: gates.drain_gate(world.fleet, self._site.platforms, retired),
                ask=lambda holdouts: ask(tuple(holdouts)),
                expired=lambda: time.monotonic() > deadline or self._conduct.stopping(),
                pause=lambda: time.sleep(self._site.poll_seconds),
            )
        except EvidenceMissing as error:
            if self._overridden(DRAIN, "drain"):
                return
            raise _Ended(Ending.EVIDENCE_MISSING, error.message, error.hint) from None
        self._gate(
            seen,
            DRAIN,
            hint="these peers still present the old CA's certificates: give them new ones (or add "
            "them to the fleet), or override `drain-incomplete` with a reason",
        )

    def _roll_out(self, world: World, plan: Plan, rollout: Rollout) -> None:
        begun = time.monotonic()
        number, of = self._done + 1, self._done + plan.whole
        issuers = Issuers(world.versions)
        drafting = Drafting(world.fleet, certificates=world.certificates, issuers=issuers)
        wanted = drafting.wanted(rollout)
        self._tell(events.Preparing(group=rollout.group, leaves=len(wanted)))
        mint = Mint(
            self._site.credentials,
            authority=self._site.authorities.signing(self._goal.authority, self._goal.target),
            clock=self._site.clock,
        )
        orders = drafting.orders(rollout, mint.leaves(wanted) if wanted else {})
        self._tell(events.RolloutStarted(number=number, of=of, rollout=rollout))
        self._record(
            EntryKind.ROLLOUT_STARTED,
            subject=rollout.group,
            data=records.rollout(rollout, number),
        )
        group = world.fleet.group(rollout.group)
        results: list[Result] = []
        for result in self._site.platforms(rollout.group).roll_out(
            orders,
            pacing=Pacing(canaries=group.canaries, max_in_flight=group.max_in_flight),
            stopping=self._asked_to_stop,
        ):
            results.append(result)
            self._keep(rollout.group, result, done=len(results), of=len(orders))
        self._end_rollout(rollout, results, len(orders), begun, number, of)

    def _asked_to_stop(self) -> bool:
        return self._site.pause_requested() or self._conduct.stopping()

    def _keep(self, group: GroupName, result: Result, *, done: int, of: int) -> None:
        applied = isinstance(result, Applied)
        self._record(
            EntryKind.CONFIRMED if applied else EntryKind.FAILED,
            subject=result.instance,
            data=records.result(result),
        )
        self._tell(events.InstanceDone(group=group, result=result, done=done, of=of))

    def _end_rollout(
        self,
        rollout: Rollout,
        results: list[Result],
        ordered: int,
        begun: float,
        number: int,
        of: int,
    ) -> None:
        failed = [each for each in results if isinstance(each, Failed)]
        if failed:
            worst = failed[0]
            kept = "it has what it had before" if worst.restored else "its state is unknown"
            raise _Ended(
                Ending.FAILED,
                f"`{worst.instance}` did not take its new material: {worst.message} ({kept})",
                worst.hint or "mend it, then run `rollover rotate` again",
            )
        if len(results) < ordered:
            self._stop_if_asked()
            raise _Ended(
                Ending.STOPPED,
                f"{len(results)} of {ordered} instances of `{rollout.group}` are done",
                "`rollover rotate` goes on from here",
            )
        seconds = time.monotonic() - begun
        self._reports.append(
            RolloutReport(number=number, rollout=rollout, results=tuple(results), seconds=seconds)
        )
        reload_seconds = sum(each.reload_seconds for each in results if isinstance(each, Applied))
        self._record(
            EntryKind.ROLLOUT_FINISHED,
            subject=rollout.group,
            data={
                "number": number,
                "of": of,
                "seconds": round(seconds, 3),
                "reload_seconds": round(reload_seconds, 4),
            },
        )
        self._tell(
            events.RolloutFinished(
                number=number,
                of=of,
                rollout=rollout,
                seconds=seconds,
                reload_seconds=reload_seconds,
            )
        )

    def _finish(self, begun: float) -> None:
        seconds = time.monotonic() - begun
        if not self._intent.finished:
            self._record(
                EntryKind.FINISHED, data={"rollouts": self._done, "seconds": round(seconds, 3)}
            )
        self._tell(events.Finished(goal=self._goal, rollouts=self._done, seconds=seconds))

    def _record_end(self, ended: _Ended) -> None:
        kind = {
            Ending.WAITING: EntryKind.REFUSED,
            Ending.EVIDENCE_MISSING: EntryKind.REFUSED,
            Ending.FAILED: EntryKind.RESTORED,
            Ending.STOPPED: EntryKind.INTERRUPTED,
            Ending.DECLINED: EntryKind.INTERRUPTED,
            Ending.DONE: EntryKind.FINISHED,
        }[ended.ending]
        self._record(
            kind,
            data={"ending": ended.ending.value, "message": ended.message, "hint": ended.hint},
        )

    def _outcome(
        self,
        ending: Ending,
        message: str,
        hint: str,
        begun: float,
        first: Fleet | None,
        last: Fleet | None,
    ) -> Outcome:
        return Outcome(
            ending=ending,
            rotation=self._intent.rotation,
            message=message,
            hint=hint,
            rollouts=tuple(self._reports),
            last_plan=self._plan,
            before=certificates_of(first),
            after=certificates_of(last),
            seconds=time.monotonic() - begun,
        )

    def _record(
        self, kind: EntryKind, *, subject: str = "", data: records.Data | None = None
    ) -> None:
        self._site.journal.append(
            self._intent.rotation, kind, at=self._site.clock(), subject=subject, data=data
        )

    def _tell(self, event: events.Event) -> None:
        self._conduct.tell(event)


def _holdout(each: Holdout) -> str:
    issuer = each.issuer or "an unknown CA"
    return f"`{each.peer}` on {each.server} still presents a certificate of {issuer}"


def certificates_of(fleet: Fleet | None) -> tuple[events.CertificateLine, ...]:
    """Return what every endpoint of a fleet presents, one line for each certificate."""
    if fleet is None:
        return ()
    lines: dict[tuple[str, str], events.CertificateLine] = {}
    for instance in fleet.instances():
        for endpoint in instance.endpoints:
            for fingerprint in endpoint.presents[:1]:
                certificate = fleet.certificates[fingerprint]
                name = f"{instance.name}/{endpoint.name}"
                lines.setdefault(
                    (instance.name, fingerprint), events.certificate_line(name, certificate)
                )
    return tuple(lines.values())


def issuers_in_use(fleet: Fleet, issuers: Issuers) -> Counter[str]:
    """Return how many endpoints present a chain of each version of an authority."""
    counted: Counter[str] = Counter()
    for instance in fleet.instances():
        for endpoint in instance.endpoints:
            chain = [fleet.certificates[each] for each in endpoint.presents]
            issuer = issuers.of(chain)
            if issuer is not None:
                counted[issuer] += 1
    return counted


Clock = Callable[[], datetime]
