"""Reads a DER certificate into the facts that the rest of Rollover works with."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki import anatomy as parts
from rollover.pki.signatures import Signed, check

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
    found = parts.dissect(der)
    extensions = Facts(x509.Extensions([]) if found.damage else found.parsed.extensions)
    return Certificate(
        fingerprint=Fingerprint(hashlib.sha256(der).hexdigest()),
        subject=found.parsed.subject.rfc4514_string(),
        issuer=found.parsed.issuer.rfc4514_string(),
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


def _self_signed(found: parts.Anatomy) -> bool:
    return found.raw_issuer == found.raw_subject and check(found, by=found) in (
        Signed.GOOD,
        Signed.WEAK,
    )


def _signature_hash(parsed: x509.Certificate) -> str:
    try:
        algorithm = parsed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return "unknown"
    return algorithm.name if algorithm is not None else ""
