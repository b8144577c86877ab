"""Issues authorities and leaves. The instant is always an argument: nothing is back-dated."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki import encode, signing
from rollover.pki.anatomy import SAN, anatomy
from rollover.pki.certificate import KEY_USAGE_NAMES, extended_key_usage, key_usage
from rollover.pki.der import RawExtension
from rollover.pki.keys import PrivateKey
from rollover.pki.profiles import CA, Profile
from rollover.pki.subject_names import SubjectName, general_name

BASIC_CONSTRAINTS = ExtensionOID.BASIC_CONSTRAINTS.dotted_string
KEY_USAGE = ExtensionOID.KEY_USAGE.dotted_string
EXTENDED_KEY_USAGE = ExtensionOID.EXTENDED_KEY_USAGE.dotted_string

UNSIGNED = Fingerprint("")
"""Stands in the facts of a certificate until it is signed."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of a fleet may differ. A caller whose certificate must be valid everywhere
at once subtracts it from `not_before`; nothing here does."""


def allowing_for_skew(at: datetime, lifetime: timedelta) -> datetime:
    """Return when a certificate should begin so that it is valid on all clocks of a fleet.

    Never more than a tenth of its lifetime earlier: a very short one would be born expired.
    """
    return at - min(CLOCK_SKEW, lifetime / 10)


LONGEST_COMMON_NAME = 64
"""RFC 5280, ub-common-name; longer names of a certificate go into its SANs."""

OF_THE_ISSUER = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS,
        ExtensionOID.PRECERT_POISON,
    )
)
"""What is made anew or is wrong as soon as another authority signs; never copied."""


def issue_authority(
    *,
    common_name: str,
    key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta,
    serial: int | None = None,
    organization: str = "",
    path_length: int | None = None,
) -> Certificate:
    """Return a self-signed CA certificate: critical basic constraints and key usage, no EKU."""
    name = _name(common_name, organization)
    identifier = signing.key_id(key.spki)
    validity = signing.validity_within(not_before=not_before, lifetime=lifetime)
    facts = Certificate(
        fingerprint=UNSIGNED,
        subject=name.rfc4514_string(),
        issuer=name.rfc4514_string(),
        serial=signing.new_serial() if serial is None else serial,
        not_before=validity.not_before,
        not_after=validity.not_after,
        is_ca=True,
        self_signed=True,
        key=key.kind,
        key_identity=key.key_identity,
        subject_key_id=identifier.hex(),
        authority_key_id=identifier.hex(),
        key_usages=CA.key_usages,
    )
    constraints = encode.basic_constraints(is_ca=True, path_length=path_length)
    extensions = (
        RawExtension(BASIC_CONSTRAINTS, critical=True, value=constraints),
        RawExtension(KEY_USAGE, critical=True, value=_key_usage(CA.key_usages)),
        *signing.key_ids(identifier, identifier),
    )
    raw_name = name.public_bytes()
    return signing.sign(signing.Blank(facts, raw_name, raw_name, key.spki, extensions), key)


def issue_leaf(  # noqa: PLR0913 - keyword-only: what a certificate says, and who signs it
    *,
    profile: Profile,
    common_name: str,
    names: Iterable[str | SubjectName],
    key: PrivateKey | bytes,
    authority: Certificate,
    authority_key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta,
    organization: str = "",
) -> Certificate:
    """Return a leaf of `profile`, signed by the authority, its names in the order given.

    `key` is the leaf's private key, or only its public key (DER of the public key info). The
    lifetime is clipped to the authority's end, as `signing.validity_within` says: `not_after`
    of the result tells. `SpecError` when names or the authority's key do not fit.
    """
    signing.check_issuer(authority, authority_key)
    public = signing.public_key(key)
    subject = _name(common_name, organization)
    alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
    validity = signing.validity_within(authority, not_before=not_before, lifetime=lifetime)
    own_id, issuer_id = signing.key_id(public.spki), signing.authority_key_id(authority)
    usages = _usages(profile, public)
    facts = Certificate(
        fingerprint=UNSIGNED,
        subject=subject.rfc4514_string(),
        issuer=authority.subject,
        serial=signing.new_serial(),
        not_before=validity.not_before,
        not_after=validity.not_after,
        dns_names=_values(alternatives, x509.DNSName),
        ip_addresses=_values(alternatives, x509.IPAddress),
        emails=_values(alternatives, x509.RFC822Name),
        uris=_values(alternatives, x509.UniformResourceIdentifier),
        is_ca=profile.is_ca,
        key=public.kind,
        key_identity=hashlib.sha256(public.spki).hexdigest(),
        subject_key_id=own_id.hex(),
        authority_key_id=issuer_id.hex(),
        key_usages=usages,
        extended_key_usages=profile.extended_key_usages or None,
    )
    extensions = (
        *_usage_extensions(profile, usages),
        # RFC 5280 §4.2.1.6: critical when the subject is empty.
        *_name_extensions(alternatives, critical=not common_name and not organization),
        *signing.key_ids(own_id, issuer_id),
    )
    raw_issuer = anatomy(authority).raw_subject
    blank = signing.Blank(facts, subject.public_bytes(), raw_issuer, public.spki, extensions)
    return signing.sign(blank, authority_key)


def reissue_like(
    certificate: Certificate,
    *,
    key: PrivateKey | bytes,
    authority: Certificate,
    authority_key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta | None = None,
) -> Certificate:
    """Return a certificate with the same content under another key, signed by `authority`.

    Kept: the subject byte for byte, SANs in order, key usages and every other extension with its
    criticality, and the original's lifetime unless one is given (clipped as in `issue_leaf`).
    Made anew: serial and key identifiers. Left out: what speaks of the old issuer (AIA, CRL
    distribution points, signed certificate timestamps).
    """
    signing.check_issuer(authority, authority_key)
    original = anatomy(certificate)
    if original.damage:
        raise SpecError(
            f"`{certificate.subject}` cannot be issued again: {original.damage}",
            hint="issue it afresh from a profile",
        )
    public = signing.public_key(key)
    lifetime = lifetime or certificate.not_after - certificate.not_before
    validity = signing.validity_within(authority, not_before=not_before, lifetime=lifetime)
    blank = renewed(
        certificate,
        key=public,
        subject_id=signing.key_id(public.spki),
        authority=authority,
        validity=validity,
    )
    return signing.sign(blank, authority_key)


def renewed(
    certificate: Certificate,
    *,
    key: signing.PublicKey,
    subject_id: bytes,
    authority: Certificate,
    validity: signing.Validity,
) -> signing.Blank:
    """Return a blank with the content of a certificate, for a key and under an authority."""
    original = anatomy(certificate)
    issuer_id = signing.authority_key_id(authority)
    facts = msgspec.structs.replace(
        certificate,
        issuer=authority.subject,
        serial=signing.new_serial(),
        not_before=validity.not_before,
        not_after=validity.not_after,
        self_signed=False,
        key=key.kind,
        key_identity=hashlib.sha256(key.spki).hexdigest(),
        subject_key_id=subject_id.hex(),
        authority_key_id=issuer_id.hex(),
    )
    kept = (found for found in original.extensions if found.oid not in OF_THE_ISSUER)
    return signing.Blank(
        facts,
        original.raw_subject,
        anatomy(authority).raw_subject,
        key.spki,
        (*kept, *signing.key_ids(subject_id, issuer_id)),
    )


def _usages(profile: Profile, key: signing.PublicKey) -> tuple[str, ...]:
    wanted = {*profile.key_usages, *(profile.rsa_key_usages if key.kind.startswith("rsa") else ())}
    return tuple(name for name in KEY_USAGE_NAMES if name in wanted)


@functools.lru_cache(maxsize=64)
def _usage_extensions(profile: Profile, usages: tuple[str, ...]) -> tuple[RawExtension, ...]:
    constraints = encode.basic_constraints(is_ca=profile.is_ca, path_length=None)
    found = (
        RawExtension(BASIC_CONSTRAINTS, critical=True, value=constraints),
        RawExtension(KEY_USAGE, critical=True, value=_key_usage(usages)),
    )
    if not profile.extended_key_usages:
        return found
    purposes = extended_key_usage(profile.extended_key_usages).public_bytes()
    return (*found, RawExtension(EXTENDED_KEY_USAGE, critical=False, value=purposes))


def _name_extensions(
    names: x509.SubjectAlternativeName, *, critical: bool
) -> tuple[RawExtension, ...]:
    if not len(names):
        return ()
    return (RawExtension(SAN, critical=critical, value=names.public_bytes()),)


@functools.lru_cache(maxsize=64)
def _key_usage(usages: tuple[str, ...]) -> bytes:
    return key_usage(usages).public_bytes()


def _values(names: x509.SubjectAlternativeName, form: type[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(str(name.value) for name in names if isinstance(name, form))


def _name(common_name: str, organization: str) -> x509.Name:
    if len(common_name) > LONGEST_COMMON_NAME:
        raise SpecError(
            f"the common name `{common_name}` has {len(common_name)} characters, "
            f"at most {LONGEST_COMMON_NAME} are allowed",
            hint="shorten it; long names belong among the subject alternative names",
        )
    parts = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])
