"""How the versions of authorities look."""

from __future__ import annotations

from rollover.cli.printer import Printer
from rollover.engine.versions import VersionView
from rollover.fleet.names import short


def show(printer: Printer, versions: tuple[VersionView, ...]) -> None:
    """Show every version, a line each."""
    if not versions:
        printer.line("no authority is described, and none is in the store")
        return
    printer.table(
        ("version", "fingerprint", "subject", "key", "valid", "key here", "trusted", "presented"),
        (_row(each) for each in versions),
    )


def _row(each: VersionView) -> tuple[str, ...]:
    valid = "not seen anywhere"
    if each.not_before is not None and each.not_after is not None:
        valid = f"{each.not_before:%Y-%m-%d} to {each.not_after:%Y-%m-%d}"
    return (
        each.label,
        short(each.fingerprint),
        each.subject,
        each.key,
        valid,
        "yes" if each.key_here else "no",
        f"by {each.trusted_by}",
        f"by {each.presented_by}",
    )
