"""The whole catalogue of rules: the one place that gathers those of every layer and platform."""

from __future__ import annotations

from rollover.engine.rules import GATE_RULES, MATERIAL_RULES
from rollover.platforms.bosh.rules import agents, director
from rollover.platforms.nats.rules.report import CONFIG_RULES
from rollover.rules.plan_rules import PLAN_RULES
from rollover.rules.report import FLEET_RULES
from rollover.rules.rule import Catalogue
from rollover.rules.silencing import SILENCE_WITHOUT_EFFECT

_FOUND_BY_PLATFORMS = (*director.RULES, *agents.RULES)

CATALOGUE = Catalogue(
    rules=(
        *PLAN_RULES,
        *GATE_RULES,
        agents.RECOVERY_NEEDED,
        *MATERIAL_RULES,
        *_FOUND_BY_PLATFORMS,
        *FLEET_RULES,
        *CONFIG_RULES,
        SILENCE_WITHOUT_EFFECT,
    ),
    found_by_platforms=_FOUND_BY_PLATFORMS,
)
"""In the order of docs/reference/rules.md."""
