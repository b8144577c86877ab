"""The versions of an authority: which there are, making the next, the bridge between two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from rollover.engine.ports import CredentialStore
from rollover.errors import StoreError
from rollover.fleet.certificate import Certificate, CertificateVersion, Flags, KeyKind
from rollover.fleet.description import FleetDescription
from rollover.fleet.fleet import Authority
from rollover.fleet.names import AuthorityName, Fingerprint, short
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLOCK_SKEW, allowing_for_skew, cross_sign, issue_authority
from rollover.pki.keys import PrivateKey, from_pem, generate, to_pem
from rollover.pki.pem import read_certificates, write_certificates

_GENERATION = re.compile(r"^(.*?)(\d+)$")
_COMMON_NAME = re.compile(r"(?:^|,)CN=((?:\\.|[^,])*)")
_ORGANIZATION = re.compile(r"(?:^|,)O=((?:\\.|[^,])*)")


class SigningAuthority(msgspec.Struct, frozen=True):
    """A CA certificate with the key that belongs to it."""

    certificate: Certificate
    key: PrivateKey


def store_name(authority: str) -> str:
    """Return the name that an authority's versions have in the credential store."""
    return f"/authorities/{authority}"


class Authorities:
    """All versions of the fleet's authorities: those described, and those in the store."""

    def __init__(self, credentials: CredentialStore, described: FleetDescription) -> None:
        self.credentials = credentials
        # Reading an RSA key tests its primes, a quarter of a second for the larger ones.
        self._signing: dict[Fingerprint, SigningAuthority] = {}
        self._described = {
            authority.name: authority.certificates for authority in described.authorities
        }

    def stored(self, name: AuthorityName) -> tuple[CertificateVersion, ...]:
        """Return the versions in the store, oldest first."""
        return tuple(reversed(self.credentials.versions(store_name(name))))

    def certificates(self, name: AuthorityName) -> tuple[Certificate, ...]:
        """Return the certificates of the versions in the store, oldest first."""
        return tuple(_first(version) for version in self.stored(name))

    def versions(self, name: AuthorityName) -> Authority:
        """Return the authority: versions described first, then those made or brought in here.

        A version keeps its number when its key is brought in later.
        """
        made = (version.fingerprint for version in self.stored(name))
        versions = tuple(dict.fromkeys((*self._described.get(name, ()), *made)))
        return Authority(name=name, versions=versions)

    def owner(self, fingerprint: Fingerprint) -> AuthorityName | None:
        """Return the authority that a certificate is a version of; None: of none."""
        return next(
            (authority.name for authority in self.all() if fingerprint in authority.versions),
            None,
        )

    def all(self) -> tuple[Authority, ...]:
        """Return every authority that is described or has versions in the store."""
        names = dict.fromkeys(self._described)
        for stored_name in self.credentials.names("/authorities/"):
            names.setdefault(AuthorityName(stored_name.removeprefix("/authorities/")))
        return tuple(self.versions(name) for name in names)

    def bring_in(
        self, name: AuthorityName, pem: bytes, key: SecretBytes | None, *, at: datetime
    ) -> CertificateVersion:
        """Keep a CA that was made elsewhere; the same one again is no new version."""
        first = read_certificates(pem, place=f"authority `{name}`").certificates[0]
        for version in self.stored(name):
            if version.fingerprint == first.fingerprint and (version.has_key or key is None):
                return version
        flags = Flags(self_signed=first.self_signed)
        return self.credentials.add(store_name(name), pem, key=key, flags=flags, at=at)

    def make_next(
        self, name: AuthorityName, like: Certificate, *, at: datetime, key_kind: KeyKind | None
    ) -> CertificateVersion:
        """Make a new CA of the kind, size and lifetime of the present one, under a name of its own.

        A CA of the same subject would be told apart by OpenSSL peers only through key
        identifiers, and by probes not at all; so the new one counts on: `… CA 1`, `… CA 2`.
        """
        key = generate(key_kind or successor_kind(like.key))
        lifetime = like.not_after - like.not_before
        taken = {_part(_COMMON_NAME, version.subject) for version in self.certificates(name)}
        made = issue_authority(
            common_name=next_name(like, at=at, taken=taken),
            organization=_part(_ORGANIZATION, like.subject),
            key=key,
            not_before=allowing_for_skew(at, lifetime),
            lifetime=lifetime,
        )
        return self.credentials.add(
            store_name(name),
            write_certificates((made,)),
            key=SecretBytes(to_pem(key)),
            flags=Flags(generated=True, self_signed=True),
            at=at,
        )

    def signing(self, name: AuthorityName, fingerprint: Fingerprint) -> SigningAuthority:
        """Return a version with its key; `StoreError` when the store has no key for it."""
        if fingerprint in self._signing:
            return self._signing[fingerprint]
        for version in self.stored(name):
            if version.fingerprint == fingerprint and version.has_key:
                sealed = self.credentials.private_key(version.name, version.number)
                found = SigningAuthority(_first(version), from_pem(sealed.reveal()))
                self._signing[fingerprint] = found
                return found
        raise StoreError(
            f"there is no key for version {short(fingerprint)} of `{name}`",
            hint=f"`rollover authority import {name} --certificate FILE --key FILE` brings it in",
        )

    def has_key(self, name: AuthorityName, fingerprint: Fingerprint) -> bool:
        """Whether leaves can be issued from a version."""
        return any(
            version.has_key and version.fingerprint == fingerprint for version in self.stored(name)
        )

    def bridge(
        self, name: AuthorityName, target: Fingerprint, by: Fingerprint, *, at: datetime
    ) -> Certificate:
        """Return the target's certificate as signed by the other version: made once, then kept."""
        place = f"{_bridges(name)}{short(target)}-by-{short(by)}"
        for version in self.credentials.versions(place):
            return _first(version)
        signed = cross_sign(
            self.signing(name, target).certificate,
            by=self.signing(name, by).certificate,
            by_key=self.signing(name, by).key,
            not_before=at - CLOCK_SKEW,
        )
        self.credentials.add(
            place, write_certificates((signed,)), key=None, flags=Flags(generated=True), at=at
        )
        return signed

    def kept_bridge(self, name: AuthorityName, fingerprint: Fingerprint) -> Certificate:
        """Return a bridge that was made; `StoreError` when it is not in the store any more."""
        for place in self.credentials.names(_bridges(name)):
            for version in self.credentials.versions(place):
                if version.fingerprint == fingerprint:
                    return _first(version)
        raise StoreError(
            f"the bridge {short(fingerprint)} of `{name}` is not in the store",
            hint="put back a backup of the store, or take the rotation back: `rollover rollback`",
        )


def _bridges(name: AuthorityName) -> str:
    return f"/bridges/{name}/"


def next_name(like: Certificate, *, at: datetime, taken: Iterable[str]) -> str:
    """Return a common name for the next version: the number at its end counts on."""
    present = _part(_COMMON_NAME, like.subject) or "CA"
    counted = _GENERATION.match(present)
    stem, number = (counted[1], int(counted[2])) if counted else (f"{present} ", 1)
    used = set(taken)
    for _ in range(len(used) + 2):
        number += 1
        if f"{stem}{number}" not in used:
            return f"{stem}{number}"
    return f"{stem}{at:%Y%m%d%H%M%S}"


def _part(pattern: re.Pattern[str], subject: str) -> str:
    found = pattern.search(subject)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def successor_kind(kind: str) -> KeyKind:
    """Return the kind of key to make in the place of one of a kind that we may not make."""
    return KeyKind(kind) if kind in set(KeyKind) else KeyKind.P256


def _first(version: CertificateVersion) -> Certificate:
    return read_certificates(version.chain, place=version.name).certificates[0]


def by_fingerprint(certificates: Iterable[Certificate]) -> Mapping[Fingerprint, Certificate]:
    """Return certificates by what they are."""
    return {certificate.fingerprint: certificate for certificate in certificates}
