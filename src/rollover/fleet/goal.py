"""What a rotation is to end with."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from rollover.fleet.certificate import Chain
from rollover.fleet.names import AuthorityName, Fingerprint

DEFAULT_STEP_MARGIN = timedelta(minutes=5)
"""How long, beyond the rollouts themselves, a step may wait for a person before the next begins."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """Every chain of the authority comes from `target`; every bundle holds `trusted`, no `retired`.

    `trusted` starts with the target; a standby CA, and the one before, follow it. `retired` are
    the versions of the authority that nobody trusts in the end. A rollback is a goal like any
    other: its target is the old version.
    """

    authority: AuthorityName
    target: Fingerprint
    trusted: tuple[Fingerprint, ...]
    retired: tuple[Fingerprint, ...]
    bridge: Fingerprint | None = None
    """The target's certificate as signed by the retired CA: presented meanwhile, if given."""
    compromised: bool = False
    """The retired CA's key is in wrong hands: its trust goes first, whatever dies of it."""
    step_margin: timedelta = DEFAULT_STEP_MARGIN


class Prospect(msgspec.Struct, frozen=True):
    """What an instance that presents a chain of the authority would present once reissued.

    The chains are specimens: of the same shape as the present one, issued by the target.
    `bridged` also carries the goal's bridge.
    """

    issuer: Fingerprint
    renewed: Chain
    bridged: Chain | None = None
