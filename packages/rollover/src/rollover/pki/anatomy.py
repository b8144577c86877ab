"""What path validation needs of a certificate beyond the facts that everybody sees."""

from __future__ import annotations

import functools
import warnings
from datetime import datetime
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from rollover.fleet.certificate import Certificate
from rollover.pki import der as raw

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
    raw_issuer: bytes
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
    extensions: tuple[raw.RawExtension, ...]
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
    parts = raw.outline(der)
    parsed, extensions, damage = _opened(der, parts)
    basic = _extension(extensions, x509.BasicConstraints)
    critical = tuple(found.oid for found in parts.extensions if found.critical)
    key = _key_kind(parsed)
    values = {found.oid: found.value for found in parts.extensions}
    return Anatomy(
        parsed=parsed,
        raw_subject=parts.subject,
        raw_issuer=parts.issuer,
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


def _opened(der: bytes, parts: raw.Outline) -> tuple[x509.Certificate, x509.Extensions, str]:
    if not _noisy(parts):
        return _open(der)
    # They exist in the field (`C=USA` in every BOSH agent): the library warns, our verifiers judge.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = _open(der)
        _ = opened[0].subject, opened[0].issuer  # kept from now on, without a second warning
        return opened


def _noisy(parts: raw.Outline) -> bool:
    odd_country = any(_odd_country(name) for name in (parts.subject, parts.issuer))
    return (
        odd_country
        or parts.serial <= 0
        or any(
            found.oid == AUTHORITY_KEY_ID and len(found.value) > KEY_ID_FORM_OCTETS
            for found in parts.extensions
        )
    )


def _odd_country(name: bytes) -> bool:
    """Say whether a raw name has a country that is not two letters long (X.520 §6.3.1)."""
    parts = name.split(_COUNTRY)[1:]
    return any(part[1:2] != b"\x02" for part in parts)


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
