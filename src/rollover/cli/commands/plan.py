"""`rollover plan`: what would be done, and the proof that it is safe. Changes nothing."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import authority_option, goal_options, settings_of, settings_options
from rollover.errors import ExitCode


@click.command(
    epilog="Example:\n\n  rollover plan --authority nats-ca --cross-sign",
    short_help="The rollouts, their proof, their cost.",
)
@authority_option
@goal_options
@settings_options
def command(**values: Any) -> int:
    """Plan the rotation of a CA on what the fleet is now, with the proof of every rollout."""
    from rollover.cli.requests import request_of  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import plan as view  # noqa: PLC0415
    from rollover.cli.wiring import open_site  # noqa: PLC0415
    from rollover.engine.service import Rollover  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_site(settings.fleet, scratch=True) as site:
        library = Rollover(site)
        plan = library.plan(request_of(library, values))
    if printer.json:
        printer.data("plan", plan)
    else:
        view.show(printer, plan)
    return ExitCode.DONE if plan.complete else ExitCode.WAITING
