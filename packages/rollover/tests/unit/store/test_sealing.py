"""Sealed private keys: they open with their master key, in their place, and nowhere else."""

from __future__ import annotations

import base64
import sqlite3
import stat
from pathlib import Path

import pytest

from rigs.stored import NOON, leaf
from rollover.errors import StoreError
from rollover.fleet.certificate import Flags
from rollover.fleet.secret import SecretBytes
from rollover.store.credentials import open_credentials
from rollover.store.sealing import (
    SealingKeys,
    add_key,
    keys_from_file,
    keys_from_text,
    seal,
    unseal,
)

SECRET = SecretBytes(b"the private key")


def _keys(*fillings: int) -> SealingKeys:
    text = " ".join(base64.b64encode(bytes([f]) * 32).decode() for f in fillings)
    return keys_from_text(text, source="`KEY`")


def test_a_sealed_key_opens_again() -> None:
    """What was sealed comes out as it went in."""
    sealed = seal(_keys(1), SECRET, name="/a", number=1)

    assert unseal(_keys(1), sealed, name="/a", number=1) == SECRET
    assert b"private" not in sealed.sealed


def test_two_seals_of_one_key_differ() -> None:
    """Nonces are never repeated."""
    one, two = (seal(_keys(1), SECRET, name="/a", number=1) for _ in range(2))

    assert one.nonce != two.nonce
    assert one.sealed != two.sealed


@pytest.mark.parametrize(("name", "number"), [("/b", 1), ("/a", 2), ("/a1", 1)])
def test_a_sealed_key_does_not_open_in_another_place(name: str, number: int) -> None:
    """Name and number are bound."""
    sealed = seal(_keys(1), SECRET, name="/a", number=1)

    with pytest.raises(StoreError, match="changed or moved"):
        unseal(_keys(1), sealed, name=name, number=number)


@pytest.mark.parametrize("part", ["nonce", "sealed"])
def test_a_changed_bit_is_found(part: str) -> None:
    """Every byte counts."""
    sealed = seal(_keys(1), SECRET, name="/a", number=1)
    whole = getattr(sealed, part)
    changed = sealed._replace(**{part: bytes([whole[0] ^ 1]) + whole[1:]})

    with pytest.raises(StoreError, match="does not open"):
        unseal(_keys(1), changed, name="/a", number=1)


def test_an_unknown_master_key_is_named() -> None:
    """The error says which key is needed and which are known."""
    sealed = seal(_keys(1), SECRET, name="/a", number=1)

    with pytest.raises(StoreError, match=sealed.key_id) as refusal:
        unseal(_keys(2), sealed, name="/a", number=1)
    assert _keys(2).current.id in str(refusal.value)


def test_the_key_id_is_bound_too() -> None:
    """A row that claims another of our keys does not open with it."""
    sealed = seal(_keys(1), SECRET, name="/a", number=1)
    other = sealed._replace(key_id=_keys(2).current.id)

    with pytest.raises(StoreError, match="does not open"):
        unseal(_keys(1, 2), other, name="/a", number=1)


def test_a_key_file_is_made_private_on_first_use(tmp_path: Path) -> None:
    """Fresh, 0600 in 0700, and the same at the next use."""
    path = tmp_path / "keys" / "master.key"

    keys = keys_from_file(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys_from_file(path) == keys
    assert keys_from_file(tmp_path / "keys" / "other.key") != keys


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The remedy is the command that mends it."""
    path = tmp_path / "master.key"
    keys_from_file(path)
    path.chmod(0o640)

    with pytest.raises(StoreError, match="mode 0640") as refusal:
        keys_from_file(path)
    assert refusal.value.hint == f"chmod 0600 {path}"


def test_a_key_file_that_is_too_long_is_refused_whole(tmp_path: Path) -> None:
    """Reading a part of it would lose the older keys at the next `add_key`."""
    path = tmp_path / "master.key"
    keys_from_file(path)
    content = path.read_bytes() * 2000
    path.write_bytes(content)

    with pytest.raises(StoreError, match="more than 65536 bytes"):
        add_key(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "text", ["", "  \n", "c2hvcnQ=", "not base64 at all!", base64.b64encode(bytes(31)).decode()]
)
def test_a_text_that_is_no_key_is_refused_without_showing_it(text: str) -> None:
    """The error names the source and never the content."""
    with pytest.raises(StoreError, match="`KEY` holds") as refusal:
        keys_from_text(text, source="`KEY`")
    assert not text.strip() or text not in str(refusal.value)


def test_no_repr_shows_a_master_key() -> None:
    """Keys travel in types that do not show them."""
    shown = f"{_keys(65)!r} {_keys(65)}"

    assert "AAAA" not in shown
    assert base64.b64encode(b"A" * 32).decode() not in shown


def test_a_row_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    """Who can write the database cannot give one server the key of another."""
    path = tmp_path / "credentials.db"
    with open_credentials(path, keys=_keys(1)) as credentials:
        for name in ("/a", "/b"):
            pair = leaf(name.strip("/"))
            credentials.add(name, pair.chain, key=pair.key, flags=Flags(), at=NOON)
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE private_keys SET (nonce, sealed) = (SELECT nonce, sealed FROM private_keys "
        "WHERE name = '/a') WHERE name = '/b'"
    )
    connection.commit()
    connection.close()

    with open_credentials(path, keys=_keys(1)) as credentials:
        assert credentials.private_key("/a", 1) == leaf("a").key
        with pytest.raises(StoreError, match="`/b` version 1 does not open"):
            credentials.private_key("/b", 1)


def test_nothing_of_a_private_key_stands_in_the_files(tmp_path: Path) -> None:
    """Neither database nor write-ahead log holds a line of the PEM."""
    pair = leaf()
    with open_credentials(tmp_path / "c.db", keys=_keys(1)) as credentials:
        credentials.add("/a", pair.chain, key=pair.key, flags=Flags(), at=NOON)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert pair.chain.splitlines()[1] in stored
    assert not any(line in stored for line in pair.key.reveal().splitlines())


def test_resealing_moves_every_key_to_the_new_master_key(tmp_path: Path) -> None:
    """After a reseal the old master key is no longer needed; a second one changes nothing."""
    path, key_path = tmp_path / "c.db", tmp_path / "master.key"
    with open_credentials(path, keys=keys_from_file(key_path)) as credentials:
        for name in ("/a", "/b"):
            credentials.add(name, leaf().chain, key=leaf().key, flags=Flags(), at=NOON)
    old = keys_from_file(key_path)

    both = add_key(key_path)
    with open_credentials(path, keys=both) as credentials:
        assert (credentials.reseal(), credentials.reseal()) == (2, 0)

    assert both.keys[1:] == old.keys
    with open_credentials(path, keys=SealingKeys(keys=both.keys[:1])) as credentials:
        assert credentials.private_key("/b", 1) == leaf().key


def test_resealing_is_all_or_nothing(tmp_path: Path) -> None:
    """One key that does not open leaves all others as they were."""
    path = tmp_path / "c.db"
    with open_credentials(path, keys=_keys(1)) as credentials:
        for name in ("/a", "/b"):
            credentials.add(name, leaf().chain, key=leaf().key, flags=Flags(), at=NOON)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE private_keys SET nonce = zeroblob(12) WHERE name = '/b'")
    connection.commit()
    connection.close()

    with (
        open_credentials(path, keys=_keys(2, 1)) as credentials,
        pytest.raises(StoreError, match="`/b`"),
    ):
        credentials.reseal()
    with open_credentials(path, keys=_keys(1)) as credentials:
        assert credentials.private_key("/a", 1) == leaf().key
