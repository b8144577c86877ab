"""`rollover check`: can this fleet be rotated, and what stands in the way?"""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import authority_option, settings_of, settings_options
from rollover.errors import ExitCode


@click.command(
    epilog="Examples:\n\n  rollover check\n\n  rollover check --expires-within 90 --output json",
    short_help="What stands in the way.",
)
@authority_option
@click.option(
    "--expires-within",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="Warn of certificates that end within so many days.",
)
@settings_options
def command(**values: Any) -> int:
    """Look at the whole fleet and say what stands in the way of a rotation. Changes nothing.

    Exit code 0: nothing; 3: an error does; 5: something could not be seen. Rules are silenced,
    with a reason, under `silenced` in the fleet file.
    """
    from rollover.checks.rule import Severity  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import check as view  # noqa: PLC0415
    from rollover.cli.wiring import open_site  # noqa: PLC0415
    from rollover.engine.checking import check_site  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_site(settings.fleet) as site:
        report = check_site(site, values["authority"], expiry_days=values["expires_within"])
    if printer.json:
        printer.data("report", report)
    else:
        view.show(printer, report)
    exits = {Severity.ERROR: ExitCode.REFUSED, Severity.EVIDENCE: ExitCode.EVIDENCE_MISSING}
    return ExitCode.DONE if report.worst is None else exits.get(report.worst, ExitCode.DONE)
