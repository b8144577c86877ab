"""Where a client's certificate, key and CA bundle are, and a cheap way to see that they changed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.clients.errors import MaterialError

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


def stamps(files: MaterialFiles) -> Stamps:
    """Return the stamps of the files at the ends of all links: a `..data` swap changes them."""
    return _stamp(files.certificate), _stamp(files.key), _stamp(files.ca)


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return Stamp(facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size)


def read(path: Path) -> bytes:
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
