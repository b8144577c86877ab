"""After which time VMs were made, as certainly as it can be known: that says what they were given.

The director's clock and ours may differ, so a VM that it made around the time of a `create-env`
can be of either side of it. Its tasks are numbered, though: what was made by one that is younger
than the first look at the new director was given what that one hands out, whatever any clock says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from rollover.errors import AdapterError
from rollover.platforms.bosh.book import Book, Handed
from rollover.platforms.bosh.ledger import Ledger
from rollover.platforms.bosh.records import BoshInstance

CLOCK_SKEW = timedelta(minutes=1)
"""How far the director's clock, which says when a VM was created, may be from ours."""


class RemembersTasks(Protocol):
    """What is asked of the director."""

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        ...


class Births:
    """Says of VMs which time they are younger than, by our clock. Several threads may share one."""

    def __init__(self, director: RemembersTasks, ledger: Ledger) -> None:
        self._director = director
        self._ledger = ledger
        self._lock = Lock()
        self._tasks: dict[str, int | None] = {}

    def after(self, instance: BoshInstance) -> datetime | None:
        """Return a time that an instance's VM is younger than; None when it is not known."""
        created = instance.vm_created_at
        known = None if created is None else created - CLOCK_SKEW
        book, cid = self._ledger.book(), instance.vm_cid
        if cid is not None and cid not in self._tasks and _open(instance, book):
            self._note(cid)
        times = (known, self._remembered(instance, book.handouts))
        return max((each for each in times if each is not None), default=None)

    def _note(self, vm_cid: str) -> None:
        try:
            task = self._director.creation_task(vm_cid)
        except AdapterError:
            # Two answers are left then, and both are counted with.
            return
        with self._lock:
            self._tasks[vm_cid] = task

    def _remembered(self, instance: BoshInstance, handouts: Sequence[Handed]) -> datetime | None:
        """Return since when there was handed out what the task that made a VM handed out."""
        task = self._tasks.get(instance.vm_cid or "")
        if task is None:
            return None
        return max(
            (
                each.since
                for each in handouts
                if each.since is not None and each.task is not None and task > each.task
            ),
            default=None,
        )


def _open(instance: BoshInstance, book: Book) -> bool:
    """Say whether the clocks leave it open which handout a VM was made under, and it matters."""
    created, seen = instance.vm_created_at, book.agents.get(instance.agent_id or "", ())
    if created is None or (seen and seen[-1].settled is not None):
        return False
    return any(
        each.since is not None and abs(created - each.since) <= 2 * CLOCK_SKEW
        for each in book.handouts
    )
