"""The file of a bundle: read with everything that is odd about it, written whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from rollover import replacing
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.inspecting.files import read_file
from rollover.inspecting.found import writable
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
            f"more than {PEM_LIMIT:,} bytes", place=writable(str(path)), hint="name a PEM file"
        )
    return read_certificates(data, place=writable(str(path)))


def render(certificates: Sequence[Certificate], *, annotate: bool = False) -> bytes:
    """Return the file: blocks only, each on lines of its own; the same bundle, the same bytes.

    `annotate`: a comment with subject and dates before each block.
    """
    if not annotate:
        return write_certificates(certificates)
    return b"".join(comment(each) + write_certificates((each,)) for each in certificates)


def comment(certificate: Certificate) -> bytes:
    """Return a line about a certificate that no stack takes for anything but a comment.

    Plain ASCII of bounded length without dashes in a row: a subject is chosen by whoever made it.
    """
    dates = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    room = LONGEST_COMMENT - len(dates) - len("# , ")
    subject = "".join(_plain(each) for each in certificate.subject)[:room].replace("--", "-.")
    return f"# {subject}, {dates}\n".encode("ascii")


def _plain(character: str) -> str:
    return character if character.isascii() and character.isprintable() else "?"


def write(path: Path, content: bytes, *, mode: int = MODE) -> bool:
    """Put the content at `path`, durable; False when it is there already with that mode.

    A link is followed: the file behind it is replaced. `SpecError` when it cannot be written.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        if _holds(target, content, mode=mode):
            return False
        replacing.replace(target, content, mode=mode, durable=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            f"cannot be written: {reason}",
            place=writable(str(path)),
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
            "not a regular file", place=writable(str(path)), hint="name a file for the bundle"
        )
    same_shape = status.st_size == len(content) and stat.S_IMODE(status.st_mode) == mode
    return same_shape and path.read_bytes() == content
