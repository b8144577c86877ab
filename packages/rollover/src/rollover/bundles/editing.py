"""Bundles that are changed a little: CAs put in, CAs taken out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rollover.bundles.offers import Offer, Offers
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import short

LEAST_DIGITS = 8
MOST_TOLD = 10
_DIGITS = re.compile(r"[0-9a-f]{8,64}")


def extended(present: Sequence[Certificate], more: Offers, *, place: str) -> Offers:
    """Return what stands in a bundle's file, then what is put in."""
    here = tuple(Offer(each, place) for each in present)
    return Offers(offers=(*here, *more.offers), notes=more.notes)


def without(
    present: Sequence[Certificate], selectors: Iterable[str], *, place: str
) -> tuple[Certificate, ...]:
    """Return a bundle without the members that are named by fingerprint or subject.

    A fingerprint is at least eight digits of SHA-256, colons allowed; a subject the whole of it,
    or its common name. `SpecError` for what names none, or several by digits; `PemError` when
    nothing would be left.
    """
    gone: set[Certificate] = set()
    for selector in selectors:
        gone.update(_selected(present, selector, place=place))
    left = tuple(each for each in present if each not in gone)
    if not left:
        raise PemError(
            "no CA would be left, and nobody would be trusted",
            place=place,
            hint="put the new CA in first: `rollover bundle add`",
        )
    return left


def _selected(
    present: Sequence[Certificate], selector: str, *, place: str
) -> tuple[Certificate, ...]:
    digits = selector.replace(":", "").lower()
    found = tuple(each for each in present if selector in _names(each))
    if not found and _DIGITS.fullmatch(digits):
        found = tuple(each for each in present if each.fingerprint.startswith(digits))
        if len(found) > 1:
            raise SpecError(
                f"`{selector}` is the beginning of {len(found)} fingerprints",
                place=place,
                hint="give more digits",
            )
    if not found:
        known = ", ".join(
            f"{short(each.fingerprint)} `{each.subject}`" for each in present[:MOST_TOLD]
        )
        raise SpecError(
            f"`{selector}` is not in it",
            place=place,
            hint=f"give {LEAST_DIGITS} digits of a fingerprint, or a subject, of: {known}",
        )
    return found


def _names(certificate: Certificate) -> Iterator[str]:
    yield certificate.subject
    for part in re.split(r"(?<!\\),", certificate.subject):
        if part.startswith("CN="):
            yield part.removeprefix("CN=")
