"""How a plan looks to people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rollover.checks.rule import Finding, Severity
from rollover.cli.views import recovery as recovery_view
from rollover.cli.views.counting import counted
from rollover.fleet.goal import Approach, name_of
from rollover.fleet.model import Touch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rollover.cli.printer import Printer
    from rollover.engine.service import Outlook
    from rollover.fleet.plan import Change, Plan, Rollout

_INTERRUPTING = frozenset({Touch.RESTART, Touch.RECREATE})


def show(printer: Printer, plan: Plan) -> None:
    """Show the rollouts, each with its proof, then what an operator must know."""
    _table(printer, plan)
    for text, style in closing(plan):
        printer.line(text, style)


def show_outlook(printer: Printer, seen: Outlook, *, recover: bool) -> None:
    """Show a plan with all else that is known beforehand. `recover`: it is to be a recovery."""
    from rollover.engine.recovery import LOSSES  # noqa: PLC0415 - imports certificates

    if recover or seen.recovery.needed:
        for text, style in recovery_view.lines(seen.recovery, losses=LOSSES):
            printer.line(text, style)
        if not recover:
            printer.line("  `rollover plan --recover` plans that; `rollover rotate` refuses it")
        printer.line()
    _table(printer, seen.plan)
    for text, style in (*closing(seen.plan), *_found(seen.findings)):
        printer.line(text, style)


def _found(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """Yield what platforms found, what stands in the way first."""
    order = list(Severity)
    for each in sorted(findings, key=lambda one: order.index(one.severity)):
        text = f"{each.rule}: {each.subject}: {each.message}"
        if each.silenced:
            yield f"  silenced: {text} ({each.silenced})", "dim"
        elif each.severity is Severity.WARNING:
            yield f"! {text} ({each.remedy})", "warn"
        else:
            yield f"✗ {text}", "bad"
            yield f"  to lift it: {each.remedy}", ""


def _table(printer: Printer, plan: Plan) -> None:
    printer.line(f"Plan for `{plan.fleet}`: {name_of(plan.goal.about)}, {verdict(plan)}", "bold")
    if plan.rollouts:
        printer.line()
        printer.table(
            (
                "#",
                "group",
                "does",
                "instances",
                "waves",
                "by",
                "weight",
                "links",
                "mixtures",
                "back",
                "takes",
            ),
            (_row(each) for each in plan.rollouts),
        )
        printer.line()
        for rollout in plan.rollouts:
            for text in _details(rollout):
                printer.line(text, "dim")


def verdict(plan: Plan) -> str:
    """Return the exact word: how many rollouts, and whether fewer are possible."""
    if plan.converged:
        return "nothing to do: the fleet is at the goal"
    count = counted(len(plan.rollouts), "rollout")
    if not plan.complete:
        return f"{count} of {plan.whole} possible now"
    if plan.goal.approach is Approach.LEAST_HARM:
        return f"{count}, straight to the goal: the old CA is compromised"
    if plan.lower_bound == len(plan.rollouts):
        return f"{count}, the fewest possible"
    if plan.weight_lower_bound == plan.weight:
        return f"{count}, the cheapest possible"
    return f"{count}, at least {plan.lower_bound} are needed"


def _row(each: Rollout) -> tuple[str, ...]:
    back = "–" if each.rollback_rollouts is None else str(each.rollback_rollouts)
    return (
        str(each.number),
        each.group,
        ", ".join(each.phases),
        str(each.instances),
        str(each.waves),
        each.touch.value,
        str(each.weight),
        f"{each.proof.links:,}",
        f"{each.proof.combinations:,}",
        back,
        duration(each.duration),
    )


def _details(rollout: Rollout) -> Iterator[str]:
    for change in rollout.changes:
        yield f"{rollout.number:>3}. {change.group}/{change.endpoint}: {what(change)}"
    for notice in rollout.notices:
        yield f"     ! {notice}"
    for each in rollout.breaks:
        healed = f"until rollout {each.heals_after}" if each.heals_after else "and does not heal"
        link = f"{each.witness.dialer} → {each.witness.acceptor}"
        yield f"     ✗ breaks {each.links} links like {link}, {healed}"


def what(change: Change) -> str:
    """Return what an endpoint changes, in the words of the authority's versions."""
    parts = []
    if change.present is not None:
        parts.append(f"presents {change.present} (was {change.present_from})")
    if change.trust is not None:
        before = "+".join(change.trust_from or ()) or "nothing of it"
        parts.append(f"trusts {'+'.join(change.trust) or 'nothing of it'} (was {before})")
    if change.file is not None:
        parts.append(f"finds its CAs in {change.file} (was {change.file_from})")
    return ", ".join(parts)


def closing(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield what follows the table, with its style."""
    if any(each.touch in _INTERRUPTING for each in plan.rollouts):
        times = ", ".join(f"{each.group} {duration(each.duration)}" for each in plan.rollouts)
        whole = sum((each.duration for each in plan.rollouts), timedelta())
        yield f"Takes about {duration(whole)} in all: {times}; people's time comes on top.", ""
    if plan.point_of_no_return is not None:
        number = plan.point_of_no_return
        yield (
            f"Point of no return: rollout {number} is the first to take the old CA's trust away;",
            "",
        )
        yield "  going back after it starts with trusting that CA again.", ""
    for broken in plan.broken[:5]:
        reasons = "; ".join(dict.fromkeys(each.detail for each in broken.witness.faults))
        link = f"{broken.witness.dialer} → {broken.witness.acceptor}"
        yield (
            f"! {broken.links} links like {link} do not work now ({reasons}): not protected",
            "warn",
        )
    for caution in plan.cautions:
        remedy = f" ({caution.remedy})" if caution.remedy else ""
        yield f"! {caution.rule}: {caution.message}{remedy}", "warn"
    for violation in plan.blocked:
        yield f"✗ {violation.rule}: {violation.message}", "bad"
        yield f"  to lift it: {violation.lift}", ""


def duration(time: timedelta) -> str:
    """Return a time as people say it."""
    seconds = time.total_seconds()
    if seconds < 120:  # noqa: PLR2004 - two minutes read better in seconds
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 - two hours in minutes
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
