"""What a change to the credential store comes to, the same for every store of credentials; pure.

The rules are CredHub's (at most one transitional version of a name) and those that make a plan able
to rely on the flags (what signs is a CA, has its key, and is the only one). Refusals are values as
long as only rules are asked, and become `StoreError` where a change is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from rollover.engine.ports import Addition
from rollover.errors import StaleError, StoreError
from rollover.fleet.certificate import CertificateVersion, FlagChange

LONGEST_NAME: Final = 1024


class ChangeRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a change is not made, and what to do instead."""

    message: str
    hint: str


def name_refusals(name: str) -> Iterator[ChangeRefusal]:
    """Refuse what is not a path of non-empty parts: `/demo/authorities/nats-ca`."""
    parts = name.split("/")
    well_formed = (
        len(name) <= LONGEST_NAME
        and len(parts) > 1
        and parts[0] == ""
        and all(parts[1:])
        and name.isprintable()
    )
    if not well_formed:
        yield ChangeRefusal(
            message=f"{name[:80]!r} is not a certificate name",
            hint="write it as a path, for instance `/demo/servers/n1/tls`",
        )


def versions_refusals(versions: Sequence[CertificateVersion]) -> Iterator[ChangeRefusal]:
    """Refuse versions of one name whose flags contradict each other or their certificates."""
    yield from _more_than_one(
        "transitional", (version for version in versions if version.flags.transitional)
    )
    yield from _more_than_one("signing", (version for version in versions if version.flags.signing))
    for version in versions:
        yield from _version_refusals(version)


def forgetting_refusals(version: CertificateVersion) -> Iterator[ChangeRefusal]:
    """Refuse to forget the version that leaves are issued from."""
    if version.flags.signing:
        yield ChangeRefusal(
            message=f"`{version.name}` version {version.number} is the signing one",
            hint="make another version the signing one first",
        )


def with_wanted_flags(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[CertificateVersion, ...]:
    """Return the versions with the wanted flags."""
    wanted = {change.number: change.wanted for change in changes}
    return tuple(
        msgspec.structs.replace(version, flags=wanted.get(version.number, version.flags))
        for version in versions
    )


def stale_changes(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[FlagChange, ...]:
    """Return the changes that expect other flags than a version has."""
    flags = {version.number: version.flags for version in versions}
    return tuple(change for change in changes if flags[change.number] != change.expected)


def missing_numbers(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[int, ...]:
    """Return the numbers that changes name and versions do not have."""
    known = {version.number for version in versions}
    return tuple(change.number for change in changes if change.number not in known)


def repeated_numbers(changes: Iterable[FlagChange]) -> tuple[int, ...]:
    """Return the numbers that more than one change names."""
    counted = Counter(change.number for change in changes)
    return tuple(number for number, times in counted.items() if times > 1)


def _more_than_one(flag: str, flagged: Iterable[CertificateVersion]) -> Iterator[ChangeRefusal]:
    found = sorted(flagged, key=lambda version: version.number)
    if len(found) > 1:
        numbers = ", ".join(str(version.number) for version in found)
        yield ChangeRefusal(
            message=f"`{found[0].name}` would have {len(found)} {flag} versions ({numbers}), "
            "at most 1 is allowed",
            hint=f"take the flag from version {found[0].number} in the same change",
        )


def _version_refusals(version: CertificateVersion) -> Iterator[ChangeRefusal]:
    place = f"`{version.name}` version {version.number}"
    if version.flags.signing and not version.certificate_authority:
        yield ChangeRefusal(
            message=f"{place} is not a CA and cannot be the signing one",
            hint="sign with a CA certificate (basic constraints CA:TRUE)",
        )
    if version.flags.signing and not version.has_key:
        yield ChangeRefusal(
            message=f"{place} has no private key here and cannot be the signing one",
            hint="store the version together with its key",
        )


def new_version(
    existing: Sequence[CertificateVersion], addition: Addition, *, number: int
) -> CertificateVersion:
    """Return the new version, or raise `StoreError` for what cannot be stored."""
    from rollover.store import contents  # noqa: PLC0415 -- 100 ms of import that reading never needs

    name, flags = addition.name, addition.flags
    _raise_first(name_refusals(name))
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
    _raise_first(versions_refusals((*existing, version)))
    return version


def flagged_versions(
    existing: Sequence[CertificateVersion], changes: tuple[FlagChange, ...], *, name: str
) -> tuple[CertificateVersion, ...]:
    """Return all versions after the changes, or raise `StoreError` or `StaleError`."""
    for number in missing_numbers(existing, changes):
        raise no_such_version(name, number)
    for number in repeated_numbers(changes):
        raise StoreError(
            f"`{name}` version {number} is changed twice in one call",
            hint="say each version once, with the flags that it shall end with",
        )
    for change in stale_changes(existing, changes):
        raise StaleError(
            f"`{name}` version {change.number} has other flags than expected: somebody changed "
            "them since they were read",
            hint="read the versions again and decide anew",
        )
    after = with_wanted_flags(existing, changes)
    _raise_first(versions_refusals(after))
    return after


def check_forgettable(version: CertificateVersion) -> None:
    """Raise `StoreError` when the version must stay."""
    _raise_first(forgetting_refusals(version))


def no_such_version(name: str, number: int) -> StoreError:
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


def _raise_first(refusals: Iterable[ChangeRefusal]) -> None:
    for refusal in refusals:
        raise StoreError(refusal.message, hint=refusal.hint)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise StoreError(
            f"the time `{at.isoformat()}` of a certificate version has no zone",
            hint="hand over an aware datetime, best in UTC",
        )
    return at.astimezone(UTC)
