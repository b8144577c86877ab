"""The refusals of the engine by their ids, and which of all an operator can answer for."""

from __future__ import annotations

from rollover.checks import catalogue
from rollover.fleet.names import RuleId
from rollover.planner.explain import LEFT_BEHIND

AS_ORDERED = RuleId("as-ordered")
"""An instance that was confirmed shows something else than it was given."""
HANDSHAKES = RuleId("handshake-gate")
"""A fresh handshake went otherwise than the observed trust says."""
DRAIN = RuleId("drain-incomplete")
"""A live connection still presents a certificate whose CA is about to be withdrawn."""
RECOVERY = RuleId("recovery-needed")
"""Expired certificates cut instances off that a source feeds: they have to be made anew."""

OVERRIDABLE = frozenset(
    {LEFT_BEHIND, HANDSHAKES, DRAIN, RECOVERY, *(each.id for each in catalogue.of_platforms())}
)
"""Those that can be answered for, each with a reason: also all that platforms find. A step that is
unsafe never can."""
