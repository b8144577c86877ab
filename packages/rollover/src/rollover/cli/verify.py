"""`rollover verify`: every endpoint dialled afresh, with the chains of every CA version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import authority_option, settings_of, settings_options
from rollover.cli.printer import counted
from rollover.errors import ExitCode
from rollover.fleet.names import short

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.engine.service import Verification
    from rollover.fleet.evidence import Evidence


@click.command(epilog="Example:\n\n  rollover verify", short_help="Prove what the fleet accepts.")
@authority_option
@settings_options
def command(**values: Any) -> int:
    """Dial every endpoint afresh: what it presents, which CAs it advertises, whom it lets in."""
    from rollover.site import open_fleet  # noqa: PLC0415 - imports certificates

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet, scratch=True) as library:
        verification = library.verify(library.about(values["authority"]))
    if printer.json:
        printer.data("verification", {"holds": verification.holds, "gates": verification.gates})
    else:
        show_verification(printer, verification)
    return ExitCode.DONE if verification.holds else ExitCode.EVIDENCE_MISSING


# The view.

_DRAINED = {
    True: "nobody presents a certificate of the CA that goes",
    False: "somebody still presents a certificate of the CA that goes",
}
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def show_verification(printer: Printer, verification: Verification) -> None:
    """Show each gate with everything that it saw."""
    for gate in verification.gates:
        sign = "✓" if gate.holds else "✗"
        outline = gate_outline(gate.gate, len(gate.evidence), holds=gate.holds)
        if gate.holdouts:
            outline = counted(len(gate.holdouts), "connection")
        printer.line(f"{sign} {gate.gate}: {outline}", "good" if gate.holds else "bad")
        for evidence in gate.evidence:
            _show_evidence(printer, evidence)
        for holdout in gate.holdouts:
            certificate = short(holdout.certificate)
            printer.line(
                f"  ✗ `{holdout.peer}` on {holdout.server} still presents {certificate}, "
                "of a CA that is trusted no more",
                "bad",
            )


def gate_outline(gate: str, facts: int, *, holds: bool) -> str:
    """Return what a gate saw in a few words; empty when that is nothing worth a word."""
    from rollover.engine.gates import DRAINED  # noqa: PLC0415 - imports certificates

    if facts:
        return counted(facts, "fact")
    return _DRAINED[holds] if gate == DRAINED else ""


def _show_evidence(printer: Printer, evidence: Evidence) -> None:
    observed = evidence.observed
    if _FINGERPRINT.fullmatch(observed):
        observed = short(observed)
    seen = f"{observed} ({evidence.by})"
    if evidence.holds:
        printer.line(f"  ✓ {evidence.subject} {evidence.expected or evidence.fact}: {seen}")
        return
    expected = f"; expected: {evidence.expected}" if evidence.expected else ""
    printer.line(f"  ✗ {evidence.subject} {evidence.fact}: {seen}{expected}", "bad")
