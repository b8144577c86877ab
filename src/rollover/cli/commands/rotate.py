"""`rollover rotate`: does it, one proven rollout after another."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import authority_option, goal_options, settings_of, settings_options


@click.command(
    epilog="Example:\n\n  rollover rotate --authority nats-ca --yes",
    short_help="Rotate a CA, or go on with it.",
)
@authority_option
@goal_options
@click.option("--yes", is_flag=True, help="Approve every rollout beforehand.")
@click.option(
    "--override",
    "overridden",
    multiple=True,
    metavar="RULE=REASON",
    help="Answer for a refusal; rule and reason go into the journal.",
)
@settings_options
def command(**values: Any) -> int:
    """Rotate a CA: observe, plan, one rollout, prove, and again until nothing is left.

    An unfinished rotation is gone on with. Asks before each rollout unless `--yes`.
    """
    from rollover.cli.conduct import close, conducted  # noqa: PLC0415 - imports certificates
    from rollover.cli.requests import overrides_of, request_of  # noqa: PLC0415
    from rollover.cli.wiring import open_site  # noqa: PLC0415
    from rollover.engine.service import Rollover  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    overrides = overrides_of(values["overridden"])
    with open_site(settings.fleet) as site:
        library = Rollover(site)
        request = request_of(library, values)
        with conducted(printer, yes=values["yes"], overrides=overrides) as conduct:
            outcome = library.rotate(request, conduct)
    return close(printer, outcome)
