"""`rollover rotate`: does it, one proven rollout after another."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import (
    authority_option,
    given_options,
    goal_options,
    override_option,
    recover_option,
    runbook_option,
    settings_of,
    settings_options,
)
from rollover.errors import ExitCode, SpecError


@click.command(
    epilog="Examples:\n\n  rollover rotate --authority nats-ca --yes\n\n"
    "  rollover rotate --recover --window 2026-11-22T22:00Z/PT4H\n\n"
    "  rollover rotate --bundle ca.pem --as cabundle.pem --roles gateway,gateway-remote",
    short_help="Rotate a CA, or go on with it.",
)
@authority_option
@goal_options
@given_options
@click.option("--yes", is_flag=True, help="Approve every rollout beforehand.")
@override_option
@recover_option
@click.option(
    "--window",
    metavar="START/END",
    help="Begin rollouts in this time only: an ISO 8601 interval, or a duration from now on.",
)
@runbook_option
@settings_options
def command(**values: Any) -> int:
    """Rotate a CA: observe, plan, one rollout, prove, and again until nothing is left.

    An unfinished rotation is gone on with. Asks before each rollout unless `--yes`. Outside of
    `--window` nothing is begun: exit code 2.

    With `--bundle` no CA is rotated: the chosen endpoints get a bundle that was curated. With
    `--renew` a group gets a chain that others have issued; refused where a link would break.
    """
    from rollover.cli.goal_options import overrides_of, request_of, window_of  # noqa: PLC0415
    from rollover.cli.plan import write_runbook  # noqa: PLC0415
    from rollover.cli.running import conducted, show_outcome  # noqa: PLC0415 - imports certificates
    from rollover.site import now, open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    overrides = overrides_of(values["overridden"])
    window = window_of(values["window"], now=now())
    if values["runbook"] is not None:
        write_runbook(printer, settings, values)
        return ExitCode.DONE
    if values["recover"] and values["yes"] and window is None:
        raise SpecError(
            "`--recover --yes` would make instances anew at any time",
            hint="name the maintenance window with `--window START/END`, or leave `--yes` out and "
            "answer at the terminal",
        )
    with open_fleet(settings.fleet, recover=values["recover"]) as library:
        request = request_of(library, values)
        with conducted(printer, yes=values["yes"], overrides=overrides, window=window) as conduct:
            outcome = library.rotate(request, conduct)
    return show_outcome(printer, outcome)
