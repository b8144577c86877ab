"""What is about to be stored, read once: the certificates of a chain, and whether the key fits."""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from rollover.errors import StoreError
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes, holds_private_key

LARGEST_CHAIN: Final = 256 * 1024
"""Bytes of PEM; the longest chains in use have a few certificates of 2 KiB each."""


class Contents(NamedTuple):
    """The facts that the store keeps beside a chain."""

    fingerprint: Fingerprint
    certificate_authority: bool
    self_issued: bool


def read(name: str, chain: bytes, *, key: SecretBytes | None) -> Contents:
    """Read a PEM chain and check that the key is that of its first certificate.

    Raises `StoreError` for a chain that is empty, too large, damaged or holds a private key, and
    for a key that cannot be read, is encrypted or belongs to another certificate.
    """
    certificate = _certificate(name, chain)
    if key is not None and _public_key(name, key) != _public_key_of(certificate):
        raise StoreError(
            f"`{name}`: the private key does not belong to the certificate",
            hint="hand over the key that the certificate was issued for",
        )
    return Contents(
        fingerprint=Fingerprint(certificate.fingerprint(hashes.SHA256()).hex()),
        certificate_authority=_is_authority(certificate),
        self_issued=certificate.issuer == certificate.subject,
    )


def _certificate(name: str, chain: bytes) -> x509.Certificate:
    if len(chain) > LARGEST_CHAIN:
        raise StoreError(
            f"`{name}`: the chain has {len(chain)} bytes, at most {LARGEST_CHAIN} are taken",
            hint="store the certificate and its intermediates only",
        )
    if holds_private_key(chain):
        raise StoreError(
            f"`{name}`: a private key stands where the certificate should be",
            hint="hand over certificate and key apart, not swapped",
        )
    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise StoreError(
            f"`{name}`: the chain holds no PEM certificate that can be read",
            hint="check that the file is whole and in PEM",
        ) from None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return constraints.value.ca


def _public_key_of(certificate: x509.Certificate) -> bytes:
    try:
        public = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return b""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key(name: str, key: SecretBytes) -> bytes:
    try:
        # What counts here is whose key it is. Testing the primes of an RSA key would take about as
        # long as it took to make them, for every leaf of a rollout.
        private = load_pem_private_key(
            key.reveal(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        raise StoreError(
            f"`{name}`: the private key is encrypted with a passphrase",
            hint="decrypt it first (`openssl pkey`); the store seals it itself",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise StoreError(
            f"`{name}`: the private key cannot be read",
            hint="hand over a PEM key (PKCS#8, PKCS#1 or SEC1), not a certificate",
        ) from None
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
