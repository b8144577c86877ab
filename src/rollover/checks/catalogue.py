"""Every rule that Rollover knows, by its id: what `rollover explain` tells."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks import (
    bosh_agents,
    bosh_director,
    certificates,
    instances,
    links,
    refusals,
    silence,
    trust,
    usages,
)
from rollover.checks.configs import (
    addresses,
    authorities,
    bundles,
    chains,
    clients,
    files,
    peers,
    roles,
    settings,
    stapling,
    starting,
    verdicts,
    wording,
)
from rollover.checks.configs import trust as config_trust
from rollover.checks.rule import Rule

_ABOUT_CONFIGS = (
    files,
    chains,
    authorities,
    roles,
    verdicts,
    config_trust,
    bundles,
    addresses,
    peers,
    clients,
    settings,
    stapling,
    starting,
    wording,
)


def rules() -> tuple[Rule, ...]:
    """Return all rules: those of the planner and the engine first, then those of `check`."""
    return tuple(_all())


def rule(name: str) -> Rule | None:
    """Return the rule of that id, None when there is none."""
    for each in _all():
        if each.id == name:
            return each
    return None


def of_platforms() -> tuple[Rule, ...]:
    """Return the rules of platforms: hazards of one kind of system, which only it can find."""
    return (*bosh_director.RULES, *bosh_agents.RULES)


def _all() -> Iterator[Rule]:
    yield from refusals.RULES
    yield from of_platforms()
    for module in (certificates, usages, trust, links, instances):
        for each, _ in module.CHECKS:
            yield each
    for about in _ABOUT_CONFIGS:
        for each, _ in about.CHECKS:
            yield each
    yield silence.WITHOUT_EFFECT
