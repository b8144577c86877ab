"""Run all rules over some configurations and gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from nats_config.lexer import clip
from rollover.fleet.description import Silence
from rollover.platforms.nats.rules import bundles, chains, files, peers, settings, syntax_rules
from rollover.platforms.nats.rules.context import ConfigContext
from rollover.rules import silencing
from rollover.rules.report import CheckedRule, Report
from rollover.rules.rule import Finding, Rule

MOST_NAMED = 5
"""Files by which a report is called; the findings name each."""

Check = Callable[[ConfigContext], Iterator[Finding]]

AREAS: Mapping[str, tuple[tuple[Rule, Check], ...]] = MappingProxyType(
    {
        "files": files.CHECKS,
        "chains": (
            *chains.CHECKS,
            *chains.AUTHORITY_CHECKS,
            *chains.ROLE_CHECKS,
            *chains.VERDICT_CHECKS,
        ),
        "trust bundles": (*bundles.TRUST_CHECKS, *bundles.BUNDLE_CHECKS),
        "peers": (*peers.ADDRESS_CHECKS, *peers.CHECKS, *peers.CLIENT_CHECKS),
        "settings": (
            *settings.CHECKS,
            *settings.STAPLING_CHECKS,
            *settings.STARTING_CHECKS,
            *syntax_rules.CHECKS,
        ),
    }
)
"""What is checked, in the order of the report. A new rule is a function in one of these tables."""

CONFIG_RULES: tuple[Rule, ...] = tuple(
    rule
    for checks in (
        files.CHECKS,
        chains.CHECKS,
        chains.AUTHORITY_CHECKS,
        chains.ROLE_CHECKS,
        chains.VERDICT_CHECKS,
        bundles.TRUST_CHECKS,
        bundles.BUNDLE_CHECKS,
        peers.ADDRESS_CHECKS,
        peers.CHECKS,
        peers.CLIENT_CHECKS,
        settings.CHECKS,
        settings.STAPLING_CHECKS,
        settings.STARTING_CHECKS,
        syntax_rules.CHECKS,
    )
    for rule, _ in checks
)
"""Those rules in the order of the catalogue."""


def check_configs(configs: ConfigContext, *, silenced: Sequence[Silence] = ()) -> Report:
    """Return every hazard of the configurations. Pure.

    Findings that `silenced` covers are in the report with their reason.
    """
    paths = (
        *(server.config.path for server in configs.servers),
        *(refused.path for refused in configs.refused),
    )
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return Report(
        fleet=", ".join(_shown(path) for path in paths[:MOST_NAMED]) + more,
        at=configs.now,
        instances=len(paths),
        links=0,
        checked=tuple(
            CheckedRule(
                area=area,
                rule=rule.id,
                title=rule.title,
                findings=tuple(
                    silencing.with_silence(_readable(finding), silenced)
                    for finding in find(configs)
                ),
            )
            for area, checks in AREAS.items()
            for rule, find in checks
        ),
    )


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
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def with_idle_silences(report: Report, silenced: Sequence[Silence]) -> Report:
    """Return a report that also tells of the entries of `silenced` which match nothing in it."""
    rule = silencing.SILENCE_WITHOUT_EFFECT
    # A fleet's report told of them already, before the findings of configurations joined it.
    others = [checked for checked in report.checked if checked.rule != rule.id]
    if silenced:
        findings = [finding for checked in others for finding in checked.findings]
        idle = tuple(silencing.silences_without_effect(silenced, findings))
        area = "silenced rules"
        others.append(CheckedRule(area=area, rule=rule.id, title=rule.title, findings=idle))
    return msgspec.structs.replace(report, checked=tuple(others))


def joined(fleet: Report, configs: Report, silenced: Sequence[Silence]) -> Report:
    """Return the report of a fleet with that of the configurations that its file names."""
    whole = msgspec.structs.replace(fleet, checked=(*fleet.checked, *configs.checked))
    return with_idle_silences(whole, silenced)
