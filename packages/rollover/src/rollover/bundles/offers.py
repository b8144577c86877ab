"""Certificates that a source offers for a bundle, and what could not be taken from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Certificate


class Offer(NamedTuple):
    """A certificate and where it stands: `file:line`, a field of a manifest, a port."""

    certificate: Certificate
    place: str


class Offers(msgspec.Struct, frozen=True, kw_only=True):
    """What sources offer, in their order, and what a person should know about them."""

    offers: tuple[Offer, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates, as often as they are offered."""
        return tuple(each.certificate for each in self.offers)


def joined(several: Iterable[Offers]) -> Offers:
    """Return the offers of several sources as one."""
    each = tuple(several)
    return Offers(
        offers=tuple(offer for one in each for offer in one.offers),
        notes=tuple(note for one in each for note in one.notes),
    )
