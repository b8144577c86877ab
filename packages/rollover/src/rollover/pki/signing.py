"""What every issued certificate has in common: validity, serial, key identifiers, signature."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtensionOID

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki import encode
from rollover.pki.anatomy import AUTHORITY_KEY_ID, anatomy, key_kind
from rollover.pki.der import SEQUENCE, RawExtension, key_bits
from rollover.pki.keys import PrivateKey

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
    issuer: bytes
    key: bytes
    extensions: tuple[RawExtension, ...]


def sign(blank: Blank, key: PrivateKey) -> Certificate:
    """Return the certificate, signed with a hash as strong as the key."""
    algorithm, digest = _algorithm(key)
    content = encode.to_be_signed(
        serial=blank.facts.serial,
        algorithm=algorithm,
        issuer=blank.issuer,
        validity=(blank.facts.not_before, blank.facts.not_after),
        subject=blank.subject,
        key=blank.key,
        extensions=blank.extensions,
    )
    signature = _signature(key, content, digest)
    der = encode.signed(content, algorithm=algorithm, signature=signature)
    return msgspec.structs.replace(
        blank.facts,
        fingerprint=Fingerprint(hashlib.sha256(der).hexdigest()),
        signature=digest.name if digest else "",
        der=der,
    )


def key_ids(subject: bytes, authority: bytes) -> tuple[RawExtension, RawExtension]:
    """Return both key identifier extensions, never critical (RFC 5280 §4.2.1.1 and 2)."""
    return (
        RawExtension(SUBJECT_KEY_ID, critical=False, value=encode.subject_key_id(subject)),
        RawExtension(AUTHORITY_KEY_ID, critical=False, value=encode.authority_key_id(authority)),
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
_RSA_SHA256 = encode.tlv(SEQUENCE, encode.object_identifier("1.2.840.113549.1.1.11"), _NULL)
_ECDSA_SHA256 = encode.tlv(SEQUENCE, encode.object_identifier("1.2.840.10045.4.3.2"))
_ECDSA_SHA384 = encode.tlv(SEQUENCE, encode.object_identifier("1.2.840.10045.4.3.3"))
_ECDSA_SHA512 = encode.tlv(SEQUENCE, encode.object_identifier("1.2.840.10045.4.3.4"))
_ED25519 = encode.tlv(SEQUENCE, encode.object_identifier("1.3.101.112"))


def _whole_second(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise SpecError(
            f"the instant {instant.isoformat()} has no time zone",
            hint="give an aware datetime, such as `datetime.now(UTC)`",
        )
    return instant.astimezone(UTC).replace(microsecond=0)
