"""A client's certificate, key and CA files: whether they changed, and a TLS context from them.

A context is never changed in place: OpenSSL can add CA certificates to one, never take one away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, NewType, NoReturn

import msgspec

from nats_rotating_client.errors import MaterialError

MAX_BYTES = 4 * 1024 * 1024
"""Far above any bundle that a TLS handshake can carry."""


class MaterialFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The PEM files of one client.

    `certificate` holds the leaf first and then its intermediates, `key` its unencrypted private
    key, `ca` the CA certificates that it trusts. Symbolic links are followed at every look.
    """

    certificate: Path
    key: Path
    ca: Path

    @classmethod
    def in_directory(cls, directory: Path) -> MaterialFiles:
        """Return the names that Kubernetes gives them: `tls.crt`, `tls.key`, `ca.crt`."""
        return cls(
            certificate=directory / "tls.crt", key=directory / "tls.key", ca=directory / "ca.crt"
        )


class Stamp(NamedTuple):
    """Which file a path leads to, and when that was last written."""

    device: int
    inode: int
    modified_ns: int
    size: int


Stamps = tuple[Stamp | None, Stamp | None, Stamp | None]
"""Certificate, key and CA bundle; None where there is no file at this moment."""


def stamp_files(files: MaterialFiles) -> Stamps:
    """Return the stamps of the files at the ends of all links: a `..data` swap changes them."""
    return _stamp(files.certificate), _stamp(files.key), _stamp(files.ca)


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return Stamp(facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size)


def read_material_file(path: Path) -> bytes:
    """Return the file's bytes; `MaterialError` when it is empty, far too large or unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MaterialError(
            f"cannot read the file: {error.strerror}",
            place=str(path),
            hint="the file must exist and be readable by the user that runs the client",
        ) from error
    if not data:
        raise MaterialError(
            "the file is empty", place=str(path), hint="write it anew, then rename it"
        )
    if len(data) > MAX_BYTES:
        raise MaterialError(f"the file has more than {MAX_BYTES} bytes", place=str(path))
    return data


# The context, and exactly what it presents and trusts.

_BLOCK = re.compile(
    rb"-----BEGIN (?P<label>(?:X509 )?CERTIFICATE)-----(?P<body>.*?)-----END (?P=label)-----",
    re.DOTALL,
)
_BEGIN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")

MakeContext = Callable[[], ssl.SSLContext]

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 of a certificate's DER, 64 lower-case hexadecimal digits: which certificate it is."""


class LoadedMaterial(NamedTuple):
    """A set of files as it was loaded: the context, and the facts that may be told about it."""

    context: ssl.SSLContext
    chain: tuple[Fingerprint, ...]
    authorities: tuple[Fingerprint, ...]
    stamps: Stamps
    loaded_at: datetime

    @property
    def leaf(self) -> Fingerprint:
        """The certificate that a new handshake presents."""
        return self.chain[0]


def plain_context() -> ssl.SSLContext:
    """Return an empty client context: TLS 1.2 or later, names checked, no CA trusted yet.

    Not `ssl.create_default_context`, whose verification flags differ between Python versions.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_material(
    files: MaterialFiles, *, make_context: MakeContext = plain_context
) -> LoadedMaterial:
    """Read the files into a fresh context from `make_context`.

    Raises `MaterialError` with the file's place when one is missing, empty, damaged or of the wrong
    kind, when certificate and key do not belong together, or when a file changed meanwhile.
    """
    before = stamp_files(files)
    chain = _certificates(files.certificate)
    authorities = _certificates(files.ca)
    context = make_context()
    _trust(context, authorities, place=files.ca)
    _present(context, files)
    # `load_cert_chain` reads the files a second time: they must be those that were looked at.
    if stamp_files(files) != before:
        raise MaterialError(
            "the files changed while they were read",
            place=str(files.certificate),
            hint="they are read again when they have settled",
        )
    return LoadedMaterial(
        context=context,
        chain=_fingerprints(chain),
        authorities=_fingerprints(authorities),
        stamps=before,
        loaded_at=datetime.now(UTC),
    )


def _fingerprints(certificates: tuple[bytes, ...]) -> tuple[Fingerprint, ...]:
    return tuple(Fingerprint(hashlib.sha256(der).hexdigest()) for der in certificates)


def _certificates(path: Path) -> tuple[bytes, ...]:
    data = read_material_file(path)
    blocks = list(_BLOCK.finditer(data))
    begun = len(_BEGIN.findall(data))
    if not begun:
        found = "a private key" if b"PRIVATE KEY-----" in data else "something else"
        raise MaterialError(
            f"expected a PEM certificate, found {found}",
            place=str(path),
            hint="are certificate and key swapped?",
        )
    if len(blocks) != begun:
        raise MaterialError(
            f"{begun} certificates begin but {len(blocks)} are complete",
            place=str(path),
            hint="the file is truncated, half-written or holds OpenSSL's `TRUSTED` kind",
        )
    return tuple(_der(match["body"], number, path) for number, match in enumerate(blocks, start=1))


def _der(body: bytes, number: int, path: Path) -> bytes:
    """Return a block's DER. `ssl.PEM_cert_to_DER_cert` will not do: it skips what is no Base64."""
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        der = b""
    if not der:
        raise MaterialError(
            f"certificate {number} is damaged", place=str(path), hint="write the file anew"
        )
    return der


def _trust(context: ssl.SSLContext, authorities: tuple[bytes, ...], *, place: Path) -> None:
    try:
        context.load_verify_locations(cadata=b"".join(authorities))
    except ssl.SSLError as error:
        raise MaterialError(
            f"OpenSSL cannot read a CA certificate: {_ssl_reason(error)}", place=str(place)
        ) from error


def _present(context: ssl.SSLContext, files: MaterialFiles) -> None:
    # Without this OpenSSL would ask for the passphrase on the terminal, and wait.
    def refuse() -> NoReturn:
        raise MaterialError(
            "the private key is encrypted", place=str(files.key), hint="store it unencrypted, 0600"
        )

    try:
        context.load_cert_chain(files.certificate, files.key, password=refuse)
    except ssl.SSLError as error:
        raise _unfit(error, files) from error
    except OSError as error:
        raise MaterialError(
            f"cannot read the private key: {error.strerror}",
            place=str(files.key),
            hint="the file must exist and be readable by the user that runs the client",
        ) from error


def _unfit(error: ssl.SSLError, files: MaterialFiles) -> MaterialError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return MaterialError(
            f"the private key `{files.key}` does not belong to this certificate",
            place=str(files.certificate),
            hint="deliver both; until they fit, the set in use stays in use",
        )
    return MaterialError(
        f"OpenSSL cannot use the certificate and its key `{files.key}`: {_ssl_reason(error)}",
        place=str(files.certificate),
        hint="both must be PEM, the leaf first, the key unencrypted",
    )


def _ssl_reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown reason").lower().replace("_", " ")
