"""Changes to an operator's vars store: whole, private, locked, and never without a proof."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from bosh_interpolate import FileStore
from bosh_interpolate.values import Tree, Variables
from rigs import bosh_director_files as files
from rollover.errors import SpecError, VerificationError
from rollover.fleet.certificate import KeyKind
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem, generate, to_pem
from rollover.platforms.bosh import vars_store
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.vars_store import NewCredential, VarsFile

BASES = tuple(files.NAMES.values())


def credential(part: NatsPart, number: int = 2) -> NewCredential:
    """One of a generation's certificates."""
    made = files.generation(number)
    return NewCredential(chain=(made.of[part].certificate,), key=made.of[part].secret, ca=made.ca)


def test_a_value_is_what_bosh_would_have_generated() -> None:
    """PEM that ends its lines, a key in PKCS#1, the issuer as `ca`."""
    value = credential(NatsPart.SERVER).value()
    assert isinstance(value, dict)
    assert list(value) == ["ca", "certificate", "private_key"]
    assert all(str(record).endswith("-----\n") for record in value.values())
    assert str(value["private_key"]).startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    key = from_pem(str(value["private_key"]).encode())
    assert key.key_identity == files.generation(2).of[NatsPart.SERVER].key.key_identity


def test_a_key_that_a_director_cannot_use_is_refused() -> None:
    """Neither `bosh` nor the director's NATS client takes elliptic curves."""
    key = SecretBytes(to_pem(generate(KeyKind.P256)))
    ca = files.generation(2).ca
    with pytest.raises(SpecError, match="takes RSA only"):
        NewCredential(chain=(ca,), key=key, ca=ca).value()


def test_a_change_is_written_whole_and_private(tmp_path: Path) -> None:
    """A file that was open to others is not afterwards (H8)."""
    store = tmp_path / "creds.yml"
    store.write_text("a: 1\n")
    store.chmod(0o644)
    VarsFile(store).change(lambda now: {**now, "b": {"c": "x\n"}})
    assert FileStore(store).variables() == {"a": 1, "b": {"c": "x\n"}}
    assert store.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".creds.yml.lock", "creds.yml"]


def test_a_change_that_fails_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    """Whatever fails: the change, or what comes out of it."""
    store = tmp_path / "creds.yml"
    store.write_text("a: 1 # kept\n")
    before = store.read_bytes()

    def failing(now: object) -> dict[str, Tree]:
        raise VerificationError("no")

    for change in (failing, lambda _: {}, lambda _: {"a": "\ud800"}):
        with pytest.raises(VerificationError):
            VarsFile(store).change(change)
        assert store.read_bytes() == before


def test_a_change_of_nothing_writes_nothing(tmp_path: Path) -> None:
    """Comments stay, and so does the time of the last change."""
    store = tmp_path / "creds.yml"
    store.write_text("a: 1 # kept\n")
    VarsFile(store).change(dict)
    assert store.read_text() == "a: 1 # kept\n"


def test_changes_wait_for_whoever_writes_the_store(tmp_path: Path) -> None:
    """Under the lock that `rollover int --vars-store` takes."""
    store = tmp_path / "creds.yml"
    store.write_text("a: 1\n")
    lock = os.open(tmp_path / ".creds.yml.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    seen: list[object] = []

    def noted(now: Variables) -> Variables:
        seen.append(dict(now))
        return {**now, "c": 3}

    def change() -> None:
        VarsFile(store).change(noted)

    worker = threading.Thread(target=change)
    worker.start()
    store.write_text("a: 1\nb: 2\n")
    assert not seen
    os.close(lock)
    worker.join(timeout=600)
    assert seen == [{"a": 1, "b": 2}]
    assert FileStore(store).variables() == {"a": 1, "b": 2, "c": 3}


def test_new_variables_get_one_number_that_is_free() -> None:
    """All of one CA together; the same ones are found again, those of another CA are not."""
    wanted = {files.NAMES[part]: credential(part) for part in NatsPart}
    stored = files.generation().values()
    assert vars_store.free_suffix(BASES, wanted, stored) == 2
    added = vars_store.with_added(stored, wanted, number=2)
    assert sorted(added) == sorted(f"{name}_2" for name in BASES)
    assert vars_store.free_suffix(BASES, wanted, {**stored, **added}) == 2
    assert vars_store.with_added({**stored, **added}, wanted, number=2) == {}

    server = {"nats_server_tls": credential(NatsPart.SERVER)}
    without = {name: value for name, value in added.items() if name != "nats_server_tls_2"}
    assert vars_store.free_suffix(BASES, server, {**stored, **without}) == 2
    third = {files.NAMES[part]: credential(part, 3) for part in NatsPart}
    assert vars_store.free_suffix(BASES, third, {**stored, **added}) == 3
    assert vars_store.free_suffix(BASES, third, {**stored, **without}) == 3


def test_the_clean_up_moves_values_and_touches_nothing_else() -> None:
    """Base names have the new values, successors are gone, all others are the same."""
    old, new = files.generation(), files.generation(2)
    other: dict[str, Tree] = {"other": {"certificate": "x"}}
    stored = {
        **other,
        **old.values(),
        **{f"{name}_2": value for name, value in new.values().items()},
    }
    renames = {name: f"{name}_2" for name in BASES}
    after = vars_store.cleaned_store(stored, renames, tuple(renames.values()))
    assert after == {**other, **new.values()}


def test_the_clean_up_of_a_store_that_lacks_a_value_is_refused() -> None:
    """Run twice, or on another file."""
    with pytest.raises(VerificationError, match="nats_ca_2"):
        vars_store.cleaned_store(
            files.generation().values(), {"nats_ca": "nats_ca_2"}, ("nats_ca_2",)
        )
