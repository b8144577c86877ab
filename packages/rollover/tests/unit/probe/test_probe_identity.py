"""Identities: what can be presented, and that the key never shows."""

from __future__ import annotations

import pickle

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519

from rigs.probe_lab import Authority
from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.pki.certificate import parse_der
from rollover.probe.identity import ClientIdentity, Login
from rollover.probe.stream import Contexts, Trust
from rollover.probe.target import Versions

AUTHORITY = Authority("root")
PAIR = AUTHORITY.issue("one")
OTHER = AUTHORITY.issue("two")


def test_the_key_never_shows() -> None:
    """Neither representation nor text of an identity or login holds a secret; pickling fails."""
    identity, login = ClientIdentity.from_pem(*PAIR), Login("u", "hush")
    shown = f"{identity!r} {identity} {login!r} {login}"
    assert "PRIVATE" not in shown
    assert "hush" not in shown
    assert identity.fingerprints[0][:12] in shown
    with pytest.raises(TypeError, match="never serialised"):
        pickle.dumps(identity)


def test_the_fingerprints_are_those_of_the_certificates() -> None:
    """An identity names its chain by the same fingerprints as the rest of Rollover."""
    identity = ClientIdentity.from_pem(PAIR.chain + AUTHORITY.pem, PAIR.key)
    ders = [
        certificate.public_bytes(serialization.Encoding.DER)
        for certificate in identity.certificates
    ]
    parsed: list[Certificate] = [parse_der(der) for der in ders]
    assert identity.fingerprints == tuple(certificate.fingerprint for certificate in parsed)


def test_identities_of_one_chain_are_equal() -> None:
    """The same chain twice is one identity, so that one TLS context serves both."""
    first, again, other = (ClientIdentity.from_pem(*pair) for pair in (PAIR, PAIR, OTHER))
    assert first == again
    assert hash(first) == hash(again)
    assert first != other


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        (b"", PAIR.key, "no certificate can be read"),
        (PAIR.key, PAIR.key, "no certificate can be read"),
        (PAIR.chain[:200], PAIR.key, "no certificate can be read"),
        (PAIR.chain, b"", "private key cannot be read"),
        (PAIR.chain, PAIR.chain, "private key cannot be read"),
        (PAIR.chain, PAIR.key[:80], "private key cannot be read"),
        (PAIR.chain, OTHER.key, "not that of the first certificate"),
        (AUTHORITY.pem + PAIR.chain, PAIR.key, "not that of the first certificate"),
    ],
    # The material is made anew in each process, and so cannot name the cases.
    ids=[
        "no chain",
        "key for chain",
        "half a chain",
        "no key",
        "chain for key",
        "half a key",
        "another's key",
        "issuer first",
    ],
)
def test_unfit_material_is_refused_with_its_place(chain: bytes, key: bytes, message: str) -> None:
    """Empty, swapped, truncated and mismatched files are refused, and nothing of them is quoted."""
    with pytest.raises(PemError, match=message) as caught:
        ClientIdentity.from_pem(chain, key, place="canary.pem")
    assert caught.value.message.startswith("canary.pem: ")
    assert caught.value.hint
    assert "BEGIN" not in caught.value.message


def test_an_encrypted_key_is_refused() -> None:
    """A key that needs a passphrase is never taken silently."""
    key = serialization.load_pem_private_key(PAIR.key, None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(PemError, match="private key cannot be read"):
        ClientIdentity.from_pem(PAIR.chain, sealed)


def test_a_key_that_cannot_sign_is_refused() -> None:
    """A key agreement key is no identity."""
    pem = x25519.X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(PemError, match="not of a kind for TLS"):
        ClientIdentity.from_pem(PAIR.chain, pem)


def test_one_context_serves_an_identity_and_its_options() -> None:
    """Equal identities and options share a context; any difference makes another."""
    contexts = Contexts()
    identity, again = ClientIdentity.from_pem(*PAIR), ClientIdentity.from_pem(*PAIR)
    first = contexts.get(identity)
    assert contexts.get(again) is first
    assert contexts.get(None) is not first
    assert contexts.get(identity, versions=Versions.TLS_1_2) is not first
    assert contexts.get(identity, trust=AUTHORITY.pem) is not first
    assert contexts.get(identity, trust=Trust.SYSTEM) is not first


def test_a_trust_bundle_without_certificates_is_refused() -> None:
    """An unreadable bundle is an error, never an empty trust."""
    with pytest.raises(PemError, match="trust bundle"):
        Contexts().get(None, trust=b"nothing here")
