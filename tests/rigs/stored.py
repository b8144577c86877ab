"""What the tests of stores and deliveries are made from: certificates, keys, holders, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from rollover.engine.ports import Holder
from rollover.fleet.secret import SecretBytes

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Pair(NamedTuple):
    """A certificate and its key, both PEM."""

    chain: bytes
    key: SecretBytes


@cache
def authority(common_name: str = "nats-ca") -> Pair:
    """Return a root, the same for the same name."""
    return _issue(common_name, is_ca=True)


@cache
def leaf(common_name: str = "n1") -> Pair:
    """Return a self-issued leaf, the same for the same name."""
    return _issue(common_name, is_ca=False)


def holder(task: str = "one", *, host: str = "elsewhere", pid: int = 4711) -> Holder:
    """Return a holder on another machine, of which nothing is known here."""
    return Holder(host=host, pid=pid, boot="b", started="1", task=task)


def later(seconds: float) -> datetime:
    """Return the instant so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def _issue(common_name: str, *, is_ca: bool) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOON)
        .not_valid_after(later(3600))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), SecretBytes(pem))
