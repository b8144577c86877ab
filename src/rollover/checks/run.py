"""Run all rules over a fleet and gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec

from rollover.checks import certificates, instances, links, silence, trust, usages
from rollover.checks.catalogue import Catalogue
from rollover.checks.handshakes import Handshakes, Shape
from rollover.checks.rule import Finding, Rule, Severity
from rollover.checks.scene import Knowledge, Scene
from rollover.fleet.certificate import Accepts
from rollover.fleet.description import FleetDescription
from rollover.fleet.model import Fleet
from rollover.fleet.names import RuleId

Check = Callable[[Scene], Iterator[Finding]]

AREAS: Mapping[str, tuple[tuple[Rule, Check], ...]] = MappingProxyType(
    {
        "instances": instances.CHECKS,
        "links": links.CHECKS,
        "certificates": (*certificates.CHECKS, *usages.CHECKS),
        "trust": trust.CHECKS,
    }
)
"""What is checked, in the order of the report. A new rule is a function in one of these tables."""

FLEET_RULES: tuple[Rule, ...] = tuple(
    rule
    for checks in (
        certificates.CHECKS,
        usages.CHECKS,
        trust.CHECKS,
        links.CHECKS,
        instances.CHECKS,
    )
    for rule, _ in checks
)
"""Those rules in the order of the catalogue."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was looked at, and what it found."""

    area: str
    rule: RuleId
    title: str
    findings: tuple[Finding, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The gravest finding that is not silenced; None: nothing to say."""
        severities = {each.severity for each in self.findings if not each.silenced}
        return next((each for each in Severity if each in severities), None)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What all rules came to on one fleet."""

    fleet: str
    at: datetime
    instances: int
    links: int
    checked: tuple[Checked, ...]

    def findings(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of a severity that are not silenced."""
        return tuple(
            each
            for checked in self.checked
            for each in checked.findings
            if each.severity is severity and not each.silenced
        )

    @property
    def silenced(self) -> tuple[Finding, ...]:
        """The findings that an operator silenced."""
        return tuple(each for checked in self.checked for each in checked.findings if each.silenced)

    @property
    def worst(self) -> Severity | None:
        """The gravest finding of all; None: nothing stands in the way."""
        return next((each for each in Severity if self.findings(each)), None)


def check(
    fleet: Fleet,
    description: FleetDescription,
    *,
    accepts: Accepts,
    shape: Shape,
    knowledge: Knowledge,
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
    context = Scene(fleet, description, knowledge=knowledge, handshakes=handshakes, now=now)
    checked = [
        Checked(area=area, rule=rule.id, title=rule.title, findings=_found(context, function))
        for area, checks in AREAS.items()
        for rule, function in checks
    ]
    for area, found in known.items():
        checked += _by_rule(area, found, catalogue)
    findings = [each for one in checked for each in one.findings]
    idle = tuple(silence.without_effect(description.silenced, findings))
    if description.silenced:
        rule = silence.WITHOUT_EFFECT
        checked.append(Checked(area="fleet file", rule=rule.id, title=rule.title, findings=idle))
    return Report(
        fleet=fleet.name,
        at=now,
        instances=sum(1 for _ in fleet.instances()),
        links=len(fleet.links),
        checked=tuple(checked),
    )


def _by_rule(area: str, found: Sequence[Finding], catalogue: Catalogue) -> Iterator[Checked]:
    """Yield the rules of a platform that found something, each with all that it found."""
    for name in dict.fromkeys(each.rule for each in found):
        rule = catalogue.rule(name)
        yield Checked(
            area=area,
            rule=name,
            title=rule.title if rule else name,
            findings=tuple(each for each in found if each.rule == name),
        )


def _found(context: Scene, function: Check) -> tuple[Finding, ...]:
    silences = context.description.silenced
    return tuple(silence.silenced(each, silences) for each in function(context))
