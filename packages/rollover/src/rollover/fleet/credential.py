"""What a credential store holds: the versions of a certificate's name, and their flags."""

from __future__ import annotations

from datetime import datetime

import msgspec

from rollover.fleet.names import Fingerprint


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
