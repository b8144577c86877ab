"""The catalogue: every rule there is, by its id. What `rollover explain` tells.

It names no platform. Each layer and each platform gives the rules that it can find, and
`rollover.rule_catalogue` puts them together.
"""

from __future__ import annotations

import msgspec

from rollover.checks.rule import Rule
from rollover.fleet.names import RuleId


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All rules, in the order in which they are listed.

    `found_by_platforms`: those of `rules` that are hazards of one kind of system. Only its platform
    can find them, while a rotation runs.
    """

    rules: tuple[Rule, ...]
    found_by_platforms: tuple[Rule, ...] = ()

    def rule(self, name: RuleId | str) -> Rule | None:
        """Return the rule of that id, None when there is none."""
        return next((rule for rule in self.rules if rule.id == name), None)
