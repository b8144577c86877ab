"""Where a rotation stands, from the files beside a fleet file; light to import."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rollover.cli.options import Settings
from rollover.engine.status import Status, read_status
from rollover.errors import SpecError
from rollover.store import files
from rollover.store.processes import is_known_dead
from rollover.store.sqlite_journal import open_journal
from rollover.store.sqlite_lease import open_leases


def standing(settings: Settings) -> Status | None:
    """Return where the last rotation stands; None when none was begun; `SpecError`: no fleet."""
    journal_file = settings.state / files.JOURNAL
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
            paused=(settings.state / files.PAUSE).exists(),
        )
    if found is None:
        return None
    command = found.next_command + settings.fleet_words
    return msgspec.structs.replace(found, next_command=command)


def _runs(state: Path, lease: str) -> bool:
    """Say whether a process that is not known to be dead holds the lease."""
    path = state / files.LEASES
    if not path.exists():
        return False
    with open_leases(path) as leases:
        held = leases.current(lease)
    return (
        held is not None and held.expires_at > datetime.now(UTC) and not is_known_dead(held.holder)
    )
