"""What a director hands out to agents at one moment."""

from __future__ import annotations

from datetime import datetime

import msgspec

from rollover.fleet.certificate import Certificate


class Handout(msgspec.Struct, frozen=True, kw_only=True):
    """The CA that signs agents' certificates, and the bundle that they are given, since when."""

    signer: Certificate
    bundle: tuple[Certificate, ...]
    since: datetime | None = None
    """When the director began to hand this out; None: before Rollover first looked."""
    task: int | None = None
    """The last task of the director when it was seen to do so: later ones hand out this."""
    trusted_certs: str | None = None
    """`director.trusted_certs`, which agents are given besides; None: it is not known."""
