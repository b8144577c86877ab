"""Private keys: made, read from and written to PEM, and never shown."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from rollover.errors import PemError
from rollover.fleet.certificate import KeyKind
from rollover.pki.certificate import CURVE_KINDS, key_kind
from rollover.pki.pem import Block, place_of, split_blocks

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

PUBLIC_EXPONENT = 65537
RSA_BITS = {KeyKind.RSA_2048: 2048, KeyKind.RSA_3072: 3072, KeyKind.RSA_4096: 4096}

KEY_PEM_LIMIT = 64 * 1024
"""Octets: room for RSA keys of 16,384 bits with text around them."""


class KeyForm(StrEnum):
    """The layouts of a private key inside PEM."""

    PKCS8 = "pkcs8"
    PKCS1 = "pkcs1"
    """RSA only: `BEGIN RSA PRIVATE KEY`."""
    SEC1 = "sec1"
    """Elliptic curves only: `BEGIN EC PRIVATE KEY`."""


class PrivateKey:
    """A private key that never shows itself: its text form is its kind and public identity."""

    __slots__ = ("_signing_key", "key_identity", "kind", "spki")

    _signing_key: SigningKey
    kind: str
    key_identity: str
    """SHA-256 of the subject public key info, hexadecimal: equal to `Certificate.key_identity`."""
    spki: bytes
    """The public key: DER of its subject public key info."""

    def __init__(self, signing_key: SigningKey) -> None:
        public = signing_key.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for name, value in (
            ("_signing_key", signing_key),
            ("kind", key_kind(signing_key)),
            ("key_identity", hashlib.sha256(spki).hexdigest()),
            ("spki", spki),
        ):
            object.__setattr__(self, name, value)

    @property
    def signing_key(self) -> SigningKey:
        """The key itself, for code of this package that signs with it or writes it down."""
        return self._signing_key

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a private key is frozen: `{name}` cannot be set")

    def __repr__(self) -> str:
        return f"PrivateKey(kind={self.kind!r}, key_identity={self.key_identity!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and other.key_identity == self.key_identity

    def __hash__(self) -> int:
        return hash(self.key_identity)


def generate(kind: KeyKind) -> PrivateKey:
    """Return a new random key. RSA takes 60 to 700 ms and leaves other threads running."""
    match kind:
        case KeyKind.P256:
            return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
        case KeyKind.P384:
            return PrivateKey(ec.generate_private_key(ec.SECP384R1()))
        case KeyKind.ED25519:
            return PrivateKey(ed25519.Ed25519PrivateKey.generate())
        case _:
            return PrivateKey(rsa.generate_private_key(PUBLIC_EXPONENT, RSA_BITS[kind]))


def to_pem(key: PrivateKey, form: KeyForm = KeyForm.PKCS8) -> bytes:
    """Return the key as unencrypted PEM; `PemError` when the form does not fit its kind."""
    layout = PrivateFormat.PKCS8
    if form is not KeyForm.PKCS8:
        fitting = rsa.RSAPrivateKey if form is KeyForm.PKCS1 else ec.EllipticCurvePrivateKey
        if not isinstance(key.signing_key, fitting):
            raise PemError(
                f"a key of kind `{key.kind}` has no `{form.value}` form",
                hint="use `pkcs8`, which fits every kind",
            )
        layout = PrivateFormat.TraditionalOpenSSL
    return key.signing_key.private_bytes(Encoding.PEM, layout, NoEncryption())


def from_pem(data: bytes, *, place: str = "", proven: bool = False) -> PrivateKey:
    """Return the one private key of a PEM file: PKCS#1, PKCS#8 or SEC1, never encrypted.

    Everything else is a `PemError` that names `place` and the remedy. `proven`: who made it or
    took it in has read it without; to prove the primes of RSA-3072 again takes 0.2 s of CPU.
    """
    if len(data) > KEY_PEM_LIMIT:
        raise PemError(
            f"the file has {len(data)} octets, a key file at most {KEY_PEM_LIMIT}",
            place=place,
            hint="check that this is the key file",
        )
    block = _only_key(split_blocks(data), place=place)
    if "ENCRYPTED" in block.label or block.headers:
        raise PemError(
            "the private key is encrypted",
            place=place_of(block.line, file=place),
            hint="decrypt it first: `openssl pkey -in encrypted.pem -out key.pem`, mode 0600",
        )
    return _decode(block, place=place, proven=proven)


def _only_key(blocks: tuple[Block, ...], *, place: str) -> Block:
    keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
    if len(keys) == 1:
        return keys[0]
    if keys:
        lines = ", ".join(str(block.line) for block in keys)
        raise PemError(
            f"{len(keys)} private keys where one belongs (lines {lines})",
            place=place,
            hint="keep the key of the certificate, remove the others",
        )
    if any("CERTIFICATE" in block.label for block in blocks):
        raise PemError(
            "a certificate where a private key belongs",
            place=place,
            hint="certificate and key files may be swapped",
        )
    raise PemError(
        "no private key in it",
        place=place,
        hint="a key file has a block `-----BEGIN PRIVATE KEY-----`",
    )


def _decode(block: Block, *, place: str, proven: bool) -> PrivateKey:
    where = place_of(block.line, file=place)
    if not block.content:
        raise PemError(
            f"the private key is damaged: {block.damage or 'it is empty'}",
            place=where,
            hint="the file may be truncated: write it again",
        )
    try:
        key = load_der_private_key(block.content, None, unsafe_skip_rsa_key_validation=proven)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # `from None`: the text of the library's error may quote what it was given.
        raise PemError(
            "the private key is damaged or of an unknown kind",
            place=where,
            hint="`openssl pkey -noout -in key.pem` must be able to read it",
        ) from None
    if not isinstance(key, SigningKey) or not _supported(key):
        raise PemError(
            f"a private key of kind `{key_kind(key)}` is not supported",
            place=where,
            hint="use RSA, ECDSA with P-256, P-384 or P-521, or Ed25519",
        )
    return PrivateKey(key)


def _supported(key: SigningKey) -> bool:
    return not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name in CURVE_KINDS
