"""The chain and private key that we present, kept so that the key never shows."""

from __future__ import annotations

from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from rollover.errors import PemError
from rollover.fleet.names import Fingerprint, short

PresentableKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class ClientIdentity:
    """A certificate chain, leaf first, and the leaf's private key, in memory only.

    Not a Struct on purpose: nothing can encode or compare it field by field. Two are equal when
    their chains are.
    """

    __slots__ = ("_key", "certificates", "fingerprints")

    def __init__(self, certificates: tuple[x509.Certificate, ...], key: PresentableKey) -> None:
        self.certificates = certificates
        self.fingerprints = tuple(
            Fingerprint(certificate.fingerprint(hashes.SHA256()).hex())
            for certificate in certificates
        )
        self._key = key

    @classmethod
    def from_pem(cls, chain: bytes, key: bytes, *, place: str = "") -> Self:
        """Read a chain and its unencrypted key (PKCS#1, PKCS#8 or SEC1).

        `place` names their origin in messages. Raises `PemError` when one of them cannot be read,
        or when the key is not the leaf's.
        """
        certificates, private = _certificates(chain, place), _key(key, place)
        if certificates[0].public_key().public_bytes(*_SPKI) != private.public_key().public_bytes(
            *_SPKI
        ):
            raise PemError(
                f"the private key is not that of the first certificate, "
                f"`{certificates[0].subject.rfc4514_string()}`",
                place=place,
                hint="put the leaf first in the chain, and give the key that belongs to it",
            )
        return cls(certificates, private)

    @property
    def private_key(self) -> PresentableKey:
        """The key object, for a TLS context; it has no readable representation."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientIdentity) and other.fingerprints == self.fingerprints

    def __hash__(self) -> int:
        return hash(self.fingerprints)

    def __repr__(self) -> str:
        return f"ClientIdentity({short(self.fingerprints[0])})"

    def __reduce__(self) -> str:
        raise TypeError("an identity holds a private key and is never serialised")


class Login:
    """A user and password for a NATS server; the password never shows."""

    __slots__ = ("_password", "user")

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self._password = password

    @property
    def password(self) -> str:
        """The password, for the CONNECT line alone."""
        return self._password

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


def _certificates(pem: bytes, place: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise PemError(
            "no certificate can be read from the chain",
            place=place,
            hint="expected PEM blocks of `CERTIFICATE`, the leaf first",
        ) from error


def _key(pem: bytes, place: str) -> PresentableKey:
    hint = "expected one unencrypted PEM private key, RSA, elliptic curve or Ed25519"
    try:
        # Whether primes are primes takes 0.2 s of CPU at 3072 bits, at each dial; a TLS library
        # asks no more of a key than that it belongs to the certificate, which is checked next.
        key = serialization.load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out: a parser's message may quote what it was given.
        raise PemError("the private key cannot be read", place=place, hint=hint) from None
    if not isinstance(key, PresentableKey):
        raise PemError("the private key is not of a kind for TLS", place=place, hint=hint)
    return key
