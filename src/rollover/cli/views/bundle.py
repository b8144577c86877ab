"""How bundles look: members, remarks with their stacks, differences and what they would break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollover.cli.views.counting import counted
from rollover.fleet.names import short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rollover.bundles.build import Bundle, Member
    from rollover.bundles.difference import Broken, Change, Effect
    from rollover.bundles.remarks import Remark
    from rollover.cli.printer import Printer
    from rollover.fleet.certificate import Certificate

_MOST_LINKS = 20
_MOST_PLACES = 5
_MOST_NOTES = 20


def facts(certificate: Certificate) -> dict[str, Any]:
    """Return what machines get to know of a member."""
    return {
        "subject": certificate.subject,
        "fingerprint": certificate.fingerprint,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
    }


def show_built(printer: Printer, bundle: Bundle, *, file: str, changed: bool) -> None:
    """Show what was written, and what a person should know about it."""
    if printer.json:
        fields = {"file": file, "changed": changed, "remarks": bundle.remarks}
        members = [_member(each) for each in bundle.members]
        dropped = [_member(each) for each in bundle.dropped]
        whole = {**fields, "members": members, "dropped": dropped, "notes": bundle.notes}
        printer.data("bundle", whole)
        return
    for each in bundle.members:
        sign = "+" if each.wider else "·"
        printer.say(f"{sign} {_line(each.certificate)}  from {each.place}")
        for place in each.again[:_MOST_PLACES]:
            printer.say(f"    again in {place}, taken once", "dim")
        if len(each.again) > _MOST_PLACES:
            printer.say(f"    and in {len(each.again) - _MOST_PLACES} more places", "dim")
    for each in bundle.dropped:
        printer.say(f"- {_line(each.certificate)}  left out: out of date", "warn")
    show_remarks(printer, bundle.remarks, talk=True)
    for note in bundle.notes[:_MOST_NOTES]:
        printer.say(f"! {note}", "warn")
    if len(bundle.notes) > _MOST_NOTES:
        more = len(bundle.notes) - _MOST_NOTES
        printer.say(f"! and {more} more remarks (`--output json` has them all)", "warn")
    what = "written" if changed else "no change"
    printer.say(f"{file}: {counted(len(bundle.members), 'CA')}, {what}", "good")


def show_checked(
    printer: Printer,
    members: Sequence[Certificate],
    remarks: Sequence[Remark],
    *,
    file: str,
    now: datetime,
) -> None:
    """Show a bundle and what is wrong with it."""
    if printer.json:
        fields = {"file": file, "members": [facts(each) for each in members], "remarks": remarks}
        printer.data("bundle", fields)
        return
    for each in members:
        days = (each.not_after - now).days
        printer.line(f"· {_line(each)}  {days} days left")
    show_remarks(printer, remarks)
    if not remarks:
        printer.line("✓ every stack takes every member", "good")


def show_remarks(printer: Printer, remarks: Sequence[Remark], *, talk: bool = False) -> None:
    """Show remarks, each with the stacks that it matters to."""
    write = printer.say if talk else printer.line
    for each in remarks:
        where = f" [fails on {', '.join(each.stacks)}]" if each.stacks else ""
        sign, style = ("✗", "bad") if each.fails else ("!", "warn")
        write(f"{sign} {each.kind}: {each.detail}{where}", style)


def show_difference(printer: Printer, change: Change, effect: Effect | None) -> None:
    """Show what a change adds and takes away, and which links that decides."""
    if printer.json:
        fields = {
            "added": [facts(each) for each in change.added],
            "removed": [facts(each) for each in change.removed],
            "renewed": change.renewed,
            "reordered": change.reordered,
        }
        printer.data("difference", {**fields, "effect": effect})
        return
    for each in change.added:
        note = "  (renews an authority of the old bundle)" if _renews(each, change) else ""
        printer.line(f"+ {_line(each)}{note}", "good")
    for each in change.removed:
        printer.line(f"- {_line(each)}", "bad")
    if change.reordered:
        printer.line("~ the order of those in both differs", "warn")
    if change.nothing:
        printer.line("the same CAs in the same order")
    if effect is not None:
        show_effect(printer, effect)


def show_effect(printer: Printer, effect: Effect) -> None:
    """Show which links stop and which begin to work."""
    if not effect.using:
        printer.line(
            "? nobody has exactly the old bundle loaded, so nothing is proven of the new one: "
            "give the `ca_file` of today as OLD",
            "warn",
        )
    for instance in effect.unseen:
        printer.line(f"? {instance} was not seen: nothing is proven of it", "warn")
    _show_links(printer, effect.stops, title="would stop to work", style="bad", sign="✗")
    _show_links(printer, effect.begins, title="would begin to work", style="good", sign="✓")
    if effect.using and not effect.stops:
        printer.line(f"✓ nothing breaks ({len(effect.using)} parties trust the old one)", "good")


def _show_links(
    printer: Printer, links: Sequence[Broken], *, title: str, style: str, sign: str
) -> None:
    if not links:
        return
    printer.line(f"{counted(len(links), 'link')} {title}:", "bold")
    for each in links[:_MOST_LINKS]:
        printer.line(f"  {sign} {each.link}: {each.reason}", style)
    if len(links) > _MOST_LINKS:
        printer.line(f"  and {len(links) - _MOST_LINKS} more")


def _renews(certificate: Certificate, change: Change) -> bool:
    return certificate.fingerprint in change.renewed


def _member(member: Member) -> dict[str, Any]:
    found = {"place": member.place, "again": member.again, "wider": member.wider}
    return {**facts(member.certificate), **found}


def _line(certificate: Certificate) -> str:
    dates = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    return f"{short(certificate.fingerprint)}  {certificate.subject}  {dates}"
