"""Reads PEM files that an operator names: with a limit, and a word about loose permissions."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes

if TYPE_CHECKING:
    from pathlib import Path

    from rollover.cli.printer import Printer
    from rollover.engine.versions import PemFile


def read_pem(path: Path) -> PemFile:
    """Return a file's content; `SpecError` when it cannot be read or is far too large."""
    from rollover.engine.versions import PemFile  # noqa: PLC0415 - imports certificates
    from rollover.pki.pem import PEM_LIMIT  # noqa: PLC0415 - likewise

    try:
        with path.open("rb") as file:
            content = file.read(PEM_LIMIT + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="check path and permissions"
        ) from None
    if len(content) > PEM_LIMIT:
        raise SpecError(f"more than {PEM_LIMIT:,} bytes", place=str(path), hint="name a PEM file")
    return PemFile(place=str(path), content=SecretBytes(content))


def read_key(path: Path, printer: Printer) -> PemFile:
    """Return a key file's content, and say so when others can read it too."""
    found = read_pem(path)
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        printer.say(f"! {path} can be read by others: `chmod 600 {path}`", "warn")
    return found
