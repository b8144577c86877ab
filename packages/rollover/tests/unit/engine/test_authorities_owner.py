"""Whose a CA certificate is, and which number it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollover.engine.authorities import Authorities
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.description import AuthorityDescription, FleetDescription
from rollover.fleet.names import AuthorityName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import issue_authority
from rollover.pki.keys import PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.store.credentials import MemoryCredentials

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAME = AuthorityName("nats-ca")


def an_authority(name: str) -> tuple[Certificate, PrivateKey]:
    """A CA of its own."""
    key = generate(KeyKind.P256)
    lifetime = timedelta(days=90)
    return issue_authority(common_name=name, key=key, not_before=NOW, lifetime=lifetime), key


def described(*versions: Certificate) -> FleetDescription:
    """A fleet that was described with these versions of its one authority."""
    fingerprints = tuple(version.fingerprint for version in versions)
    authority = AuthorityDescription(name=NAME, certificates=fingerprints)
    return FleetDescription(version=1, name="test", groups=(), authorities=(authority,))


def test_a_version_keeps_its_number_when_its_key_is_brought_in_later() -> None:
    """The CA in use stays number one, also after the next one was made."""
    (old, old_key), (new, new_key) = an_authority("CA 1"), an_authority("CA 2")
    known = Authorities(MemoryCredentials(), described(old))
    for certificate, key in ((new, new_key), (old, old_key)):
        known.bring_in(NAME, write_certificates((certificate,)), SecretBytes(to_pem(key)), at=NOW)
    assert known.versions(NAME).versions == (old.fingerprint, new.fingerprint)


def test_a_described_certificate_belongs_to_its_authority_only() -> None:
    """A CA under a second name would make every command ask which one is meant."""
    (old, _), (stranger, _) = an_authority("CA 1"), an_authority("CA 9")
    known = Authorities(MemoryCredentials(), described(old))
    assert known.owner(old.fingerprint) == NAME
    assert known.owner(stranger.fingerprint) is None
