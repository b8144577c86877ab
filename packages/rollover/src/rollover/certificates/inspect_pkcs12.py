"""Opens PKCS#12 files in a process of their own: their key derivation may ask for years of work.

As a program, ``python -m rollover.certificates.inspect_pkcs12`` reads a JSON request from standard
input and answers with one on standard output. No private key is ever written there.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization import pkcs12 as library

from rollover.certificates.inspect_findings import FoundKey, InspectionDeadline, problem_of
from rollover.certificates.inspect_pem import FoundPart, certificate_of_der
from rollover.errors import PemError
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import PrivateKey, SigningKey
from rollover.pki.pem import PEM_LIMIT

OPENING_SECONDS = 20
_MEMORY = 1024 * 1024 * 1024
_HINT = "give its password with `--password-file FILE` or `--password-env NAME`"


class _Request(msgspec.Struct, frozen=True):
    data: bytes
    password: bytes


class _Answer(msgspec.Struct, frozen=True):
    certificates: tuple[bytes, ...] = ()
    key: str = ""
    key_identity: str = ""
    has_key: bool = False
    problem: str = ""


def parts_of_pkcs12(
    data: bytes, *, place: str, password: SecretBytes, deadline: InspectionDeadline
) -> Iterator[FoundPart]:
    """Yield the certificates of a PKCS#12 file and that a key is there, or why it stays closed."""
    answer = _ask(_Request(data, password.reveal()), deadline)
    if answer.problem:
        yield problem_of(PemError(answer.problem, place=place, hint=_HINT))
    for der in answer.certificates:
        yield certificate_of_der(der, place=place)
    if answer.has_key:
        said = "" if answer.key_identity else "it is of a kind that is not for TLS"
        yield FoundKey(place=place, kind=answer.key, key_identity=answer.key_identity, problem=said)


def _ask(request: _Request, deadline: InspectionDeadline) -> _Answer:
    if len(request.data) > PEM_LIMIT:
        return _Answer(problem=f"more than {PEM_LIMIT:,} bytes")
    try:
        ended = subprocess.run(
            # `-P`: nothing is imported from the directory in which somebody inspects files.
            (sys.executable, "-P", "-m", __name__),
            input=msgspec.json.encode(request),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=min(OPENING_SECONDS, deadline.seconds),
            check=False,
        )
        return msgspec.json.decode(ended.stdout, type=_Answer)
    except subprocess.TimeoutExpired:
        return _Answer(problem=f"it could not be opened within {OPENING_SECONDS} s")
    except (OSError, msgspec.DecodeError):
        return _Answer(problem="it could not be opened")


def _open(request: _Request) -> _Answer:
    """Try the password, and without one the two ways in which none is written down."""
    for password in (request.password,) if request.password else (None, b""):
        try:
            return _content(library.load_pkcs12(request.data, password))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    wrong = "its password is another" if request.password else "it needs a password"
    return _Answer(problem=f"the PKCS#12 file cannot be opened: {wrong}, or it is damaged")


def _content(found: library.PKCS12KeyAndCertificates) -> _Answer:
    held = [found.cert, *found.additional_certs]
    certificates = tuple(entry.certificate.public_bytes(Encoding.DER) for entry in held if entry)
    if found.key is None:
        return _Answer(certificates=certificates)
    if not isinstance(found.key, SigningKey):
        return _Answer(certificates=certificates, has_key=True)
    key = PrivateKey(found.key)
    return _Answer(
        certificates=certificates, key=key.kind, key_identity=key.key_identity, has_key=True
    )


def main() -> None:
    """Answer the one request that standard input holds."""
    # The file itself says how often its key is derived, and in how much memory.
    resource.setrlimit(resource.RLIMIT_CPU, (OPENING_SECONDS, OPENING_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    sys.stdout.buffer.write(msgspec.json.encode(_open(request)))


if __name__ == "__main__":
    main()
