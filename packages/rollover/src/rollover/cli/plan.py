"""`rollover plan`: what would be done, and the proof that it is safe; or a runbook of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import (
    authority_option,
    given_options,
    goal_options,
    recover_option,
    runbook_option,
    settings_of,
    settings_options,
)
from rollover.cli.printer import counted
from rollover.errors import ExitCode, SafetyError, SpecError
from rollover.fleet.fleet import Touch
from rollover.fleet.goal import Approach, name_of
from rollover.rules.rule import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rollover.cli.options import Settings
    from rollover.cli.printer import Printer
    from rollover.engine.recovery import Recovery
    from rollover.engine.service import Outlook
    from rollover.fleet.plan import Change, Plan, Rollout


@click.command(
    epilog="Examples:\n\n  rollover plan --authority nats-ca --cross-sign\n\n"
    "  rollover plan --runbook runbook\n\n"
    "  rollover plan --renew b --with new.pem --ca ca.pem --roles gateway,gateway-remote",
    short_help="The rollouts, their proof, their cost.",
)
@authority_option
@goal_options
@given_options
@recover_option
@runbook_option
@settings_options
def command(**values: Any) -> int:
    """Plan the rotation of a CA on what the fleet is now, with the proof of every rollout.

    With `--bundle` no CA is rotated: the chosen endpoints get a bundle that was curated. With
    `--renew` a group gets a chain that others have issued; refused where a link would break.
    """
    from rollover.cli.goal_options import request_of  # noqa: PLC0415
    from rollover.cli.running import exit_of_plan, plan_fields  # noqa: PLC0415
    from rollover.rules.rule import Severity  # noqa: PLC0415 - imports certificates
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    if values["runbook"] is not None:
        write_runbook(printer, settings, values)
        return ExitCode.DONE
    with open_fleet(settings.fleet, scratch=True, recover=values["recover"]) as library:
        outlook = library.outlook(request_of(library, values))
    if printer.json:
        printer.data("plan", plan_fields(outlook.whole()))
    else:
        show_outlook(printer, outlook, recover=values["recover"])
    exits = {Severity.ERROR: ExitCode.WAITING, Severity.EVIDENCE: ExitCode.EVIDENCE_MISSING}
    for finding in outlook.blocking:
        return exits[finding.severity]
    return exit_of_plan(outlook.plan)


# Runbooks.


def write_runbook(printer: Printer, settings: Settings, values: dict[str, Any]) -> None:
    """Plan, and write the runbook of the plan into a directory; no instance is changed.

    Raises `SpecError` for a fleet that is no director's, and for what `create-env` cannot make;
    `SafetyError` when a CA has expired and nobody has said that this is known.
    """
    from rollover.cli.goal_options import request_of  # noqa: PLC0415 - imports certificates
    from rollover.site import open_director, open_fleet  # noqa: PLC0415 - imports every platform

    _refuse_what_is_not_made_by_hand(values)
    directory: Path = values["runbook"]
    with open_director(settings.fleet) as director:
        with open_fleet(settings.fleet, scratch=True, recover=values["recover"]) as library:
            outlook = library.outlook(request_of(library, values))
        refuse_unasked_recovery(outlook.recovery, asked=values["recover"])
        written = director.write_runbook(directory, outlook)
    _tell(printer, written, outlook)


def _refuse_what_is_not_made_by_hand(values: dict[str, Any]) -> None:
    for option, name in (("--key", "key_kind"), ("--to", "to")):
        if values.get(name) is not None:
            raise SpecError(
                f"`{option}` cannot be written as a runbook: by hand, `create-env` makes the new "
                "CA, an RSA one of its own",
                hint=f"leave `{option}` out, or let `rollover rotate` do it",
            )


def refuse_unasked_recovery(recovery: Recovery, *, asked: bool) -> None:
    """Raise `SafetyError` when instances are cut off and nobody has said that this is known."""
    from rollover.engine.rules import RECOVERY  # noqa: PLC0415 - imports certificates

    if recovery.needed and not asked:
        raise SafetyError(
            f"{RECOVERY}: {'; '.join(recovery.expired) or 'certificates have expired'}: "
            "a rotation does not help any more",
            hint="`--recover --runbook DIR` writes how to make anew who is cut off; that is not "
            "safe, and the runbook names what may be lost",
        )


def _tell(printer: Printer, written: tuple[Path, ...], outlook: Outlook) -> None:
    if printer.json:
        printer.data("runbook", {"files": [str(path) for path in written]})
        return
    for path in written:
        printer.line(str(path))
    if not outlook.plan.complete:
        printer.say("it ends before the goal: its last section says what stands in the way", "warn")
    printer.say(f"the runbook is `{written[-1]}`; nothing was changed", "good")


# The view.

_INTERRUPTING = frozenset({Touch.RESTART, Touch.RECREATE})


def show_plan(printer: Printer, plan: Plan) -> None:
    """Show the rollouts, each with its proof, then what an operator must know."""
    _table(printer, plan)
    for text, style in closing_lines(plan):
        printer.line(text, style)


def show_outlook(printer: Printer, outlook: Outlook, *, recover: bool) -> None:
    """Show a plan with all else that is known beforehand. `recover`: it is to be a recovery."""
    from rollover.engine.recovery import LOSSES  # noqa: PLC0415 - imports certificates

    if recover or outlook.recovery.needed:
        for text, style in recovery_lines(outlook.recovery, losses=LOSSES):
            printer.line(text, style)
        if not recover:
            printer.line("  `rollover plan --recover` plans that; `rollover rotate` refuses it")
        printer.line()
    _table(printer, outlook.plan)
    for text, style in (*closing_lines(outlook.plan), *_found(outlook.findings)):
        printer.line(text, style)


def _found(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """Yield what platforms found, what stands in the way first."""
    order = list(Severity)
    for finding in sorted(findings, key=lambda found: order.index(found.severity)):
        text = f"{finding.rule}: {finding.subject}: {finding.message}"
        if finding.silenced:
            yield f"  silenced: {text} ({finding.silenced})", "dim"
        elif finding.severity is Severity.WARNING:
            yield f"! {text} ({finding.remedy})", "warn"
        else:
            yield f"✗ {text}", "bad"
            yield f"  to lift it: {finding.remedy}", ""


def _table(printer: Printer, plan: Plan) -> None:
    printer.line(
        f"Plan for `{plan.fleet}`: {name_of(plan.goal.about)}, {plan_verdict(plan)}", "bold"
    )
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
            (_row(rollout) for rollout in plan.rollouts),
        )
        printer.line()
        for rollout in plan.rollouts:
            for detail in _details(rollout):
                printer.line(detail, "dim")


def plan_verdict(plan: Plan) -> str:
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


def _row(rollout: Rollout) -> tuple[str, ...]:
    back = "–" if rollout.rollback_rollouts is None else str(rollout.rollback_rollouts)
    return (
        str(rollout.number),
        rollout.group,
        ", ".join(rollout.phases),
        str(rollout.instances),
        str(rollout.waves),
        rollout.touch.value,
        str(rollout.weight),
        f"{rollout.proof.links:,}",
        f"{rollout.proof.combinations:,}",
        back,
        duration_words(rollout.duration),
    )


def _details(rollout: Rollout) -> Iterator[str]:
    for change in rollout.changes:
        yield f"{rollout.number:>3}. {change.group}/{change.endpoint}: {change_words(change)}"
    for notice in rollout.notices:
        yield f"     ! {notice}"
    for broken in rollout.breaks:
        healed = (
            f"until rollout {broken.heals_after}" if broken.heals_after else "and does not heal"
        )
        link = f"{broken.witness.dialer} → {broken.witness.acceptor}"
        yield f"     ✗ breaks {broken.links} links like {link}, {healed}"


def change_words(change: Change) -> str:
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


def closing_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield what follows the table, with its style."""
    if any(rollout.touch in _INTERRUPTING for rollout in plan.rollouts):
        times = ", ".join(
            f"{rollout.group} {duration_words(rollout.duration)}" for rollout in plan.rollouts
        )
        whole = sum((rollout.duration for rollout in plan.rollouts), timedelta())
        yield (
            f"Takes about {duration_words(whole)} in all: {times}; people's time comes on top.",
            "",
        )
    if plan.point_of_no_return is not None:
        number = plan.point_of_no_return
        yield (
            f"Point of no return: rollout {number} is the first to take the old CA's trust away;",
            "",
        )
        yield "  going back after it starts with trusting that CA again.", ""
    for broken in plan.broken[:5]:
        reasons = "; ".join(dict.fromkeys(fault.detail for fault in broken.witness.faults))
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


def duration_words(time: timedelta) -> str:
    """Return a time as people say it."""
    seconds = time.total_seconds()
    if seconds < 120:  # noqa: PLR2004 - two minutes read better in seconds
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 - two hours in minutes
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# A recovery never looks as if it were safe.

MOST_NAMED_CUT_OFF = 8


def recovery_lines(recovery: Recovery, *, losses: str) -> Iterator[tuple[str, str]]:
    """Yield what is to be said before anything is done, each line with its style."""
    for expired in recovery.expired:
        yield f"✗ {expired}", "bad"
    if recovery.cut_off:
        named = ", ".join(f"`{name}`" for name in recovery.cut_off[:MOST_NAMED_CUT_OFF])
        more = len(recovery.cut_off) - MOST_NAMED_CUT_OFF
        rest = f" and {more} more" if more > 0 else ""
        yield f"✗ {len(recovery.cut_off)} instances are cut off by it: {named}{rest}", "bad"
    yield f"NOT SAFE: {losses}", "bad"
