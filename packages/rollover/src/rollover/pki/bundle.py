"""Trust bundles: sets of CA certificates that keep their order, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint, short
from rollover.pki.certificate import anatomy
from rollover.pki.go import ADVERTISED_NAMES_LIMIT, NAME_PREFIX


class BundleFindingKind(StrEnum):
    """What is wrong with a bundle; stable."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    NOT_A_CA = "not-a-ca"
    DUPLICATE = "duplicate"
    SAME_KEY = "same-key-and-subject"
    """Not the same certificate, but the same authority: a renewal beside what it renews."""
    AMBIGUOUS_SUBJECT = "same-subject-without-key-ids"
    """CAs that only key identifiers could tell apart have none: OpenSSL tries the first only."""
    TOO_MANY_NAMES = "names-too-long"
    """The names do not fit into a TLS message: every mutual handshake fails."""


class BundleFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding and the certificates that it is about."""

    kind: BundleFindingKind
    detail: str
    certificates: tuple[Fingerprint, ...] = ()


def union(*bundles: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return the certificates of all bundles in order, each once."""
    return tuple(dict.fromkeys(certificate for bundle in bundles for certificate in bundle))


def without(
    bundle: Iterable[Certificate], removed: Iterable[Certificate]
) -> tuple[Certificate, ...]:
    """Return a bundle in its order without the certificates removed (by fingerprint)."""
    gone = frozenset(removed)
    return tuple(certificate for certificate in bundle if certificate not in gone)


def duplicates(bundle: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return the certificates that stand in the bundle before, once for each time."""
    seen: set[Certificate] = set()
    found: list[Certificate] = []
    for certificate in bundle:
        if certificate in seen:
            found.append(certificate)
        seen.add(certificate)
    return tuple(found)


def authority_identity(certificate: Certificate) -> tuple[str, bytes]:
    """Return what an authority keeps over its renewals: its key and its subject (raw DER)."""
    return certificate.key_identity, anatomy(certificate).raw_subject


def same_authority(bundle: Iterable[Certificate]) -> tuple[tuple[Certificate, ...], ...]:
    """Return the groups of different certificates which share key and subject."""
    groups: dict[tuple[str, bytes], list[Certificate]] = {}
    for certificate in union(bundle):
        groups.setdefault(authority_identity(certificate), []).append(certificate)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def advertised_octets(bundle: Iterable[Certificate]) -> int:
    """Return how many octets the names of the bundle take in a CertificateRequest."""
    return sum(len(anatomy(certificate).raw_subject) + NAME_PREFIX for certificate in union(bundle))


def findings(bundle: Sequence[Certificate], *, instant: datetime) -> tuple[BundleFinding, ...]:
    """Return everything that is wrong with a bundle at an instant."""
    return (
        *(
            found
            for certificate in union(bundle)
            for found in _certificate_findings(certificate, instant)
        ),
        *_duplicate_findings(bundle),
        *_ambiguous_findings(bundle),
        *_size_findings(bundle),
    )


def _certificate_findings(certificate: Certificate, instant: datetime) -> Iterator[BundleFinding]:
    name = _shown(certificate)
    where = (certificate.fingerprint,)
    if instant > certificate.not_after:
        detail = f"{name} expired on {certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
        yield BundleFinding(kind=BundleFindingKind.EXPIRED, detail=detail, certificates=where)
    if instant < certificate.not_before:
        detail = f"{name} is not valid before {certificate.not_before:%Y-%m-%d %H:%M:%SZ}"
        yield BundleFinding(kind=BundleFindingKind.NOT_YET_VALID, detail=detail, certificates=where)
    if not certificate.is_ca:
        detail = f"{name} is no CA: it can vouch for itself at most"
        yield BundleFinding(kind=BundleFindingKind.NOT_A_CA, detail=detail, certificates=where)


def _shown(certificate: Certificate) -> str:
    return f"`{certificate.subject}` ({short(certificate.fingerprint)})"


def _duplicate_findings(bundle: Sequence[Certificate]) -> Iterator[BundleFinding]:
    for certificate in duplicates(bundle):
        yield BundleFinding(
            kind=BundleFindingKind.DUPLICATE,
            detail=f"{_shown(certificate)} stands in the bundle before",
            certificates=(certificate.fingerprint,),
        )
    for group in same_authority(bundle):
        yield BundleFinding(
            kind=BundleFindingKind.SAME_KEY,
            detail=f"{len(group)} certificates of the authority `{group[0].subject}` and one key",
            certificates=tuple(certificate.fingerprint for certificate in group),
        )


def _ambiguous_findings(bundle: Sequence[Certificate]) -> Iterator[BundleFinding]:
    groups: dict[bytes, list[Certificate]] = {}
    for certificate in union(bundle):
        groups.setdefault(anatomy(certificate).raw_subject, []).append(certificate)
    for group in groups.values():
        keys = {certificate.key_identity for certificate in group}
        ids = {certificate.subject_key_id for certificate in group if certificate.subject_key_id}
        if len(ids) < len(keys) and len(keys) > 1:
            yield BundleFinding(
                kind=BundleFindingKind.AMBIGUOUS_SUBJECT,
                detail=f"{len(keys)} CAs are named `{group[0].subject}`, and their key identifiers "
                "do not tell them apart: OpenSSL peers try the first only",
                certificates=tuple(certificate.fingerprint for certificate in group),
            )


def _size_findings(bundle: Sequence[Certificate]) -> Iterator[BundleFinding]:
    size = advertised_octets(bundle)
    if size > ADVERTISED_NAMES_LIMIT:
        yield BundleFinding(
            kind=BundleFindingKind.TOO_MANY_NAMES,
            detail=f"the names take {size} octets, a TLS message holds {ADVERTISED_NAMES_LIMIT}: "
            "every mutual handshake fails",
        )
