"""Cross-signing: the new authority's key vouched for by the old one, for peers that trust either.

Served after a leaf of the new authority, the cross certificate leads peers which trust only the
old authority to it, and is ignored by peers which trust the new one. It must be *served*: in a
bundle it is an anchor for Go alone (nats.md §4).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.pki import signing
from rollover.pki.anatomy import anatomy
from rollover.pki.issue import renewed
from rollover.pki.keys import PrivateKey


def cross_sign(
    subject_ca: Certificate,
    *,
    by: Certificate,
    by_key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta | None = None,
) -> Certificate:
    """Return a certificate of `subject_ca`'s subject, key and SKI, issued by `by`.

    Its validity lies within that of both: it begins at `not_before` or when the later one does,
    and is clipped to the end of the earlier one (without `lifetime`: lasts until then).
    `SpecError` when either is no CA, both have one key, or `by` allows no CA below it.
    """
    _check(subject_ca, by, by_key)
    start = max(not_before, subject_ca.not_before, by.not_before)
    wanted = lifetime or min(subject_ca.not_after, by.not_after) - start
    blank = renewed(
        subject_ca,
        key=signing.PublicKey(subject_ca.key, anatomy(subject_ca).spki),
        # The SKI that the authority's leaves already point to.
        subject_id=signing.authority_key_id(subject_ca),
        authority=by,
        validity=signing.validity_within(subject_ca, by, not_before=start, lifetime=wanted),
    )
    return signing.sign(blank, by_key)


def _check(subject_ca: Certificate, by: Certificate, by_key: PrivateKey) -> None:
    signing.check_issuer(by, by_key)
    if not subject_ca.is_ca:
        raise SpecError(
            f"`{subject_ca.subject}` is no CA, it cannot be cross-signed",
            hint="cross-sign the new authority's own certificate",
        )
    if subject_ca.key_identity == by.key_identity:
        raise SpecError(
            f"`{subject_ca.subject}` has the key of `{by.subject}`: there is nothing to cross-sign",
            hint="a renewal that keeps its key needs no cross certificate",
        )
    if anatomy(by).path_length == 0:
        raise SpecError(
            f"`{by.subject}` has path length 0: it allows no CA below it",
            hint="rotate without cross-signing",
        )
