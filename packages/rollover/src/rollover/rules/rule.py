"""What a rule is and what it finds, and the catalogue of all rules.

The catalogue names no platform. Each layer and each platform gives the rules that it can find, and
`rollover.rule_catalogue` puts them together.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollover.fleet.names import RuleId


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """It stands in the way of a rotation."""
    EVIDENCE = "evidence-missing"
    """Something could not be seen, so nothing can be proven of it."""
    WARNING = "warning"
    """A rotation can go on; an operator should know."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as `rollover explain` tells it. Its id never changes.

    `remedy` is what helps in general; a finding may carry one with the names filled in. `source`
    says where the rule comes from: a standard, a manual, or a measurement.
    """

    id: RuleId
    severity: Severity
    title: str
    meaning: str
    why: str
    example: str
    remedy: str
    source: str
    answerable: bool = True
    """Of a rule that stands in the way: an operator may answer for it and have the run go on."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a rule found. `silenced` holds the reason of the operator who silenced it."""

    rule: RuleId
    severity: Severity
    subject: str
    """What it is about: a group, instance, endpoint, link or CA version."""
    message: str
    remedy: str
    place: str = ""
    """`file:line:column` of what it is about, where it stands in a file."""
    silenced: str = ""


def found(
    rule: Rule,
    subject: str,
    message: str,
    *,
    remedy: str = "",
    place: str = "",
    severity: Severity | None = None,
) -> Finding:
    """Return a finding of a rule, with the rule's own severity and remedy unless told otherwise."""
    return Finding(
        rule=rule.id,
        severity=severity or rule.severity,
        subject=subject,
        message=message,
        remedy=remedy or rule.remedy,
        place=place,
    )


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
