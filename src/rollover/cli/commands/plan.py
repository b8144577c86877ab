"""`rollover plan`: what would be done, and the proof that it is safe. Changes nothing."""

from __future__ import annotations

from typing import Any

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
from rollover.errors import ExitCode


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
    from rollover.checks.rule import Severity  # noqa: PLC0415 - imports certificates
    from rollover.cli.conduct import ended  # noqa: PLC0415
    from rollover.cli.requests import request_of  # noqa: PLC0415
    from rollover.cli.runbooks import write_for  # noqa: PLC0415
    from rollover.cli.views import plan as view  # noqa: PLC0415
    from rollover.cli.views.goal import plan_fields  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    if values["runbook"] is not None:
        write_for(printer, settings, values)
        return ExitCode.DONE
    with open_fleet(settings.fleet, scratch=True, recover=values["recover"]) as library:
        seen = library.outlook(request_of(library, values))
    if printer.json:
        printer.data("plan", plan_fields(seen.whole()))
    else:
        view.show_outlook(printer, seen, recover=values["recover"])
    exits = {Severity.ERROR: ExitCode.WAITING, Severity.EVIDENCE: ExitCode.EVIDENCE_MISSING}
    for each in seen.blocking:
        return exits[each.severity]
    return ended(seen.plan)
