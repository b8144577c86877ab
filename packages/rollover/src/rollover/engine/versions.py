"""The versions of a fleet's authorities: which there are, who uses them, and bringing one in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from rollover.engine.site import Site
from rollover.engine.survey import Survey, survey
from rollover.errors import PemError, SpecError
from rollover.fleet.credential import CertificateVersion
from rollover.fleet.model import Authority, Role
from rollover.fleet.names import AuthorityName, Fingerprint, short
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import read_certificates


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an authority, and how many endpoints use it.

    `subject` and the dates are empty when its certificate was seen nowhere.
    """

    authority: str
    label: str
    fingerprint: str
    subject: str = ""
    key: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_here: bool = False
    trusted_by: int = 0
    presented_by: int = 0


class PemFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read, and the name that messages call it by."""

    place: str
    content: SecretBytes


def list_versions(site: Site) -> tuple[VersionView, ...]:
    """Observe a fleet and return every version of its authorities, oldest first."""
    seen = survey(site)
    return tuple(view for authority in seen.fleet.authorities for view in _views(authority, seen))


def _views(authority: Authority, seen: Survey) -> Iterator[VersionView]:
    for version in dict.fromkeys(authority.versions):
        view = VersionView(
            authority=authority.name,
            label=authority.label(version),
            fingerprint=version,
            key_here=version in seen.keys,
            trusted_by=_trusted_by(version, seen),
            presented_by=_presented_by(version, seen),
        )
        known = seen.fleet.certificates.get(version)
        if known is None:
            yield view
            continue
        yield msgspec.structs.replace(
            view,
            subject=known.subject,
            key=known.key,
            not_before=known.not_before,
            not_after=known.not_after,
        )


def _trusted_by(version: Fingerprint, seen: Survey) -> int:
    return sum(
        version in (endpoint.trusts or ())
        for instance in seen.fleet.instances()
        for endpoint in instance.endpoints
    )


def _presented_by(version: Fingerprint, seen: Survey) -> int:
    return sum(
        endpoint.role is not Role.SOURCE
        and any(seen.issuers.get(each) == version for each in endpoint.presents)
        for instance in seen.fleet.instances()
        for endpoint in instance.endpoints
    )


def bring_in(
    site: Site, name: str, *, certificate: PemFile, key: PemFile | None
) -> CertificateVersion:
    """Keep a CA that was made elsewhere as a version of an authority; idempotent.

    Raises `PemError` when a file is damaged or swapped, or the key belongs to another certificate,
    and `SpecError` when the certificate is no CA.
    """
    first = read_certificates(certificate.content.reveal(), place=certificate.place).certificates[0]
    if not first.is_ca:
        raise SpecError(
            f"`{first.subject}` ({short(first.fingerprint)}) is no CA certificate",
            place=certificate.place,
            hint="bring in the certificate of the CA, not of a server or client",
        )
    owner = site.authorities.owner(first.fingerprint)
    if owner is not None and owner != name:
        raise SpecError(
            f"`{first.subject}` ({short(first.fingerprint)}) is a version of `{owner}` already",
            place=certificate.place,
            hint=f"`rollover authority import {owner} …` adds its key; each CA has one name",
        )
    if key is not None:
        private = from_pem(key.content.reveal(), place=key.place)
        if private.key_identity != first.key_identity:
            raise PemError(
                f"the key (`{private.kind}`) is not that of `{first.subject}` (`{first.key}`)",
                place=key.place,
                hint="give the key that this CA certificate was made for",
            )
    return site.authorities.bring_in(
        AuthorityName(name),
        certificate.content.reveal(),
        key.content if key is not None else None,
        at=site.clock(),
    )
