"""How the report of `rollover check` looks: a list by area, with √ ‼ ? ×, and the remedy below."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from rollover import __version__
from rollover.checks.rule import Finding, Severity
from rollover.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rollover.checks.run import Checked, Report
    from rollover.cli.printer import Printer

MOST_SHOWN = 8
"""Findings of one rule that are written out; the rest is counted. JSON has them all."""

MOST_NAMED = 3
"""Of those about whom the same is found: these by name, the rest is counted."""

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
    alike: dict[str, list[Finding]] = {}
    for each in open_findings:
        alike.setdefault(each.message, []).append(each)
    shown = list(alike.values())[:MOST_SHOWN]
    for findings in shown:
        yield f"      {_told(findings[0])}{_others(findings[1:])}"
    left = len(open_findings) - sum(map(len, shown))
    if left:
        yield f"      … and {left} more (`--output json` has them all)"
    for remedy in dict.fromkeys(each.remedy for findings in shown for each in findings):
        yield f"      hint: {remedy} (`rollover explain {checked.rule}`)"
    yield from _silenced([each for each in checked.findings if each.silenced])


def _others(findings: list[Finding]) -> str:
    """Return whom the same is true of, some by name."""
    subjects = list(dict.fromkeys(each.subject for each in findings))
    if not subjects:
        return ""
    named, more = ", ".join(subjects[:MOST_NAMED]), len(subjects) - MOST_NAMED
    return f"; likewise {named}" + (f" and {more} more" if more > 0 else "")


def _silenced(findings: list[Finding]) -> Iterator[str]:
    for each in findings[:MOST_SHOWN]:
        yield f"      silenced: {_told(each)} ({each.silenced})"
    if len(findings) > MOST_SHOWN:
        yield f"      … and {len(findings) - MOST_SHOWN} more that are silenced"


def _told(finding: Finding) -> str:
    place = f"{finding.place}: " if finding.place else ""
    return f"{place}{finding.subject}: {finding.message}"


def write_sarif(path: Path, report: Report, *, described: Path | None = None) -> None:
    """Write the report as SARIF; `SpecError` when the file cannot be written.

    `described`: the fleet file of the report, in which findings stand that no other file holds.
    """
    from rollover.cli.views.sarif import sarif  # noqa: PLC0415 - imports every rule
    from rollover.rule_catalogue import CATALOGUE  # noqa: PLC0415 - likewise

    base, rules = Path.cwd(), CATALOGUE.rules
    log = sarif(report, rules, version=__version__, base=base, described=described)
    text = msgspec.json.format(msgspec.json.encode(log), indent=2)
    try:
        with open(path, "wb", opener=_at_once) as file:
            file.write(text + b"\n")
    except OSError as error:
        raise SpecError(
            f"cannot be written: {error.strerror}", place=str(path), hint="name another file"
        ) from None


def _at_once(path: str, flags: int) -> int:
    """Open a file, or fail where it is a pipe from which nobody reads."""
    file = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(file, True)
    return file


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
