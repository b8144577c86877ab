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
NO_WAY_BACK = RuleId("no-way-back")
"""A renewal whose former keys cannot be read: nothing can take it back."""

OVERRIDABLE = frozenset(
    {
        *(LEFT_BEHIND, HANDSHAKES, DRAIN, RECOVERY),
        *(each.id for each in catalogue.of_platforms() if each.answerable),
    }
)
"""Those that can be answered for, each with a reason: also what platforms find, but where nothing
could be confirmed afterwards. A step that is unsafe never can."""
