"""`rollover status`: how far a rotation is, who is left behind, what to do next."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(epilog="Example:\n\n  rollover status --output json", short_help="How far it is.")
@settings_options
def command(**values: Any) -> None:
    """Say where the last rotation stands, from the journal: the fleet is not touched."""
    from rollover.cli.standing import standing  # noqa: PLC0415 - not needed for `--help`
    from rollover.cli.views import status as view  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    found = standing(settings)
    if printer.json:
        printer.data("status", found)
    elif found is None:
        printer.line("no rotation was begun here")
        printer.line(f"next command: rollover plan{settings.fleet_words}")
    else:
        view.show(printer, found)
