"""What platforms know besides certificates: asked at fixed moments, silenced by the fleet file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rollover.engine.events import Ending
from rollover.engine.fleet_context import FleetContext
from rollover.engine.ports import Cleanup, Moment, ReportsFindings
from rollover.fleet.names import GroupName
from rollover.fleet.plan import Caution
from rollover.rules import silencing
from rollover.rules.rule import Finding, Severity

ENDINGS: Mapping[Severity, Ending] = MappingProxyType(
    {Severity.ERROR: Ending.WAITING, Severity.EVIDENCE: Ending.EVIDENCE_MISSING}
)
"""How a run ends at a finding that nobody silenced or answers for, the gravest first."""


def findings(site: FleetContext, moment: Moment) -> tuple[Finding, ...]:
    """Ask every platform that attends; what the fleet file silences has the reason with it."""
    return tuple(finding for _, found in by_group(site, moment) for finding in found)


def by_group(site: FleetContext, moment: Moment) -> Iterator[tuple[GroupName, tuple[Finding, ...]]]:
    """Yield what the platform of each group finds; changes nothing."""
    silences = site.described.silenced
    for group in site.described.groups:
        platform = site.platforms(group.name)
        if isinstance(platform, ReportsFindings):
            found = platform.findings(moment)
            yield group.name, tuple(silencing.with_silence(finding, silences) for finding in found)


def cleanups(site: FleetContext) -> Iterator[tuple[GroupName, Cleanup]]:
    """Yield the platforms that leave things behind which have to be put in order."""
    for group in site.described.groups:
        platform = site.platforms(group.name)
        if isinstance(platform, Cleanup):
            yield group.name, platform


def blocking(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that stand in the way, the gravest first."""
    return tuple(
        finding
        for severity in ENDINGS
        for finding in found
        if finding.severity is severity and not finding.silenced
    )


def cautions(found: Sequence[Finding]) -> tuple[Caution, ...]:
    """Return findings as a plan tells of them."""
    return tuple(
        Caution(
            rule=finding.rule,
            message=f"{_SEVERITY_WORDS[finding.severity]}{finding.subject}: {finding.message}",
            remedy=finding.remedy,
        )
        for finding in found
        if not finding.silenced
    )


_SEVERITY_WORDS: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.ERROR: "in the way: ",
        Severity.EVIDENCE: "cannot be seen: ",
        Severity.WARNING: "",
    }
)
