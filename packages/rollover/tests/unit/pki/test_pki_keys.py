"""Private keys are made, written and read in every form, and never shown."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from rigs.pki_forge import forge, rsa_key
from rollover.errors import PemError
from rollover.fleet.certificate import KeyKind
from rollover.pki.keys import KeyForm, PrivateKey, from_pem, generate, to_pem
from rollover.pki.pem import write_certificates

QUICK_KINDS = (KeyKind.P256, KeyKind.P384, KeyKind.ED25519, KeyKind.RSA_2048)


@pytest.mark.parametrize("kind", QUICK_KINDS)
def test_a_generated_key_is_of_its_kind_and_reads_back(kind: KeyKind) -> None:
    """PKCS#8 brings back the same key."""
    key = generate(kind)
    assert key.kind == kind.value
    assert from_pem(to_pem(key)) == key


def test_pkcs1_is_for_rsa() -> None:
    """RSA keys have a PKCS#1 form that reads back."""
    key = PrivateKey(rsa_key(2048, "leaf"))
    text = to_pem(key, KeyForm.PKCS1)
    assert b"BEGIN RSA PRIVATE KEY" in text
    assert from_pem(text) == key


def test_sec1_is_for_curves() -> None:
    """EC keys have a SEC1 form that reads back, EC parameters before it or not."""
    key = generate(KeyKind.P256)
    text = to_pem(key, KeyForm.SEC1)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert b"BEGIN EC PRIVATE KEY" in text
    assert from_pem(parameters + text) == key


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (KeyKind.P256, KeyForm.PKCS1),
        (KeyKind.ED25519, KeyForm.PKCS1),
        (KeyKind.ED25519, KeyForm.SEC1),
    ],
)
def test_a_form_that_does_not_fit_is_refused(kind: KeyKind, form: KeyForm) -> None:
    """The message names kind and form; the remedy names the one that always fits."""
    with pytest.raises(PemError, match=f"`{kind.value}` has no `{form.value}`") as refusal:
        to_pem(generate(kind), form)
    assert "pkcs8" in refusal.value.hint


def test_the_repr_shows_kind_and_public_identity_only() -> None:
    """Neither repr nor str holds anything of the private key."""
    key = generate(KeyKind.P256)
    assert isinstance(key.signing_key, ec.EllipticCurvePrivateKey)
    assert repr(key) == f"PrivateKey(kind='p-256', key_identity='{key.key_identity}')"
    assert f"{key.signing_key.private_numbers().private_value:x}" not in str(key)


def test_a_key_is_frozen() -> None:
    """Its parts cannot be set."""
    with pytest.raises(AttributeError, match="frozen"):
        generate(KeyKind.P256).kind = "rsa-2048"


def test_a_key_does_not_leave_by_pickle() -> None:
    """Serialising by accident, into a cache or to a process, fails."""
    with pytest.raises(TypeError):
        pickle.dumps(generate(KeyKind.P256))


def test_a_copy_is_the_same_key() -> None:
    """Keys compare by their public identity."""
    key = generate(KeyKind.ED25519)
    assert from_pem(to_pem(key)) is not key
    assert {key, from_pem(to_pem(key))} == {key}
    assert copy.copy([key])[0] is key


@pytest.mark.parametrize("layout", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_refused(layout: PrivateFormat) -> None:
    """Both encrypted forms are named as such, with place, line and remedy."""
    key = generate(KeyKind.P256).signing_key
    data = key.private_bytes(Encoding.PEM, layout, BestAvailableEncryption(b"secret"))
    with pytest.raises(PemError, match="encrypted") as refusal:
        from_pem(b"text\n" + data, place="key.pem")
    assert refusal.value.place == "key.pem:2"
    assert "openssl pkey" in refusal.value.hint


def test_a_certificate_where_a_key_belongs_is_named() -> None:
    """Swapped files are recognised."""
    with pytest.raises(PemError, match="a certificate where a private key") as refusal:
        from_pem(write_certificates([forge("x").certificate]), place="key.pem")
    assert "swapped" in refusal.value.hint


def test_two_keys_are_refused_with_their_lines() -> None:
    """Which of two keys is meant cannot be guessed."""
    text = to_pem(generate(KeyKind.P256)) + to_pem(generate(KeyKind.P256))
    with pytest.raises(PemError, match=r"2 private keys .*lines 1, 6"):
        from_pem(text)


def test_a_damaged_key_is_refused_without_quoting_it() -> None:
    """No octet of a broken key appears in message, hint or cause."""
    lines = to_pem(generate(KeyKind.P256)).splitlines()
    lines[1] = lines[1][:-8] + b"AAAAAAAA"
    with pytest.raises(PemError, match="damaged or of an unknown kind") as refusal:
        from_pem(b"\n".join(lines), place="key.pem")
    shown = f"{refusal.value} {refusal.value.hint} {refusal.value.__cause__}"
    assert lines[1].decode()[:16] not in shown
    assert refusal.value.__suppress_context__


def test_a_truncated_key_is_refused() -> None:
    """A key file that breaks off says so."""
    with pytest.raises(PemError, match="its end line is missing"):
        from_pem(to_pem(generate(KeyKind.P256))[:-30])


@pytest.mark.parametrize("data", [b"", b"\n", b"no pem at all"])
def test_a_file_without_key_is_refused(data: bytes) -> None:
    """Emptiness and other text get the remedy."""
    with pytest.raises(PemError, match="no private key"):
        from_pem(data, place="key.pem")


def test_an_oversized_file_is_refused_unread() -> None:
    """A limit stands before the parser."""
    with pytest.raises(PemError, match="at most"):
        from_pem(b"x" * 70_000)


@pytest.mark.parametrize(
    "key", [ed448.Ed448PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())]
)
def test_a_key_that_tls_does_not_use_is_refused(
    key: ed448.Ed448PrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    """The message names the kind, the remedy those that are supported."""
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(PemError, match="not supported"):
        from_pem(data)
