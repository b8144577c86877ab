"""The credential store in memory, for plans that shall leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

from rollover.engine.credentials_port import NAMES_PAGE, Addition
from rollover.errors import StoreError
from rollover.fleet.credential import CertificateVersion, FlagChange, Flags
from rollover.fleet.secret import SecretBytes
from rollover.store import changes as decisions


class MemoryCredentials:
    """`Credentials` that last as long as the process.

    The reference that the contract suite of credential stores starts from, too.
    """

    def __init__(self) -> None:
        self._versions: dict[str, tuple[CertificateVersion, ...]] = {}
        self._keys: dict[tuple[str, int], SecretBytes] = {}
        self._last_numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def names(
        self, prefix: str = "/", *, after: str = "", limit: int = NAMES_PAGE
    ) -> tuple[str, ...]:
        """Return the names that begin with `prefix`, sorted, the ones behind `after` only."""
        chosen = sorted(
            name for name, versions in self._versions.items() if versions and name > after
        )
        return tuple(name for name in chosen if name.startswith(prefix))[:limit]

    def versions(self, name: str) -> tuple[CertificateVersion, ...]:
        """Return all versions of a name, the newest first."""
        return self._versions.get(name, ())

    def version(self, name: str, number: int) -> CertificateVersion:
        """Return one version."""
        for version in self.versions(name):
            if version.number == number:
                return version
        raise decisions.no_version(name, number)

    def private_key(self, name: str, number: int) -> SecretBytes:
        """Return the PEM private key of one version."""
        self.version(name, number)
        if (name, number) not in self._keys:
            raise decisions.no_key(name, number)
        return self._keys[name, number]

    def add(
        self,
        name: str,
        chain: bytes,
        *,
        key: SecretBytes | None,
        flags: Flags,
        at: datetime,
    ) -> CertificateVersion:
        """Add a version with the next number."""
        addition = Addition(name=name, chain=chain, key=key, flags=flags, at=at)
        return self.add_many((addition,))[0]

    def add_many(self, additions: Sequence[Addition]) -> tuple[CertificateVersion, ...]:
        """Add versions in their order, all of them or none."""
        with self._lock:
            before = dict(self._versions), dict(self._keys), dict(self._last_numbers)
            try:
                return tuple(self._add(each) for each in additions)
            except StoreError:
                self._versions, self._keys, self._last_numbers = before
                raise

    def _add(self, addition: Addition) -> CertificateVersion:
        name, existing = addition.name, self.versions(addition.name)
        number = self._last_numbers.get(name, 0) + 1
        version = decisions.added(existing, addition, number=number)
        self._versions[name] = (version, *existing)
        self._last_numbers[name] = number
        if addition.key is not None:
            self._keys[name, number] = addition.key
        return version

    def set_flags(self, name: str, changes: tuple[FlagChange, ...]) -> None:
        """Change the flags of some versions of a name together, or of none."""
        with self._lock:
            self._versions[name] = decisions.flagged(self.versions(name), changes, name=name)

    def forget(self, name: str, number: int) -> None:
        """Remove a version and its key; idempotent."""
        with self._lock:
            kept = []
            for version in self.versions(name):
                if version.number == number:
                    decisions.check_forgettable(version)
                else:
                    kept.append(version)
            self._versions[name] = tuple(kept)
            self._keys.pop((name, number), None)
