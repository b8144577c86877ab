"""Makes certificates of any shape for tests, right or wrong, without the code under test."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rollover.fleet.certificate import Certificate
from rollover.pki.certificate import parse_der

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")


class Forged(NamedTuple):
    """A certificate and its private key."""

    certificate: Certificate
    key: Key

    def key_pem(self) -> bytes:
        """Return the key as PKCS#8 PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Shape(NamedTuple):
    """What a forged certificate says; the defaults make a plain leaf for `localhost`."""

    basic: x509.BasicConstraints | None = None
    usages: frozenset[str] | None = None
    extended: tuple[x509.ObjectIdentifier, ...] | None = None
    names: tuple[x509.GeneralName, ...] = ()
    subject_key_id: bool | bytes = True
    authority_key_id: bool | x509.AuthorityKeyIdentifier = True
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    days: tuple[float, float] = (-1, 30)
    """Begin and end, in days from now."""
    serial: int | None = None
    digest: hashes.SHA256 | hashes.SHA384 | None = None
    padding: padding.PSS | None = None


LOCALHOST = x509.DNSName("localhost")
CA = Shape(
    basic=x509.BasicConstraints(ca=True, path_length=None),
    usages=frozenset({"key_cert_sign", "crl_sign"}),
    authority_key_id=False,
)
INTERMEDIATE = CA._replace(authority_key_id=True)
LEAF = Shape(
    usages=frozenset({"digital_signature"}),
    extended=(SERVER_AUTH, CLIENT_AUTH),
    names=(LOCALHOST,),
)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key(bits: int, which: str) -> rsa.RSAPrivateKey:
    """Return the RSA key of this size that goes by a name; made once, it is slow."""
    del which
    return rsa.generate_private_key(65537, bits)


def forge(
    name: str,
    shape: Shape = LEAF,
    *,
    by: Forged | None = None,
    key: Key | None = None,
    signer: Key | None = None,
    now: datetime = NOW,
) -> Forged:
    """Return a certificate of `shape` for `name`, issued by `by` or by itself.

    `signer` signs in place of the issuer's key: a forged signature.
    """
    key = key or ec_key()
    subject = common_name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_parsed(by.certificate).subject if by else subject)
        .public_key(key.public_key())
        .serial_number(shape.serial or x509.random_serial_number())
        .not_valid_before(now + shape.days[0] * DAY)
        .not_valid_after(now + shape.days[1] * DAY)
    )
    for extension, critical in _extensions(shape, key, by):
        builder = builder.add_extension(extension, critical=critical)
    signing = signer or (by.key if by else key)
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else shape.digest
    if digest is None and not isinstance(signing, ed25519.Ed25519PrivateKey):
        digest = hashes.SHA256()
    signed = builder.sign(signing, digest, rsa_padding=shape.padding)
    return Forged(parse_der(signed.public_bytes(Encoding.DER)), key)


def common_name(name: str) -> x509.Name:
    """Return the subject `CN=name`."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def with_sha1(forged: Forged, *, signer: rsa.RSAPrivateKey) -> Forged:
    """Return the certificate signed again with SHA-1, which libraries no longer do."""
    der = forged.certificate.der
    signed = _parsed(forged.certificate).tbs_certificate_bytes.replace(
        SHA256_WITH_RSA, SHA1_WITH_RSA
    )
    tbs = signed
    old = _parsed(forged.certificate)
    signature = signer.sign(tbs, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - the weakness is the test
    der = der.replace(old.tbs_certificate_bytes, tbs).replace(old.signature, signature)
    return Forged(parse_der(der.replace(SHA256_WITH_RSA, SHA1_WITH_RSA)), forged.key)


def with_negative_serial(forged: Forged, *, signer: ec.EllipticCurvePrivateKey) -> Forged:
    """Return the certificate with the sign of its one-octet serial turned, signed again."""
    old = _parsed(forged.certificate)
    serial = old.serial_number
    tbs = old.tbs_certificate_bytes.replace(bytes([2, 1, serial]), bytes([2, 1, 256 - serial]), 1)
    body = tbs + _algorithm(old) + _bit_string(signer.sign(tbs, ec.ECDSA(hashes.SHA256())))
    return Forged(parse_der(_tlv(0x30, body)), forged.key)


def _algorithm(parsed: x509.Certificate) -> bytes:
    return _tlv(0x30, bytes.fromhex("06082a8648ce3d040302"))


def _bit_string(content: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + content)


def _tlv(tag: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(certificate.der)


def _extensions(
    shape: Shape, key: Key, by: Forged | None
) -> Sequence[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if shape.basic is not None:
        found.append((shape.basic, True))
    if shape.usages is not None:
        found.append((_key_usage(shape.usages), True))
    if shape.extended is not None:
        found.append((x509.ExtendedKeyUsage(shape.extended), False))
    if shape.names:
        found.append((x509.SubjectAlternativeName(shape.names), False))
    if shape.subject_key_id:
        found.append((_subject_key_id(shape, key), False))
    if isinstance(shape.authority_key_id, x509.AuthorityKeyIdentifier):
        found.append((shape.authority_key_id, False))
    elif shape.authority_key_id and by is not None:
        found.append((_authority_key_id(by), False))
    return (*found, *shape.extra)


def _subject_key_id(shape: Shape, key: Key) -> x509.SubjectKeyIdentifier:
    if isinstance(shape.subject_key_id, bytes):
        return x509.SubjectKeyIdentifier(shape.subject_key_id)
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _authority_key_id(by: Forged) -> x509.AuthorityKeyIdentifier:
    digest = bytes.fromhex(by.certificate.subject_key_id)
    digest = digest or x509.SubjectKeyIdentifier.from_public_key(by.key.public_key()).digest
    return x509.AuthorityKeyIdentifier(digest, None, None)


def _key_usage(bits: frozenset[str]) -> x509.KeyUsage:
    names = (
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
    return x509.KeyUsage(**{name: name in bits for name in names})
