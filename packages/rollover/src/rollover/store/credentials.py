"""The credential store: in an SQLite file, and in memory for plans that shall leave nothing behind.

Private keys are sealed before they reach the file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from rollover.engine.journal import instant_text
from rollover.engine.ports import NAMES_PAGE, Addition
from rollover.errors import StoreError
from rollover.fleet.certificate import CertificateVersion, FlagChange, Flags
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.store import credential_rules, sealing
from rollover.store.database import Database, open_database
from rollover.store.sealing import Sealed, SealingKeys


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
        raise credential_rules.no_such_version(name, number)

    def private_key(self, name: str, number: int) -> SecretBytes:
        """Return the PEM private key of one version."""
        self.version(name, number)
        if (name, number) not in self._keys:
            raise credential_rules.no_key(name, number)
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
                return tuple(self._add(addition) for addition in additions)
            except StoreError:
                self._versions, self._keys, self._last_numbers = before
                raise

    def _add(self, addition: Addition) -> CertificateVersion:
        name, existing = addition.name, self.versions(addition.name)
        number = self._last_numbers.get(name, 0) + 1
        version = credential_rules.new_version(existing, addition, number=number)
        self._versions[name] = (version, *existing)
        self._last_numbers[name] = number
        if addition.key is not None:
            self._keys[name, number] = addition.key
        return version

    def set_flags(self, name: str, changes: tuple[FlagChange, ...]) -> None:
        """Change the flags of some versions of a name together, or of none."""
        with self._lock:
            self._versions[name] = credential_rules.flagged_versions(
                self.versions(name), changes, name=name
            )

    def forget(self, name: str, number: int) -> None:
        """Remove a version and its key; idempotent."""
        with self._lock:
            kept = []
            for version in self.versions(name):
                if version.number == number:
                    credential_rules.check_forgettable(version)
                else:
                    kept.append(version)
            self._versions[name] = tuple(kept)
            self._keys.pop((name, number), None)


_SELECT: Final = """
SELECT name, number, chain, fingerprint, certificate_authority, transitional, signing, generated,
    self_signed, created_at,
    EXISTS (SELECT 1 FROM private_keys AS k WHERE k.name = v.name AND k.number = v.number)
FROM versions AS v
WHERE name = ?
"""

Row = tuple[str, int, bytes, str, int, int, int, int, int, str, int]


def open_credentials(path: Path, *, keys: SealingKeys) -> SqliteCredentials:
    """Open the store, made where it is missing; `StoreError` when the file cannot serve."""
    database = open_database(path, component="credentials", failure=StoreError)
    return SqliteCredentials(database, keys=keys)


class SqliteCredentials:
    """`Credentials` (rollover.engine.ports) in one file, plus `reseal` and `close`."""

    def __init__(self, database: Database, *, keys: SealingKeys) -> None:
        self._database = database
        self._keys = keys

    def names(
        self, prefix: str = "/", *, after: str = "", limit: int = NAMES_PAGE
    ) -> tuple[str, ...]:
        """Return the names that begin with `prefix`, sorted, the ones behind `after` only."""
        with self._database.reading() as connection:
            # Not LIKE: `_` and `%` are ordinary characters of a name.
            rows = connection.execute(
                "SELECT name FROM certificate_names AS n WHERE name >= ?1 AND name > ?2 "
                "AND substr(name, 1, length(?1)) = ?1 "
                "AND EXISTS (SELECT 1 FROM versions AS v WHERE v.name = n.name) "
                "ORDER BY name LIMIT ?3",
                (prefix, after, limit),
            ).fetchall()
        return tuple(name for (name,) in rows)

    def versions(self, name: str) -> tuple[CertificateVersion, ...]:
        """Return all versions of a name, the newest first."""
        with self._database.reading() as connection:
            return _versions(connection, name)

    def version(self, name: str, number: int) -> CertificateVersion:
        """Return one version; `StoreError` when there is none."""
        with self._database.reading() as connection:
            return _version(connection, name, number)

    def private_key(self, name: str, number: int) -> SecretBytes:
        """Return the PEM private key of one version."""
        with self._database.reading() as connection:
            _version(connection, name, number)
            row = connection.execute(
                "SELECT key_id, nonce, sealed FROM private_keys WHERE name = ? AND number = ?",
                (name, number),
            ).fetchone()
        if row is None:
            raise credential_rules.no_key(name, number)
        return sealing.unseal(self._keys, Sealed(*row), name=name, number=number)

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
        with self._database.writing() as connection:
            return tuple(self._add(connection, addition) for addition in additions)

    def _add(self, connection: sqlite3.Connection, addition: Addition) -> CertificateVersion:
        name = addition.name
        version = credential_rules.new_version(
            _versions(connection, name), addition, number=_last_number(connection, name) + 1
        )
        _insert(connection, version)
        if addition.key is not None:
            sealed = sealing.seal(self._keys, addition.key, name=name, number=version.number)
            _insert_key(connection, version, sealed)
        return version

    def set_flags(self, name: str, changes: tuple[FlagChange, ...]) -> None:
        """Change the flags of some versions of a name together, or of none."""
        with self._database.writing() as connection:
            after = credential_rules.flagged_versions(
                _versions(connection, name), changes, name=name
            )
            # First none, then those wanted: the database allows one of each at any moment.
            connection.execute(
                "UPDATE versions SET transitional = 0, signing = 0 WHERE name = ?", (name,)
            )
            connection.executemany(
                "UPDATE versions SET transitional = ?, signing = ?, generated = ?, "
                "self_signed = ? WHERE name = ? AND number = ?",
                [(*_flag_values(version.flags), name, version.number) for version in after],
            )

    def forget(self, name: str, number: int) -> None:
        """Remove a version and its key; idempotent."""
        with self._database.writing() as connection:
            for version in _versions(connection, name):
                if version.number == number:
                    credential_rules.check_forgettable(version)
            # Its key goes with it: the schema deletes in cascade.
            connection.execute("DELETE FROM versions WHERE name = ? AND number = ?", (name, number))

    def reseal(self) -> int:
        """Seal every private key with the current master key; return how many were changed.

        One transaction: after a crash all are as they were.
        """
        with self._database.writing() as connection:
            rows = connection.execute(
                "SELECT name, number, key_id, nonce, sealed FROM private_keys WHERE key_id <> ?",
                (self._keys.current.id,),
            ).fetchall()
            for name, number, *sealed in rows:
                secret = sealing.unseal(self._keys, Sealed(*sealed), name=name, number=number)
                fresh = sealing.seal(self._keys, secret, name=name, number=number)
                connection.execute(
                    "UPDATE private_keys SET key_id = ?, nonce = ?, sealed = ? "
                    "WHERE name = ? AND number = ?",
                    (*fresh, name, number),
                )
        return len(rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _versions(connection: sqlite3.Connection, name: str) -> tuple[CertificateVersion, ...]:
    rows = connection.execute(f"{_SELECT} ORDER BY number DESC", (name,)).fetchall()
    return tuple(_from_row(row) for row in rows)


def _version(connection: sqlite3.Connection, name: str, number: int) -> CertificateVersion:
    row = connection.execute(f"{_SELECT} AND number = ?", (name, number)).fetchone()
    if row is None:
        raise credential_rules.no_such_version(name, number)
    return _from_row(row)


def _from_row(row: Row) -> CertificateVersion:
    name, number, chain, fingerprint, authority, *flags, created_at, has_key = row
    transitional, signing, generated, self_signed = (bool(flag) for flag in flags)
    return CertificateVersion(
        name=name,
        number=number,
        chain=chain,
        fingerprint=Fingerprint(fingerprint),
        certificate_authority=bool(authority),
        flags=Flags(
            transitional=transitional,
            signing=signing,
            generated=generated,
            self_signed=self_signed,
        ),
        created_at=datetime.fromisoformat(str(created_at)),
        has_key=bool(has_key),
    )


def _last_number(connection: sqlite3.Connection, name: str) -> int:
    # Kept apart from the versions: a number is never used again, whatever was forgotten.
    row = connection.execute(
        "SELECT last_number FROM certificate_names WHERE name = ?", (name,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _insert(connection: sqlite3.Connection, version: CertificateVersion) -> None:
    connection.execute(
        "INSERT INTO certificate_names (name, last_number) VALUES (?1, ?2) "
        "ON CONFLICT (name) DO UPDATE SET last_number = ?2",
        (version.name, version.number),
    )
    connection.execute(
        "INSERT INTO versions (name, number, chain, fingerprint, certificate_authority, "
        "created_at, transitional, signing, generated, self_signed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            version.name,
            version.number,
            version.chain,
            version.fingerprint,
            version.certificate_authority,
            instant_text(version.created_at),
            *_flag_values(version.flags),
        ),
    )


def _insert_key(
    connection: sqlite3.Connection, version: CertificateVersion, sealed: Sealed
) -> None:
    connection.execute(
        "INSERT INTO private_keys (name, number, key_id, nonce, sealed) VALUES (?, ?, ?, ?, ?)",
        (version.name, version.number, *sealed),
    )


def _flag_values(flags: Flags) -> tuple[bool, bool, bool, bool]:
    return (flags.transitional, flags.signing, flags.generated, flags.self_signed)
