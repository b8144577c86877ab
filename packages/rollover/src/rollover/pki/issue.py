"""Issues authorities, leaves and cross-signed authorities.

The instant is always an argument: nothing is back-dated.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki import der
from rollover.pki.certificate import (
    AUTHORITY_KEY_ID,
    KEY_USAGE_NAMES,
    SAN,
    anatomy,
    extended_key_usage,
    key_kind,
    key_usage,
)
from rollover.pki.der import SEQUENCE, RawExtension, key_bits
from rollover.pki.keys import PrivateKey
from rollover.pki.names import SubjectName, general_name

# Profiles: what a certificate is for, by the part that its owner plays in a NATS fleet.

SERVER_AUTH = "server_auth"
CLIENT_AUTH = "client_auth"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Usages of one kind of certificate (RFC 5280 §4.2.1.3, §4.2.1.12)."""

    name: str
    key_usages: tuple[str, ...] = ("digital_signature",)
    rsa_key_usages: tuple[str, ...] = ()
    """Set besides when the key is RSA: what TLS 1.2 key transport needs."""
    extended_key_usages: tuple[str, ...] = ()
    """Empty: the extension is left out, which allows every purpose."""
    is_ca: bool = False


_ENCIPHER = ("key_encipherment",)
_BOTH = (SERVER_AUTH, CLIENT_AUTH)

SERVER = Profile(name="server", rsa_key_usages=_ENCIPHER, extended_key_usages=(SERVER_AUTH,))
"""Client, WebSocket and MQTT ports of a nats-server."""

ROUTE = Profile(name="route", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Cluster port: every server dials and accepts with the same certificate."""

GATEWAY = Profile(name="gateway", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Gateway port: with one usage missing, a supercluster becomes one-way."""

LEAF_NODE = Profile(name="leaf-node", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Leaf node listener and remote."""

CLIENT = Profile(name="client", extended_key_usages=(CLIENT_AUTH,))

MONITORING = Profile(
    name="monitoring", rsa_key_usages=_ENCIPHER, extended_key_usages=(SERVER_AUTH,)
)
"""The HTTPS monitoring port."""

CA = Profile(
    name="ca",
    key_usages=("key_cert_sign", "crl_sign"),
    is_ca=True,
)

PROFILES = MappingProxyType(
    {
        profile.name: profile
        for profile in (SERVER, ROUTE, GATEWAY, LEAF_NODE, CLIENT, MONITORING, CA)
    }
)
"""Every profile by its name."""


# What all have in common: validity, serial, key identifiers, signature.

SUBJECT_KEY_ID = ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string

SERIAL_BITS = 159
"""Random bits of a serial: the most that stay positive within 20 octets (RFC 5280 §4.1.2.2)."""

SignatureHash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


class Validity(NamedTuple):
    """From when to when, both inclusive; `clipped` when an authority ends sooner than asked."""

    not_before: datetime
    not_after: datetime
    clipped: bool


def validity_within(
    *authorities: Certificate, not_before: datetime, lifetime: timedelta
) -> Validity:
    """Return the validity that a certificate under these authorities gets.

    It starts at `not_before`, whole seconds, never earlier. It must not outlive what vouches for
    it, so it is clipped to the first end among the authorities; `SpecError` when nothing is left.
    """
    start, end = _whole_second(not_before), _whole_second(not_before + lifetime)
    limit = min((authority.not_after for authority in authorities), default=end)
    clipped, end = limit < end, min(limit, end)
    if end <= start:
        raise SpecError(
            f"no lifetime is left: from {start:%Y-%m-%d %H:%M:%SZ} to {end:%Y-%m-%d %H:%M:%SZ}",
            hint="renew the authority first, or give a positive lifetime",
        )
    return Validity(start, end, clipped)


def new_serial() -> int:
    """Return a random serial: positive, at most 20 octets."""
    return secrets.randbits(SERIAL_BITS) or 1


class Blank(NamedTuple):
    """A certificate that lacks its signature: what it says, and the raw parts that say so.

    `facts` hold everything but fingerprint, signature hash and DER; they are what `parse_der`
    reads from the result, without the time that it takes.
    """

    facts: Certificate
    subject: bytes
    issuer_name: bytes
    key: bytes
    extensions: tuple[RawExtension, ...]


def sign(blank: Blank, key: PrivateKey) -> Certificate:
    """Return the certificate, signed with a hash as strong as the key."""
    algorithm, digest = _algorithm(key)
    content = der.to_be_signed(
        serial=blank.facts.serial,
        algorithm=algorithm,
        issuer=blank.issuer_name,
        validity=(blank.facts.not_before, blank.facts.not_after),
        subject=blank.subject,
        key=blank.key,
        extensions=blank.extensions,
    )
    signature = _signature(key, content, digest)
    signed = der.signed(content, algorithm=algorithm, signature=signature)
    return msgspec.structs.replace(
        blank.facts,
        fingerprint=Fingerprint(hashlib.sha256(signed).hexdigest()),
        signature=digest.name if digest else "",
        der=signed,
    )


def key_ids(subject: bytes, authority: bytes) -> tuple[RawExtension, RawExtension]:
    """Return both key identifier extensions, never critical (RFC 5280 §4.2.1.1 and 2)."""
    return (
        RawExtension(SUBJECT_KEY_ID, critical=False, value=der.subject_key_id(subject)),
        RawExtension(AUTHORITY_KEY_ID, critical=False, value=der.authority_key_id(authority)),
    )


def check_issuer(authority: Certificate, key: PrivateKey) -> None:
    """Raise `SpecError` unless the certificate is a CA's and the key belongs to it."""
    if not authority.is_ca:
        raise SpecError(
            f"`{authority.subject}` is no CA, it cannot issue",
            hint="give the certificate of the authority",
        )
    if authority.key_usages is not None and "key_cert_sign" not in authority.key_usages:
        raise SpecError(
            f"the key usage of `{authority.subject}` lacks `key_cert_sign`, it cannot issue",
            hint="give the certificate of the authority",
        )
    if authority.key_identity != key.key_identity:
        raise SpecError(
            f"the key ({key.kind}, {key.key_identity[:12]}) does not belong to the authority "
            f"`{authority.subject}` ({authority.key}, {authority.key_identity[:12]})",
            hint="give the private key of this version of the authority",
        )


def key_id(spki: bytes) -> bytes:
    """Return the identifier of a public key (RFC 5280 §4.2.1.2, method 1)."""
    # SHA-1 is a name here, not a protection: the RFC fixes it.
    return hashlib.sha1(key_bits(spki), usedforsecurity=False).digest()


def authority_key_id(authority: Certificate) -> bytes:
    """Return the identifier that leaves of an authority point to: its own SKI where it has one.

    Only ever the key id: with issuer and serial, OpenSSL would refuse the leaves once the
    authority is renewed.
    """
    return bytes.fromhex(authority.subject_key_id) or key_id(anatomy(authority).spki)


class PublicKey(NamedTuple):
    """A public key: its kind and the DER of its info."""

    kind: str
    spki: bytes


def public_key(key: PrivateKey | bytes) -> PublicKey:
    """Return the public part of a key, or read one; `SpecError` for kinds that are not issued."""
    if isinstance(key, PrivateKey):
        return PublicKey(key.kind, key.spki)
    try:
        found = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SpecError(
            f"the public key cannot be read: {error}",
            hint="give the DER of its SubjectPublicKeyInfo",
        ) from error
    if not isinstance(
        found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    ):
        raise SpecError(
            "the public key is of a kind that no certificate can be issued for",
            hint="use RSA, ECDSA or Ed25519",
        )
    return PublicKey(key_kind(found), key)


def _algorithm(key: PrivateKey) -> tuple[bytes, SignatureHash | None]:
    """Return the algorithm's identifier (RFC 4055, 5758, 8410) and a hash as strong as the key."""
    match key.kind:
        case "ed25519":
            return _ED25519, None
        case "p-384":
            return _ECDSA_SHA384, hashes.SHA384()
        case "p-521":
            return _ECDSA_SHA512, hashes.SHA512()
        case "p-256":
            return _ECDSA_SHA256, hashes.SHA256()
        case _:
            return _RSA_SHA256, hashes.SHA256()


def _signature(key: PrivateKey, content: bytes, digest: SignatureHash | None) -> bytes:
    match key.signing_key, digest:
        case rsa.RSAPrivateKey() as signing_key, hashes.HashAlgorithm():
            return signing_key.sign(content, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePrivateKey() as signing_key, hashes.HashAlgorithm():
            return signing_key.sign(content, ec.ECDSA(digest))
        case ed25519.Ed25519PrivateKey() as signing_key, None:
            return signing_key.sign(content)
        case _:
            raise AssertionError("a key has a hash exactly when its kind needs one")


_NULL = b"\x05\x00"
_RSA_SHA256 = der.tlv(SEQUENCE, der.object_identifier("1.2.840.113549.1.1.11"), _NULL)
_ECDSA_SHA256 = der.tlv(SEQUENCE, der.object_identifier("1.2.840.10045.4.3.2"))
_ECDSA_SHA384 = der.tlv(SEQUENCE, der.object_identifier("1.2.840.10045.4.3.3"))
_ECDSA_SHA512 = der.tlv(SEQUENCE, der.object_identifier("1.2.840.10045.4.3.4"))
_ED25519 = der.tlv(SEQUENCE, der.object_identifier("1.3.101.112"))


def _whole_second(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise SpecError(
            f"the instant {instant.isoformat()} has no time zone",
            hint="give an aware datetime, such as `datetime.now(UTC)`",
        )
    # The times of a certificate have no fractions (RFC 5280 §4.1.2.5); cut off, never rounded up.
    return instant.astimezone(UTC).replace(microsecond=0)


# Authorities and leaves.

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
    identifier = key_id(key.spki)
    validity = validity_within(not_before=not_before, lifetime=lifetime)
    facts = Certificate(
        fingerprint=UNSIGNED,
        subject=name.rfc4514_string(),
        issuer_name=name.rfc4514_string(),
        serial=new_serial() if serial is None else serial,
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
    constraints = der.basic_constraints(is_ca=True, path_length=path_length)
    extensions = (
        RawExtension(BASIC_CONSTRAINTS, critical=True, value=constraints),
        RawExtension(KEY_USAGE, critical=True, value=_key_usage(CA.key_usages)),
        *key_ids(identifier, identifier),
    )
    raw_name = name.public_bytes()
    return sign(Blank(facts, raw_name, raw_name, key.spki, extensions), key)


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
    lifetime is clipped to the authority's end, as `validity_within` says: `not_after`
    of the result tells. `SpecError` when names or the authority's key do not fit.
    """
    check_issuer(authority, authority_key)
    public = public_key(key)
    subject = _name(common_name, organization)
    alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
    validity = validity_within(authority, not_before=not_before, lifetime=lifetime)
    own_id, issuer_id = key_id(public.spki), authority_key_id(authority)
    wanted = {*profile.key_usages}
    if public.kind.startswith("rsa"):
        wanted |= {*profile.rsa_key_usages}
    usages = tuple(usage for usage in KEY_USAGE_NAMES if usage in wanted)
    facts = Certificate(
        fingerprint=UNSIGNED,
        subject=subject.rfc4514_string(),
        issuer_name=authority.subject,
        serial=new_serial(),
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
        *key_ids(own_id, issuer_id),
    )
    raw_issuer = anatomy(authority).raw_subject
    blank = Blank(facts, subject.public_bytes(), raw_issuer, public.spki, extensions)
    return sign(blank, authority_key)


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
    check_issuer(authority, authority_key)
    original = anatomy(certificate)
    if original.damage:
        raise SpecError(
            f"`{certificate.subject}` cannot be issued again: {original.damage}",
            hint="issue it afresh from a profile",
        )
    public = public_key(key)
    lifetime = lifetime or certificate.not_after - certificate.not_before
    validity = validity_within(authority, not_before=not_before, lifetime=lifetime)
    blank = renewed(
        certificate,
        key=public,
        subject_id=key_id(public.spki),
        authority=authority,
        validity=validity,
    )
    return sign(blank, authority_key)


def renewed(
    certificate: Certificate,
    *,
    key: PublicKey,
    subject_id: bytes,
    authority: Certificate,
    validity: Validity,
) -> Blank:
    """Return a blank with the content of a certificate, for a key and under an authority."""
    original = anatomy(certificate)
    issuer_id = authority_key_id(authority)
    facts = msgspec.structs.replace(
        certificate,
        issuer_name=authority.subject,
        serial=new_serial(),
        not_before=validity.not_before,
        not_after=validity.not_after,
        self_signed=False,
        key=key.kind,
        key_identity=hashlib.sha256(key.spki).hexdigest(),
        subject_key_id=subject_id.hex(),
        authority_key_id=issuer_id.hex(),
    )
    kept = (found for found in original.extensions if found.oid not in OF_THE_ISSUER)
    return Blank(
        facts,
        original.raw_subject,
        anatomy(authority).raw_subject,
        key.spki,
        (*kept, *key_ids(subject_id, issuer_id)),
    )


@functools.lru_cache(maxsize=64)
def _usage_extensions(profile: Profile, usages: tuple[str, ...]) -> tuple[RawExtension, ...]:
    constraints = der.basic_constraints(is_ca=profile.is_ca, path_length=None)
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
    # The RFC counts characters, `cryptography` refuses by the bytes of UTF-8.
    size = len(common_name.encode())
    if size > LONGEST_COMMON_NAME:
        raise SpecError(
            f"the common name `{common_name}` has {size} "
            f"{'characters' if common_name.isascii() else 'bytes'}, "
            f"at most {LONGEST_COMMON_NAME} are allowed",
            hint="shorten it; long names belong among the subject alternative names",
        )
    parts = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])


# Cross-signing: the new authority's key vouched for by the old one, for peers that trust either.


def cross_sign(
    subject_ca: Certificate,
    *,
    by: Certificate,
    by_key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta | None = None,
) -> Certificate:
    """Return a certificate of `subject_ca`'s subject, key and SKI, issued by `by`.

    Served after a leaf of the new authority, it leads peers which trust only the old one to it,
    and is ignored by peers which trust the new one. It must be *served*: in a bundle it is an
    anchor for Go alone.

    Its validity lies within that of both: it begins at `not_before` or when the later one does,
    and is clipped to the end of the earlier one (without `lifetime`: lasts until then).
    `SpecError` when either is no CA, both have one key, or `by` allows no CA below it.
    """
    _check_cross_signable(subject_ca, by, by_key)
    start = max(not_before, subject_ca.not_before, by.not_before)
    wanted = lifetime or min(subject_ca.not_after, by.not_after) - start
    blank = renewed(
        subject_ca,
        key=PublicKey(subject_ca.key, anatomy(subject_ca).spki),
        # The SKI that the authority's leaves already point to.
        subject_id=authority_key_id(subject_ca),
        authority=by,
        validity=validity_within(subject_ca, by, not_before=start, lifetime=wanted),
    )
    return sign(blank, by_key)


def _check_cross_signable(subject_ca: Certificate, by: Certificate, by_key: PrivateKey) -> None:
    check_issuer(by, by_key)
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
