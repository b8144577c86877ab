"""Asks the real nats-server what it makes of a configuration file (`nats-server -t`)."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID = re.compile(r"is valid \((sha256:[0-9a-f]{64})\)")
_SYNTAX = re.compile(
    r"nats-server: (Parse error|variable reference|integer '|float '|expected |"
    r"error parsing include file|config is invalid)"
)
_TIMEOUT_SECONDS = 600


class Answer(NamedTuple):
    """What nats-server said: a digest, or a refusal that is of the syntax or of the meaning."""

    digest: str
    refusal: str
    of_syntax: bool


def binary() -> str:
    """Return the nats-server of this environment."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = found or shutil.which("nats-server")
    assert found, "nats-server is missing: install the development requirements"
    return found


def ask(path: Path, *, environment: Mapping[str, str] | None = None) -> Answer:
    """Return the answer of `nats-server -t` for a file, run in its folder."""
    done = subprocess.run(
        [binary(), "-t", "-c", path.name],
        cwd=path.parent,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    valid = _VALID.search(said)
    assert (done.returncode == 0) == bool(valid), said
    return Answer(
        digest=valid.group(1) if valid else "",
        refusal="" if valid else said,
        of_syntax=bool(_SYNTAX.match(said)),
    )


@cache
def _pem() -> dict[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corpus")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {"server.pem": certificate, "ca.pem": certificate, "server-key.pem": private}


def write_pem(folder: Path) -> None:
    """Write `server.pem`, `server-key.pem` and `ca.pem` of one self-signed certificate."""
    for name, content in _pem().items():
        (folder / name).write_bytes(content)
