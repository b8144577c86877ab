"""The report of `rollover check` as SARIF 2.1.0, which code hosts and pipelines read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from rollover.checks.rule import Finding, Rule, Severity
from rollover.checks.run import Report

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.EVIDENCE: "warning", Severity.WARNING: "warning"}
)


def sarif(report: Report, rules: Iterable[Rule], *, version: str, base: Path) -> dict[str, Any]:
    """Return the log: one run, with the rules that were looked at and every finding.

    A silenced finding is a suppressed result with its reason (SARIF §3.27.23). A finding without
    a place in a file has a logical location: the instance, endpoint or link. Files below `base`
    are named relative to it, as code hosts want them.
    """
    looked_at = {each.rule for each in report.checked}
    told = [each for each in rules if each.id in looked_at]
    numbers: dict[str, int] = {each.id: at for at, each in enumerate(told)}
    results = [
        _result(finding, numbers, base=base)
        for checked in report.checked
        for finding in checked.findings
    ]
    driver = {"name": "rollover", "version": version, "rules": [_rule(each) for each in told]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.meaning} {rule.why}"},
        "help": {"text": f"{rule.remedy}\n\nExample: {rule.example}\n\nSource: {rule.source}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, numbers: Mapping[str, int], *, base: Path) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.subject}: {finding.message}. {finding.remedy}"},
        "locations": [_location(finding, base=base)],
    }
    if finding.rule in numbers:
        result["ruleIndex"] = numbers[finding.rule]
    if finding.silenced:
        result["suppressions"] = [{"kind": "external", "justification": finding.silenced}]
    return result


def _location(finding: Finding, *, base: Path) -> dict[str, Any]:
    logical = [{"fullyQualifiedName": finding.subject}]
    file, line, column = _place(finding.place)
    if not file:
        return {"logicalLocations": logical}
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(file, base)}}
    if line:
        physical["region"] = {"startLine": line, **({"startColumn": column} if column else {})}
    return {"physicalLocation": physical, "logicalLocations": logical}


def _uri(file: str, base: Path) -> str:
    whole = base / file
    if whole.is_relative_to(base) and ".." not in whole.parts:
        return quote(whole.relative_to(base).as_posix())
    return whole.as_uri()


def _place(text: str) -> tuple[str, int, int]:
    """Return file, line and column of `file:line:column`; 0 where there is no number."""
    parts = text.rsplit(":", 2)
    numbers = [int(each) for each in parts[1:] if each.isdigit()]
    if len(numbers) == 2:  # noqa: PLR2004 - line and column
        return parts[0], numbers[0], numbers[1]
    file, _, line = text.rpartition(":")
    return (file, int(line), 0) if line.isdigit() and file else (text, 0, 0)
