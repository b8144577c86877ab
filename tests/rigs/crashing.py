"""A process that dies at any entry of its journal, and the run after that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rigs.memory_fleet import MemoryFleet
from rigs.memory_state import MemoryJournal
from rollover.engine.events import Outcome
from rollover.errors import JournalError
from rollover.fleet.journal import Entry, EntryKind, Plain


class Crash(BaseException):
    """The process ends here, in the middle of whatever it does."""


class CrashingJournal(MemoryJournal):
    """A journal whose writer dies before or behind its n-th entry."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.written = True
        self.full: int | None = None
        """From this entry on there is no room."""

    def append(
        self,
        rotation: str,
        kind: EntryKind,
        *,
        at: datetime,
        subject: str = "",
        data: Mapping[str, Plain] | None = None,
    ) -> Entry:
        """Add an entry, or die, or find no room."""
        if self.full is not None and len(self.entries()) + 1 >= self.full:
            raise JournalError("no room", hint="make room")
        if self.left is not None:
            self.left -= 1
        if self.left == 0 and not self.written:
            raise Crash
        entry = super().append(rotation, kind, at=at, subject=subject, data=data)
        if self.left == 0:
            raise Crash
        return entry


def first_of_each_kind(fleet: MemoryFleet, *, standby: bool = False) -> tuple[int, ...]:
    """Rotate a fleet and return the numbers of the entries that were the first of their kinds."""
    fleet.rotate(standby=standby)
    numbers: dict[EntryKind, int] = {}
    for number, entry in enumerate(fleet.journal.entries(), start=1):
        numbers.setdefault(entry.kind, number)
    return tuple(numbers.values())


def crash_at(
    fleet: MemoryFleet, number: int, *, written: bool, standby: bool = False
) -> Outcome | None:
    """Run a rotation that dies at its n-th entry, and go on; None when it never gets that far."""
    fleet.journal = journal = CrashingJournal()
    journal.left, journal.written = number, written
    try:
        fleet.rotate(standby=standby)
    except Crash:
        journal.left = None
        return fleet.rotate(standby=standby)
    return None
