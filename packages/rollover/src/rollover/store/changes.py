"""What a change to the credential store comes to, decided the same way for every implementation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rollover.engine.credentials_port import Addition
from rollover.errors import StaleError, StoreError
from rollover.fleet.credential import CertificateVersion, FlagChange
from rollover.store import rules


def added(
    existing: Sequence[CertificateVersion], addition: Addition, *, number: int
) -> CertificateVersion:
    """Return the new version, or raise `StoreError` for what cannot be stored."""
    from rollover.store import contents  # noqa: PLC0415 -- 100 ms of import that reading never needs

    name, flags = addition.name, addition.flags
    _raise_first(rules.of_name(name))
    facts = contents.read(name, addition.chain, key=addition.key)
    if flags.self_signed and not facts.self_issued:
        raise StoreError(
            f"`{name}` is marked self-signed, but another issuer signed it",
            hint="leave the flag out",
        )
    version = CertificateVersion(
        name=name,
        number=number,
        chain=bytes(addition.chain),
        fingerprint=facts.fingerprint,
        certificate_authority=facts.certificate_authority,
        flags=flags,
        created_at=_utc(addition.at),
        has_key=addition.key is not None,
    )
    _raise_first(rules.of_versions((*existing, version)))
    return version


def flagged(
    existing: Sequence[CertificateVersion], changes: tuple[FlagChange, ...], *, name: str
) -> tuple[CertificateVersion, ...]:
    """Return all versions after the changes, or raise `StoreError` or `StaleError`."""
    for number in rules.missing(existing, changes):
        raise no_version(name, number)
    for number in rules.repeated(changes):
        raise StoreError(
            f"`{name}` version {number} is changed twice in one call",
            hint="say each version once, with the flags that it shall end with",
        )
    for change in rules.stale(existing, changes):
        raise StaleError(
            f"`{name}` version {change.number} has other flags than expected: somebody changed "
            "them since they were read",
            hint="read the versions again and decide anew",
        )
    after = rules.changed(existing, changes)
    _raise_first(rules.of_versions(after))
    return after


def check_forgettable(version: CertificateVersion) -> None:
    """Raise `StoreError` when the version must stay."""
    _raise_first(rules.of_forgetting(version))


def no_version(name: str, number: int) -> StoreError:
    """Return the error for a version that is not there."""
    return StoreError(
        f"there is no version {number} of `{name}`", hint="list the versions of the name"
    )


def no_key(name: str, number: int) -> StoreError:
    """Return the error for a version without a key."""
    return StoreError(
        f"`{name}` version {number} was stored without a private key",
        hint="store a version together with its key",
    )


def _raise_first(refusals: Iterable[rules.Refusal]) -> None:
    for refusal in refusals:
        raise StoreError(refusal.message, hint=refusal.hint)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise StoreError(
            f"the time `{at.isoformat()}` of a certificate version has no zone",
            hint="hand over an aware datetime, best in UTC",
        )
    return at.astimezone(UTC)
