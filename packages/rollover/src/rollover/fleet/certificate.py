"""Certificates as the rest of Rollover sees them: parsed facts, questions about trust, verdicts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from rollover.fleet.names import Fingerprint

Chain = tuple[Fingerprint, ...]
"""What a TLS party sends: the leaf, then its intermediates. Empty: it presents nothing."""

Bundle = tuple[Fingerprint, ...]
"""The CA certificates that a TLS party accepts as anchors, in the order of its file."""


class Usage(StrEnum):
    """The role in which a chain is presented (RFC 5280 §4.2.1.12)."""

    SERVER = "server"
    CLIENT = "client"


class Stack(StrEnum):
    """The TLS implementation of a party; they judge some chains differently."""

    GO = "go"
    OPENSSL = "openssl"


class KeyKind(StrEnum):
    """The kinds of key that Rollover makes."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P256 = "p-256"
    P384 = "p-384"
    ED25519 = "ed25519"


class Certificate(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """One X.509 certificate: its facts, read once, and its DER.

    Two are the same when their fingerprints are. Times are aware and UTC. Names are in the form
    that a dialer would expect them: DNS names as written, IP addresses in canonical text.
    """

    fingerprint: Fingerprint
    subject: str
    """RFC 4514 text of the subject."""
    issuer_name: str
    serial: int
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    is_ca: bool = False
    self_signed: bool = False
    """Issuer equals subject and the signature verifies under its own key."""
    key: str = ""
    """`rsa-2048`, `p-256`, `ed25519` and so on; also kinds that Rollover does not make."""
    key_identity: str = ""
    """SHA-256 of the subject public key info, hexadecimal."""
    subject_key_id: str = ""
    authority_key_id: str = ""
    key_usages: tuple[str, ...] | None = None
    """None when the extension is absent."""
    extended_key_usages: tuple[str, ...] | None = None
    """`server_auth`, `client_auth`, `any` or a dotted OID; None when the extension is absent."""
    signature: str = ""
    """Name of the signature hash, lower case (`sha256`, `sha1`), empty for Ed25519."""
    der: bytes = b""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a dialer may expect of it."""
        return self.dns_names + self.ip_addresses


class FaultKind(StrEnum):
    """Why a chain is refused: one fact each."""

    NO_CERTIFICATE = "no-certificate"
    NO_PATH = "no-path"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    NAME = "name"
    USAGE = "usage"
    SIGNATURE = "signature"
    CONSTRAINT = "constraint"
    NOT_OFFERED = "not-offered"
    """A Go dialer sends no certificate when no issuer in its chain is on the advertised list."""
    MALFORMED = "malformed"
    WEAK = "weak"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a chain is refused, and the certificate that it lies in, if any."""

    kind: FaultKind
    detail: str
    certificate: Fingerprint | None = None


class Verdict(msgspec.Struct, frozen=True):
    """The answer to a `Question`: accepted when there is no fault."""

    faults: tuple[Fault, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the chain is accepted."""
        return not self.faults


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Would a party with this bundle accept this chain, at this instant, in this role?

    `stack` is the verifying party's; `presenter` that of the party which sends the chain, where
    that matters (a Go dialer chooses by the list that the acceptor advertises).
    """

    chain: Chain
    bundle: Bundle
    instant: datetime
    usage: Usage
    stack: Stack
    name: str | None = None
    presenter: Stack | None = None


class Accepts(Protocol):
    """Answers questions of trust. Pure: the same question has the same answer."""

    def __call__(self, question: Question) -> Verdict:
        """Return the verdict with every fault found, never only the first."""
        ...


# What a credential store holds: the versions of a certificate's name, and their flags.


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate version is used for (DESIGN.md §2; the words are CredHub's).

    `transitional`: trusted beside the active version, at most one version of a name.
    `signing`: leaves are issued from it, at most one version of a name, only on CAs.
    `generated`: made here, not brought in. `self_signed`: a root.
    """

    transitional: bool = False
    signing: bool = False
    generated: bool = False
    self_signed: bool = False


class CertificateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One issued certificate of a name, without its private key.

    `number` counts up from 1 within the name and is never given twice, also after a version was
    forgotten. `chain` is PEM: the certificate, then its intermediates. `fingerprint` is that of
    the first certificate.
    """

    name: str
    number: int
    chain: bytes
    fingerprint: Fingerprint
    certificate_authority: bool
    flags: Flags
    created_at: datetime
    has_key: bool


class FlagChange(msgspec.Struct, frozen=True, kw_only=True):
    """From which flags to which: it happens only when the version still has the expected ones."""

    number: int
    expected: Flags
    wanted: Flags
