"""What an inspection finds, and the bytes that it reads: within limits and without ever waiting."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from rollover.codec.strict_yaml import MOST_BYTES
from rollover.errors import RolloverError, SpecError
from rollover.files import NotRegular, TooLarge, read_regular
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.secret import redacted

# What was found: sources with their certificates and keys, and what could not be read.

BOTH_STACKS = (Stack.GO, Stack.OPENSSL)


class SourceKind(StrEnum):
    """What a source is."""

    PEM = "pem"
    DER = "der"
    PKCS7 = "pkcs7"
    PKCS12 = "pkcs12"
    YAML = "yaml"
    KUBERNETES = "kubernetes"
    NATS = "nats-tls-block"
    FLEET = "fleet-endpoint"
    PORT = "port"


class FoundCertificate(NamedTuple):
    """A certificate and where it stands: `file:line`, or `file:line:column: field`."""

    certificate: Certificate
    place: str


class FoundKey(msgspec.Struct, frozen=True, kw_only=True):
    """That a private key is there. The key itself is never kept."""

    place: str
    kind: str = ""
    key_identity: str = ""
    """SHA-256 of its SPKI, that of the certificates it belongs to; empty when it was not read."""
    problem: str = ""


class LivePort(msgspec.Struct, frozen=True, kw_only=True):
    """What a handshake with a port showed besides the chain."""

    port: str
    protocol: str
    cipher: str
    asks_for_certificate: bool
    advertised: tuple[str, ...] = ()
    """The subjects of the CAs that it accepts certificates of, in its order."""
    refused: str = ""
    """The alert with which it ended the connection, because we present nothing."""


class InspectedSource(msgspec.Struct, frozen=True, kw_only=True):
    """One file, block, object or port. Where a party presents a chain, `chain` is that."""

    name: str
    kind: SourceKind
    certificates: tuple[FoundCertificate, ...] = ()
    keys: tuple[FoundKey, ...] = ()
    remarks: tuple[str, ...] = ()
    chain: tuple[Certificate, ...] = ()
    trusts: tuple[Certificate, ...] = ()
    """The bundle that stands beside the chain; its peers trust the same, as a rule."""
    usages: tuple[Usage, ...] = ()
    """In which roles the chain is presented; empty: in those that its leaf allows."""
    stacks: tuple[Stack, ...] = BOTH_STACKS
    """Whose verdict counts."""
    expected_name: str | None = None
    live: LivePort | None = None


class InspectionProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be read. `transient`: it may be there the next time."""

    code: str
    message: str
    hint: str = ""
    transient: bool = False


Inspected = InspectedSource | InspectionProblem


def printable(text: str) -> str:
    """Return a text that can be encoded: names of files need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def problem_of(error: RolloverError, *, transient: bool = False) -> InspectionProblem:
    """Return an error as a value, so that the other targets are still read."""
    return InspectionProblem(
        code=error.code,
        message=redacted(printable(str(error))),
        hint=printable(error.hint),
        transient=transient,
    )


class InspectionDeadline:
    """How long everything together may take: what is not read by then is left out, and said so."""

    def __init__(self, most: timedelta) -> None:
        self._end = monotonic() + most.total_seconds()

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return monotonic() > self._end

    @property
    def seconds(self) -> float:
        """What is left, at least a little."""
        return max(0.1, self._end - monotonic())


# Bytes from files, directories and standard input, within limits and without ever waiting.

MOST_FILES = 20_000
MOST_DEPTH = 16
_CHUNK = 64 * 1024
_HINT = "check that this is a file of certificates"


def read_file(path: Path, *, place: str = "") -> bytes:
    """Return the content of a regular file; `SpecError` for pipes, devices and what is too large.

    `place` says where the file is named; by default it is the path itself.
    """
    where, named = (place, f"`{path}` ") if place else (str(path), "")
    try:
        return read_regular(path, limit=MOST_BYTES)
    except TooLarge as error:
        raise SpecError(f"{named}has {error.strerror}", place=where, hint=_HINT) from None
    except (NotRegular, IsADirectoryError):
        raise SpecError(
            f"{named}is not a regular file",
            place=where,
            hint="pipe its content into `-` when it is a pipe",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            f"{named}cannot be read: {reason}", place=where, hint="check path and permissions"
        ) from None


def read_stream(descriptor: int, *, deadline: InspectionDeadline) -> bytes:
    """Return everything up to the end of a stream; `SpecError` when it does not end in time."""
    data = bytearray()
    while len(data) <= MOST_BYTES:
        # A pipe that nobody writes to and nobody closes would hold us for ever.
        ready, _, _ = select.select([descriptor], [], [], deadline.seconds)
        if not ready or deadline.over:
            raise SpecError(
                "nothing more came, and no end", place="-", hint="end the input, or name a file"
            )
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return bytes(data)
        data += chunk
    raise SpecError(f"more than {MOST_BYTES:,} bytes", place="-", hint=_HINT)


def walk(directory: Path) -> Iterator[Path | SpecError]:
    """Yield the regular files below a directory in the order of their names, each once.

    Links to files are followed, those to directories are not, so that no loop can be entered.
    Directories named `..…` are left out: Kubernetes keeps the versions of a volume there. What
    cannot be listed, and where a limit ends the walk, is yielded as an error.
    """
    seen: set[tuple[int, int]] = set()  # by device and inode: two links may lead to one file
    waiting = [(directory, 0)]
    while waiting:
        current, depth = waiting.pop()
        try:
            with os.scandir(current) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield SpecError(
                f"cannot be listed: {error.strerror}", place=str(current), hint="check permissions"
            )
            continue
        below = [Path(entry.path) for entry in listed if _is_directory(entry)]
        if below and depth >= MOST_DEPTH:
            yield SpecError(
                f"more than {MOST_DEPTH} directories inside each other",
                place=str(current),
                hint="inspect the inner one by itself",
            )
        else:
            waiting += [(path, depth + 1) for path in reversed(below)]
        for entry in listed:
            identity = _regular(entry)
            if identity is None or identity in seen:
                continue
            if len(seen) >= MOST_FILES:
                yield SpecError(
                    f"more than {MOST_FILES:,} files",
                    place=str(directory),
                    hint="inspect its directories one by one",
                )
                return
            seen.add(identity)
            yield Path(entry.path)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and not entry.name.startswith("..")
    except OSError:
        return False


def _regular(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Return which file an entry leads to, None when it is none (a broken or circular link too)."""
    with suppress(OSError):
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_dev, status.st_ino
    return None
