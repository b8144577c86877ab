"""A lease is kept while the work lasts, and its loss is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from rigs.memory_state import MemoryLeases
from rigs.patience import Patience
from rigs.stored import holder
from rollover.engine.leasing import HeldLease
from rollover.engine.ports import Lease
from rollover.errors import StaleError, StoreError

NAME = "fleet"
SECONDS = 0.2
PATIENCE_SECONDS = 60.0
BEGUN = datetime.now(UTC)
SLOWED = 5
"""A beat may come so much later than it should, as on a busy machine, and still be in time."""


def now() -> datetime:
    """Leases run out by a clock here that is behind the one that their beats follow."""
    return BEGUN + (datetime.now(UTC) - BEGUN) / SLOWED


def tenure(leases: MemoryLeases) -> HeldLease:
    """A tenure of a very short lease."""
    return HeldLease(leases, NAME, holder=holder("one"), clock=now, seconds=SECONDS)


def _await(condition: Callable[[], bool]) -> None:
    patience = Patience(PATIENCE_SECONDS)
    while not condition():
        assert patience.lasts()
        time.sleep(0.01)


def test_a_lease_outlives_its_time_while_the_work_lasts() -> None:
    """Work that takes longer than a lease keeps it, and gives it back at its end."""
    leases = MemoryLeases()
    with tenure(leases) as held:
        first = leases.current(NAME)
        assert first is not None
        _await(lambda: now() > first.expires_at)
        with pytest.raises(StaleError):
            leases.acquire(NAME, holder("two"), seconds=SECONDS, now=now())
        assert not held.lost
    assert leases.current(NAME) is None


def test_a_lease_that_somebody_took_is_noticed_and_left_to_them() -> None:
    """A tenure that was overtaken is lost: it says so, and its end takes nothing away."""
    leases = MemoryLeases()
    with tenure(leases) as held:
        mine = leases.current(NAME)
        assert mine is not None
        leases.release(mine)
        theirs = leases.acquire(NAME, holder("two"), seconds=60, now=now())
        _await(lambda: held.lost)
        with pytest.raises(StaleError, match="was lost"):
            held.assure()
    assert leases.current(NAME) == theirs


def test_a_lease_is_not_taken_twice() -> None:
    """The second is told who has it, and leaves no thread behind."""
    leases = MemoryLeases()
    before = threading.active_count()
    leases.acquire(NAME, holder("two"), seconds=60, now=now())
    with pytest.raises(StaleError, match="is held by process"), tenure(leases):
        pass
    assert threading.active_count() == before


class _Failing(MemoryLeases):
    """Leases on a disk that is full."""

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        del lease, seconds, now
        raise StoreError("no room", hint="make room")


def test_a_lease_that_cannot_be_renewed_is_lost_once_it_has_run_out() -> None:
    """Until then the work goes on; behind that anybody may have it."""
    leases = _Failing()
    with tenure(leases) as held:
        _await(lambda: held.lost)
        lease = leases.current(NAME)
        assert lease is not None
        assert now() > lease.expires_at
        with pytest.raises(StaleError, match="could not be renewed: no room"):
            held.assure()
