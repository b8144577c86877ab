"""The files of `issue`: where they are, read with a limit, and never written over by accident."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rollover import replacing
from rollover.errors import SpecError
from rollover.files import NotRegular, TooLarge, read_regular
from rollover.fleet.secret import SecretBytes
from rollover.issuing.roles import Role
from rollover.pki.pem import PEM_LIMIT

PUBLIC_FILE = 0o644
PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
LONGEST_STEM = 100
_UNFIT = re.compile(r"[^A-Za-z0-9._@+-]")


class Pair(NamedTuple):
    """Where a certificate and its private key go."""

    certificate: Path
    key: Path


def default_pair(directory: Path, role: Role, names: tuple[str, ...]) -> Pair:
    """Return `NAME[+N][-ROLE].pem` and `…-key.pem`, N the number of further names, as mkcert does.

    Server certificates have no role in their name.
    """
    stem = _UNFIT.sub("_", names[0].replace("*", "_wildcard"))[:LONGEST_STEM].lstrip(".-") or "_"
    more = f"+{len(names) - 1}" if len(names) > 1 else ""
    suffix = "" if role is Role.SERVER else f"-{role}"
    whole = f"{stem}{more}{suffix}"
    return Pair(directory / f"{whole}.pem", directory / f"{whole}-key.pem")


def read(path: Path) -> bytes:
    """Return the content of a regular file; `SpecError` for anything else. Never waits."""
    try:
        return read_regular(path, limit=PEM_LIMIT)
    except (NotRegular, TooLarge) as error:
        raise SpecError(error.strerror, place=str(path), hint="check the path") from None
    except OSError as error:
        raise unusable(path, error) from None


def write_pair(pair: Pair, *, chain: bytes, key: SecretBytes, over: bool) -> None:
    """Put both files in place: the key 0600, each whole or not at all, durable.

    Files that are there stay unless `over`. When the second cannot be written the first is as it
    was. `SpecError` says what stood in the way.
    """
    if os.path.realpath(pair.certificate) == os.path.realpath(pair.key):
        raise SpecError(
            "the same file for certificate and key",
            place=str(pair.key),
            hint="name two files: a certificate may be read by all, its key by nobody else",
        )
    with _kept(pair.key, over=over), _kept(pair.certificate, over=over):
        _replace(pair.key, key.reveal(), mode=PRIVATE_FILE)
        _replace(pair.certificate, chain, mode=PUBLIC_FILE)


@contextmanager
def _kept(path: Path, *, over: bool) -> Iterator[None]:
    """Reserve a path, and put back what was there (nothing, as a rule) when it goes wrong."""
    before = SecretBytes(read(path)) if over and path.exists() else None
    if before is None:
        _reserve(path)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if before is None:
                path.unlink()
            else:
                mode = stat.S_IMODE(path.stat().st_mode)
                replacing.replace(path, before.reveal(), mode=mode, durable=True)
        raise


def _reserve(path: Path) -> None:
    """Make an empty file, so that two calls at once cannot both take the name."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE))
    except FileExistsError:
        raise SpecError(
            "there is a file already",
            place=str(path),
            hint="name others with `--cert-file` and `--key-file`, or write over it with `--force`",
        ) from None
    except OSError as error:
        raise unusable(path, error) from None


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    try:
        replacing.replace(path, content, mode=mode, durable=True)
    except OSError as error:
        raise unusable(path, error) from None


def make_private_directory(directory: Path) -> None:
    """Make a directory and those around it, open to nobody else; existing ones stay as they are."""
    try:
        _make(directory)
    except OSError as error:
        raise unusable(directory, error) from None


def _make(directory: Path) -> None:
    if not directory.is_dir():
        if directory.parent != directory:
            _make(directory.parent)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)


def unusable(path: Path, error: OSError) -> SpecError:
    """Return what a person is told when the system refuses a file."""
    return SpecError(
        error.strerror or str(error), place=str(path), hint="check the path and its permissions"
    )
