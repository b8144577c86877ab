"""Whether one certificate's signature was made by another's key, and whether Go would take it."""

from __future__ import annotations

from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from rollover.pki.anatomy import Anatomy

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


def check(child: Anatomy, *, by: Anatomy) -> Signed:
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
