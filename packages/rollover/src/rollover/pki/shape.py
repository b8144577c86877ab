"""What makes two leaves alike to every verifier, so that one verdict serves for both."""

from __future__ import annotations

from collections.abc import Hashable

from rollover.fleet.certificate import Certificate
from rollover.pki.anatomy import Anatomy, anatomy


def shape(certificate: Certificate) -> tuple[Hashable, ...]:
    """Return everything of a leaf that decides its path, but its key's value, its names and dates.

    Two leaves of one shape have the same verdicts as far as the path goes, when the same key
    issued them, they are served with the same intermediates, both are within their validity, and
    no CA above them constrains names. Whether their names cover what a dialer expects is a
    question of its own (`names.covers`).
    """
    found = anatomy(certificate)
    return (
        found.raw_issuer,
        found.raw_subject == found.raw_issuer,
        certificate.self_signed,
        certificate.authority_key_id,
        certificate.key,
        certificate.signature,
        certificate.key_usages,
        certificate.extended_key_usages,
        certificate.is_ca,
        found.version,
        found.has_basic_constraints,
        found.path_length,
        found.raw_constraints,
        *_names(certificate, found),
        found.critical,
        found.damage,
        found.go_refusal,
    )


def _names(certificate: Certificate, found: Anatomy) -> tuple[bool, ...]:
    return (
        found.raw_san is not None,
        bool(certificate.dns_names),
        bool(certificate.ip_addresses),
        bool(certificate.emails),
        bool(certificate.uris),
        bool(found.common_names),
    )
