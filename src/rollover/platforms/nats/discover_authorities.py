"""The CAs that a discovered fleet presents certificates of, named after their subjects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rollover.errors import PemError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import AuthorityDescription, GroupDescription
from rollover.fleet.names import AuthorityName
from rollover.pki.pem import loaded_by_go
from rollover.platforms.nats.places import public_paths

LARGEST_FILE = 1024 * 1024
_COMMON_NAME = re.compile(r"(?:^|,)CN=([^,]+)")
_GENERATION = re.compile(r"[\s._-]*v?\d+$", re.IGNORECASE)
"""`Demo CA 1` and `Demo CA 2` are versions of one authority."""
_ODD = re.compile(r"[^a-z0-9]+")


def authorities(groups: Sequence[GroupDescription]) -> Iterator[AuthorityDescription]:
    """Yield the authorities whose certificates stand in the files, oldest version first."""
    versions: dict[AuthorityName, list[Certificate]] = {}
    found = sorted(set(_authorities_on_disk(groups)), key=lambda one: one.not_before)
    for certificate in found:
        versions.setdefault(_name(certificate), []).append(certificate)
    for name, certificates in sorted(versions.items()):
        yield AuthorityDescription(
            name=name, certificates=tuple(one.fingerprint for one in certificates)
        )


def _authorities_on_disk(groups: Sequence[GroupDescription]) -> Iterator[Certificate]:
    paths = {path for group in groups for each in group.instances for path in public_paths(each)}
    for path in sorted(paths):
        for certificate in _certificates(Path(path)):
            if certificate.is_ca and certificate.self_signed:
                yield certificate


def _certificates(path: Path) -> tuple[Certificate, ...]:
    try:
        return loaded_by_go(read_start(path, size=LARGEST_FILE))
    except (OSError, PemError):
        # They are told when the fleet is observed, with their instance.
        return ()


def _name(certificate: Certificate) -> AuthorityName:
    common = _COMMON_NAME.search(certificate.subject)
    text = _GENERATION.sub("", common.group(1) if common else certificate.subject)
    return AuthorityName(_ODD.sub("-", text.lower()).strip("-") or "ca")
