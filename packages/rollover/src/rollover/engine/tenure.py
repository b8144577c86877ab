"""A lease that is kept for as long as the work behind it takes, however long that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rollover.engine.lease_port import Holder, Lease, Leases
from rollover.errors import StaleError, StoreError

LEASE_SECONDS = 120.0
BEATS_PER_LEASE = 4
"""Renewals in the time of one lease: three may fail before it runs out."""


class Tenure:
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
            self._lease = self._leases.renew(self._lease, seconds=self._seconds, now=self._clock())

    def _keep(self) -> None:
        while not self._over.wait(self._seconds / BEATS_PER_LEASE):
            try:
                self.assure()
            except StaleError as error:
                self._lost = error
                return
            except StoreError as error:
                if self._lease is not None and self._clock() > self._lease.expires_at:
                    self._lost = StaleError(
                        f"the lease of `{self._name}` could not be renewed: {error.message}",
                        hint=error.hint,
                    )
                    return
