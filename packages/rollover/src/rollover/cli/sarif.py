"""The report of `rollover check` as SARIF 2.1.0, which code hosts and pipelines read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from rollover.rules.report import Report
from rollover.rules.rule import Finding, Rule, Severity

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_MARK_LENGTH = 16
_LEVELS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.EVIDENCE: "warning", Severity.WARNING: "warning"}
)


def sarif_log(
    report: Report, rules: Iterable[Rule], *, version: str, base: Path, described: Path | None
) -> dict[str, Any]:
    """Return the log: one run, with the rules that were looked at and every finding.

    A silenced finding is a suppressed result with its reason (SARIF §3.27.23). A finding without
    a place in a file stands in `described`, the fleet file, if there is one: code hosts show
    nothing that stands nowhere. Files below `base` are named relative to it, as they want them.
    """
    checked_rules = {checked.rule for checked in report.checked}
    told = [rule for rule in rules if rule.id in checked_rules]
    numbers: dict[str, int] = {rule.id: number for number, rule in enumerate(told)}
    findings = [finding for checked in report.checked for finding in checked.findings]
    known: Counter[str] = Counter()
    results = []
    for finding in findings:
        location = _location(finding, base=base, described=described)
        mark = _mark(finding, location)
        known[mark] += 1
        # Findings that are alike in all but their line are numbered in their order.
        fingerprints = {"primaryLocationLineHash": f"{mark}:{known[mark]}"}
        place = {"locations": [location], "partialFingerprints": fingerprints}
        results.append({**_result(finding, numbers), **place})
    driver = {"name": "rollover", "version": version, "rules": [_rule(rule) for rule in told]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": "rollover-check/"},
                "results": results,
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    help_text = f"{rule.remedy}\n\nExample: {rule.example}\n\nSource: {rule.source}"
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.id.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.meaning} {rule.why}"},
        "help": {"text": help_text, "markdown": help_text},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": ["security", "tls"],
            "precision": "high",
            "problem.severity": _LEVELS[rule.severity],
        },
    }


def _result(finding: Finding, numbers: Mapping[str, int]) -> dict[str, Any]:
    message = f"{finding.subject}: {finding.message}. {finding.remedy}"
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": message},
    }
    if finding.rule in numbers:
        result["ruleIndex"] = numbers[finding.rule]
    if finding.silenced:
        result["suppressions"] = [{"kind": "external", "justification": finding.silenced}]
    return result


def _mark(finding: Finding, location: Mapping[str, Any]) -> str:
    """Return what tells a finding from others, and stays when lines above it come and go."""
    physical = location.get("physicalLocation", {})
    file = physical.get("artifactLocation", {}).get("uri", "")
    text = f"{finding.rule}\0{finding.subject}\0{file}"
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:_MARK_LENGTH]


def _location(finding: Finding, *, base: Path, described: Path | None) -> dict[str, Any]:
    logical = [{"fullyQualifiedName": finding.subject}]
    file, line, column = _place(finding.place)
    if not file and described is not None:
        file, line = str(described), 1
    if not file:
        return {"logicalLocations": logical}
    physical: dict[str, Any] = {"artifactLocation": _artifact(file, base)}
    if line:
        physical["region"] = {"startLine": line, **({"startColumn": column} if column else {})}
    return {"physicalLocation": physical, "logicalLocations": logical}


def _artifact(file: str, base: Path) -> dict[str, str]:
    whole = base / file
    if whole.is_relative_to(base) and ".." not in whole.parts:
        return {"uri": quote(whole.relative_to(base).as_posix()), "uriBaseId": "%SRCROOT%"}
    return {"uri": whole.as_uri()}


def _place(text: str) -> tuple[str, int, int]:
    """Return file, line and column of `file:line:column`; 0 where there is no number."""
    parts = text.rsplit(":", 2)
    numbers = [int(part) for part in parts[1:] if part.isdigit()]
    if len(numbers) == 2:  # noqa: PLR2004 - line and column
        return parts[0], numbers[0], numbers[1]
    file, _, line = text.rpartition(":")
    return (file, int(line), 0) if line.isdigit() and file else (text, 0, 0)
