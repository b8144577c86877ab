"""How the report of `rollover check` looks: a list by area, with √ ‼ ? ×, and the remedy below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import msgspec

from rollover import __version__
from rollover.checks import catalogue
from rollover.checks.rule import Finding, Severity
from rollover.checks.run import Checked, Report
from rollover.cli.printer import Printer
from rollover.cli.views.sarif import sarif
from rollover.errors import SpecError

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


def show(printer: Printer, report: Report, *, of_files: bool = False) -> None:
    """Show every rule with its sign, and what it found; `of_files`: in configurations only."""
    for area, checked in groupby(report.checked, key=lambda each: each.area):
        printer.line(area, "bold")
        for each in checked:
            sign, style = _SIGNS[each.worst]
            printer.line(f"  {sign} {each.title}", style)
            for text in _details(each):
                printer.line(text)
        printer.line()
    printer.line(verdict(report, of_files=of_files), _SIGNS[report.worst][1])


def _details(checked: Checked) -> Iterator[str]:
    open_findings = [each for each in checked.findings if not each.silenced]
    for each in open_findings[:MOST_SHOWN]:
        yield f"      {_told(each)}"
    if len(open_findings) > MOST_SHOWN:
        yield f"      … and {len(open_findings) - MOST_SHOWN} more (`--output json` has them all)"
    for remedy in dict.fromkeys(each.remedy for each in open_findings[:MOST_SHOWN]):
        yield f"      hint: {remedy} (`rollover explain {checked.rule}`)"
    yield from _silenced([each for each in checked.findings if each.silenced])


def _silenced(findings: list[Finding]) -> Iterator[str]:
    for each in findings[:MOST_SHOWN]:
        yield f"      silenced: {_told(each)} ({each.silenced})"
    if len(findings) > MOST_SHOWN:
        yield f"      … and {len(findings) - MOST_SHOWN} more that are silenced"


def _told(finding: Finding) -> str:
    place = f"{finding.place}: " if finding.place else ""
    return f"{place}{finding.subject}: {finding.message}"


def write_sarif(path: Path, report: Report) -> None:
    """Write the report as SARIF; `SpecError` when the file cannot be written."""
    log = sarif(report, catalogue.rules(), version=__version__, base=Path.cwd())
    text = msgspec.json.format(msgspec.json.encode(log), indent=2)
    try:
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise SpecError(
            f"cannot be written: {error.strerror}", place=str(path), hint="name another file"
        ) from None


def verdict(report: Report, *, of_files: bool = False) -> str:
    """Return one line: can this fleet be rotated, can these configurations be relied upon?"""
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
    if of_files:
        seen = f"{report.instances} configuration{'s' if report.instances > 1 else ''}"
    if report.worst is Severity.ERROR:
        word = "something stands in the way"
    elif report.worst is Severity.EVIDENCE:
        word = "evidence is missing"
    else:
        word = "nothing stands in the way"
    return f"{report.fleet}: {word} ({', '.join([*counts, seen])})"
