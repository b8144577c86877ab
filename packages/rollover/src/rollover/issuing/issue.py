"""Issues one certificate for a role: from the names asked for to files on the disk."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.issuing import advice
from rollover.issuing.authority import LocalAuthority, authority_files, open_authority
from rollover.issuing.files import Pair, default_pair, write_pair
from rollover.issuing.roles import PROFILES, Role
from rollover.issuing.subject import Subject, subject
from rollover.pki import keys
from rollover.pki.issue import allowing_for_skew, issue_leaf
from rollover.pki.pem import write_certificates

DEFAULT_DAYS = 365


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants a certificate for. Files without a name get one in `directory`."""

    role: Role
    names: tuple[str, ...]
    user: str = ""
    authority: Path
    """The directory of the CA, made when it is missing."""
    directory: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    lifetime: timedelta = timedelta(days=DEFAULT_DAYS)
    key_kind: KeyKind = KeyKind.P256
    over: bool = False
    """Write over files that are there."""


class AuthorityFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The CA that signs here; never its key."""

    file: str
    subject: str
    fingerprint: Fingerprint
    not_after: datetime
    made: bool
    """It was made just now."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What was issued, where it is, and what to do with it. Holds no key."""

    role: Role
    names: tuple[str, ...]
    subject: str
    fingerprint: Fingerprint
    key_identity: str
    """SHA-256 of the SPKI: what `pinned_certs` of nats-server takes."""
    key_kind: str
    extended_key_usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    clipped: bool
    """It ends with its CA, sooner than asked for."""
    certificate_file: str
    key_file: str
    authority: AuthorityFacts
    nats_conf: str
    command: str
    """How the `nats` tool presents it; empty for roles of servers."""


def issue(order: Order, *, now: datetime) -> Issued:
    """Write a chain and its key for a role and return what they are.

    Nothing is written when the names are wrong; a CA that was made stays. Raises `SpecError` for
    what cannot be issued, files that are there already among it, and `Conflict` when another
    process holds the CA.
    """
    wanted = subject(order.role, names=order.names, user=order.user)
    authority = open_authority(order.authority, now=now)
    pair = _pair(order, wanted)
    _spare(authority_files(order.authority), pair)
    key = keys.generate(order.key_kind)
    leaf = issue_leaf(
        profile=PROFILES[order.role],
        common_name=wanted.common_name,
        organization=wanted.organization,
        names=wanted.names,
        key=key,
        authority=authority.certificate,
        authority_key=authority.key,
        not_before=allowing_for_skew(now, order.lifetime),
        lifetime=order.lifetime,
    )
    chain = write_certificates((leaf, *authority.intermediates))
    write_pair(pair, chain=chain, key=SecretBytes(keys.to_pem(key)), over=order.over)
    return _issued(order, leaf, authority=authority, pair=pair)


def _pair(order: Order, wanted: Subject) -> Pair:
    usual = default_pair(order.directory, order.role, wanted.names)
    certificate, key = order.certificate_file or usual.certificate, order.key_file or usual.key
    return Pair(certificate.absolute(), key.absolute())


def _spare(authority: Pair, pair: Pair) -> None:
    """Refuse to write over the CA, whatever was said: nothing would bring it back."""
    own = {os.path.realpath(path): path for path in authority}
    for path in pair:
        if os.path.realpath(path) in own:
            raise SpecError(
                "this file belongs to the CA itself",
                place=str(path),
                hint="name other files with `--cert-file` and `--key-file`",
            )


def _issued(order: Order, leaf: Certificate, *, authority: LocalAuthority, pair: Pair) -> Issued:
    material = advice.Material(pair, authority.file.absolute(), order.user)
    asked_until = leaf.not_before + order.lifetime
    return Issued(
        role=order.role,
        names=(*leaf.names, *leaf.emails, *leaf.uris),
        subject=leaf.subject,
        fingerprint=leaf.fingerprint,
        key_identity=leaf.key_identity,
        key_kind=leaf.key,
        extended_key_usages=leaf.extended_key_usages or (),
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        clipped=leaf.not_after < asked_until,
        certificate_file=str(pair.certificate),
        key_file=str(pair.key),
        authority=facts_of(authority),
        nats_conf=advice.nats_conf(order.role, material),
        command=advice.client_command(material) if order.role is Role.CLIENT else "",
    )


def facts_of(authority: LocalAuthority) -> AuthorityFacts:
    """Return what may be shown of a CA."""
    return AuthorityFacts(
        file=str(authority.file.absolute()),
        subject=authority.certificate.subject,
        fingerprint=authority.certificate.fingerprint,
        not_after=authority.certificate.not_after,
        made=authority.made,
    )
