"""What a rotation writes into the journal: plain values only, in words that a status can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from rollover.checks.rule import Finding
from rollover.engine.gates import GateResult
from rollover.engine.goals import Intent
from rollover.engine.outcome import RolloutReport
from rollover.engine.recovery import Recovery
from rollover.fleet.evidence import Applied, Evidence, Holdout, Result
from rollover.fleet.goal import name_of
from rollover.fleet.journal import Plain
from rollover.fleet.plan import Plan, Rollout, Violation

Data = Mapping[str, Plain]

MOST_SHOWN = 20
"""Evidence of one gate that is written out in full; the rest is counted."""


def started(intent: Intent, *, fleet: str) -> Data:
    """Return the intent: what an interrupted rotation is gone on with."""
    return {
        "fleet": fleet,
        "about": name_of(intent.goal.about),
        "intent": cast("Plain", msgspec.to_builtins(intent)),
    }


def planned(plan: Plan, *, done: int) -> Data:
    """Return a plan's outline."""
    return {
        "done": done,
        "whole": done + plan.whole,
        "complete": plan.complete,
        "lower_bound": plan.lower_bound,
        "point_of_no_return": None
        if plan.point_of_no_return is None
        else done + plan.point_of_no_return,
        "rollouts": [rollout(each, done + each.number) for each in plan.rollouts],
        "blocked": [violation(each) for each in plan.blocked],
        "cautions": [f"{each.rule}: {each.message}" for each in plan.cautions],
        "broken": sum(each.links for each in plan.broken),
    }


def rollout(each: Rollout, number: int) -> Data:
    """Return what one rollout is."""
    return {
        "number": number,
        "group": each.group,
        "phases": [phase.value for phase in each.phases],
        "instances": each.instances,
        "links": each.proof.links,
        "combinations": each.proof.combinations,
        "rollback_rollouts": each.rollback_rollouts,
    }


def violation(each: Violation) -> Data:
    """Return why a step is refused."""
    return {"rule": each.rule, "message": each.message, "lift": each.lift}


def finished(number: int, report: RolloutReport, *, reload_seconds: float) -> Data:
    """Return what a rollout came to."""
    return {
        "number": number,
        "instances": len(report.results),
        "seconds": round(report.seconds, 3),
        "reload_seconds": round(reload_seconds, 4),
    }


def result(each: Result) -> Data:
    """Return what became of one instance."""
    if isinstance(each, Applied):
        return {
            "seconds": round(each.seconds, 3),
            "reload_seconds": round(each.reload_seconds, 4),
            "evidence": evidence(each.evidence),
        }
    return {
        "seconds": round(each.seconds, 3),
        "code": each.code,
        "message": each.message,
        "hint": each.hint,
        "restored": each.restored,
    }


def gate(seen: GateResult) -> Data:
    """Return what a gate saw."""
    return {
        "holds": seen.holds,
        "facts": len(seen.evidence),
        "evidence": evidence(seen.evidence),
        "holdouts": [holdout(each) for each in seen.holdouts[:MOST_SHOWN]],
    }


def holdout(each: Holdout) -> str:
    """Say who still presents what, and where."""
    issuer = each.issuer or "an unknown CA"
    return f"`{each.peer}` on {each.server} still presents a certificate of {issuer}"


def findings(found: Sequence[Finding]) -> Data:
    """Return what platforms found."""
    return {
        "findings": [
            {
                "rule": each.rule,
                "severity": each.severity.value,
                "subject": each.subject,
                "message": each.message,
                "silenced": each.silenced,
            }
            for each in found
        ]
    }


def recovery(seen: Recovery) -> Data:
    """Return who is cut off because certificates have expired."""
    return {"expired": list(seen.expired), "cut_off": list(seen.cut_off)}


def evidence(seen: Sequence[Evidence]) -> list[Plain]:
    """Return evidence, what fails first."""
    ordered = sorted(seen, key=lambda each: each.holds)
    return [
        {
            "fact": each.fact.value,
            "subject": str(each.subject),
            "holds": each.holds,
            "observed": each.observed,
            "by": each.by,
        }
        for each in ordered[:MOST_SHOWN]
    ]
