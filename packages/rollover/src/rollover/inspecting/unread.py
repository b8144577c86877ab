"""What a file is that holds neither certificate nor key, and what shows its content."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple

from rollover.pki.blocks import split


class Unread(NamedTuple):
    """Something that people mistake for a certificate, and the way on."""

    what: str
    hint: str


_REQUEST: Final = Unread(
    "a certificate request, which no CA has signed yet",
    "`openssl req -noout -text -in FILE` shows it; inspect the certificate that comes back for it",
)
_REVOCATIONS: Final = Unread(
    "a list of revoked certificates, which neither nats-server nor Rollover reads",
    "`openssl crl -noout -text -in FILE` shows it",
)
_PUBLIC_KEY: Final = Unread(
    "a public key alone", "inspect the certificate that it is in, or the private key"
)
_PARAMETERS: Final = Unread("parameters of keys, which nats-server does not need", "leave it out")
_JAVA: Final = Unread(
    "a Java key store",
    "`keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype pkcs12` "
    "makes one that is read",
)
_SSH: Final = Unread(
    "a key of SSH", "NATS needs certificates of X.509: `rollover issue` makes some"
)

_OF_LABEL: Final = MappingProxyType(
    {
        "CERTIFICATE REQUEST": _REQUEST,
        "NEW CERTIFICATE REQUEST": _REQUEST,
        "X509 CRL": _REVOCATIONS,
        "PUBLIC KEY": _PUBLIC_KEY,
        "RSA PUBLIC KEY": _PUBLIC_KEY,
        "DH PARAMETERS": _PARAMETERS,
        "EC PARAMETERS": _PARAMETERS,
    }
)
_OF_BEGINNING: Final = MappingProxyType(
    {
        b"\xfe\xed\xfe\xed": _JAVA,
        b"\xce\xce\xce\xce": _JAVA,
        b"ssh-": _SSH,
        b"ecdsa-sha2-": _SSH,
    }
)


def recognised(data: bytes) -> Unread | None:
    """Return what some bytes without certificate and key are; None when nobody knows."""
    for beginning, found in _OF_BEGINNING.items():
        if data.startswith(beginning):
            return found
    known = (_OF_LABEL.get(block.label) for block in split(data))
    return next((each for each in known if each is not None), None)
