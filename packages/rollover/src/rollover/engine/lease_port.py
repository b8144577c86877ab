"""What the engine needs so that only one rotation of an authority runs at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease: one task of one process.

    `boot` tells apart boots of a machine and containers on it, `started` processes that had the
    same number; both are empty where the system does not say. `task` differs for each holder that
    one process makes, so two threads never hold one lease between them.
    """

    host: str
    pid: int
    boot: str = ""
    started: str = ""
    task: str = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act on `name` until `expires_at`.

    `token` is the fencing token: it grows with every lease of the name, so whoever is written to
    can refuse a holder that was overtaken while it slept.
    """

    name: str
    holder: Holder
    token: int
    acquired_at: datetime
    expires_at: datetime


class Leases(Protocol):
    """Leases by name, one holder each. Safe to use from several threads and processes.

    Times are aware and come from the caller; holders on several machines need clocks that agree
    to well within the duration of a lease (an implementation on a database server may use that
    server's clock instead). Storage that fails raises `StoreError`.
    """

    def acquire(self, name: str, holder: Holder, *, seconds: float, now: datetime) -> Lease:
        """Take the lease, or raise `StaleError` which names who holds it, since when, until when.

        Free are: a name that nobody holds, a lease that has run out, and one whose holder is known
        to be dead. Idempotent for one holder: who holds the lease already gets it again with the
        same token and the new expiry. Any other success has a greater token than all before.
        """
        ...

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        """Return the lease with a new expiry, `seconds` from `now`.

        Compare and swap on the token: raises `StaleError` when the lease was released or taken
        over. A lease that ran out but that nobody took yet can still be renewed.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back. Idempotent; does nothing when somebody else holds it by now."""
        ...

    def current(self, name: str) -> Lease | None:
        """Return the lease of the name, also when it has run out; None when nobody holds it."""
        ...
