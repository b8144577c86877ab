"""The whole catalogue of rules: the one place that gathers those of every layer and platform."""

from __future__ import annotations

from rollover.checks import bosh_agents, bosh_director
from rollover.checks.catalogue import Catalogue
from rollover.checks.configs.run import CONFIG_RULES
from rollover.checks.refusals import PLAN_RULES
from rollover.checks.run import FLEET_RULES
from rollover.checks.silence import WITHOUT_EFFECT
from rollover.engine.rules import GATE_RULES, MATERIAL_RULES

_FOUND_BY_PLATFORMS = (*bosh_director.RULES, *bosh_agents.RULES)

CATALOGUE = Catalogue(
    rules=(
        *PLAN_RULES,
        *GATE_RULES,
        bosh_agents.RECOVERY_NEEDED,
        *MATERIAL_RULES,
        *_FOUND_BY_PLATFORMS,
        *FLEET_RULES,
        *CONFIG_RULES,
        WITHOUT_EFFECT,
    ),
    found_by_platforms=_FOUND_BY_PLATFORMS,
)
"""In the order of docs/reference/rules.md."""
