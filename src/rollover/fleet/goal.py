"""What a rotation is to end with."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import AuthorityName, Fingerprint

DEFAULT_STEP_MARGIN = timedelta(minutes=5)
"""How long, beyond the rollouts themselves, a step may wait for a person before the next begins."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Material that somebody brings, where no authority makes any, and the endpoints that get it.

    `bundle` None: they trust what they trust now. `chain` None: they present what they present.
    `file`: where the bundle lies from then on, below the directory of each instance; None: where
    it lies now, for all that use that file.
    """

    endpoints: tuple[EndpointRef, ...]
    bundle: Bundle | None = None
    chain: Chain | None = None
    file: str | None = None


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """Every chain of the authority comes from `target`; every bundle holds `trusted`, no `retired`.

    `trusted` starts with the target; a standby CA, and the one before, follow it. `retired` are
    the versions of the authority that nobody trusts in the end. A rollback is a goal like any
    other: its target is the old version.

    With `given` nothing is issued, and nobody changes but the endpoints named there: `authority`
    is only what such goals go by, `target` and `trusted` say what is given.
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
    given: tuple[Given, ...] = ()

    @property
    def at_once(self) -> bool:
        """Whether all of it comes in one rollout, as it is: a chain that others have issued."""
        return any(each.chain is not None for each in self.given)


class Prospect(msgspec.Struct, frozen=True):
    """What an instance that presents a chain of the authority would present once reissued.

    The chains are specimens: of the same shape as the present one, issued by the target.
    `bridged` also carries the goal's bridge.
    """

    issuer: Fingerprint
    renewed: Chain
    bridged: Chain | None = None
