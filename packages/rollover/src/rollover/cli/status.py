"""`rollover status`: how far a rotation is, who is left behind, what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rollover.cli.options import Settings, settings_of, settings_options
from rollover.cli.printer import Printer, plain
from rollover.engine.journal import read_status
from rollover.errors import SpecError
from rollover.store import state_files
from rollover.store.journal import open_journal
from rollover.store.leases import is_known_dead, open_leases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollover.engine.journal import Status


@click.command(epilog="Example:\n\n  rollover status --output json", short_help="How far it is.")
@settings_options
def command(**values: Any) -> None:
    """Say where the last rotation stands, from the journal: the fleet is not touched."""
    settings = settings_of(values)
    printer = settings.printer()
    found = last_run(settings)
    if printer.json:
        printer.data("status", found)
    elif found is None:
        printer.line("no rotation was begun here")
        printer.line(f"next command: rollover plan{settings.fleet_words}")
    else:
        show_status(printer, found)


def last_run(settings: Settings) -> Status | None:
    """Return where the last rotation stands; None when none was begun; `SpecError`: no fleet."""
    journal_file = settings.state / state_files.JOURNAL
    if not journal_file.exists():
        if not settings.fleet.exists():
            raise SpecError(
                "there is no such fleet file",
                place=str(settings.fleet),
                hint="`rollover discover` writes one, or name another with `--fleet`",
            )
        return None
    with open_journal(journal_file) as journal:
        found = read_status(
            journal,
            runs=lambda fleet: _runs(settings.state, fleet),
            paused=(settings.state / state_files.PAUSE).exists(),
        )
    if found is None:
        return None
    command = found.next_command + settings.fleet_words
    return msgspec.structs.replace(found, next_command=command)


def _runs(state: Path, lease: str) -> bool:
    """Say whether a process that is not known to be dead holds the lease."""
    path = state / state_files.LEASES
    if not path.exists():
        return False
    with open_leases(path) as leases:
        held = leases.current(lease)
    return (
        held is not None and held.expires_at > datetime.now(UTC) and not is_known_dead(held.holder)
    )


# The view: at most 24 lines, whatever happened.

MOST_LINES = 24
MOST_COLUMNS = 160


def show_status(printer: Printer, status: Status) -> None:
    """Show where a rotation stands."""
    # Messages come from servers, too: what they say must not take more lines than it is given.
    lines = [plain(" ".join(text.splitlines())) for text in _lines(status)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 2], "  …", lines[-1]]
    for text in lines:
        printer.line(text if len(text) <= MOST_COLUMNS else text[: MOST_COLUMNS - 1] + "…")


def _lines(status: Status) -> Iterator[str]:
    yield f"{status.kind} of {status.authority} in `{status.fleet}` ({status.rotation})"
    yield f"state     {status.state}: {status.done} of {status.of} rollouts done"
    if status.group and status.state != "finished":
        phases = ", ".join(status.phases)
        confirmed = f", {status.confirmed}/{status.instances} confirmed" if status.confirmed else ""
        word = "running " if status.state == "running" else "next    "
        yield f"{word}  rollout {status.done + 1}: {status.group}, {phases}{confirmed}"
    yield f"started   {status.started_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"last      {status.last_at:%Y-%m-%d %H:%M:%S} UTC"
    if status.message and status.state != "finished":
        yield f"because   {status.message}"
    if status.left_behind:
        yield "left behind, or in the way:"
    for left_behind in status.left_behind:
        yield f"  {left_behind.rule}: {left_behind.message}"
        if left_behind.lift:
            yield f"    {left_behind.lift}"
    for reason in status.overridden[:2]:
        yield f"overridden {reason}"
    if status.point_of_no_return:
        passed = "passed" if status.done >= status.point_of_no_return else "ahead"
        yield f"point of no return: rollout {status.point_of_no_return} ({passed})"
    yield f"next command: {status.next_command}"
