"""Run all rules over a fleet and gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec

from rollover.fleet.certificate import Accepts
from rollover.fleet.description import FleetDescription
from rollover.fleet.fleet import Fleet
from rollover.fleet.names import RuleId
from rollover.rules import certificates, instances, silencing
from rollover.rules.context import RuleContext, RuleKnowledge
from rollover.rules.handshakes import Handshakes, Shape
from rollover.rules.rule import Catalogue, Finding, Rule, Severity

Check = Callable[[RuleContext], Iterator[Finding]]

AREAS: Mapping[str, tuple[tuple[Rule, Check], ...]] = MappingProxyType(
    {
        "instances": instances.CHECKS,
        "links": instances.LINK_CHECKS,
        "certificates": (*certificates.CHECKS, *certificates.USAGE_CHECKS),
        "trust": certificates.TRUST_CHECKS,
    }
)
"""What is checked, in the order of the report. A new rule is a function in one of these tables."""

FLEET_RULES: tuple[Rule, ...] = tuple(
    rule
    for checks in (
        certificates.CHECKS,
        certificates.USAGE_CHECKS,
        certificates.TRUST_CHECKS,
        instances.LINK_CHECKS,
        instances.CHECKS,
    )
    for rule, _ in checks
)
"""Those rules in the order of the catalogue."""


class CheckedRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was looked at, and what it found."""

    area: str
    rule: RuleId
    title: str
    findings: tuple[Finding, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The gravest finding that is not silenced; None: nothing to say."""
        severities = {finding.severity for finding in self.findings if not finding.silenced}
        return next((severity for severity in Severity if severity in severities), None)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What all rules came to on one fleet."""

    fleet: str
    at: datetime
    instances: int
    links: int
    checked: tuple[CheckedRule, ...]

    def findings(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of a severity that are not silenced."""
        return tuple(
            finding
            for checked in self.checked
            for finding in checked.findings
            if finding.severity is severity and not finding.silenced
        )

    @property
    def silenced(self) -> tuple[Finding, ...]:
        """The findings that an operator silenced."""
        return tuple(
            finding for checked in self.checked for finding in checked.findings if finding.silenced
        )

    @property
    def worst(self) -> Severity | None:
        """The gravest finding of all; None: nothing stands in the way."""
        return next((severity for severity in Severity if self.findings(severity)), None)


def check(
    fleet: Fleet,
    description: FleetDescription,
    *,
    accepts: Accepts,
    shape: Shape,
    knowledge: RuleKnowledge,
    now: datetime,
    catalogue: Catalogue,
    known: Mapping[str, Sequence[Finding]] = MappingProxyType({}),
) -> Report:
    """Return what stands in the way of rotating a CA of this fleet. Pure.

    `accepts` judges chains, `shape` says which chains are judged alike (`rollover.pki` provides
    both). `known`: what the platforms of groups found, by group, with rules that `catalogue` has.
    Findings that the description silences are in the report with their reason.
    """
    handshakes = Handshakes(fleet, accepts=accepts, shape=shape, now=now)
    context = RuleContext(fleet, description, knowledge=knowledge, handshakes=handshakes, now=now)
    silences = description.silenced
    checked = [
        CheckedRule(
            area=area,
            rule=rule.id,
            title=rule.title,
            findings=tuple(silencing.with_silence(finding, silences) for finding in find(context)),
        )
        for area, checks in AREAS.items()
        for rule, find in checks
    ]
    for area, found in known.items():
        checked += _checked_by_rule(area, found, catalogue)
    if silences:
        # Last, over what all the others found: only then is it known what a silence matches.
        findings = [finding for checked_rule in checked for finding in checked_rule.findings]
        idle = tuple(silencing.silences_without_effect(silences, findings))
        rule = silencing.SILENCE_WITHOUT_EFFECT
        checked.append(
            CheckedRule(area="fleet file", rule=rule.id, title=rule.title, findings=idle)
        )
    return Report(
        fleet=fleet.name,
        at=now,
        instances=sum(1 for _ in fleet.instances()),
        links=len(fleet.links),
        checked=tuple(checked),
    )


def _checked_by_rule(
    area: str, found: Sequence[Finding], catalogue: Catalogue
) -> Iterator[CheckedRule]:
    """Yield the rules of a platform that found something, each with all that it found."""
    for name in dict.fromkeys(finding.rule for finding in found):
        rule = catalogue.rule(name)
        yield CheckedRule(
            area=area,
            rule=name,
            title=rule.title if rule else name,
            findings=tuple(finding for finding in found if finding.rule == name),
        )
