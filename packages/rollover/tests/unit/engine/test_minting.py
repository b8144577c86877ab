"""The leaves of a rollout: stored before they are handed out, and found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollover.engine.authorities import SigningAuthority
from rollover.engine.leaves import LeafIssuer, WantedLeaf
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import SERVER, issue_authority, issue_leaf
from rollover.pki.keys import from_pem, generate
from rollover.store.credentials import MemoryCredentials

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAYS = timedelta(days=90)


def _authority(name: str) -> SigningAuthority:
    key = generate(KeyKind.P256)
    made = issue_authority(
        common_name=name, organization="", key=key, not_before=NOON, lifetime=DAYS * 4
    )
    return SigningAuthority(made, key)


def _wanted(kind: KeyKind, count: int) -> list[WantedLeaf]:
    """Return what servers with leaves of an older authority need."""
    old, key = _authority("old 1"), generate(kind)
    return [
        WantedLeaf(
            f"/fleets/f/n{number}/tls",
            issue_leaf(
                profile=SERVER,
                common_name=f"n{number}",
                names=(f"n{number}.example",),
                key=key,
                authority=old.certificate,
                authority_key=old.key,
                not_before=NOON,
                lifetime=DAYS,
            ),
        )
        for number in range(count)
    ]


def _mint(credentials: MemoryCredentials, authority: SigningAuthority) -> LeafIssuer:
    return LeafIssuer(credentials, authority=authority, clock=lambda: NOON)


@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.RSA_2048, KeyKind.ED25519])
def test_every_leaf_is_in_the_store_with_its_own_key(kind: KeyKind) -> None:
    """What is handed out was stored, is like what it replaces, and fits the key beside it."""
    credentials, wanted = MemoryCredentials(), _wanted(kind, 3)

    leaves = _mint(credentials, _authority("new 2")).leaves(wanted)

    assert list(leaves) == [pair.name for pair in wanted]
    assert len({leaf.certificate.key_identity for leaf in leaves.values()}) == len(wanted)
    for pair in wanted:
        leaf = leaves[pair.name]
        assert leaf.certificate.dns_names == pair.like.dns_names
        assert leaf.certificate.key == kind
        assert from_pem(leaf.key.reveal()).key_identity == leaf.certificate.key_identity
        assert credentials.version(pair.name, 1).fingerprint == leaf.certificate.fingerprint
        assert credentials.private_key(pair.name, 1) == leaf.key


def test_leaves_made_before_a_crash_are_used_again() -> None:
    """A second call makes only what the first one did not."""
    credentials, authority, wanted = (
        MemoryCredentials(),
        _authority("new 2"),
        _wanted(KeyKind.P256, 4),
    )

    first = _mint(credentials, authority).leaves(wanted[:2])
    second = _mint(credentials, authority).leaves(wanted)

    assert {name: second[name] for name in first} == dict(first)
    assert [len(credentials.versions(pair.name)) for pair in wanted] == [1, 1, 1, 1]


def test_the_same_leaf_wanted_twice_is_made_once() -> None:
    """Two endpoints that share their files share their leaf."""
    credentials, wanted = MemoryCredentials(), _wanted(KeyKind.P256, 1)

    leaves = _mint(credentials, _authority("new 2")).leaves([*wanted, *wanted])

    assert len(leaves) == 1
    assert len(credentials.versions(wanted[0].name)) == 1
