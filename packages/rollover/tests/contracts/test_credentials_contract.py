"""The contract of the credential store, on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.stored import NOON, Pair, authority, leaf
from rollover.engine.ports import Addition, CredentialStore
from rollover.errors import StaleError, StoreError
from rollover.fleet.certificate import CertificateVersion, FlagChange, Flags
from rollover.fleet.secret import SecretBytes
from rollover.store.credentials import MemoryCredentials, open_credentials
from rollover.store.sealing import keys_from_file

CA = "/demo/authorities/nats-ca"
TLS = "/demo/servers/n1/tls"
PLAIN = Flags()
SIGNING = Flags(signing=True)
TRANSITIONAL = Flags(transitional=True)


@pytest.fixture(params=["memory", "sqlite"])
def credentials(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CredentialStore]:
    """A store of each implementation, empty."""
    if request.param == "memory":
        yield MemoryCredentials()
        return
    keys = keys_from_file(tmp_path / "master.key")
    with open_credentials(tmp_path / "credentials.db", keys=keys) as opened:
        yield opened


def _add(
    credentials: CredentialStore, name: str, pair: Pair, flags: Flags = PLAIN
) -> CertificateVersion:
    return credentials.add(name, pair.chain, key=pair.key, flags=flags, at=NOON)


def test_a_version_is_read_back_as_it_was_added(credentials: CredentialStore) -> None:
    """Chain, flags, time and key survive the store."""
    flags = Flags(signing=True, generated=True, self_signed=True)

    added = _add(credentials, CA, authority(), flags)

    assert credentials.versions(CA) == (added,)
    assert credentials.version(CA, 1) == added
    assert (added.number, added.flags, added.created_at) == (1, flags, NOON)
    assert (added.chain, added.has_key) == (authority().chain, True)
    assert added.certificate_authority
    assert credentials.private_key(CA, 1) == authority().key


def test_versions_are_numbered_and_listed_newest_first(credentials: CredentialStore) -> None:
    """Numbers count up within a name."""
    for common_name in ("a", "b", "c"):
        _add(credentials, TLS, leaf(common_name))

    assert [version.number for version in credentials.versions(TLS)] == [3, 2, 1]
    assert credentials.versions("/demo/other") == ()


def test_a_forgotten_number_is_not_given_again(credentials: CredentialStore) -> None:
    """A number means one certificate for ever."""
    _add(credentials, TLS, leaf("a"))
    _add(credentials, TLS, leaf("b"))
    credentials.forget(TLS, 2)
    credentials.forget(TLS, 2)

    assert _add(credentials, TLS, leaf("c")).number == 3


def test_forgetting_removes_version_key_and_empty_name(credentials: CredentialStore) -> None:
    """Nothing of a forgotten version can be read."""
    _add(credentials, TLS, leaf())
    credentials.forget(TLS, 1)

    assert (credentials.names(), credentials.versions(TLS)) == ((), ())
    with pytest.raises(StoreError, match="no version 1"):
        credentials.private_key(TLS, 1)


def test_the_signing_version_is_not_forgotten(credentials: CredentialStore) -> None:
    """What signs now is needed."""
    _add(credentials, CA, authority(), SIGNING)

    with pytest.raises(StoreError, match="is the signing one"):
        credentials.forget(CA, 1)
    assert credentials.version(CA, 1)


def test_names_are_found_by_prefix_in_pages(credentials: CredentialStore) -> None:
    """A prefix is taken literally, also where SQL has wildcards."""
    for name in ("/a_b/x", "/a_b/y", "/aXb/x", "/a%b/x", "/B"):
        _add(credentials, name, leaf())

    assert credentials.names("/a_b") == ("/a_b/x", "/a_b/y")
    first = credentials.names(limit=2)
    assert first + credentials.names(after=first[-1]) == (
        "/B", "/a%b/x", "/aXb/x", "/a_b/x", "/a_b/y",
    )  # fmt: skip


def test_a_version_without_key_says_so(credentials: CredentialStore) -> None:
    """A certificate that was brought in without its key has none to give."""
    version = credentials.add(CA, authority().chain, key=None, flags=PLAIN, at=NOON)

    assert not version.has_key
    with pytest.raises(StoreError, match="without a private key"):
        credentials.private_key(CA, 1)


def test_a_second_transitional_version_is_refused(credentials: CredentialStore) -> None:
    """CredHub's rule: at most one transitional version of a name."""
    _add(credentials, CA, authority("a"), TRANSITIONAL)

    with pytest.raises(StoreError, match="2 transitional versions"):
        _add(credentials, CA, authority("b"), TRANSITIONAL)
    assert len(credentials.versions(CA)) == 1


def test_a_leaf_never_signs(credentials: CredentialStore) -> None:
    """Only a CA can be the signing version, whatever the caller says."""
    with pytest.raises(StoreError, match="is not a CA"):
        _add(credentials, TLS, leaf(), SIGNING)


def test_what_signs_has_its_key(credentials: CredentialStore) -> None:
    """A CA whose key is elsewhere cannot sign here."""
    with pytest.raises(StoreError, match="no private key here"):
        credentials.add(CA, authority().chain, key=None, flags=SIGNING, at=NOON)


def test_flags_move_between_versions_in_one_call(credentials: CredentialStore) -> None:
    """Transitional and signing change places without a moment in between."""
    _add(credentials, CA, authority("old"), SIGNING)
    _add(credentials, CA, authority("new"), TRANSITIONAL)

    credentials.set_flags(
        CA,
        (
            FlagChange(number=1, expected=SIGNING, wanted=TRANSITIONAL),
            FlagChange(number=2, expected=TRANSITIONAL, wanted=SIGNING),
        ),
    )

    new, old = credentials.versions(CA)
    assert (new.flags, old.flags) == (SIGNING, TRANSITIONAL)


def test_flags_that_changed_meanwhile_stop_the_whole_change(credentials: CredentialStore) -> None:
    """Compare and swap: nothing changes when one expectation fails."""
    _add(credentials, CA, authority("old"), SIGNING)
    _add(credentials, CA, authority("new"))

    with pytest.raises(StaleError, match="version 2 has other flags"):
        credentials.set_flags(
            CA,
            (
                FlagChange(number=1, expected=SIGNING, wanted=PLAIN),
                FlagChange(number=2, expected=TRANSITIONAL, wanted=SIGNING),
            ),
        )
    assert credentials.version(CA, 1).flags == SIGNING


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((FlagChange(number=2, expected=PLAIN, wanted=SIGNING),), "2 signing versions"),
        ((FlagChange(number=9, expected=PLAIN, wanted=PLAIN),), "no version 9"),
        (
            (
                FlagChange(number=2, expected=PLAIN, wanted=TRANSITIONAL),
                FlagChange(number=2, expected=PLAIN, wanted=PLAIN),
            ),
            "changed twice",
        ),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused(
    credentials: CredentialStore, changes: tuple[FlagChange, ...], message: str
) -> None:
    """The result of a change obeys the rules or the change does not happen."""
    _add(credentials, CA, authority("old"), SIGNING)
    _add(credentials, CA, authority("new"))

    with pytest.raises(StoreError, match=message):
        credentials.set_flags(CA, changes)
    assert [version.flags for version in credentials.versions(CA)] == [PLAIN, SIGNING]


@pytest.mark.parametrize("name", ["", "x", "/", "/a//b", "/a/", "a/b", "/a\nb", "/" + "a" * 1024])
def test_a_name_that_is_no_path_is_refused(credentials: CredentialStore, name: str) -> None:
    """Names are paths of non-empty printable parts."""
    with pytest.raises(StoreError, match="is not a certificate name"):
        _add(credentials, name, leaf())


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        (b"", None, "no PEM certificate"),
        (leaf().chain[:-60], None, "no PEM certificate"),
        (leaf().key.reveal(), None, "private key stands where"),
        (b"x" * 300_000, None, "at most 262144"),
        (leaf().chain, SecretBytes(leaf().chain), "cannot be read"),
        (leaf().chain, leaf("other").key, "does not belong"),
    ],
    ids=["empty", "truncated", "swapped", "huge", "certificate as key", "mismatched"],
)
def test_a_chain_or_key_that_is_not_right_is_refused(
    credentials: CredentialStore, chain: bytes, key: SecretBytes | None, message: str
) -> None:
    """Nothing is stored that could not be used later, and the error names the certificate."""
    with pytest.raises(StoreError, match=message) as refusal:
        credentials.add(TLS, chain, key=key, flags=PLAIN, at=NOON)

    assert TLS in str(refusal.value)
    assert refusal.value.hint
    assert credentials.names() == ()


def _addition(name: str, pair: Pair, flags: Flags = PLAIN) -> Addition:
    return Addition(name=name, chain=pair.chain, key=pair.key, flags=flags, at=NOON)


def test_versions_are_added_together_in_their_order(credentials: CredentialStore) -> None:
    """One call adds versions of several names, and several of one name."""
    wanted = [_addition(TLS, leaf("a")), _addition(CA, authority()), _addition(TLS, leaf("b"))]

    added = credentials.add_many(wanted)

    assert [(version.name, version.number) for version in added] == [(TLS, 1), (CA, 1), (TLS, 2)]
    assert credentials.versions(TLS) == (added[2], added[0])
    assert credentials.private_key(TLS, 2) == leaf("b").key
    assert credentials.add_many(()) == ()


def test_one_version_that_is_refused_keeps_all_others_out(credentials: CredentialStore) -> None:
    """Versions are added together or not at all, and no number is used up."""
    refused = _addition(TLS, leaf(), flags=SIGNING)

    with pytest.raises(StoreError, match="is not a CA"):
        credentials.add_many([_addition(CA, authority()), refused])

    assert credentials.names() == ()
    assert _add(credentials, CA, authority()).number == 1


def test_threads_add_versions_without_losing_any(credentials: CredentialStore) -> None:
    """Numbers are given once each, also to threads at the same time."""
    pair = leaf()
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: _add(credentials, TLS, pair).number, range(20)))

    assert sorted(added) == list(range(1, 21))
