"""How the naive swap looks: what the planner said beforehand, and what then happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollover.cli.printer import Printer
    from rollover.fleet.plan import Violation
    from rollover_lab.naive import NaiveReport, NaiveStep

MOST_SHOWN = 4


def refusal(printer: Printer, violations: tuple[Violation, ...]) -> None:
    """Show why the planner refuses."""
    printer.line("the planner refuses to swap everything at once:", "bold")
    for each in violations[:MOST_SHOWN]:
        printer.line(f"  ✗ {each.rule}: {each.message}", "bad")
        printer.line(f"    to lift it: {each.lift}")


def step(printer: Printer) -> Callable[[NaiveStep], None]:
    """Return what says how the fleet stands after each step."""

    def say(each: NaiveStep) -> None:
        after = each.reconnected
        printer.say(
            f"{each.instance}: {len(after.broken)} links broken, "
            f"{len(after.missing_routes)} routes missing, "
            f"{len(after.disconnected)} clients cut off, {after.lost} messages lost"
        )

    return say


def show(printer: Printer, report: NaiveReport) -> None:
    """Show what broke for real."""
    printer.line()
    printer.line("links that broke:", "bold")
    for each in report.broken[:MOST_SHOWN]:
        printer.line(f"  ✗ {each.dialer} → {each.acceptor}: {each.reason}", "bad")
    more = len(report.broken) - MOST_SHOWN
    if more > 0:
        printer.line(f"  … and {more} more")
    printer.line(
        f"sent {report.sent:,}, lost {report.lost:,}, {report.failures} requests failed, "
        f"{report.disconnects} disconnects, longest gap {report.longest_gap_ms:.0f} ms",
        "bad",
    )
