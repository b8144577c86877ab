"""The rules of certificate names and flags, pure: refusals are values.

They are CredHub's (at most one transitional version of a name) and those that make a plan able to
rely on the flags (what signs is a CA, has its key, and is the only one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from rollover.fleet.credential import CertificateVersion, FlagChange

LONGEST_NAME: Final = 1024


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a change is not made, and what to do instead."""

    message: str
    hint: str


def of_name(name: str) -> Iterator[Refusal]:
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
        yield Refusal(
            message=f"{name[:80]!r} is not a certificate name",
            hint="write it as a path, for instance `/demo/servers/n1/tls`",
        )


def of_versions(versions: Sequence[CertificateVersion]) -> Iterator[Refusal]:
    """Refuse versions of one name whose flags contradict each other or their certificates."""
    yield from _more_than_one(
        "transitional", (version for version in versions if version.flags.transitional)
    )
    yield from _more_than_one("signing", (version for version in versions if version.flags.signing))
    for version in versions:
        yield from _of_version(version)


def of_forgetting(version: CertificateVersion) -> Iterator[Refusal]:
    """Refuse to forget the version that leaves are issued from."""
    if version.flags.signing:
        yield Refusal(
            message=f"`{version.name}` version {version.number} is the signing one",
            hint="make another version the signing one first",
        )


def changed(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[CertificateVersion, ...]:
    """Return the versions with the wanted flags."""
    wanted = {change.number: change.wanted for change in changes}
    return tuple(
        msgspec.structs.replace(version, flags=wanted.get(version.number, version.flags))
        for version in versions
    )


def stale(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[FlagChange, ...]:
    """Return the changes that expect other flags than a version has."""
    flags = {version.number: version.flags for version in versions}
    return tuple(change for change in changes if flags[change.number] != change.expected)


def missing(
    versions: Iterable[CertificateVersion], changes: Iterable[FlagChange]
) -> tuple[int, ...]:
    """Return the numbers that changes name and versions do not have."""
    known = {version.number for version in versions}
    return tuple(change.number for change in changes if change.number not in known)


def repeated(changes: Iterable[FlagChange]) -> tuple[int, ...]:
    """Return the numbers that more than one change names."""
    counted = Counter(change.number for change in changes)
    return tuple(number for number, times in counted.items() if times > 1)


def _more_than_one(flag: str, flagged: Iterable[CertificateVersion]) -> Iterator[Refusal]:
    found = sorted(flagged, key=lambda version: version.number)
    if len(found) > 1:
        numbers = ", ".join(str(version.number) for version in found)
        yield Refusal(
            message=f"`{found[0].name}` would have {len(found)} {flag} versions ({numbers}), "
            "at most 1 is allowed",
            hint=f"take the flag from version {found[0].number} in the same change",
        )


def _of_version(version: CertificateVersion) -> Iterator[Refusal]:
    place = f"`{version.name}` version {version.number}"
    if version.flags.signing and not version.certificate_authority:
        yield Refusal(
            message=f"{place} is not a CA and cannot be the signing one",
            hint="sign with a CA certificate (basic constraints CA:TRUE)",
        )
    if version.flags.signing and not version.has_key:
        yield Refusal(
            message=f"{place} has no private key here and cannot be the signing one",
            hint="store the version together with its key",
        )
