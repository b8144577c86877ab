"""Secret bytes do not show themselves, and texts are cleared of private keys."""

from __future__ import annotations

import base64
import copy
import pickle

import msgspec
import pytest

from rigs.stored import leaf
from rollover.fleet.secret import SecretBytes, holds_private_key, redacted


def test_secret_bytes_never_show() -> None:
    """Neither repr, str, a format string nor a container shows them."""
    secret = SecretBytes(b"hunter2")
    shown = f"{secret} {secret!r} {secret:>40} {[secret]} {secret!s} %s" % secret

    assert "hunter2" not in shown
    assert secret.reveal() == b"hunter2"


def test_secret_bytes_are_not_pickled_or_encoded() -> None:
    """They do not leave the process by accident; a copy is the same object."""
    secret = SecretBytes(b"hunter2")

    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": secret})
    assert copy.deepcopy([secret])[0] is secret


def test_secret_bytes_compare_by_content() -> None:
    """Equal content is equal, and nothing equals plain bytes."""
    assert SecretBytes(b"a") == SecretBytes(b"a")
    assert SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"
    assert hash(SecretBytes(b"a")) == hash(SecretBytes(b"a"))


def test_private_keys_are_recognised_plain_and_in_base64() -> None:
    """Also as Kubernetes secrets carry them; certificates are not mistaken for them."""
    pair = leaf()

    assert holds_private_key(pair.key.reveal())
    assert holds_private_key(base64.b64encode(pair.key.reveal()).decode())
    assert not holds_private_key(pair.chain)
    assert not holds_private_key(base64.b64encode(pair.chain).decode())


@pytest.mark.parametrize("label", ["", "RSA ", "EC ", "ENCRYPTED "])
def test_the_first_line_of_every_kind_of_key_is_recognised_in_base64(label: str) -> None:
    """PKCS#8, PKCS#1, SEC1 and encrypted keys."""
    text = f"-----BEGIN {label}PRIVATE KEY-----\nAAAA\n"

    assert holds_private_key(base64.b64encode(text.encode()).decode())


def test_redacting_takes_out_whole_and_cut_keys() -> None:
    """Whatever part of a PEM block is in a text, none of its lines stays."""
    pem = leaf().key.reveal().decode()
    body = pem.splitlines()[1]
    texts = (f"before\n{pem}after", f"before\n{pem[:-40]}", f"{pem[40:]}after", f"x{body}y")

    cleared = [redacted(text, secrets=(leaf().key,)) for text in texts]

    assert all(body not in text and body[40:] not in text for text in cleared)
    assert cleared[0].startswith("before")
    assert cleared[0].endswith("after")


def test_redacting_leaves_other_texts_alone() -> None:
    """Certificates and ordinary words stay."""
    text = f"reloaded\n{leaf().chain.decode()}"

    assert redacted(text, secrets=(leaf().key,)) == text
