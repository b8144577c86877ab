"""The whole catalogue of rules: the one place that gathers those of every layer and platform."""

from __future__ import annotations

from functools import cache

from rollover.rules.rule import Catalogue


@cache
def whole_catalogue() -> Catalogue:
    """Return every rule, in the order of docs/reference/rules.md.

    Gathered when it is asked for: the rules of a platform stand beside their functions, and who
    works on a fleet of one platform need not load the others.
    """
    # ruff: noqa: PLC0415 - see above
    from rollover.engine.rules import GATE_RULES, MATERIAL_RULES
    from rollover.platforms.bosh.rules import agents, director
    from rollover.platforms.nats.rules.report import CONFIG_RULES
    from rollover.rules.plan_rules import PLAN_RULES
    from rollover.rules.report import FLEET_RULES
    from rollover.rules.silencing import SILENCE_WITHOUT_EFFECT

    found_by_platforms = (*director.RULES, *agents.RULES)
    return Catalogue(
        rules=(
            *PLAN_RULES,
            *GATE_RULES,
            agents.RECOVERY_NEEDED,
            *MATERIAL_RULES,
            *found_by_platforms,
            *FLEET_RULES,
            *CONFIG_RULES,
            SILENCE_WITHOUT_EFFECT,
        ),
        found_by_platforms=found_by_platforms,
    )
