"""What is no certificate, and is taken for one, is called by its name."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from rigs import commands
from rollover.errors import ExitCode


def pem(label: str) -> bytes:
    """Return a PEM block of that kind; what is in it matters to nobody here."""
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (
        label.encode(),
        base64.b64encode(b"\x30\x03\x02\x01\x00"),
        label.encode(),
    )


@pytest.mark.parametrize("name", ["some.pem", "some"])
@pytest.mark.parametrize(
    ("data", "said", "way"),
    [
        (pem("CERTIFICATE REQUEST"), "no CA has signed yet", "openssl req"),
        (pem("X509 CRL"), "list of revoked certificates", "openssl crl"),
        (pem("PUBLIC KEY"), "a public key alone", "the certificate that it is in"),
        (pem("DH PARAMETERS"), "parameters of keys", "leave it out"),
        (b"\xfe\xed\xfe\xed\x00\x00\x00\x02", "a Java key store", "keytool -importkeystore"),
        (b"ssh-ed25519 AAAAC3Nza me@host\n", "a key of SSH", "rollover issue"),
        (b"hello\n", "no certificate and no key", "PKCS#12"),
    ],
)
def test_it_is_named_with_a_way_on(
    tmp_path: Path, name: str, data: bytes, said: str, way: str
) -> None:
    """Whatever the file is called."""
    path = tmp_path / name
    path.write_bytes(data)
    ran = commands.run("inspect", path)
    assert ran.code == ExitCode.USAGE
    assert said in ran.talk
    assert way in ran.talk
