"""How the versions of authorities look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollover.fleet.names import short

if TYPE_CHECKING:
    from datetime import datetime

    from rollover.cli.printer import Printer
    from rollover.engine.versions import VersionView
    from rollover.fleet.credential import CertificateVersion


def show(printer: Printer, versions: tuple[VersionView, ...]) -> None:
    """Show every version, a line each."""
    if not versions:
        printer.line("no authority is described, and none is in the store")
        return
    printer.table(
        ("version", "fingerprint", "subject", "key", "valid", "key here", "trusted", "presented"),
        (_row(each) for each in versions),
    )


def warn_of_dates(printer: Printer, version: CertificateVersion, *, at: datetime) -> None:
    """Say so when a CA that was brought in is out of its dates: nothing can be issued from it."""
    from rollover.pki.pem import read_certificates  # noqa: PLC0415 - imports certificates

    first = read_certificates(version.chain).certificates[0]
    if first.not_after < at:
        printer.say(f"! `{first.subject}` expired on {first.not_after:%Y-%m-%d}", "warn")
    elif at < first.not_before:
        printer.say(f"! `{first.subject}` is not valid before {first.not_before:%Y-%m-%d}", "warn")


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
