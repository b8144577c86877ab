"""Issued certificates say what their profile says, last as long as asked, and never longer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509

from rigs.pki_forge import CA, DAY, LEAF, NOW, Forged, forge, rsa_key
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.pki.issue import (
    CLOCK_SKEW,
    PROFILES,
    issue_authority,
    issue_leaf,
    new_serial,
    reissue_like,
    validity_within,
)
from rollover.pki.keys import PrivateKey, generate
from rollover.pki.names import NameForm, SubjectName

KEY = generate(KeyKind.P256)
YEAR = timedelta(days=365)
AUTHORITY = issue_authority(common_name="CA", key=KEY, not_before=NOW, lifetime=YEAR)


def _leaf(profile: str = "client", **changes: object) -> Certificate:
    arguments: dict[str, object] = {
        "profile": PROFILES[profile],
        "common_name": "node",
        "names": ["localhost"],
        "key": generate(KeyKind.P256),
        "authority": AUTHORITY,
        "authority_key": KEY,
        "not_before": NOW,
        "lifetime": 30 * DAY,
    }
    return issue_leaf(**(arguments | changes))  # type: ignore[arg-type]  # a test's defaults


def _critical(certificate: Certificate) -> dict[str, bool]:
    parsed = x509.load_der_x509_certificate(certificate.der)
    return {type(found.value).__name__: found.critical for found in parsed.extensions}


def test_an_authority_is_a_root_by_the_book() -> None:
    """Critical basic constraints and key usage, both key identifiers, no EKU."""
    assert AUTHORITY.is_ca
    assert AUTHORITY.self_signed
    assert AUTHORITY.key_usages == ("key_cert_sign", "crl_sign")
    assert AUTHORITY.extended_key_usages is None
    assert AUTHORITY.subject_key_id == AUTHORITY.authority_key_id != ""
    critical = _critical(AUTHORITY)
    assert critical["BasicConstraints"]
    assert critical["KeyUsage"]
    assert not critical["SubjectKeyIdentifier"]


@pytest.mark.parametrize(
    ("profile", "usages"),
    [
        ("server", ("server_auth",)),
        ("route", ("server_auth", "client_auth")),
        ("gateway", ("server_auth", "client_auth")),
        ("leaf-node", ("server_auth", "client_auth")),
        ("client", ("client_auth",)),
        ("monitoring", ("server_auth",)),
    ],
)
def test_a_leaf_has_the_usages_of_its_profile(profile: str, usages: tuple[str, ...]) -> None:
    """Who dials and accepts with one certificate has both usages."""
    leaf = _leaf(profile)
    assert leaf.extended_key_usages == usages
    assert leaf.key_usages == ("digital_signature",)
    assert not leaf.is_ca
    assert leaf.authority_key_id == AUTHORITY.subject_key_id
    assert leaf.subject_key_id


def test_rsa_servers_may_also_transport_keys() -> None:
    """TLS 1.2 without forward secrecy needs key encipherment, for RSA only."""
    leaf = _leaf("server", key=PrivateKey(rsa_key(2048, "leaf")))
    assert leaf.key_usages == ("digital_signature", "key_encipherment")


def test_names_are_recognised_by_their_form() -> None:
    """DNS, IP, e-mail and URI in one list, in its order; a form can also be said."""
    names = [
        "*.example.com",
        "::1",
        "10.0.0.1",
        "ops@example.com",
        "spiffe://example.com/node",
        "nats_client",
        SubjectName("urn:nats:1", NameForm.URI),
        SubjectName("1.2.3.4.5", NameForm.DNS),
    ]
    leaf = _leaf(names=names)
    assert leaf.dns_names == ("*.example.com", "nats_client", "1.2.3.4.5")
    assert leaf.ip_addresses == ("::1", "10.0.0.1")
    assert leaf.emails == ("ops@example.com",)
    assert leaf.uris == ("spiffe://example.com/node", "urn:nats:1")


@pytest.mark.parametrize(
    "name", ["", "a..b", "höst", "host:4222", "a b", "-a", "a.*.b", "x" * 64, "@example.com"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """The message quotes the name."""
    with pytest.raises(SpecError, match=r"is no (dns|email) name"):
        _leaf(names=[name])


def test_nothing_is_back_dated() -> None:
    """The validity begins at the given instant, whole seconds, and lasts as long as asked."""
    moment = (NOW + timedelta(microseconds=999_999)).astimezone(timezone(timedelta(hours=5)))
    leaf = _leaf(not_before=moment)
    assert (leaf.not_before, leaf.not_after) == (NOW, NOW + 30 * DAY)
    assert _leaf(not_before=NOW - CLOCK_SKEW).not_before == NOW - timedelta(minutes=5)


def test_an_instant_without_time_zone_is_refused() -> None:
    """Local time would be a guess."""
    with pytest.raises(SpecError, match="no time zone"):
        _leaf(not_before=datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_a_leaf_is_clipped_to_its_authority() -> None:
    """It ends when the authority does, and the validity says that it was clipped."""
    assert _leaf(lifetime=9 * YEAR).not_after == AUTHORITY.not_after
    validity = validity_within(AUTHORITY, not_before=NOW, lifetime=9 * YEAR)
    assert validity == (NOW, AUTHORITY.not_after, True)
    assert not validity_within(AUTHORITY, not_before=NOW, lifetime=DAY).clipped


@pytest.mark.parametrize(
    ("not_before", "lifetime"), [(NOW + YEAR, DAY), (NOW, timedelta(0)), (NOW, -DAY)]
)
def test_an_empty_validity_is_refused(not_before: datetime, lifetime: timedelta) -> None:
    """An authority that is over issues nothing."""
    with pytest.raises(SpecError, match="no lifetime is left"):
        _leaf(not_before=not_before, lifetime=lifetime)


def test_a_key_that_is_not_the_authoritys_is_refused() -> None:
    """Both identities are named."""
    with pytest.raises(SpecError, match="does not belong to the authority `CN=CA`"):
        _leaf(authority_key=generate(KeyKind.P256))


def test_a_leaf_cannot_issue() -> None:
    """Only a CA certificate signs."""
    with pytest.raises(SpecError, match="is no CA"):
        _leaf(authority=_leaf())


@pytest.mark.parametrize(
    ("kind", "signature"),
    [(KeyKind.P256, "sha256"), (KeyKind.P384, "sha384"), (KeyKind.ED25519, "")],
)
def test_the_hash_fits_the_key(kind: KeyKind, signature: str) -> None:
    """ECDSA hashes are as strong as their curve; Ed25519 has its own."""
    key = generate(kind)
    authority = issue_authority(common_name="x", key=key, not_before=NOW, lifetime=YEAR)
    assert _leaf(authority=authority, authority_key=key).signature == signature


def test_serials_are_random_positive_and_short_enough() -> None:
    """At least 127 random bits, at most 20 octets with the sign."""
    serials = {new_serial() for _ in range(200)}
    assert len(serials) == 200
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials).bit_length() > 150


def test_a_public_key_is_enough() -> None:
    """The leaf's owner may keep the private key."""
    key = generate(KeyKind.P256)
    assert _leaf(key=key.spki).key_identity == key.key_identity
    with pytest.raises(SpecError, match="public key cannot be read"):
        _leaf(key=b"junk")


def test_a_common_name_has_a_limit() -> None:
    """64 characters (RFC 5280); longer names belong among the SANs."""
    with pytest.raises(SpecError, match="has 65 characters, at most 64"):
        _leaf(common_name="x" * 65)


def test_the_limit_of_a_common_name_is_one_of_bytes() -> None:
    """40 letters that take two bytes each are too many, and are told as bytes."""
    with pytest.raises(SpecError, match="has 80 bytes, at most 64"):
        _leaf(common_name="ü" * 40)


def _odd_original() -> Forged:
    """A leaf with unusual content: name encodings, criticality, other names, a policy."""
    names = (
        x509.UniformResourceIdentifier("nats://b"),
        x509.DNSName("b"),
        x509.DirectoryName(x509.Name([])),
        x509.DNSName("a"),
    )
    policy = x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]
    )
    points = x509.CRLDistributionPoints(
        [
            x509.DistributionPoint(
                [x509.UniformResourceIdentifier("http://old/crl")], None, None, None
            )
        ]
    )
    extra = ((policy, True), (points, False), (x509.SubjectAlternativeName(names), True))
    return forge("ödd", LEAF._replace(names=(), extra=extra, days=(0, 77)), by=forge("x", CA))


def test_reissue_keeps_the_content() -> None:
    """Subject octets, SANs in order with their criticality, usages, policies and lifetime stay."""
    old = _odd_original().certificate
    key = generate(KeyKind.P384)
    new = reissue_like(old, key=key, authority=AUTHORITY, authority_key=KEY, not_before=NOW)
    before, after = (x509.load_der_x509_certificate(one.der) for one in (old, new))
    assert after.subject.public_bytes() == before.subject.public_bytes()
    for kind in (
        x509.SubjectAlternativeName,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.CertificatePolicies,
    ):
        assert after.extensions.get_extension_for_class(kind) == (
            before.extensions.get_extension_for_class(kind)
        )
    assert new.not_after - new.not_before == old.not_after - old.not_before == 77 * DAY
    assert new.key_identity == key.key_identity


def test_reissue_drops_what_speaks_of_the_old_issuer() -> None:
    """Key identifiers are made anew, CRL distribution points left out."""
    old = _odd_original().certificate
    new = reissue_like(old, key=KEY, authority=AUTHORITY, authority_key=KEY, not_before=NOW)
    assert new.authority_key_id == AUTHORITY.subject_key_id != old.authority_key_id
    assert new.subject_key_id not in ("", old.subject_key_id)
    assert new.serial != old.serial
    assert "CRLDistributionPoints" not in _critical(new)


def test_reissue_gives_another_lifetime_when_asked() -> None:
    """And clips it to the authority."""
    old = _leaf()
    new = reissue_like(
        old, key=KEY, authority=AUTHORITY, authority_key=KEY, not_before=NOW, lifetime=9 * YEAR
    )
    assert new.not_after == AUTHORITY.not_after


def test_reissue_gives_key_ids_where_there_were_none() -> None:
    """An authority without SKI still gets an AKI on its leaves: the hash of its key."""
    mute = forge("mute", CA._replace(subject_key_id=False))
    old = forge("leaf", LEAF._replace(subject_key_id=False, authority_key_id=False), by=mute)
    key = PrivateKey(mute.key)
    new = reissue_like(
        old.certificate, key=KEY, authority=mute.certificate, authority_key=key, not_before=NOW
    )
    digest = x509.SubjectKeyIdentifier.from_public_key(mute.key.public_key()).digest
    assert new.authority_key_id == digest.hex()
    assert new.subject_key_id
