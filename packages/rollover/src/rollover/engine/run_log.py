"""The account that a run gives of itself: to the journal, and to whoever watches.

The journal gets plain values only, in words that a status can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

import msgspec

from rollover.engine import events, platform_findings
from rollover.engine.events import Conduct, Ending, RolloutReport, RunEnded
from rollover.engine.fleet_context import FleetContext
from rollover.engine.gates import GateResult
from rollover.engine.goals import Intent
from rollover.engine.ports import every_entry
from rollover.engine.recovery import Recovery
from rollover.engine.rules import overridable
from rollover.fleet.evidence import Applied, Evidence, Holdout, Result
from rollover.fleet.goal import name_of
from rollover.fleet.journal import EntryKind, Plain
from rollover.fleet.names import RuleId
from rollover.fleet.plan import Plan, Rollout, Violation
from rollover.rules.rule import Finding

# Entries of the journal.

EntryData = Mapping[str, Plain]

MOST_EVIDENCE = 20
"""Evidence of one gate that is written out in full; the rest is counted."""


def started_data(intent: Intent, *, fleet: str) -> EntryData:
    """Return the intent: what an interrupted rotation is gone on with."""
    return {
        "fleet": fleet,
        "about": name_of(intent.goal.about),
        "intent": cast("Plain", msgspec.to_builtins(intent)),
    }


def plan_data(plan: Plan, *, done: int) -> EntryData:
    """Return a plan's outline."""
    return {
        "done": done,
        "whole": done + plan.whole,
        "complete": plan.complete,
        "lower_bound": plan.lower_bound,
        "point_of_no_return": None
        if plan.point_of_no_return is None
        else done + plan.point_of_no_return,
        "rollouts": [rollout_data(rollout, done + rollout.number) for rollout in plan.rollouts],
        "blocked": [violation_data(violation) for violation in plan.blocked],
        "cautions": [f"{caution.rule}: {caution.message}" for caution in plan.cautions],
        "broken": sum(broken.links for broken in plan.broken),
    }


def rollout_data(rollout: Rollout, number: int) -> EntryData:
    """Return what one rollout is."""
    return {
        "number": number,
        "group": rollout.group,
        "phases": [phase.value for phase in rollout.phases],
        "instances": rollout.instances,
        "links": rollout.proof.links,
        "combinations": rollout.proof.combinations,
        "rollback_rollouts": rollout.rollback_rollouts,
    }


def violation_data(violation: Violation) -> EntryData:
    """Return why a step is refused."""
    return {"rule": violation.rule, "message": violation.message, "lift": violation.lift}


def rollout_finished_data(
    number: int, report: RolloutReport, *, reload_seconds: float
) -> EntryData:
    """Return what a rollout came to."""
    return {
        "number": number,
        "instances": len(report.results),
        "seconds": round(report.seconds, 3),
        "reload_seconds": round(reload_seconds, 4),
    }


def result_data(result: Result) -> EntryData:
    """Return what became of one instance."""
    if isinstance(result, Applied):
        return {
            "seconds": round(result.seconds, 3),
            "reload_seconds": round(result.reload_seconds, 4),
            "evidence": evidence_data(result.evidence),
        }
    return {
        "seconds": round(result.seconds, 3),
        "code": result.code,
        "message": result.message,
        "hint": result.hint,
        "restored": result.restored,
    }


def gate_data(result: GateResult) -> EntryData:
    """Return what a gate saw."""
    return {
        "holds": result.holds,
        "facts": len(result.evidence),
        "evidence": evidence_data(result.evidence),
        "holdouts": [holdout_text(holdout) for holdout in result.holdouts[:MOST_EVIDENCE]],
    }


def holdout_text(holdout: Holdout) -> str:
    """Say who still presents what, and where."""
    issuer = holdout.issuer_name or "an unknown CA"
    return f"`{holdout.peer}` on {holdout.server} still presents a certificate of {issuer}"


def findings_data(found: Sequence[Finding]) -> EntryData:
    """Return what platforms found."""
    return {
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.value,
                "subject": finding.subject,
                "message": finding.message,
                "silenced": finding.silenced,
            }
            for finding in found
        ]
    }


def recovery_data(recovery: Recovery) -> EntryData:
    """Return who is cut off because certificates have expired."""
    return {"expired": list(recovery.expired), "cut_off": list(recovery.cut_off)}


def evidence_data(evidence: Sequence[Evidence]) -> list[Plain]:
    """Return evidence, what fails first."""
    ordered = sorted(evidence, key=lambda fact: fact.holds)
    return [
        {
            "fact": evidence.fact.value,
            "subject": str(evidence.subject),
            "holds": evidence.holds,
            "observed": evidence.observed,
            "by": evidence.by,
        }
        for evidence in ordered[:MOST_EVIDENCE]
    ]


# The account itself.

MOST_NAMED = 3
"""Failed facts that a message names; the journal and the events have all."""


class RunLog:
    """One rotation's entries and events, and the refusals that an operator answers for."""

    def __init__(self, site: FleetContext, rotation: str, conduct: Conduct) -> None:
        self._site = site
        self._rotation = rotation
        self._conduct = conduct
        self._answered: set[tuple[RuleId, str]] = set()
        self._found: set[Finding] = set()

    @cached_property
    def _overridable(self) -> frozenset[RuleId]:
        return overridable(self._site.catalogue())

    def record(self, kind: EntryKind, *, subject: str = "", data: EntryData | None = None) -> None:
        """Add an entry to the journal."""
        self._site.journal.append(
            self._rotation, kind, at=self._site.clock(), subject=subject, data=data
        )

    def tell(self, event: events.Event) -> None:
        """Tell whoever watches."""
        self._conduct.tell(event)

    def rollouts_finished(self) -> int:
        """Return how many rollouts of this rotation were finished, by any run."""
        return sum(
            entry.kind is EntryKind.ROLLOUT_FINISHED
            for entry in every_entry(self._site.journal, self._rotation)
        )

    def overridden(self, rule: RuleId, subject: str) -> bool:
        """Say whether an operator answers for a refusal; rule and reason are recorded once."""
        reason = self._conduct.overrides.get(rule)
        if reason is None or rule not in self._overridable:
            return False
        if (rule, subject) not in self._answered:
            self._answered.add((rule, subject))
            self.record(
                EntryKind.OVERRIDDEN, subject=subject, data={"rule": rule, "reason": reason}
            )
        return True

    def refuse_blocking(self, found: Sequence[Finding]) -> None:
        """Tell and record what was not found before; end the run at what stands in the way."""
        fresh = tuple(finding for finding in dict.fromkeys(found) if finding not in self._found)
        if fresh:
            self._found.update(fresh)
            self.tell(events.FindingsTold(findings=fresh))
            self.record(EntryKind.EVIDENCE, subject="findings", data=findings_data(fresh))
        wrong = [
            finding
            for finding in platform_findings.blocking(found)
            if not self.overridden(finding.rule, finding.subject)
        ]
        if not wrong:
            return
        said = [f"{finding.rule}: {finding.subject}: {finding.message}" for finding in wrong]
        remedy = wrong[0].remedy.rstrip(".")
        answer = f"; or answer for it: `--override {wrong[0].rule}=REASON`"
        hint = remedy + (answer if wrong[0].rule in self._overridable else "")
        raise RunEnded(platform_findings.ENDINGS[wrong[0].severity], _first_few(said), hint)

    def insist(self, result: GateResult, rule: RuleId, *, hint: str) -> None:
        """Record what a gate saw, and end the run when it does not hold."""
        self.tell(
            events.GateChecked(gate=result.gate, evidence=result.evidence, holds=result.holds)
        )
        self.record(EntryKind.GATE, subject=result.gate, data=gate_data(result))
        if result.holds or self.overridden(rule, result.gate):
            return
        wrong = [
            f"{evidence.subject}: {evidence.observed}"
            for evidence in result.evidence
            if not evidence.holds
        ]
        wrong += [holdout_text(holdout) for holdout in result.holdouts]
        raise RunEnded(Ending.EVIDENCE_MISSING, f"{rule}: {_first_few(wrong)}", hint)


def _first_few(said: Sequence[str]) -> str:
    """Return the first of many things said, and how many more there are."""
    more = f" and {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return f"{'; '.join(said[:MOST_NAMED])}{more}"
