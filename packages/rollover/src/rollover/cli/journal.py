"""`rollover journal`: what happened, in order, and whether anybody changed it since."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(epilog="Example:\n\n  rollover journal --verify", short_help="What happened.")
@click.option("--rotation", metavar="ID", help="Only the entries of one rotation.")
@click.option("--verify", is_flag=True, help="Check the chain of hashes from the first entry.")
@click.option("--after", type=int, default=0, help="Only entries behind this sequence number.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=500, show_default=True)
@settings_options
def command(**values: Any) -> None:
    """Show the journal: evidence and decisions, each chained to the one before by its hash."""
    from rollover.errors import SpecError  # noqa: PLC0415 - not needed for `--help`
    from rollover.store import state_files  # noqa: PLC0415
    from rollover.store.journal import open_journal  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    path = settings.state / state_files.JOURNAL
    if not path.exists():
        raise SpecError(
            "there is no journal yet", place=str(path), hint="`rollover rotate` writes it"
        )
    with open_journal(path) as journal:
        if values["verify"]:
            head = journal.verify()
            if printer.json:
                printer.data("head", head)
            else:
                printer.line(f"whole: {head.sequence} entries, head {head.hash}")
            return
        entries = journal.entries(
            rotation=values["rotation"], after=values["after"], limit=values["limit"]
        )
    if printer.json:
        printer.data("entries", entries)
        return
    for entry in entries:
        said = entry.data.get("message") or entry.data.get("reason") or ""
        text = f"{entry.sequence:>5} {entry.at:%Y-%m-%d %H:%M:%S} {entry.kind:<16} {entry.subject}"
        printer.line(f"{text} {said}".rstrip())
