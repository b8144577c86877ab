"""`rollover verify`: every endpoint dialled afresh, with the chains of every CA version."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import authority_option, settings_of, settings_options
from rollover.errors import ExitCode


@click.command(epilog="Example:\n\n  rollover verify", short_help="Prove what the fleet accepts.")
@authority_option
@settings_options
def command(**values: Any) -> int:
    """Dial every endpoint afresh: what it presents, which CAs it advertises, whom it lets in."""
    from rollover.cli.views import verification as view  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415 - imports certificates

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet, scratch=True) as library:
        seen = library.verify(library.about(values["authority"]))
    if printer.json:
        printer.data("verification", {"holds": seen.holds, "gates": seen.gates})
    else:
        view.show(printer, seen)
    return ExitCode.DONE if seen.holds else ExitCode.EVIDENCE_MISSING
