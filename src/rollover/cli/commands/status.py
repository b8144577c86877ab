"""`rollover status`: how far a rotation is, who is left behind, what to do next."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(epilog="Example:\n\n  rollover status --output json", short_help="How far it is.")
@settings_options
def command(**values: Any) -> None:
    """Say where the last rotation stands, from the journal: the fleet is not touched."""
    from rollover.cli.views import status as view  # noqa: PLC0415 - not needed for `--help`
    from rollover.engine.status import read_status  # noqa: PLC0415
    from rollover.errors import SpecError  # noqa: PLC0415
    from rollover.store.sqlite_journal import open_journal  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    path = settings.state / "journal.db"
    if not path.exists():
        if not settings.fleet.exists():
            raise SpecError(
                "there is no such fleet file",
                place=str(settings.fleet),
                hint="`rollover discover` writes one, or name another with `--fleet`",
            )
        found = None
    else:
        with open_journal(path) as journal:
            found = read_status(journal)
    if printer.json:
        printer.data("status", found)
    elif found is None:
        printer.line("no rotation was begun here")
        printer.line("next command: rollover plan")
    else:
        view.show(printer, found)
