"""`--runbook`: what Rollover would do, as files and instructions for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollover.errors import SafetyError, SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from rollover.cli.options import Settings
    from rollover.cli.printer import Printer
    from rollover.engine.recovery import Recovery
    from rollover.engine.service import Outlook


def write_for(printer: Printer, settings: Settings, values: dict[str, Any]) -> None:
    """Plan, and write the runbook of the plan into a directory; no instance is changed.

    Raises `SpecError` for a fleet that is no director's, and for what `create-env` cannot make;
    `SafetyError` when a CA has expired and nobody has said that this is known.
    """
    from rollover.cli.requests import request_of  # noqa: PLC0415 - imports certificates
    from rollover.site import open_director, open_fleet  # noqa: PLC0415 - imports every platform

    _refuse_what_is_not_made_by_hand(values)
    directory: Path = values["runbook"]
    with open_director(settings.fleet) as director:
        with open_fleet(settings.fleet, scratch=True, recover=values["recover"]) as library:
            outlook = library.outlook(request_of(library, values))
        refuse_unasked_recovery(outlook.recovery, asked=values["recover"])
        written = director.write_runbook(directory, outlook)
    _tell(printer, written, outlook)


def _refuse_what_is_not_made_by_hand(values: dict[str, Any]) -> None:
    for option, name in (("--key", "key_kind"), ("--to", "to")):
        if values.get(name) is not None:
            raise SpecError(
                f"`{option}` cannot be written as a runbook: by hand, `create-env` makes the new "
                "CA, an RSA one of its own",
                hint=f"leave `{option}` out, or let `rollover rotate` do it",
            )


def refuse_unasked_recovery(recovery: Recovery, *, asked: bool) -> None:
    """Raise `SafetyError` when instances are cut off and nobody has said that this is known."""
    from rollover.engine.rules import RECOVERY  # noqa: PLC0415 - imports certificates

    if recovery.needed and not asked:
        raise SafetyError(
            f"{RECOVERY}: {'; '.join(recovery.expired) or 'certificates have expired'}: "
            "a rotation does not help any more",
            hint="`--recover --runbook DIR` writes how to make anew who is cut off; that is not "
            "safe, and the runbook names what may be lost",
        )


def _tell(printer: Printer, written: tuple[Path, ...], outlook: Outlook) -> None:
    if printer.json:
        printer.data("runbook", {"files": [str(each) for each in written]})
        return
    for each in written:
        printer.line(str(each))
    if not outlook.plan.complete:
        printer.say("it ends before the goal: its last section says what stands in the way", "warn")
    printer.say(f"the runbook is `{written[-1]}`; nothing was changed", "good")
