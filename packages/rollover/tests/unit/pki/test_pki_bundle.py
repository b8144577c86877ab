"""Bundles keep their order, and what is wrong with one is found."""

from __future__ import annotations

import pytest

from rigs.pki_forge import CA, DAY, NOW, Forged, Shape, forge
from rollover.pki import bundle
from rollover.pki.bundle import BundleFindingKind

A, B, C = (forge(name, CA).certificate for name in "abc")


def _kinds(*certificates: Forged) -> list[BundleFindingKind]:
    found = bundle.findings([one.certificate for one in certificates], instant=NOW)
    return [finding.kind for finding in found]


def test_union_and_without_keep_the_order() -> None:
    """The first of equal certificates stays where it was."""
    assert bundle.union([B, A], [A, C], [B]) == (B, A, C)
    assert bundle.without([C, A, B], [A]) == (C, B)


def test_duplicates_are_by_fingerprint() -> None:
    """Each further time counts."""
    assert bundle.duplicates([A, B, A, A]) == (A, A)


def test_a_renewal_is_the_same_authority() -> None:
    """Key and subject make an authority; either alone does not."""
    first = forge("ca", CA)
    renewal = forge("ca", CA, key=first.key).certificate
    namesake = forge("ca", CA).certificate
    renamed = forge("other", CA, key=first.key).certificate
    members = [first.certificate, namesake, renewal, renamed]
    assert bundle.same_authority(members) == ((first.certificate, renewal),)


def test_a_sound_bundle_has_no_findings() -> None:
    """Two CAs of different names."""
    assert _kinds(forge("old", CA), forge("new", CA)) == []


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (CA._replace(days=(-9, -1)), BundleFindingKind.EXPIRED),
        (CA._replace(days=(1, 9)), BundleFindingKind.NOT_YET_VALID),
        (Shape(), BundleFindingKind.NOT_A_CA),
    ],
)
def test_an_unsound_certificate_is_found(shape: Shape, kind: BundleFindingKind) -> None:
    """Each finding names the certificate."""
    assert _kinds(forge("sound", CA), forge("unsound", shape)) == [kind]


def test_the_validity_ends_are_inclusive() -> None:
    """The last second is still valid, as RFC 5280 says."""
    ca = forge("ca", CA).certificate
    assert bundle.findings([ca], instant=NOW + 30 * DAY) == ()
    assert bundle.findings([ca], instant=NOW - DAY) == ()


def test_twins_are_ambiguous_without_key_ids() -> None:
    """With key identifiers of their own OpenSSL can tell them apart."""
    mute = CA._replace(subject_key_id=False)
    assert _kinds(forge("twin", mute), forge("twin", mute)) == [BundleFindingKind.AMBIGUOUS_SUBJECT]
    alike = CA._replace(subject_key_id=b"same")
    assert _kinds(forge("twin", alike), forge("twin", alike)) == [
        BundleFindingKind.AMBIGUOUS_SUBJECT
    ]
    assert _kinds(forge("twin", CA), forge("twin", CA)) == []


def test_names_that_do_not_fit_a_tls_message_are_found() -> None:
    """Above 65,535 octets every mutual handshake of a listener fails."""
    crowd = [forge(f"{number:064}", CA) for number in range(850)]
    assert _kinds(*crowd) == [BundleFindingKind.TOO_MANY_NAMES]
    assert _kinds(*crowd[:800]) == []
