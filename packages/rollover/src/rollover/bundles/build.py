"""From offers to a bundle: order kept, each CA once, nothing in it that is none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from rollover.bundles.offers import Offer, Offers
from rollover.bundles.remarks import Remark, of_members
from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import short

MOST_TOLD = 5


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of a bundle, where it was found first, and where again."""

    certificate: Certificate
    place: str
    again: tuple[str, ...] = ()
    wider: bool = False
    """It was asked for beyond what is trusted today."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle, what was left out of it, and what a person should know about it."""

    members: tuple[Member, ...]
    dropped: tuple[Member, ...] = ()
    remarks: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Its certificates, in order."""
        return tuple(each.certificate for each in self.members)


def build(
    offers: Offers, *, now: datetime, wider: Offers | None = None, drop_expired: bool = False
) -> Bundle:
    """Return the bundle of these offers, in their order, then of `wider`.

    Members that are expired or not yet valid are named, and left out with `drop_expired` only: an
    OpenSSL peer that verifies by time of signing, or a clock that is wrong, may still need them.
    Raises `PemError` for offers that are no CA, and when nothing is left.
    """
    more = wider or Offers()
    _check_authorities((*offers.offers, *more.offers))
    members = _members((*offers.offers, *more.offers))
    today = set(offers.certificates)
    members = tuple(
        msgspec.structs.replace(each, wider=each.certificate not in today) for each in members
    )
    kept = tuple(each for each in members if not drop_expired or _valid(each.certificate, now))
    if not kept:
        raise PemError(
            "no CA is left for the bundle" if members else "there is no CA in any source",
            hint="name a source that holds a CA which is valid now",
        )
    return Bundle(
        members=kept,
        dropped=tuple(each for each in members if each not in kept),
        remarks=of_members(tuple(each.certificate for each in kept), now=now),
        notes=(*offers.notes, *more.notes),
    )


def _members(offers: Iterable[Offer]) -> tuple[Member, ...]:
    places: dict[Certificate, list[str]] = {}
    for offer in offers:
        places.setdefault(offer.certificate, []).append(offer.place)
    return tuple(
        Member(certificate=each, place=found[0], again=tuple(found[1:]))
        for each, found in places.items()
    )


def _valid(certificate: Certificate, now: datetime) -> bool:
    return certificate.not_before <= now <= certificate.not_after


def _check_authorities(offers: Sequence[Offer]) -> None:
    wrong = [each for each in offers if not each.certificate.is_ca]
    if not wrong:
        return
    told = "; ".join(_no_authority(each) for each in wrong[:MOST_TOLD])
    more = f" and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
    issuers = dict.fromkeys(each.certificate.issuer for each in wrong[:MOST_TOLD])
    raise PemError(
        f"{told}{more}",
        hint=f"a bundle holds CAs: take the certificate of the issuer instead "
        f"({', '.join(f'`{each}`' for each in issuers)})",
    )


def _no_authority(offer: Offer) -> str:
    found = offer.certificate
    return f"{offer.place}: `{found.subject}` ({short(found.fingerprint)}) is no CA"
