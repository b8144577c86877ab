"""What the planner has to be told about certificates, as functions: it parses none itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import msgspec

from rollover.fleet.certificate import Accepts, Certificate, Chain
from rollover.fleet.goal import Prospect
from rollover.fleet.names import Fingerprint


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """The judgements that the planner asks for. All are pure functions.

    `certificates` knows every certificate of the fleet and of the prospects (it may grow as
    prospects are asked for). `accepts` answers questions of trust. `shape` gives chains that are
    judged alike (but for names and dates) the same value. `prospect` tells what would be presented
    instead of a chain, or None for a chain that the goal's authority did not issue.
    """

    certificates: Mapping[Fingerprint, Certificate]
    accepts: Accepts
    shape: Callable[[Chain], Hashable]
    prospect: Callable[[Chain], Prospect | None]
