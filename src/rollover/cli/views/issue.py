"""How an issued certificate looks, and what became of the trust stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.fleet.certificate import Certificate
    from rollover.issuing.authority import LocalAuthority
    from rollover.issuing.issue import AuthorityFacts, Issued
    from rollover.issuing.system_trust import StoreResult

# By the words of `issuing.system_trust.Outcome`, which imports certificates.
_SIGNS = {
    "installed": ("✓", "good"),
    "removed": ("✓", "good"),
    "absent": ("·", "dim"),
    "failed": ("✗", "bad"),
}
_MOST_NAMES = 8


def show(printer: Printer, issued: Issued) -> None:
    """Show where the certificate is and what to write into nats.conf."""
    if printer.json:
        printer.data("issued", issued)
        return
    _say_made(printer, issued.authority)
    printer.line(f"certificate  {issued.certificate_file}")
    printer.line(f"key          {issued.key_file}")
    printer.line(f"CA           {issued.authority.file}")
    printer.line(f"for          {issued.role} ({', '.join(issued.extended_key_usages)})")
    printer.line(f"names        {_names(issued.names)}")
    end = ", the end of its CA" if issued.clipped else ""
    printer.line(f"valid        until {issued.not_after:%Y-%m-%d %H:%M}Z{end}")
    printer.line(f"fingerprint  {issued.fingerprint}")
    printer.line()
    printer.line("nats.conf:", "bold")
    for line in issued.nats_conf.splitlines():
        printer.line(f"  {line}")
    if issued.command:
        printer.line()
        printer.line("client:", "bold")
        printer.line(f"  {issued.command}")


def show_authority(printer: Printer, authority: LocalAuthority) -> None:
    """Say that a CA was made, where it was."""
    from rollover.issuing.issue import facts_of  # noqa: PLC0415 - imports certificates

    _say_made(printer, facts_of(authority))


def show_stores(
    printer: Printer, certificate: Certificate, results: tuple[StoreResult, ...]
) -> None:
    """Show what became of each trust store."""
    if printer.json:
        fields = {"subject": certificate.subject, "fingerprint": certificate.fingerprint}
        printer.data("trust_stores", {**fields, "stores": results})
        return
    for each in results:
        sign, style = _SIGNS[each.outcome]
        detail = f": {each.detail}" if each.detail else ""
        printer.line(f"{sign} {each.store}: {each.outcome}{detail}", style)


def _say_made(printer: Printer, authority: AuthorityFacts) -> None:
    from rollover.issuing.authority import RISK  # noqa: PLC0415 - imports certificates

    if authority.made:
        printer.say(f"made the CA `{authority.subject}`: {authority.file}")
        printer.say(f"! {RISK}: keep ca-key.pem to yourself", "warn")


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
