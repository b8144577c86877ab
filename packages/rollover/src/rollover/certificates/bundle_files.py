"""The file or object of a bundle: read with what is odd about it, written whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from rollover import files
from rollover.certificates.inspect_findings import printable, read_file
from rollover.codec.kubernetes import (
    AUTHORITY,
    BUNDLE,
    CERTIFICATE,
    KEY,
    LABELS,
    TLS_TYPE,
    ClusterObject,
    ObjectKind,
    ObjectRef,
)
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import PEM_LIMIT, PemReading, read_certificates, write_certificates

MODE = 0o644
PRIVATE_MODE = 0o600
LONGEST_COMMENT = 120
"""Characters. OpenSSL reads lines of 254 bytes; what follows would be a line of its own to it."""


def read(path: Path) -> PemReading:
    """Return what a bundle's file holds; `SpecError` or `PemError` with the place."""
    data = read_file(path)
    if len(data) > PEM_LIMIT:
        raise SpecError(
            f"more than {PEM_LIMIT:,} bytes", place=printable(str(path)), hint="name a PEM file"
        )
    return read_certificates(data, place=printable(str(path)))


def render(certificates: Sequence[Certificate], *, annotate: bool = False) -> bytes:
    """Return the file: blocks only, each on lines of its own; the same bundle, the same bytes.

    `annotate`: a comment with subject and dates before each block.
    """
    if not annotate:
        return write_certificates(certificates)
    return b"".join(
        comment(certificate) + write_certificates((certificate,)) for certificate in certificates
    )


def comment(certificate: Certificate) -> bytes:
    """Return a line about a certificate that no stack takes for anything but a comment.

    Plain ASCII of bounded length without dashes in a row: a subject is chosen by whoever made it.
    """
    dates = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    room = LONGEST_COMMENT - len(dates) - len("# , ")
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() else "?"
        for letter in certificate.subject
    )
    # Dashes in a row could end as `-----BEGIN`.
    subject = plain[:room].replace("--", "-.")
    return f"# {subject}, {dates}\n".encode("ascii")


def write(path: Path, content: bytes, *, mode: int = MODE) -> bool:
    """Put the content at `path`, durable; False when it is there already with that mode.

    A link is followed: the file behind it is replaced. `SpecError` when it cannot be written.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        if _holds(target, content, mode=mode):
            return False
        files.atomic_write(target, content, mode=mode, durable=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            f"cannot be written: {reason}",
            place=printable(str(path)),
            hint="check the path and its permissions",
        ) from None
    return True


def _holds(path: Path, content: bytes, *, mode: int) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise SpecError(
            "not a regular file", place=printable(str(path)), hint="name a file for the bundle"
        )
    same_shape = status.st_size == len(content) and stat.S_IMODE(status.st_mode) == mode
    return same_shape and path.read_bytes() == content


# A bundle, and perhaps a certificate with its key, as an object of Kubernetes.


def bundle_object(
    ref: ObjectRef,
    bundle: bytes,
    *,
    certificate: bytes | None = None,
    key: SecretBytes | None = None,
) -> ClusterObject:
    """Return the object: `ca.crt` and `cabundle.pem`, in a Secret also `tls.crt` and `tls.key`.

    Raises `SpecError` for one of the pair without the other, for a key in a ConfigMap, and
    `PemError` when they do not belong together.
    """
    data = {AUTHORITY: SecretBytes(bundle), BUNDLE: SecretBytes(bundle)}
    if (certificate is None) != (key is None):
        raise SpecError(
            "a certificate needs its key, and a key its certificate",
            hint="give both `--cert-file` and `--key-file`, or neither",
        )
    if certificate is None or key is None:
        return ClusterObject(ref=ref, data=data, labels=LABELS)
    if ref.kind is ObjectKind.CONFIG_MAP:
        raise SpecError(
            "a private key does not belong into a ConfigMap", hint="use `--kubernetes secret`"
        )
    _check_pair(certificate, key)
    pair = {CERTIFICATE: SecretBytes(certificate), KEY: key}
    return ClusterObject(ref=ref, data={**data, **pair}, labels=LABELS, type=TLS_TYPE)


def _check_pair(certificate: bytes, key: SecretBytes) -> None:
    leaf = read_certificates(certificate, place=CERTIFICATE).certificates[0]
    if from_pem(key.reveal(), place=KEY).key_identity != leaf.key_identity:
        raise PemError(
            f"the key is not that of `{leaf.subject}`",
            place=KEY,
            hint="give the key that this certificate was issued for, the leaf first in its file",
        )
