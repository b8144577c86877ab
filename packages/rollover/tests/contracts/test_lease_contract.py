"""The contract of leases, on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.memory_state import MemoryLeases
from rigs.stored import NOON, holder, later
from rollover.engine.ports import Holder, Lease, Leases
from rollover.errors import StaleError
from rollover.store.leases import open_leases

GONE = holder("gone", pid=1234)


def _is_gone(candidate: Holder) -> bool:
    return candidate == GONE


@pytest.fixture(params=["memory", "sqlite"])
def leases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Leases]:
    """Leases of each implementation; the holder GONE is known to be dead."""
    if request.param == "memory":
        yield MemoryLeases(dead=_is_gone)
        return
    with open_leases(tmp_path / "leases.db", dead=_is_gone) as opened:
        yield opened


def test_a_free_lease_is_granted(leases: Leases) -> None:
    """A name that nobody holds is free."""
    lease = leases.acquire("nats-ca", holder(), seconds=30, now=NOON)

    assert (lease.acquired_at, lease.expires_at) == (NOON, later(30))
    assert leases.current("nats-ca") == lease
    assert leases.current("other-ca") is None


def test_a_held_lease_is_refused_and_its_holder_named(leases: Leases) -> None:
    """The refusal says who holds the lease, where, since when and until when."""
    leases.acquire("nats-ca", holder(host="jump-1", pid=77), seconds=30, now=NOON)

    with pytest.raises(StaleError) as refusal:
        leases.acquire("nats-ca", holder("two"), seconds=30, now=later(29))

    said = str(refusal.value)
    for part in ("`nats-ca`", "process 77", "`jump-1`", "2026-11-22T12:00:00Z", "12:00:30Z"):
        assert part in said


def test_names_do_not_stand_in_each_others_way(leases: Leases) -> None:
    """One rotation at a time holds for each authority by itself."""
    leases.acquire("nats-ca", holder(), seconds=30, now=NOON)

    assert leases.acquire("route-ca", holder("two"), seconds=30, now=NOON).token >= 1


def test_tokens_grow_with_every_new_holder(leases: Leases) -> None:
    """Also after release and expiry, a later lease has a greater token."""
    first = leases.acquire("nats-ca", holder("one"), seconds=30, now=NOON)
    leases.release(first)
    second = leases.acquire("nats-ca", holder("two"), seconds=30, now=NOON)
    third = leases.acquire("nats-ca", holder("three"), seconds=30, now=later(31))

    assert first.token < second.token < third.token


def test_the_holder_gets_its_own_lease_again(leases: Leases) -> None:
    """A repeated call, whose answer may have been lost, keeps the token and moves the expiry."""
    first = leases.acquire("nats-ca", holder(), seconds=30, now=NOON)
    again = leases.acquire("nats-ca", holder(), seconds=30, now=later(10))

    assert (again.token, again.expires_at) == (first.token, later(40))


def test_an_expired_lease_is_free(leases: Leases) -> None:
    """Nobody waits longer than the expiry for a holder that vanished."""
    leases.acquire("nats-ca", holder("one"), seconds=30, now=NOON)

    assert leases.acquire("nats-ca", holder("two"), seconds=30, now=later(30)).holder.task == "two"


def test_the_lease_of_a_dead_holder_is_free_at_once(leases: Leases) -> None:
    """After kill -9 the next run goes on without waiting."""
    dead = leases.acquire("nats-ca", GONE, seconds=3600, now=NOON)

    taken = leases.acquire("nats-ca", holder("two"), seconds=30, now=later(1))

    assert taken.token > dead.token


def test_renewing_moves_the_expiry(leases: Leases) -> None:
    """A renewed lease keeps others out for longer."""
    lease = leases.acquire("nats-ca", holder(), seconds=30, now=NOON)
    renewed = leases.renew(lease, seconds=30, now=later(20))

    assert (renewed.token, renewed.expires_at) == (lease.token, later(50))
    with pytest.raises(StaleError):
        leases.acquire("nats-ca", holder("two"), seconds=30, now=later(45))


def test_an_expired_lease_that_nobody_took_can_be_renewed(leases: Leases) -> None:
    """A holder that was suspended goes on when nobody noticed."""
    lease = leases.acquire("nats-ca", holder(), seconds=30, now=NOON)

    assert leases.renew(lease, seconds=30, now=later(60)).expires_at == later(90)


@pytest.mark.parametrize("loss", ["released", "taken over"])
def test_renewing_a_lost_lease_is_refused(leases: Leases, loss: str) -> None:
    """Who lost its lease must learn of it, and to whom."""
    lease = leases.acquire("nats-ca", holder("one"), seconds=30, now=NOON)
    if loss == "released":
        leases.release(lease)
    else:
        leases.acquire("nats-ca", holder("two", pid=88), seconds=30, now=later(31))

    with pytest.raises(StaleError, match=r"process 88|nobody holds it"):
        leases.renew(lease, seconds=30, now=later(32))


def test_releasing_twice_or_late_takes_nothing_from_others(leases: Leases) -> None:
    """A stale release does nothing."""
    lease = leases.acquire("nats-ca", holder("one"), seconds=30, now=NOON)
    leases.release(lease)
    leases.release(lease)
    other = leases.acquire("nats-ca", holder("two"), seconds=30, now=NOON)
    leases.release(lease)

    assert leases.current("nats-ca") == other


def test_only_one_of_many_gets_the_lease(leases: Leases) -> None:
    """Of threads that ask at the same time exactly one wins."""

    def ask(number: int) -> Lease | None:
        try:
            return leases.acquire("nats-ca", holder(str(number)), seconds=30, now=NOON)
        except StaleError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(ask, range(16)) if lease is not None]

    assert won == [leases.current("nats-ca")]
