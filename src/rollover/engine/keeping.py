"""What was brought is kept in the store: the way back, and another process, need it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from rollover.engine.credentials_port import Credentials
from rollover.errors import StoreError
from rollover.fleet.certificate import Certificate
from rollover.fleet.credential import CertificateVersion, Flags
from rollover.fleet.goal import Installation
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, short
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import read_certificates, write_certificates


class Keeping:
    """The certificates and keys that operators brought, by what they are."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def keep(
        self,
        certificates: Sequence[Certificate],
        *,
        key: SecretBytes | None = None,
        at: datetime,
    ) -> None:
        """Keep a bundle, or a chain with its key; the same again is kept once."""
        name = _name(each.fingerprint for each in certificates)
        kept = self._credentials.versions(name)
        if any(version.has_key or key is None for version in kept):
            return
        self._credentials.add(name, write_certificates(certificates), key=key, flags=Flags(), at=at)

    def keep_all(
        self,
        parts: Iterable[Installation],
        *,
        known: Mapping[Fingerprint, Certificate],
        at: datetime,
    ) -> None:
        """Keep every bundle that is installed, but for that of the system, which is no file."""
        for part in parts:
            if part.bundle and SYSTEM_ROOTS not in part.bundle:
                self.keep([known[ca] for ca in part.bundle], at=at)

    def certificates(self, parts: Iterable[Installation]) -> Iterator[Certificate]:
        """Yield every certificate that is kept of what is installed."""
        for part in parts:
            for several in (part.bundle, part.chain):
                for version in self._credentials.versions(_name(several)) if several else ():
                    yield from _read(version)

    def has_key(self, chain: Sequence[Fingerprint]) -> bool:
        """Say whether the key of a chain was kept."""
        return any(version.has_key for version in self._credentials.versions(_name(chain)))

    def key(self, chain: Sequence[Fingerprint]) -> SecretBytes:
        """Return the key of a chain; `StoreError` when it was not kept."""
        name = _name(chain)
        for version in self._credentials.versions(name):
            if version.has_key:
                return self._credentials.private_key(name, version.number)
        raise StoreError(
            f"the key of the certificate {short(chain[0])} is not in the store",
            hint="bring it: `rollover rotate --renew … --with CHAIN --with-key KEY`",
        )


def _read(version: CertificateVersion) -> Iterator[Certificate]:
    yield from read_certificates(version.chain, place=version.name).certificates


def _name(fingerprints: Iterable[Fingerprint]) -> str:
    digest = hashlib.sha256("".join(fingerprints).encode())
    return f"/given/{digest.hexdigest()[:32]}"
