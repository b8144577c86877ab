"""A cross certificate carries the new authority's name and key under the old authority's word."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from rigs.pki_forge import CA, DAY, NOW, Shape, forge
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.pki.certificate import anatomy
from rollover.pki.issue import cross_sign, issue_authority
from rollover.pki.keys import PrivateKey, generate

OLD_KEY, NEW_KEY = generate(KeyKind.P256), generate(KeyKind.P384)


def _authority(key: PrivateKey, *, begin: int = 0, days: int = 100) -> Certificate:
    return issue_authority(
        common_name=f"CA {key.kind}",
        key=key,
        not_before=NOW + begin * DAY,
        lifetime=timedelta(days=days),
    )


OLD, NEW = _authority(OLD_KEY), _authority(NEW_KEY, days=900)


def test_it_is_the_new_authority_signed_by_the_old() -> None:
    """Subject octets, key and SKI of the new one; issuer and AKI of the old one."""
    cross = cross_sign(NEW, by=OLD, by_key=OLD_KEY, not_before=NOW)
    assert anatomy(cross).raw_subject == anatomy(NEW).raw_subject
    assert anatomy(cross).raw_issuer_name == anatomy(OLD).raw_subject
    assert cross.key_identity == NEW.key_identity
    assert cross.subject_key_id == NEW.subject_key_id
    assert cross.authority_key_id == OLD.subject_key_id
    assert cross.is_ca
    assert not cross.self_signed
    assert cross.fingerprint != NEW.fingerprint


def test_it_lives_within_both() -> None:
    """By default until the first of both ends; a lifetime shortens, never lengthens."""
    assert cross_sign(NEW, by=OLD, by_key=OLD_KEY, not_before=NOW).not_after == OLD.not_after
    short = cross_sign(NEW, by=OLD, by_key=OLD_KEY, not_before=NOW, lifetime=DAY)
    assert short.not_after == NOW + DAY
    long = cross_sign(NEW, by=OLD, by_key=OLD_KEY, not_before=NOW, lifetime=9000 * DAY)
    assert long.not_after == OLD.not_after


def test_it_does_not_begin_before_both_do() -> None:
    """A standby CA whose time has not come yet is vouched for from then on."""
    later = _authority(NEW_KEY, begin=10)
    assert cross_sign(later, by=OLD, by_key=OLD_KEY, not_before=NOW).not_before == NOW + 10 * DAY


def test_constraints_of_the_authority_are_kept() -> None:
    """The cross certificate allows no more than the authority's own."""
    limits = x509.NameConstraints([x509.DNSName("example.com")], None)
    key = generate(KeyKind.P256)
    shape = CA._replace(extra=((limits, True),))
    narrow = forge("narrow", shape, key=key.signing_key).certificate
    cross = cross_sign(narrow, by=OLD, by_key=OLD_KEY, not_before=NOW)
    assert anatomy(cross).raw_constraints == anatomy(narrow).raw_constraints != b""


def test_authorities_that_overlap_nowhere_are_refused() -> None:
    """Nothing can lie within both."""
    with pytest.raises(SpecError, match="no lifetime is left"):
        cross_sign(_authority(NEW_KEY, begin=500), by=OLD, by_key=OLD_KEY, not_before=NOW)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (CA._replace(basic=None), "is no CA, it cannot issue"),
        (CA._replace(usages=frozenset({"crl_sign"})), "lacks `key_cert_sign`"),
        (CA._replace(basic=x509.BasicConstraints(ca=True, path_length=0)), "path length 0"),
    ],
)
def test_a_signer_that_may_not_is_refused(shape: Shape, message: str) -> None:
    """What no peer would accept is not made."""
    by = forge("by", shape)
    with pytest.raises(SpecError, match=message):
        cross_sign(NEW, by=by.certificate, by_key=PrivateKey(by.key), not_before=NOW)


def test_only_an_authority_with_another_key_is_cross_signed() -> None:
    """Leaves and renewals are refused, each with its reason."""
    leaf = forge("leaf").certificate
    with pytest.raises(SpecError, match="cannot be cross-signed"):
        cross_sign(leaf, by=OLD, by_key=OLD_KEY, not_before=NOW)
    with pytest.raises(SpecError, match="nothing to cross-sign"):
        cross_sign(_authority(OLD_KEY), by=OLD, by_key=OLD_KEY, not_before=NOW)
