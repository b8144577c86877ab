"""Signs certificates again with other dates: as if time had passed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from rollover.errors import SpecError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

Swap = Mapping[str, str]
"""PEM blocks, without a final newline, and what stands in their place."""


class Signer(NamedTuple):
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def signer(certificate: str, private_key: str) -> Signer:
    """Return the signer of two PEM texts; `SpecError` when they are none."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        key = load_pem_private_key(private_key.encode(), password=None)
    except ValueError:
        # The cause is left out: it may quote what it was given.
        raise SpecError("a CA of NATS cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != found.public_key():
        raise SpecError("a CA of NATS and its private key do not belong together")
    return Signer(found, key)


def blocks(text: str) -> tuple[str, ...]:
    """Return the certificates of a PEM text, each as it stands there."""
    found = []
    for part in text.split(_BEGIN)[1:]:
        content, end, _ = part.partition(_END)
        if end:
            found.append(f"{_BEGIN}{content}{_END}")
    return tuple(found)


def expired(texts: Iterable[str], signers: Iterable[Signer], *, at: datetime) -> Swap:
    """Return what takes the place of every certificate that one of the signers has signed.

    Same key, subject, serial and extensions; it ended at `at`, and lived as long as it would have.
    """
    known = tuple(signers)
    swap = {}
    for block in {block for text in texts for block in blocks(text)}:
        certificate = x509.load_pem_x509_certificate(block.encode())
        for each in known:
            if _signed(certificate, each):
                again = _again(certificate, each, at=at)
                swap[block] = again.public_bytes(Encoding.PEM).decode().rstrip("\n")
                break
    return swap


def swapped(text: str, swap: Swap) -> str:
    """Return the text with the certificates in their place."""
    for block in blocks(text):
        if block in swap:
            text = text.replace(block, swap[block])
    return text


def _signed(certificate: x509.Certificate, by: Signer) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if certificate.issuer != by.certificate.subject or algorithm is None:
        return False
    try:
        by.key.public_key().verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            padding.PKCS1v15(),
            algorithm,
        )
    except InvalidSignature:
        return False
    return True


def _again(certificate: x509.Certificate, by: Signer, *, at: datetime) -> x509.Certificate:
    with warnings.catch_warnings():
        # Of names longer than they may be: those of the real director's certificates are.
        warnings.simplefilter("ignore", UserWarning)
        return _built(certificate, by, at=at)


def _built(certificate: x509.Certificate, by: Signer, *, at: datetime) -> x509.Certificate:
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(certificate.public_key())
        .serial_number(certificate.serial_number)
        .not_valid_before(at - lifetime)
        .not_valid_after(at)
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(by.key, certificate.signature_hash_algorithm)  # type: ignore[arg-type] # one of RSA's, see `_signed`
