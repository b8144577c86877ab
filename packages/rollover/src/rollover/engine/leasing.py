"""The rules of leases, pure: who may take one, and what is said when it is taken or lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from rollover.engine.chain import instant_text
from rollover.engine.lease_port import Holder, Lease
from rollover.errors import StaleError


def nobody_is_dead(holder: Holder) -> bool:
    """Judge no holder to be dead: leases then only run out."""
    del holder
    return False


def grant(
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
        raise taken(held)
    return Lease(
        name=name, holder=holder, token=last_token + 1, acquired_at=now, expires_at=expires_at
    )


def taken(held: Lease) -> StaleError:
    """Return the error that says who holds a lease."""
    return StaleError(
        f"`{held.name}` is held by process {held.holder.pid} on host `{held.holder.host}` since "
        f"{_moment(held.acquired_at)}, until {_moment(held.expires_at)}",
        hint="wait for it to end; when that process is gone, the lease runs out by itself",
    )


def lost(lease: Lease, *, held: Lease | None) -> StaleError:
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
