"""Reads certificates: the facts that everybody works with, and what path validation needs besides.

What is read once is kept: the anatomy of a certificate is asked for again at every verdict.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Hashable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
)

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.der import Outline, RawExtension, outline

# What path validation needs beyond the facts that everybody sees.

_E = TypeVar("_E", bound=x509.ExtensionType)

GO_CURVES = frozenset({"secp224r1", "secp256r1", "secp384r1", "secp521r1"})
CURVE_KINDS = {"secp256r1": "p-256", "secp384r1": "p-384", "secp521r1": "p-521"}

SAN = ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string
NAME_CONSTRAINTS = ExtensionOID.NAME_CONSTRAINTS.dotted_string

AUTHORITY_KEY_ID = ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string
KEY_ID_FORM_OCTETS = 24
"""An authority key identifier that is longer names issuer and serial."""

# crypto/x509 parser.go, processExtensions: what Go understands, so that `critical` is harmless.
GO_UNDERSTANDS = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    )
)
# Likewise: marked critical, these make Go refuse to read the certificate at all.
GO_NEVER_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string: "authority key identifier",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string: "subject key identifier",
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS.dotted_string: "authority information access",
}
GO_NAME_FORMS = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)


class Anatomy(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """A certificate taken apart. Names are raw DER: Go compares issuers and subjects bytewise."""

    parsed: x509.Certificate
    raw_subject: bytes
    raw_issuer_name: bytes
    spki: bytes
    version: int
    serial: int
    not_before: datetime
    not_after: datetime
    raw_san: bytes | None
    """Content of the SAN extension; None when absent."""
    key: str
    common_names: tuple[str, ...]
    has_basic_constraints: bool
    path_length: int | None
    constraints: x509.NameConstraints | None
    raw_constraints: bytes
    extensions: tuple[RawExtension, ...]
    critical: tuple[str, ...]
    """Object identifiers of all extensions that are marked critical."""
    unhandled: tuple[str, ...]
    """The critical extensions that Go does not understand."""
    damage: str
    """Why its extensions cannot be read; empty when they can."""
    go_refusal: str
    """Why Go's parser refuses the whole certificate; empty when it does not."""


def anatomy(certificate: Certificate) -> Anatomy:
    """Return the parts of a parsed certificate; cached by its DER."""
    return dissect(certificate.der)


_COUNTRY = b"\x06\x03\x55\x04\x06"
"""The encoded object identifier 2.5.4.6."""


@functools.lru_cache(maxsize=8192)
def dissect(der: bytes) -> Anatomy:
    """Return the parts of a DER certificate; `ValueError` when it is damaged."""
    parts = outline(der)
    parsed, extensions, damage = _opened(der, parts)
    basic = _extension(extensions, x509.BasicConstraints)
    critical = tuple(extension.oid for extension in parts.extensions if extension.critical)
    key = _key_kind(parsed)
    values = {extension.oid: extension.value for extension in parts.extensions}
    return Anatomy(
        parsed=parsed,
        raw_subject=parts.subject,
        raw_issuer_name=parts.issuer_name,
        spki=parts.key,
        version=parts.version,
        serial=parts.serial,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        raw_san=values.get(SAN),
        key=key,
        common_names=_common_names(parsed),
        has_basic_constraints=basic is not None,
        path_length=basic.path_length if basic else None,
        constraints=_extension(extensions, x509.NameConstraints),
        raw_constraints=values.get(NAME_CONSTRAINTS, b""),
        extensions=parts.extensions,
        critical=critical,
        unhandled=tuple(oid for oid in critical if not _go_handles(oid, extensions)),
        damage=damage,
        go_refusal=_go_refusal(parts.serial, key, critical, damage),
    )


def _opened(der: bytes, parts: Outline) -> tuple[x509.Certificate, x509.Extensions, str]:
    if not _noisy(parts):
        return _open(der)
    # They exist in the field (`C=USA` in every BOSH agent): the library warns, our verifiers judge.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = _open(der)
        _ = opened[0].subject, opened[0].issuer  # kept from now on, without a second warning
        return opened


def _noisy(parts: Outline) -> bool:
    odd_country = any(_odd_country(name) for name in (parts.subject, parts.issuer_name))
    return (
        odd_country
        or parts.serial <= 0
        or any(
            extension.oid == AUTHORITY_KEY_ID and len(extension.value) > KEY_ID_FORM_OCTETS
            for extension in parts.extensions
        )
    )


def _odd_country(name: bytes) -> bool:
    """Say whether a raw name has a country that is not two letters long (X.520 §6.3.1)."""
    countries = name.split(_COUNTRY)[1:]
    return any(country[1:2] != b"\x02" for country in countries)


def _open(der: bytes) -> tuple[x509.Certificate, x509.Extensions, str]:
    parsed = x509.load_der_x509_certificate(der)
    return parsed, *_extensions(parsed)


def _extensions(parsed: x509.Certificate) -> tuple[x509.Extensions, str]:
    try:
        return parsed.extensions, ""
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return x509.Extensions([]), str(error) or type(error).__name__


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    for extension in extensions:
        if isinstance(extension.value, kind):
            return extension.value
    return None


def _common_names(parsed: x509.Certificate) -> tuple[str, ...]:
    try:
        found = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ()
    return tuple(str(attribute.value) for attribute in found)


def _key_kind(parsed: x509.Certificate) -> str:
    try:
        key = parsed.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    return key_kind(key)


def key_kind(key: object) -> str:
    """Return the name of a public or private key's kind, such as `rsa-2048` or `p-256`."""
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            return f"rsa-{key.key_size}"
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            return CURVE_KINDS.get(key.curve.name, key.curve.name)
        case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
            return "ed25519"
        case ed448.Ed448PublicKey():
            return "ed448"
        case dsa.DSAPublicKey():
            return f"dsa-{key.key_size}"
        case _:
            return "unknown"


def _go_handles(oid: str, extensions: x509.Extensions) -> bool:
    if oid == SAN:
        names = _extension(extensions, x509.SubjectAlternativeName)
        return names is not None and any(isinstance(name, GO_NAME_FORMS) for name in names)
    if oid == NAME_CONSTRAINTS:
        constraints = _extension(extensions, x509.NameConstraints)
        return constraints is not None and all(
            isinstance(subtree, GO_NAME_FORMS) for subtree in subtrees(constraints)
        )
    return oid in GO_UNDERSTANDS


def subtrees(constraints: x509.NameConstraints) -> list[x509.GeneralName]:
    """Return the permitted subtrees, then the excluded ones."""
    return [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]


def _go_refusal(serial: int, key: str, critical: tuple[str, ...], damage: str) -> str:
    if serial < 0:
        return "its serial number is negative"
    for oid in critical:
        if oid in GO_NEVER_CRITICAL:
            return f"its {GO_NEVER_CRITICAL[oid]} is marked critical"
    if key.startswith(("brainpool", "sect", "secp")) and key not in GO_CURVES:
        return f"its elliptic curve `{key}` is unknown"
    return damage


# Signatures: whether another certificate's key made one, and whether Go would take it.

WEAK_HASHES = frozenset({"md5", "sha1"})
GO_HASHES = frozenset({"sha256", "sha384", "sha512"})
GO_SMALLEST_RSA_BITS = 1024
"""crypto/rsa refuses to use smaller keys since Go 1.24."""


class Signed(StrEnum):
    """What a signature check found."""

    GOOD = "good"
    BAD = "bad"
    """The key did not make it."""
    WEAK = "weak"
    """The key made it, with a hash or a key size that no stack accepts any more."""
    UNKNOWN = "unknown"
    """An algorithm that is not understood; it cannot be checked."""


def check_signature(child: Anatomy, *, by: Anatomy) -> Signed:
    """Return whether the key of `by` signed `child`; names and dates are not looked at."""
    try:
        key = by.parsed.public_key()
        digest = child.parsed.signature_hash_algorithm
        _verify(child.parsed, key, digest)
    except InvalidSignature:
        return Signed.BAD
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return Signed.UNKNOWN
    if digest is not None and digest.name in WEAK_HASHES:
        return Signed.WEAK
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < GO_SMALLEST_RSA_BITS:
        return Signed.WEAK
    if digest is not None and digest.name not in GO_HASHES:
        return Signed.UNKNOWN
    return Signed.GOOD


def _verify(child: x509.Certificate, key: object, digest: hashes.HashAlgorithm | None) -> None:
    signed, signature = child.tbs_certificate_bytes, child.signature
    parameters = child.signature_algorithm_parameters
    match key, parameters, digest:
        case rsa.RSAPublicKey(), padding.PKCS1v15() | padding.PSS(), hashes.HashAlgorithm():
            key.verify(signature, signed, parameters, digest)
        case ec.EllipticCurvePublicKey(), ec.ECDSA(), hashes.HashAlgorithm():
            key.verify(signature, signed, parameters)
        case ed25519.Ed25519PublicKey(), None, None:
            key.verify(signature, signed)
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey(), _, _:
            raise InvalidSignature  # a key of one kind cannot have made a signature of another
        case _:
            raise UnsupportedAlgorithm("neither stack verifies keys of this kind for TLS")


# The facts that the rest of Rollover works with.

DER_LIMIT = 256 * 1024
"""Octets. The largest certificates in the field, with thousands of names, stay below it."""

KEY_USAGE_NAMES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
EXTENDED_KEY_USAGE_NAMES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server_auth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client_auth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}


def parse_der(der: bytes, *, place: str = "") -> Certificate:
    """Return the facts of a DER certificate; the same bytes give the same object for a while.

    Extensions that cannot be read leave their facts out (the verifiers refuse such a certificate);
    anything else that is damaged raises `PemError`, which names `place`.
    """
    if len(der) > DER_LIMIT:
        raise PemError(
            f"the certificate has {len(der)} octets, more than the limit of {DER_LIMIT}",
            place=place,
            hint="check that the file holds a certificate",
        )
    try:
        return _parse(bytes(der))
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise PemError(
            f"the certificate is damaged: {error}",
            place=place,
            hint="fetch or issue it again; `openssl x509 -text -noout` must be able to read it",
        ) from error


@functools.lru_cache(maxsize=8192)
def _parse(der: bytes) -> Certificate:
    found = dissect(der)
    extensions = Facts(x509.Extensions([]) if found.damage else found.parsed.extensions)
    return Certificate(
        fingerprint=Fingerprint(hashlib.sha256(der).hexdigest()),
        subject=found.parsed.subject.rfc4514_string(),
        issuer_name=found.parsed.issuer.rfc4514_string(),
        serial=found.serial,
        not_before=found.not_before,
        not_after=found.not_after,
        dns_names=extensions.names(x509.DNSName),
        ip_addresses=extensions.names(x509.IPAddress),
        emails=extensions.names(x509.RFC822Name),
        uris=extensions.names(x509.UniformResourceIdentifier),
        is_ca=extensions.is_ca(),
        self_signed=_self_signed(found),
        key=found.key,
        key_identity=hashlib.sha256(found.spki).hexdigest(),
        subject_key_id=extensions.subject_key_id(),
        authority_key_id=extensions.authority_key_id(),
        key_usages=extensions.key_usages(),
        extended_key_usages=extensions.extended_key_usages(),
        signature=_signature_hash(found.parsed),
        der=der,
    )


class Facts:
    """The extensions of one certificate as plain values; an absent one reads as nothing."""

    def __init__(self, extensions: x509.Extensions) -> None:
        self._values = {type(extension.value): extension.value for extension in extensions}

    def names(self, form: type[x509.GeneralName]) -> tuple[str, ...]:
        """Return the subject alternative names of one form, in the order of the certificate."""
        names = self._values.get(x509.SubjectAlternativeName)
        if not isinstance(names, x509.SubjectAlternativeName):
            return ()
        return tuple(str(name.value) for name in names if isinstance(name, form))

    def is_ca(self) -> bool:
        """Return whether the basic constraints say that it may issue."""
        basic = self._values.get(x509.BasicConstraints)
        return isinstance(basic, x509.BasicConstraints) and basic.ca

    def subject_key_id(self) -> str:
        """Return the subject key identifier in hexadecimal."""
        found = self._values.get(x509.SubjectKeyIdentifier)
        return found.digest.hex() if isinstance(found, x509.SubjectKeyIdentifier) else ""

    def authority_key_id(self) -> str:
        """Return the key identifier of the authority key identifier in hexadecimal."""
        found = self._values.get(x509.AuthorityKeyIdentifier)
        if not isinstance(found, x509.AuthorityKeyIdentifier):
            return ""
        return (found.key_identifier or b"").hex()

    def key_usages(self) -> tuple[str, ...] | None:
        """Return the names of the key usage bits that are set."""
        found = self._values.get(x509.KeyUsage)
        if not isinstance(found, x509.KeyUsage):
            return None
        return tuple(name for name in KEY_USAGE_NAMES if _bit(found, name))

    def extended_key_usages(self) -> tuple[str, ...] | None:
        """Return the extended key usages, by name where they have one here."""
        found = self._values.get(x509.ExtendedKeyUsage)
        if not isinstance(found, x509.ExtendedKeyUsage):
            return None
        return tuple(EXTENDED_KEY_USAGE_NAMES.get(oid, oid.dotted_string) for oid in found)


def key_usage(bits: Iterable[str]) -> x509.KeyUsage:
    """Return the extension which has exactly these bits set."""
    wanted = frozenset(bits)
    return x509.KeyUsage(**{name: name in wanted for name in KEY_USAGE_NAMES})


def extended_key_usage(usages: Iterable[str]) -> x509.ExtendedKeyUsage:
    """Return the extension for usages named as in `Certificate.extended_key_usages`."""
    by_name = {name: oid for oid, name in EXTENDED_KEY_USAGE_NAMES.items()}
    return x509.ExtendedKeyUsage(
        [by_name.get(usage) or x509.ObjectIdentifier(usage) for usage in usages]
    )


def _bit(usage: x509.KeyUsage, name: str) -> bool:
    if name in ("encipher_only", "decipher_only") and not usage.key_agreement:
        return False  # undefined without key agreement (RFC 5280 §4.2.1.3); the library raises
    return bool(getattr(usage, name))


def _self_signed(found: Anatomy) -> bool:
    return found.raw_issuer_name == found.raw_subject and check_signature(found, by=found) in (
        Signed.GOOD,
        Signed.WEAK,
    )


def _signature_hash(parsed: x509.Certificate) -> str:
    try:
        algorithm = parsed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return "unknown"
    return algorithm.name if algorithm is not None else ""


# What it says of its issuer: whether that is a public CA, and who answers for it (OCSP).

_POLICIES = "2.5.29.32"
_TIMESTAMPS = "1.3.6.1.4.1.11129.2.4.2"
_SERVER_POLICIES = (b"\x67\x81\x0c\x01\x01", b"\x67\x81\x0c\x01\x02")
"""The encoded arcs 2.23.140.1.1 (extended validation) and 2.23.140.1.2 (domain, organization)."""


def is_public(certificate: Certificate) -> bool:
    """Say whether a certificate has what every public one has and a private CA does not write.

    That is a policy of the CA/Browser Forum (Baseline Requirements §7.1.6.1: in every leaf and
    every intermediate), or timestamps of public logs (RFC 6962 §3.3). Roots have neither.
    """
    for extension in anatomy(certificate).extensions:
        if extension.oid == _TIMESTAMPS:
            return True
        if extension.oid == _POLICIES and any(
            policy in extension.value for policy in _SERVER_POLICIES
        ):
            return True
    return False


_FEATURES = "1.3.6.1.5.5.7.1.24"
_STATUS_REQUEST = b"\x02\x01\x05"
"""The encoded integer 5: the TLS extension `status_request`."""


def must_staple(certificate: Certificate) -> bool:
    """Say whether a certificate asks its server for a stapled answer (RFC 7633)."""
    return any(
        extension.oid == _FEATURES and _STATUS_REQUEST in extension.value
        for extension in anatomy(certificate).extensions
    )


def names_responder(certificate: Certificate) -> bool:
    """Say whether a certificate names an OCSP responder (RFC 5280 §4.2.2.1)."""
    try:
        access = anatomy(certificate).parsed.extensions.get_extension_for_class(
            x509.AuthorityInformationAccess
        )
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(
        description.access_method == AuthorityInformationAccessOID.OCSP
        for description in access.value
    )


def shape(certificate: Certificate) -> tuple[Hashable, ...]:
    """Return everything of a leaf that decides its path, but its key's value, its names and dates.

    So one verdict serves for many. Two leaves of one shape have the same verdicts as far as the
    path goes, when the same key issued them, they are served with the same intermediates, both are
    within their validity, and no CA above them constrains names. Whether their names cover what a
    dialer expects is a question of its own (`names.covers`).
    """
    found = anatomy(certificate)
    return (
        found.raw_issuer_name,
        found.raw_subject == found.raw_issuer_name,
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
