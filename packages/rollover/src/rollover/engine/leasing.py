"""Leases: who may take one, and one that is held for as long as the work behind it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

import msgspec

from rollover.engine.journal import instant_text
from rollover.engine.ports import Holder, Lease, Leases
from rollover.errors import StaleError, StoreError

# Who may take a lease; every implementation of `Leases` uses these functions.


def nobody_is_dead(holder: Holder) -> bool:
    """Judge no holder to be dead: leases then only run out."""
    del holder
    return False


def grant_lease(
    name: str,
    holder: Holder,
    *,
    held: Lease | None,
    last_token: int,
    expires_at: datetime,
    now: datetime,
    dead: Callable[[Holder], bool],
) -> Lease:
    """Decide on a lease, given who holds it: the new lease, or `StaleError` when it is taken."""
    if held is not None and held.holder == holder:
        return msgspec.structs.replace(held, expires_at=expires_at)
    if held is not None and held.expires_at > now and not dead(held.holder):
        raise already_held(held)
    return Lease(
        name=name, holder=holder, token=last_token + 1, acquired_at=now, expires_at=expires_at
    )


def already_held(held: Lease) -> StaleError:
    """Return the error that says who holds a lease."""
    return StaleError(
        f"`{held.name}` is held by process {held.holder.pid} on host `{held.holder.host}` since "
        f"{_moment(held.acquired_at)}, until {_moment(held.expires_at)}",
        hint="wait for it to end; when that process is gone, the lease runs out by itself",
    )


def lease_lost(lease: Lease, *, held: Lease | None) -> StaleError:
    """Return the error that says to whom a lease was lost."""
    now_with = (
        "nobody holds it now"
        if held is None
        else f"process {held.holder.pid} on host `{held.holder.host}` holds it since "
        f"{_moment(held.acquired_at)}"
    )
    return StaleError(
        f"the lease of `{lease.name}` (token {lease.token}) was lost: {now_with}",
        hint="stop; run again to go on from what the fleet is by then",
    )


def _moment(at: datetime) -> str:
    return instant_text(at)[:19] + "Z"


# A lease that is held.

LEASE_SECONDS = 120.0
"""How long a process that died on another machine, unheard, holds up the next one."""
BEATS_PER_LEASE = 4
"""Renewals in the time of one lease: three may fail before it runs out."""


class HeldLease:
    """Holds a lease from `with` to its end; a thread renews it meanwhile.

    `lost` turns true when somebody else has it, or when it could not be renewed in time.
    """

    def __init__(
        self,
        leases: Leases,
        name: str,
        *,
        holder: Holder,
        clock: Callable[[], datetime],
        seconds: float = LEASE_SECONDS,
    ) -> None:
        self._leases = leases
        self._name = name
        self._holder = holder
        self._clock = clock
        self._seconds = seconds
        self._over = threading.Event()
        self._lost: StaleError | None = None
        self._lease: Lease | None = None
        self._beat = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Take the lease; `StaleError` names who holds it."""
        self._lease = self._leases.acquire(
            self._name, self._holder, seconds=self._seconds, now=self._clock()
        )
        self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._beat.join()
        if self._lease is not None:
            self._leases.release(self._lease)

    @property
    def lost(self) -> bool:
        """Whether this process may no longer act."""
        return self._lost is not None

    def assure(self) -> None:
        """Renew the lease now; `StaleError` when it was lost."""
        if self._lost is not None:
            raise self._lost
        if self._lease is not None:
            # The run and the beat may renew at once: both swap on the same token, so both succeed.
            self._lease = self._leases.renew(self._lease, seconds=self._seconds, now=self._clock())

    def _keep(self) -> None:
        while not self._over.wait(self._seconds / BEATS_PER_LEASE):
            try:
                self.assure()
            except StaleError as error:
                self._lost = error
                return
            except StoreError as error:
                # Storage may fail for a while: nobody else can have taken it before it runs out.
                if self._lease is not None and self._clock() > self._lease.expires_at:
                    self._lost = StaleError(
                        f"the lease of `{self._name}` could not be renewed: {error.message}",
                        hint=error.hint,
                    )
                    return
