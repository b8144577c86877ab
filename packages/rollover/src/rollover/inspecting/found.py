"""What was found: sources with their certificates and keys, and what could not be read."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import NamedTuple

import msgspec

from rollover.errors import RolloverError
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.secret import redacted

BOTH_STACKS = (Stack.GO, Stack.OPENSSL)


class Kind(StrEnum):
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


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a handshake with a port showed besides the chain."""

    port: str
    protocol: str
    cipher: str
    asks_for_certificate: bool
    advertised: tuple[str, ...] = ()
    """The subjects of the CAs that it accepts certificates of, in its order."""
    refused: str = ""
    """The alert with which it ended the connection, because we present nothing."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One file, block, object or port. Where a party presents a chain, `chain` is that."""

    name: str
    kind: Kind
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
    live: Live | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be read. `transient`: it may be there the next time."""

    code: str
    message: str
    hint: str = ""
    transient: bool = False


Finding = Source | Problem


def writable(text: str) -> str:
    """Return a text that can be encoded: names of files need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def problem(error: RolloverError, *, transient: bool = False) -> Problem:
    """Return an error as a value, so that the other targets are still read."""
    return Problem(
        code=error.code,
        message=redacted(writable(str(error))),
        hint=writable(error.hint),
        transient=transient,
    )


class Patience:
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
