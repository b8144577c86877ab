"""Reads PEM files that an operator names: with a limit, and a word about loose permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollover.errors import SpecError
from rollover.files import READABLE_BY_OTHERS, TooLarge, permissions_of, read_bounded
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
        content = read_bounded(path, limit=PEM_LIMIT)
    except TooLarge as error:
        raise SpecError(error.strerror, place=str(path), hint="name a PEM file") from None
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="check path and permissions"
        ) from None
    return PemFile(place=str(path), content=SecretBytes(content))


def read_key(path: Path, printer: Printer) -> PemFile:
    """Return a key file's content, and say so when others can read it too."""
    found = read_pem(path)
    if permissions_of(path) & READABLE_BY_OTHERS:
        printer.say(f"! {path} can be read by others: `chmod 600 {path}`", "warn")
    return found
