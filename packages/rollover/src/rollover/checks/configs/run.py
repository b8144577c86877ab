"""Run all rules over some configurations and gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from nats_config.lexer import clip
from rollover.checks import silence
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
    trust,
    verdicts,
    wording,
)
from rollover.checks.configs.scene import ConfigScene
from rollover.checks.rule import Finding, Rule
from rollover.checks.run import Checked, Report
from rollover.fleet.description import Silence

MOST_NAMED = 5
"""Files by which a report is called; the findings name each."""

Check = Callable[[ConfigScene], Iterator[Finding]]

AREAS: Mapping[str, tuple[tuple[Rule, Check], ...]] = MappingProxyType(
    {
        "files": files.CHECKS,
        "chains": (*chains.CHECKS, *authorities.CHECKS, *roles.CHECKS, *verdicts.CHECKS),
        "trust bundles": (*trust.CHECKS, *bundles.CHECKS),
        "peers": (*addresses.CHECKS, *peers.CHECKS, *clients.CHECKS),
        "settings": (*settings.CHECKS, *stapling.CHECKS, *starting.CHECKS, *wording.CHECKS),
    }
)
"""What is checked, in the order of the report. A new rule is a function in one of these tables."""

CONFIG_RULES: tuple[Rule, ...] = tuple(
    rule
    for checks in (
        files.CHECKS,
        chains.CHECKS,
        authorities.CHECKS,
        roles.CHECKS,
        verdicts.CHECKS,
        trust.CHECKS,
        bundles.CHECKS,
        addresses.CHECKS,
        peers.CHECKS,
        clients.CHECKS,
        settings.CHECKS,
        stapling.CHECKS,
        starting.CHECKS,
        wording.CHECKS,
    )
    for rule, _ in checks
)
"""Those rules in the order of the catalogue."""


def check_configs(configs: ConfigScene, *, silenced: Sequence[Silence] = ()) -> Report:
    """Return every hazard of the configurations. Pure.

    Findings that `silenced` covers are in the report with their reason.
    """
    paths = (
        *(each.config.path for each in configs.servers),
        *(each.path for each in configs.refused),
    )
    return Report(
        fleet=_named([_shown(each) for each in paths]),
        at=configs.now,
        instances=len(paths),
        links=0,
        checked=tuple(
            Checked(
                area=area,
                rule=rule.id,
                title=rule.title,
                findings=tuple(
                    silence.silenced(_readable(each), silenced) for each in function(configs)
                ),
            )
            for area, checks in AREAS.items()
            for rule, function in checks
        ),
    )


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - MOST_NAMED
    return ", ".join(paths[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _readable(finding: Finding) -> Finding:
    return msgspec.structs.replace(
        finding,
        subject=_shown(clip(finding.subject)),
        message=_shown(clip(finding.message)),
        remedy=_shown(finding.remedy),
        place=_shown(finding.place),
    )


def _shown(text: str) -> str:
    """Return a text with what no terminal or pipeline should be sent written as an escape.

    Configurations may hold bytes that are no UTF-8 (lone surrogates here) and control characters.
    """
    if text.isprintable():
        return text
    shown = (each if each.isprintable() else repr(each)[1:-1] for each in text)
    return "".join(shown)


def with_idle(report: Report, silenced: Sequence[Silence]) -> Report:
    """Return a report that also tells of the entries of `silenced` which match nothing in it."""
    rule = silence.WITHOUT_EFFECT
    others = [each for each in report.checked if each.rule != rule.id]
    if silenced:
        findings = [each for one in others for each in one.findings]
        idle = tuple(silence.without_effect(silenced, findings))
        area = "silenced rules"
        others.append(Checked(area=area, rule=rule.id, title=rule.title, findings=idle))
    return msgspec.structs.replace(report, checked=tuple(others))


def together(fleet: Report, configs: Report, silenced: Sequence[Silence]) -> Report:
    """Return the report of a fleet with that of the configurations that its file names."""
    whole = msgspec.structs.replace(fleet, checked=(*fleet.checked, *configs.checked))
    return with_idle(whole, silenced)
