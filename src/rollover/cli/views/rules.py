"""How rules look when they are explained or listed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollover.checks.rule import Rule
    from rollover.cli.printer import Printer

WIDTH = 96


def show(printer: Printer, rule: Rule) -> None:
    """Show everything about one rule."""
    printer.line(f"{rule.id} ({rule.severity.value})", "bold")
    printer.line(rule.title)
    for word, text in (
        ("means", rule.meaning),
        ("why", rule.why),
        ("example", rule.example),
        ("remedy", rule.remedy),
        ("source", rule.source),
    ):
        printer.line()
        lead = f"{word:<9}"
        for line in textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * 9):
            printer.line(line)


def show_list(printer: Printer, rules: tuple[Rule, ...]) -> None:
    """Show all rules, a line each."""
    printer.table(
        ("rule", "severity", "what it asks for, or refuses"),
        ((each.id, each.severity.value, each.title) for each in rules),
    )
