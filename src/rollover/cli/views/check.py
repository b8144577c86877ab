"""How the report of `rollover check` looks: a list by area, with √ ‼ ? ×, and the remedy below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from types import MappingProxyType

from rollover.checks.rule import Finding, Severity
from rollover.checks.run import Checked, Report
from rollover.cli.printer import Printer

MOST_SHOWN = 8
"""Findings of one rule that are written out; the rest is counted. JSON has them all."""

_SIGNS: Mapping[Severity | None, tuple[str, str]] = MappingProxyType(
    {
        Severity.ERROR: ("×", "bad"),
        Severity.EVIDENCE: ("?", "bad"),
        Severity.WARNING: ("‼", "warn"),
        None: ("√", "good"),
    }
)


def show(printer: Printer, report: Report) -> None:
    """Show every rule with its sign, and what it found."""
    for area, checked in groupby(report.checked, key=lambda each: each.area):
        printer.line(area, "bold")
        for each in checked:
            sign, style = _SIGNS[each.worst]
            printer.line(f"  {sign} {each.title}", style)
            for text in _details(each):
                printer.line(text)
        printer.line()
    printer.line(verdict(report), _SIGNS[report.worst][1])


def _details(checked: Checked) -> Iterator[str]:
    open_findings = [each for each in checked.findings if not each.silenced]
    for each in open_findings[:MOST_SHOWN]:
        yield f"      {each.subject}: {each.message}"
    if len(open_findings) > MOST_SHOWN:
        yield f"      … and {len(open_findings) - MOST_SHOWN} more (`--output json` has them all)"
    for remedy in dict.fromkeys(each.remedy for each in open_findings[:MOST_SHOWN]):
        yield f"      hint: {remedy} (`rollover explain {checked.rule}`)"
    yield from _silenced([each for each in checked.findings if each.silenced])


def _silenced(findings: list[Finding]) -> Iterator[str]:
    for each in findings[:MOST_SHOWN]:
        yield f"      silenced: {each.subject}: {each.message} ({each.silenced})"
    if len(findings) > MOST_SHOWN:
        yield f"      … and {len(findings) - MOST_SHOWN} more that are silenced"


def verdict(report: Report) -> str:
    """Return one line: can this fleet be rotated?"""
    counts = [
        f"{len(found)} {word}{'s' if len(found) > 1 else ''}"
        for severity, word in (
            (Severity.ERROR, "error"),
            (Severity.EVIDENCE, "gap"),
            (Severity.WARNING, "warning"),
        )
        if (found := report.findings(severity))
    ]
    seen = f"{report.instances} instances, {report.links:,} links"
    if report.worst is Severity.ERROR:
        word = "something stands in the way"
    elif report.worst is Severity.EVIDENCE:
        word = "evidence is missing"
    else:
        word = "nothing stands in the way"
    return f"{report.fleet}: {word} ({', '.join([*counts, seen])})"
