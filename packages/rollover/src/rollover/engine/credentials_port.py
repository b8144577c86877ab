"""What the engine needs of a credential store: versions of certificates, their flags and keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from rollover.fleet.credential import CertificateVersion, FlagChange, Flags
from rollover.fleet.secret import SecretBytes

NAMES_PAGE = 1000
"""Names that one call returns unless told otherwise."""


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is to be added: what `CredentialWriter.add` takes."""

    name: str
    chain: bytes
    key: SecretBytes | None
    flags: Flags
    at: datetime


class CredentialReader(Protocol):
    """Reads certificate versions. Safe from several threads; failures raise `StoreError`."""

    def names(
        self, prefix: str = "/", *, after: str = "", limit: int = NAMES_PAGE
    ) -> tuple[str, ...]:
        """Return the names that begin with `prefix`, sorted, the ones behind `after` only."""
        ...

    def versions(self, name: str) -> tuple[CertificateVersion, ...]:
        """Return all versions of a name, the newest first; empty when there is no such name."""
        ...

    def version(self, name: str, number: int) -> CertificateVersion:
        """Return one version; `StoreError` when there is none."""
        ...

    def private_key(self, name: str, number: int) -> SecretBytes:
        """Return the PEM private key of one version.

        Raises `StoreError` when the version is not there or was stored without a key, when the
        sealing key is not known, and when what is stored was changed or moved.
        """
        ...


class CredentialWriter(Protocol):
    """Changes certificate versions; each call is all or nothing and durable when it returns."""

    def add(
        self,
        name: str,
        chain: bytes,
        *,
        key: SecretBytes | None,
        flags: Flags,
        at: datetime,
    ) -> CertificateVersion:
        """Add a version with the next number. Not idempotent: each call adds one.

        `chain` is PEM, the certificate first, then its intermediates; `key` is PEM. Raises
        `StoreError` when the chain or key cannot be read, when they do not belong together, and
        when the flags break a rule (a second transitional version, signing on a leaf).
        """
        ...

    def add_many(self, additions: Sequence[Addition]) -> tuple[CertificateVersion, ...]:
        """Add versions in their order, all of them or none: one durable change, not many.

        Raises what `add` raises for the first that cannot be added.
        """
        ...

    def set_flags(self, name: str, changes: tuple[FlagChange, ...]) -> None:
        """Change the flags of some versions of a name together, or of none.

        Compare and swap: raises `StaleError` when a version has other flags than expected, and
        `StoreError` when there is no such version or the result breaks a rule. So a flag moves
        from one version to another in one call, without a moment in between.
        """
        ...

    def forget(self, name: str, number: int) -> None:
        """Remove a version and its key; idempotent. `StoreError` when it is the signing one."""
        ...


class Credentials(CredentialReader, CredentialWriter, Protocol):
    """The whole credential store."""
